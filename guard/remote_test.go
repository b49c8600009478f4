package guard_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/provider"
)

// publisher is an issuer's key endpoint on a TLS listener.
type publisher struct {
	t      *testing.T
	clock  *clock.Manual
	server *httptest.Server

	mu      sync.Mutex
	handler http.HandlerFunc
	fetches int
}

func newPublisher(t *testing.T) *publisher {
	p := &publisher{t: t, clock: clock.NewManual(start)}
	p.publish("k1")
	p.server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.fetches++
		h := p.handler
		p.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(p.server.Close)
	return p
}

func (p *publisher) serve(h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handler = h
}

// publish answers with the same key under each of ids.
func (p *publisher) publish(ids ...string) { p.serve(answerSet(jwks(ids...))) }

func jwks(ids ...string) string {
	keys := make([]jose.PublicKey, len(ids))
	for i, id := range ids {
		keys[i] = jose.PublicKey{ID: id, Algorithm: jose.ES256, Key: ecKey().Public()}
	}
	return string(must(jose.MarshalSet(keys)))
}

func answerSet(set string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, set) }
}

func (p *publisher) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetches
}

func (p *publisher) remote(change func(*guard.RemoteKeySetConfig)) *guard.RemoteKeySet {
	p.t.Helper()
	cfg := guard.RemoteKeySetConfig{URL: p.server.URL, Client: p.server.Client(), Clock: p.clock, Timeout: timeout, Logger: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	r := must(guard.NewRemoteKeySet(cfg))
	p.t.Cleanup(r.Close)
	return r
}

// expect checks what is answered for id: "" for the key, "unknown" or
// "unavailable".
func (p *publisher) expect(r *guard.RemoteKeySet, id, want string) {
	p.t.Helper()
	key, err := r.PublicKey(p.t.Context(), id, jose.ES256)
	got := ""
	var e *counterfoil.Error
	switch {
	case errors.As(err, &e) && e.Reason == counterfoil.ReasonTokenKeyUnknown && errors.Is(err, guard.ErrKeyUnknown):
		got = "unknown"
	case err != nil:
		got = "unavailable"
	case !ecKey().Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(key):
		got = "another key"
	}
	if got != want {
		p.t.Errorf("%s is %q (%v), want %q", id, got, err, want)
	}
}

// timeout is that of every fetch here; no other sleep has its length.
const timeout = 7 * time.Second

// refreshes returns how often the background refresh went to sleep, and how
// long the last time.
func (p *publisher) refreshes() (n int, last time.Duration) {
	for _, d := range p.clock.Slept() {
		if d != timeout {
			n, last = n+1, d
		}
	}
	return n, last
}

// settle waits until the background refresh has gone to sleep n times.
func (p *publisher) settle(n int) {
	p.t.Helper()
	eventually.True(p.t, fmt.Sprintf("the refresh goes to sleep %d times", n), func() bool {
		have, _ := p.refreshes()
		return have >= n
	})
}

// turn lets d pass, which wakes the background refresh, and waits until it has
// done its work.
func (p *publisher) turn(d time.Duration) {
	p.settle(1)
	n, _ := p.refreshes()
	p.clock.Turn(d)
	p.settle(n + 1)
}

func TestRemoteFetchesLazilyAndOnce(t *testing.T) {
	p := newPublisher(t)
	r := p.remote(nil)
	if p.count() != 0 {
		t.Error("fetched before anybody asked")
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { p.expect(r, "k1", "") })
	}
	wg.Wait()
	if n := p.count(); n != 1 {
		t.Errorf("%d fetches for 50 callers", n)
	}
}

func TestRemoteFollowsRotation(t *testing.T) {
	p := newPublisher(t)
	r := p.remote(nil)
	p.expect(r, "k1", "")
	p.publish("k1", "k2")
	p.turn(5 * time.Minute)
	p.expect(r, "k2", "")
	p.publish("k2")
	p.expect(r, "k1", "")
	p.turn(5 * time.Minute)
	p.expect(r, "k2", "")
	p.expect(r, "k1", "unknown")
}

