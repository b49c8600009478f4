package guard_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/provider"
)

// What Authenticate answers is what Handler answers, to the byte.
func TestAuthenticateAnswersAsHandler(t *testing.T) {
	for name, d := range dialects() {
		t.Run(name, func(t *testing.T) {
			r := newRigFor(t, must(provider.Builtin(name)), d)
			for kind, change := range map[string]func(*http.Request){
				"good":     func(*http.Request) {},
				"no token": func(req *http.Request) { req.Header.Del("Authorization") },
				"forged":   func(req *http.Request) { req.Header.Set("Authorization", req.Header.Get("Authorization")[:60]+"x") },
				"expired":  func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+r.claim("exp", start.Unix()-3600)) },
				"two tokens": func(req *http.Request) {
					req.Header["Authorization"] = append(req.Header["Authorization"], req.Header["Authorization"]...)
				},
				"no scope": func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+r.claim("scope", "other")) },
				"another scheme": func(req *http.Request) {
					req.Header.Set("Authorization", "DPoP "+strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))
				},
			} {
				req := r.call(r.token(nil))
				change(req)
				want := r.send(req)

				req = r.call(r.token(nil))
				change(req)
				r.mu.Lock()
				r.events = nil
				r.mu.Unlock()
				p, err := r.guard.Authenticate(req)
				refusal, refused := errors.AsType[*guard.Refusal](err)
				if refused == (want.status == 200) || refused != (err != nil) || refused != (p == nil) {
					t.Fatalf("%s: Handler answers %d, Authenticate %v, %v", kind, want.status, p, err)
				}
				if len(r.events) != 1 || r.events[0].Reason != want.event.Reason || r.events[0].Success == refused {
					t.Errorf("%s: events %+v, want one as %+v", kind, r.events, want.event)
				}
				if !refused {
					if p.ClientID != client {
						t.Errorf("%s: principal %+v", kind, p)
					}
					continue
				}
				w := httptest.NewRecorder()
				refusal.Write(w)
				if refusal.Status() != want.status || refusal.Reason != want.event.Reason || w.Code != want.status || w.Body.String() != want.body {
					t.Errorf("%s: %d %q, want %d %q", kind, w.Code, w.Body, want.status, want.body)
				}
				for _, h := range []string{"Content-Type", "WWW-Authenticate", "Cache-Control"} {
					if got := w.Header().Values(h); strings.Join(got, "|") != strings.Join(want.header.Values(h), "|") {
						t.Errorf("%s: %s is %q, want %q", kind, h, got, want.header.Values(h))
					}
				}
				if strings.Contains(err.Error(), strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")) && req.Header.Get("Authorization") != "" {
					t.Errorf("%s: the error repeats the token: %v", kind, err)
				}
			}
		})
	}
}

// The cause of a refusal can be unwrapped, and is not in the answer.
func TestRefusalOfAFailure(t *testing.T) {
	r := newRig(t, "oauth2")
	cause := errors.New("connection to db-7 refused")
	r.registry.change(func(g *registry) { g.err = cause })
	_, err := r.guard.Authenticate(r.call(r.token(nil)))
	w := httptest.NewRecorder()
	refusal, ok := errors.AsType[*guard.Refusal](err)
	if !ok || !errors.Is(err, cause) || !strings.Contains(err.Error(), "db-7") {
		t.Fatalf("got %v", err)
	}
	refusal.Write(w)
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || strings.Contains(w.Body.String(), "db-7") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A nonce that a proof needs comes with the refusal.
func TestAuthenticateSendsTheNonce(t *testing.T) {
	r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.DPoPNonce = true })
	token := r.keyBound()
	_, err := r.guard.Authenticate(r.prove(r.call(token), token, nil))
	refusal, ok := errors.AsType[*guard.Refusal](err)
	if !ok || refusal.Reason != counterfoil.ReasonTokenProofNonce {
		t.Fatalf("got %v", err)
	}
	w := httptest.NewRecorder()
	refusal.Write(w)
	nonce := w.Header().Get("DPoP-Nonce")
	if nonce == "" || !strings.Contains(w.Header().Get("WWW-Authenticate"), "use_dpop_nonce") {
		t.Fatalf("headers %v", w.Header())
	}
	if _, err := r.guard.Authenticate(r.prove(r.call(token), token, members{"nonce": nonce})); err != nil {
		t.Error(err)
	}
}

