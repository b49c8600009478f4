package client_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// TestProofsWhenTheWallClockSteps has a row for each thing that carries a time to
// a server. What is refused for its time is repeated with the right one, once, and
// nobody notices.
func TestProofsWhenTheWallClockSteps(t *testing.T) {
	key := newKey(t, jose.ES256)
	for _, row := range []struct {
		name string
		test func(*machine, func(func()))
	}{
		{"DPoP proofs", func(m *machine, set func(func())) { stepProofs(m, set, key) }},
		{"assertions", func(m *machine, set func(func())) { stepAssertions(m, set, key) }},
		{"federated assertions", stepFederated},
		{"certificates", func(m *machine, set func(func())) { stepCertificate(m, set, time.Hour, 90*time.Minute) }},
		{"certificates after hours", func(m *machine, set func(func())) { stepCertificate(m, set, 6*time.Hour, 390*time.Minute) }},
	} {
		t.Run(row.name, func(t *testing.T) { stepping(t, row.test) })
	}
}

// inTime reports whether a time in a request is one of now, by true time.
func (m *machine) inTime(at time.Time) bool {
	off := m.truth().Sub(at)
	return off >= 0 && off < 10*time.Second
}

// numericDate is the time in a claim.
func numericDate(t testing.TB, claim any) time.Time {
	t.Helper()
	number, _ := claim.(json.Number)
	seconds, err := number.Int64()
	if err != nil {
		t.Error(err)
	}
	return time.Unix(seconds, 0)
}

// proofInTime reports whether the proof of a request is.
func (m *machine) proofInTime(r *http.Request) bool {
	p, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Want{Method: r.Method, URL: "https://" + r.Host + r.URL.Path, Now: m.truth(),
		MaxAge: 100 * time.Hour, Skew: 100 * time.Hour})
	if err != nil {
		m.t.Error(err)
	}
	return m.inTime(p.IssuedAt)
}

