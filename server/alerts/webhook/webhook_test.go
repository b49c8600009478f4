package webhook_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/webhook"
)

var (
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	secret = secretOf("0123456789abcdefghijklmnopqrstuv")
	older  = secretOf("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345")
)

func secretOf(key string) counterfoil.Secret {
	return counterfoil.Secret("whsec_" + base64.StdEncoding.EncodeToString([]byte(key)))
}

func alert() alerts.Alert {
	return alerts.Alert{
		ID: 17, Kind: alerts.KindBlocked, Realm: "orders", ClientID: "billing", Subject: "192.0.2.0/24",
		Summary: "100 authentications failed: <script>alert(1)</script> & 'more'", Command: "counterfoil blocks clear 192.0.2.0/24",
		Count: 3, First: start.Add(-time.Hour), Last: start,
	}
}

// receiver is a TLS server with a handler.
func receiver(t *testing.T, h http.HandlerFunc) (*httptest.Server, webhook.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s, webhook.Config{URL: s.URL + "/hooks/pw-in-path?pw=query", Secret: secret, RootCAs: pool, Clock: clock.NewManual(start)}
}

func build(t *testing.T, c webhook.Config) *webhook.Sender {
	t.Helper()
	s, err := webhook.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSend: the request is as the specification says, with a signature of each
// secret.
func TestSend(t *testing.T) {
	type request struct {
		header http.Header
		uri    string
		body   string
	}
	var got []request
	_, c := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, request{r.Header, r.Method + " " + r.RequestURI, string(body)})
		w.WriteHeader(204)
	})
	c.Previous = older
	manual := clock.NewManual(start)
	c.Clock = manual
	s := build(t, c)
	for range 2 {
		if err := s.Send(t.Context(), alert()); err != nil {
			t.Fatal(err)
		}
		manual.Turn(time.Minute)
	}
	again := alert()
	again.Count++
	if err := s.Send(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	first, second, third := got[0], got[1], got[2]
	if first.uri != "POST /hooks/pw-in-path?pw=query" || first.header.Get("Content-Type") != "application/json" {
		t.Errorf("the request is %+v", first)
	}
	var sent alerts.Alert
	if err := json.Unmarshal([]byte(first.body), &sent); err != nil || sent != alert() || strings.Contains(first.body, "\\u003c") {
		t.Errorf("the body is %s, error %v", first.body, err)
	}
	id := func(r request) string { return r.header.Get("webhook-id") }
	if id(first) != id(second) || id(first) == id(third) || id(first) == "" {
		t.Errorf("the IDs of a repeat and of one more: %q, %q, %q", id(first), id(second), id(third))
	}
	if second.header.Get("webhook-timestamp") != "1772366460" {
		t.Errorf("the timestamp is %s", second.header.Get("webhook-timestamp"))
	}
	var want []string
	for _, key := range []string{"0123456789abcdefghijklmnopqrstuv", "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"} {
		h := hmac.New(sha256.New, []byte(key))
		h.Write([]byte(id(first) + ".1772366400." + first.body))
		want = append(want, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	if first.header.Get("webhook-signature") != strings.Join(want, " ") {
		t.Errorf("signed %q, want %q", first.header.Get("webhook-signature"), want)
	}
}

// TestReceiverOfDocs: the receiver that docs/webhooks.md shows takes what is signed
// with either secret of a rotation, once, and refuses another secret.
func TestReceiverOfDocs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(string(text), "```python\n")
	code, _, _ = strings.Cut(code, "```")
	cmd := exec.CommandContext(t.Context(), "python3", "-c", code)
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret.Reveal())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	lines := bufio.NewScanner(out)
	lines.Scan()
	port, ok := strings.CutPrefix(lines.Text(), "listening on ")
	if !ok {
		t.Fatalf("it says %q", lines.Text())
	}
	url := "http://127.0.0.1:" + port + "/"
	send := func(c webhook.Config, a alerts.Alert) error { c.URL = url; return build(t, c).Send(t.Context(), a) }
	now := alert()
	if err := send(webhook.Config{Secret: secret}, now); err != nil {
		t.Error(err)
	}
	if err := send(webhook.Config{Secret: older, Previous: secret}, now); err != nil {
		t.Error("while its secret is the previous one:", err)
	}
	if err := send(webhook.Config{Secret: older}, now); err == nil || !strings.Contains(err.Error(), "answered 401") {
		t.Error("another secret:", err)
	}
	if err := send(webhook.Config{Secret: secret, Clock: clock.NewManual(time.Now().Add(-time.Hour))}, now); err == nil {
		t.Error("an hour ago")
	}
	now.Count, now.Summary = 4, "the end"
	if err := send(webhook.Config{Secret: secret}, now); err != nil {
		t.Error(err)
	}
	_ = cmd.Process.Kill() // it writes before it answers
	for _, want := range []string{"blocked " + alert().Summary, "blocked the end"} {
		if lines.Scan(); lines.Text() != want {
			t.Errorf("it says %q, want %q", lines.Text(), want)
		}
	}
}

