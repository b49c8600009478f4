package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// receivers are a webhook and a mail server that take everything.
type receivers struct {
	mu     sync.Mutex
	alerts []alerts.Alert
	mails  []mailed
	away   bool // the webhook answers 500
}

type mailed struct {
	receivers *receivers
	to        []string
	text      string
}

func (r *receivers) NewSession(*smtp.Conn) (smtp.Session, error) { return &mailed{receivers: r}, nil }
func (m *mailed) Mail(string, *smtp.MailOptions) error           { return nil }
func (m *mailed) Reset()                                         { m.to = nil }
func (m *mailed) Logout() error                                  { return nil }

func (m *mailed) Rcpt(to string, _ *smtp.RcptOptions) error {
	m.to = append(m.to, to)
	return nil
}

func (m *mailed) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	m.text = string(text)
	m.receivers.mu.Lock()
	defer m.receivers.mu.Unlock()
	m.receivers.mails = append(m.receivers.mails, *m)
	return err
}

func (r *receivers) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var a alerts.Alert
	if err := json.NewDecoder(req.Body).Decode(&a); err != nil || !strings.HasPrefix(req.Header.Get("webhook-signature"), "v1,") || r.away {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	r.alerts = append(r.alerts, a)
}

// of returns what arrived of a kind: the alerts, and who got mail.
func (r *receivers) of(kind alerts.Kind) (got []alerts.Alert, to map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.alerts {
		if a.Kind == kind {
			got = append(got, a)
		}
	}
	to = map[string]string{}
	for _, m := range r.mails {
		if strings.Contains(m.text, "Subject: [counterfoil] "+strings.ReplaceAll(string(kind), "_", " ")) {
			to[strings.Join(m.to, ",")] = m.text
		}
	}
	return got, to
}

// receive runs receivers and returns the settings that lead to them.
func receive(t *testing.T) (*receivers, string) {
	t.Helper()
	r := &receivers{}
	hook := httptest.NewServer(r)
	t.Cleanup(hook.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(r)
	server.Domain, server.ErrorLog = "localhost", log.New(io.Discard, "", 0)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return r, fmt.Sprintf(`
webhooks:
  - {url: '%s/PASSWORD', secret: 'file:hook', kinds: [leaked_secret]}
mail: {server: '%s', tls: none, from: cf@acme.example, to: [ops@acme.example, night@acme.example]}
`, hook.URL, l.Addr())
}

// TestLeakedSecretReachesAll: within seconds of the report of a secret, the webhook and
// the operators know, with the next command, and the owner of the client knows without
// it.
func TestLeakedSecretReachesAll(t *testing.T) {
	r, settings := receive(t)
	s := layOut(t, exampleConfig(t)+settings)
	s.write(t, "hook", testHookSecret)
	s.start(t)
	db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	_, creds, err := clients.New(db, nil, anyRules).Create(t.Context(), "test", clients.NewClient{
		Realm: "acme", ID: "billing", Settings: store.Settings{Contact: "Billing <billing@owner.example>"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	resp, err := s.http(t).PostForm(strings.TrimSuffix(acmeToken, "/token")+"/leaked", url.Values{"secret": {creds.ClientSecret.Reveal()}})
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%+v, %v", resp, err)
	}
	resp.Body.Close()
	waitFor(t, func() bool {
		got, to := r.of(alerts.KindLeakedSecret)
		return len(got) == 1 && len(to) == 3
	})
	got, to := r.of(alerts.KindLeakedSecret)
	if a := got[0]; a.ClientID != "billing" || a.Realm != "acme" || a.Subject == "" || !strings.Contains(a.Command, "client revoke") || a.Contact != "billing@owner.example" {
		t.Errorf("%+v", a)
	}
	for address, command := range map[string]bool{"ops@acme.example": true, "night@acme.example": true, "billing@owner.example": false} {
		text, ok := to[address]
		if !ok || strings.Contains(text, "client revoke") != command || strings.Contains(text, creds.ClientSecret.Reveal()) || !strings.Contains(text, "Auto-Submitted: auto-generated\r\n") {
			t.Errorf("to %s: %s", address, text)
		}
	}
	if strings.Contains(s.errors(), "PASSWORD") {
		t.Error("the log shows the path of the webhook")
	}
}

// TestAlertsTest: each receiver gets a test, and what fails is said.
func TestAlertsTest(t *testing.T) {
	r, settings := receive(t)
	s := layOut(t, exampleConfig(t)+settings)
	s.write(t, "hook", testHookSecret)
	got := s.manage(t, "alerts", "test").good(t)
	all, to := r.of(kindTest)
	if lines := strings.Split(got.out, "\n"); len(lines) != 4 || !strings.HasPrefix(lines[0], "sent  webhook http://127.0.0.1:") ||
		!slices.Equal(lines[1:3], []string{"sent  mail to ops@acme.example", "sent  mail to night@acme.example"}) || len(all) != 1 || len(to) != 2 {
		t.Errorf("%s\n%v %v", got.out, all, to)
	}
	r.mu.Lock()
	r.away = true
	r.mu.Unlock()
	failed := s.manage(t, "alerts", "test")
	if failed.code != exitLocal || !strings.HasPrefix(failed.out, "FAIL  webhook http://127.0.0.1:") || !strings.Contains(failed.out, "answered 500\nsent  mail to ops") ||
		!strings.Contains(failed.err, "1 of 3 test alerts were not sent") || strings.Contains(failed.out+failed.err, "PASSWORD") {
		t.Errorf("exit %d\n%s%s", failed.code, failed.out, failed.err)
	}
	if got := layOut(t, exampleConfig(t)).manage(t, "alerts", "test"); got.code != exitLocal || !strings.Contains(got.err, "names no webhook and no mail") {
		t.Errorf("%+v", got)
	}
	if got := execute(t, "", nil, binary, "alerts", "test"); got.code != exitUsage {
		t.Errorf("%+v", got)
	}
}
