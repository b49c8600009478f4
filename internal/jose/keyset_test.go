package jose_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

func TestSetRoundTrip(t *testing.T) {
	keys := []jose.PublicKey{
		{ID: "rs", Algorithm: jose.RS256, Key: rsKey().Public()},
		{ID: "ec", Algorithm: jose.ES256, Key: ecKey().Public()},
		{ID: "ed", Algorithm: jose.EdDSA, Key: edKey().Public()},
	}
	data, err := jose.MarshalSet(keys)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"RSA", "EC", "OKP"} {
		k := set.Keys[i]
		if k["kty"] != want || k["use"] != "sig" || k["alg"] != keys[i].Algorithm || k["kid"] != keys[i].ID || k["d"] != "" {
			t.Errorf("published as %v", k)
		}
	}
	back, left, err := jose.ParseSet(data)
	if err != nil || len(left) != 0 || len(back) != 3 {
		t.Fatalf("%d keys, %v left out, %v", len(back), left, err)
	}
	for i, k := range back {
		if k.ID != keys[i].ID || k.Algorithm != keys[i].Algorithm || !k.Key.(interface{ Equal(crypto.PublicKey) bool }).Equal(keys[i].Key) {
			t.Errorf("key %d came back as %+v", i, k)
		}
	}
}

func TestMarshalSetRefuses(t *testing.T) {
	good := jose.PublicKey{ID: "ec", Algorithm: jose.ES256, Key: ecKey().Public()}
	for name, keys := range map[string][]jose.PublicKey{
		"no id":         {{Algorithm: jose.ES256, Key: ecKey().Public()}},
		"no algorithm":  {{ID: "a", Key: ecKey().Public()}},
		"private key":   {{ID: "a", Algorithm: jose.ES256, Key: ecKey()}},
		"wrong key":     {{ID: "a", Algorithm: jose.RS256, Key: ecKey().Public()}},
		"symmetric key": {{ID: "a", Algorithm: "HS256", Key: []byte("secret")}},
		"same id twice": {good, good},
	} {
		if data, err := jose.MarshalSet(keys); err == nil {
			t.Errorf("%s: %s", name, data)
		}
	}
	if data, err := jose.MarshalSet(nil); err != nil || string(data) != `{"keys":[]}` {
		t.Errorf("no keys: %s, %v", data, err)
	}
}

