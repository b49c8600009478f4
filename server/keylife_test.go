package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// verifier keeps a key set for five minutes, whatever it meets in the meantime:
// it never asks for a key that it does not know.
type verifier struct {
	sources []string // in turn
	http    *http.Client
	set     *jose.JSONWebKeySet
	text    string // of the set
	until   time.Time
}

// verify verifies those that are new, and all with a new key set.
func (v *verifier) verify(now time.Time, tokens []string, fresh int) error {
	if now.Before(v.until) {
		tokens = tokens[len(tokens)-fresh:]
	} else {
		resp, err := v.http.Get(v.sources[0])
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			return err
		}
		if string(text) == v.text { // what it verified before, it verifies again
			tokens = tokens[len(tokens)-fresh:]
		}
		v.text, v.set = string(text), new(jose.JSONWebKeySet)
		if err := json.Unmarshal(text, v.set); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
		v.until = now.Add(5 * time.Minute)
		v.sources = append(v.sources[1:], v.sources[0])
	}
	for _, token := range tokens {
		if err := verifyWith(token, v.set); err != nil {
			return err
		}
	}
	return nil
}

// living are tokens that have not expired.
type living []struct {
	token   string
	expires time.Time
}

func (l *living) tokens(now time.Time) []string {
	*l = slices.DeleteFunc(*l, func(t struct {
		token   string
		expires time.Time
	}) bool {
		return !now.Before(t.expires)
	})
	tokens := make([]string, len(*l))
	for i, t := range *l {
		tokens[i] = t.token
	}
	return tokens
}

// TestRotationIsNotNoticed turns the clock through a day of two servers on one
// database, with rotations by age and by command, in which one of them is
// restarted. Verifiers that keep the key set of either for five minutes accept
// every token from its first to its last minute.
func TestRotationIsNotNoticed(t *testing.T) {
	const life, step = time.Hour, 150 * time.Second
	h := newKeyHouse(t, "ES256", "RS256")
	h.config.Signer, h.config.MasterKey = "auto", masterKey
	h.config.Realms[0].KeyRotationInterval, h.config.Realms[0].KeyPrepublish = 4*time.Hour, 20*time.Minute
	var err error
	if h.keys, err = signing.NewKeys(h.store, h.clock, masterKey); err != nil {
		t.Fatal(err)
	}
	var servers [2]atomic.Pointer[server.Server]
	var urls []string
	var client *http.Client
	for i := range servers {
		servers[i].Store(h.start(nil))
		mux := http.NewServeMux()
		mux.HandleFunc("/.well-known/", func(w http.ResponseWriter, r *http.Request) { servers[i].Load().Handler("r").ServeHTTP(w, r) })
		ts := httptest.NewTLSServer(mux)
		defer ts.Close()
		urls, client = append(urls, ts.URL+"/.well-known/jwks.json"), ts.Client()
	}
	verifiers := []*verifier{{sources: urls[:1]}, {sources: urls[1:]}, {sources: []string{urls[1], urls[0]}, until: h.clock.Now().Add(2 * time.Minute), set: keySet(servers[0].Load())}}
	for _, v := range verifiers {
		v.http, v.sources = client, slices.Clone(v.sources)
	}
	signed, gone := map[string]bool{}, map[string]bool{}
	var alive living
	steps := int(24 * time.Hour / step)
	for n := range steps {
		switch n {
		case steps / 5, steps * 3 / 5:
			h.rotate(signing.Rotation{})
		case steps / 5 * 2: // while a key waits
			h.stop(servers[1].Load())
			servers[1].Store(h.start(nil))
		case steps * 4 / 5:
			h.rotate(signing.Rotation{Prepublish: 10 * time.Minute})
		}
		h.turn(step)
		now := h.clock.Now()
		for i := range servers {
			token := h.token(servers[i].Load())
			signed[kid(t, token)] = true
			alive = append(alive, struct {
				token   string
				expires time.Time
			}{token, now.Add(life)})
		}
		for i, v := range verifiers {
			if err := v.verify(now, alive.tokens(now), len(servers)); err != nil {
				t.Fatalf("verifier %d, %v after the start: %v; the keys are %s", i, now.Sub(noon), err, h.states())
			}
		}
	}
	rows := h.rows()
	for id := range signed {
		if !slices.ContainsFunc(rows, func(k store.SigningKey) bool { return k.ID == id }) {
			gone[id] = true
		}
	}
	if len(signed) < 7 || len(signed)-len(gone) > 2 {
		t.Errorf("%d keys signed, %d of them are gone; %s", len(signed), len(gone), h.states())
	}
	for i := range servers {
		for _, k := range keySet(servers[i].Load()).Keys {
			if gone[k.KeyID] {
				t.Errorf("server %d publishes a key that has ended", i)
			}
		}
	}
	t.Logf("%d tokens by %d keys; %d records of keys", 2*steps, len(signed), len(h.changes()))
}

// TestRotationUnderLoad rotates and reloads while tokens are asked for and
// verified in the same process.
func TestRotationUnderLoad(t *testing.T) {
	h := newKeyHouse(t, "ES256", "RS256")
	s := h.start(nil)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var issued atomic.Int64
	progress := make(chan struct{}, 1)
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				token, status := h.ask(s)
				if token == "" {
					t.Errorf("a token request got %d", status)
					return
				}
				if _, err := publicKey(s, kid(t, token)); err != nil {
					t.Error(err)
					return
				}
				if err := verifyWith(token, keySet(s)); err != nil {
					t.Error(err)
					return
				}
				issued.Add(1)
				select {
				case progress <- struct{}{}:
				default:
				}
			}
		})
	}
	for n := range 12 {
		<-progress
		algorithm := []provider.Algorithm{"ES256", "RS256"}[n%2]
		if _, err := s.Keys().Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), algorithm, signing.Rotation{Immediately: true}); err != nil {
			t.Error(err)
		}
		if n%4 == 3 {
			if err := s.Reload(t.Context(), []server.Realm{h.realm(time.Hour+time.Duration(n)*time.Minute, "ES256", "RS256")}); err != nil {
				t.Error(err)
			}
		}
		h.clock.Turn(5 * time.Second)
	}
	stop()
	wg.Wait()
	if t.Failed() {
		t.Log(h.log.String())
	}
	t.Logf("%d tokens", issued.Load())
}

