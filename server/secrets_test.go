package server_test

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// The secret behind the hashes below, which other programs made: perl's crypt
// (libxcrypt), openssl kdf and the reference program of Argon2; the commands are
// in the tests of package sechash.
const (
	imported     counterfoil.Secret = "correct horse"
	bcryptHash                      = "$2a$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"
	pbkdf2Hash                      = "$pbkdf2-sha512$i=1000,l=64$AAECAwQFBgcICQoLDA0ODw$Xpx07WjVx4vCIvrmBRj8uOoVVtGqJqtUv2J5bhizSQs7osCteF7W4A61dZDqSIqQjO+dxO6p5FT/Uy7QRBXSXA"
	argonHash                       = "$argon2id$v=19$m=1024,t=2,p=2$c29tZXNhbHRzb21lc2FsdA$tsO6Y2aSBljG2z0xzqpPrCfUfGL6p4s+3/dK55iDYUs"
	sha512Hash                      = "sha512:VraY3v7bWkNbY0r-MyC7rz_c2SC2xQOkRvx7endrKY1HnRumqLYXgI6wv1ec6aldZoNHvKtxSQhayTyyeZUZew"
	sha256Hash                      = "sha256:QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE"
	unknownTrial counterfoil.Secret = "wrong horse"
)

// adopt makes a client with imported hashes in the oauth2 realm.
func (h *house) adopt(id string, hashes ...string) {
	h.t.Helper()
	n := clients.NewClient{Realm: "oauth2", ID: id, Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}}, ImportedFrom: "test"}
	for _, v := range hashes {
		n.Secrets = append(n.Secrets, store.SecretHash{Value: v})
	}
	if _, creds, err := h.clients.Create(h.t.Context(), "test", n); err != nil || creds.ClientSecret != "" {
		h.t.Fatalf("%v, a secret was made: %v", err, creds.ClientSecret != "")
	}
}

// slow counts slow verifications.
type slow struct {
	mu        sync.Mutex
	order     []string // of clients
	now, most int
	hold      map[string]chan struct{} // verifications of these wait for it
	begun     chan string
}

func watch(h *house, limit int) *slow {
	s := &slow{hold: map[string]chan struct{}{}, begun: make(chan string, 1000)}
	server.OnSlow(h.server, limit, func(id string) {
		s.mu.Lock()
		s.order = append(s.order, id)
		s.now++
		s.most = max(s.most, s.now)
		wait := s.hold[id]
		s.mu.Unlock()
		s.begun <- id
		if wait != nil {
			<-wait
		}
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	})
	h.http.Transport.(*http.Transport).MaxConnsPerHost = 0
	return s
}

func (s *slow) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.order)
}

// TestSlowSecretIsPaidOnce: right or wrong, a secret is computed once, until the
// client changes.
func TestSlowSecretIsPaidOnce(t *testing.T) {
	for name, hash := range map[string]string{"bcrypt": bcryptHash, "PBKDF2": pbkdf2Hash, "Argon2id": argonHash} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, nil, "oauth2")
			h.adopt("old", hash)
			s := watch(h, 2)
			ctx := t.Context()
			step := func(what string, secret counterfoil.Secret, status, computed int) {
				t.Helper()
				if got := h.try("old", secret); got != status {
					t.Errorf("%s: got %d, want %d", what, got, status)
				}
				if s.count() != computed {
					t.Errorf("%s: %d computations so far, want %d", what, s.count(), computed)
				}
			}
			step("the first time", imported, 200, 1)
			step("again", imported, 200, 1)
			step("a wrong one", unknownTrial, 401, 2)
			step("the same wrong one", unknownTrial, 401, 2)
			step("the right one beside it", imported, 200, 2)
			creds, err := h.clients.RotateSecret(ctx, "test", "oauth2", "old", clients.Rotation{Overlap: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			h.keep(creds.ClientSecret.Reveal())
			step("the new one is fast", creds.ClientSecret, 200, 2)
			step("the old one after the rotation", imported, 200, 3)
			if err := h.clients.SetDisabled(ctx, "test", "oauth2", "old", true); err != nil {
				t.Fatal(err)
			}
			step("disabled", imported, 401, 4)
			if err := h.clients.SetDisabled(ctx, "test", "oauth2", "old", false); err != nil {
				t.Fatal(err)
			}
			step("enabled", imported, 200, 5)
			h.clock.Turn(time.Hour)
			step("after its end it is not even computed", imported, 401, 5)
			if err := h.clients.Delete(ctx, "test", "oauth2", "old"); err != nil {
				t.Fatal(err)
			}
			step("deleted", imported, 401, 5)
			if n := server.Remembered(h.server); n != 0 {
				t.Errorf("%d clients are remembered after the last was deleted", n)
			}
		})
	}
}

