package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// raise stores alerts in a database that no server has open.
func raise(t *testing.T, database string, all ...alerts.Alert) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	now := time.Now()
	for i := range all {
		all[i].First, all[i].Last = now, now
	}
	if err := db.AdvanceAlerts(t.Context(), store.AlertStep{At: now, Raise: all}); err != nil {
		t.Fatal(err)
	}
}

// alertsOf returns what 'alerts -o json' prints.
func alertsOf(t *testing.T, r ran) (all []admin.Alert) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.good(t).out), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// Whoever still uses a secret that was replaced is an alert within seconds: in the
// log of 'up', and on the command line, whose next command works. It outlasts a
// restart.
func TestAlertsOfUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b's data")
	u := start(t, dir, "127.0.0.1:0", "--metrics", "127.0.0.1:0")
	a := u.asker(t, "a55")
	id := a.env.Get("API_CLIENT_ID")
	if a.token(t.Context()) == "" {
		t.Fatal("no token")
	}
	run := func(args ...string) ran {
		return execute(t, "", nil, binary, append([]string{"alerts"}, append(args, "--dir", dir)...)...)
	}
	if got := run().good(t); got.out != "no alerts\n" {
		t.Errorf("at first: %s", got.out)
	}
	execute(t, "", nil, binary, "client", "rotate", "a55", id, "--overlap", "0", "--dir", dir).good(t)
	if a.token(t.Context()) != "" {
		t.Fatal("the old secret is accepted")
	}
	waitFor(t, func() bool { return len(alertsOf(t, run("-o", "json"))) == 1 })
	one := alertsOf(t, run("-o", "json"))[0]
	if one.Kind != alerts.KindRotatedCredential || one.Realm != "a55" || one.ClientID != id || one.ID != 1 {
		t.Errorf("%+v", one)
	}
	env := []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")}
	if got := execute(t, "", env, "sh", "-c", one.Command).good(t); !strings.Contains(got.out, one.Subject) {
		t.Errorf("%s prints %s", one.Command, got.out)
	}
	waitFor(t, func() bool { return strings.Contains(u.errors(), "msg=alert id=1 kind=rotated_credential") })
	if series, _ := scrape(t, u.metered(t)); series["counterfoil_alerts_total{kind=rotated_credential}"] != 1 {
		t.Error("the alert is not counted")
	}
	if got := run("list").good(t).out; !strings.Contains(got, "1  rotated_credential  a55  "+id) || !strings.Contains(got, "\n    next: counterfoil audit ") {
		t.Errorf("list prints\n%s", got)
	}
	if got := run("silence", "--client", id[:5]+"*").good(t).out; !strings.HasPrefix(got, "silence 1 until ") {
		t.Errorf("silence prints %s", got)
	}
	if got := run().good(t).out; !strings.Contains(got, "silenced until") {
		t.Errorf("list prints %s", got)
	}
	if got := run("silences").good(t).out; !strings.Contains(got, id[:5]+"*") {
		t.Errorf("silences prints %s", got)
	}
	if got := run("unsilence", "1").good(t).out; got != "ended silence 1\n" {
		t.Errorf("unsilence prints %s", got)
	}
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	start(t, dir, "127.0.0.1:0")
	if got := alertsOf(t, run("-o", "json")); len(got) != 1 || got[0].Count != 1 {
		t.Errorf("after a restart: %+v", got)
	}
	if got := run("ack", "1").good(t).out; got != "acknowledged 1\n" {
		t.Errorf("ack prints %s", got)
	}
	if got := run().good(t).out + run("silences", "-o", "json").good(t).out; got != "no alerts\n[]\n" {
		t.Errorf("after all: %s", got)
	}
	if got := run("--acknowledged").good(t).out; !strings.Contains(got, "acknowledged at") || !strings.Contains(got, "command line") {
		t.Errorf("list prints %s", got)
	}
	for _, row := range []struct {
		args []string
		code int // 0 for any that is not 0
		says string
	}{
		{[]string{"ack"}, exitUsage, "nothing to acknowledge: name alerts, --kind, --realm, --client or --all"},
		{[]string{"ack", "--all", "1"}, exitUsage, "--all acknowledges all alerts: name nothing else"},
		{[]string{"ack", "x"}, exitUsage, `"x" is not the number of an alert`},
		{[]string{"ack", "1"}, 0, "no open alert of that number"},
		{[]string{"silence"}, exitUsage, "nothing to silence: name --kind, --realm, --client or --all"},
		{[]string{"silence", "--all", "--for", "721h"}, exitUsage, "--for must be from 1m to 720h"},
		{[]string{"silence", "--kind", "noise"}, exitUsage, `there is no kind of alerts "noise": the kinds are failures`},
		{[]string{"unsilence", "7"}, 0, "there is no silence 7"},
		{[]string{"--kind", "noise"}, exitUsage, "the kinds are failures"},
		{[]string{"--limit", "0"}, exitUsage, "--limit must be 1 or more"},
	} {
		if got := run(row.args...); got.code == 0 || row.code != 0 && got.code != row.code || !strings.Contains(got.err, row.says) {
			t.Errorf("%v: exit %d %s", row.args, got.code, got.err)
		}
	}
}

