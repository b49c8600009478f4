package client_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/provider"
)

// newKey makes a key for an algorithm.
func newKey(t testing.TB, algorithm string) client.Key {
	t.Helper()
	signer, err := jose.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return client.Key{Signer: signer, Algorithm: algorithm, ID: "kid-" + algorithm}
}

func always(k client.Key) client.KeyFunc {
	return func(context.Context) (client.Key, error) { return k, nil }
}

// keyed is a configuration of oauth2 whose client proves itself with k, to a
// provider that wants the token endpoint's URL.
func (w *world) keyed(k client.KeyFunc) client.Config {
	c := w.config("oauth2")
	c.ClientSecret, c.Key = nil, k
	c.Provider.TokenEndpoint.AssertionAudience = provider.AssertionAudienceTokenURL
	return c
}

// tokenForm is what the n-th token request had in its body, from 0.
func (w *world) tokenForm(n int) url.Values {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	form, err := url.ParseQuery(w.tokens[n].body)
	if err != nil {
		w.t.Fatal(err)
	}
	return form
}

// claimsOf verifies a JWT with key.
func claimsOf(t testing.TB, jwt string, key crypto.PublicKey, algorithm string) (*jose.Token, map[string]any) {
	t.Helper()
	token, err := jose.Parse(jwt, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := token.Verify(key)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := jose.Object(payload)
	if err != nil {
		t.Fatal(err)
	}
	return token, claims
}

func TestPrivateKeyJWT(t *testing.T) {
	for _, algorithm := range []string{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA} {
		t.Run(algorithm, func(t *testing.T) {
			w := newWorld(t)
			k := newKey(t, algorithm)
			w.answers(func(rw http.ResponseWriter, n int) {
				if n == 1 {
					status(503, "")(rw, n)
					return
				}
				give(rw, n, "60")
			})
			c := w.keyed(always(k))
			s := w.source(c)
			w.turning(10*time.Second, func() { w.must(s) })
			ids := map[any]bool{}
			for n := range 2 {
				form := w.tokenForm(n)
				equal(t, "client_assertion_type", form.Get("client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
				equal(t, "client_id", form.Get("client_id"), "the-client")
				equal(t, "client_secret", form.Has("client_secret"), false)
				equal(t, "Authorization", w.tokens[n].Header.Get("Authorization"), "")
				token, claims := claimsOf(t, form.Get("client_assertion"), k.Signer.Public(), algorithm)
				equal(t, "kid", token.KeyID, k.ID)
				for name, want := range map[string]any{"iss": "the-client", "sub": "the-client", "aud": c.TokenURL} {
					equal(t, name, claims[name], want)
				}
				id, _ := claims["jti"].(string)
				if len(id) < 22 {
					t.Errorf("jti %q has fewer than 128 bits", id)
				}
				ids[id] = true
			}
			equal(t, "different jti", len(ids), 2)
		})
	}
}

func TestAssertionAudience(t *testing.T) {
	w := newWorld(t)
	k := newKey(t, jose.ES256)
	k.ID, k.Algorithm = "", ""
	c := w.keyed(always(k))
	c.AssertionAudience = "https://issuer.example"
	w.must(w.source(c))
	token, claims := claimsOf(t, w.tokenForm(0).Get("client_assertion"), k.Signer.Public(), jose.ES256)
	equal(t, "aud", claims["aud"], any("https://issuer.example"))
	equal(t, "kid", token.KeyID, "")
}

// Whom an assertion is for is the word of the Config, of the description, or of
// the metadata at the token endpoint's own address, and never of anybody else's
// (CVE-2025-27370).
func TestAudienceOfAnAssertion(t *testing.T) {
	for _, row := range []struct {
		name     string
		config   func(w *world, c *client.Config)
		metadata func(w *world) string // "" for none
		want     func(w *world) string
		looked   int
	}{
		{"by the Config", func(_ *world, c *client.Config) { c.AssertionAudience = "https://named.example" }, nil, func(*world) string { return "https://named.example" }, 0},
		{"the issuer of the description", func(w *world, c *client.Config) {
			c.Provider.TokenEndpoint.URL, c.Provider.TokenEndpoint.Issuer, c.TokenURL = c.TokenURL, "https://described.example", ""
		}, nil, func(*world) string { return "https://described.example" }, 0},
		{"the issuer of the description, and another token endpoint", func(w *world, c *client.Config) {
			c.Provider.TokenEndpoint.URL, c.Provider.TokenEndpoint.Issuer = "https://real.example/token", "https://real.example"
		}, nil, func(w *world) string { return w.auth.URL + "/token" }, 2},
		{"the token endpoint by the description", func(_ *world, c *client.Config) {
			c.Provider.TokenEndpoint.AssertionAudience, c.Provider.TokenEndpoint.Issuer = provider.AssertionAudienceTokenURL, "https://described.example"
		}, func(w *world) string {
			return `{"issuer":"` + w.auth.URL + `","token_endpoint":"` + w.auth.URL + `/token"}`
		},
			func(w *world) string { return w.auth.URL + "/token" }, 0},
		{"by metadata", nil, func(w *world) string {
			return `{"issuer":"` + w.auth.URL + `","token_endpoint":"` + w.auth.URL + `/token"}`
		},
			func(w *world) string { return w.auth.URL }, 1},
		{"by metadata with a slash at the end", nil, func(w *world) string {
			return `{"issuer":"` + w.auth.URL + `/","token_endpoint":"` + w.auth.URL + `/token"}`
		},
			func(w *world) string { return w.auth.URL + "/" }, 1},
		{"by metadata of an issuer with a path", func(w *world, c *client.Config) { c.TokenURL = w.auth.URL + "/acme/token" },
			func(w *world) string {
				return `{"issuer":"` + w.auth.URL + `/acme","token_endpoint":"` + w.auth.URL + `/acme/token"}`
			},
			func(w *world) string { return w.auth.URL + "/acme" }, 1},
		{"no metadata", nil, nil, func(w *world) string { return w.auth.URL + "/token" }, 2},
		{"metadata that is none", nil, func(*world) string { return "<html>" }, func(w *world) string { return w.auth.URL + "/token" }, 2},
		{"metadata of another issuer", nil, func(w *world) string {
			return `{"issuer":"https://honest.example","token_endpoint":"` + w.auth.URL + `/token"}`
		},
			func(w *world) string { return w.auth.URL + "/token" }, 2},
		{"metadata of another token endpoint", nil, func(w *world) string {
			return `{"issuer":"` + w.auth.URL + `","token_endpoint":"https://honest.example/token"}`
		},
			func(w *world) string { return w.auth.URL + "/token" }, 2},
		{"metadata with the issuer twice", nil, func(w *world) string {
			return `{"issuer":"https://honest.example","issuer":"` + w.auth.URL + `","token_endpoint":"` + w.auth.URL + `/token"}`
		},
			func(w *world) string { return w.auth.URL + "/token" }, 2},
		{"metadata without bounds", nil, func(w *world) string {
			return `{"issuer":"` + w.auth.URL + `","token_endpoint":"` + w.auth.URL + `/token","x":"` + strings.Repeat("x", 64<<10) + `"}`
		},
			func(w *world) string { return w.auth.URL + "/token" }, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			if row.metadata != nil {
				w.onMetadata = func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, row.metadata(w)) }
			}
			w.answers(func(rw http.ResponseWriter, n int) { give(rw, n, "60") })
			k := newKey(t, jose.ES256)
			c := w.keyed(always(k))
			c.Provider.TokenEndpoint.AssertionAudience = provider.AssertionAudienceIssuer
			if row.config != nil {
				row.config(w, &c)
			}
			s := w.source(c)
			for n := range 2 { // what was found stands
				w.must(s)
				token, claims := claimsOf(t, w.tokenForm(n).Get("client_assertion"), k.Signer.Public(), jose.ES256)
				equal(t, "aud", claims["aud"], any(row.want(w)))
				equal(t, "typ", token.Type, "JWT")
				w.clock.Turn(2 * time.Minute)
			}
			equal(t, "looks for metadata", len(w.looked), row.looked)
		})
	}
}