func TestImportedFastSecrets(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	s := watch(h, 1)
	for id, hash := range map[string]string{"sha256": sha256Hash, "sha512": sha512Hash} {
		h.adopt(id, hash)
		if got := [2]int{h.try(id, imported), h.try(id, unknownTrial)}; got != [2]int{200, 401} {
			t.Errorf("%s: got %v", id, got)
		}
		if ok, err := h.clients.VerifySecret(t.Context(), "oauth2", id, imported); !ok || err != nil {
			t.Errorf("%s: VerifySecret says %v, %v", id, ok, err)
		}
	}
	h.adopt("both", bcryptHash, sha512Hash)
	if got := h.try("both", imported); got != 200 || s.count() != 0 {
		t.Errorf("got %d after %d slow computations, want none where a fast hash fits", got, s.count())
	}
	h.adopt("slow", bcryptHash)
	if ok, err := h.clients.VerifySecret(t.Context(), "oauth2", "slow", imported); !ok || err != nil {
		t.Errorf("VerifySecret says %v, %v", ok, err)
	}
}

// TestImportedAPIKey: API keys may be imported as well, and a guard's question
// for one is computed once.
func TestImportedAPIKey(t *testing.T) {
	h := newHouseOf(t, nil, "altrata")
	s := watch(h, 1)
	n := clients.NewClient{Realm: "altrata", ID: "old", APIKeys: []store.SecretHash{{Value: bcryptHash}}}
	creds := h.client(n)
	for range 2 {
		a := h.good("altrata")
		a.header.Set("Authorization", basic("old", creds.ClientSecret.Reveal()))
		a.header.Set("X-Api-Key", imported.Reveal())
		if got := h.do("altrata", a); got.status != 200 {
			t.Errorf("got %d %s", got.status, got.body)
		}
		if ok, err := h.server.Issuer("altrata").APIKey(t.Context(), "old", imported); !ok || err != nil {
			t.Errorf("a guard is told %v, %v", ok, err)
		}
	}
	if s.count() != 1 {
		t.Errorf("%d computations", s.count())
	}
}

// TestFleetOfOneSecret: a fleet that starts at once is one client with one
// secret, and none of it is turned away, up to a thousand.
func TestFleetOfOneSecret(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	h.adopt("fleet", bcryptHash)
	s := watch(h, 1)
	s.hold["fleet"] = make(chan struct{})
	var wg sync.WaitGroup
	member := func() {
		if got := h.try("fleet", imported); got != 200 {
			t.Errorf("got %d", got)
		}
	}
	joined := func(want int) {
		eventually.True(t, fmt.Sprintf("%d wait", want), func() bool { return server.Joined(h.server) == want })
	}
	defer wg.Wait()
	defer close(s.hold["fleet"])
	for range 30 {
		wg.Go(member)
	}
	<-s.begun
	joined(29)
	server.Join(h.server, 970)
	wg.Go(member)
	joined(30)
	if got := h.try("fleet", imported); got != http.StatusServiceUnavailable {
		t.Errorf("one more got %d", got)
	}
	s.hold["fleet"] <- struct{}{}
	wg.Wait()
	if s.count() != 1 {
		t.Errorf("%d computations", s.count())
	}
}

// TestFloodStarvesNobody: wrong secrets for one imported client hold up neither
// fast clients nor other imported ones, and one computation runs at once.
func TestFloodStarvesNobody(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	for _, id := range []string{"victim", "known", "second", "third"} {
		h.adopt(id, bcryptHash)
	}
	s := watch(h, 1)
	if got := h.try("known", imported); got != 200 {
		t.Fatalf("got %d", got)
	}
	<-s.begun
	s.mu.Lock()
	s.hold["victim"] = make(chan struct{})
	s.mu.Unlock()
	var wg sync.WaitGroup
	n := 0
	answers := make(chan int, 1000)
	flood := func(guesses int) {
		for range guesses {
			n++
			guess := counterfoil.Secret(fmt.Sprintf("guess %d", n))
			wg.Go(func() { answers <- h.try("victim", guess) })
		}
	}
	busy := func(want int) {
		t.Helper()
		for range want {
			if got := <-answers; got != http.StatusServiceUnavailable {
				t.Errorf("a guess beyond the line got %d", got)
			}
		}
	}
	ask := func(id string) {
		before := server.Waiting(h.server)
		wg.Go(func() {
			if got := h.try(id, imported); got != 200 {
				t.Errorf("%s got %d", id, got)
			}
		})
		for server.Waiting(h.server) == before {
			runtime.Gosched()
		}
	}
	// One guess is computed, two wait, the others are turned away.
	flood(20)
	<-s.begun
	busy(17)
	if fast := h.try("good", h.creds["oauth2"].ClientSecret); fast != 200 {
		t.Errorf("a fast client got %d", fast)
	}
	if again := h.try("known", imported); again != 200 {
		t.Errorf("an imported client whose secret is remembered got %d", again)
	}
	ask("second")
	for range 3 {
		s.hold["victim"] <- struct{}{}
	}
	for _, want := range []string{"victim", "victim", "second"} {
		if got := <-s.begun; got != want {
			t.Errorf("%s had its turn, want %s", got, want)
		}
	}
	for range 3 {
		if got := <-answers; got != http.StatusUnauthorized {
			t.Errorf("a guess that was computed got %d", got)
		}
	}
	// From now on the victim is a suspect: others go first.
	flood(20)
	<-s.begun
	busy(17)
	ask("third")
	s.hold["victim"] <- struct{}{}
	if got := <-s.begun; got != "third" {
		t.Errorf("%s had its turn, want the client that was not asked for with wrong secrets", got)
	}
	close(s.hold["victim"])
	wg.Wait()
	if s.most != 1 {
		t.Errorf("%d computations ran at once", s.most)
	}
	// The flood over, the victim's own secret serves.
	if got := h.try("victim", imported); got != 200 {
		t.Errorf("the victim got %d", got)
	}
	busyRecords := slices.DeleteFunc(h.recorded(), func(e store.RecordedEvent) bool { return e.Reason != counterfoil.ReasonSecretsBusy })
	if len(busyRecords) != 34 {
		t.Errorf("%d records of guesses that were turned away, want 34", len(busyRecords))
	}
}