// The same key keeps its pointer, so that comparing it is free.
func TestRemoteKeepsTheKeyThatIsTheSame(t *testing.T) {
	p := newPublisher(t)
	r := p.remote(nil)
	before := must(r.PublicKey(t.Context(), "k1", jose.ES256))
	p.turn(5 * time.Minute)
	if after := must(r.PublicKey(t.Context(), "k1", jose.ES256)); after != before {
		t.Error("another value for the same key")
	}
}

func TestRemoteFindsANewKeyAtOnce(t *testing.T) {
	p := newPublisher(t)
	r := p.remote(nil)
	p.expect(r, "k1", "")
	p.publish("k1", "k2")
	p.clock.Turn(11 * time.Second)
	p.expect(r, "k2", "")
	if n := p.count(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

// go-oidc PR 482, tilegroxy 883, cosmo PR 2216: every token with an invented
// kid made one fetch.
func TestFloodOfUnknownKidsIsBounded(t *testing.T) {
	p := newPublisher(t)
	r := p.remote(nil)
	p.expect(r, "k1", "")
	for round := range 3 {
		p.clock.Turn(10 * time.Second)
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for i := range 100 {
					p.expect(r, fmt.Sprint("invented", round, worker, i), "unknown")
				}
			})
		}
		wg.Wait()
		p.expect(r, "k1", "")
		if n := p.count(); n != round+2 {
			t.Fatalf("%d fetches after %d intervals", n, round+1)
		}
	}
}

// While one fetch for an unknown id hangs, other unknown ids do not wait, and
// known ones do not notice.
func TestUnknownKidsDoNotWaitForAHangingEndpoint(t *testing.T) {
	p := newPublisher(t)
	r := p.remote(nil)
	p.expect(r, "k1", "")
	arrived, release := make(chan struct{}), make(chan struct{})
	p.serve(func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	p.clock.Turn(10 * time.Second)
	first := make(chan error)
	go func() {
		_, err := r.PublicKey(context.Background(), "x", jose.ES256)
		first <- err
	}()
	<-arrived
	for i := range 100 {
		p.expect(r, fmt.Sprint(i), "unknown")
	}
	p.expect(r, "k1", "")
	close(release)
	if err := <-first; err == nil {
		t.Error("x is known")
	}
	if n := p.count(); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

func TestOutageServesTheOldSetForABoundedTime(t *testing.T) {
	for name, outage := range map[string]http.HandlerFunc{
		"500":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"a page":        answerSet("<html>"),
		"no keys":       answerSet("{}"),
		"an empty set":  answerSet(`{"keys":[]}`),
		"no usable key": answerSet(`{"keys":[{"kty":"RSA","kid":"k1","n":"AQAB","e":"AQAB"},{"kty":"oct","kid":"k2","k":"AAAA"}]}`),
		"empty":         answerSet(""),
		"2 MB":          answerSet(`{"keys":[` + strings.Repeat(" ", 2<<20) + `]}`),
		"cut off":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"404 and a set": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404); answerSet(jwks("k2"))(w, r) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t)
			r := p.remote(func(c *guard.RemoteKeySetConfig) { c.Stale = time.Hour })
			p.expect(r, "k1", "")
			p.serve(outage)
			p.turn(5 * time.Minute)
			p.expect(r, "k1", "")
			p.expect(r, "k2", "unavailable") // it may be published now: who knows
			p.turn(55*time.Minute - 1)
			p.expect(r, "k1", "")
			p.clock.Turn(1)
			p.expect(r, "k1", "unavailable")
			p.publish("k1")
			p.turn(time.Minute)
			p.expect(r, "k1", "")
			p.expect(r, "k2", "unknown")
		})
	}
}

// auth0's middleware answers 401 when the keys cannot be fetched: the client
// throws a good token away.
// A set is as old as the question that it answers, however long that took.
func TestSlowKeysAreNotYounger(t *testing.T) {
	p := newPublisher(t)
	p.serve(func(w http.ResponseWriter, _ *http.Request) {
		p.clock.Turn(5 * time.Second)
		_, _ = io.WriteString(w, jwks("k1"))
	})
	r := p.remote(nil)
	p.expect(r, "k1", "")
	p.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	p.turn(5 * time.Minute)
	p.turn(time.Hour - 5*time.Minute - 5*time.Second - 1)
	p.expect(r, "k1", "")
	p.clock.Turn(1)
	p.expect(r, "k1", "unavailable")
}

