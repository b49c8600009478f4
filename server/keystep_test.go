package server_test

import (
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/signing"
)

// stepHouse is a server whose clock is set, a verifier that keeps a key set for
// five minutes, and the tokens of the last hour, all by the monotonic clock.
type stepHouse struct {
	*keyHouse
	s       *server.Server
	begun   time.Time
	cached  *jose.JSONWebKeySet
	fetched time.Duration
	latest  []jose.JSONWebKey // that all tokens were verified with
	tokens  []string
	issued  []time.Duration
}

func newStepHouse(t *testing.T) *stepHouse {
	h := &stepHouse{keyHouse: newKeyHouseBy(t, clock.NewStepping(noon)), begun: time.Time{}}
	h.config.Realms[0].KeyRotationInterval, h.config.Realms[0].KeyPrepublish = 3*time.Hour, time.Hour
	h.s = h.start(nil)
	h.begun = h.clock.Now()
	h.cached = keySet(h.s)
	return h
}

// since is how much time has passed by the monotonic clock.
func (h *stepHouse) since() time.Duration { return h.clock.Now().Sub(h.begun) }

// live lets time pass. Each new token verifies with the key set that the verifier
// has, and each of the last hour with the one that is published.
func (h *stepHouse) live(d time.Duration) {
	h.t.Helper()
	const step = 290 * time.Second
	for first := true; first || d > 0; first = false {
		h.turn(min(d, step))
		d -= step
		now := h.since()
		if now-h.fetched >= 5*time.Minute {
			h.cached, h.fetched = keySet(h.s), now
		}
		token := h.token(h.s)
		if err := verifyWith(token, h.cached); err != nil {
			h.t.Fatalf("%v after the start, a new token: %v; the keys are %s", now, err, h.states())
		}
		h.tokens, h.issued = append(h.tokens, token), append(h.issued, now)
		set := keySet(h.s)
		if same := slices.EqualFunc(set.Keys, h.latest, func(a, b jose.JSONWebKey) bool { return a.KeyID == b.KeyID }); same {
			continue // what it verified before, it verifies again
		}
		h.latest = set.Keys
		for i, old := range h.tokens {
			if now-h.issued[i] >= time.Hour {
				continue
			}
			if err := verifyWith(old, set); err != nil {
				h.t.Fatalf("%v after the start, a token of %v before: %v; the keys are %s", now, now-h.issued[i], err, h.states())
			}
		}
	}
}

// set sets the clock and lets the server do what it does every five seconds.
func (h *stepHouse) set(d time.Duration) {
	h.t.Helper()
	h.clock.Step(d)
	h.live(5 * time.Second)
}

func (h *stepHouse) restart() {
	h.t.Helper()
	h.stop(h.s)
	h.s = h.start(nil)
}

func (h *stepHouse) signer() string { return h.t.Name() + " " + kid(h.t, h.tokens[len(h.tokens)-1]) }

// kept are the keys in the store, with those that can still sign marked.
func (h *stepHouse) kept() []string {
	var list []string
	for _, k := range h.rows() {
		if k.Private != "" {
			k.ID += " private"
		}
		list = append(list, k.ID)
	}
	return list
}

