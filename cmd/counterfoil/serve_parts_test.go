package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/certfiles"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/strict"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// Files that changed are loaded when they are looked at; files that are no pair
// leave the old certificate in place, until they are, and are told of once.
func TestCertificateFiles(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	now := clock.NewManual(time.Now())
	c, err := certfiles.Open(filepath.Join(s.dir, "tls/certificate.pem"), filepath.Join(s.dir, "tls/key.pem"), now, nil)
	if err != nil {
		t.Fatal(err)
	}
	var failed []error
	loaded := 0
	c.Failed = func(err error) { failed = append(failed, err) }
	c.Loaded = func(*tls.Certificate) { loaded++ }
	shown := func() string {
		c.Look()
		c.Look()
		cert, err := c.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.SerialNumber.String()
	}
	shown()
	renewed := s.certify(t, "auth.acme.example").SerialNumber.String()
	if shown() != renewed || loaded != 1 {
		t.Errorf("the renewed certificate is not shown, or loaded %d times", loaded)
	}
	key, err := os.ReadFile(filepath.Join(s.dir, "tls/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	last := s.certify(t, "auth.acme.example").SerialNumber.String()
	newKey, err := os.ReadFile(filepath.Join(s.dir, "tls/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "tls/key.pem", string(key))
	if shown() != renewed || len(failed) != 1 {
		t.Errorf("half of a renewal: %v", failed)
	}
	s.write(t, "tls/key.pem", "no key")
	if shown() != renewed || len(failed) != 2 {
		t.Errorf("another mistake: %v", failed)
	}
	s.write(t, "tls/key.pem", string(newKey))
	if shown() != last || len(failed) != 2 {
		t.Errorf("a whole renewal is not shown: %v", failed)
	}
	good := filepath.Join(s.dir, "tls/key.pem")
	for n := 3; n <= 4; n++ {
		if err := os.Rename(good, good+".good"); err != nil {
			t.Fatal(err)
		}
		s.write(t, "tls/key.pem", string(key))
		if shown() != last || len(failed) != n {
			t.Errorf("the first mistake once more: %v", failed)
		}
		if err := os.Rename(good+".good", good); err != nil { // the very file of before
			t.Fatal(err)
		}
		if shown() != last || len(failed) != n {
			t.Errorf("as it was: %v", failed)
		}
	}
}

// The end of a certificate is told of in 30, 7 and 1 days and when it has come, once
// each, also by a program that looks rarely, and of the next one anew.
func TestCertificateExpiry(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	const day = 24 * time.Hour
	now := clock.NewManual(time.Now())
	leaf := s.certifyUntil(t, now.Now().Add(40*day), "auth.acme.example")
	var log bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	var mu sync.Mutex
	ended.Go(func() {
		watchCertificate(ctx, now, slog.New(slog.NewTextHandler(&log, nil)), func() *x509.Certificate { mu.Lock(); defer mu.Unlock(); return leaf })
	})
	said := func(step time.Duration) string {
		t.Helper()
		now.Turn(step)
		for range 2 {
			if err := now.Sleepers(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			now.Turn(certfiles.LookEvery)
		}
		if err := now.Sleepers(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		text := log.String()
		log.Reset()
		return text
	}
	for _, row := range []struct {
		step time.Duration
		want string
	}{
		{0, ""}, {9 * day, ""}, {day, "days=29"}, {day, ""}, {22 * day, "days=6"}, {-time.Hour, ""}, {6*day + time.Hour, "days=0"}, {2 * day, "level=ERROR"}, {day, ""},
	} {
		if got := said(row.step); strings.Count(got, "\n") > 1 || !strings.Contains(got, row.want) || row.want == "" && got != "" {
			t.Errorf("after %v it says %q, want %q", row.step, got, row.want)
		}
	}
	mu.Lock()
	leaf = s.certifyUntil(t, now.Now().Add(6*day), "auth.acme.example")
	mu.Unlock()
	if got := said(0); strings.Count(got, "\n") != 1 || !strings.Contains(got, "days=5") {
		t.Errorf("of the next certificate it says %q", got)
	}
	stop()
	ended.Wait()
}

func TestRoutes(t *testing.T) {
	named := func(name string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(name + " " + r.URL.Path)) })
	}
	table := &routes{hosts: map[string]mounts{}}
	for _, r := range []serveconfig.Realm{
		{Realm: server.Realm{BaseURL: "https://a.example", Issuer: "https://a.example"}, Hosts: []string{"a.example"}},
		{Realm: server.Realm{BaseURL: "https://a.example/one", Issuer: "https://a.example/old"}, Hosts: []string{"a.example"}, Path: "/one"},
		{Realm: server.Realm{BaseURL: "https://a.example/one/two", Issuer: "https://a.example/one/two"}, Hosts: []string{"a.example", "b.example"}, Path: "/one/two"},
		{Realm: server.Realm{BaseURL: "https://[::1]", Issuer: "https://elsewhere.example"}, Hosts: []string{"::1"}},
	} {
		table.realm(&r, named(r.BaseURL))
	}
	for _, row := range []struct{ name, host, path, want string }{
		{"by host", "a.example", "/token", "https://a.example /token"},
		{"port, capitals and dot", "A.Example.:8443", "/token", "https://a.example /token"},
		{"by path", "a.example", "/one/token", "https://a.example/one /token"},
		{"longest path", "a.example", "/one/two/token", "https://a.example/one/two /token"},
		{"beginning of a word", "a.example", "/oneness", "https://a.example /oneness"},
		{"realm that has no root", "b.example", "/one/token", "404"},
		{"second host", "b.example", "/one/two/token", "https://a.example/one/two /token"},
		{"unknown host", "c.example", "/token", "421"},
		{"no host", "", "/token", "421"},
		{"address", "[::1]:8443", "/token", "https://[::1] /token"},
		{"well-known of the root", "a.example", oauthMetadata, "https://a.example " + oauthMetadata},
		{"well-known before a path", "a.example", oauthMetadata + "/one", "https://a.example/one " + oauthMetadata},
		{"well-known before a longer path", "b.example", oauthMetadata + "/one/two", "https://a.example/one/two " + oauthMetadata},
		{"well-known of an old issuer", "a.example", oauthMetadata + "/old", "https://a.example/one " + oauthMetadata},
		{"discovery of an old issuer", "a.example", "/old" + openidConfig, "https://a.example/one " + openidConfig},
		{"dots in the path", "a.example", "/one/../token", "https://a.example/one /../token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, "https://x.example"+row.path, nil)
			r.Host = row.host
			table.ServeHTTP(w, r)
			got := strings.TrimSpace(w.Body.String())
			if w.Code != http.StatusOK {
				got = strings.Fields(w.Result().Status)[0]
			}
			if got != row.want {
				t.Errorf("got %q", got)
			}
		})
	}
}

// Whatever a file says, it is refused with places or worked out.
func FuzzServeConfig(f *testing.F) {
	text, err := os.ReadFile("testdata/serve.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add("listen: :1\ntls: {certificate: c, key: k}\ndatabase: d\nmaster_key: env:K\nrealms: [{name: a, provider: oauth2, base_url: 'https://[::1]:8/a', federation: [{issuer: i, jwks_uri: 'https://h/'}]}]\n")
	f.Add("realms:\n  - {name: a, provider: ./a.yaml, hosts: [a, A.], path: /x}\n  - {name: a, provider: a55, hosts: [a], claims: [{name: x, value: 1}]}\nadmin: {realm: a}\n")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "/dev") || strings.Contains(text, "/proc") {
			return // what is there may be endless, or wait for somebody
		}
		file := filepath.Join(dir, "serve.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := serveConfig(t.Context(), file, func(string) string { return "" }, sqlite.Inspect)
		var problems strict.Problems
		if err == nil || !errors.As(err, &problems) {
			return
		}
		for _, problem := range problems {
			if problem.Line < 1 || problem.Column < 1 || problem.File == "" {
				t.Errorf("no place: %v", problem)
			}
		}
	})
}
