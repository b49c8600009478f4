package jose_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	gojose "github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

func generated(t testing.TB, algorithm string) crypto.Signer {
	t.Helper()
	key, err := jose.Generate(algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func inPEM(t testing.TB, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkcs8(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return inPEM(t, "PRIVATE KEY", der, err)
}

// privateJWK is the JWK of a private key, with changes; nil removes a member.
func privateJWK(t testing.TB, key any, changes map[string]any) string {
	t.Helper()
	text, err := json.Marshal(gojose.JSONWebKey{Key: key, KeyID: "k1"})
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]any{}
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	for name, value := range changes {
		if members[name] = value; value == nil {
			delete(members, name)
		}
	}
	if text, err = json.Marshal(members); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParsePrivateKey(t *testing.T) {
	rs, ps, es, ed := generated(t, jose.RS256), generated(t, jose.PS256), generated(t, jose.ES256), generated(t, jose.EdDSA)
	sec1, err := x509.MarshalECPrivateKey(es.(*ecdsa.PrivateKey))
	inSEC1 := inPEM(t, "EC PRIVATE KEY", sec1, err)
	parameters := inPEM(t, "EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}, nil)
	for _, row := range []struct {
		name, text string
		key        crypto.Signer
		alg, id    string
	}{
		{"RSA in PKCS #8", pkcs8(t, rs), rs, jose.RS256, ""},
		{"RSA in PKCS #1", inPEM(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs.(*rsa.PrivateKey)), nil), rs, jose.RS256, ""},
		{"P-256 in PKCS #8", pkcs8(t, es), es, jose.ES256, ""},
		{"P-256 in SEC 1", inSEC1, es, jose.ES256, ""},
		{"P-256 in SEC 1 after its parameters, as openssl writes it", parameters + inSEC1, es, jose.ES256, ""},
		{"Ed25519 in PKCS #8", pkcs8(t, ed), ed, jose.EdDSA, ""},
		{"space around", "\n " + pkcs8(t, ed) + "\n\n", ed, jose.EdDSA, ""},
		{"RSA in a JWK", privateJWK(t, rs, nil), rs, jose.RS256, "k1"},
		{"RSA in a JWK for PS256", privateJWK(t, ps, map[string]any{"alg": "PS256"}), ps, jose.PS256, "k1"},
		{"P-256 in a JWK", privateJWK(t, es, map[string]any{"use": "sig", "key_ops": []string{"sign"}}), es, jose.ES256, "k1"},
		{"Ed25519 in a JWK", privateJWK(t, ed, map[string]any{"kid": nil}), ed, jose.EdDSA, ""},
		{"Ed25519 by its newer name", privateJWK(t, ed, map[string]any{"alg": "Ed25519"}), ed, jose.EdDSA, "k1"},
		{"a JWK with nulls and no operations", strings.Replace(privateJWK(t, ed, map[string]any{"kid": nil}), "{", `{"kid":null,"alg":null,"use":null,"key_ops":[],"p":null,"keys":null,`, 1), ed, jose.EdDSA, ""},
		{"a JWK with a certificate of something else", privateJWK(t, ed, map[string]any{"x5t": "AAAA", "x5u": "https://a.example"}), ed, jose.EdDSA, "k1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			k, err := jose.ParsePrivateKey([]byte(row.text))
			if err != nil {
				t.Fatal(err)
			}
			if k.Algorithm != row.alg || k.ID != row.id || !row.key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(k.Key.Public()) {
				t.Errorf("got algorithm %q and id %q of the right key or another", k.Algorithm, k.ID)
			}
		})
	}
}

func TestParsePrivateKeyRefuses(t *testing.T) {
	es, ed := generated(t, jose.ES256), generated(t, jose.EdDSA)
	p384 := testkeys.P384()
	other := privateJWK(t, generated(t, jose.ES256), nil)
	var members map[string]any
	if err := json.Unmarshal([]byte(other), &members); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, text, want string }{
		{"nothing", "", "neither PEM with a private key nor a JWK"},
		{"no key", "hunter2", "neither PEM with a private key nor a JWK"},
		{"a certificate", inPEM(t, "CERTIFICATE", []byte("hunter2"), nil), "neither PEM with a private key nor a JWK"},
		{"malformed inside", inPEM(t, "PRIVATE KEY", []byte("hunter2"), nil), "malformed"},
		{"encrypted", inPEM(t, "ENCRYPTED PRIVATE KEY", []byte("hunter2"), nil), "it is encrypted"},
		{"encrypted as of old", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\naGVsbG8=\n-----END RSA PRIVATE KEY-----\n", "it is encrypted"},
		{"P-384", pkcs8(t, p384), "is not one of RS256"},
		{"P-384 in a JWK", privateJWK(t, p384, nil), "is not one of RS256"},
		{"a public JWK", josetest.JWK(es.Public()), "not a private key"},
		{"a symmetric JWK", `{"kty":"oct","k":"aHVudGVyMg"}`, "not a private key"},
		{"halves of two keys", privateJWK(t, es, map[string]any{"d": members["d"]}), "does not belong"},
		{"halves of two Ed25519 keys", privateJWK(t, ed, map[string]any{"x": josetest.Encode(strings.Repeat("x", 32))}), "parse private key"},
		{"another kind's algorithm", privateJWK(t, es, map[string]any{"alg": "EdDSA"}), "is not one of RS256"},
		{"for encryption", privateJWK(t, es, map[string]any{"use": "enc"}), "not for signatures"},
		{"for verifying", privateJWK(t, es, map[string]any{"key_ops": []string{"verify"}}), "not for signing"},
		{"a set", `{"keys":[` + other + `]}`, "a JWK Set: give one key of it"},
		{"half a JWK", other[:len(other)/2], "not JSON"},
		{"a member twice", `{"kty":"EC","kty":"EC"}`, "a member is there twice"},
		{"too long", strings.Repeat(" ", jose.MaxPrivateKey+1), "longer than"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := jose.ParsePrivateKey([]byte(row.text))
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
}

func TestMarshalKey(t *testing.T) {
	for _, algorithm := range []string{jose.RS256, jose.ES256, jose.EdDSA} {
		key := generated(t, algorithm).Public()
		text, err := jose.MarshalKey(key)
		if err != nil {
			t.Fatal(err)
		}
		var got, want map[string]string
		if json.Unmarshal(text, &got) != nil || json.Unmarshal([]byte(josetest.JWK(key)), &want) != nil || len(got) != len(want) {
			t.Errorf("%s: got %s", algorithm, text)
		}
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%s: %s is %q, want %q", algorithm, name, got[name], want[name])
			}
		}
	}
	if _, err := jose.MarshalKey(ed25519.PublicKey("short")); err == nil {
		t.Error("a key of 5 bytes is marshalled")
	}
}

func FuzzParsePrivateKey(f *testing.F) {
	es := generated(f, jose.ES256)
	f.Add([]byte(pkcs8(f, es)))
	f.Add([]byte(privateJWK(f, es, nil)))
	f.Add([]byte(privateJWK(f, generated(f, jose.EdDSA), nil)))
	f.Add([]byte(`{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQ","p":"AQ","q":"AQ"}`))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := jose.ParsePrivateKey(data)
		if err != nil {
			if len(data) > 8 && bytes.Contains([]byte(err.Error()), data) {
				t.Errorf("the error shows the key: %v", err)
			}
			return
		}
		if _, err := jose.Sign(k.Key, k.Algorithm, []byte("{}"), []byte("{}")); err != nil {
			t.Error(err)
		}
	})
}

// What MarshalPrivateKey writes is read as it was: key, kid and algorithm.
func TestMarshalPrivateKey(t *testing.T) {
	for _, algorithm := range []string{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA} {
		signer, err := jose.Generate(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		k := jose.PrivateKey{ID: "it", Algorithm: algorithm, Key: signer}
		text, err := jose.MarshalPrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := jose.ParsePrivateKey(text); err != nil || again.ID != k.ID || again.Algorithm != algorithm || !signer.(interface{ Equal(crypto.PrivateKey) bool }).Equal(again.Key) {
			t.Errorf("%s: read as %v %v, %v", algorithm, again.ID, again.Algorithm, err)
		}
	}
	if _, err := jose.MarshalPrivateKey(jose.PrivateKey{}); err == nil {
		t.Error("no key is written")
	}
}