// TestKilledBetweenSteps kills a server at each of its writes, before and after
// the write took effect, in every part of a key's life. The next server goes on,
// and every token that a server answered verifies for as long as it lives.
func TestKilledBetweenSteps(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			name := fmt.Sprintf("write %d, in effect %v", at, after)
			died := false
			t.Run(name, func(t *testing.T) { died = liveAndDie(t, at, after) })
			if t.Failed() || !died && at > 8 {
				break // the life is shorter than that
			}
		}
	}
}

// TestKilledWhileCompromised kills the command between the new key and the end
// of the old ones: it says what is left to do, and doing it again does that.
func TestKilledWhileCompromised(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at := 1; at <= 3; at++ {
			t.Run(fmt.Sprintf("write %d, in effect %v", at, after), func(t *testing.T) {
				h := newKeyHouse(t)
				s := h.start(nil)
				old := []string{h.token(s)}
				h.rotate(signing.Rotation{Immediately: true})
				h.turn(5 * time.Second)
				old = append(old, h.token(s))
				keys, err := signing.NewKeys(&keyFaults{Store: h.store, failAt: at, after: after}, h.clock, "")
				if err != nil {
					t.Fatal(err)
				}
				_, err = keys.Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), "", signing.Rotation{Compromised: true})
				if !errors.Is(err, errDead) || at > 1 && !strings.Contains(err.Error(), "is still published: rotate again") {
					t.Errorf("got %v", err)
				}
				h.turn(5 * time.Second)
				if err := verifyWith(h.token(s), keySet(s)); err != nil {
					t.Error("in between: ", err)
				}
				h.rotate(signing.Rotation{Compromised: true})
				h.turn(5 * time.Second)
				set := keySet(s)
				if err := verifyWith(h.token(s), set); err != nil || len(set.Keys) != 1 {
					t.Errorf("%d keys are left, %v", len(set.Keys), err)
				}
				for _, token := range old {
					if verifyWith(token, set) == nil {
						t.Error("a token of a compromised key verifies")
					}
				}
			})
		}
	}
}

// liveAndDie lets a server die at its at-th write about keys, and others go on
// in its place; it reports whether it came to that.
func liveAndDie(t *testing.T, at int, after bool) (died bool) {
	h := newKeyHouse(t)
	h.config.Realms[0].KeyRotationInterval, h.config.Realms[0].KeyPrepublish = 2*time.Hour, 30*time.Minute
	var s *server.Server
	var f *keyFaults
	writes := 0 // of those that are dead or closed
	start := func(config func(*server.Config)) {
		config(&h.config)
		for {
			f = &keyFaults{after: after}
			if !died && at > writes {
				f.failAt = at - writes
			}
			next, err := h.tryStart(func(store store.Store) store.Store { f.Store = store; return f })
			if err == nil {
				s = next
				return
			}
			if !errors.Is(err, errDead) || died {
				t.Fatal(err)
			}
			died = true
		}
	}
	restart := func(config func(*server.Config)) {
		h.stop(s)
		_, n := f.count()
		writes += n
		start(config)
	}
	same := func(*server.Config) {}
	start(same)
	var alive living
	live := func(d time.Duration) {
		t.Helper()
		for range int(d / (15 * time.Minute)) {
			h.turn(15 * time.Minute)
			if _, n := f.count(); f.failAt > 0 && n >= f.failAt {
				died = true
				restart(same)
			}
			now := h.clock.Now()
			alive = append(alive, struct {
				token   string
				expires time.Time
			}{h.token(s), now.Add(h.config.Realms[0].Provider.TokenEndpoint.Lifetime)})
			set := keySet(s)
			for _, token := range alive.tokens(now) {
				if err := verifyWith(token, set); err != nil {
					t.Fatalf("%v after the start: %v; the keys are %s", now.Sub(noon), err, h.states())
				}
			}
		}
	}
	live(time.Hour)
	restart(func(c *server.Config) { c.MasterKey = masterKey })
	live(3 * time.Hour)
	restart(func(c *server.Config) {
		c.MasterKey, c.PreviousMasterKeys = otherKey, []counterfoil.Secret{masterKey}
		r := h.realm(2 * time.Hour)
		r.KeyRotationInterval, r.KeyPrepublish = c.Realms[0].KeyRotationInterval, c.Realms[0].KeyPrepublish
		c.Realms = []server.Realm{r}
	})
	live(5 * time.Hour)
	h.turn(2*time.Minute + 5*time.Second) // for what the last one that died left
	rows := h.rows()
	now := h.clock.Now()
	for i, k := range rows {
		later := slices.IndexFunc(rows[i+1:], func(next store.SigningKey) bool {
			return next.Algorithm == k.Algorithm && now.Sub(next.Activates) > 2*time.Minute
		})
		if erased := k.Private == ""; erased != (later >= 0) || !erased && !sealed(k) {
			t.Errorf("key %d of %s is erased: %v", i, h.states(), erased)
		}
	}
	if len(rows) > 4 {
		t.Errorf("%d keys are left: %s", len(rows), h.states())
	}
	return died
}
