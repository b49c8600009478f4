package client_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
)

// proving is a configuration of oauth2 whose tokens are bound to k.
func (w *world) proving(k client.Key) client.Config {
	c := w.config("oauth2")
	c.DPoP = k
	return c
}

// giveBound answers the n-th token, bound to a key.
func giveBound(rw http.ResponseWriter, n int, expires string) {
	rw.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(rw, `{"access_token":"token-%d","token_type":"DPoP","expires_in":%s}`, n, expires)
}

// checkProof verifies the proof of a request to one of the world's servers, which
// must have been made with k.
func (w *world) checkProof(server *httptest.Server, r *http.Request, k client.Key, token, nonce string) dpop.Proof {
	w.t.Helper()
	if n := len(r.Header.Values("DPoP")); n != 1 {
		w.t.Fatalf("%d proofs", n)
	}
	p, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Want{Method: r.Method, URL: server.URL + r.URL.Path, Now: w.clock.Now(), AccessToken: token,
		Thumbprint: josetest.Thumbprint(k.Signer.Public())})
	if err != nil {
		w.t.Fatal(err)
	}
	equal(w.t, "nonce", p.Nonce, nonce)
	return p
}

func (w *world) seenCalls() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

func (w *world) seenTokens() []seen {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tokens)
}

func TestDPoP(t *testing.T) {
	for _, algorithm := range []string{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA} {
		t.Run(algorithm, func(t *testing.T) {
			w := newWorld(t)
			w.answers(func(rw http.ResponseWriter, n int) { giveBound(rw, n, "3600") })
			k := newKey(t, algorithm)
			c := w.proving(k)
			c.TokenURL += "?at=here"
			s := w.source(c)
			for _, path := range []string{"", "/items?page=2#end", "/a%2Fb/%C3%A9"} {
				equal(t, "status", w.get(s.Client(), w.api.URL+path).StatusCode, http.StatusOK)
			}
			ids := map[string]bool{}
			ids[w.checkProof(w.auth, w.seenTokens()[0].Request, k, "", "").ID] = true
			for _, call := range w.seenCalls() {
				equal(t, "Authorization", call.Header.Get("Authorization"), "DPoP token-1")
				proof := call.Header.Get("DPoP")
				p, err := dpop.Verify(proof, dpop.Want{Method: "GET", URL: w.api.URL + call.URL.EscapedPath(), Now: w.clock.Now(), AccessToken: "token-1"})
				if err != nil {
					t.Errorf("%s: %v", call.URL, err)
				}
				ids[p.ID] = true
			}
			equal(t, "different jti", len(ids), 4)
			equal(t, "token requests", w.asked(), 1)
		})
	}
}

func TestDPoPAtOtherHost(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, n int) { giveBound(rw, n, "3600") })
	s := w.source(w.proving(newKey(t, jose.ES256)))
	other := listen(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, r.Header.Get("DPoP"), r.Header.Get("Authorization"))
	})
	defer other.Close()
	body, err := io.ReadAll(w.get(s.Client(), other.URL).Body)
	if err != nil || len(body) > 0 {
		t.Errorf("another origin got %q, %v", body, err)
	}
	req, err := http.NewRequest(http.MethodGet, w.api.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "api.example"
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if _, err := dpop.Verify(w.seenCalls()[0].Header.Get("DPoP"), dpop.Want{Method: "GET", URL: "https://api.example/", Now: w.clock.Now(), AccessToken: "token-1"}); err != nil {
		t.Errorf("the name that the API goes by: %v", err)
	}
	equal(t, "proofs in the caller's own request", len(req.Header), 0)
}

