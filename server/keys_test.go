package server_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestKeyStates follows one rotation from its first to its last write.
func TestKeyStates(t *testing.T) {
	h := newKeyHouse(t)
	s := h.start(nil)
	first := h.token(s)
	next := h.rotate(signing.Rotation{})
	if next.State != "next" || next.Algorithm != "ES256" || !next.Activates.Equal(noon.Truncate(time.Second).Add(time.Hour)) {
		t.Errorf("the next key is %+v", next)
	}
	old := kid(t, first)
	for _, step := range []struct {
		name      string
		turn      time.Duration
		states    string
		published int
		signs     string
		private   bool // of the old key
	}{
		{"published ahead", 5 * time.Second, "active next", 2, old, true},
		{"just before", time.Hour - 6*time.Second, "active next", 2, old, true},
		{"activated", time.Second, "retiring active", 2, next.ID, true},
		{"signed its last everywhere", 2*time.Minute + 5*time.Second, "retiring active", 2, next.ID, false},
		{"its last token has expired", time.Hour, "retiring active", 2, next.ID, false},
		{"the leeway is over", 10 * time.Minute, "active", 1, next.ID, false},
	} {
		h.turn(step.turn)
		token := h.token(s)
		if got := h.states(); got != step.states {
			t.Errorf("%s: the keys are %s, want %s", step.name, got, step.states)
		}
		if set := keySet(s); len(set.Keys) != step.published || verifyWith(token, set) != nil {
			t.Errorf("%s: %d keys published, and verifying: %v", step.name, len(set.Keys), verifyWith(token, set))
		}
		if got := kid(t, token); got != step.signs {
			t.Errorf("%s: key %s signs, want %s", step.name, got, step.signs)
		}
		if rows := h.rows(); (rows[0].ID == old && rows[0].Private != "") != step.private {
			t.Errorf("%s: the old key's private part is there: %v", step.name, !step.private)
		}
	}
	want := []string{"key.created by counterfoil", "key.created by ann", "key.retired by counterfoil", "key.removed by counterfoil"}
	if got := h.changes(); !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
}

// TestEveryAlgorithm: a realm has a key for each of its algorithms, and a client
// is answered with its own, whatever signs.
func TestEveryAlgorithm(t *testing.T) {
	algorithms := []provider.Algorithm{"RS256", "PS256", "ES256", "EdDSA"}
	h := newKeyHouse(t, algorithms...)
	made := clients.New(h.store, h.clock, rulesOf(h.config.Realms...))
	for _, signer := range []string{"auto", "go"} {
		h.config.Signer = signer
		s := h.start(nil)
		if words := s.Signing(); !strings.Contains(h.log.String(), words) || !strings.HasPrefix(words, "RS256 and PS256 signatures by ") || (signer == "go") != strings.HasSuffix(words, "crypto/rsa, as configured") {
			t.Errorf("%s: signing is %q", signer, words)
		}
		t.Log(s.Signing())
		set := keySet(s)
		for _, algorithm := range algorithms {
			n := clients.NewClient{Realm: "r", Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}, Tokens: store.TokenSettings{Algorithm: algorithm}}}
			c, creds, err := made.Create(t.Context(), "test", n)
			if err != nil {
				t.Fatal(err)
			}
			h.creds = creds
			token := h.token(s)
			if err := verifyWith(token, set); err != nil {
				t.Errorf("%s of %s: %v", algorithm, c.ID, err)
			}
			if header := part(t, token, 0); !strings.Contains(header, `"alg":"`+string(algorithm)+`"`) {
				t.Errorf("a client of %s got %s", algorithm, header)
			}
		}
		if len(set.Keys) != len(algorithms) {
			t.Errorf("%d keys", len(set.Keys))
		}
		h.stop(s)
	}
	h.config.Signer = "rot13"
	if _, err := h.tryStart(nil); err == nil || !strings.Contains(err.Error(), `"rot13"`) {
		t.Errorf("an unknown signer: %v", err)
	}
}

