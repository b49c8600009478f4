package outbound_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
)

// publisher is a key endpoint on a TLS listener, with the key sets that ask it.
type publisher struct {
	*source
	clock   *clock.Manual
	sets    *outbound.KeySets
	fetches atomic.Int64
	log     journal

	mu      sync.Mutex
	handler http.HandlerFunc
}

// journal is a log that a test reads while others write to it.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func newPublisher(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{clock: clock.NewManual(start)}
	p.source = newSource(t, func(w http.ResponseWriter, r *http.Request) {
		p.fetches.Add(1)
		p.mu.Lock()
		h := p.handler
		p.mu.Unlock()
		h(w, r)
	})
	p.sets = outbound.NewKeySets(p.fetcher(t, func(c *outbound.Config) { c.Clock = p.clock }), p.clock, slog.New(slog.NewTextHandler(&p.log, nil)))
	return p
}

func (p *publisher) serve(h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handler = h
}

// set returns a JWK Set with a key of its own for each ID.
func set(t testing.TB, ids ...string) string {
	t.Helper()
	keys := make([]jose.PublicKey, len(ids))
	for i, id := range ids {
		keys[i] = jose.PublicKey{ID: id, Algorithm: jose.EdDSA, Key: keyOf(id)}
	}
	out, err := jose.MarshalSet(keys)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func keyOf(id string) crypto.PublicKey {
	seed := sha256.Sum256([]byte(id))
	return ed25519.NewKeyFromSeed(seed[:]).Public()
}

// want holds that the set has exactly these keys for kid, after so many
// fetches.
func (p *publisher) want(t *testing.T, kid string, fetches int64, ids ...string) {
	t.Helper()
	keys, err := p.sets.Keys(t.Context(), p.URL, kid)
	if err != nil {
		t.Fatalf("kid %q: %v", kid, err)
	}
	var got []string
	for _, k := range keys {
		got = append(got, k.ID)
		if !k.Key.(ed25519.PublicKey).Equal(keyOf(k.ID)) {
			t.Errorf("%s is another key", k.ID)
		}
	}
	if !slices.Equal(got, ids) {
		t.Errorf("kid %q: keys %v, want %v", kid, got, ids)
	}
	p.wantFetches(t, fetches)
}

// fails holds that no keys can be had, after so many fetches.
func (p *publisher) fails(t *testing.T, kid string, fetches int64, words string) {
	t.Helper()
	keys, err := p.sets.Keys(t.Context(), p.URL, kid)
	if keys != nil || err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") {
		t.Fatalf("kid %q: got %v, %v; want an error with %q", kid, keys, err, words)
	}
	p.wantFetches(t, fetches)
}

func (p *publisher) wantFetches(t *testing.T, want int64) {
	t.Helper()
	if got := p.fetches.Load(); got != want {
		t.Fatalf("%d fetches, want %d", got, want)
	}
}

func TestKeysComeFromMemoryWhileFresh(t *testing.T) {
	for name, row := range map[string]struct {
		control string
		fresh   time.Duration
	}{
		"not said":  {"", 5 * time.Minute},
		"no-store":  {"no-store", time.Minute},
		"short":     {"max-age=1", time.Minute},
		"in bounds": {"max-age=120", 2 * time.Minute},
		"long":      {"max-age=86400", 15 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t)
			p.serve(answer(200, set(t, "a", "b"), "Cache-Control", row.control))
			p.want(t, "a", 1, "a")
			p.want(t, "b", 1, "b")
			p.want(t, "", 1, "a", "b")
			p.serve(answer(200, set(t, "b"), "Cache-Control", row.control))
			p.clock.Turn(row.fresh - 1)
			p.want(t, "a", 1, "a")
			p.clock.Turn(1)
			p.want(t, "a", 2) // withdrawn
			p.want(t, "b", 2, "b")
		})
	}
}

// A caller that sends unknown IDs must not make the server hammer the source.
func TestUnknownKeysAreFetchedForSeldom(t *testing.T) {
	p := newPublisher(t)
	p.serve(answer(200, set(t, "a")))
	p.want(t, "a", 1, "a")
	p.clock.Turn(10*time.Second - 1)
	p.want(t, "b", 1)
	p.clock.Turn(1)
	for i := range 100 {
		p.want(t, fmt.Sprintf("stranger-%d", i), 2)
	}
	p.want(t, "a", 2, "a")
}

func TestNewKeyIsFound(t *testing.T) {
	p := newPublisher(t)
	p.serve(answer(200, set(t, "a")))
	p.want(t, "a", 1, "a")
	p.serve(answer(200, set(t, "a", "b")))
	p.clock.Turn(10 * time.Second)
	p.want(t, "b", 2, "b")
	p.want(t, "", 2, "a", "b")
}

