package jose_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
)

// What is right at a bound is taken: another issuer's key or token may be that
// large. One more is refused.
func TestRSAKeysAtTheBounds(t *testing.T) {
	jwk := func(n []byte, e int64) string {
		return fmt.Sprintf(`{"kty":"RSA","kid":"r","n":"%s","e":"%s"}`, josetest.Encode(string(n)), josetest.Encode(string(big.NewInt(e).Bytes())))
	}
	odd := func(bits uint) []byte {
		n := new(big.Int).SetBit(big.NewInt(1), int(bits-1), 1)
		return n.Bytes()
	}
	for name, tt := range map[string]struct {
		jwk   string
		taken bool
	}{
		"exponent 1":                             {jwk(odd(2048), 1), false},
		"exponent 3":                             {jwk(odd(2048), 3), true},
		"exponent of 31 bits":                    {jwk(odd(2048), 1<<31-1), true},
		"exponent of 32 bits":                    {jwk(odd(2048), 1<<31+1), false},
		"2,047 bits":                             {jwk(odd(2047), 65537), false},
		"2,048 bits":                             {jwk(odd(2048), 65537), true},
		"8,192 bits":                             {jwk(odd(8192), 65537), true},
		"8,192 bits behind a sign, as ASN.1 has": {jwk(append([]byte{0}, odd(8192)...), 65537), true},
		"8,192 bits behind two":                  {jwk(append([]byte{0, 0}, odd(8192)...), 65537), false},
		"8,193 bits":                             {jwk(odd(8193), 65537), false},
	} {
		if _, err := jose.ParseKey([]byte(tt.jwk)); (err == nil) != tt.taken {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPrivateKeyAtTheBound(t *testing.T) {
	key := pkcs8(t, ecKey())
	full := key + strings.Repeat("\n", jose.MaxPrivateKey-len(key))
	if _, err := jose.ParsePrivateKey([]byte(full)); err != nil {
		t.Errorf("%d bytes: %v", len(full), err)
	}
	if _, err := jose.ParsePrivateKey([]byte(full + "\n")); err == nil {
		t.Errorf("%d bytes are taken", len(full)+1)
	}
}

func TestTokenAtTheBound(t *testing.T) {
	// Base64 without padding has no text of one character more than a multiple
	// of four: header and payload make up for one another.
	token := func(header, payload int) string {
		return josetest.Token(ecKey(), `{"alg":"ES256","x":"`+strings.Repeat("x", header)+`"}`, `{"x":"`+strings.Repeat("x", payload)+`"}`)
	}
	taken := map[int]bool{}
	for payload := range 4 {
		for header := 3 * (jose.MaxToken - len(token(0, payload)) - 8) / 4; len(token(header, payload)) <= jose.MaxToken+2; header++ {
			text := token(header, payload)
			_, err := jose.Parse(text, jose.ES256)
			if taken[len(text)] = err == nil; (err == nil) != (len(text) <= jose.MaxToken) {
				t.Errorf("%d bytes: %v", len(text), err)
			}
		}
	}
	if over, there := taken[jose.MaxToken+1]; !taken[jose.MaxToken] || !there || over {
		t.Errorf("no token was exactly at the bound: %v", taken)
	}
}

// The error counts the parts as people do.
func TestErrorsNameThePart(t *testing.T) {
	right := strings.Split(josetest.Token(ecKey(), `{"alg":"ES256"}`, `{}`), ".")
	for token, want := range map[string]string{
		"a":                              "1 parts where a JWS has 3",
		"a.b.c.d":                        "4 parts where a JWS has 3",
		"." + right[1] + "." + right[2]:  "part 1 is empty",
		right[0] + "." + right[1] + ".":  "part 3 is empty",
		"*." + right[1] + "." + right[2]: "part 1 is not base64url",
		right[0] + "." + right[1] + ".*": "part 3 is not base64url",
	} {
		if _, err := jose.Parse(token, jose.ES256); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