// TestKeysOfAClockThatIsSet sets the clock at every stage of a rotation. No key
// signs that verifiers have not seen for long, none that is needed is lost, and
// signing never stops.
func TestKeysOfAClockThatIsSet(t *testing.T) {
	const h2 = 2 * time.Hour
	stages := map[string]func(h *stepHouse){
		"one key":                     func(h *stepHouse) { h.live(time.Hour) },
		"a key was just made":         func(h *stepHouse) { h.live(10 * time.Minute); h.rotate(signing.Rotation{}); h.live(0) },
		"a key is made unseen":        func(h *stepHouse) { h.live(10 * time.Minute); h.rotate(signing.Rotation{}) },
		"a key waits":                 func(h *stepHouse) { h.rotate(signing.Rotation{}); h.live(50 * time.Minute) },
		"a key has begun":             func(h *stepHouse) { h.rotate(signing.Rotation{}); h.live(time.Hour + time.Minute) },
		"the one before is erased":    func(h *stepHouse) { h.rotate(signing.Rotation{}); h.live(time.Hour + 10*time.Minute) },
		"the one before is to be end": func(h *stepHouse) { h.rotate(signing.Rotation{}); h.live(2*time.Hour + 5*time.Minute) },
		"the next is to be made":      func(h *stepHouse) { h.live(2*time.Hour - 5*time.Minute) },
	}
	moves := map[string]func(h *stepHouse){
		"2 h ahead, corrected":          func(h *stepHouse) { h.set(h2); h.set(-h2) },
		"2 h ahead for ten minutes":     func(h *stepHouse) { h.set(h2); h.live(10 * time.Minute); h.set(-h2) },
		"2 h ahead for good":            func(h *stepHouse) { h.set(h2) },
		"2 h ahead, restart, corrected": func(h *stepHouse) { h.set(h2); h.live(0); h.set(-h2); h.restart() },
		"2 h ahead, reload, corrected":  func(h *stepHouse) { h.set(h2); h.reload(); h.live(5 * time.Second); h.set(-h2); h.reload() },
		"2 h ahead twice":               func(h *stepHouse) { h.set(h2); h.set(-h2); h.set(h2); h.live(time.Minute); h.set(-h2) },
		"2 h back for good":             func(h *stepHouse) { h.set(-h2) },
		"2 h back, restart":             func(h *stepHouse) { h.set(-h2); h.restart() },
		"2 h back, corrected":           func(h *stepHouse) { h.set(-h2); h.live(10 * time.Minute); h.set(h2) },
		"a second ahead, corrected":     func(h *stepHouse) { h.clock.Step(time.Second); h.live(5e8); h.clock.Step(-time.Second) },
	}
	for stage, reach := range stages {
		for name, move := range moves {
			t.Run(stage+"/"+name, func(t *testing.T) {
				h := newStepHouse(t)
				reach(h)
				move(h)
				h.live(8 * time.Hour)
				if n := len(h.rows()); n > 4 {
					t.Errorf("%d keys are left: %s", n, h.states())
				}
				if signers := h.signers(); signers < 3 {
					t.Errorf("%d keys have signed in eight hours, with a key age of three", signers)
				}
			})
		}
	}
}

func (h *stepHouse) reload() {
	h.t.Helper()
	if err := h.s.Reload(h.t.Context(), h.config.Realms); err != nil {
		h.t.Fatal(err)
	}
}

// signers is how many keys have signed.
func (h *stepHouse) signers() int {
	ids := map[string]bool{}
	for _, token := range h.tokens {
		ids[kid(h.t, token)] = true
	}
	return len(ids)
}

// TestNothingHappensWhileTheClockIsAhead: not even a key's making.
func TestNothingHappensWhileTheClockIsAhead(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"2 h": 2 * time.Hour, "a year": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			h := newStepHouse(t)
			h.rotate(signing.Rotation{})
			h.live(time.Hour + 10*time.Minute) // one key is erased, one signs
			h.rotate(signing.Rotation{})
			h.live(50 * time.Minute) // and one waits
			before, changes, signer := h.kept(), len(h.changes()), h.signer()
			h.set(ahead)
			if got := h.signer(); got != signer {
				t.Errorf("%s signs, %s did", got, signer)
			}
			h.set(-ahead)
			if got := h.kept(); !slices.Equal(got, before) || len(h.changes()) != changes {
				t.Errorf("the keys were %q, and are %q; %q", before, got, h.changes()[changes:])
			}
		})
	}
}

// TestRotateWhileTheClockIsAhead: a key that is to sign at once does, and goes on
// when the clock is right again.
func TestRotateWhileTheClockIsAhead(t *testing.T) {
	for name, o := range map[string]signing.Rotation{"now": {Immediately: true}, "compromised": {Compromised: true}} {
		t.Run(name, func(t *testing.T) {
			h := newStepHouse(t)
			h.live(time.Hour)
			h.clock.Step(2 * time.Hour)
			v, err := h.s.Keys().Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), "", o)
			if err != nil {
				t.Fatal(err)
			}
			h.cached, h.tokens, h.issued = keySet(h.s), nil, nil
			h.live(5 * time.Second)
			if got := kid(t, h.tokens[0]); got != v.ID {
				t.Errorf("%s signs, want %s", got, v.ID)
			}
			h.set(-2 * time.Hour)
			if got := kid(t, h.tokens[1]); got != v.ID {
				t.Errorf("corrected: %s signs, want %s", got, v.ID)
			}
			h.live(6 * time.Hour)
		})
	}
}

// TestStartWithAWrongClock: a server that starts while the clock is ahead, as a
// machine does before it has asked for the time, loses nothing within a minute.
func TestStartWithAWrongClock(t *testing.T) {
	h := newStepHouse(t)
	h.rotate(signing.Rotation{})
	h.live(time.Hour + time.Minute) // the one before is retired and not erased
	before := h.kept()
	h.stop(h.s)
	h.clock.Step(2 * time.Hour)
	h.s = h.start(nil)
	h.turn(time.Minute)
	h.clock.Step(-2 * time.Hour)
	h.turn(5 * time.Second)
	if got := h.kept(); len(got) < 2 || !slices.Equal(got[:2], before) {
		t.Errorf("the keys were %q, and are %q", before, got)
	}
	h.live(0)
}