func TestKeyOutageIsNotTheClientsFault(t *testing.T) {
	p := newPublisher(t)
	p.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	rig := newRig(t, "oauth2")
	g := must(guard.New(guard.Config{Provider: must(provider.Builtin("oauth2")), Issuer: issuer, Keys: p.remote(nil), Clock: p.clock, Logger: slog.New(slog.DiscardHandler)}))
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	call := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, rig.call(rig.token(nil)))
		return w.Code
	}
	for range 5 {
		if code := call(); code != 503 {
			t.Errorf("status %d", code)
		}
	}
	if n := p.count(); n != 1 {
		t.Errorf("%d fetches in one moment", n)
	}
	p.publish("k1")
	p.turn(10 * time.Second)
	if code := call(); code != 200 {
		t.Errorf("status %d after the outage", code)
	}
}

func TestOneBadKeyDoesNotHideTheOthers(t *testing.T) {
	p := newPublisher(t)
	var log bytes.Buffer
	p.serve(answerSet(strings.Replace(jwks("k1"), `[`, `[{"kty":"RSA","kid":"x","n":"AQAB","e":"AQAB"},{"kty":"oct","kid":"k1","k":"AAAA"},7,`, 1)))
	r := p.remote(func(c *guard.RemoteKeySetConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	p.expect(r, "k1", "")
	p.expect(r, "x", "unknown")
	for range 5 {
		p.turn(5 * time.Minute)
	}
	r.Close()
	for _, line := range []string{`kid=x position=1 why="the RSA key must have 2048`, `kid=k1 position=2 why="not a public key"`, `kid="" position=3 why=`, "used=1 left_out=3"} {
		if n := strings.Count(log.String(), line); n != 1 {
			t.Errorf("%q is there %d times: %s", line, n, log.String())
		}
	}
}

// A set without a usable key said that every key was withdrawn: each token of the
// issuer was refused with 401, and clients threw good ones away.
func TestSetWithoutAUsableKeyIsAFailedFetch(t *testing.T) {
	for name, set := range map[string]string{
		"empty":          `{"keys":[]}`,
		"other kinds":    `{"keys":[{"kty":"oct","kid":"k1","k":"AAAA"},{"kty":"EC","crv":"P-384","kid":"k2","x":"AA","y":"AA"}]}`,
		"for encryption": strings.ReplaceAll(jwks("k1"), `"sig"`, `"enc"`),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPublisher(t)
			var log bytes.Buffer
			r := p.remote(func(c *guard.RemoteKeySetConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
			rig := newRig(t, "oauth2")
			g := must(guard.New(guard.Config{Provider: must(provider.Builtin("oauth2")), Issuer: issuer, Keys: r, Clock: rig.clock, Logger: slog.New(slog.DiscardHandler)}))
			h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			call := func(want int) {
				t.Helper()
				w := httptest.NewRecorder()
				h.ServeHTTP(w, rig.call(rig.token(nil)))
				if w.Code != want {
					t.Errorf("status %d, want %d", w.Code, want)
				}
			}
			p.serve(answerSet(set))
			call(503)
			p.publish("k1")
			p.turn(10 * time.Second)
			call(200)
			p.serve(answerSet(set))
			p.turn(5 * time.Minute)
			call(200)
			r.Close()
			for _, line := range []string{"last_set_serves=false", "last_set_serves=true"} {
				if n := strings.Count(log.String(), line); n != 1 || !strings.Contains(log.String(), "level=ERROR") {
					t.Errorf("%q is there %d times: %s", line, n, log.String())
				}
			}
			if strings.Index(log.String(), "last_set_serves=false") > strings.Index(log.String(), "last_set_serves=true") {
				t.Errorf("before there was a set, the log says that the last one serves: %s", log.String())
			}
		})
	}
}

// Issuers with one key often name it nowhere, or in the set only (RFC 7515
// section 4.1.4).
func TestTokenWithoutKid(t *testing.T) {
	ec, other, rs := josetest.JWK(ecKey().Public()), josetest.JWK(ecOther().Public()), josetest.JWK(rsaKey().Public())
	with := func(jwk, members string) string { return strings.Replace(jwk, `{`, `{`+members+`,`, 1) }
	for _, tt := range []struct {
		name string
		keys []string
		want counterfoil.Reason
	}{
		{"one key without kid", []string{ec}, ""},
		{"one key with kid", []string{with(ec, `"kid":"k9"`)}, ""},
		{"one of its algorithm", []string{with(rs, `"kid":"r"`), with(ec, `"kid":"e"`)}, ""},
		{"the other of its kind is for encryption", []string{with(other, `"use":"enc","kid":"x"`), ec}, ""},
		{"the other of its kind is for another algorithm", []string{with(other, `"alg":"ECDH-ES"`), ec}, ""},
		{"two of its kind", []string{ec, other}, counterfoil.ReasonTokenKeyUnknown},
		{"two of its kind with kid", []string{with(ec, `"kid":"a"`), with(other, `"kid":"b"`)}, counterfoil.ReasonTokenKeyUnknown},
		{"none of its kind", []string{rs}, counterfoil.ReasonTokenKeyUnknown},
		{"another key", []string{other}, counterfoil.ReasonTokenSignature},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set := `{"keys":[` + strings.Join(tt.keys, ",") + `]}`
			p := newPublisher(t)
			p.serve(answerSet(set))
			for name, keys := range map[string]guard.Keys{"remote": p.remote(nil), "static": must(guard.StaticKeys([]byte(set)))} {
				r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.Keys = keys })
				req := r.call(r.token(func(h, _ members) { delete(h, "kid") }))
				for range 2 { // the second from memory
					switch a := r.send(req); {
					case tt.want != "":
						r.refused(a, tt.want)
					case a.status != 200:
						t.Errorf("%s: %d, event %+v", name, a.status, a.event)
					}
				}
			}
		})
	}
	t.Run("a token that was checked, once a second key is there", func(t *testing.T) {
		p := newPublisher(t)
		p.serve(answerSet(`{"keys":[` + ec + `]}`))
		r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.Keys = p.remote(nil) })
		req := r.call(r.token(func(h, _ members) { delete(h, "kid") }))
		if a := r.send(req); a.status != 200 {
			t.Fatalf("%d, event %+v", a.status, a.event)
		}
		p.serve(answerSet(`{"keys":[` + ec + `,` + other + `]}`))
		p.turn(5 * time.Minute)
		r.refused(r.send(req), counterfoil.ReasonTokenKeyUnknown)
	})
	t.Run("a kid that is empty names no key", func(t *testing.T) {
		keys := must(guard.StaticKeys([]byte(`{"keys":[` + with(ec, `"kid":""`) + `,` + other + `]}`)))
		r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.Keys = keys })
		r.refused(r.send(r.call(r.token(func(h, _ members) { h["kid"] = "" }))), counterfoil.ReasonTokenKeyUnknown)
	})
}