// TestOthersPassWhoeverWaitsForHimself: with two turns, a client that has one waits
// for it to end, and another that comes later does not wait for that.
func TestOthersPassWhoeverWaitsForHimself(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	h.adopt("victim", bcryptHash)
	h.adopt("other", bcryptHash)
	s := watch(h, 2)
	s.hold["victim"] = make(chan struct{})
	var wg sync.WaitGroup
	answers := make(chan int, 100)
	guess := func(n int) {
		wg.Go(func() { answers <- h.try("victim", counterfoil.Secret(fmt.Sprint("guess ", n))) })
	}
	waiting := func(n int) {
		for server.Waiting(h.server) != n {
			runtime.Gosched()
		}
	}
	guess(0)
	<-s.begun
	guess(1)
	guess(2)
	waiting(2)
	wg.Go(func() {
		if got := h.try("other", imported); got != 200 {
			t.Errorf("the other got %d", got)
		}
	})
	if got := <-s.begun; got != "other" {
		t.Errorf("%s had the second turn", got)
	}
	// One of the two that waited has its turn: one more may wait, and no other.
	s.hold["victim"] <- struct{}{}
	<-s.begun
	waiting(1)
	for n := range 5 {
		guess(10 + n)
	}
	for range 1 + 4 { // the first, and those that are turned away
		<-answers
	}
	if n := server.Waiting(h.server); n != 2 {
		t.Errorf("%d guesses at one client's secret wait", n)
	}
	close(s.hold["victim"])
	wg.Wait()
}

// TestSlowSecretWaitsForATime: a request waits five seconds for its turn.
func TestSlowSecretWaitsForATime(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	h.adopt("first", bcryptHash)
	h.adopt("second", bcryptHash)
	s := watch(h, 1)
	s.hold["first"] = make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if got := h.try("first", imported); got != 200 {
			t.Errorf("the first got %d", got)
		}
	})
	<-s.begun
	wg.Go(func() {
		if got := h.try("second", imported); got != http.StatusServiceUnavailable {
			t.Errorf("the second got %d", got)
		}
		close(s.hold["first"])
	})
	for server.Waiting(h.server) == 0 {
		runtime.Gosched()
	}
	if err := h.clock.Sleepers(t.Context(), background+1); err != nil {
		t.Fatal(err)
	}
	h.clock.Turn(5 * time.Second)
	wg.Wait()
	if got := h.try("second", imported); got != 200 {
		t.Errorf("then it got %d", got)
	}
}

// TestRightSecretMakesNoSuspect: who had the right secret waits in the line of the
// others for the next turn, and not behind them.
func TestRightSecretMakesNoSuspect(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	for _, id := range []string{"first", "right", "other"} {
		h.adopt(id, bcryptHash)
	}
	s := watch(h, 1)
	if got := h.try("right", imported); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	<-s.begun
	change := func(s *store.Settings) error { s.Contact = "someone"; return nil }
	if _, err := h.clients.Change(t.Context(), "test", "oauth2", "right", 0, change); err != nil { // so that it is computed again
		t.Fatal(err)
	}
	s.hold["first"] = make(chan struct{})
	var wg sync.WaitGroup
	for n, id := range []string{"first", "right", "other"} {
		wg.Go(func() {
			if got := h.try(id, imported); got != http.StatusOK {
				t.Errorf("%s got %d", id, got)
			}
		})
		if n == 0 {
			<-s.begun
		}
		for server.Waiting(h.server) < n {
			runtime.Gosched()
		}
	}
	close(s.hold["first"])
	wg.Wait()
	if want := []string{"right", "first", "right", "other"}; !slices.Equal(s.order, want) {
		t.Errorf("turns were given to %q, want %q", s.order, want)
	}
}