// A server that does not say whether it has metadata is asked again with the next
// token; one that hangs does not keep the token away; and a redirect is nobody's
// word.
func TestAudienceWhileMetadataIsAway(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"500":  func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(500) },
		"hung": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"cut off": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "9")
			_, _ = io.WriteString(rw, "{}")
			_ = http.NewResponseController(rw).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.onMetadata = answer
			w.answers(func(rw http.ResponseWriter, n int) { give(rw, n, "60") })
			k := newKey(t, jose.ES256)
			c := w.keyed(always(k))
			c.Provider.TokenEndpoint.AssertionAudience = provider.AssertionAudienceIssuer
			s := w.source(c)
			audience := func(n int) any {
				_, claims := claimsOf(t, w.tokenForm(n).Get("client_assertion"), k.Signer.Public(), jose.ES256)
				return claims["aud"]
			}
			if name == "hung" {
				w.turning(time.Second, func() { w.must(s) })
			} else {
				w.must(s)
			}
			equal(t, "aud", audience(0), any(w.auth.URL+"/token"))
			w.mu.Lock()
			w.onMetadata = func(rw http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(rw, `{"issuer":"%s","token_endpoint":"%s/token"}`, w.auth.URL, w.auth.URL)
			}
			w.mu.Unlock()
			w.clock.Turn(2 * time.Minute)
			w.must(s)
			equal(t, "aud once it is there", audience(1), any(w.auth.URL))
		})
	}
	t.Run("redirect", func(t *testing.T) {
		w := newWorld(t)
		w.onMetadata = func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, w.api.URL+"/elsewhere", http.StatusFound)
		}
		k := newKey(t, jose.ES256)
		c := w.keyed(always(k))
		c.Provider.TokenEndpoint.AssertionAudience = provider.AssertionAudienceIssuer
		w.must(w.source(c))
		_, claims := claimsOf(t, w.tokenForm(0).Get("client_assertion"), k.Signer.Public(), jose.ES256)
		equal(t, "aud", claims["aud"], any(w.auth.URL+"/token"))
		equal(t, "requests elsewhere", len(w.calls), 0)
	})
}

