// Package josetest makes tokens for tests, right ones and wrong ones: whatever
// header and payload it is given, it signs. It uses the standard library only,
// so that what it makes is a second opinion on package jose.
package josetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
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
