package guard_test

import (
	"crypto/x509"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/provider"
)

// Values of the Authorization header, at an API that takes ES256.
func TestBearer(t *testing.T) {
	r := newRig(t, "oauth2")
	good := r.token(nil)
	parts := strings.Split(good, ".")
	public := must(x509.MarshalPKIXPublicKey(ecKey().Public()))
	with := func(name string, value any) string {
		return "Bearer " + r.token(func(h, _ members) { h[name] = value })
	}
	rs := members{"alg": "RS256", "kid": "k1", "typ": "at+jwt"}
	claims := members(r.claims).String()
	for _, tt := range []struct {
		name   string
		values []string
		want   counterfoil.Reason // empty when the call is let through
	}{
		{"right", []string{"Bearer " + good}, ""},
		{"scheme in another case (RFC 9110 section 11.1)", []string{"bEARER " + good}, ""},
		{"several spaces (RFC 6750 section 2.1)", []string{"Bearer   " + good}, ""},
		{"none", nil, counterfoil.ReasonTokenMissing},
		{"empty", []string{""}, counterfoil.ReasonTokenMissing},
		{"twice", []string{"Bearer " + good, "Bearer " + good}, counterfoil.ReasonTokenRepeated},
		{"twice, first empty", []string{"", "Bearer " + good}, counterfoil.ReasonTokenRepeated},
		{"two in one", []string{"Bearer " + good + ", Bearer " + good}, counterfoil.ReasonTokenMalformed},
		{"Basic", []string{"Basic dXNlcjpwYXNz"}, counterfoil.ReasonTokenMissing},
		{"DPoP", []string{"DPoP " + good}, counterfoil.ReasonTokenMissing},
		{"scheme with more letters", []string{"Bearers " + good}, counterfoil.ReasonTokenMissing},
		{"no scheme", []string{good}, counterfoil.ReasonTokenMissing},
		{"scheme alone", []string{"Bearer"}, counterfoil.ReasonTokenMalformed},
		{"tab for space", []string{"Bearer\t" + good}, counterfoil.ReasonTokenMissing},
		{"something after", []string{"Bearer " + good + " x"}, counterfoil.ReasonTokenMalformed},
		{"not ASCII", []string{"Bearer \xff\xfe" + good}, counterfoil.ReasonTokenMalformed},
		{"quoted", []string{`Bearer "` + good + `"`}, counterfoil.ReasonTokenMalformed},
		{"8 KiB and more", []string{"Bearer " + strings.Repeat("a", 8<<10+1)}, counterfoil.ReasonTokenMalformed},
		{"900 kB", []string{"Bearer " + strings.Repeat("a.", 450_000)}, counterfoil.ReasonTokenMalformed},
		{"no JWT", []string{"Bearer abc"}, counterfoil.ReasonTokenMalformed},
		{"dots", []string{"Bearer ..."}, counterfoil.ReasonTokenMalformed},
		{"trailing dot", []string{"Bearer " + good + "."}, counterfoil.ReasonTokenMalformed},
		{"trailing dots, as of a JWE (CVE-2024-28180)", []string{"Bearer " + good + ".."}, counterfoil.ReasonTokenMalformed},
		{"empty signature", []string{"Bearer " + parts[0] + "." + parts[1] + "."}, counterfoil.ReasonTokenMalformed},
		{"padding", []string{"Bearer " + good + "=="}, counterfoil.ReasonTokenMalformed},
		{"alg none", []string{"Bearer " + josetest.Encode(`{"alg":"none","kid":"k1"}`) + "." + parts[1] + "."}, counterfoil.ReasonTokenMalformed},
		{"alg none with a signature", []string{with("alg", "none")}, counterfoil.ReasonTokenAlgorithm},
		{"alg nOnE", []string{with("alg", "nOnE")}, counterfoil.ReasonTokenAlgorithm},
		{"HS256 with the public key (CVE-2016-10555)", []string{"Bearer " + josetest.MAC(public, `{"alg":"HS256","kid":"k1","typ":"at+jwt"}`, claims)}, counterfoil.ReasonTokenAlgorithm},
		{"RS256 where ES256 is wanted", []string{"Bearer " + josetest.Token(rsaKey(), rs.String(), claims)}, counterfoil.ReasonTokenAlgorithm},
		{"RS256 that says ES256", []string{"Bearer " + josetest.Token(rsaKey(), r.header.String(), claims)}, counterfoil.ReasonTokenSignature},
		{"embedded jwk", []string{with("jwk", members{"kty": "EC"})}, counterfoil.ReasonTokenMalformed},
		{"jku (CVE-2018-0114's neighbour)", []string{with("jku", "https://evil.example/keys")}, counterfoil.ReasonTokenMalformed},
		{"x5u", []string{with("x5u", "https://evil.example/cert")}, counterfoil.ReasonTokenMalformed},
		{"crit", []string{with("crit", []string{"exp"})}, counterfoil.ReasonTokenMalformed},
		{"b64", []string{with("b64", false)}, counterfoil.ReasonTokenMalformed},
		{"alg twice", []string{"Bearer " + josetest.Token(ecKey(), `{"alg":"ES256","kid":"k1","typ":"at+jwt","alg":"ES256"}`, claims)}, counterfoil.ReasonTokenMalformed},
		{"no kid", []string{"Bearer " + josetest.Token(ecKey(), `{"alg":"ES256","typ":"at+jwt"}`, claims)}, counterfoil.ReasonTokenKeyUnknown},
		{"unknown kid", []string{with("kid", "k2")}, counterfoil.ReasonTokenKeyUnknown},
		{"kid of a path", []string{with("kid", "../../dev/null")}, counterfoil.ReasonTokenKeyUnknown},
		{"kid is a number", []string{with("kid", 1)}, counterfoil.ReasonTokenMalformed},
		{"a stranger's key", []string{"Bearer " + josetest.Token(ecOther(), r.header.String(), claims)}, counterfoil.ReasonTokenSignature},
		{"changed claims", []string{"Bearer " + parts[0] + "." + josetest.Encode(strings.Replace(claims, client, "client-2", 2)) + "." + parts[2]}, counterfoil.ReasonTokenSignature},
		{"typ in another spelling (RFC 7515 section 4.1.9)", []string{with("typ", "APPLICATION/AT+JWT")}, ""},
		{"typ of an ID token", []string{with("typ", "JWT")}, counterfoil.ReasonTokenUse},
		{"typ is an array", []string{with("typ", []string{"at+jwt"})}, counterfoil.ReasonTokenMalformed},
		{"no typ", []string{"Bearer " + josetest.Token(ecKey(), `{"alg":"ES256","kid":"k1"}`, claims)}, counterfoil.ReasonTokenUse},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := r.call("")
			req.Header["Authorization"] = tt.values
			a := r.send(req)
			if tt.want == "" {
				if a.status != 200 {
					t.Errorf("%d, event %+v", a.status, a.event)
				}
				return
			}
			r.refused(a, tt.want, tt.values...)
			if a.status != 401 {
				t.Errorf("status %d", a.status)
			}
			r.works()
		})
	}
}