// One bad key in a set failed all of it in go-oidc (PR 491).
func TestParseSetSkipsOnlyTheBadKey(t *testing.T) {
	published, err := jose.MarshalSet([]jose.PublicKey{{ID: "good", Algorithm: jose.ES256, Key: ecKey().Public()}})
	if err != nil {
		t.Fatal(err)
	}
	good := strings.TrimSuffix(strings.TrimPrefix(string(published), `{"keys":[`), `]}`)
	another := strings.Replace(good, `"good"`, `"another"`, 1)
	weak := must(x509.ParsePKIXPublicKey(shortRSA())).(*rsa.PublicKey)
	encode := base64.RawURLEncoding.EncodeToString
	rsaJWK := func(n []byte, e int64) string {
		return fmt.Sprintf(`{"kty":"RSA","kid":"r","n":"%s","e":"%s"}`, encode(n), encode(big.NewInt(e).Bytes()))
	}
	modulus := rsKey().Public().(*rsa.PublicKey).N.Bytes()
	for _, tt := range []struct{ name, jwk string }{
		{"null", `null`},
		{"a number", `7`},
		{"an array", `[]`},
		{"nothing in it", `{}`},
		{"unknown kty", `{"kty":"XYZ","kid":"x"}`},
		{"symmetric", `{"kty":"oct","kid":"x","k":"AAAA"}`},
		{"private", strings.Replace(another, `{`, `{"d":"AAAA",`, 1)},
		{"symmetric member on a public key", strings.Replace(another, `{`, `{"k":"AAAA",`, 1)},
		{"kid of an earlier one", good},
		{"kid is a number", strings.Replace(good, `"good"`, `1`, 1)},
		{"kid twice", strings.Replace(another, `{`, `{"kid":"x",`, 1)},
		{"for encryption", strings.Replace(another, `"sig"`, `"enc"`, 1)},
		{"for deriving", strings.Replace(another, `{`, `{"key_ops":["deriveKey"],`, 1)},
		{"another algorithm", strings.Replace(another, `ES256`, `ECDH-ES`, 1)},
		{"algorithm of another kind", strings.Replace(another, `ES256`, `RS256`, 1)},
		{"point off the curve", `{"kty":"EC","kid":"x","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`},
		{"another curve", strings.Replace(another, `P-256`, `P-384`, 1)},
		{"bad base64", strings.Replace(another, `"x":"`, `"x":"*`, 1)},
		{"RSA of 1024 bits", rsaJWK(weak.N.Bytes(), 65537)},
		{"RSA with exponent 1", rsaJWK(modulus, 1)},
		{"RSA with an even exponent", rsaJWK(modulus, 65536)},
		{"RSA with an exponent of 33 bits", rsaJWK(modulus, 1<<32+1)},
		{"RSA with an even modulus", rsaJWK(append(modulus[:255:255], 0), 65537)},
		{"RSA with an exponent that is a number", strings.Replace(rsaJWK(modulus, 65537), `"AQAB"`, `65537`, 1)},
		{"RSA without modulus", `{"kty":"RSA","kid":"r","e":"AQAB"}`},
		{"RSA of 64 KiB", rsaJWK([]byte(strings.Repeat("\xff", 64<<10)), 65537)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys, left, err := jose.ParseSet([]byte(`{"keys":[` + good + `,` + tt.jwk + `]}`))
			if err != nil || len(left) != 1 || len(keys) != 1 || keys[0].ID != "good" {
				t.Fatalf("%d keys, %v left out, %v", len(keys), left, err)
			}
			if left[0].Index != 1 || left[0].Why == "" || strings.ContainsAny(left[0].Why, "\n") {
				t.Errorf("told as %+v", left[0])
			}
		})
	}
	t.Run("certificates and unknown members do not matter", func(t *testing.T) {
		jwk := strings.Replace(good, `{`, `{"x5c":["not a certificate"],"x5t":7,"x5u":"::","future":{"a":1},`, 1)
		keys, left, err := jose.ParseSet([]byte(`{"keys":[` + jwk + `],"more":1}`))
		if err != nil || len(left) != 0 || len(keys) != 1 {
			t.Errorf("%d keys, %v left out, %v", len(keys), left, err)
		}
	})
	t.Run("members that are null are absent, and so is an empty list of operations", func(t *testing.T) {
		for _, more := range []string{
			`"key_ops":null,`, `"key_ops":[],`, `"d":null,"k":null,"p":null,"q":null,"dp":null,"dq":null,"qi":null,"oth":null,`, `"n":null,"e":null,`, `"x5c":null,"x5t":null,`,
		} {
			jwk := strings.Replace(another, `{`, `{`+more, 1)
			keys, left, err := jose.ParseSet([]byte(`{"keys":[` + good + `,` + jwk + `]}`))
			if err != nil || len(left) != 0 || len(keys) != 2 {
				t.Errorf("%s: %d keys, %v left out, %v", more, len(keys), left, err)
			}
		}
		for name, replaced := range map[string]string{`"kid":"another"`: `"kid":null`, `"use":"sig"`: `"use":null`, `"alg":"ES256"`: `"alg":null`} {
			jwk := strings.Replace(another, name, replaced, 1)
			keys, left, err := jose.ParseSet([]byte(`{"keys":[` + good + `,` + jwk + `]}`))
			if jwk == another || err != nil || len(left) != 0 || len(keys) != 2 {
				t.Errorf("%s: %d keys, %v left out, %v", replaced, len(keys), left, err)
			}
		}
	})
	t.Run("too many", func(t *testing.T) {
		var all []string
		for i := range jose.MaxKeys + 5 {
			all = append(all, strings.Replace(good, `"good"`, fmt.Sprintf("%q", fmt.Sprint(i)), 1))
		}
		keys, left, err := jose.ParseSet([]byte(`{"keys":[` + strings.Join(all, ",") + `]}`))
		if err != nil || len(left) != 5 || len(keys) != jose.MaxKeys {
			t.Errorf("%d keys, %v left out, %v", len(keys), left, err)
		}
	})
	t.Run("more left out than are told of", func(t *testing.T) {
		_, left, err := jose.ParseSet([]byte(`{"keys":[7` + strings.Repeat(`,7`, 1000) + `]}`))
		if err != nil || len(left) != jose.MaxKeys {
			t.Errorf("%d told of, %v", len(left), err)
		}
	})
	t.Run("keys without a kid are kept", func(t *testing.T) {
		unnamed := strings.Replace(good, `"kid":"good",`, ``, 1)
		keys, left, err := jose.ParseSet([]byte(`{"keys":[` + unnamed + `,` + unnamed + `]}`))
		if err != nil || len(left) != 0 || len(keys) != 2 || keys[0].ID != "" {
			t.Errorf("%+v, %v left out, %v", keys, left, err)
		}
	})
	t.Run("what is told of a key that is left out", func(t *testing.T) {
		for jwk, why := range map[string]string{
			rsaJWK(weak.N.Bytes(), 65537):                         "the RSA key must have 2048 to 8192 bits",
			strings.Replace(another, `"sig"`, `"enc"`, 1):         "not for signatures",
			`{"kty":"oct","kid":"x","k":"AAAA"}`:                  "not a public key",
			strings.Replace(another, `ES256`, `RS256`, 1):         "its kind, size or alg is not one of",
			strings.Replace(another, `"another"`, `"good"`, 1):    "an earlier key has the same kid",
			strings.Replace(another, `{`, `{"crv":"P-256",`, 1):   "a member is there twice",
			strings.Replace(another, `{`, `{"key_ops":["x"],`, 1): "not for verifying",
			rsaJWK(modulus, 1<<32+1):                              "its exponent has more than 31 bits",
		} {
			_, left, _ := jose.ParseSet([]byte(`{"keys":[` + good + `,` + jwk + `]}`))
			if len(left) != 1 || !strings.Contains(left[0].Why, why) {
				t.Errorf("%s: told as %+v, want %q", jwk, left, why)
			}
		}
	})
}

