package jose_test

import (
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

var all = []string{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

func TestParseTakesAnAllowList(t *testing.T) {
	es := josetest.Token(ecKey(), `{"alg":"ES256"}`, `{}`)
	for _, tt := range []struct {
		name, token string
		list        []string
		want        error
	}{
		{"the first", es, []string{jose.ES256, jose.RS256}, nil},
		{"the last", es, all[:3], nil},
		{"none of them", es, []string{jose.RS256, jose.PS256, jose.EdDSA}, jose.ErrAlgorithm},
		{"an empty list", es, nil, jose.ErrAlgorithm},
		{"an empty name for a token without alg", josetest.Token(ecKey(), `{"kid":"k"}`, `{}`), []string{""}, jose.ErrAlgorithm},
		{"none on the list", josetest.Token(ecKey(), `{"alg":"none"}`, `{}`), []string{"none"}, jose.ErrAlgorithm},
		{"HS256 on the list", josetest.MAC([]byte("secret"), `{"alg":"HS256"}`, `{}`), []string{"HS256"}, jose.ErrAlgorithm},
		{"ES384 on the list", josetest.Token(ecKey(), `{"alg":"ES384"}`, `{}`), []string{"ES384"}, jose.ErrAlgorithm},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, err := jose.Parse(tt.token, tt.list...)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err == nil && (token.Algorithm() != jose.ES256 || token.JWK() != nil || token.Thumbprint() != "") {
				t.Errorf("algorithm %q, key %v, thumbprint %q", token.Algorithm(), token.JWK(), token.Thumbprint())
			}
		})
	}
}

func TestParseProofShowsTheKey(t *testing.T) {
	for algorithm, key := range map[string]crypto.Signer{jose.ES256: ecKey(), jose.RS256: rsKey(), jose.PS256: rsKey(), jose.EdDSA: edKey()} {
		t.Run(algorithm, func(t *testing.T) {
			header := `{"typ":"dpop+jwt","alg":"` + algorithm + `","jwk":` + josetest.JWK(key.Public()) + `}`
			raw := josetest.Token(key, header, `{"jti":"1"}`)
			if algorithm == jose.PS256 {
				raw = josetest.PS256(key.(*rsa.PrivateKey), header, `{"jti":"1"}`)
			}
			token, err := jose.ParseProof(raw, all...)
			if err != nil {
				t.Fatal(err)
			}
			if token.Type != "dpop+jwt" || token.Algorithm() != algorithm || token.Thumbprint() != josetest.Thumbprint(key.Public()) {
				t.Errorf("typ %q, algorithm %q, thumbprint %q", token.Type, token.Algorithm(), token.Thumbprint())
			}
			if payload, err := token.Verify(token.JWK()); err != nil || string(payload) != `{"jti":"1"}` {
				t.Errorf("payload %q, error %v", payload, err)
			}
			if _, err := jose.Parse(raw, all...); !errors.Is(err, jose.ErrMalformed) {
				t.Errorf("Parse took the jwk: %v", err)
			}
		})
	}
}

// A proof of another implementation, the first of RFC 9449 section 4.1, with the
// thumbprint that its section 6.1 states.
func TestParseProofOfTheRFC(t *testing.T) {
	token, err := jose.ParseProof("eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR"+
		"nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIj"+
		"oiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg"+
		"4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg", jose.ES256)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := token.Verify(token.JWK()); err != nil {
		t.Error(err)
	}
	if want := "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"; token.Thumbprint() != want {
		t.Errorf("thumbprint %s, want %s", token.Thumbprint(), want)
	}
}

