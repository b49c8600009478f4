package server_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestPrivateKeyJWT takes what RFC 7523 lets a client send.
func TestPrivateKeyJWT(t *testing.T) {
	h := newGate(t, nil)
	h.workload("job", store.Authentication{KeySet: jwks("ec", ecKey(), "rs", rsKey(), "ed", edKey())})
	h.workload("bare", store.Authentication{KeySet: jwks("", ecKey())})
	h.workload("four", store.Authentication{KeySet: jwks("1", testkeys.EC(), "2", testkeys.EC(), "3", testkeys.EC(), "4", ecKey())})
	own := h.own("job")
	for _, row := range []struct {
		name, assertion string
		more            []string
	}{
		{"ES256", signed(ecKey(), "ec", h.own("job")), nil},
		{"RS256", signed(rsKey(), "rs", h.own("job")), nil},
		{"EdDSA", signed(edKey(), "ed", h.own("job")), nil},
		{"PS256", josetest.PS256(rsKey().(*rsa.PrivateKey), `{"alg":"PS256","kid":"rs"}`, h.own("job").String()), nil},
		{"with client_id", signed(ecKey(), "ec", h.own("job")), []string{"client_id", "job"}},
		{"with typ", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec","typ":"JWT"}`, h.own("job").String()), nil},
		{"without kid", signed(ecKey(), "", h.own("job")), nil},
		{"key without kid", signed(ecKey(), "", h.own("bare").but(nil)), []string{"client_id", "bare"}},
		{"the last key of as many as are tried", signed(ecKey(), "", h.own("four")), nil},
		{"with the typ of an assertion", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec","typ":"client-authentication+jwt"}`, h.own("job").String()), nil},
		{"with that typ in another spelling", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec","typ":"application/Client-Authentication+JWT"}`, h.own("job").String()), nil},
		{"for an array of the issuer", signed(ecKey(), "ec", h.own("job").but(claims{"aud": []string{"https://issuer.example"}})), nil},
		{"iat and nbf with fractions", signed(ecKey(), "ec", h.own("job").but(claims{"iat": json.Number("1.7e9"), "nbf": json.Number("1700000000.25")})), nil},
		{"nothing optional", signed(ecKey(), "ec", h.own("job").but(claims{"iat": nil})), nil},
		{"fractions of seconds", signed(ecKey(), "ec", h.own("job").but(claims{"exp": float64(own["exp"].(int64)) + 0.25})), nil},
		{"an hour", signed(ecKey(), "ec", h.own("job").but(claims{"exp": h.clock.Now().Unix() + 3600})), nil},
		{"just ended, by a clock that is behind", signed(ecKey(), "ec", h.own("job").but(claims{"exp": h.clock.Now().Unix() - 29})), nil},
		{"just begun, by a clock that is ahead", signed(ecKey(), "ec", h.own("job").but(claims{"nbf": h.clock.Now().Unix() + 30})), nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, got := h.wantToken(t, h.asserting(row.assertion, row.more...))
			if c["cnf"] != nil || !strings.Contains(got.body, `"token_type":"Bearer"`) {
				t.Errorf("a token that is bound: %v, %s", c, got.body)
			}
		})
	}
	t.Run("the secret of a client that has keys", func(t *testing.T) {
		creds := h.client(clients.NewClient{Realm: "oauth2", ID: "both", Settings: store.Settings{Authentication: store.Authentication{KeySet: jwks("ec", ecKey())}}})
		a := h.good("oauth2")
		a.credentials("both", creds.ClientSecret.Reveal())
		h.wantToken(t, a)
		h.wantToken(t, h.asserting(signed(ecKey(), "ec", h.own("both"))))
	})
}

// TestAssertionRefused: each thing that is wrong has its reason in the record,
// and the caller learns nothing but invalid_client.
func TestAssertionRefused(t *testing.T) {
	h := newGate(t, nil)
	h.workload("job", store.Authentication{KeySet: jwks("ec", ecKey(), "rs", rsKey())})
	h.workload("crowd", store.Authentication{KeySet: jwks("1", testkeys.EC(), "2", testkeys.EC(), "3", testkeys.EC(), "4", testkeys.EC(), "5", ecKey())})
	h.workload("twin", store.Authentication{KeySet: jwks("ec", ecKey())})
	broken := store.Client{Realm: "oauth2", ID: "broken", Settings: store.Settings{Authentication: store.Authentication{KeySet: `{"keys":`}}}
	if err := h.store.CreateClient(t.Context(), broken, counterfoil.Event{Type: counterfoil.EventClientCreated, Time: h.clock.Now(), Realm: "oauth2", ClientID: "broken"}); err != nil {
		t.Fatal(err)
	}
	own, now := h.own("job"), h.clock.Now().Unix()
	public := must(x509.MarshalPKIXPublicKey(ecKey().Public()))
	ec := func(changes claims) string { return signed(ecKey(), "ec", own.but(changes)) }
	jwk := josetest.JWK(strangeKey().Public())
	for _, row := range []struct {
		name, assertion string
		reason          counterfoil.Reason
		more            []string
	}{
		{"no JWT", "x.y.z", counterfoil.ReasonAssertionMalformed, nil},
		{"over-large", ec(claims{"pad": strings.Repeat("x", 7<<10)}), counterfoil.ReasonAssertionMalformed, nil},
		{"alg none", josetest.Encode(`{"alg":"none"}`) + "." + josetest.Encode(own.String()) + ".", counterfoil.ReasonAssertionMalformed, nil},
		{"alg none with a signature", josetest.Token(ecKey(), `{"alg":"none","kid":"ec"}`, own.String()), counterfoil.ReasonAssertionAlgorithm, nil},
		{"HS256 with the public key", josetest.MAC(public, `{"alg":"HS256","kid":"ec"}`, own.String()), counterfoil.ReasonAssertionAlgorithm, nil},
		{"HS256 with the JWK", josetest.MAC([]byte(josetest.JWK(ecKey().Public())), `{"alg":"HS256","kid":"ec"}`, own.String()), counterfoil.ReasonAssertionAlgorithm, nil},
		{"embedded jwk", josetest.Token(strangeKey(), `{"alg":"ES256","jwk":`+jwk+`}`, own.String()), counterfoil.ReasonAssertionMalformed, nil},
		{"jku", josetest.Token(strangeKey(), `{"alg":"ES256","jku":"https://127.0.0.1/"}`, own.String()), counterfoil.ReasonAssertionMalformed, nil},
		{"crit", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec","crit":["x"],"x":1}`, own.String()), counterfoil.ReasonAssertionMalformed, nil},
		{"a claim twice", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec"}`, strings.Replace(own.String(), "{", `{"sub":"job",`, 1)), counterfoil.ReasonAssertionMalformed, nil},
		{"signed by a stranger", signed(strangeKey(), "ec", own), counterfoil.ReasonAssertionSignature, nil},
		{"signed by a stranger without kid", signed(strangeKey(), "", own), counterfoil.ReasonAssertionSignature, nil},
		{"unknown kid", signed(ecKey(), "other", own), counterfoil.ReasonAssertionKey, nil},
		{"kid of a key of another kind", signed(ecKey(), "rs", own), counterfoil.ReasonAssertionKey, nil},
		{"algorithm that no key has", signed(edKey(), "", own), counterfoil.ReasonAssertionKey, nil},
		{"more keys than are tried", signed(ecKey(), "", h.own("crowd")), counterfoil.ReasonAssertionKey, nil},
		{"key set that cannot be read", signed(ecKey(), "ec", h.own("broken")), counterfoil.ReasonAssertionKey, nil},
		{"another iss", ec(claims{"iss": "good"}), counterfoil.ReasonAssertionIssuer, nil},
		{"no iss", ec(claims{"iss": nil}), counterfoil.ReasonAssertionIssuer, nil},
		{"another sub", ec(claims{"sub": "good"}), counterfoil.ReasonAssertionIssuer, []string{"client_id", "job"}},
		{"neither sub nor client_id", ec(claims{"sub": nil}), counterfoil.ReasonAssertionIssuer, nil},
		{"client_id that does not agree", ec(nil), counterfoil.ReasonAssertionKey, []string{"client_id", "crowd"}},
		{"client_id of another that has the same key", ec(nil), counterfoil.ReasonAssertionIssuer, []string{"client_id", "twin"}},
		{"wrong audience", ec(claims{"aud": "https://other.example"}), counterfoil.ReasonAssertionAudience, nil},
		{"audience that begins right", ec(claims{"aud": "https://issuer.example/"}), counterfoil.ReasonAssertionAudience, nil},
		{"no audience", ec(claims{"aud": nil}), counterfoil.ReasonAssertionAudience, nil},
		{"audience is the token endpoint", ec(claims{"aud": h.url + "/oauth2/token"}), counterfoil.ReasonAssertionAudience, nil},
		{"audience is the realm's address", ec(claims{"aud": h.url + "/oauth2"}), counterfoil.ReasonAssertionAudience, nil},
		{"audience is the issuer and another server", ec(claims{"aud": []string{"https://issuer.example", "https://other.example"}}), counterfoil.ReasonAssertionAudience, nil},
		{"audience is the issuer and a number", ec(claims{"aud": []any{"https://issuer.example", 1}}), counterfoil.ReasonAssertionAudience, nil},
		{"empty array of audiences", ec(claims{"aud": []string{}}), counterfoil.ReasonAssertionAudience, nil},
		{"audience is null", ec(claims{"aud": json.RawMessage("null")}), counterfoil.ReasonAssertionAudience, nil},
		{"typ of an access token", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec","typ":"at+jwt"}`, own.String()), counterfoil.ReasonAssertionMalformed, nil},
		{"typ of a proof", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec","typ":"dpop+jwt"}`, own.String()), counterfoil.ReasonAssertionMalformed, nil},
		{"typ of a security event", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec","typ":"application/secevent+jwt"}`, own.String()), counterfoil.ReasonAssertionMalformed, nil},
		{"typ of SPIFFE for a client's own", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec","typ":"JOSE"}`, own.String()), counterfoil.ReasonAssertionMalformed, nil},
		{"a name that is not UTF-8", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec"}`, strings.Replace(own.String(), "{", "{\"x\":\"\xe9\",", 1)), counterfoil.ReasonAssertionMalformed, nil},
		{"audience of another kind", ec(claims{"aud": claims{"https://issuer.example": 1}}), counterfoil.ReasonAssertionAudience, nil},
		{"expired", ec(claims{"exp": now - 31}), counterfoil.ReasonAssertionExpired, nil},
		{"no exp", ec(claims{"exp": nil}), counterfoil.ReasonAssertionClaims, nil},
		{"exp is a string", ec(claims{"exp": fmt.Sprint(now + 60)}), counterfoil.ReasonAssertionClaims, nil},
		{"exp is huge", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec"}`, own.but(claims{"exp": json.Number("1e400")}).String()), counterfoil.ReasonAssertionClaims, nil},
		{"exp is 0", ec(claims{"exp": 0}), counterfoil.ReasonAssertionExpired, nil},
		{"exp is before 1970", ec(claims{"exp": -1}), counterfoil.ReasonAssertionClaims, nil},
		{"exp is the end of 9999", ec(claims{"exp": jose.MaxNumericDate}), counterfoil.ReasonAssertionLifetime, nil},
		{"exp is later", ec(claims{"exp": jose.MaxNumericDate + 1}), counterfoil.ReasonAssertionClaims, nil},
		{"ends too late", ec(claims{"exp": now + 3632}), counterfoil.ReasonAssertionLifetime, nil},
		{"issued in the future", ec(claims{"iat": now + 60}), counterfoil.ReasonAssertionClaims, nil},
		{"begins in the future", ec(claims{"nbf": now + 60}), counterfoil.ReasonAssertionClaims, nil},
		{"nbf is null", josetest.Token(ecKey(), `{"alg":"ES256","kid":"ec"}`, strings.Replace(own.String(), "{", `{"nbf":null,`, 1)), counterfoil.ReasonAssertionClaims, nil},
		{"no jti", ec(claims{"jti": nil}), counterfoil.ReasonAssertionClaims, nil},
		{"empty jti", ec(claims{"jti": ""}), counterfoil.ReasonAssertionClaims, nil},
		{"long jti", ec(claims{"jti": strings.Repeat("j", 257)}), counterfoil.ReasonAssertionClaims, nil},
		{"jti with a control character", ec(claims{"jti": "a\x00b"}), counterfoil.ReasonAssertionClaims, nil},
		{"unknown client", signed(ecKey(), "ec", h.own("nobody")), counterfoil.ReasonUnknownClient, nil},
		{"client without keys", signed(ecKey(), "ec", h.own("good")), counterfoil.ReasonMethodNotAccepted, nil},
		{"another type", ec(nil), counterfoil.ReasonMethodNotAccepted, []string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"}},
		{"no type", ec(nil), counterfoil.ReasonMethodNotAccepted, []string{"client_assertion_type", ""}},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := h.wantInvalid(t, h.asserting(row.assertion, row.more...), row.reason)
			if row.name == "over-large" && !strings.Contains(e.Detail, "8192") {
				t.Errorf("the record says %q", e.Detail)
			}
			h.wantToken(t, h.asserting(signed(ecKey(), "ec", h.own("job"))))
		})
	}
	t.Run("beside a secret", func(t *testing.T) {
		for _, more := range [][]string{{"client_secret", "x"}, {"Authorization", ""}} {
			a := h.asserting(ec(nil))
			if a.form.Set("client_secret", more[1]); more[0] == "Authorization" {
				a.header.Set("Authorization", basic("job", "x"))
			}
			if got := h.do("oauth2", a); got.status != http.StatusBadRequest {
				t.Errorf("got %d %s", got.status, got.body)
			}
			h.wantRefused(t, counterfoil.ReasonMultipleCredentials)
		}
	})
	t.Run("a realm that takes no assertions", func(t *testing.T) {
		plain := newHouseOf(t, nil, "altrata")
		a := plain.good("altrata")
		a.header.Del("Authorization")
		a.mediaType = "application/x-www-form-urlencoded"
		a.form = h.asserting(ec(nil)).form
		if got := plain.do("altrata", a); got.status != http.StatusUnauthorized {
			t.Errorf("got %d %s", got.status, got.body)
		}
		plain.wantRefused(t, counterfoil.ReasonMethodNotAccepted)
	})
}

// TestAssertionForTheTokenEndpoint: what many clients name, where the realm says
// that it takes it, at each of its addresses.
func TestAssertionForTheTokenEndpoint(t *testing.T) {
	h := newGate(t, func(c *server.Config) {
		for i := range c.Realms {
			if r := &c.Realms[i]; r.Name == "oauth2" {
				p := *r.Provider
				p.TokenEndpoint.AssertionAudience = provider.AssertionAudienceTokenURL
				r.Provider, r.OtherURLs = &p, []string{"https://other-host.example/oauth2"}
			}
		}
	})
	h.workload("job", store.Authentication{KeySet: jwks("ec", ecKey())})
	endpoint := h.url + "/oauth2/token"
	for name, row := range map[string]struct {
		aud  any
		good bool
	}{
		"the issuer":                          {"https://issuer.example", true},
		"the token endpoint":                  {endpoint, true},
		"the token endpoint at another host":  {"https://other-host.example/oauth2/token", true},
		"both":                                {[]string{"https://issuer.example", endpoint}, true},
		"the token endpoint and another":      {[]string{endpoint, "https://other.example"}, false},
		"the token endpoint of another realm": {h.url + "/a55/token", false},
		"another host":                        {"https://strange.example/oauth2/token", false},
		"the realm's address":                 {h.url + "/oauth2", false},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.asserting(signed(ecKey(), "ec", h.own("job").but(claims{"aud": row.aud})))
			if row.good {
				h.wantToken(t, a)
			} else {
				h.wantInvalid(t, a, counterfoil.ReasonAssertionAudience)
			}
		})
	}
}

// TestAssertionServesOnce: on one server, on another of the same database, and
// when fifty come at once.
func TestAssertionServesOnce(t *testing.T) {
	h := newGate(t, nil)
	second, _ := h.open(nil)
	h.workload("job", store.Authentication{KeySet: jwks("ec", ecKey())})
	h.workload("twin", store.Authentication{KeySet: jwks("ec", ecKey())})

	c := h.own("job").but(claims{"aud": "https://issuer.example", "jti": "the only one"})
	first := h.asserting(signed(ecKey(), "ec", c))
	h.wantToken(t, first)
	h.wantInvalid(t, first, counterfoil.ReasonAssertionReplayed)
	h.wantInvalid(t, h.asserting(signed(ecKey(), "ec", c.but(claims{"exp": c["exp"].(int64) + 1}))), counterfoil.ReasonAssertionReplayed)
	if status, body, err := h.at(t.Context(), second, first); err != nil || status != http.StatusUnauthorized {
		t.Errorf("the other server answers %d %s, %v", status, body, err)
	}
	h.wantRefused(t, counterfoil.ReasonAssertionReplayed)
	t.Run("another client may have the same jti", func(t *testing.T) {
		h.wantToken(t, h.asserting(signed(ecKey(), "ec", h.own("twin").but(claims{"jti": "the only one"}))))
	})
	t.Run("until it has expired", func(t *testing.T) {
		h.clock.Turn(89 * time.Second)
		h.wantInvalid(t, first, counterfoil.ReasonAssertionReplayed)
		h.clock.Turn(2 * time.Second)
		h.wantInvalid(t, first, counterfoil.ReasonAssertionExpired)
	})
	t.Run("a refused request does not use it up", func(t *testing.T) {
		a := h.asserting(signed(ecKey(), "ec", h.own("job")), "scope", "admin")
		if got := h.do("oauth2", a); got.status != http.StatusBadRequest {
			t.Errorf("got %d %s", got.status, got.body)
		}
		a.form.Del("scope")
		h.wantToken(t, a)
		h.wantInvalid(t, a, counterfoil.ReasonAssertionReplayed)
	})
	t.Run("fifty at once on two servers", func(t *testing.T) {
		a := h.asserting(signed(ecKey(), "ec", h.own("job")))
		before := len(h.recorded())
		statuses := make([]int, 50)
		var all sync.WaitGroup
		for i := range statuses {
			all.Go(func() {
				status, _, err := h.at(context.Background(), []string{h.url, second}[i%2], a)
				if statuses[i] = status; err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		count := map[int]int{}
		for _, s := range statuses {
			count[s]++
		}
		if count[http.StatusOK] != 1 || count[http.StatusUnauthorized] != 49 {
			t.Errorf("the answers are %v", count)
		}
		reasons := map[counterfoil.Reason]int{}
		for _, e := range h.recorded()[before:] {
			reasons[e.Reason]++
		}
		if reasons[""] != 1 || reasons[counterfoil.ReasonAssertionReplayed] != 49 {
			t.Errorf("the records are %v", reasons)
		}
	})
}

// wantAway sends the request and wants it answered as one whose key set cannot be
// fetched, whatever the record says.
func (h *house) wantAway(t *testing.T, a *ask, reason counterfoil.Reason) counterfoil.Event {
	t.Helper()
	got := h.do("oauth2", a)
	if got.status != http.StatusServiceUnavailable || got.body != `{"error":"temporarily_unavailable"}` || got.header.Get("Retry-After") == "" {
		t.Errorf("got %d %s, Retry-After %q", got.status, got.body, got.header.Get("Retry-After"))
	}
	return h.wantRefused(t, reason)
}

// TestKeySetIsAway: while the key set of one client cannot be fetched, and there is
// no older one, nobody can tell that client from one that is unknown, or whose keys
// are another's; what proves itself is served. It costs no fetch more.
func TestKeySetIsAway(t *testing.T) {
	place := newSource(t, http.NotFound)
	platform := newSource(t, serving(jwks("gh", ecKey())))
	h := newGate(t, func(c *server.Config) {
		platforms(platform)(c)
		c.Outbound.Hosts = append(c.Outbound.Hosts, place.host())
		pool := place.pool()
		pool.AddCert(platform.Certificate())
		c.Outbound.RootCAs = pool
	})
	h.workload("job", store.Authentication{KeySetURL: place.URL + "/jwks"})
	h.workload("local", store.Authentication{KeySet: jwks("ec", ecKey())})
	h.workload("keyless", store.Authentication{})
	own := func(key crypto.Signer, kid, id string) *ask { return h.asserting(signed(key, kid, h.own(id))) }
	forged := func(id string) *ask { return own(strangeKey(), "ec", id) }

	h.wantInvalid(t, forged("local"), counterfoil.ReasonAssertionSignature)
	h.wantInvalid(t, forged("nobody"), counterfoil.ReasonUnknownClient)
	h.wantAway(t, own(ecKey(), "ec", "job"), counterfoil.ReasonUnavailable)
	for range 3 {
		h.wantAway(t, forged("job"), counterfoil.ReasonUnavailable)
		h.wantAway(t, forged("nobody"), counterfoil.ReasonUnknownClient)
		h.wantAway(t, forged("local"), counterfoil.ReasonAssertionSignature)
		h.wantAway(t, own(ecKey(), "other", "local"), counterfoil.ReasonAssertionKey)
		h.wantAway(t, forged("keyless"), counterfoil.ReasonMethodNotAccepted)
		h.wantAway(t, h.asserting(signed(ecKey(), "gh", h.workflow()), "client_id", "local"), counterfoil.ReasonAssertionIssuer)
		h.wantAway(t, h.asserting(signed(ecKey(), "gh", h.workflow()), "client_id", "nobody"), counterfoil.ReasonUnknownClient)
		h.wantToken(t, own(ecKey(), "ec", "local"))
	}
	if place.times() != 1 || platform.times() != 0 {
		t.Errorf("%d fetches, and %d from the platform", place.times(), platform.times())
	}
	// The record has the cause, which the log has once in a while.
	if said := h.log.String(); strings.Count(said, "key set: fetch failed") != 1 || !strings.Contains(said, "404") {
		t.Errorf("logged %s", said)
	}
	// It is back: everybody is told what is so.
	place.mu.Lock()
	place.answer = serving(jwks("ec", ecKey()))
	place.mu.Unlock()
	h.clock.Turn(5 * time.Second)
	h.wantToken(t, own(ecKey(), "ec", "job"))
	h.wantInvalid(t, forged("job"), counterfoil.ReasonAssertionSignature)
	h.wantInvalid(t, forged("nobody"), counterfoil.ReasonUnknownClient)
	// It is away with an older set: that serves, and says no.
	place.mu.Lock()
	place.answer = http.NotFound
	place.mu.Unlock()
	h.clock.Turn(20 * time.Minute)
	h.wantToken(t, own(ecKey(), "ec", "job"))
	h.wantInvalid(t, forged("job"), counterfoil.ReasonAssertionSignature)
	h.wantInvalid(t, own(ecKey(), "new", "job"), counterfoil.ReasonAssertionKey)
	h.wantInvalid(t, forged("nobody"), counterfoil.ReasonUnknownClient)
	// It was not requested for an hour: it is forgotten.
	h.clock.Turn(time.Hour)
	h.wantAway(t, own(ecKey(), "ec", "job"), counterfoil.ReasonUnavailable)
	h.wantAway(t, forged("nobody"), counterfoil.ReasonUnknownClient)
	h.clock.Turn(time.Hour)
	h.wantInvalid(t, forged("nobody"), counterfoil.ReasonUnknownClient)
}

// TestKeySetURL: keys that a client publishes, and what a bad place to publish
// them does not do.
func TestKeySetURL(t *testing.T) {
	place := newSource(t, serving(jwks("ec", ecKey())))
	inner := newSource(t, serving(jwks("ec", ecKey())))
	outbound := server.Outbound{Hosts: []string{place.host()}, Private: true, RootCAs: place.pool()}
	gate := func(t *testing.T, o server.Outbound) *house {
		h := newGate(t, func(c *server.Config) { c.Outbound = o })
		h.workload("job", store.Authentication{KeySetURL: place.URL + "/jwks"})
		h.workload("inner", store.Authentication{KeySetURL: inner.URL + "/jwks"})
		h.workload("local", store.Authentication{KeySet: jwks("ec", ecKey())})
		return h
	}
	assertion := func(h *house, key crypto.Signer, kid, id string) *ask {
		return h.asserting(signed(key, kid, h.own(id)))
	}
	t.Run("fetched, and fetched again for a new key", func(t *testing.T) {
		h, before := gate(t, outbound), place.times()
		h.wantToken(t, assertion(h, ecKey(), "ec", "job"))
		h.wantToken(t, assertion(h, ecKey(), "", "job"))
		if n := place.times() - before; n != 1 {
			t.Errorf("%d fetches", n)
		}
		place.mu.Lock()
		place.answer = serving(jwks("ec", ecKey(), "new", strangeKey()))
		place.mu.Unlock()
		h.clock.Turn(11 * time.Second)
		h.wantToken(t, assertion(h, strangeKey(), "new", "job"))
		h.wantInvalid(t, assertion(h, ecKey(), "none", "job"), counterfoil.ReasonAssertionKey)
	})
	t.Run("a key without kid", func(t *testing.T) {
		place.mu.Lock()
		place.answer = serving(jwks("", ecKey()))
		place.mu.Unlock()
		h := gate(t, outbound)
		h.wantToken(t, assertion(h, ecKey(), "", "job"))
		h.wantInvalid(t, assertion(h, ecKey(), "ec", "job"), counterfoil.ReasonAssertionKey)
	})
	t.Run("an unknown client costs no fetch", func(t *testing.T) {
		h, before := gate(t, outbound), place.times()
		h.wantInvalid(t, assertion(h, ecKey(), "ec", "nobody"), counterfoil.ReasonUnknownClient)
		if n := place.times() - before; n != 0 {
			t.Errorf("%d fetches", n)
		}
	})
	for _, row := range []struct {
		name   string
		answer http.HandlerFunc
		change func(*server.Outbound)
		id     string
		detail string
		asked  int
	}{
		{"no usable key", serving(`{"keys":[]}`), nil, "job", "no key that can be used", 1},
		{"a redirect inward", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inner.URL+"/jwks", http.StatusFound) }, nil, "job", "302", 1},
		{"megabytes", serving(`{"keys":[],"x":"` + strings.Repeat("x", 4<<20) + `"}`), nil, "job", "larger than", 1},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, nil, "job", "larger than", 1},
		{"no key set", serving("<html>"), nil, "job", "JWK Set", 1},
		{"an error", http.NotFound, nil, "job", "404", 1},
		{"a host that is not listed", nil, nil, "inner", "not on the list", 0},
		{"a private address", nil, func(o *server.Outbound) { o.Private = false }, "job", "private", 0},
		{"a certificate of nobody", nil, func(o *server.Outbound) { o.RootCAs = x509.NewCertPool() }, "job", "not trusted", 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			place.mu.Lock()
			place.answer = row.answer
			place.mu.Unlock()
			o := outbound
			if row.change != nil {
				row.change(&o)
			}
			h := gate(t, o)
			before, innerBefore := place.times(), inner.times()
			want := func(a *ask) counterfoil.Event { return h.wantAway(t, a, counterfoil.ReasonUnavailable) }
			if row.id == "inner" { // it is not asked, and waiting does not help
				want = func(a *ask) counterfoil.Event { return h.wantInvalid(t, a, counterfoil.ReasonAssertionKey) }
			}
			e := want(assertion(h, ecKey(), "ec", row.id))
			if !strings.Contains(e.Detail, row.detail) {
				t.Errorf("the record says %q", e.Detail)
			}
			if n := place.times() - before; n != row.asked || inner.times() != innerBefore {
				t.Errorf("%d requests, and %d inside", n, inner.times()-innerBefore)
			}
			h.wantToken(t, assertion(h, ecKey(), "ec", "local"))
		})
	}
	t.Run("hangs", func(t *testing.T) {
		arrived, release := make(chan struct{}, 9), make(chan struct{})
		defer close(release)
		place.mu.Lock()
		place.answer = func(_ http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		place.mu.Unlock()
		h := gate(t, outbound)
		a := assertion(h, ecKey(), "ec", "job")
		answered := make(chan int, 1)
		go func() {
			status, _, err := h.at(context.Background(), h.url, a)
			if err != nil {
				t.Error(err)
			}
			answered <- status
		}()
		<-arrived
		h.wantToken(t, assertion(h, ecKey(), "ec", "local")) // held up by nothing
		for !slices.Contains(h.clock.Slept(), 5*time.Second) {
			runtime.Gosched() // until the fetch waits for its end
		}
		h.clock.Turn(5 * time.Second)
		if status := <-answered; status != http.StatusServiceUnavailable {
			t.Errorf("got %d", status)
		}
		events := h.recorded()
		last := events[len(events)-1].Event
		if last.Reason != counterfoil.ReasonUnavailable || !strings.Contains(last.Detail, "in time") {
			t.Errorf("the record is %+v", last)
		}
		h.wantAway(t, assertion(h, ecKey(), "ec", "job"), counterfoil.ReasonUnavailable) // and at once
		if len(arrived) != 0 {
			t.Error("asked again at once")
		}
	})
}