// Metadata is read up to 64 KiB.
func TestAudienceOfLongMetadata(t *testing.T) {
	for size, issuer := range map[int]bool{64 << 10: true, 64<<10 + 1: false} {
		w := newWorld(t)
		w.onMetadata = func(rw http.ResponseWriter, _ *http.Request) {
			text := fmt.Sprintf(`{"issuer":"%s","token_endpoint":"%s/token"}`, w.auth.URL, w.auth.URL)
			_, _ = io.WriteString(rw, text+strings.Repeat(" ", size-len(text)))
		}
		k := newKey(t, jose.ES256)
		c := w.keyed(always(k))
		c.Provider.TokenEndpoint.AssertionAudience = provider.AssertionAudienceIssuer
		w.must(w.source(c))
		_, claims := claimsOf(t, w.tokenForm(0).Get("client_assertion"), k.Signer.Public(), jose.ES256)
		equal(t, fmt.Sprint("aud is the issuer of metadata of ", size, " bytes"), claims["aud"] == any(w.auth.URL), issuer)
	}
}

// checksTime answers as a server whose clock is ahead of the client's by that
// much, and which has no leeway.
func (w *world) checksTime(ahead time.Duration, key crypto.PublicKey) {
	w.answers(func(rw http.ResponseWriter, n int) {
		now := w.clock.Now().Add(ahead)
		rw.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		_, claims := claimsOf(w.t, w.tokenForm(n-1).Get("client_assertion"), key, jose.ES256)
		seconds := func(name string) time.Time {
			var s int64
			_, _ = fmt.Sscan(fmt.Sprint(claims[name]), &s)
			return time.Unix(s, 0)
		}
		if now.Before(seconds("iat")) || now.Before(seconds("nbf")) || !now.Before(seconds("exp")) {
			rw.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(rw, `{"error":"invalid_client"}`)
			return
		}
		give(rw, n, "3600")
	})
}