// TestRecordTellsWhichKeyIsMissing: an issuer's mistake with its keys is found by what
// the record of a refusal says.
func TestRecordTellsWhichKeyIsMissing(t *testing.T) {
	with := func(jwk, members string) string { return strings.Replace(jwk, `{`, `{`+members+`,`, 1) }
	set := `{"keys":[` + with(josetest.JWK(rsaKey().Public()), `"kid":"rs","alg":"RS256"`) + `]}`
	for kid, want := range map[string]struct {
		reason counterfoil.Reason
		detail string
	}{
		"":        {counterfoil.ReasonTokenKeyUnknown, "the token names no key, and not exactly one key fits"},
		"unknown": {counterfoil.ReasonTokenKeyUnknown, "Authorization"}, // where it was
		"rs":      {counterfoil.ReasonTokenAlgorithm, "the key is published for another algorithm"},
	} {
		r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.Keys = must(guard.StaticKeys([]byte(set))) })
		a := r.send(r.call(r.token(func(h, _ members) {
			if h["kid"] = kid; kid == "" {
				delete(h, "kid")
			}
		})))
		if r.refused(a, want.reason); a.event.Detail != want.detail {
			t.Errorf("for the key %q the record says %q, want %q", kid, a.event.Detail, want.detail)
		}
	}
}

