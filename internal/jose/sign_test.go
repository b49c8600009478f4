package jose_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/jose"
)

// TestSign verifies with the standard library's primitives alone, so that
// signing and verifying cannot share a mistake.
func TestSign(t *testing.T) {
	verify := map[string]func(key crypto.PublicKey, input string, sig []byte) bool{
		"RS256": func(key crypto.PublicKey, input string, sig []byte) bool {
			sum := sha256.Sum256([]byte(input))
			return rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), crypto.SHA256, sum[:], sig) == nil
		},
		"PS256": func(key crypto.PublicKey, input string, sig []byte) bool {
			sum := sha256.Sum256([]byte(input))
			return rsa.VerifyPSS(key.(*rsa.PublicKey), crypto.SHA256, sum[:], sig, &rsa.PSSOptions{SaltLength: 32}) == nil
		},
		"ES256": func(key crypto.PublicKey, input string, sig []byte) bool {
			sum := sha256.Sum256([]byte(input))
			return len(sig) == 64 && ecdsa.Verify(key.(*ecdsa.PublicKey), sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
		},
		"EdDSA": func(key crypto.PublicKey, input string, sig []byte) bool {
			return ed25519.Verify(key.(ed25519.PublicKey), []byte(input), sig)
		},
	}
	const protected, payload = `{"kid":"k","alg":"X"}`, `{"sub":"ü"}`
	for algorithm, ok := range verify {
		t.Run(algorithm, func(t *testing.T) {
			key, err := jose.Generate(algorithm)
			if err != nil {
				t.Fatal(err)
			}
			for range 20 { // r and s of ES256 sometimes start with zeros
				token, err := jose.Sign(key, algorithm, []byte(protected), []byte(payload))
				if err != nil {
					t.Fatal(err)
				}
				parts := strings.Split(token, ".")
				enc := base64.RawURLEncoding
				if len(parts) != 3 || parts[0] != enc.EncodeToString([]byte(protected)) || parts[1] != enc.EncodeToString([]byte(payload)) {
					t.Fatalf("token %s does not carry the header and payload as given", token)
				}
				sig, err := enc.DecodeString(parts[2])
				if err != nil || !ok(key.Public(), parts[0]+"."+parts[1], sig) {
					t.Fatalf("signature does not verify (%v)", err)
				}
			}
		})
	}
}

func TestSignRefuses(t *testing.T) {
	if _, err := jose.Generate("HS256"); err == nil {
		t.Error("Generate made a key for HS256")
	}
	key, err := jose.Generate("ES256")
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{"RS256", "PS256", "EdDSA", "HS256", "none", ""} {
		if _, err := jose.Sign(key, algorithm, []byte("{}"), []byte("{}")); err == nil {
			t.Errorf("Sign used a P-256 key for %q", algorithm)
		}
	}
}

// held is a key of another library: it returns what the test sets.
type held struct {
	crypto.Signer
	opts   crypto.SignerOpts
	answer func([]byte) []byte
}

func (h *held) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	h.opts = opts
	signature, err := h.Signer.Sign(random, digest, opts)
	if err == nil && h.answer != nil {
		signature = h.answer(signature)
	}
	return signature, err
}

func TestSignWithAKeyOfAnotherLibrary(t *testing.T) {
	for algorithm, key := range map[string]crypto.Signer{"RS256": rsKey(), "PS256": rsKey(), "ES256": ecKey(), "EdDSA": edKey()} {
		h := &held{Signer: key}
		token, err := jose.Sign(h, algorithm, []byte(`{"alg":"`+algorithm+`"}`), []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := must(jose.Parse(token, algorithm)).Verify(key.Public()); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		pss, ok := h.opts.(*rsa.PSSOptions)
		if ok != (algorithm == "PS256") || ok && (pss.SaltLength != rsa.PSSSaltLengthEqualsHash || pss.Hash != crypto.SHA256) {
			t.Errorf("%s was asked for with %#v", algorithm, h.opts)
		}
	}
}

// What a foreign key answers is checked before it goes into a token: a number
// too large for its field would end the process.
func TestSignRefusesABrokenAnswer(t *testing.T) {
	pair := func(r, s *big.Int) func([]byte) []byte {
		return func([]byte) []byte { return must(asn1.Marshal(struct{ R, S *big.Int }{r, s})) }
	}
	for _, tt := range []struct {
		name, algorithm string
		key             crypto.Signer
		answer          func([]byte) []byte
	}{
		{"short RSA", "RS256", rsKey(), func(b []byte) []byte { return b[1:] }},
		{"long PSS", "PS256", rsKey(), func(b []byte) []byte { return append(b, 0) }},
		{"empty Ed25519", "EdDSA", edKey(), func([]byte) []byte { return nil }},
		{"ECDSA of two numbers without ASN.1", "ES256", ecKey(), func([]byte) []byte { return make([]byte, 64) }},
		{"ECDSA and more", "ES256", ecKey(), func(b []byte) []byte { return append(b, 0) }},
		{"ECDSA with a number of 257 bits", "ES256", ecKey(), pair(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))},
		{"ECDSA with zero", "ES256", ecKey(), pair(big.NewInt(1), new(big.Int))},
		{"ECDSA with a negative number", "ES256", ecKey(), pair(big.NewInt(-1), big.NewInt(1))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if token, err := jose.Sign(&held{Signer: tt.key, answer: tt.answer}, tt.algorithm, []byte("{}"), []byte("{}")); err == nil {
				t.Errorf("signed %s", token)
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(algorithm, func(b *testing.B) {
			key, err := jose.Generate(algorithm)
			if err != nil {
				b.Fatal(err)
			}
			payload := make([]byte, 300)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jose.Sign(key, algorithm, []byte(`{"alg":"X","kid":"k"}`), payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