func TestTokenIsNotReadFromQueryOrForm(t *testing.T) {
	r := newRig(t, "oauth2")
	good := r.token(nil)
	req := must(http.NewRequest("POST", r.server.URL+"/?access_token="+good, strings.NewReader("access_token="+good)))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.refused(r.send(req), counterfoil.ReasonTokenMissing, good)
}

func TestHeaderOfAMegabyte(t *testing.T) {
	r := newRig(t, "oauth2")
	a := r.send(r.call(strings.Repeat("a", 1<<20+8<<10)))
	if a.status != 431 || a.event.Type != "" {
		t.Errorf("status %d, event %+v", a.status, a.event)
	}
	r.works()
}

// Claims that the issuer's own key signed, and that still must not pass.
func TestClaims(t *testing.T) {
	now := start.Unix()
	type with = map[string]any // a nil value leaves the claim out
	for _, tt := range []struct {
		provider, name string
		change         with
		want           counterfoil.Reason
	}{
		{"oauth2", "as they are", nil, ""},
		{"oauth2", "another issuer", with{"iss": "https://other.example"}, counterfoil.ReasonTokenIssuer},
		{"oauth2", "issuer with a slash", with{"iss": issuer + "/"}, counterfoil.ReasonTokenIssuer},
		{"oauth2", "issuer in another case", with{"iss": "https://Issuer.example"}, counterfoil.ReasonTokenIssuer},
		{"oauth2", "issuer with a space", with{"iss": issuer + " "}, counterfoil.ReasonTokenIssuer},
		{"oauth2", "audience in another case", with{"aud": "https://Issuer.example"}, counterfoil.ReasonTokenAudience},
		{"oauth2", "issuer in an array", with{"iss": []string{issuer}}, counterfoil.ReasonTokenIssuer},
		{"oauth2", "no issuer", with{"iss": nil}, counterfoil.ReasonTokenIssuer},
		{"oauth2", "audience in an array", with{"aud": []string{"other", issuer}}, ""},
		{"oauth2", "another audience", with{"aud": "other"}, counterfoil.ReasonTokenAudience},
		{"oauth2", "empty array of audiences", with{"aud": []string{}}, counterfoil.ReasonTokenAudience},
		{"oauth2", "audience among numbers", with{"aud": []any{issuer, 1}}, counterfoil.ReasonTokenAudience},
		{"oauth2", "audience is an object", with{"aud": members{issuer: issuer}}, counterfoil.ReasonTokenAudience},
		{"oauth2", "audience is true", with{"aud": true}, counterfoil.ReasonTokenAudience},
		{"oauth2", "no audience", with{"aud": nil}, counterfoil.ReasonTokenAudience},
		{"altrata", "issuer as the audience of an API with its own", with{"aud": issuer}, counterfoil.ReasonTokenAudience},
		{"a55", "audience where none is described (RFC 7519 section 4.1.3)", with{"aud": "other"}, counterfoil.ReasonTokenAudience},
		{"a55", "our audience where none is described", with{"aud": issuer}, ""},
		{"a55", "not yet valid where nbf is not described (RFC 7519 section 4.1.5)", with{"nbf": now + 60}, counterfoil.ReasonTokenNotYetValid},
		{"a55", "nbf is text where it is not described", with{"nbf": "now"}, counterfoil.ReasonTokenMalformed},

		{"oauth2", "expires in a second", with{"exp": now + 1}, ""},
		{"oauth2", "last moment of the leeway", with{"exp": now - 29}, ""},
		{"oauth2", "end of the leeway", with{"exp": now - 30}, counterfoil.ReasonTokenExpired},
		{"oauth2", "expired at zero", with{"exp": 0}, counterfoil.ReasonTokenExpired},
		{"oauth2", "exp is text (CVE-2026-25537)", with{"exp": "1900000000"}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "exp in an array", with{"exp": []int64{now + 60}}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "exp is an object", with{"exp": members{}}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "exp is true", with{"exp": true}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "exp is null", with{"exp": json.RawMessage("null")}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "exp is 1e400", with{"exp": json.RawMessage("1e400")}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "exp is 1e10", with{"exp": json.RawMessage("1e10")}, ""},
		{"oauth2", "exp has a fraction (RFC 7519 section 2)", with{"exp": json.RawMessage("1900000000.5")}, ""},
		{"oauth2", "exp of Java's double", with{"exp": json.RawMessage("1.9E9")}, ""},
		{"oauth2", "iat has a fraction", with{"iat": json.RawMessage("1700000000.25")}, ""},
		{"oauth2", "iat has the fraction zero", with{"iat": json.RawMessage("1700000000.0")}, ""},
		{"oauth2", "iat with a fraction in the future", with{"iat": json.RawMessage("1800000031.5")}, counterfoil.ReasonTokenNotYetValid},
		{"oauth2", "exp with a fraction is over", with{"exp": json.RawMessage("1799999969.9")}, counterfoil.ReasonTokenExpired},
		{"oauth2", "exp beyond 9999 with a fraction", with{"exp": json.RawMessage("253402300799.5")}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "exp is text with a fraction", with{"exp": "1900000000.5"}, counterfoil.ReasonTokenMalformed},
		{"engagifii", "nbf has a fraction", with{"nbf": json.RawMessage("1799999999.75")}, ""},
		{"engagifii", "nbf with a fraction in the future", with{"nbf": json.RawMessage("1800000031.5")}, counterfoil.ReasonTokenNotYetValid},
		{"ahotu", "auth_time has a fraction", with{"auth_time": json.RawMessage("1799999999.5")}, ""},
		{"oauth2", "exp is beyond 64 bits", with{"exp": json.RawMessage("99999999999999999999")}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "exp is the largest of 64 bits", with{"exp": json.RawMessage("9223372036854775807")}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "exp is negative", with{"exp": -1}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "exp is in the year 9999", with{"exp": 253402300799}, ""},
		{"oauth2", "no exp", with{"exp": nil}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "issued at the end of the leeway", with{"iat": now + 30}, ""},
		{"oauth2", "issued in the future", with{"iat": now + 31}, counterfoil.ReasonTokenNotYetValid},
		{"oauth2", "iat is text", with{"iat": "now"}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "no iat", with{"iat": nil}, counterfoil.ReasonTokenMalformed},
		{"engagifii", "valid from the end of the leeway", with{"nbf": now + 30}, ""},
		{"engagifii", "valid later", with{"nbf": now + 31}, counterfoil.ReasonTokenNotYetValid},
		{"engagifii", "no nbf", with{"nbf": nil}, counterfoil.ReasonTokenMalformed},

		{"oauth2", "empty client_id", with{"client_id": "", "sub": ""}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "client_id in an array (caddy-authorize 50)", with{"client_id": []string{client}}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "no client_id", with{"client_id": nil}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "sub of another client", with{"sub": "client-2"}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "jti is a number", with{"jti": 7}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "empty jti", with{"jti": ""}, counterfoil.ReasonTokenMalformed},
		{"oauth2", "no jti", with{"jti": nil}, counterfoil.ReasonTokenMalformed},

		{"altrata", "several scopes", with{"scope": "a profiles:read b"}, ""},
		{"altrata", "scope in an array", with{"scope": []string{"profiles:read"}}, ""},
		{"altrata", "scope among others in an array", with{"scope": []string{"a", "profiles:read"}}, ""},
		{"altrata", "another scope in an array", with{"scope": []string{"a"}}, counterfoil.ReasonScopeInsufficient},
		{"altrata", "empty array of scopes", with{"scope": []string{}}, counterfoil.ReasonScopeInsufficient},
		{"altrata", "scopes in one element of an array", with{"scope": []string{"a profiles:read"}}, counterfoil.ReasonTokenMalformed},
		{"altrata", "scope is an object", with{"scope": members{"profiles:read": true}}, counterfoil.ReasonTokenMalformed},
		{"altrata", "scope is null", with{"scope": json.RawMessage("null")}, counterfoil.ReasonTokenMalformed},
		{"altrata", "two spaces between scopes", with{"scope": "a  profiles:read"}, counterfoil.ReasonTokenMalformed},
		{"altrata", "a beginning of the scope", with{"scope": "profiles:rea"}, counterfoil.ReasonScopeInsufficient},
		{"altrata", "no scope", with{"scope": nil}, counterfoil.ReasonScopeInsufficient},
		{"engagifii", "scope in a string", with{"scope": "EventsApi"}, ""},
		{"engagifii", "scopes in a string", with{"scope": "x EventsApi"}, ""},
		{"engagifii", "another scope in a string", with{"scope": "x"}, counterfoil.ReasonScopeInsufficient},
		{"engagifii", "two scopes in one element", with{"scope": []string{"x EventsApi"}}, counterfoil.ReasonTokenMalformed},
		{"engagifii", "scope among numbers", with{"scope": []any{"EventsApi", 1}}, counterfoil.ReasonTokenMalformed},
		{"engagifii", "no scope", with{"scope": nil}, counterfoil.ReasonScopeInsufficient},

		{"ahotu", "fixed number", with{"version": 2}, ""},
		{"ahotu", "fixed number as text", with{"version": "2"}, counterfoil.ReasonTokenUse},
		{"ahotu", "fixed number with a fraction", with{"version": json.RawMessage("2.0")}, counterfoil.ReasonTokenUse},
		{"ahotu", "fixed text in an array", with{"token_use": []string{"access"}}, counterfoil.ReasonTokenUse},
		{"ahotu", "no fixed text", with{"token_use": nil}, counterfoil.ReasonTokenUse},
		{"ahotu", "authenticated in the future", with{"auth_time": now + 60}, counterfoil.ReasonTokenNotYetValid},
		{"ahotu", "claims of nobody's", with{"more": members{"a": []int{1}}}, ""},
	} {
		t.Run(tt.provider+"/"+tt.name, func(t *testing.T) {
			r := newRig(t, tt.provider)
			token := r.token(func(_, c members) {
				for name, value := range tt.change {
					if c[name] = value; value == nil {
						delete(c, name)
					}
				}
			})
			a := r.send(r.call(token))
			switch {
			case tt.want != "":
				r.refused(a, tt.want, token)
			case a.status != 200:
				t.Errorf("%d, event %+v", a.status, a.event)
			}
			r.works()
		})
	}
}