func TestAssertionOfAWrongClock(t *testing.T) {
	for _, row := range []struct {
		name  string
		ahead time.Duration
		asked int
	}{
		{"right", 0, 1},
		{"a second slow", time.Second, 1},
		{"a second fast", -time.Second, 1},
		{"10 minutes slow", 10 * time.Minute, 2},
		{"10 minutes fast", -10 * time.Minute, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			k := newKey(t, jose.ES256)
			w.checksTime(row.ahead, k.Signer.Public())
			s := w.source(w.keyed(always(k)))
			w.must(s)
			equal(t, "token requests", w.asked(), row.asked)
			w.clock.Turn(2 * time.Hour)
			w.must(s)
			equal(t, "token requests once the clock is known", w.asked(), row.asked+1)
		})
	}
}

// An answer that was long on its way puts the clock wrong by no more than half of
// what it took.
func TestAssertionAfterASlowAnswer(t *testing.T) {
	const took = 8 * time.Second
	for name, before := range map[string]time.Duration{"slow request": took, "slow answer": 0} {
		w := newWorld(t)
		k := newKey(t, jose.ES256)
		w.answers(func(rw http.ResponseWriter, n int) {
			if n == 1 {
				w.clock.Turn(before)
				rw.Header().Set("Date", w.clock.Now().Format(http.TimeFormat))
				w.clock.Turn(took - before)
			}
			give(rw, n, "3600")
		})
		s := w.source(w.keyed(always(k)))
		w.must(s)
		w.clock.Turn(2 * time.Hour)
		w.must(s)
		_, claims := claimsOf(t, w.tokenForm(1).Get("client_assertion"), k.Signer.Public(), jose.ES256)
		var iat int64
		_, _ = fmt.Sscan(fmt.Sprint(claims["iat"]), &iat)
		// It is made out 2 s back, and a Date is known to a second.
		if off := time.Unix(iat, 0).Sub(w.clock.Now().Add(-2 * time.Second)); off.Abs() > took/2+time.Second {
			t.Errorf("%s: the next assertion is of a time that is %v off", name, off)
		}
	}
}

// A clock that is known to be wrong, and still is as it was, is no reason to try
// again at once.
func TestAssertionByAClockThatIsKnown(t *testing.T) {
	w := newWorld(t)
	w.ahead = 10 * time.Minute
	w.answers(status(401, `{"error":"invalid_client"}`))
	s := w.source(w.keyed(always(newKey(t, jose.ES256))))
	w.fails(s)
	equal(t, "token requests until the clock is known", w.asked(), 2)
	w.clock.Turn(2 * time.Second)
	w.fails(s)
	equal(t, "token requests then", w.asked(), 3)
}

// A wrong key is not the clock's fault: it is asked once and remembered.
func TestWrongKeyIsRemembered(t *testing.T) {
	w := newWorld(t)
	k := newKey(t, jose.ES256)
	w.answers(func(rw http.ResponseWriter, n int) {
		rw.Header().Set("Date", w.clock.Now().Format(http.TimeFormat))
		status(401, `{"error":"invalid_client"}`)(rw, n)
	})
	s := w.source(w.keyed(func(context.Context) (client.Key, error) { return k, nil }))
	e := w.fails(s)
	equal(t, "class", e.Class(), counterfoil.ClassRefused)
	if !strings.Contains(e.Error(), "check its id and key") {
		t.Errorf("got %v", e)
	}
	w.fails(s)
	equal(t, "token requests", w.asked(), 1)
	w.answers(nil)
	k = newKey(t, jose.ES256)
	w.must(s)
	equal(t, "token requests after the key was rotated", w.asked(), 2)
}

// jwtUntil is what a platform may have made; nobody here verifies it.
func jwtUntil(t testing.TB, until time.Time, more string) counterfoil.Secret {
	return counterfoil.Secret(josetest.Token(newKey(t, jose.ES256).Signer, `{"alg":"ES256"}`, fmt.Sprintf(`{"iss":"https://cluster.example","exp":%d%s}`, until.Unix(), more)))
}

