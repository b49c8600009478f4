package server_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
)

// Token requests over a limit are refused in the dialect's shape, and the headers
// say what is left; the limits of others stay as they are.
func TestTokenRequestsAreLimited(t *testing.T) {
	for _, tt := range []struct {
		by      string
		limits  limits.RequestLimits
		other   string // a client that is refused as well
		another string // one that is not
	}{
		{"client", limits.RequestLimits{Client: 3}, "", "second"},
		{"tenant", limits.RequestLimits{Tenant: 3}, "second", "third"},
		{"realm", limits.RequestLimits{Realm: 3}, "third", ""},
		{"no limit", limits.RequestLimits{Client: -1, Tenant: -1, Realm: -1, Address: -1}, "", "second"},
	} {
		t.Run(tt.by, func(t *testing.T) {
			h := newHouseBy(t, limits.Config{Requests: tt.limits}, nil, "oauth2")
			all := map[string]counterfoil.Secret{"good": h.creds["oauth2"].ClientSecret}
			for id, tenant := range map[string]string{"second": "TENANT123", "third": "OTHER"} {
				s := store.Settings{Scopes: counterfoil.Scopes{"read"}, Tenants: []string{tenant}}
				all[id] = h.client(clients.NewClient{Realm: "oauth2", ID: id, Settings: s}).ClientSecret
			}
			request := func(id string) answer {
				a := h.good("oauth2")
				a.credentials(id, all[id].Reveal())
				return h.do("oauth2", a)
			}
			for i := range 3 {
				got := request("good")
				if got.status != http.StatusOK {
					t.Fatalf("request %d: %+v", i+1, got)
				}
				policy, left := got.header.Get("RateLimit-Policy"), got.header.Get("RateLimit")
				if tt.by == "client" && (policy != `"client";q=3;w=60` || left != []string{
					`"client";r=2;t=20`, `"client";r=1;t=40`, `"client";r=0;t=60`}[i]) || tt.by == "no limit" && policy+left != "" {
					t.Errorf("request %d has the headers %s and %s", i+1, policy, left)
				}
			}
			got := request("good")
			if tt.by == "no limit" {
				if got.status != http.StatusOK {
					t.Errorf("%+v", got)
				}
				return
			}
			if got.status != http.StatusTooManyRequests || got.body != `{"error":"temporarily_unavailable"}` || got.header.Get("Retry-After") != "20" {
				t.Errorf("over the limit: %+v", got)
			}
			if e := h.recorded(); e[len(e)-1].Reason != counterfoil.ReasonRateLimited || e[len(e)-1].ClientID != "good" {
				t.Errorf("recorded as %+v", e[len(e)-1])
			}
			if tt.other != "" && request(tt.other).status != http.StatusTooManyRequests {
				t.Errorf("%s is not limited", tt.other)
			}
			if tt.another != "" && request(tt.another).status != http.StatusOK {
				t.Errorf("%s is limited", tt.another)
			}
			h.clock.Turn(20 * time.Second)
			if got := request("good"); got.status != http.StatusOK {
				t.Errorf("after the wait: %+v", got)
			}
		})
	}
}

// Nobody uses up the limit of a client without its secret, and an address that
// sends too much does not stop a client that is known there.
func TestLimitsOfOthersAreNotSpent(t *testing.T) {
	h := newHouseBy(t, limits.Config{
		Guesses: limits.GuessLimits{Mode: limits.Off}, Requests: limits.RequestLimits{Client: 3, Address: 50},
	}, nil, "oauth2")
	wrong := func() answer {
		a := h.good("oauth2")
		a.credentials("good", "wrong")
		return h.do("oauth2", a)
	}
	for range 49 {
		if got := wrong(); got.status != http.StatusUnauthorized {
			t.Fatalf("%+v", got)
		}
	}
	if got := h.do("oauth2", h.good("oauth2")); got.status != http.StatusOK || got.header.Get("RateLimit") != `"client";r=2;t=20` {
		t.Errorf("after 49 guesses: %+v", got)
	}
	if got := wrong(); got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "2" {
		t.Errorf("the address is not limited: %+v", got)
	}

	known := newHouseBy(t, limits.Config{Requests: limits.RequestLimits{Address: 5}}, nil, "oauth2")
	for i := range 20 {
		if got := known.do("oauth2", known.good("oauth2")); got.status != http.StatusOK {
			t.Fatalf("request %d of a client that is known there: %+v", i+1, got)
		}
	}
	stranger := known.good("oauth2")
	stranger.credentials("stranger", "wrong")
	if got := known.do("oauth2", stranger); got.status != http.StatusTooManyRequests {
		t.Errorf("a stranger there: %+v", got)
	}
}

// conflicting is a store in which clients change while their first tokens are
// recorded.
type conflicting struct {
	store.Store
	times *int
}

func (c conflicting) RecordIssued(ctx context.Context, i store.Issuance) (int64, error) {
	if *c.times--; *c.times >= 0 {
		return 0, store.ErrConflict
	}
	return c.Store.RecordIssued(ctx, i)
}

// A request that is decided again is one request.
func TestRequestIsCountedOnce(t *testing.T) {
	times := 3
	h := newHouseBy(t, limits.Config{Requests: limits.RequestLimits{Client: 3}}, func(s store.Store) store.Store { return conflicting{s, &times} }, "oauth2")
	if got := h.do("oauth2", h.good("oauth2")); got.status != http.StatusOK || got.header.Get("RateLimit") != `"client";r=2;t=20` || times >= 0 {
		t.Errorf("%+v, %d conflicts left", got, times)
	}
}

// Monitor refuses nothing and says in the log what it would refuse.
func TestLimitsAreMonitored(t *testing.T) {
	h := newHouseBy(t, limits.Config{
		Guesses:  limits.GuessLimits{Mode: limits.Monitor, Address: 2, Network: 2},
		Requests: limits.RequestLimits{Mode: limits.Monitor, Client: 2},
	}, nil, "oauth2")
	for range 5 {
		if got := h.try("nobody", "wrong"); got != http.StatusUnauthorized {
			t.Errorf("a guess is answered %d", got)
		}
		if got := h.do("oauth2", h.good("oauth2")); got.status != http.StatusOK || got.header.Get("Retry-After") != "" {
			t.Errorf("%+v", got)
		}
	}
	for _, says := range []string{"a token request is over a limit that is not enforced", "over the limit of failed authentications, which is not enforced"} {
		if !strings.Contains(h.log.String(), says) {
			t.Errorf("the log does not say %q:\n%s", says, h.log.String())
		}
	}
}
