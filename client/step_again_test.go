package client_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/dircache"
	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// takes is uses while the clock stands still: nothing here has to wait.
func (m *machine) takes(s *client.Source) {
	m.t.Helper()
	token := m.tokenOf(s)
	m.mu.Lock()
	at, known := m.issued[token.Value.Reveal()]
	m.mu.Unlock()
	if age := m.clock.Now().Sub(at); !known || age >= m.lives {
		m.t.Errorf("%s is used %v after it was issued", token.Value.Reveal(), age)
	}
	m.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
}

// gets makes one call that is answered 200, while the clock stands still.
func (m *machine) gets(s *client.Source) {
	m.t.Helper()
	resp := m.get(s.Client(), m.api.URL)
	equal(m.t, "status", resp.StatusCode, 200)
	resp.Body.Close()
	m.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
}

// A token that has expired by the time that has passed is not taken from the cache
// again because the wall clock was set back.
func TestExpiredTokenInACacheOfAClockSetBack(t *testing.T) {
	m := newMachine(t)
	dir, err := dircache.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	s := m.source(func(c *client.Config) { c.Cache = dir })
	m.takes(s)
	m.clock.Turn(61 * time.Minute)
	m.step(-30 * time.Minute)
	m.takes(s)
	equal(t, "token requests", m.asked(), 2)
}

// storing is a cache that takes its time to store a token, and keeps no reading of the
// monotonic clock.
type storing struct {
	client.Cache
	stored func()
}

func (c *storing) Renew(ctx context.Context, key string, r client.Renewal) (counterfoil.Token, error) {
	fetch := r.Fetch
	r.Fetch = func(ctx context.Context) (counterfoil.Token, error) {
		token, err := fetch(ctx)
		token.Issued, token.Expires = token.Issued.Round(0), token.Expires.Round(0)
		c.stored()
		return token, err
	}
	return c.Cache.Renew(ctx, key, r)
}

// A provider that returns the same token again does not extend its life, although
// the clock is set back while the token is stored.
func TestSameTokenWhileTheClockIsSetBack(t *testing.T) {
	m := newMachine(t)
	began := m.clock.Now()
	m.asks(func(rw http.ResponseWriter, _ seen, _ int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		now := m.clock.Now()
		if len(m.issued) == 0 || now.Sub(began) >= time.Hour {
			began = now
			m.issued[fmt.Sprintf("token-%d", len(m.issued)+1)] = now
		}
		give(rw, len(m.issued), fmt.Sprint(int((time.Hour - now.Sub(began)).Seconds())))
	})
	cache := &storing{Cache: client.Memory(), stored: func() {}}
	s := m.source(func(c *client.Config) { c.Cache = cache })
	m.takes(s)
	m.clock.Turn(56 * time.Minute)
	cache.stored = func() { cache.stored = func() {}; m.step(-30 * time.Minute) }
	m.takes(s)
	equal(t, "token requests", m.asked(), 2)
	m.clock.Turn(5 * time.Minute)
	m.takes(s)
}

// An assertion is dated by the provider's clock although this machine's was set back
// since the two were compared: the first one is accepted.
func TestAssertionAfterTheClockWasSetBack(t *testing.T) {
	key := newKey(t, jose.ES256)
	for _, ahead := range []time.Duration{0, 10 * time.Minute} {
		m := newMachine(t)
		m.ahead = ahead
		refused := 0
		m.judge = func(*http.Request, seen) (int, string) {
			_, claims := claimsOf(t, m.tokenForm(m.asked()-1).Get("client_assertion"), key.Signer.Public(), jose.ES256)
			if m.inTime(numericDate(t, claims["iat"])) {
				return 0, ""
			}
			refused++
			return 401, `{"error":"invalid_client"}`
		}
		s := m.source(func(c *client.Config) { c.ClientSecret, c.Key = nil, always(key) })
		m.takes(s)
		before := refused
		m.clock.Turn(10 * time.Minute)
		m.step(-2 * time.Hour)
		s.Invalidate(m.ctx, m.tokenOf(s))
		m.takes(s)
		equal(t, "assertions refused after the step", refused-before, 0)
	}
}

// One refused proof tells that this machine's clock was set: the next proofs are
// right for the token endpoint, too, and for an API whose clock differs from its.
func TestOneProofTellsThatTheClockWasSet(t *testing.T) {
	key := newKey(t, jose.ES256)
	for _, apart := range []time.Duration{0, 10 * time.Minute} {
		m := newMachine(t)
		refused := 0
		proves := func(r *http.Request, apart time.Duration) bool {
			p, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Want{
				Method: r.Method, URL: "https://" + r.Host + r.URL.Path, Now: m.truth(), MaxAge: 100 * time.Hour, Skew: 100 * time.Hour,
			})
			if err != nil {
				t.Error(err)
			}
			right := m.inTime(p.IssuedAt.Add(-apart))
			if !right {
				refused++
			}
			return right
		}
		m.judge = func(r *http.Request, _ seen) (int, string) {
			if proves(r, 0) {
				return 0, ""
			}
			return 400, `{"error":"invalid_dpop_proof"}`
		}
		m.calling(func(rw http.ResponseWriter, r seen, _ int) {
			rw.Header().Set("Date", m.truth().Add(apart).UTC().Format(http.TimeFormat))
			if !proves(r.Request, apart) {
				rw.Header().Set("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
				rw.WriteHeader(http.StatusUnauthorized)
			}
		})
		s := m.source(func(c *client.Config) { c.DPoP = key })
		m.gets(s) // learns by how much the API's clock differs
		refused = 0
		m.step(30 * time.Minute)
		m.gets(s)
		equal(t, "proofs refused after the step", refused, 1)
		m.clock.Turn(30 * time.Minute) // to the token's end by this machine's clock
		m.gets(s)
		equal(t, "token requests", m.asked(), 2)
		equal(t, "proofs refused in all", refused, 1)
	}
}

// Tokens that are rejected shortly before their end are replaced, however many
// they are: the bound of dropped tokens is for those that had long to live.
func TestDropsNearTheEndAreNotCounted(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, n int) { give(rw, n, "5") })
	s := w.oauth2()
	for n := range 15 {
		token := w.tokenOf(s)
		equal(t, "token", token.Value.Reveal(), fmt.Sprintf("token-%d", n+1))
		w.clock.Turn(3500 * time.Millisecond)
		s.Invalidate(w.ctx, token)
	}
}