func TestFederatedAssertion(t *testing.T) {
	w := newWorld(t)
	assertion := jwtUntil(t, theStart.Add(time.Hour), "")
	c := w.config("oauth2")
	c.ClientSecret, c.Assertion = nil, func(context.Context) (counterfoil.Secret, error) { return assertion + "\n", nil }
	w.answers(func(rw http.ResponseWriter, n int) {
		rw.Header().Set("Date", w.clock.Now().Format(http.TimeFormat))
		give(rw, n, "600")
	})
	s := w.source(c)
	w.must(s)
	form := w.tokenForm(0)
	equal(t, "client_assertion", form.Get("client_assertion"), assertion.Reveal())
	equal(t, "client_assertion_type", form.Get("client_assertion_type"), "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	equal(t, "client_id", form.Get("client_id"), "the-client")

	w.clock.Turn(time.Hour)
	e := w.fails(s)
	equal(t, "reason of one that has ended", e.Reason, counterfoil.ReasonAssertionExpired)
	equal(t, "its words", e.Error(), "the assertion expired 0s ago: its issuer has not renewed it where Config.Assertion reads it from")
	equal(t, "token requests", w.asked(), 1)
	assertion = jwtUntil(t, w.clock.Now().Add(time.Hour), "")
	w.must(s)
	equal(t, "the platform's next one", w.tokenForm(1).Get("client_assertion"), assertion.Reveal())
}

// By a clock that is fast every assertion of a platform may have ended, so the
// provider's counts; while that is unknown the assertion is sent.
func TestFederatedAssertionByAFastClock(t *testing.T) {
	w := newWorld(t)
	real := func() time.Time { return w.clock.Now().Add(-2 * time.Hour) }
	c := w.config("oauth2")
	c.ClientSecret, c.Assertion = nil, func(context.Context) (counterfoil.Secret, error) { return jwtUntil(t, real().Add(time.Hour), ""), nil }
	w.answers(func(rw http.ResponseWriter, n int) {
		rw.Header().Set("Date", real().Format(http.TimeFormat))
		give(rw, n, "60")
	})
	s := w.source(c)
	for range 3 {
		w.must(s)
		w.clock.Turn(time.Hour)
	}
	equal(t, "token requests", w.asked(), 3)
}

// A clock that is set takes the measure of the provider's with it: what has ended
// by that must be tried, or nothing would ever measure again.
func TestFederatedAssertionAfterTheClockIsSet(t *testing.T) {
	for _, row := range []struct {
		name          string
		before, after time.Duration
	}{{"right, having been 2 hours slow", 2 * time.Hour, 0}, {"2 hours fast, having been right", 0, -2 * time.Hour}} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.answers(func(rw http.ResponseWriter, n int) { give(rw, n, "60") })
			w.ahead = row.before
			c := w.config("oauth2")
			c.ClientSecret, c.Assertion = nil, func(context.Context) (counterfoil.Secret, error) {
				return jwtUntil(t, w.clock.Now().Add(w.ahead+time.Minute), ""), nil
			}
			s := w.source(c)
			w.must(s)
			w.ahead = row.after
			w.clock.Turn(2 * time.Hour)
			w.must(s)
			equal(t, "token requests", w.asked(), 2)
		})
	}
}

// One that the platform replaces while the token endpoint is away is sent in its
// new form.
func TestFederatedAssertionIsReadAtEachAttempt(t *testing.T) {
	w := newWorld(t)
	n := 0
	var given []string
	c := w.config("oauth2")
	c.ClientSecret, c.Assertion = nil, func(context.Context) (counterfoil.Secret, error) {
		n++
		a := jwtUntil(t, theStart.Add(time.Hour), fmt.Sprintf(`,"n":%d`, n))
		given = append(given, a.Reveal())
		return a, nil
	}
	w.answers(func(rw http.ResponseWriter, n int) {
		rw.Header().Set("Date", w.clock.Now().Format(http.TimeFormat))
		if n < 3 {
			status(503, "")(rw, n)
			return
		}
		give(rw, n, "60")
	})
	s := w.source(c)
	w.turning(10*time.Second, func() { w.must(s) })
	for i := range 3 {
		equal(t, "assertion of an attempt", w.tokenForm(i).Get("client_assertion"), given[i])
	}
}