// A modulus of the form that the chips of CVE-2017-15361 made, with a size and an
// exponent that are right.
func TestFactorableModulusIsLeftOut(t *testing.T) {
	all := big.NewInt(1)
	for _, p := range []int64{2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167} {
		all.Mul(all, big.NewInt(p))
	}
	power := new(big.Int).Exp(big.NewInt(65537), big.NewInt(12345), all)
	n := new(big.Int).Lsh(big.NewInt(3), 2046)
	n.Sub(n, new(big.Int).Mod(n, all)).Add(n, power)
	jwk := func(n *big.Int) string {
		return `{"kty":"RSA","kid":"r","e":"AQAB","n":"` + base64.RawURLEncoding.EncodeToString(n.Bytes()) + `"}`
	}
	if _, err := jose.ParseKey([]byte(jwk(n))); err == nil || !strings.Contains(err.Error(), "CVE-2017-15361") {
		t.Errorf("got %v", err)
	}
	for range 3 {
		if _, err := jose.ParseKey([]byte(jwk(n.Add(n, big.NewInt(2))))); err != nil {
			t.Errorf("another of %d bits: %v", n.BitLen(), err)
		}
	}
}

// Of what a token without kid is checked with, there must be no choice.
func TestFit(t *testing.T) {
	ec, rs := jose.PublicKey{ID: "ec", Key: ecKey().Public()}, jose.PublicKey{ID: "rs", Key: rsKey().Public()}
	other := testkeys.EC().Public()
	ps := jose.PublicKey{ID: "ps", Algorithm: jose.PS256, Key: rsKey().Public()}
	for _, tt := range []struct {
		name      string
		keys      []jose.PublicKey
		algorithm string
		want      string // "" for none
	}{
		{"the only one", []jose.PublicKey{ec}, jose.ES256, "ec"},
		{"the only one of its kind", []jose.PublicKey{rs, ec}, jose.ES256, "ec"},
		{"none of its kind", []jose.PublicKey{rs}, jose.ES256, ""},
		{"the only one of its alg", []jose.PublicKey{ec, ps}, jose.PS256, "ps"},
		{"another alg of the kind", []jose.PublicKey{ps}, jose.RS256, ""},
		{"one of the alg, another of any", []jose.PublicKey{ps, {ID: "other", Key: testkeys.RSA().Public()}}, jose.PS256, ""},
		{"one, for the alg and for any", []jose.PublicKey{ps, rs}, jose.PS256, "ps"},
		{"one of another alg, one of any", []jose.PublicKey{ps, rs}, jose.RS256, "rs"},
		{"two", []jose.PublicKey{ec, {Key: edKey().Public()}, {ID: "other", Key: other}}, jose.ES256, ""},
		{"one, published twice", []jose.PublicKey{ec, {ID: "alias", Key: ecKey().Public()}}, jose.ES256, "ec"},
		{"one, published twice, and another", []jose.PublicKey{ec, {ID: "alias", Key: ecKey().Public()}, {Key: other}}, jose.ES256, ""},
		{"none", nil, jose.ES256, ""},
		{"the algorithm none", []jose.PublicKey{ec}, "none", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if key, ok := jose.Fit(tt.keys, tt.algorithm); ok != (tt.want != "") || key.ID != tt.want {
				t.Errorf("got %q, %v", key.ID, ok)
			}
		})
	}
}

