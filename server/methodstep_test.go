package server_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// newSteppingGate opens a gate whose clock can be set.
func newSteppingGate(t *testing.T, change func(*server.Config)) *house {
	t.Helper()
	return newGateBy(t, clock.NewStepping(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)), change)
}

// crowd lets others authenticate, so that what can be swept is.
func (h *house) crowd(t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	for range 40 {
		a := h.asserting(signed(ecKey(), "ec", h.own("crowd")))
		wg.Go(func() {
			if status, body, err := h.at(t.Context(), h.url, a); err != nil || status != http.StatusOK {
				t.Errorf("another client got %d %s, %v", status, body, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// TestReplayAndAClockThatIsSet: an assertion and a proof that were used are used
// up, whatever the clock does, and new ones are taken as soon as it is right.
func TestReplayAndAClockThatIsSet(t *testing.T) {
	const h2 = 2 * time.Hour
	for name, row := range map[string]struct {
		life  time.Duration // of the assertion
		moves []struct{ turn, step time.Duration }
	}{
		"2 h ahead, corrected":           {time.Minute, []struct{ turn, step time.Duration }{{0, h2}, {0, -h2}}},
		"2 h ahead, of an hour":          {time.Hour, []struct{ turn, step time.Duration }{{0, h2}, {0, -h2}}},
		"2 h ahead for a minute":         {time.Hour, []struct{ turn, step time.Duration }{{0, h2}, {time.Minute, -h2}}},
		"2 h back":                       {time.Minute, []struct{ turn, step time.Duration }{{0, -h2}}},
		"2 h back after its end":         {time.Minute, []struct{ turn, step time.Duration }{{h2 - time.Minute, 0}, {0, -h2}, {time.Minute, 0}}},
		"a second ahead, corrected":      {time.Minute, []struct{ turn, step time.Duration }{{0, time.Second}, {5e8, -time.Second}}},
		"a second ahead at its very end": {time.Minute, []struct{ turn, step time.Duration }{{90 * time.Second, 2 * time.Second}, {0, -2 * time.Second}}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newSteppingGate(t, nil)
			for _, id := range []string{"crowd", "job", "dated"} {
				h.workload(id, store.Authentication{KeySet: jwks("ec", ecKey())})
			}
			ends := h.clock.Now().Add(row.life).Unix()
			again := map[string]*ask{
				"assertion":          h.asserting(signed(ecKey(), "ec", h.own("dated").but(claims{"exp": ends}))),
				"assertion, no iat":  h.asserting(signed(ecKey(), "ec", h.own("job").but(claims{"exp": ends, "iat": nil}))),
				"proof and a secret": h.proving(proof(ecKey(), h.proofFor(h.url+"/oauth2/token"))),
			}
			for _, a := range again {
				h.wantToken(t, a)
			}
			for _, m := range row.moves {
				h.clock.Turn(m.turn)
				h.crowd(t)
				h.clock.Step(m.step)
				h.crowd(t)
				for what, a := range again {
					if got := h.do("oauth2", a); got.status == http.StatusOK {
						t.Errorf("%s: taken again after %+v", what, m)
					}
				}
			}
			h.wantToken(t, h.asserting(signed(ecKey(), "ec", h.own("job"))))
			h.wantToken(t, h.proving(proof(ecKey(), h.proofFor(h.url+"/oauth2/token"))))
		})
	}
}

// TestNonceAndAClockThatIsSet: a client is asked for another nonce at most once,
// and what it had before the clock was wrong is good afterwards.
func TestNonceAndAClockThatIsSet(t *testing.T) {
	for name, steps := range map[string][]time.Duration{
		"2 h ahead, corrected":      {2 * time.Hour, -2 * time.Hour},
		"2 h back, corrected":       {-2 * time.Hour, 2 * time.Hour},
		"a second ahead, corrected": {time.Second, -time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			h := newSteppingGate(t, func(c *server.Config) { c.Realms[0].DPoPNonce = true })
			ask := func(nonce string) (answer, string) {
				a := h.proving(proof(ecKey(), h.proofFor(h.url+"/oauth2/token").but(claims{"nonce": nonce})))
				got := h.do("oauth2", a)
				return got, got.header.Get("DPoP-Nonce")
			}
			_, first := ask("none")
			nonce := first
			for _, step := range steps {
				h.clock.Step(step)
				got, next := ask(nonce)
				if got.status != http.StatusOK {
					if got, next = ask(next); got.status != http.StatusOK {
						t.Errorf("after %v, with the nonce that was just given: %d %s", step, got.status, got.body)
					}
				}
				nonce = next
			}
			if got, _ := ask(first); got.status != http.StatusOK {
				t.Errorf("the nonce of before: %d %s", got.status, got.body)
			}
			if ahead := steps[0] > time.Minute; ahead {
				h.clock.Step(steps[0])
				_, future := ask(first)
				h.clock.Step(-steps[0])
				if got, _ := ask(future); got.status == http.StatusOK {
					t.Error("a nonce of the future is taken")
				}
			}
		})
	}
}

// TestOverlapAndAClockThatIsSet: an old secret that was to serve for an hour does
// when the clock is right, and one that was ended at once never serves again.
func TestOverlapAndAClockThatIsSet(t *testing.T) {
	h := newSteppingGate(t, nil)
	old := h.creds["oauth2"].ClientSecret
	creds, err := h.clients.RotateSecret(t.Context(), "test", "oauth2", "good", clients.Rotation{Overlap: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	h.keep(creds.ClientSecret.Reveal())
	want := func(when string, oldStatus int) {
		t.Helper()
		if got := h.try("good", creds.ClientSecret); got != http.StatusOK {
			t.Errorf("%s: the new secret got %d", when, got)
		}
		if got := h.try("good", old); got != oldStatus {
			t.Errorf("%s: the old secret got %d, want %d", when, got, oldStatus)
		}
	}
	want("in the overlap", http.StatusOK)
	h.clock.Step(2 * time.Hour)
	want("2 h ahead", http.StatusUnauthorized)
	h.clock.Step(-2 * time.Hour)
	want("corrected", http.StatusOK)
	h.clock.Step(-2 * time.Hour)
	want("2 h back", http.StatusOK)
	h.clock.Step(2 * time.Hour)
	h.clock.Turn(time.Hour - time.Minute)
	want("before the end", http.StatusOK)
	h.clock.Step(time.Second)
	want("a second ahead", http.StatusOK)
	h.clock.Step(-time.Second)
	h.clock.Turn(time.Minute)
	want("at the end", http.StatusUnauthorized)

	second := creds.ClientSecret
	if creds, err = h.clients.RotateSecret(t.Context(), "test", "oauth2", "good", clients.Rotation{}); err != nil {
		t.Fatal(err)
	}
	h.keep(creds.ClientSecret.Reveal())
	for _, step := range []time.Duration{0, -2 * time.Hour, 4 * time.Hour} {
		h.clock.Step(step)
		old = second
		want("ended at once, after "+step.String(), http.StatusUnauthorized)
	}
	c, err := h.clients.Get(t.Context(), "oauth2", "good")
	if err != nil {
		t.Fatal(err)
	}
	second = creds.ClientSecret
	if err := h.clients.ExpireSecret(t.Context(), "test", "oauth2", "good", c.Secrets[0].ID, time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []time.Duration{0, -24 * time.Hour, 48 * time.Hour} {
		h.clock.Step(step)
		if got := h.try("good", second); got != http.StatusUnauthorized {
			t.Errorf("a secret that was ended, after %v: %d", step, got)
		}
	}
}

// TestLastUseAndAClockThatIsSet: an operator reads no use that is to come, and a
// later use is not hidden by one.
func TestLastUseAndAClockThatIsSet(t *testing.T) {
	h := newSteppingGate(t, nil)
	used := func() time.Time {
		t.Helper()
		h.clock.Turn(time.Minute)
		h.token("oauth2")
		if err := h.server.Close(); err != nil { // which tells the store
			t.Fatal(err)
		}
		uses := h.uses("oauth2", "good")
		if len(uses) != 1 || uses[0].Time.IsZero() {
			t.Fatalf("at %v, the uses are %+v", h.clock.Now(), uses)
		}
		return uses[0].Time
	}
	h.token("oauth2")
	right := h.clock.Now()
	h.clock.Step(2 * time.Hour)
	first := used()
	h.clock.Step(-2 * time.Hour)
	if first.Before(right.Round(0)) || first.After(h.clock.Now()) {
		t.Errorf("used from %v to %v, the last time at %v", right, h.clock.Now(), first)
	}
	h.url, h.server = h.open(nil)
	if later := used(); !later.After(first) {
		t.Errorf("used again at %v, the last time at %v", h.clock.Now(), later)
	}
}
