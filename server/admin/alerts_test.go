package admin_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
)

// An operator sees alerts, acknowledges and silences them, here and over HTTPS, and
// the record says who did it.
func TestAlerts(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		w.silence(t)
		list := func(q store.AlertQuery) admin.AlertPage {
			t.Helper()
			page, err := w.Alerts(t.Context(), q)
			if err != nil || page.Alerts == nil {
				t.Fatalf("%+v %v", page, err)
			}
			return page
		}
		page := list(store.AlertQuery{Kind: alerts.KindFailures, Realm: "acme", ClientID: "billing"})
		if len(page.Alerts) != 1 || page.Next != 0 {
			t.Fatalf("%+v", page)
		}
		if a := page.Alerts[0]; a.ID != 1 || a.Count != 20 || !a.First.Equal(day) || !a.SilencedUntil.Equal(day.Add(time.Hour)) {
			t.Errorf("%+v", a)
		}
		all, err := w.Silences(t.Context())
		if err != nil || len(all) != 1 || all[0].ID != 1 || all[0].CreatedBy != "root" {
			t.Fatalf("%+v %v", all, err)
		}
		if err := w.DeleteSilence(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if e := w.last(t); e.Type != counterfoil.EventSilenceDeleted || e.Actor != w.actor || e.Detail != "1" {
			t.Errorf("recorded %+v", e)
		}
		if a := list(store.AlertQuery{}).Alerts[0]; !a.SilencedUntil.IsZero() {
			t.Errorf("%+v", a)
		}
		made, err := w.CreateSilence(t.Context(), admin.NewSilence{AlertFilter: admin.AlertFilter{Realm: "acme", ClientID: "bill*"}, For: "48h"})
		if err != nil || !made.Until.Equal(day.Add(48*time.Hour)) || made.CreatedBy != w.actor || made.ID == 0 {
			t.Errorf("%+v %v", made, err)
		}
		if e := w.last(t); e.Type != counterfoil.EventSilenceCreated || e.Actor != w.actor || e.Realm != "acme" || e.ClientID != "bill*" ||
			e.Detail != "until 2026-07-03T12:00:00Z realm=acme client_id=bill*" {
			t.Errorf("recorded %+v", e)
		}
		if a := list(store.AlertQuery{}).Alerts[0]; !a.SilencedUntil.Equal(made.Until) {
			t.Errorf("%+v", a)
		}
		before := w.last(t)
		if done, err := w.AcknowledgeAlerts(t.Context(), admin.Acknowledgement{AlertFilter: admin.AlertFilter{ClientID: "other"}}); err != nil || len(done) != 0 {
			t.Errorf("%v %v", done, err)
		}
		if e := w.last(t); e != before && e.Type != counterfoil.EventAdminCalled {
			t.Errorf("nothing was acknowledged, and recorded is %+v", e)
		}
		done, err := w.AcknowledgeAlerts(t.Context(), admin.Acknowledgement{IDs: []int64{1, 7}})
		if err != nil || !slices.Equal(done, []int64{1}) {
			t.Errorf("%v %v", done, err)
		}
		if e := w.last(t); e.Type != counterfoil.EventAlertAcknowledged || e.Actor != w.actor || e.Detail != "1 7" {
			t.Errorf("recorded %+v", e)
		}
		if page := list(store.AlertQuery{}); len(page.Alerts) != 0 {
			t.Errorf("%+v", page)
		}
		page = list(store.AlertQuery{Acknowledged: true})
		if a := page.Alerts[0]; a.AcknowledgedBy != w.actor || !a.Acknowledged.Equal(day) || !a.SilencedUntil.IsZero() {
			t.Errorf("%+v", a)
		}
	})
}

func TestAlertPages(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		step := store.AlertStep{At: day}
		for _, id := range []string{"a", "b", "c", "d"} {
			step.Raise = append(step.Raise, alerts.Alert{Kind: alerts.KindVolume, Realm: "acme", ClientID: id, First: day, Last: day})
		}
		if err := w.store.AdvanceAlerts(t.Context(), step); err != nil {
			t.Fatal(err)
		}
		var got []int64
		for q := (store.AlertQuery{Limit: 2}); ; {
			page, err := w.Alerts(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range page.Alerts {
				got = append(got, a.ID)
			}
			if q.Before = page.Next; q.Before == 0 {
				break
			}
		}
		if !slices.Equal(got, []int64{5, 4, 3, 2, 1}) {
			t.Errorf("%v", got)
		}
	})
}

// What is wrong in a request is refused with what to do, and nothing is done.
func TestWrongAlertRequests(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		filter := func(kind, realm, client string) admin.AlertFilter {
			return admin.AlertFilter{Kind: alerts.Kind(kind), Realm: realm, ClientID: client}
		}
		silence := func(n admin.NewSilence) func() error {
			return func() error { _, err := w.CreateSilence(t.Context(), n); return err }
		}
		ack := func(a admin.Acknowledgement) func() error {
			return func() error { _, err := w.AcknowledgeAlerts(t.Context(), a); return err }
		}
		for name, row := range map[string]struct {
			do         func() error
			code, says string
		}{
			"no kind":           {func() error { _, err := w.Alerts(t.Context(), store.AlertQuery{Kind: "x"}); return err }, "invalid", "failures, blocked"},
			"no realm":          {func() error { _, err := w.Alerts(t.Context(), store.AlertQuery{Realm: "x"}); return err }, admin.NoSuchRealm, "realm"},
			"nothing":           {ack(admin.Acknowledgement{}), "invalid", "nothing to acknowledge"},
			"all and more":      {ack(admin.Acknowledgement{All: true, IDs: []int64{1}}), "invalid", "name nothing else"},
			"no alert":          {ack(admin.Acknowledgement{IDs: []int64{9}}), admin.NoSuchAlert, "no open alert"},
			"not of the filter": {ack(admin.Acknowledgement{IDs: []int64{1}, AlertFilter: filter("", "acme", "x")}), admin.NoSuchAlert, "no open alert"},
			"without an end":    {silence(admin.NewSilence{All: true}), "invalid", "720h"},
			"for too long":      {silence(admin.NewSilence{All: true, For: "720h1s"}), "invalid", "720h"},
			"for no time":       {silence(admin.NewSilence{All: true, For: "-1h"}), "invalid", "1m"},
			"silence nothing":   {silence(admin.NewSilence{For: "1h"}), "invalid", "nothing to silence"},
			"a * within":        {silence(admin.NewSilence{For: "1h", AlertFilter: filter("", "acme", "a*b*")}), "invalid", "at its end only"},
			"no such kind":      {silence(admin.NewSilence{For: "1h", AlertFilter: filter("x", "", "")}), "invalid", "failures"},
			"no silence":        {func() error { return w.DeleteSilence(t.Context(), 9) }, admin.NoSuchSilence, "may have ended"},
		} {
			var p *admin.Problem
			if err := row.do(); !errors.As(err, &p) || p.Code != row.code || !strings.Contains(p.Error(), row.says) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if all, err := w.Silences(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("%+v %v", all, err)
		}
	})
}