// A set without a usable key is no set: its keys are unknown.
func TestSetWithoutAUsableKeyIsAFailure(t *testing.T) {
	for name, body := range map[string]string{
		"none":          `{"keys":[]}`,
		"of other kind": `{"keys":[{"kty":"oct","kid":"a","k":"AAAA"},{"kty":"RSA","kid":"small","n":"AQAB","e":"AQAB"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t)
			p.serve(answer(200, body))
			p.fails(t, "", 1, "no key that can be used")
			p.fails(t, "a", 1, "no key that can be used")
			p.clock.Turn(5 * time.Second)
			p.serve(answer(200, set(t, "a")))
			p.want(t, "a", 2, "a")
			if n := strings.Count(p.log.String(), "level=ERROR"); n != 1 || !strings.Contains(p.log.String(), "last_set_serves=false") {
				t.Errorf("%d loud lines: %s", n, p.log.String())
			}
		})
	}
}

// A key that is left out is told of with its kid and why, and not at each fetch.
func TestLeftOutKeysAreLogged(t *testing.T) {
	p := newPublisher(t)
	p.serve(answer(200, strings.Replace(set(t, "a"), `[`, `[{"kty":"RSA","kid":"small","n":"AQAB","e":"AQAB"},{"kty":"RSA","use":"enc","kid":"enc"},`, 1)))
	p.want(t, "a", 1, "a")
	for n := range 3 {
		p.clock.Turn(5 * time.Minute)
		p.want(t, "a", int64(n+2), "a")
	}
	for _, line := range []string{`kid=small position=1 why="the RSA key must have 2048`, `kid=enc position=2 why="not for signatures"`, `used=1 left_out=2`} {
		if n := strings.Count(p.log.String(), line); n != 1 {
			t.Errorf("%q is there %d times: %s", line, n, p.log.String())
		}
	}
}

func TestCallerCannotChangeWhatIsKept(t *testing.T) {
	p := newPublisher(t)
	p.serve(answer(200, set(t, "a", "b")))
	keys, err := p.sets.Keys(t.Context(), p.URL, "")
	if err != nil || len(keys) != 2 {
		t.Fatalf("%v, %v", keys, err)
	}
	keys[0] = jose.PublicKey{ID: "mine"}
	p.want(t, "", 1, "a", "b")
}

func TestOneFlightServesAll(t *testing.T) {
	p := newPublisher(t)
	reached, release := make(chan struct{}, 64), make(chan struct{})
	p.serve(func(w http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		<-release
		answer(200, set(t, "a"))(w, r)
	})
	var all, started sync.WaitGroup
	ask := func() {
		started.Add(1)
		all.Go(func() {
			started.Done()
			if keys, err := p.sets.Keys(t.Context(), p.URL, "a"); err != nil || len(keys) != 1 {
				t.Errorf("%v, %v", keys, err)
			}
		})
	}
	ask()
	<-reached
	for range 50 {
		ask()
	}
	started.Wait()
	close(release)
	all.Wait()
	p.wantFetches(t, 1)
}

// Who caused a fetch may go; the others get their keys.
func TestFlightOutlivesItsCaller(t *testing.T) {
	p := newPublisher(t)
	reached, release := make(chan struct{}), make(chan struct{})
	p.serve(func(w http.ResponseWriter, r *http.Request) {
		close(reached)
		<-release
		answer(200, set(t, "a"))(w, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := p.sets.Keys(ctx, p.URL, "a")
		failed <- err
	}()
	<-reached
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	close(release)
	p.want(t, "a", 1, "a")
}

func TestStaleKeysServeWhileTheSourceIsDown(t *testing.T) {
	p := newPublisher(t)
	p.serve(answer(200, set(t, "a")))
	p.want(t, "a", 1, "a")
	p.serve(answer(503, ""))
	p.clock.Turn(5 * time.Minute)
	p.want(t, "a", 2, "a")
	p.want(t, "a", 2, "a") // the failure is remembered
	p.fails(t, "b", 2, "503")

	p.clock.Turn(55*time.Minute - 1) // the last moment of its hour
	p.wantSoon(t, "a", 3)
	p.clock.Turn(5 * time.Second) // past it
	p.fails(t, "a", 4, "503")
}

func TestFailureIsRememberedForSeconds(t *testing.T) {
	p := newPublisher(t)
	p.serve(answer(503, ""))
	p.fails(t, "a", 1, "503")
	p.serve(answer(200, set(t, "a")))
	p.clock.Turn(5*time.Second - 1)
	p.fails(t, "a", 1, "503")
	p.clock.Turn(1)
	p.want(t, "a", 2, "a")
	p.clock.Turn(5*time.Minute - 1)
	p.want(t, "a", 2, "a")
}

// wantSoon holds that kid is answered without waiting, and that a fetch beside
// it makes so many.
func (p *publisher) wantSoon(t *testing.T, kid string, fetches int64) {
	t.Helper()
	keys, err := p.sets.Keys(t.Context(), p.URL, kid)
	if err != nil || len(keys) != 1 {
		t.Fatalf("kid %q: %v, %v", kid, keys, err)
	}
	// An ID that is not there waits for the fetch in the air.
	if _, err := p.sets.Keys(t.Context(), p.URL, "nobody's"); err == nil {
		t.Fatal("a source that is down answered")
	}
	p.wantFetches(t, fetches)
}

// While a source that is known to be down hangs, who has a stale key does not
// wait for it.
func TestHangingSourceHoldsNobodyUp(t *testing.T) {
	p := newPublisher(t)
	p.serve(answer(200, set(t, "a")))
	p.want(t, "a", 1, "a")
	reached := make(chan struct{}, 2)
	p.serve(func(_ http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		<-r.Context().Done()
	})
	p.clock.Turn(5 * time.Minute)
	first := make(chan error, 1)
	go func() {
		keys, err := p.sets.Keys(t.Context(), p.URL, "a")
		if err == nil && len(keys) != 1 {
			err = fmt.Errorf("%d keys", len(keys))
		}
		first <- err
	}()
	<-reached
	if err := p.clock.Sleepers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	p.clock.Turn(5 * time.Second) // the fetch ends without an answer
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	p.clock.Turn(5 * time.Second)
	for range 10 {
		if keys, err := p.sets.Keys(t.Context(), p.URL, "a"); err != nil || len(keys) != 1 {
			t.Fatalf("%v, %v", keys, err)
		}
	}
	<-reached // the second fetch is in the air, and hangs
	p.wantFetches(t, 2+1)
	if err := p.clock.Sleepers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	p.clock.Turn(5 * time.Second)
}

func TestWhatIsNoSetIsAnError(t *testing.T) {
	for name, row := range map[string]struct{ body, want string }{
		"no JSON":  {"<html>OTHER</html>", "not a JWK Set"},
		"no keys":  {`{"a":"OTHER"}`, "keys"},
		"an array": {`["OTHER"]`, "not a JWK Set"},
		"nothing":  {"", "not a JWK Set"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t)
			p.serve(answer(200, row.body))
			p.fails(t, "a", 1, row.want)
			p.fails(t, "", 1, row.want)
		})
	}
}

func TestKeysOfHostThatIsNotAllowed(t *testing.T) {
	p := newPublisher(t)
	for range 2 {
		if _, err := p.sets.Keys(t.Context(), "https://"+p.as("localhost"), "a"); !errors.Is(err, outbound.ErrNotAllowed) {
			t.Errorf("got %v", err)
		}
	}
	p.wantFetches(t, 0)
}

// The source takes connections and drops them: quicker than a thousand
// handshakes, and a failure is kept like a set.
func TestSetsInMemoryAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var fetches atomic.Int64
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fetches.Add(1)
			_ = conn.Close()
		}
	}()
	host, still := l.Addr().String(), clock.NewManual(start)
	sets := outbound.NewKeySets(build(t, outbound.Config{AllowedHosts: []string{host}, AllowPrivate: true, Clock: still}), still, slog.New(slog.DiscardHandler))
	ask := func(n int, want int64) {
		t.Helper()
		if _, err := sets.Keys(t.Context(), fmt.Sprintf("https://%s/%d", host, n), "a"); err == nil {
			t.Fatal("keys without a source")
		}
		if got := fetches.Load(); got != want {
			t.Fatalf("%d fetches, want %d", got, want)
		}
	}
	for n := range 1000 {
		ask(n, int64(n)+1)
	}
	ask(0, 1000) // so that 1 is the one that was not used for longest
	ask(1000, 1001)
	ask(0, 1001)
	ask(2, 1001)
	ask(1, 1002)
}

// A set that has lost all of its keys is not trusted: its source may be
// starting again. The last one ends after an hour.
func TestEmptiedSetIsAFailure(t *testing.T) {
	p := newPublisher(t)
	p.serve(answer(200, set(t, "a", "b")))
	p.want(t, "a", 1, "a")
	p.serve(answer(200, `{"keys":[]}`))
	p.clock.Turn(5 * time.Minute)
	p.want(t, "a", 2, "a")
	p.want(t, "", 2, "a", "b")
	p.fails(t, "c", 2, "no key that can be used") // unknown
	p.serve(answer(200, set(t, "b")))
	p.clock.Turn(5 * time.Second)
	p.want(t, "c", 3)
	p.want(t, "a", 3) // withdrawn by a set that has keys
	p.want(t, "b", 3, "b")

	p.serve(answer(200, `{"keys":[]}`))
	p.clock.Turn(time.Hour)
	p.fails(t, "b", 4, "no key that can be used")
	if n := strings.Count(p.log.String(), "level=ERROR"); n != 2 || !strings.Contains(p.log.String(), "last_set_serves=true") {
		t.Errorf("%d loud lines: %s", n, p.log.String())
	}
}