// Scopes of single routes.
func TestRequireScope(t *testing.T) {
	r := newRig(t, "oauth2")
	elsewhere := newRigFor(t, parse(t, "elsewhere", "extends: oauth2\nname: elsewhere\n"), dialects()["oauth2"])
	route := r.guard.RequireScope("orders:write", "orders:read")(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "written") }))
	for _, tt := range []struct {
		name, scope string
		through     func(http.Handler) http.Handler
		status      int
		reason      counterfoil.Reason
	}{
		{"both", "orders:read orders:write other", r.guard.Handler, 200, ""},
		{"one", "orders:read", r.guard.Handler, 403, counterfoil.ReasonScopeInsufficient},
		{"none", "", r.guard.Handler, 403, counterfoil.ReasonScopeInsufficient},
		{"no guard before it", "orders:read orders:write", func(h http.Handler) http.Handler { return h }, 401, counterfoil.ReasonTokenMissing},
		{"another guard before it", "orders:read orders:write", elsewhere.guard.Handler, 401, counterfoil.ReasonTokenMissing},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r.mu.Lock()
			r.events = nil
			r.mu.Unlock()
			w := httptest.NewRecorder()
			req := r.call(r.claim("scope", tt.scope))
			tt.through(route).ServeHTTP(w, req)
			if w.Code != tt.status || (w.Body.String() == "written") != (tt.status == 200) {
				t.Errorf("%d %q", w.Code, w.Body)
			}
			var reason counterfoil.Reason
			if n := len(r.events); n > 0 {
				reason = r.events[n-1].Reason
			}
			if reason != tt.reason {
				t.Errorf("events %+v", r.events)
			}
			// The guard's event comes first, and a route that refuses adds its own.
			types := map[int]string{200: "call.allowed", 403: "call.allowed call.refused", 401: "call.refused"}
			var got []string
			for _, e := range r.events {
				got = append(got, e.Type)
			}
			if strings.Join(got, " ") != types[tt.status] {
				t.Errorf("events %q, want %s", got, types[tt.status])
			}
			if last := r.events[len(r.events)-1].Detail; tt.status == 403 && last != "the route needs the scopes orders:write orders:read: the token has "+cmp.Or(tt.scope, "none") {
				t.Errorf("the detail is %q", last)
			}
			if challenge := w.Header().Get("WWW-Authenticate"); tt.status == 403 && !strings.Contains(challenge, `scope="orders:write orders:read"`) {
				t.Errorf("challenge %q", challenge)
			}
		})
	}
	req := r.call("").WithContext(counterfoil.WithPrincipal(t.Context(), &counterfoil.Principal{Provider: "oauth2", Issuer: issuer, Scopes: counterfoil.Scopes{"a"}}))
	if err := r.guard.Authorize(req, "a"); err != nil {
		t.Error(err)
	}
	if refusal, ok := errors.AsType[*guard.Refusal](r.guard.Authorize(req, "a", "b")); !ok || refusal.Status() != 403 {
		t.Errorf("got %v", refusal)
	}
}

// Sources are asked in order, and what a source says of a token is what the call
// is refused for.
func TestLiveness(t *testing.T) {
	failed := errors.New("away")
	for _, tt := range []struct {
		name string
		errs []error
		want counterfoil.Reason
	}{
		{"none", nil, ""},
		{"all in force", []error{nil, nil}, ""},
		{"revoked", []error{nil, &counterfoil.Error{Reason: counterfoil.ReasonTokenRevoked}}, counterfoil.ReasonTokenRevoked},
		{"replaced", []error{&counterfoil.Error{Reason: counterfoil.ReasonTokenReplaced}, failed}, counterfoil.ReasonTokenReplaced},
		{"ended, nobody knows how", []error{&counterfoil.Error{Reason: counterfoil.ReasonTokenInvalid}}, counterfoil.ReasonTokenRevoked},
		{"wrapped", []error{errors.Join(&counterfoil.Error{Reason: counterfoil.ReasonTokenReplaced})}, counterfoil.ReasonTokenReplaced},
		{"a failure", []error{failed, &counterfoil.Error{Reason: counterfoil.ReasonTokenRevoked}}, counterfoil.ReasonUnavailable},
		{"stale", []error{&counterfoil.Error{Reason: counterfoil.ReasonUnavailable}}, counterfoil.ReasonUnavailable},
		{"a reason that is no guard's", []error{&counterfoil.Error{Reason: counterfoil.ReasonInvalidClient}}, counterfoil.ReasonUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var sources []guard.Liveness
			for _, err := range tt.errs {
				sources = append(sources, says{err})
			}
			r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.Liveness = guard.AllOf(sources...) })
			if got := r.reason(r.token(nil)); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// says is a Liveness of one answer.
type says struct{ err error }

func (s says) Live(_ context.Context, p *counterfoil.Principal, token counterfoil.Secret) error {
	if p.ClientID != client || token == "" {
		return errors.New("asked without the client or the token")
	}
	return s.err
}

// A refusal's error is its reason, with the details where there are any.
func TestRefusalSaysWhy(t *testing.T) {
	r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"])
	for header, want := range map[string]string{
		"":             "call refused: token_missing",
		"Basic Zzp4":   "call refused: token_missing: another scheme",
		"Bearer a.b.c": "call refused: token_malformed: ",
	} {
		req := r.call(r.token(nil))
		req.Header.Del("Authorization")
		if header != "" {
			req.Header.Set("Authorization", header)
		}
		_, err := r.guard.Authenticate(req)
		if err == nil || err.Error() != want && (!strings.HasSuffix(want, " ") || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", header, err, want)
		}
	}
}

// A Liveness that says itself that it knows nothing has logged that: calls are
// refused without a line for each. All that is not its answer is logged.
func TestLivenessThatFailsIsLogged(t *testing.T) {
	away := &counterfoil.Error{Reason: counterfoil.ReasonUnavailable, Message: "the feed is stale"}
	for _, tt := range []struct {
		name   string
		err    error
		logged bool
	}{
		{"its own answer", away, false},
		{"wrapped", fmt.Errorf("ask: %w", away), true},
		{"a reason that is no guard's", &counterfoil.Error{Reason: counterfoil.ReasonInvalidClient}, true},
	} {
		var log bytes.Buffer
		r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) {
			c.Liveness, c.Logger = says{tt.err}, slog.New(slog.NewTextHandler(&log, nil))
		})
		if got := r.reason(r.token(nil)); got != counterfoil.ReasonUnavailable {
			t.Errorf("%s: %q", tt.name, got)
		}
		if logged := log.Len() > 0; logged != tt.logged {
			t.Errorf("%s: logged %q", tt.name, log.String())
		}
	}
}