func TestRedirectIsAFailure(t *testing.T) {
	p := newPublisher(t)
	elsewhere := newPublisher(t)
	p.serve(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.server.URL, http.StatusFound)
	})
	p.expect(p.remote(nil), "k1", "unavailable")
	if elsewhere.count() != 0 {
		t.Error("the redirect was followed")
	}
}

// zitadel/oidc shares a fetch that ends with its first caller.
func TestCallersLeaveAHangingEndpoint(t *testing.T) {
	p := newPublisher(t)
	arrived, release := make(chan struct{}), make(chan struct{})
	p.serve(func(w http.ResponseWriter, r *http.Request) { close(arrived); <-release; answerSet(jwks("k1"))(w, r) })
	r := p.remote(nil)
	ctx, leave := context.WithCancel(context.Background())
	left := make(chan error)
	go func() {
		_, err := r.PublicKey(ctx, "k1", jose.ES256)
		left <- err
	}()
	<-arrived
	stayed := make(chan error)
	go func() {
		_, err := r.PublicKey(context.Background(), "k1", jose.ES256)
		stayed <- err
	}()
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller who left: %v", err)
	}
	close(release)
	if err := <-stayed; err != nil {
		t.Errorf("the caller who stayed: %v", err)
	}
	if n := p.count(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestAFetchEndsInTime(t *testing.T) {
	p := newPublisher(t)
	arrived := make(chan struct{})
	p.serve(func(_ http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() })
	r := p.remote(func(c *guard.RemoteKeySetConfig) { c.Timeout, c.Retry = 3*time.Second, time.Minute })
	answer := make(chan error)
	go func() {
		_, err := r.PublicKey(context.Background(), "k1", jose.ES256)
		answer <- err
	}()
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := p.clock.Sleepers(ctx, 1); err != nil {
		t.Fatal(err)
	}
	p.clock.Turn(3 * time.Second)
	if err := <-answer; err == nil || !strings.Contains(err.Error(), "no answer within 3s") {
		t.Errorf("error %v", err)
	}
}

// An answer may be as long as it is read, and no longer.
func TestLongestAnswers(t *testing.T) {
	padded := func(text string, size int) http.HandlerFunc {
		return answerSet(strings.Repeat(" ", size-len(text)) + text)
	}
	for over, want := range map[int]string{0: "", 1: "unavailable"} {
		p := newPublisher(t)
		p.serve(padded(jwks("k1"), 512<<10+over))
		p.expect(p.remote(nil), "k1", want)

		i := newIntrospector(t)
		i.answer(padded(`{"active":true}`, 64<<10+over))
		r := i.behind(i.introspection(nil))
		if got := r.reason(r.token(nil)); (got == "") != (want == "") {
			t.Errorf("an introspection with %d bytes too many: %q", over, got)
		}
	}
}

// Keys that are left out are logged, and only they.
func TestKeysLeftOutAreLogged(t *testing.T) {
	weak := strings.Replace(jwks("k1"), `{"keys":[`, `{"keys":[{"kty":"RSA","kid":"weak","n":"AQAB","e":"AQAB"},`, 1)
	for set, want := range map[string]int{jwks("k1"): 0, weak: 1} {
		p, log := newPublisher(t), &waits{}
		p.serve(answerSet(set))
		p.expect(p.remote(func(c *guard.RemoteKeySetConfig) { c.Logger = slog.New(log) }), "k1", "")
		if n := log.count("keys left out"); n != want {
			t.Errorf("logged %d times, want %d: %q", n, want, log.lines)
		}
	}
}

// A failed fetch is logged, unless it failed because the set was closed.
func TestFailedFetchesAreLogged(t *testing.T) {
	p, log := newPublisher(t), &waits{}
	asked, end := make(chan struct{}, 1), make(chan struct{})
	logged := func(c *guard.RemoteKeySetConfig) { c.Logger = slog.New(log) }
	p.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	p.expect(p.remote(logged), "k1", "unavailable")
	if n := log.count("remote keys: fetch failed"); n != 1 {
		t.Errorf("logged %d times: %q", n, log.lines)
	}
	p.serve(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-end:
		}
	})
	defer close(end)
	r := p.remote(logged)
	left, leave := context.WithCancel(t.Context())
	leave()
	if _, err := r.PublicKey(left, "k1", jose.ES256); err == nil {
		t.Error("there is a key")
	}
	<-asked
	r.Close()
	if n := log.count("fetch failed"); n != 1 {
		t.Errorf("logged %d times after it was closed: %q", n, log.lines)
	}
}