func TestParseProofRefuses(t *testing.T) {
	own := josetest.JWK(ecKey().Public())
	in := func(jwk, member string) string { return strings.Replace(jwk, `{`, `{`+member+`,`, 1) }
	with := func(jwk string) string { return josetest.Token(ecKey(), `{"alg":"ES256","jwk":`+jwk+`}`, `{}`) }
	also := func(member string) string {
		return josetest.Token(ecKey(), `{"alg":"ES256","jwk":`+own+`,`+member+`}`, `{}`)
	}
	modulus := rsKey().Public().(*rsa.PublicKey).N
	large := new(big.Int).SetBit(new(big.Int).Lsh(modulus, 4097-2048), 0, 1)
	for _, tt := range []struct {
		name, token string
		want        error
	}{
		{"no jwk", josetest.Token(ecKey(), `{"alg":"ES256"}`, `{}`), jose.ErrMalformed},
		{"null", with(`null`), jose.ErrMalformed},
		{"a string", with(`"` + josetest.Encode(own) + `"`), jose.ErrMalformed},
		{"an array", with(`[` + own + `]`), jose.ErrMalformed},
		{"empty", with(`{}`), jose.ErrMalformed},
		{"private", with(in(own, `"d":"AAAA"`)), jose.ErrMalformed},
		{"symmetric", with(`{"kty":"oct","k":"AAAA"}`), jose.ErrMalformed},
		{"symmetric, signed with it", josetest.MAC([]byte("\x00\x00\x00"), `{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}`, `{}`), jose.ErrAlgorithm},
		{"symmetric member", with(in(own, `"k":"AAAA"`)), jose.ErrMalformed},
		{"for encryption", with(in(own, `"use":"enc"`)), jose.ErrMalformed},
		{"for signing only", with(in(own, `"key_ops":["sign"]`)), jose.ErrMalformed},
		{"for another algorithm", with(in(own, `"alg":"EdDSA"`)), jose.ErrMalformed},
		{"of another kind", with(josetest.JWK(rsKey().Public())), jose.ErrMalformed},
		{"RSA for PS256 only", josetest.Token(rsKey(), `{"alg":"RS256","jwk":`+in(josetest.JWK(rsKey().Public()), `"alg":"PS256"`)+`}`, `{}`), jose.ErrMalformed},
		{"RSA of 4,097 bits", josetest.Token(rsKey(), `{"alg":"RS256","jwk":`+josetest.JWK(&rsa.PublicKey{N: large, E: 65537})+`}`, `{}`), jose.ErrMalformed},
		{"off the curve", with(`{"crv":"P-256","kty":"EC","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`), jose.ErrMalformed},
		{"a member twice", with(in(own, `"kty":"EC"`)), jose.ErrMalformed},
		{"two keys", also(`"jwk":` + own), jose.ErrMalformed},
		{"jku", also(`"jku":"https://example.com/"`), jose.ErrMalformed},
		{"x5u", also(`"x5u":"https://example.com/"`), jose.ErrMalformed},
		{"x5c", also(`"x5c":[]`), jose.ErrMalformed},
		{"crit", also(`"crit":["exp"],"exp":1`), jose.ErrMalformed},
		{"unencoded payload", also(`"b64":false`), jose.ErrMalformed},
		{"compressed", also(`"zip":"DEF"`), jose.ErrMalformed},
		{"alg none", josetest.Encode(`{"alg":"none","jwk":`+own+`}`) + ".e30.AA", jose.ErrAlgorithm},
		{"too long", with(in(own, `"pad":"`+strings.Repeat("x", jose.MaxToken)+`"`)), jose.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := jose.ParseProof(tt.token, all...)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if strings.Contains(err.Error(), "AAAA") || strings.Contains(err.Error(), tt.token[:10]) {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
	t.Run("a member that is null", func(t *testing.T) {
		if _, err := jose.ParseProof(with(in(own, `"d":null,"use":null,"key_ops":[]`)), all...); err != nil {
			t.Error(err)
		}
	})
	t.Run("somebody else's key", func(t *testing.T) {
		token, err := jose.ParseProof(with(josetest.JWK(testkeys.EC().Public())), all...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.Verify(token.JWK()); !errors.Is(err, jose.ErrSignature) {
			t.Errorf("error %v", err)
		}
	})
}

func TestUnverifiedClaims(t *testing.T) {
	for _, tt := range []struct{ name, payload, issuer string }{
		{"claims", `{"iss":"client-1"}`, "client-1"},
		{"an array", `[]`, ""},
		{"a text", `hello`, ""},
		{"iss twice", `{"iss":"a","iss":"b"}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw := josetest.Token(ecKey(), `{"alg":"ES256"}`, tt.payload)
			claims, err := must(jose.Parse(raw[:len(raw)-8]+"AAAAAAAA", jose.ES256)).UnverifiedClaims()
			if tt.issuer == "" && !errors.Is(err, jose.ErrMalformed) || tt.issuer != "" && (err != nil || claims["iss"] != tt.issuer) {
				t.Errorf("claims %v, error %v", claims, err)
			}
		})
	}
}

func TestParseKey(t *testing.T) {
	own := josetest.JWK(ecKey().Public())
	for _, tt := range []struct {
		name, jwk string
		want      jose.PublicKey
	}{
		{"no kid, no alg", own, jose.PublicKey{Key: ecKey().Public()}},
		{"kid and alg", strings.Replace(own, `{`, `{"kid":"k","alg":"ES256","use":"sig",`, 1), jose.PublicKey{ID: "k", Algorithm: "ES256", Key: ecKey().Public()}},
		{"RSA", josetest.JWK(rsKey().Public()), jose.PublicKey{Key: rsKey().Public()}},
		{"Ed25519", josetest.JWK(edKey().Public()), jose.PublicKey{Key: edKey().Public()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := jose.ParseKey([]byte(tt.jwk))
			if err != nil || key.ID != tt.want.ID || key.Algorithm != tt.want.Algorithm || !key.Key.(interface{ Equal(crypto.PublicKey) bool }).Equal(tt.want.Key) {
				t.Errorf("%+v, %v", key, err)
			}
		})
	}
	for name, jwk := range map[string]string{
		"nothing":       ``,
		"null":          `null`,
		"a set":         `{"keys":[` + own + `]}`,
		"private":       strings.Replace(own, `{`, `{"d":"AAAA",`, 1),
		"symmetric":     `{"kty":"oct","k":"AAAA"}`,
		"P-384":         strings.Replace(own, `P-256`, `P-384`, 1),
		"HS256":         strings.Replace(own, `{`, `{"alg":"HS256",`, 1),
		"two documents": own + own,
	} {
		if key, err := jose.ParseKey([]byte(jwk)); err == nil {
			t.Errorf("%s gave %v", name, key)
		} else if strings.Contains(err.Error(), "AAAA") {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

// RSA from 2,048 to 8,192 bits: both ends are taken, one bit beyond is not.
func TestRSASizes(t *testing.T) {
	modulus := rsKey().Public().(*rsa.PublicKey).N
	for bits, ok := range map[int]bool{2047: false, 2048: true, 8192: true, 8193: false} {
		n := new(big.Int).Rsh(new(big.Int).Lsh(modulus, 8192), uint(8192+2048-bits))
		key, err := jose.ParseKey([]byte(josetest.JWK(&rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537})))
		if (err == nil) != ok {
			t.Errorf("%d bits: %v, %v", bits, key.Key, err)
		}
	}
}

// A key of the largest size and a token of it, both made with OpenSSL.
func TestVerifyWithTheLargestRSAKey(t *testing.T) {
	key, err := jose.ParseKey(must(os.ReadFile("testdata/rsa8192.jwk")))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.Parse(strings.TrimSpace(string(must(os.ReadFile("testdata/rsa8192.jws")))), all...)
	if err != nil {
		t.Fatal(err)
	}
	if payload, err := token.Verify(key.Key); err != nil || string(payload) != `{"iss":"client-1"}` {
		t.Errorf("payload %q, error %v", payload, err)
	}
}

func FuzzParseProof(f *testing.F) {
	own := josetest.JWK(ecKey().Public())
	for _, header := range []string{`{"alg":"ES256","typ":"dpop+jwt","jwk":` + own + `}`, `{"alg":"ES256","jwk":{}}`, `{"alg":"EdDSA","jwk":` + own + `}`, `{"alg":"ES256","jwk":` + own + `,"x5c":[]}`} {
		f.Add(josetest.Token(ecKey(), header, `{"jti":"x","iat":1}`))
	}
	f.Add(josetest.Token(edKey(), `{"alg":"Ed25519","jwk":`+josetest.JWK(edKey().Public())+`}`, `{"jti":"x","iat":1}`))
	f.Add("..")
	f.Fuzz(func(t *testing.T, raw string) {
		token, err := jose.ParseProof(raw, all...)
		if err != nil {
			if !errors.Is(err, jose.ErrMalformed) && !errors.Is(err, jose.ErrAlgorithm) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		var header map[string]json.RawMessage
		data := must(base64.RawURLEncoding.DecodeString(raw[:strings.Index(raw, ".")]))
		if err := json.Unmarshal(data, &header); err != nil || len(header["jwk"]) < 2 {
			t.Fatalf("a header without jwk was taken: %s", data)
		}
		if len(token.Thumbprint()) != 43 || token.JWK() == nil {
			t.Fatalf("no key in %q", raw)
		}
		if _, err := token.Verify(token.JWK()); err != nil && !errors.Is(err, jose.ErrSignature) {
			t.Fatalf("an error of no kind: %v", err)
		}
		if _, err := token.UnverifiedClaims(); err != nil && !errors.Is(err, jose.ErrMalformed) {
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	for _, key := range []crypto.Signer{ecKey(), rsKey(), edKey()} {
		f.Add([]byte(josetest.JWK(key.Public())))
	}
	f.Add([]byte(`{"kty":"oct","k":"AAAA"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := jose.ParseKey(data)
		if err != nil {
			return
		}
		if print, err := jose.Thumbprint(key.Key); err != nil || len(print) != 43 {
			t.Fatalf("a key that was read has no thumbprint: %v", err)
		}
		keys, _, err := jose.ParseSet([]byte(`{"keys":[` + string(data) + `]}`))
		if err != nil || len(keys) != 1 {
			t.Fatalf("%d keys of a set of it: %v", len(keys), err)
		}
	})
}