func TestClaimsThatAreNoObject(t *testing.T) {
	r := newRig(t, "oauth2")
	good := members(r.claims).String()
	for name, payload := range map[string]string{
		"nothing":                    "",
		"text":                       "hello",
		"null":                       "null",
		"array":                      "[]",
		"cut off":                    good[:len(good)-1],
		"something after":            good + " x",
		"a claim twice":              strings.Replace(good, "{", `{"exp":1900000000,`, 1),
		"a claim twice by an escape": strings.Replace(good, "{", `{"\u0065xp":1900000000,`, 1),
		"not UTF-8":                  strings.Replace(good, "client-1", "client-\xff", 1),
		"not UTF-8, of no meaning":   strings.Replace(good, "{", "{\"x\":\"\xe9\",", 1),
		"half of a surrogate pair":   strings.Replace(good, "{", `{"x":"\ud83d",`, 1),
		"twice deep inside":          strings.Replace(good, "{", `{"x":{"a":1,"a":2},`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			r.refused(r.send(r.call(josetest.Token(ecKey(), r.header.String(), payload))), counterfoil.ReasonTokenMalformed)
			r.works()
		})
	}
}

// A date with a fraction is that of its whole second, as revocations and replaced
// tokens are dated.
func TestDatesOfAPrincipal(t *testing.T) {
	r := newRig(t, "oauth2")
	r.send(r.call(r.token(func(_, c members) {
		c["iat"], c["exp"] = json.RawMessage("1700000000.25"), json.RawMessage("1900000000.75")
	})))
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.seen; p == nil || !p.Issued.Equal(time.Unix(1_700_000_000, 0)) || !p.Expires.Equal(time.Unix(1_900_000_000, 0)) {
		t.Errorf("%+v", p)
	}
}