func TestCacheControlIsHonouredWithinBounds(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"":                                 5 * time.Minute,
		"no-store":                         5 * time.Minute,
		"max-age=120":                      2 * time.Minute,
		"public, Max-Age=120, immutable":   2 * time.Minute,
		"max-age=0":                        time.Minute,
		"max-age=86400":                    15 * time.Minute,
		"max-age=-5":                       5 * time.Minute,
		"max-age=99999999999999999999":     5 * time.Minute,
		"max-age":                          5 * time.Minute,
		"x-max-age=120, max-age =60, =, ,": 5 * time.Minute,
	} {
		t.Run(header, func(t *testing.T) {
			p := newPublisher(t)
			p.serve(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", header)
				answerSet(jwks("k1"))(w, r)
			})
			r := p.remote(nil)
			p.expect(r, "k1", "")
			p.settle(1)
			if _, wait := p.refreshes(); wait != want {
				t.Errorf("the next refresh is after %v, want %v", wait, want)
			}
		})
	}
}

func TestCloseEndsEverything(t *testing.T) {
	eventually.NoGoroutineIsLeft(t)
	p := newPublisher(t)
	transport := p.server.Client().Transport.(*http.Transport).Clone()
	arrived := make(chan struct{})
	p.serve(func(_ http.ResponseWriter, r *http.Request) { close(arrived); <-r.Context().Done() })
	cfg := guard.RemoteKeySetConfig{URL: p.server.URL, Client: &http.Client{Transport: transport}, Clock: p.clock, Logger: slog.New(slog.DiscardHandler)}
	r := must(guard.NewRemoteKeySet(cfg))
	answer := make(chan error)
	go func() {
		_, err := r.PublicKey(context.Background(), "k1", jose.ES256)
		answer <- err
	}()
	<-arrived
	r.Close()
	r.Close()
	if err := <-answer; err == nil {
		t.Error("a key from nowhere")
	}
	p.expect(r, "k1", "unavailable")
	must(guard.NewRemoteKeySet(cfg)).Close()
	transport.CloseIdleConnections()
	p.server.Close()
}

func TestRemoteKeysRefusesItsConfiguration(t *testing.T) {
	for _, url := range []string{"", "http://auth.example.com/keys", "auth.example.com/keys", "https:///keys", "https://user:pass@auth.example.com/", "https://auth.example.com/#x", "file:///etc/keys", "::"} {
		if _, err := guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: url}); err == nil || strings.Contains(err.Error(), "pass") {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: "https://auth.example.com/", Retry: -1}); err == nil {
		t.Error("a negative time was taken")
	}
}

func TestStaticKeys(t *testing.T) {
	keys, err := guard.StaticKeys([]byte(strings.Replace(jwks("k1"), `[`, `[{},`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.PublicKey(t.Context(), "k1", jose.ES256); err != nil {
		t.Error(err)
	}
	if _, err := keys.PublicKey(t.Context(), "k2", jose.ES256); !errors.Is(err, guard.ErrKeyUnknown) {
		t.Errorf("error %v", err)
	}
	for _, jwks := range []string{"", "{}", `{"keys":[]}`, `{"keys":[{"kty":"oct","kid":"x","k":"AAAA"}]}`} {
		if _, err := guard.StaticKeys([]byte(jwks)); err == nil {
			t.Errorf("%q was taken", jwks)
		}
	}
}