// TestAnswers: what an answer means for another attempt. No error shows the path.
func TestAnswers(t *testing.T) {
	date := start.Add(-24 * time.Hour)
	for name, row := range map[string]struct {
		status    int
		header    map[string]string
		permanent bool
		after     time.Duration
		says      string
	}{
		"taken":                {status: 200},
		"taken for later":      {status: 202, header: map[string]string{"Retry-After": "9"}},
		"not understood":       {status: 400, permanent: true, says: "answered 400"},
		"not authorized":       {status: 401, says: "answered 401"},
		"not found":            {status: 404, says: "answered 404"},
		"no more":              {status: 410, permanent: true, says: "answered 410"},
		"too large":            {status: 413, permanent: true, says: "answered 413"},
		"invalid":              {status: 422, permanent: true, says: "answered 422"},
		"too many":             {status: 429, header: map[string]string{"Retry-After": "120"}, after: 2 * time.Minute, says: "answered 429"},
		"too many, no time":    {status: 429, says: "answered 429"},
		"a day of it":          {status: 503, header: map[string]string{"Retry-After": "86400"}, after: time.Hour, says: "answered 503"},
		"forever":              {status: 503, header: map[string]string{"Retry-After": "99999999999999999999"}, after: time.Hour, says: "503"},
		"a date":               {status: 503, header: map[string]string{"Retry-After": date.Add(90 * time.Second).Format(http.TimeFormat), "Date": date.Format(http.TimeFormat)}, after: 90 * time.Second, says: "503"},
		"a date that passed":   {status: 503, header: map[string]string{"Retry-After": date.Add(-time.Hour).Format(http.TimeFormat), "Date": date.Format(http.TimeFormat)}, says: "503"},
		"no date":              {status: 503, header: map[string]string{"Retry-After": "-5"}, says: "503"},
		"failed":               {status: 500, says: "answered 500"},
		"elsewhere":            {status: 307, header: map[string]string{"Location": "/other"}, says: "a redirect, which is not followed"},
		"elsewhere with words": {status: 301, header: map[string]string{"Location": "https://127.0.0.1:1/"}, says: "a redirect, which is not followed"},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			_, c := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
				requests++
				for name, value := range row.header {
					w.Header().Set(name, value)
				}
				w.WriteHeader(row.status)
			})
			err := build(t, c).Send(t.Context(), alert())
			if requests != 1 {
				t.Errorf("%d requests", requests)
			}
			if row.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "pw") {
				t.Fatalf("got %v, want %q", err, row.says)
			}
			if _, permanent := errors.AsType[*alerts.PermanentError](err); permanent != row.permanent {
				t.Errorf("permanent: %v", permanent)
			}
			later, ok := errors.AsType[*alerts.LaterError](err)
			if ok != (row.after > 0) || ok && later.After != row.after {
				t.Errorf("later: %+v, want %v", later, row.after)
			}
		})
	}
}