func TestFederatedAssertionThatIsNone(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct {
		name, text string
		reason     counterfoil.Reason
	}{
		{"empty", "", counterfoil.ReasonCredentialsMissing},
		{"no JWT", "hunter2", counterfoil.ReasonAssertionMalformed},
		{"two parts", "a.b", counterfoil.ReasonAssertionMalformed},
		{"a web page", "<p>.b.c", counterfoil.ReasonAssertionMalformed},
		{"claims that are none", "e30.W10.e30", counterfoil.ReasonAssertionMalformed},
		{"a line break inside", "e30.\ne30.e30", counterfoil.ReasonAssertionMalformed},
		{"too long", "e30." + strings.Repeat("A", 64<<10) + ".e30", counterfoil.ReasonAssertionMalformed},
		{"encrypted, and too long", "e30.AA.AA.AA." + strings.Repeat("A", 64<<10-13+1), counterfoil.ReasonAssertionMalformed},
		{"encrypted, and as long as can be", "e30.AA.AA.AA." + strings.Repeat("A", 64<<10-13), ""},
		{"without exp", "e30.e30.e30", ""},
		{"encrypted", "e30.AA.AA.AA.AA", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := w.config("oauth2")
			c.ClientSecret, c.Assertion, c.Cache = nil, client.Static(counterfoil.Secret(row.text)), nil
			s := w.source(c)
			if row.reason == "" {
				w.must(s)
				return
			}
			e := w.fails(s)
			equal(t, "reason", e.Reason, row.reason)
			if strings.Contains(e.Error(), "hunter2") {
				t.Errorf("the error shows it: %v", e)
			}
		})
	}
}

// What an attempt was proved with is in no error and no event, also where the
// other side repeats it.
func TestAssertionIsNotShown(t *testing.T) {
	w := newWorld(t)
	w.answers(func(rw http.ResponseWriter, n int) {
		w.mu.Lock()
		proof := w.tokens[n-1].Header.Get("DPoP")
		w.mu.Unlock()
		said := w.tokenForm(n - 1).Get("client_assertion")
		if n%2 == 0 {
			said = proof
		}
		status(400, fmt.Sprintf(`{"error":"invalid_client","error_description":"got %s"}`, said))(rw, n)
	})
	for n := range 2 {
		c := w.keyed(always(newKey(t, jose.EdDSA)))
		c.DPoP = newKey(t, jose.EdDSA)
		e := w.fails(w.source(c))
		equal(t, "description", e.Description, "")
		for _, text := range []string{e.Error(), fmt.Sprintf("%+v", e), fmt.Sprint(w.seenEvents())} {
			if strings.Contains(text, w.tokenForm(n).Get("client_assertion")) || strings.Contains(text, w.tokens[n].Header.Get("DPoP")) {
				t.Errorf("shown in %s", text)
			}
		}
	}
}

func FuzzFederatedAssertion(f *testing.F) {
	for _, text := range []string{"e30.e30.e30", "e30.eyJleHAiOjF9.e30", "e30.eyJleHAiOiIxIn0.e30", "e30.eyJleHAiOjFlNDB9.e30", "..", "a.b.c.d.e", "hunter2"} {
		f.Add(text)
	}
	p, err := generic()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var sent string
		s, err := client.New(client.Config{
			Provider: p, TokenURL: "https://id.example/token", ClientID: "c", Assertion: client.Static(counterfoil.Secret(text)),
			HTTP: roundTripper(func(r *http.Request) (*http.Response, error) {
				body, _ := io.ReadAll(r.Body)
				form, err := url.ParseQuery(string(body))
				if err != nil {
					t.Fatal(err)
				}
				sent = form.Get("client_assertion")
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"access_token":"a"}`))}, nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Token(t.Context())
		if err == nil && sent != strings.TrimSpace(text) {
			t.Errorf("%q was sent as %q", text, sent)
		}
		if sum := sha256.Sum256([]byte(text)); err != nil && (sent != "" || len(text) > 16 && strings.Contains(err.Error(), text)) {
			t.Errorf("%x: sent, or shown in %v", sum[:4], err)
		}
	})
}