// 'alerts' does the same on the machine of 'serve' and through its Admin API.
func TestAlertsOfServe(t *testing.T) {
	var many []alerts.Alert
	for i := range 3 {
		many = append(many, alerts.Alert{
			Kind: alerts.KindVolume, Realm: "acme", ClientID: fmt.Sprint("c", i), Summary: "it got many tokens", Command: "counterfoil alerts", Count: 1,
		})
	}
	o := operateAfter(t, func(dir string) { raise(t, filepath.Join(dir, "counterfoil.db"), many...) })
	for _, args := range [][]string{{"alerts"}, {"alerts", "-o", "json"}, {"alerts", "--client", "c1"}, {"alerts", "--limit", "2"}, {"alerts", "silences"}} {
		here, there := o.here(t, args...).good(t).out, o.there(t, args...).good(t).out
		if here != there || here == "" {
			t.Errorf("%v here:\n%sthere:\n%s", args, here, there)
		}
	}
	if got := o.there(t, "alerts", "ack", "3", "2").good(t).out; got != "acknowledged 2\n" {
		t.Errorf("ack prints %s", got)
	}
	if got := o.there(t, "alerts", "silence", "--realm", "acme", "--for", "2h", "-o", "json").good(t).out; !strings.Contains(got, `"created_by":"client ops/operator (token`) {
		t.Errorf("silence prints %s", got)
	}
	if all := alertsOf(t, o.here(t, "alerts", "-o", "json")); len(all) != 1 || all[0].ID != 1 || all[0].SilencedUntil.IsZero() {
		t.Errorf("%+v", all)
	}
	if got := o.there(t, "alerts", "unsilence", "1").good(t).out; got != "ended silence 1\n" {
		t.Errorf("unsilence prints %s", got)
	}
	for _, args := range [][]string{{"ack", "9"}, {"unsilence", "9"}, {"ack", "--realm", "acne"}} {
		here, there := o.here(t, append([]string{"alerts"}, args...)...), o.there(t, append([]string{"alerts"}, args...)...)
		if here.err != there.err || here.code != there.code || here.code == 0 || !strings.Contains(here.err, "hint: ") {
			t.Errorf("%v here: %d %sthere: %d %s", args, here.code, here.err, there.code, there.err)
		}
	}
	if got := o.here(t, "audit", "--type", "alert", "-o", "json").good(t).out; !strings.Contains(got, `"actor":"client ops/operator (token`) {
		t.Errorf("recorded is %s", got)
	}
}

// The certificate of an 'up' that runs for years is an alert in its last month, in
// which the next start replaces it.
func TestCertificateOfUpEnds(t *testing.T) {
	p, err := provider.Builtin("a55")
	if err != nil {
		t.Fatal(err)
	}
	s, now := newSite(t, p)
	found := func() []alerts.Alert {
		now.Turn(3 * time.Second)
		all, err := s.store.Alerts(t.Context(), store.AlertQuery{Kind: alerts.KindExpiry, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	now.Turn(s.certificate.NotAfter.Sub(now.Now()) - 29*24*time.Hour)
	var all []alerts.Alert
	waitFor(t, func() bool { all = found(); return len(all) > 0 })
	if a := all[0]; len(all) != 1 || a.Subject != filepath.Join(s.dir.tls(), "server.pem") || a.Command != "counterfoil up --dir "+string(s.dir) {
		t.Errorf("%+v", all)
	}
	if next, _, err := developmentTLS(s.dir.tls(), now.Now(), s.log); err != nil || next.Leaf.Equal(s.certificate) {
		t.Errorf("a restart does not replace it: %v", err)
	}
}

// The certificate of 'serve' that ends soon is an alert, whose command checks it.
func TestCertificateOfServeEnds(t *testing.T) {
	o := &operated{served: layOut(t, exampleConfig(t))}
	o.certifyUntil(t, time.Now().Add(20*24*time.Hour), "localhost", "auth.acme.example", "ops.acme.example")
	o.start(t)
	var found []admin.Alert
	waitFor(t, func() bool {
		found = alertsOf(t, o.here(t, "alerts", "--kind", "expiry", "-o", "json"))
		return len(found) == 1
	})
	if a := found[0]; !strings.HasSuffix(a.Subject, "certificate.pem") || a.Realm != "" {
		t.Errorf("%+v", a)
	}
	env := []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")}
	execute(t, "", env, "sh", "-c", found[0].Command).good(t)
}
