package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/limits"
)

// An operator sees who has to wait and lets them in, here and over HTTPS, and the
// record says who did it.
func TestBlocks(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		want := limits.Block{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Realm: "acme", ClientID: "billing", Until: day.Add(15 * time.Minute)}
		all, err := w.Blocks(t.Context())
		if err != nil || len(all) != 1 || all[0] != want {
			t.Fatalf("%+v %v", all, err)
		}
		before := w.last(t)
		for _, none := range []limits.Lift{
			{Prefix: netip.MustParsePrefix("192.0.2.2/32")}, {ClientID: "other"}, {Realm: "ops"},
		} {
			if got, err := w.LiftBlocks(t.Context(), none); err != nil || got.Blocks == nil || len(got.Blocks) > 0 || got.Pending {
				t.Errorf("%+v: %+v %v", none, got, err)
			}
		}
		if e := w.last(t); e != before {
			t.Errorf("nothing was lifted, and recorded is %+v", e)
		}
		got, err := w.LiftBlocks(t.Context(), limits.Lift{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Realm: "acme", ClientID: "billing"})
		if err != nil || len(got.Blocks) != 1 || got.Blocks[0] != want || got.Pending {
			t.Errorf("%+v %v", got, err)
		}
		if e := w.last(t); e.Type != counterfoil.EventBlockLifted || e.Actor != w.actor || !e.Success || e.Realm != "acme" ||
			e.ClientID != "billing" || e.Detail != "1: 192.0.2.1/32" {
			t.Errorf("recorded %+v", e)
		}
		if all, err := w.Blocks(t.Context()); err != nil || all == nil || len(all) > 0 {
			t.Errorf("after the lift: %+v %v", all, err)
		}
		if v := w.limits.Look(&limits.Attempt{Realm: "acme", ClientID: "billing", Address: want.Prefix.Addr()}); v.Refuse {
			t.Errorf("it is still refused: %+v", v)
		}
		var p *admin.Problem
		if _, err := w.LiftBlocks(t.Context(), limits.Lift{Realm: "nowhere"}); !errors.As(err, &p) || p.Code != admin.NoSuchRealm {
			t.Errorf("%v", err)
		}
	})
}

// What is not recorded is not done, and a server without blocks has none.
func TestBlocksThatAreNotRecorded(t *testing.T) {
	p := newPlace(t)
	realms := func() []server.Realm { return p.realms }
	l := admin.New(admin.Config{Store: unrecorded{p.store}, Keeper: p.limits, Realms: realms, Clock: p.clock})
	if _, err := l.LiftBlocks(t.Context(), limits.Lift{}); err == nil {
		t.Error("no error")
	}
	if all, _ := p.limits.Blocks(t.Context()); len(all) != 1 {
		t.Errorf("%+v", all)
	}
	if all, err := admin.New(admin.Config{Store: p.store, Realms: realms}).Blocks(context.Background()); all == nil || err != nil {
		t.Errorf("%v %v", all, err)
	}
}

func TestPrefixes(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "192.0.2.1/24": "192.0.2.0/24", "2001:db8::1": "2001:db8::1/128", "fe80::1%eth0": "fe80::1/128",
		"::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8::/48": "2001:db8::/48",
	} {
		if p, err := admin.ParsePrefix(text); err != nil || p.String() != want {
			t.Errorf("%s: %s %v", text, p, err)
		}
	}
	ts := newPlace(t).serve(t, allScopes)
	for _, text := range []string{"192.0.2", "192.0.2.0/33", "localhost", "::ffff:192.0.2.0/120", "*"} {
		got := ask(t, ts, http.MethodPost, "/v1/blocks/lift", `{"prefix":"`+text+`"}`, "Content-Type", jsonBody)
		if got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, "is neither an address nor a network") {
			t.Errorf("%s: %d %s", text, got.status, got.body)
		}
	}
}