func TestRotateRefuses(t *testing.T) {
	h := newKeyHouse(t)
	h.start(nil)
	realm := func(change func(*server.Realm)) server.Realm {
		r := h.config.Realms[0]
		change(&r)
		return r
	}
	same := func(*server.Realm) {}
	for name, row := range map[string]struct {
		realm     server.Realm
		algorithm provider.Algorithm
		options   signing.Rotation
		words     string
	}{
		"another algorithm":       {realm(same), "RS256", signing.Rotation{}, `[ES256] and not with "RS256"`},
		"no name":                 {realm(func(r *server.Realm) { r.Name = "" }), "", signing.Rotation{}, "a Name and a Provider"},
		"no provider":             {realm(func(r *server.Realm) { r.Provider = nil }), "", signing.Rotation{}, "a Name and a Provider"},
		"ahead and now":           {realm(same), "", signing.Rotation{Prepublish: time.Hour, Immediately: true}, "leave one of the two out"},
		"ahead and compromised":   {realm(same), "", signing.Rotation{Prepublish: time.Hour, Compromised: true}, "leave one of the two out"},
		"hardly ahead":            {realm(same), "", signing.Rotation{Prepublish: time.Minute}, "at least 6m0s"},
		"in the past":             {realm(same), "", signing.Rotation{Prepublish: -time.Hour}, "at least 6m0s"},
		"a second too far":        {realm(same), "", signing.Rotation{Prepublish: store.MaxLifetime + time.Second}, "at most 720h0m0s"},
		"next year":               {realm(same), "", signing.Rotation{Prepublish: 366 * 24 * time.Hour}, "at most 720h0m0s"},
		"a realm with a bad time": {realm(func(r *server.Realm) { r.KeyPrepublish = time.Second }), "", signing.Rotation{}, "published ahead for at least 6m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.keys.Rotate(t.Context(), "ann", row.realm.Signing(), row.algorithm, row.options)
			if err == nil || !strings.Contains(err.Error(), row.words) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %q", err, row.words)
			}
		})
	}
	if got := h.states(); got != "active" {
		t.Errorf("after refusals the keys are %s", got)
	}
	h.rotate(signing.Rotation{Prepublish: 6 * time.Minute})
	for _, o := range []signing.Rotation{{}, {Immediately: true}} {
		_, err := h.keys.Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), "", o)
		if !errors.Is(err, store.ErrConflict) || !strings.Contains(err.Error(), "a key is waiting to be activated at 2026-07-01T12:06:00Z") {
			t.Errorf("%+v with a next key: %v", o, err)
		}
	}
}

// TestKeyFarAhead: a key may be published for as long as a token can live.
func TestKeyFarAhead(t *testing.T) {
	h := newKeyHouse(t)
	h.start(nil)
	at := h.clock.Now()
	if k := h.rotate(signing.Rotation{Prepublish: store.MaxLifetime}); k.Activates.Sub(at.Truncate(time.Second)) != store.MaxLifetime || k.State != "next" {
		t.Errorf("the key is %+v", k)
	}
}

func TestKeyTimesAreChecked(t *testing.T) {
	h := newKeyHouse(t)
	for name, row := range map[string]struct {
		age, ahead, life time.Duration
		words            string // "" for accepted
	}{
		"none":                      {0, 0, time.Hour, ""},
		"by age":                    {2 * time.Hour, 0, time.Hour, ""},
		"quick":                     {7 * time.Minute, 6 * time.Minute, time.Hour, ""},
		"as many at once as may be": {2 * time.Hour, 0, 32 * time.Hour, ""},
		"negative age":              {-1, 0, time.Hour, "must not be negative"},
		"negative ahead":            {0, -1, time.Hour, "must not be negative"},
		"ahead too short":           {0, 5 * time.Minute, time.Hour, "at least 6m0s"},
		"no older than new":         {time.Hour, 0, time.Hour, "published ahead, which is 1h0m0s"},
		"too many at once":          {2 * time.Hour, 0, 33 * time.Hour, "must be at least 2h3m45s"},
	} {
		t.Run(name, func(t *testing.T) {
			r := h.realm(row.life)
			r.KeyRotationInterval, r.KeyPrepublish = row.age, row.ahead
			h.config.Realms = []server.Realm{r}
			s, err := h.tryStart(nil)
			if (err == nil) != (row.words == "") || err != nil && !strings.Contains(err.Error(), row.words) {
				t.Errorf("got %v, want %q", err, row.words)
			}
			if err == nil {
				h.stop(s)
			}
		})
	}
}