// A token of two seconds was accepted for half a minute if issuer and guard read
// the same clock. One that is dated ahead, as the first after a revocation is, is
// still accepted.
func TestTokenOutlivesItsEndOnTheIssuersClock(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change map[string]any
		want   counterfoil.Reason
	}{
		{"before its end", map[string]any{"exp": start.Unix() + 1}, ""},
		{"at its end", map[string]any{"exp": start.Unix()}, counterfoil.ReasonTokenExpired},
		{"a second later", map[string]any{"exp": start.Unix() - 1}, counterfoil.ReasonTokenExpired},
		{"dated ahead", map[string]any{"iat": start.Unix() + 30, "nbf": start.Unix() + 30}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.SameClock = true })
			token := r.token(func(_, claims members) { maps.Copy(claims, tt.change) })
			if a := r.send(r.call(token)); tt.want != "" {
				r.refused(a, tt.want, token)
			} else if a.status != 200 {
				t.Errorf("%d, event %+v", a.status, a.event)
			}
		})
	}
}

// What was right when the token was verified is looked at again on every call.
func TestAVerifiedTokenIsCheckedOnEveryCall(t *testing.T) {
	t.Run("time passes", func(t *testing.T) {
		r := newRig(t, "engagifii")
		req := r.call(r.token(nil))
		r.works()
		r.clock.Turn(time.Hour + 30*time.Second - 1)
		if a := r.send(req); a.status != 200 {
			t.Fatalf("at the last moment: %d", a.status)
		}
		r.clock.Turn(1)
		r.refused(r.send(req), counterfoil.ReasonTokenExpired)
		r.refused(r.send(req), counterfoil.ReasonTokenExpired)
	})
	t.Run("the clock goes back", func(t *testing.T) {
		r := newRig(t, "engagifii")
		req := r.call(r.token(nil))
		r.send(req)
		r.clock.Turn(-time.Minute)
		r.refused(r.send(req), counterfoil.ReasonTokenNotYetValid)
	})
	// aws-jwt-verify continues to trust a key that was withdrawn.
	t.Run("the key is withdrawn", func(t *testing.T) {
		r := newRig(t, "oauth2")
		req := r.call(r.token(nil))
		r.send(req)
		key := r.keys.keys["k1"]
		r.keys.change(func(k *keyring) { delete(k.keys, "k1") })
		r.refused(r.send(req), counterfoil.ReasonTokenKeyUnknown)
		r.keys.change(func(k *keyring) { k.keys["k1"] = key })
		r.works()
	})
	// KrakenD shares verified tokens by kid alone.
	t.Run("another key takes the kid", func(t *testing.T) {
		r := newRig(t, "oauth2")
		req := r.call(r.token(nil))
		r.send(req)
		r.keys.change(func(k *keyring) { k.keys["k1"] = ecOther().Public() })
		r.refused(r.send(req), counterfoil.ReasonTokenSignature)
		r.refused(r.send(req), counterfoil.ReasonTokenSignature)
	})
	t.Run("the keys are unavailable", func(t *testing.T) {
		r := newRig(t, "oauth2")
		req := r.call(r.token(nil))
		r.send(req)
		r.keys.change(func(k *keyring) { k.err = http.ErrServerClosed })
		a := r.send(req)
		r.refused(a, counterfoil.ReasonUnavailable)
		if a.status != 503 {
			t.Errorf("status %d: a failure of ours told the client that its token is wrong", a.status)
		}
	})
	t.Run("the token is replaced", func(t *testing.T) {
		r := newRig(t, "altrata")
		req := r.call(r.token(nil))
		r.send(req)
		r.registry.change(func(g *registry) { g.dead["token-1"] = true })
		r.refused(r.send(req), counterfoil.ReasonTokenReplaced)
		if a := r.send(r.call(r.claim("jti", "token-2"))); a.status != 200 {
			t.Errorf("the new token: %d", a.status)
		}
	})
	// Only the policy "replace" asked the registry: elsewhere the token of a
	// client that was disabled or deleted was accepted until it expired.
	t.Run("the client is disabled", func(t *testing.T) {
		for _, name := range []string{"oauth2", "a55", "ahotu", "engagifii"} {
			r := newRig(t, name)
			req := r.call(r.token(nil))
			r.send(req)
			id, _ := r.claims["jti"].(string)
			r.registry.change(func(g *registry) { g.dead[id] = true })
			a := r.send(req)
			r.refused(a, counterfoil.ReasonTokenRevoked)
			if a.status != 401 {
				t.Errorf("%s: status %d", name, a.status)
			}
			r.registry.change(func(g *registry) { g.err = http.ErrServerClosed })
			r.refused(r.send(req), counterfoil.ReasonUnavailable)
		}
	})
	t.Run("the API key is of another client", func(t *testing.T) {
		r := newRig(t, "altrata")
		req := r.call(r.token(nil))
		r.send(req)
		r.registry.change(func(g *registry) { g.apiKey = "key-2" })
		r.refused(r.send(req), counterfoil.ReasonAPIKeyInvalid)
	})
	t.Run("the tenant changes, then is withdrawn", func(t *testing.T) {
		r := newRig(t, "engagifii")
		req := r.call(r.token(nil))
		for _, tenant := range []string{"TENANT123", "TENANT123", "TENANT456", "TENANT123"} {
			req.Header.Set("tenant-code", tenant)
			if a := r.send(req); a.status != 200 || r.seen.Tenant != tenant {
				t.Errorf("%d, tenant %q, want %q", a.status, r.seen.Tenant, tenant)
			}
		}
		r.registry.change(func(g *registry) { g.tenants = []string{"TENANT456"} })
		r.refused(r.send(req), counterfoil.ReasonTenantDenied)
	})
}