// TestHang: a receiver that never answers, and one that never ends its answer.
func TestHang(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	_, c := receiver(t, func(w http.ResponseWriter, r *http.Request) { <-stop })
	manual := clock.NewManual(start)
	c.Clock = manual
	done := make(chan error, 1)
	s := build(t, c)
	go func() { done <- s.Send(context.Background(), alert()) }()
	if err := manual.Sleepers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	manual.Turn(10 * time.Second)
	if err := <-done; err == nil || !strings.Contains(err.Error(), "no whole answer in time: 10s") {
		t.Error(err)
	}
	_, c = receiver(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = w.Write(make([]byte, 1<<16))
		}
	})
	if err := build(t, c).Send(t.Context(), alert()); err != nil {
		t.Error("an answer without end:", err)
	}
	_, c = receiver(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	})
	if err := build(t, c).Send(t.Context(), alert()); err == nil {
		t.Error("a header of a megabyte")
	}
}

// TestOnlyThere: no other host, no certificate of another, no proxy of the
// environment.
func TestOnlyThere(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	requests := 0
	_, c := receiver(t, func(http.ResponseWriter, *http.Request) { requests++ })
	if err := build(t, c).Send(t.Context(), alert()); err != nil || requests != 1 {
		t.Errorf("%d requests, error %v", requests, err)
	}
	right := c.URL
	c.URL = strings.Replace(right, "127.0.0.1", "localhost", 1)
	if err := build(t, c).Send(t.Context(), alert()); err == nil || !strings.Contains(err.Error(), "its certificate is for another host") {
		t.Error(err)
	}
	c.URL = right
	c.RootCAs = nil
	if err := build(t, c).Send(t.Context(), alert()); err == nil || !strings.Contains(err.Error(), "an authority that is not trusted") {
		t.Error(err)
	}
	if requests != 1 {
		t.Errorf("%d requests", requests)
	}
	c.Kinds = []alerts.Kind{alerts.KindClock}
	if err := build(t, c).Send(t.Context(), alert()); err != nil {
		t.Error("a kind that is not sent:", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, row := range map[string]struct {
		url    string
		secret counterfoil.Secret
		says   string
	}{
		"plain":           {"http://alerts.example/PATH", secret, "must be an https URL"},
		"nearly loopback": {"http://127.0.0.1.nip.example/", secret, "must be an https URL"},
		"private":         {"http://10.0.0.1/", secret, "must be an https URL"},
		"credentials":     {"https://user:pass@alerts.example/", secret, "must be an https URL"},
		"fragment":        {"https://alerts.example/#PATH", secret, "must be an https URL"},
		"nothing":         {"", secret, "must be an https URL"},
		"a file":          {"file:///PATH", secret, "must be an https URL"},
		"a strange host":  {"https://a_b!c/", secret, "must have the name"},
		"no secret":       {"https://alerts.example/", "", "whsec_"},
		"another form":    {"https://alerts.example/", "SECRET", "whsec_"},
		"short":           {"https://alerts.example/", secretOf("SECRETSECRETSECRET12345"), "from 24 to 64"},
		"long":            {"https://alerts.example/", secretOf(strings.Repeat("S", 65)), "from 24 to 64"},
		"with a new line": {"https://alerts.example/", secret + "!", "whsec_"},
	} {
		_, err := webhook.New(webhook.Config{URL: row.url, Secret: row.secret})
		if err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), "PATH") || strings.Contains(err.Error(), "pass@") {
			t.Errorf("%s: it shows too much: %v", name, err)
		}
	}
}

// TestName: the name tells webhooks apart, without what may be a password.
func TestName(t *testing.T) {
	names := map[string]bool{}
	for _, url := range []string{"https://a.example", "https://a.example/hook/1", "https://a.example/hook/2", "https://a.example:8443/hook/1"} {
		name := build(t, webhook.Config{URL: url, Secret: secret}).Name()
		if names[name] || strings.Contains(name, "hook/") || !strings.HasPrefix(name, "webhook https://a.example") {
			t.Errorf("%s is %q", url, name)
		}
		names[name] = true
	}
}

// TestPlainGoesNowhereElse: the name localhost is not enough, it must be this
// machine's. A literal of loopback reaches a server without TLS.
func TestPlainGoesNowhereElse(t *testing.T) {
	requests := 0
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests++ }))
	defer s.Close()
	if err := build(t, webhook.Config{URL: s.URL, Secret: secret}).Send(t.Context(), alert()); err != nil || requests != 1 {
		t.Errorf("%d requests, error %v", requests, err)
	}
}