// TestRotateKeysAtOnce: of several rotations at the same time one wins, and the
// others say so.
func TestRotateKeysAtOnce(t *testing.T) {
	for name, o := range map[string]signing.Rotation{"ahead": {}, "now": {Immediately: true}, "compromised": {Compromised: true}} {
		t.Run(name, func(t *testing.T) {
			h := newKeyHouse(t)
			first := h.start(nil)
			second := h.start(nil)
			before := h.rows()
			var wg sync.WaitGroup
			errs := make([]error, 8)
			begin := make(chan struct{})
			for i := range errs {
				keys := []*signing.Keys{h.keys, first.Keys(), second.Keys()}[i%3]
				wg.Go(func() {
					<-begin
					_, errs[i] = keys.Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), "ES256", o)
				})
			}
			close(begin)
			wg.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else if !errors.Is(err, store.ErrConflict) {
					t.Errorf("got %v", err)
				}
				if err != nil && name == "ahead" && !strings.Contains(err.Error(), "a key is waiting to be activated at") {
					t.Errorf("the loser reads %v", err)
				}
			}
			// Those that began after another one was over count as well.
			created := 0
			for _, change := range h.changes() {
				if change == "key.created by ann" {
					created++
				}
			}
			if won == 0 || won != created || (name == "ahead" && won != 1) {
				t.Errorf("%d rotations won, %d keys were made", won, created)
			}
			rows := h.rows()
			if name == "compromised" && (len(rows) != 1 || rows[0].ID == before[0].ID) {
				t.Errorf("%d keys are left", len(rows))
			}
			h.turn(5 * time.Second)
			for _, s := range []*server.Server{first, second} {
				if token := h.token(s); verifyWith(token, keySet(first)) != nil || verifyWith(token, keySet(second)) != nil {
					t.Error("a token does not verify")
				}
			}
		})
	}
}

// TestRotateNow: the new key signs at once, and the old one stays published.
func TestRotateNow(t *testing.T) {
	h := newKeyHouse(t)
	s := h.start(nil)
	old := h.token(s)
	v, err := s.Keys().Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), "", signing.Rotation{Immediately: true})
	if err != nil || v.State != "active" {
		t.Fatalf("got %+v, %v", v, err)
	}
	token := h.token(s)
	if kid(t, token) != v.ID {
		t.Error("the new key does not sign at once")
	}
	set := keySet(s)
	if verifyWith(old, set) != nil || verifyWith(token, set) != nil {
		t.Error("a token of before or of now does not verify")
	}
}

// TestCompromised: nothing that another key signed verifies after that, be it in
// this server at once or in another one with its next reading, and a token that
// was to be answered again is made anew.
func TestCompromised(t *testing.T) {
	h := newKeyHouse(t)
	h.config.Realms[0].Provider.TokenEndpoint.Policy = provider.PolicyReuse
	h.config.Realms[0].Provider.TokenEndpoint.ReusePercent = 50
	s, other := h.start(nil), h.start(nil)
	old := h.token(s)
	if again := h.token(s); again != old {
		t.Fatal("the token is not answered again")
	}
	h.rotate(signing.Rotation{}) // one that waits is ended as well
	v, err := s.Keys().Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), "", signing.Rotation{Compromised: true})
	if err != nil {
		t.Fatal(err)
	}
	token := h.token(s)
	if set := keySet(s); len(set.Keys) != 1 || verifyWith(old, set) == nil || verifyWith(token, set) != nil || kid(t, token) != v.ID {
		t.Errorf("after that %d keys are published", len(set.Keys))
	}
	if _, err := publicKey(s, kid(t, old)); err == nil {
		t.Error("the compromised key is still answered")
	}
	h.turn(5 * time.Second)
	if set := keySet(other); len(set.Keys) != 1 || verifyWith(old, set) == nil || verifyWith(token, set) != nil {
		t.Errorf("another server publishes %d keys", len(set.Keys))
	}
	if got := h.states(); got != "active" {
		t.Errorf("the keys are %s", got)
	}
	want := []string{"key.created by counterfoil", "key.created by ann", "key.created by ann", "key.removed by ann", "key.removed by ann"}
	if got := h.changes(); !slices.Equal(got, want) {
		t.Errorf("recorded %q, want %q", got, want)
	}
}

