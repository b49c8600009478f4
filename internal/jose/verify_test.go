package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

// The keys of all tests of this package.
var (
	ecKey = sync.OnceValue(testkeys.EC)
	rsKey = sync.OnceValue(testkeys.RSA)
	edKey = sync.OnceValue(testkeys.Ed25519)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestVerifyTakesWhatItsAlgorithmSigned(t *testing.T) {
	for algorithm, key := range map[string]crypto.Signer{jose.ES256: ecKey(), jose.RS256: rsKey(), jose.EdDSA: edKey()} {
		t.Run(algorithm, func(t *testing.T) {
			raw := josetest.Token(key, `{"alg":"`+algorithm+`","kid":"k","typ":"at+jwt"}`, `{"a":1}`)
			token, err := jose.Parse(raw, algorithm)
			if err != nil {
				t.Fatal(err)
			}
			if token.KeyID != "k" || token.Type != "at+jwt" {
				t.Errorf("kid %q, typ %q", token.KeyID, token.Type)
			}
			payload, err := token.Verify(key.Public())
			if err != nil || string(payload) != `{"a":1}` {
				t.Errorf("payload %q, error %v", payload, err)
			}
			for name, other := range map[string]crypto.PublicKey{
				"another key":    testkeys.EC().Public(),
				"another curve":  testkeys.P384().Public(),
				"symmetric":      []byte("secret"),
				"nothing":        nil,
				"nil pointer":    (*rsa.PublicKey)(nil),
				"short RSA":      must(x509.ParsePKIXPublicKey(shortRSA())),
				"empty Ed25519":  ed25519.PublicKey{},
				"a private key":  key,
				"empty EC":       &ecdsa.PublicKey{},
				"even exponent":  &rsa.PublicKey{N: rsKey().Public().(*rsa.PublicKey).N, E: 4},
				"RSA without N":  &rsa.PublicKey{E: 65537},
				"nil EC pointer": (*ecdsa.PublicKey)(nil),
			} {
				if _, err := token.Verify(other); !errors.Is(err, jose.ErrSignature) {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// EdDSA has a newer name (RFC 9864 section 2.2), for tokens and for keys.
func TestNewerNameOfEdDSA(t *testing.T) {
	raw := josetest.Token(edKey(), `{"alg":"Ed25519","kid":"k"}`, `{"a":1}`)
	key := must(jose.ParseKey([]byte(strings.Replace(josetest.JWK(edKey().Public()), `{`, `{"alg":"Ed25519",`, 1))))
	token, err := jose.Parse(raw, jose.EdDSA)
	if err != nil || token.Algorithm() != jose.EdDSA || key.Algorithm != jose.EdDSA {
		t.Fatalf("token %+v, key %+v, error %v", token, key, err)
	}
	if payload, err := token.Verify(key.Key); err != nil || string(payload) != `{"a":1}` {
		t.Errorf("payload %q, error %v", payload, err)
	}
	for name, bad := range map[string]*jose.Token{
		"another payload":     must(jose.Parse(strings.Replace(raw, ".eyJhIjoxfQ.", ".eyJhIjoyfQ.", 1), jose.EdDSA)),
		"the name is changed": must(jose.Parse(josetest.Encode(`{"alg":"EdDSA","kid":"k"}`)+raw[strings.IndexByte(raw, '.'):], jose.EdDSA)),
		"no Ed25519 at all":   must(jose.Parse(josetest.Token(ecKey(), `{"alg":"Ed25519"}`, `{}`), jose.EdDSA)),
	} {
		if _, err := bad.Verify(key.Key); !errors.Is(err, jose.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, other := range map[string]crypto.PublicKey{"EC": ecKey().Public(), "empty": ed25519.PublicKey{}, "nothing": nil} {
		if _, err := token.Verify(other); !errors.Is(err, jose.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := jose.Parse(raw, jose.ES256, jose.RS256); !errors.Is(err, jose.ErrAlgorithm) {
		t.Errorf("where EdDSA is not accepted: %v", err)
	}
	if key, err := jose.ParseKey([]byte(strings.Replace(josetest.JWK(ecKey().Public()), `{`, `{"alg":"Ed25519",`, 1))); err == nil {
		t.Errorf("an EC key of it: %v", key)
	}
}

// Tokens that others made: RFC 7515 appendix A.3 and RFC 8037 appendix A.4.
func TestVerifyTakesTheTokensOfTheRFCs(t *testing.T) {
	for _, tt := range []struct{ algorithm, jwk, token string }{
		{jose.ES256,
			`{"kty":"EC","kid":"k","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ." +
				"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
		{jose.EdDSA,
			`{"kty":"OKP","kid":"k","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc." +
				"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
	} {
		keys, _, err := jose.ParseSet([]byte(`{"keys":[` + tt.jwk + `]}`))
		if err != nil || len(keys) != 1 {
			t.Fatalf("%s: %d keys, %v", tt.algorithm, len(keys), err)
		}
		token, err := jose.Parse(tt.token, tt.algorithm)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.Verify(keys[0].Key); err != nil {
			t.Errorf("%s: %v", tt.algorithm, err)
		}
	}
}

// shortRSA is a public key of 1024 bits, in DER.
func shortRSA() []byte {
	n := testkeys.RSA().(*rsa.PrivateKey).N
	return must(x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.SetBit(n.Rsh(n, 1024), 0, 1), E: 65537}))
}

// One RSA key, two algorithms: neither passes for the other.
func TestRS256AndPS256AreKeptApart(t *testing.T) {
	for signed, named := range map[string]string{jose.RS256: jose.PS256, jose.PS256: jose.RS256} {
		raw := must(jose.Sign(rsKey(), signed, []byte(`{"alg":"`+signed+`"}`), []byte(`{}`)))
		if _, err := must(jose.Parse(raw, signed)).Verify(rsKey().Public()); err != nil {
			t.Errorf("%s: %v", signed, err)
		}
		if _, err := jose.Parse(raw, named); !errors.Is(err, jose.ErrAlgorithm) {
			t.Errorf("%s as %s: %v", signed, named, err)
		}
		raw = must(jose.Sign(rsKey(), signed, []byte(`{"alg":"`+named+`"}`), []byte(`{}`)))
		if _, err := must(jose.Parse(raw, named)).Verify(rsKey().Public()); !errors.Is(err, jose.ErrSignature) {
			t.Errorf("%s that says %s: %v", signed, named, err)
		}
	}
}

// A salt of another length is another algorithm (RFC 7518 section 3.5), and what
// a general library takes by default.
func TestPS256WithASaltOfAnotherLength(t *testing.T) {
	key := rsKey().(*rsa.PrivateKey)
	header := `{"alg":"PS256","kid":"k"}`
	input := josetest.Encode(header) + "." + josetest.Encode(`{}`)
	sum := sha256.Sum256([]byte(input))
	for salt, ok := range map[int]bool{0: false, 20: false, 31: false, 32: true, 33: false, 64: false, 222: false} {
		opts := &rsa.PSSOptions{SaltLength: salt}
		if salt == 0 {
			// Zero is a name of the library for the longest.
			opts.SaltLength = rsa.PSSSaltLengthAuto
		}
		signature := must(rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], opts))
		_, err := must(jose.Parse(input+"."+josetest.Encode(string(signature)), jose.PS256)).Verify(key.Public())
		if (err == nil) != ok || err != nil && !errors.Is(err, jose.ErrSignature) {
			t.Errorf("a salt of %d bytes: %v", salt, err)
		}
	}
}

func TestNumericDate(t *testing.T) {
	for text, want := range map[string]time.Time{
		`1700000000`: time.Unix(1700000000, 0), `1700000000.25`: time.Unix(1700000000, 250_000_000), `1.7e9`: time.Unix(1700000000, 0),
		`17E8`: time.Unix(1700000000, 0), `0`: time.Unix(0, 0), `253402300799`: time.Unix(253402300799, 0), `1700000000.0`: time.Unix(1700000000, 0),
		`-1`: {}, `-0.5`: {}, `253402300799.5`: {}, `1e400`: {}, `9223372036854775807`: {}, `"1700000000"`: {}, `null`: {}, `true`: {}, `[1]`: {}, `{}`: {},
	} {
		claims, err := jose.Object([]byte(`{"exp":` + text + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := jose.NumericDate(claims["exp"]); ok == want.IsZero() || !got.Equal(want) {
			t.Errorf("%s is %v, %v", text, got, ok)
		}
	}
	if _, ok := jose.NumericDate(nil); ok {
		t.Error("a claim that is not there is a date")
	}
}

func TestParseRefuses(t *testing.T) {
	header := `{"alg":"ES256","kid":"k"}`
	good := josetest.Token(ecKey(), header, `{}`)
	parts := strings.Split(good, ".")
	public := must(x509.MarshalPKIXPublicKey(ecKey().Public()))
	with := func(member string) string {
		return josetest.Token(ecKey(), `{"alg":"ES256","kid":"k",`+member+`}`, `{}`)
	}
	for _, tt := range []struct {
		name, token string
		want        error
	}{
		{"nothing", "", jose.ErrMalformed},
		{"no dots", "abc", jose.ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], jose.ErrMalformed},
		{"JWE of five parts (CVE-2024-28180)", good + ".a.b", jose.ErrMalformed},
		{"trailing dot", good + ".", jose.ErrMalformed},
		{"a megabyte of dots (CVE-2025-27144)", strings.Repeat(".", 1<<20), jose.ErrMalformed},
		{"8 KiB of dots", strings.Repeat(".", jose.MaxToken), jose.ErrMalformed},
		{"empty signature", parts[0] + "." + parts[1] + ".", jose.ErrMalformed},
		{"detached payload", parts[0] + ".." + parts[2], jose.ErrMalformed},
		{"empty header", "." + parts[1] + "." + parts[2], jose.ErrMalformed},
		{"padding", parts[0] + "=." + parts[1] + "." + parts[2], jose.ErrMalformed},
		{"line break inside", good[:4] + "\n" + good[4:], jose.ErrMalformed},
		{"space inside", good[:4] + " " + good[4:], jose.ErrMalformed},
		{"standard alphabet", parts[0] + "." + parts[1] + ".+/" + parts[2][2:], jose.ErrMalformed},
		{"non-zero trailing bits", parts[0] + "." + josetest.Encode("{}")[:2] + "1." + parts[2], jose.ErrMalformed},
		{"JSON serialization", `{"payload":"e30","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, jose.ErrMalformed},
		{"header is an array", josetest.Token(ecKey(), `["ES256"]`, `{}`), jose.ErrMalformed},
		{"header is null", josetest.Token(ecKey(), `null`, `{}`), jose.ErrMalformed},
		{"header is cut off", josetest.Token(ecKey(), header[:10], `{}`), jose.ErrMalformed},
		{"header and more", josetest.Token(ecKey(), header+"{}", `{}`), jose.ErrMalformed},
		{"alg twice", with(`"alg":"none"`), jose.ErrMalformed},
		{"alg twice by an escape", with(`"\u0061lg":"none"`), jose.ErrMalformed},
		{"embedded jwk", with(`"jwk":{"kty":"EC"}`), jose.ErrMalformed},
		{"jku", with(`"jku":"https://example.com/"`), jose.ErrMalformed},
		{"x5u", with(`"x5u":"https://example.com/"`), jose.ErrMalformed},
		{"x5c", with(`"x5c":[]`), jose.ErrMalformed},
		{"crit", with(`"crit":["exp"],"exp":1`), jose.ErrMalformed},
		{"unencoded payload (RFC 7797)", with(`"b64":false`), jose.ErrMalformed},
		{"compressed", with(`"zip":"DEF"`), jose.ErrMalformed},
		{"kid is a number", josetest.Token(ecKey(), `{"alg":"ES256","kid":1}`, `{}`), jose.ErrMalformed},
		{"typ is null", with(`"typ":null`), jose.ErrMalformed},
		{"no alg", josetest.Token(ecKey(), `{"kid":"k"}`, `{}`), jose.ErrAlgorithm},
		{"alg is an array", josetest.Token(ecKey(), `{"alg":["ES256"]}`, `{}`), jose.ErrAlgorithm},
		{"alg in another case", josetest.Token(ecKey(), `{"alg":"es256"}`, `{}`), jose.ErrAlgorithm},
		{"alg none", josetest.Token(ecKey(), `{"alg":"none","kid":"k"}`, `{}`), jose.ErrAlgorithm},
		{"HS256 with the public key (CVE-2016-10555)", josetest.MAC(public, `{"alg":"HS256","kid":"k"}`, `{}`), jose.ErrAlgorithm},
		{"another algorithm", josetest.Token(rsKey(), `{"alg":"RS256","kid":"k"}`, `{}`), jose.ErrAlgorithm},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := jose.Parse(tt.token, jose.ES256)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if len(tt.token) > 10 && strings.Contains(err.Error(), tt.token[:10]) {
				t.Errorf("the error repeats the token: %v", err)
			}
		})
	}
}

func TestVerifyRefusesAChangedToken(t *testing.T) {
	good := josetest.Token(ecKey(), `{"alg":"ES256","kid":"k"}`, `{"a":1}`)
	parts := strings.Split(good, ".")
	for name, raw := range map[string]string{
		"payload":        parts[0] + "." + josetest.Encode(`{"a":2}`) + "." + parts[2],
		"header":         josetest.Encode(`{"alg":"ES256", "kid":"k"}`) + "." + parts[1] + "." + parts[2],
		"zero signature": parts[0] + "." + parts[1] + "." + josetest.Encode(strings.Repeat("\x00", 64)),
		"short":          parts[0] + "." + parts[1] + "." + josetest.Encode("abc"),
	} {
		token, err := jose.Parse(raw, jose.ES256)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := token.Verify(ecKey().Public()); !errors.Is(err, jose.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestObject(t *testing.T) {
	for _, tt := range []struct {
		name, json string
		ok         bool
	}{
		{"empty", `{}`, true},
		{"every kind", ` {"a":[1,{"b":null}],"c":"d","e":true,"f":1e400} `, true},
		{"same name at two depths", `{"a":{"a":1}}`, true},
		{"twice", `{"a":1,"a":1}`, false},
		{"twice deep inside", `{"x":[{"a":1,"a":2}]}`, false},
		{"twice under a broken character", "{\"\xff\":1,\"\xfe\":2}", false},
		{"a name that is not UTF-8", "{\"a\xff\":1}", false},
		{"a value that is not UTF-8", "{\"a\":\"\xc3\x28\"}", false},
		{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", false},
		{"Latin-1 deep inside", "{\"a\":[{\"b\":\"caf\xe9\"}]}", false},
		{"UTF-8 of every length", `{"é":"€","𝄞":"\u00e9 \ud834\udd1e \ufffd �"}`, true},
		{"the first half of a pair", `{"a":"\ud834"}`, false},
		{"the second half of a pair", `{"a":"\udd1e"}`, false},
		{"two first halves", `{"a":"\ud834\ud834"}`, false},
		{"a pair with something between", `{"a":"\ud834 \udd1e"}`, false},
		{"a pair the wrong way round", `{"a":"\udd1e\ud834"}`, false},
		{"half of a pair in a name", `{"\uDBFF":1}`, false},
		{"what looks like half of a pair", `{"a":"\\ud834"}`, true},
		{"array", `[]`, false},
		{"null", `null`, false},
		{"trailing comma", `{"a":1,}`, false},
		{"two objects", `{}{}`, false},
		{"nothing", ``, false},
		{"deep", strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := jose.Object([]byte(tt.json)); (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, header := range []string{`{"alg":"ES256","kid":"k","typ":"at+jwt"}`, `{"alg":"none"}`, `{"alg":"ES256","crit":["b64"],"b64":false}`, `{}`, `[]`, `{"alg":"ES256","alg":"ES256"}`} {
		f.Add(josetest.Token(ecKey(), header, `{"iss":"x","exp":1}`))
	}
	f.Add("a.b.c.d.e")
	f.Add("..")
	stranger := testkeys.EC().Public()
	f.Fuzz(func(t *testing.T, raw string) {
		token, err := jose.Parse(raw, jose.ES256)
		if err != nil {
			if !errors.Is(err, jose.ErrMalformed) && !errors.Is(err, jose.ErrAlgorithm) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if _, err := token.Verify(stranger); !errors.Is(err, jose.ErrSignature) {
			t.Fatalf("a stranger's key verified %q: %v", raw, err)
		}
	})
}
