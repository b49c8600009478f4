package server_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestAssertionServesOnceEverywhere: an assertion that was used at one endpoint
// is a replay at every other, and at the same; its use is recorded, and it does
// what it is used for.
func TestAssertionServesOnceEverywhere(t *testing.T) {
	h := newGate(t, nil)
	h.workload("job", store.Authentication{KeySet: jwks("ec", ecKey())})
	token := h.accessTokenOf(t, "job")
	at := func(path string, form url.Values) answer {
		form.Set("token", token)
		return h.post("/oauth2"+path, form, nil)
	}
	for _, first := range []string{"/introspect", "/revoke", "/token"} {
		t.Run(first[1:], func(t *testing.T) {
			form := h.asserting(signed(ecKey(), "ec", h.own("job"))).form
			if got := at(first, form); got.status != http.StatusOK || first == "/introspect" && got.body == inactive {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			if first == "/introspect" {
				h.wantLast(counterfoil.EventClientAuthenticated, "", "")
			}
			for _, again := range []string{"/introspect", "/revoke", "/token"} {
				if got := at(again, form); got.status != http.StatusUnauthorized {
					t.Errorf("again at %s: %d %s", again, got.status, got.body)
				}
				h.wantLast(counterfoil.EventTokenRefused, counterfoil.ReasonAssertionReplayed, "")
			}
		})
	}
	if got := at("/introspect", h.asserting(signed(ecKey(), "ec", h.own("job"))).form); got.body != inactive {
		t.Errorf("after its revocation the token is answered %s", got.body)
	}
}

// busy is a store in which a client is changed whenever its assertion is to be
// used up, so many times.
type busy struct {
	store.Store
	times, tries int
}

func (s *busy) RecordIssued(ctx context.Context, i store.Issuance) (int64, error) {
	if s.times > 0 && len(i.ReplayKeys) > 0 {
		s.tries++
		if s.tries <= s.times {
			return 0, store.ErrConflict
		}
	}
	return s.Store.RecordIssued(ctx, i)
}

// TestClientThatIsBeingChanged: who comes with an assertion is looked at again, up
// to five times.
func TestClientThatIsBeingChanged(t *testing.T) {
	for _, path := range []string{"/token", "/introspect"} {
		for times, status := range map[int]int{1: http.StatusOK, 4: http.StatusOK, 5: http.StatusServiceUnavailable, 9: http.StatusServiceUnavailable} {
			db := &busy{}
			h := newGate(t, func(c *server.Config) { db.Store, c.Store = c.Store, db })
			h.workload("job", store.Authentication{KeySet: jwks("ec", ecKey())})
			form := h.asserting(signed(ecKey(), "ec", h.own("job"))).form
			form.Set("token", h.accessTokenOf(t, "job"))
			db.times = times
			if got := h.post("/oauth2"+path, form, nil); got.status != status || db.tries != min(times+1, 5) {
				t.Errorf("%s, changed %d times: got %d %s after %d looks, want %d", path, times, got.status, got.body, db.tries, status)
			}
		}
	}
}

// accessTokenOf returns a token of a client that authenticates by assertion.
func (h *house) accessTokenOf(t *testing.T, id string) string {
	t.Helper()
	_, got := h.wantToken(t, h.asserting(signed(ecKey(), "ec", h.own(id))))
	return tokenIn(t, got)
}
