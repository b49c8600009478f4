package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

const acmeIssuer = "https://auth.acme.example"

// credentialed adds a client's credentials to its requests.
type credentialed struct {
	next http.RoundTripper
	of   clients.Credentials
}

func (c credentialed) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(url.QueryEscape(c.of.ClientID), url.QueryEscape(c.of.ClientSecret.Reveal()))
	return c.next.RoundTrip(r)
}

// resourceServer makes a client for an API's own requests.
func (s *served) resourceServer(t *testing.T, realm string) clients.Credentials {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, c, err := clients.New(db, nil, anyRules).Create(t.Context(), "test", clients.NewClient{
		Realm: realm, ID: "orders-api", Settings: store.Settings{Name: "orders", Scopes: counterfoil.Scopes{"orders:read"}, ResourceServer: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// freeAddress returns an address that a server can have twice in a row: the
// system gives such a port to no connection of its own accord.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 100 {
		address := "127.0.0.1:" + strconv.Itoa(15000+rand.IntN(15000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}

// follower is an API with a guard that follows the server's feed, in this
// process.
type follower struct {
	t    *testing.T
	feed *guard.Feed
	http.Handler
}

func (s *served) follower(t *testing.T, as clients.Credentials) *follower {
	t.Helper()
	feed, h, end, err := s.following(as).open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	return &follower{t, feed, h}
}

// following is what a guard needs to follow the server's feed, in any process.
type following struct{ Address, Trust, ID, Secret string }

func (s *served) following(as clients.Credentials) following {
	// The port is the same after a restart.
	return following{"127.0.0.1:" + s.port, filepath.Join(s.dir, "tls", "certificate.pem"), as.ClientID, as.ClientSecret.Reveal()}
}

// open returns an API behind a guard that follows.
func (c following) open() (_ *guard.Feed, _ http.Handler, end func(), err error) {
	p, err := provider.Builtin("oauth2")
	if err != nil {
		return nil, nil, nil, err
	}
	pool, err := trust.File(c.Trust)
	if err != nil {
		return nil, nil, nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, ServerName: "auth.acme.example"}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, c.Address)
		},
	}
	plain := &http.Client{Transport: transport, Timeout: patience}
	own := &http.Client{Transport: credentialed{transport, clients.Credentials{ClientID: c.ID, ClientSecret: counterfoil.Secret(c.Secret)}}}
	introspector, err := guard.NewIntrospector(guard.IntrospectionConfig{URL: acmeIssuer + "/introspect", Client: own, TTL: time.Millisecond})
	if err != nil {
		return nil, nil, nil, err
	}
	feed, err := guard.FollowRevocations(guard.FeedConfig{URL: acmeIssuer + "/revocations", Client: own, Logger: quiet, OnStale: introspector})
	if err != nil {
		return nil, nil, nil, err
	}
	keys, err := guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: acmeIssuer + "/.well-known/jwks.json", Client: plain, Logger: quiet})
	end = func() { feed.Close(); transport.CloseIdleConnections() }
	if err == nil {
		end = func() { feed.Close(); keys.Close(); transport.CloseIdleConnections() }
		var g *guard.Guard
		if g, err = guard.New(guard.Config{Provider: p, Issuer: acmeIssuer, Keys: keys, Liveness: feed, Logger: quiet}); err == nil {
			return feed, g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })), end, nil
		}
	}
	end()
	return nil, nil, nil, err
}

// call returns the status of a call with the token.
func (f *follower) call(token counterfoil.Secret) int {
	req := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "https://orders.example/api/", nil)
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	w := httptest.NewRecorder()
	f.ServeHTTP(w, req)
	return w.Code
}

// revoke revokes a token, as its client does.
func (s *served) revoke(t *testing.T, c *http.Client, of clients.Credentials, token counterfoil.Secret) {
	t.Helper()
	form := url.Values{"token": {token.Reveal()}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, acmeIssuer+"/revoke", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(of.ClientID), url.QueryEscape(of.ClientSecret.Reveal()))
	if got := do(t, c, req); got.status != http.StatusOK {
		t.Fatalf("the revocation is answered %d %s", got.status, got.body)
	}
}

// TestRevocationReachesAGuard: the binary revokes, and a guard in another process
// that follows its feed refuses. How long that takes is printed, not judged:
// bench/revocation measures it.
func TestRevocationReachesAGuard(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	creds, api := s.client(t, "acme", "orders:read"), s.resourceServer(t, "acme")
	f, c := s.follower(t, api), s.http(t)
	waitFor(t, func() bool { return f.feed.Stats().Connected })
	kept := s.token(t, c, acmeToken, creds)
	var all []time.Duration
	for range 50 {
		token := s.token(t, c, acmeToken, creds)
		if got := f.call(token); got != http.StatusOK {
			t.Fatalf("a good token gets %d", got)
		}
		s.revoke(t, c, creds, token)
		answered := time.Now()
		waitFor(t, func() bool {
			if f.call(token) == http.StatusUnauthorized {
				return true
			}
			runtime.Gosched()
			return false
		})
		all = append(all, time.Since(answered))
	}
	slices.Sort(all)
	t.Logf("from the revoking answer to the refusal: median %v, 90 %% within %v, all within %v", all[len(all)/2], all[len(all)*9/10], all[len(all)-1])
	if got := f.call(kept); got != http.StatusOK {
		t.Errorf("a token that was not revoked gets %d", got)
	}
	if got := f.feed.Stats(); got.Stale || got.Entries != 50 || got.Reconnects != 0 {
		t.Errorf("%+v", got)
	}
}

// TestFollowerOutlivesTheServer: the server dies and comes back with the same
// database; the guard goes on where it was, and forgets nothing meanwhile.
func TestFollowerOutlivesTheServer(t *testing.T) {
	s := layOut(t, strings.Replace(exampleConfig(t), "127.0.0.1:0", freeAddress(t), 1)).start(t)
	creds, api := s.client(t, "acme", "orders:read"), s.resourceServer(t, "acme")
	f, c := s.follower(t, api), s.http(t)
	waitFor(t, func() bool { return f.feed.Stats().Connected })
	first, second, third := s.token(t, c, acmeToken, creds), s.token(t, c, acmeToken, creds), s.token(t, c, acmeToken, creds)
	s.revoke(t, c, creds, first)
	waitFor(t, func() bool { return f.call(first) == http.StatusUnauthorized })
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return !f.feed.Stats().Connected })
	if got := f.call(first); got != http.StatusUnauthorized {
		t.Errorf("without the server, the revoked token gets %d", got)
	}
	s.start(t)
	// Revoked before the guard is back, or after: it learns of it in any case.
	s.revoke(t, c, creds, second)
	waitFor(t, func() bool { return f.feed.Stats().Connected && f.call(second) == http.StatusUnauthorized })
	for token, want := range map[counterfoil.Secret]int{first: http.StatusUnauthorized, second: http.StatusUnauthorized, third: http.StatusOK} {
		if got := f.call(token); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	if got := f.feed.Stats(); got.Reconnects == 0 || got.Entries != 2 {
		t.Errorf("%+v", got)
	}
}