// A server's nonce is asked for once, then known before it is missed; the token
// endpoint and the API have each their own.
func TestDPoPNonces(t *testing.T) {
	w := newWorld(t)
	k := newKey(t, jose.ES256)
	nonceOf := func(r *http.Request) string {
		p, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Want{Method: r.Method, URL: "https://" + r.Host + r.URL.Path, Now: w.clock.Now()})
		if err != nil {
			t.Error(err)
		}
		return p.Nonce
	}
	w.answers(func(rw http.ResponseWriter, n int) {
		rw.Header().Set("DPoP-Nonce", fmt.Sprint("token-nonce-", (n+1)/2))
		if got := nonceOf(w.seenTokens()[n-1].Request); n == 1 && got != "" || n > 1 && got != fmt.Sprint("token-nonce-", n/2) {
			t.Errorf("token request %d has the nonce %q", n, got)
		}
		if n == 1 {
			status(400, `{"error":"use_dpop_nonce"}`)(rw, n)
			return
		}
		giveBound(rw, n, "3600")
	})
	w.onCall = func(rw http.ResponseWriter, r seen, n int) {
		want := []string{"", "api-nonce-1", "api-nonce-1", "api-nonce-2"}[n-1]
		if got := nonceOf(r.Request); got != want {
			t.Errorf("call %d has the nonce %q, want %q", n, got, want)
		}
		switch n {
		case 1:
			rw.Header().Set("DPoP-Nonce", "api-nonce-1")
			rw.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
			rw.WriteHeader(http.StatusUnauthorized)
		case 3:
			rw.Header().Set("DPoP-Nonce", "api-nonce-2")
		}
		equal(t, "body", r.body, "question")
	}
	s := w.source(w.proving(k))
	for range 3 {
		resp, err := s.Client().Post(w.api.URL, "text/plain", strings.NewReader("question"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		equal(t, "status", resp.StatusCode, http.StatusOK)
	}
	equal(t, "calls", len(w.seenCalls()), 4)
	equal(t, "token requests", w.asked(), 2)
	for _, e := range w.seenEvents() {
		if e.Type == counterfoil.EventTokenDropped {
			t.Error("the token was dropped, and it was good")
		}
	}
	w.clock.Turn(2 * time.Hour)
	w.must(s)
	equal(t, "token requests after renewal", w.asked(), 3)
}

// Who never has enough of nonces gets no loop.
func TestDPoPNonceWithoutEnd(t *testing.T) {
	for _, row := range []struct {
		name          string
		nonce         func(n int) string
		asked, called int
	}{
		{"always another", func(n int) string { return fmt.Sprint("nonce-", n) }, 4, 2},
		{"none", func(int) string { return "" }, 1, 1},
		{"the same", func(int) string { return "same" }, 2, 2},
		{"unusable", func(int) string { return `"quoted"` }, 1, 1},
		{"unusable, a space", func(int) string { return "a b" }, 1, 1},
		{"the first and the last character", func(int) string { return "!~" }, 2, 2},
		{"long", func(int) string { return strings.Repeat("n", 512) }, 2, 2},
		{"too long", func(int) string { return strings.Repeat("n", 513) }, 1, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.answers(func(rw http.ResponseWriter, n int) {
				if v := row.nonce(n); v != "" {
					rw.Header().Set("DPoP-Nonce", v)
				}
				status(400, `{"error":"use_dpop_nonce"}`)(rw, n)
			})
			c := w.proving(newKey(t, jose.ES256))
			e := w.fails(w.source(c))
			equal(t, "class", e.Class(), counterfoil.ClassRefused)
			equal(t, "code", e.Code, "use_dpop_nonce")
			equal(t, "token requests", w.asked(), row.asked)

			w.answers(func(rw http.ResponseWriter, n int) { giveBound(rw, n, "3600") })
			w.onCall = func(rw http.ResponseWriter, _ seen, n int) {
				if v := row.nonce(n); v != "" {
					rw.Header().Set("DPoP-Nonce", v)
				}
				rw.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
				rw.WriteHeader(http.StatusUnauthorized)
			}
			equal(t, "status", w.get(w.source(c).Client(), w.api.URL).StatusCode, http.StatusUnauthorized)
			equal(t, "calls", len(w.seenCalls()), row.called)
			for _, e := range w.seenEvents() {
				equal(t, "a good token is dropped", e.Type == counterfoil.EventTokenDropped, false)
			}
		})
	}
}

// A token that is not bound can be used by whoever gets hold of it.
func TestDPoPTakesNoBearer(t *testing.T) {
	for _, kind := range []string{`,"token_type":"Bearer"`, "", `,"token_type":"dpop "`} {
		w := newWorld(t)
		w.answers(func(rw http.ResponseWriter, _ int) { fmt.Fprintf(rw, `{"access_token":"a"%s}`, kind) })
		e := w.fails(w.source(w.proving(newKey(t, jose.ES256))))
		equal(t, "reason", e.Reason, counterfoil.ReasonBadResponse)
		if !strings.Contains(e.Error(), "token_type is not DPoP") {
			t.Errorf("got %v", e)
		}
	}
}

