// Package josetest makes valid and invalid tokens for tests: it signs any header
// and payload. It uses only the standard library, so that it is independent of
// package jose.
package josetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
)

// Encode returns data in base64url without padding.
func Encode(data string) string { return base64.RawURLEncoding.EncodeToString([]byte(data)) }

// Token returns the compact JWS of header and payload, signed with key in the
// manner of the key's type: RS256, ES256 or EdDSA.
func Token(key crypto.Signer, header, payload string) string {
	input := Encode(header) + "." + Encode(payload)
	return input + "." + Encode(string(Signature(key, input)))
}

// PS256 returns the compact JWS of header and payload, signed with PS256.
func PS256(key *rsa.PrivateKey, header, payload string) string {
	input := Encode(header) + "." + Encode(payload)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: sha256.Size})
	if err != nil {
		panic(err) // a test's own key
	}
	return input + "." + Encode(string(signature))
}

// JWK returns the public JWK of an RSA, P-256 or Ed25519 key, with the members
// that its thumbprint has, in the same order (RFC 7638 section 3.2).
func JWK(key crypto.PublicKey) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, Encode(string(big.NewInt(int64(k.E)).Bytes())), Encode(string(k.N.Bytes())))
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, x, y
		if err != nil {
			panic(err) // a test's own key
		}
		return fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, Encode(string(point[1:33])), Encode(string(point[33:65])))
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, Encode(string(k)))
	}
	panic(fmt.Sprintf("no JWK for a %T", key))
}

// Thumbprint returns the SHA-256 thumbprint of a key that JWK takes.
func Thumbprint(key crypto.PublicKey) string {
	sum := sha256.Sum256([]byte(JWK(key)))
	return Encode(string(sum[:]))
}

// MAC returns the compact JWS of header and payload, signed with HS256.
func MAC(secret []byte, header, payload string) string {
	input := Encode(header) + "." + Encode(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + Encode(string(mac.Sum(nil)))
}

// Signature signs input, which may be any text.
func Signature(key crypto.Signer, input string) []byte {
	digest, hash := []byte(input), crypto.Hash(0)
	switch key.(type) {
	case *rsa.PrivateKey, *ecdsa.PrivateKey:
		sum := sha256.Sum256(digest)
		digest, hash = sum[:], crypto.SHA256
	}
	signature, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		panic(err) // a test's own key
	}
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		var point struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(signature, &point); err != nil {
			panic(err)
		}
		signature = make([]byte, 64)
		point.R.FillBytes(signature[:32])
		point.S.FillBytes(signature[32:])
	}
	return signature
}
