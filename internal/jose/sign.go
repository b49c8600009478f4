package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
)

// Generate makes a key for one of the algorithms RS256 and PS256 (2,048 bits),
// ES256 (P-256) and EdDSA (Ed25519).
func Generate(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case RS256, PS256:
		return rsa.GenerateKey(rand.Reader, MinRSABits)
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("no key can be made for the algorithm %q", algorithm)
}

// Sign returns the compact serialization (RFC 7515 section 3.1) of payload with
// exactly the given protected header: the caller chooses the order of its members,
// and must name the algorithm in it. The key may be anywhere: it is called with
// *rsa.PSSOptions for PS256 and with the whole input for EdDSA, and its signature
// for ES256 is ASN.1, as for keys of the standard library.
func Sign(key crypto.Signer, algorithm string, protected, payload []byte) (string, error) {
	enc := base64.RawURLEncoding
	// The longest signature, of 2,048 bits, takes 342 characters.
	token := make([]byte, 0, enc.EncodedLen(len(protected))+enc.EncodedLen(len(payload))+2+342)
	token = enc.AppendEncode(token, protected)
	token = append(token, '.')
	token = enc.AppendEncode(token, payload)
	signature, err := signature(key, algorithm, token)
	if err != nil {
		return "", fmt.Errorf("sign with %s: %w", algorithm, err)
	}
	token = append(token, '.')
	return string(enc.AppendEncode(token, signature)), nil
}

// signature signs input in the form of RFC 7518 section 3 and RFC 8037 section
// 3.1.
func signature(key crypto.Signer, algorithm string, input []byte) ([]byte, error) {
	public := key.Public()
	if err := suits(algorithm, public); err != nil {
		return nil, err
	}
	digest := sha256.Sum256(input)
	message, opts := digest[:], crypto.SignerOpts(crypto.SHA256)
	switch algorithm {
	case EdDSA:
		message, opts = input, crypto.Hash(0)
	case PS256:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	signature, err := key.Sign(rand.Reader, message, opts)
	if err != nil {
		return nil, err
	}
	want := 64
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return fixed(signature)
	case *rsa.PublicKey:
		want = k.Size()
	}
	if len(signature) != want {
		return nil, fmt.Errorf("the key signed with %d bytes, not %d", len(signature), want)
	}
	return signature, nil
}

// fixed turns the ASN.1 form of an ECDSA signature into r and s of 32 bytes
// each (RFC 7518 section 3.4).
func fixed(der []byte) ([]byte, error) {
	var pair struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &pair)
	if err != nil {
		return nil, fmt.Errorf("the key signed in another form than ASN.1: %w", err)
	}
	for _, n := range []*big.Int{pair.R, pair.S} {
		if len(rest) != 0 || n.Sign() <= 0 || n.BitLen() > 256 {
			return nil, errors.New("the key signed with something else than two numbers of 256 bits")
		}
	}
	out := make([]byte, 64)
	pair.R.FillBytes(out[:32])
	pair.S.FillBytes(out[32:])
	return out, nil
}