func TestDPoPAlone(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, n int) { giveBound(rw, n, "3600") })
	shared := client.Memory()
	for i, k := range []client.Key{newKey(t, jose.ES256), newKey(t, jose.ES256)} {
		c := w.proving(k)
		c.Cache = shared
		w.must(w.source(c))
		w.must(w.source(c))
		equal(t, "token requests: one for each key", w.asked(), i+1)
	}
}

func TestDPoPOfAWrongClock(t *testing.T) {
	k := newKey(t, jose.ES256)
	// A server whose clock is off by that much, and which goes by it.
	judge := func(w *world, rw http.ResponseWriter, r *http.Request, token string, ahead time.Duration) bool {
		now := w.clock.Now().Add(ahead)
		rw.Header().Set("Date", now.Format(http.TimeFormat))
		_, err := dpop.Verify(r.Header.Get("DPoP"), dpop.Want{Method: r.Method, URL: "https://" + r.Host + r.URL.Path, Now: now, AccessToken: token, Skew: time.Nanosecond})
		return err == nil
	}
	for _, row := range []struct {
		name          string
		endpoint, api time.Duration
		asked, called int
	}{
		{"right", 0, 0, 1, 1},
		{"a second off", time.Second, -time.Second, 1, 1},
		{"this machine's slow", 10 * time.Minute, 10 * time.Minute, 2, 1},
		{"this machine's fast", -10 * time.Minute, -10 * time.Minute, 2, 1},
		{"the API's fast", 0, 10 * time.Minute, 1, 2},
		{"all three different", -10 * time.Minute, 10 * time.Minute, 2, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.answers(func(rw http.ResponseWriter, n int) {
				if !judge(w, rw, w.seenTokens()[n-1].Request, "", row.endpoint) {
					status(400, `{"error":"invalid_dpop_proof"}`)(rw, n)
					return
				}
				giveBound(rw, n, "3600")
			})
			w.onCall = func(rw http.ResponseWriter, r seen, _ int) {
				if !judge(w, rw, r.Request, strings.TrimPrefix(r.Header.Get("Authorization"), "DPoP "), row.api) {
					rw.Header().Set("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
					rw.WriteHeader(http.StatusUnauthorized)
				}
			}
			s := w.source(w.proving(k))
			equal(t, "status", w.get(s.Client(), w.api.URL).StatusCode, http.StatusOK)
			equal(t, "token requests", w.asked(), row.asked)
			equal(t, "calls", len(w.seenCalls()), row.called)
			equal(t, "status of the next", w.get(s.Client(), w.api.URL).StatusCode, http.StatusOK)
			equal(t, "calls with the next", len(w.seenCalls()), row.called+1)
		})
	}
}

// Each attempt at a call has a proof of its own: one that is there twice is
// refused.
func TestDPoPOfARepeatedCall(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, n int) { giveBound(rw, n, "3600") })
	w.onCall = failing(2, 503)
	req, err := http.NewRequest(http.MethodGet, w.api.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, _, err := w.patient(w.source(w.proving(newKey(t, jose.ES256))), req)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "status", resp.StatusCode, http.StatusOK)
	proofs := map[string]bool{}
	for _, call := range w.seenCalls() {
		proofs[call.Header.Get("DPoP")] = true
	}
	equal(t, "different proofs", len(proofs), 3)
}

func TestDPoPKeyThatFails(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, n int) { giveBound(rw, n, "3600") })
	h := &hardware{Signer: newKey(t, jose.EdDSA).Signer}
	s := w.source(w.proving(client.Key{Signer: h}))
	w.must(s)
	h.away = true
	_, err := s.Client().Get(w.api.URL)
	if err == nil || !strings.Contains(err.Error(), "the key of Config.DPoP cannot sign") {
		t.Errorf("got %v", err)
	}
	equal(t, "calls", len(w.seenCalls()), 0)
}

func TestNewKey(t *testing.T) {
	a, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	b, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "algorithm", a.Algorithm, jose.ES256)
	if josetest.Thumbprint(a.Signer.Public()) == josetest.Thumbprint(b.Signer.Public()) {
		t.Error("the same key twice")
	}
}
