//go:build unix

package fleet_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/provider"
)

// endpoint is a token endpoint on a real TLS listener.
type endpoint struct {
	*httptest.Server
	asked atomic.Int32
}

func newEndpoint(t *testing.T) *endpoint {
	e := &endpoint{}
	e.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n := e.asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		if _, secret, _ := r.BasicAuth(); secret != "right" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client"}`)
			return
		}
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":100}`, n)
	}))
	t.Cleanup(e.Close)
	return e
}

// source is a Source of a provider with that policy.
func (e *endpoint) source(t *testing.T, cache *fleet.Cache, policy provider.Policy, change func(*client.Config)) *client.Source {
	t.Helper()
	p, err := provider.Builtin("oauth2")
	if err == nil {
		p, err = p.Override(provider.Overrides{Policy: policy})
	}
	if err != nil {
		t.Fatal(err)
	}
	c := client.Config{
		Provider: p, TokenURL: e.URL + "/token", APIURL: e.URL, ClientID: "the-client", ClientSecret: client.Static("right"), Cache: cache,
		HTTP: e.Client().Transport,
	}
	change(&c)
	s, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a Source makes of a server that is away depends on what a new token does
// to the others'.
func TestSourceWhileTheServerIsAway(t *testing.T) {
	for _, row := range []struct {
		name   string
		policy provider.Policy
		alone  bool
		want   string // the token after the first has ended, "" for an error
	}{
		{"independent tokens are fetched", provider.PolicyIndependent, false, "token-2"},
		{"where a new token ends the old one there is none", provider.PolicyReplace, false, ""},
		{"unless FetchWithoutCache says so", provider.PolicyReplace, true, "token-2"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, e, now := start(t), newEndpoint(t), clock.NewManual(time.Now())
			source := e.source(t, s.open(), row.policy, func(c *client.Config) { c.FetchWithoutCache, c.Clock = row.alone, now })
			first, err := source.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s.kill()
			now.Turn(90 * time.Second) // to be renewed, and still alive
			kept, err := source.Token(t.Context())
			if err != nil || kept.Value != first.Value && !row.alone && row.policy == provider.PolicyReplace {
				t.Errorf("while it lives: %v", err)
			}
			now.Turn(20 * time.Second)
			got, err := source.Token(t.Context())
			equal(t, "token", got.Value.Reveal(), row.want)
			if row.want != "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			failure, ok := errors.AsType[*counterfoil.Error](err)
			if !ok || !errors.Is(err, client.ErrCacheLost) || failure.Class() != counterfoil.ClassTransient || !strings.Contains(failure.Message, "set Config.FetchWithoutCache") {
				t.Errorf("got %v", err)
			}
			equal(t, "token requests", e.asked.Load(), 1)
		})
	}
}

// Many processes with a wrong secret ask once, and the one with the right secret
// is not kept from asking.
func TestSourcesWithAWrongSecretAskOnce(t *testing.T) {
	s, e := start(t), newEndpoint(t)
	for i := range 20 {
		source := e.source(t, s.open(), provider.PolicyReplace, func(c *client.Config) { c.ClientSecret = client.Static("wrong") })
		_, err := source.Token(t.Context())
		failure, ok := errors.AsType[*counterfoil.Error](err)
		if !ok || failure.Reason != counterfoil.ReasonInvalidClient || failure.Status != 401 {
			t.Fatalf("the source %d got %v", i, err)
		}
	}
	if n := e.asked.Load(); n > 3 { // a pause of a second may end meanwhile on a slow machine
		t.Errorf("asked %d times", n)
	}
	before := e.asked.Load()
	if _, err := e.source(t, s.open(), provider.PolicyReplace, func(*client.Config) {}).Token(t.Context()); err != nil {
		t.Error(err)
	}
	equal(t, "asked with the right one", e.asked.Load(), before+1)
}

// Sources of several processes' caches have one token, and all change at once.
func TestSourcesShareOneToken(t *testing.T) {
	s, e := start(t), newEndpoint(t)
	var sources []*client.Source
	for range 10 {
		sources = append(sources, e.source(t, s.open(), provider.PolicyReplace, func(*client.Config) {}))
	}
	for i, source := range sources {
		got, err := source.Token(t.Context())
		if err != nil || got.Value != "token-1" {
			t.Fatalf("the source %d has %q, %v", i, got.Value.Reveal(), err)
		}
	}
	rejected, _ := sources[0].Token(t.Context())
	sources[0].Invalidate(t.Context(), rejected)
	for i, source := range sources {
		eventually.True(t, fmt.Sprintf("source %d has the new token", i), func() bool {
			got, err := source.Token(t.Context())
			return err == nil && got.Value == "token-2"
		})
	}
	equal(t, "token requests", e.asked.Load(), 2)
}