func TestParseSetRefusesWhatIsNoSet(t *testing.T) {
	for _, data := range []string{``, `null`, `[]`, `{}`, `{"keys":7}`, `{"keys":null}`, `{"keYs":[]}`, `<html>`, `{"keys":[]`} {
		if keys, _, err := jose.ParseSet([]byte(data)); err == nil {
			t.Errorf("%q gave %v", data, keys)
		}
	}
}

// The key and the thumbprint are those of RFC 7638 section 3.1.
func TestThumbprintOfTheRFC(t *testing.T) {
	n := "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W" +
		"-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNL" +
		"yrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	modulus := new(big.Int).SetBytes(must(base64.RawURLEncoding.DecodeString(n)))
	got, err := jose.Thumbprint(&rsa.PublicKey{N: modulus, E: 65537})
	if want := "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"; err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	for _, key := range []crypto.PublicKey{nil, []byte("secret"), ecKey()} {
		if got, err := jose.Thumbprint(key); err == nil {
			t.Errorf("a %T has the thumbprint %s", key, got)
		}
	}
}

// The certificate is made here, its thumbprint as OpenSSL prints it: the SHA-256
// of the DER.
func TestCertificateThumbprint(t *testing.T) {
	cert := testkeys.Certificate(ecKey(), x509.Certificate{}, nil)
	sum := sha256.Sum256(cert.Certificate[0])
	if got, want := jose.CertificateThumbprint(cert.Leaf), base64.RawURLEncoding.EncodeToString(sum[:]); got != want || len(got) != 43 {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := jose.CertificateThumbprint(nil); got != "" {
		t.Errorf("no certificate has the thumbprint %s", got)
	}
}

func FuzzParseSet(f *testing.F) {
	data, err := jose.MarshalSet([]jose.PublicKey{{ID: "ec", Algorithm: jose.ES256, Key: ecKey().Public()}, {ID: "rs", Algorithm: jose.PS256, Key: rsKey().Public()}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"keys":[{}]}`))
	f.Add([]byte(strings.Replace(string(data), `"kid":"ec",`, "", 1)))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, _, err := jose.ParseSet(data)
		if err != nil {
			return
		}
		for i := range keys {
			if keys[i].Algorithm == "" || keys[i].ID == "" {
				continue // those of others, which are only read
			}
			if _, err := jose.MarshalSet(keys[i : i+1]); err != nil {
				t.Fatalf("a key that was read cannot be published: %v", err)
			}
		}
	})
}