// TestLifetimeIsRaisedFirst: before a token with a longer life is signed, its
// key is known to stay for as long; where that cannot be written, the longer
// life does not begin.
func TestLifetimeIsRaisedFirst(t *testing.T) {
	h := newKeyHouse(t)
	f := &keyFaults{}
	s := h.start(func(store store.Store) store.Store { f.Store = store; return f })
	longer := h.realm(3 * time.Hour)
	_, f.failAt = f.count()
	f.failAt++
	if err := s.Reload(t.Context(), []server.Realm{longer}); !errors.Is(err, errDead) {
		t.Fatalf("reloaded all the same: %v", err)
	}
	h.token(s)
	if life := h.rows()[0].Lifetime; life != time.Hour {
		t.Fatalf("the key has %v", life)
	}
	f.failAt = 0
	if err := s.Reload(t.Context(), []server.Realm{longer}); err != nil {
		t.Fatal(err)
	}
	if life := h.rows()[0].Lifetime; life != 3*time.Hour {
		t.Fatalf("the key has %v after a token may live for 3 hours", life)
	}
	// A key from a command line that knows the old life is raised before it
	// signs, and the old one stays for the tokens of both.
	h.rotate(signing.Rotation{Immediately: true})
	h.turn(5 * time.Second)
	long := h.token(s)
	if rows := h.rows(); rows[1].Lifetime != 3*time.Hour || kid(t, long) != rows[1].ID {
		t.Errorf("the new key has %v", rows[1].Lifetime)
	}
	// A shorter life lowers nothing: long lives on.
	if err := s.Reload(t.Context(), []server.Realm{h.realm(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	h.rotate(signing.Rotation{Immediately: true})
	h.turn(5 * time.Second) // the server sees it
	h.turn(3*time.Hour - time.Minute)
	if err := verifyWith(long, keySet(s)); err != nil {
		t.Error("a living token: ", err)
	}
	h.turn(20 * time.Minute)
	if err := verifyWith(long, keySet(s)); err == nil {
		t.Error("the key outlives its tokens")
	}
}

// TestUnknownKey: a server learns of another one's key when it is asked for it,
// and a stranger's key IDs cost one reading a second.
func TestUnknownKey(t *testing.T) {
	h := newKeyHouse(t)
	f := &keyFaults{}
	s := h.start(func(store store.Store) store.Store { f.Store = store; return f })
	other := h.start(nil)
	h.clock.Turn(time.Second)
	before, _ := f.count()
	var unknown *counterfoil.Error
	for range 100 {
		if _, err := publicKey(s, "nonsense"); !errors.As(err, &unknown) || unknown.Reason != counterfoil.ReasonTokenKeyUnknown {
			t.Fatalf("an unknown key: %v", err)
		}
	}
	if after, _ := f.count(); after != before+1 {
		t.Errorf("%d readings for 100 questions", after-before)
	}
	v, err := other.Keys().Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), "", signing.Rotation{Immediately: true})
	if err != nil {
		t.Fatal(err)
	}
	h.clock.Turn(time.Second)
	if _, err := publicKey(s, v.ID); err != nil {
		t.Errorf("another server's key: %v", err)
	}
	h.clock.Turn(time.Second)
	f.set(errDead)
	for range 3 {
		if _, err := publicKey(s, "nonsense"); !errors.Is(err, errDead) {
			t.Errorf("with a store that fails: %v", err)
		}
	}
}

// TestKeysWhileTheStoreFails: the last good keys verify on, but do not sign for
// longer than a minute, because they may have ended elsewhere. It is logged
// once.
func TestKeysWhileTheStoreFails(t *testing.T) {
	h := newKeyHouse(t)
	f := &keyFaults{}
	s := h.start(func(store store.Store) store.Store { f.Store = store; return f })
	token := h.token(s)
	f.set(errDead)
	for range 6 {
		h.turn(5 * time.Second)
	}
	h.token(s)
	h.turn(31 * time.Second)
	if _, status := h.ask(s); status != 503 {
		t.Errorf("after a minute a token request got %d", status)
	}
	if err := verifyWith(token, keySet(s)); err != nil {
		t.Errorf("the last good key set: %v", err)
	}
	if n := strings.Count(h.log.String(), "signing keys are not maintained"); n != 1 {
		t.Errorf("logged %d times: %s", n, h.log.String())
	}
	f.set(nil)
	h.turn(5 * time.Second)
	h.token(s)
	if !strings.Contains(h.log.String(), "signing key maintenance recovered") {
		t.Error("the end of it is not logged")
	}
}

// TestKeyStepsThatFail: an operator is told when a step of a rotation cannot be
// written, and when it can, and of nothing while all goes well.
func TestKeyStepsThatFail(t *testing.T) {
	for name, fails := range map[string]int{"none": 0, "the next key is not made": 2, "a key is not erased": 3, "a key is not removed": 4} {
		t.Run(name, func(t *testing.T) {
			h := newKeyHouse(t)
			h.config.Realms[0].KeyRotationInterval, h.config.Realms[0].KeyPrepublish = 24*time.Hour, time.Hour
			f := &keyFaults{failAt: fails} // the first write makes the first key
			h.start(func(store store.Store) store.Store { f.Store = store; return f })
			for range 26 * 60 / 5 {
				h.turn(5 * time.Minute)
			}
			_, writes := f.count()
			log := h.log.String()
			if told := strings.Count(log, "signing keys are not maintained"); told > 0 != (fails > 0) || strings.Contains(log, "nil") {
				t.Errorf("after %d writes it was logged %d times: %s", writes, told, log)
			}
			if fails == 0 && writes != 4 {
				t.Errorf("%d writes; want a key, the next one, the end of the first one's private part, and of it", writes)
			}
		})
	}
}

// TestOneKeyIsDamaged: it fails itself and no other.
func TestOneKeyIsDamaged(t *testing.T) {
	h := newKeyHouse(t)
	s := h.start(nil)
	rows := h.rows()
	bad := rows[0]
	bad.ID, bad.Activates, bad.Private = "bad", bad.Activates.Add(time.Hour), "nonsense-of-a-key"
	if err := h.store.AddSigningKey(t.Context(), bad, rows[0].ID, counterfoil.Event{Type: counterfoil.EventKeyCreated, Time: noon, Realm: "r"}); err != nil {
		t.Fatal(err)
	}
	h.turn(5 * time.Second)
	if err := verifyWith(h.token(s), keySet(s)); err != nil {
		t.Error(err)
	}
	if log := h.log.String(); strings.Count(log, "is damaged") != 1 || strings.Contains(log, "nonsense") {
		t.Errorf("logged %s", log)
	}
	if _, err := h.tryStart(nil); err == nil || !strings.Contains(err.Error(), `"bad" of realm "r" in the store is damaged`) || strings.Contains(err.Error(), "nonsense") {
		t.Errorf("a start with a damaged key: %v", err)
	}
}

// A private key that does not match the public one would sign tokens that
// cannot be verified.
func TestPrivateKeyOfAnother(t *testing.T) {
	h := newKeyHouse(t)
	h.start(nil)
	h.rotate(signing.Rotation{})
	rows := h.rows()
	bad := rows[1]
	bad.ID, bad.Activates, bad.Private = "bad", bad.Activates.Add(time.Hour), rows[0].Private
	if err := h.store.AddSigningKey(t.Context(), bad, rows[1].ID, counterfoil.Event{Type: counterfoil.EventKeyCreated, Time: noon, Realm: "r"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.tryStart(nil); err == nil || !strings.Contains(err.Error(), `"bad" of realm "r" in the store is damaged`) {
		t.Errorf("a start with the private key of another: %v", err)
	}
}

// TestSlowClock: of two servers whose clocks differ by seconds, the one behind
// signs with the first key before its time has come.
func TestSlowClock(t *testing.T) {
	h := newKeyHouse(t)
	first := h.start(nil)
	h.clock.Turn(-30 * time.Second)
	second := h.start(nil)
	if err := verifyWith(h.token(second), keySet(first)); err != nil {
		t.Error(err)
	}
	if n := len(h.rows()); n != 1 {
		t.Errorf("%d keys", n)
	}
}

// TestListShowsNoKey: what an operator sees has no part of a key in it.
func TestListShowsNoKey(t *testing.T) {
	h := newKeyHouse(t)
	h.start(nil)
	h.rotate(signing.Rotation{})
	views, err := h.keys.List(t.Context(), "r")
	if err != nil || len(views) != 2 {
		t.Fatalf("got %v, %v", views, err)
	}
	want := noon.Truncate(time.Second).Add(2*time.Hour + 10*time.Minute)
	if !views[0].Expires.Equal(want) || !views[1].Expires.IsZero() {
		t.Errorf("they end at %v and %v, want %v and never", views[0].Expires, views[1].Expires, want)
	}
	if fields := reflect.TypeFor[signing.View]().NumField(); fields != 6 {
		t.Errorf("a view has %d fields", fields)
	}
	if none, err := h.keys.List(t.Context(), "nowhere"); err != nil || len(none) != 0 {
		t.Errorf("a realm without keys: %v, %v", none, err)
	}
}

// Ending the compromised key of one algorithm ended those of all others.
func TestCompromisedEndsItsAlgorithmOnly(t *testing.T) {
	h := newKeyHouse(t, provider.AlgorithmRS256, provider.AlgorithmES256)
	s := h.start(nil)
	before := map[string]string{} // the algorithm by the key's ID
	for _, k := range h.rows() {
		before[k.ID] = k.Algorithm
	}
	if len(before) != 2 {
		t.Fatalf("the realm has %d keys", len(before))
	}
	if _, err := s.Keys().Rotate(t.Context(), "ann", h.config.Realms[0].Signing(), provider.AlgorithmES256, signing.Rotation{Compromised: true}); err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, k := range h.rows() {
		if before[k.ID] == "ES256" {
			t.Error("the compromised key is still there")
		}
		if before[k.ID] == "RS256" {
			kept++
		}
	}
	if kept != 1 {
		t.Error("the key of the other algorithm was ended")
	}
}