func stepProofs(m *machine, set func(func()), key client.Key) {
	refused := 0
	m.judge = func(r *http.Request, _ seen) (int, string) {
		if m.proofInTime(r) {
			return 0, ""
		}
		refused++
		return 400, `{"error":"invalid_dpop_proof"}`
	}
	m.calling(func(rw http.ResponseWriter, r seen, _ int) {
		if !m.proofInTime(r.Request) {
			refused++
			rw.Header().Set("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
			rw.WriteHeader(401)
		}
	})
	s := m.source(func(c *client.Config) { c.DPoP = key })
	calls := func(n int) {
		for range n {
			m.calls1(s)
			m.clock.Turn(6 * time.Minute)
		}
	}
	calls(3)
	equal(m.t, "proofs refused before", refused, 0)
	set(func() { m.calls1(s) })
	calls(27)
	// Set, corrected, and known wrong once more when the token is renewed.
	if refused > 3 {
		m.t.Errorf("%d proofs were refused for their time, want 3 at most", refused)
	}
	m.atMost(4 + 2)
}

func stepAssertions(m *machine, set func(func()), key client.Key) {
	refused := 0
	m.lives = 10 * time.Minute
	m.judge = func(_ *http.Request, r seen) (int, string) {
		_, claims := claimsOf(m.t, m.tokenForm(m.asked()-1).Get("client_assertion"), key.Signer.Public(), jose.ES256)
		from, until := numericDate(m.t, claims["nbf"]), numericDate(m.t, claims["exp"])
		if m.inTime(numericDate(m.t, claims["iat"])) && m.inTime(from) && m.truth().Before(until) {
			return 0, ""
		}
		refused++
		return 401, `{"error":"invalid_client"}`
	}
	s := m.source(func(c *client.Config) { c.ClientSecret, c.Key = nil, always(key) })
	m.minutes(s, 5)
	equal(m.t, "assertions refused before", refused, 0)
	set(func() { s.Invalidate(m.ctx, m.tokenOf(s)); m.uses(s) })
	m.minutes(s, 60)
	if refused > 2 {
		m.t.Errorf("%d assertions were refused for their time, want 2 at most", refused)
	}
	m.atMost(9 + 4)
}

// A platform renews its assertion every 40 minutes, and each is good for an hour.
func stepFederated(m *machine, set func(func())) {
	m.lives = 10 * time.Minute
	assertion := jwtUntil(m.t, m.truth().Add(time.Hour), "")
	s := m.source(func(c *client.Config) {
		c.ClientSecret = nil
		c.Assertion = func(context.Context) (counterfoil.Secret, error) { return assertion, nil }
	})
	for i := range 60 {
		if i > 0 && i%20 == 0 {
			assertion = jwtUntil(m.t, m.truth().Add(time.Hour), "")
		}
		if i == 5 {
			set(func() { m.uses(s) })
		}
		m.uses(s)
		m.clock.Turn(2 * time.Minute)
	}
	m.atMost(14 + 2)
	if slices.ContainsFunc(m.seenEvents(), func(e counterfoil.Event) bool { return e.Type == counterfoil.EventTokenRefused }) {
		m.t.Error("an assertion that is good was taken for one that has ended")
	}
}

// A certificate is renewed ten minutes before its end, by true time. The clock is
// set after five sixths of a token's life.
func stepCertificate(m *machine, set func(func()), lives, ends time.Duration) {
	m.lives = lives
	cert := certify(m.t, "one", m.truth().Add(ends))
	s := m.source(func(c *client.Config) {
		c.ClientSecret = nil
		c.Certificate = func(context.Context) (*tls.Certificate, error) { return cert, nil }
	})
	m.uses(s)
	m.clock.Turn(lives * 5 / 6)
	set(func() { m.uses(s) })
	m.uses(s)
	m.clock.Turn(ends - lives*5/6 - 10*time.Minute)
	cert = certify(m.t, "two", m.truth().Add(20*lives))
	m.minutes(s, 180)
	m.atMost(2 + 4 + 2)
	if slices.ContainsFunc(m.seenEvents(), func(e counterfoil.Event) bool { return e.Type == counterfoil.EventTokenRefused }) {
		m.t.Error("a certificate that is good was taken for one that has ended")
	}
}

// Two processes share a directory, and the clock of one of them is set and, an hour
// later, corrected. Each gets along, and nothing is left of it afterwards.
func TestDirOfProcessesWithOtherClocks(t *testing.T) {
	for _, row := range []struct {
		name string
		// most is how many token requests there may be in the hour for each call.
		policy provider.Policy
		most   int
	}{
		{"independent tokens", provider.PolicyIndependent, 4},
		{"a new token ends the old one", provider.PolicyReplace, 2 * 12},
	} {
		for _, step := range []time.Duration{2 * time.Hour, -2 * time.Hour, time.Second, -time.Second} {
			t.Run(fmt.Sprint(row.name, ", clock set by ", step), func(t *testing.T) { otherClocks(t, row.policy, step, row.most) })
		}
	}
}

func otherClocks(t *testing.T, policy provider.Policy, step time.Duration, most int) {
	m := newMachine(t)
	dir, _ := dirCache(t)
	right := clock.NewStepping(theStart)
	join := func(c counterfoil.Clock) *client.Source {
		return m.source(func(cfg *client.Config) {
			cfg.Provider.TokenEndpoint.Policy = policy
			cfg.Cache, cfg.Clock = dir, c
		})
	}
	a, b := join(m.clock), join(right)
	m.calling(func(rw http.ResponseWriter, r seen, _ int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if policy == provider.PolicyReplace && r.Header.Get("Authorization") != fmt.Sprint("Bearer token-", len(m.world.tokens)) {
			rw.WriteHeader(401)
		}
	})
	calls := func(minutes int) int {
		before := m.asked()
		for range minutes / 5 {
			m.calls1(a)
			m.calls1(b)
			m.clock.Turn(5 * time.Minute)
			right.Turn(5 * time.Minute)
		}
		return m.asked() - before
	}
	calls(20)
	m.step(step)
	if n := calls(60); n > most {
		t.Errorf("%d token requests in an hour while the clocks differ, want %d at most", n, most)
	}
	m.step(-step)
	calls(60)
	if n := calls(120); n > 3 {
		t.Errorf("%d token requests in the two hours after that, want 3 at most", n)
	}
}
