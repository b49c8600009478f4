package jose

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
)

// MaxToken bounds a token that Parse accepts, in bytes.
const MaxToken = 8 << 10

// What is wrong with a token, for errors.Is.
var (
	// ErrMalformed means that the token is not a compact JWS, or has a header
	// member that is not supported.
	ErrMalformed = errors.New("malformed token")
	// ErrAlgorithm means that the token names an algorithm that is not accepted.
	ErrAlgorithm = errors.New("algorithm not accepted")
	// ErrSignature means that the key did not make the signature, or cannot.
	ErrSignature = errors.New("wrong signature")
)

// refused are members of a protected header that give the verifier a key, point it
// to one, change what is signed or require extensions (RFC 7515 sections 4.1.2,
// 4.1.3, 4.1.5, 4.1.6 and 4.1.11, RFC 7797, RFC 7516). Only ParseProof accepts the
// first.
var refused = []string{"jwk", "jku", "x5u", "x5c", "crit", "b64", "enc", "zip"}

// Token is a well-formed token whose signature has not been verified: nothing in
// it may be trusted.
type Token struct {
	// KeyID is the header's kid; empty if it has none.
	KeyID string
	// Type is the header's typ; empty if it has none.
	Type string

	algorithm  string
	jwk        crypto.PublicKey
	thumbprint string
	jws        *jose.JSONWebSignature
	// text is the whole token.
	text string
}

// Parse reads a compact JWS (RFC 7515 section 7.1) that names one of the given
// algorithms, which must be among those of this package. It refuses everything else
// before it reads the payload, including "none", HS256 and encrypted tokens,
// whatever the list says. The error is ErrMalformed or ErrAlgorithm and repeats
// nothing of the token.
func Parse(token string, algorithms ...string) (*Token, error) {
	t, _, err := parse(token, algorithms, refused)
	return t, err
}

// ParseProof is Parse for a token that contains its key (RFC 9449 section 4.2): the
// header must have the member jwk, one public key that suits the token's algorithm,
// RSA of up to 4,096 bits, because anyone may send one. Everything else that Parse
// refuses in a header stays refused. A valid signature by that key says only that
// the sender holds it; the caller must check whose key it is, and the typ.
func ParseProof(token string, algorithms ...string) (*Token, error) {
	t, header, err := parse(token, algorithms, refused[1:])
	if err != nil {
		return nil, err
	}
	members, ok := header["jwk"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: the header has no jwk", ErrMalformed)
	}
	key, err := fromMembers(members)
	if err != nil {
		return nil, fmt.Errorf("%w: the header's jwk is not a public key of use here", ErrMalformed)
	}
	if key.Algorithm != "" && key.Algorithm != t.algorithm || suits(t.algorithm, key.Key) != nil {
		return nil, fmt.Errorf("%w: the header's jwk is not for its algorithm", ErrMalformed)
	}
	t.jwk = key.Key
	if t.thumbprint, err = Thumbprint(key.Key); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return t, nil
}

// parse reads a token whose header has no member of forbidden.
func parse(token string, algorithms, forbidden []string) (*Token, map[string]any, error) {
	if len(token) > MaxToken {
		return nil, nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxToken)
	}
	header, err := protected(token)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	named, _ := header["alg"].(string)
	algorithm := nameOf(named)
	if !known(algorithm) || !slices.Contains(algorithms, algorithm) {
		return nil, nil, fmt.Errorf("%w: only %s is", ErrAlgorithm, strings.Join(algorithms, " or "))
	}
	t := &Token{algorithm: algorithm, text: token}
	for name, field := range map[string]*string{"kid": &t.KeyID, "typ": &t.Type} {
		value, there := header[name]
		if text, ok := value.(string); ok {
			*field = text
		} else if there {
			return nil, nil, fmt.Errorf("%w: the header's %s is not a string", ErrMalformed, name)
		}
	}
	for _, name := range forbidden {
		if _, there := header[name]; there {
			return nil, nil, fmt.Errorf("%w: the header has %s", ErrMalformed, name)
		}
	}
	t.jws, err = jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(named)})
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the header is not that of a JWS", ErrMalformed)
	}
	return t, header, nil
}

// Algorithm returns the header's alg by its name here, one of those that Parse was
// given.
func (t *Token) Algorithm() string { return t.algorithm }

// JWK returns the key in the header of a token that ParseProof read; nil for
// any other.
func (t *Token) JWK() crypto.PublicKey { return t.jwk }

// Thumbprint returns the SHA-256 thumbprint (RFC 7638) of the key that JWK
// returns: 43 characters, none without a key.
func (t *Token) Thumbprint() string { return t.thumbprint }

// UnverifiedClaims returns the payload as a JSON object before the signature is
// verified: anyone may have written it. Use it only to find the key that verifies
// an assertion; decisions must use the claims that Verify returns. The error is
// ErrMalformed.
func (t *Token) UnverifiedClaims() (map[string]any, error) {
	claims, err := Object(t.jws.UnsafePayloadWithoutVerification())
	if err != nil {
		return nil, fmt.Errorf("%w: claims: %w", ErrMalformed, err)
	}
	return claims, nil
}

// protected returns the header of a token of three parts, each of them strict
// base64url without padding (RFC 7515 section 2): one token has one spelling.
func protected(token string) (map[string]any, error) {
	if n := strings.Count(token, "."); n != 2 {
		return nil, fmt.Errorf("%d parts where a JWS has 3", n+1)
	}
	var first []byte
	for i, part := range strings.SplitN(token, ".", 3) {
		if part == "" {
			return nil, fmt.Errorf("part %d is empty", i+1)
		}
		data, err := base64.RawURLEncoding.Strict().DecodeString(part)
		if err != nil || strings.ContainsAny(part, "\r\n") {
			return nil, fmt.Errorf("part %d is not base64url", i+1)
		}
		if i == 0 {
			first = data
		}
	}
	header, err := Object(first)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	return header, nil
}

// Verify returns the payload if key made the signature, and ErrSignature if it did
// not or does not suit the token's algorithm.
func (t *Token) Verify(key crypto.PublicKey) ([]byte, error) {
	if err := suits(t.algorithm, key); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if t.algorithm == ES256 || t.algorithm == RS256 {
		payload, err := t.jws.Verify(key)
		if err != nil {
			return nil, ErrSignature
		}
		return payload, nil
	}
	if !t.verifiedBy(key) {
		return nil, ErrSignature
	}
	return t.jws.UnsafePayloadWithoutVerification(), nil
}

// verifiedBy checks what the library does not: EdDSA under its newer name (RFC
// 9864 section 2.2), and that the salt of PS256 is as long as the hash (RFC 7518
// section 3.5); the library accepts any length.
func (t *Token) verifiedBy(key crypto.PublicKey) bool {
	end := strings.LastIndexByte(t.text, '.')
	signature, err := base64.RawURLEncoding.Strict().DecodeString(t.text[end+1:])
	if err != nil {
		return false
	}
	switch k := key.(type) {
	case ed25519.PublicKey:
		return t.algorithm == EdDSA && ed25519.Verify(k, []byte(t.text[:end]), signature)
	case *rsa.PublicKey:
		sum := sha256.Sum256([]byte(t.text[:end]))
		options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		return t.algorithm == PS256 && rsa.VerifyPSS(k, crypto.SHA256, sum[:], signature, options) == nil
	}
	return false
}

// MaxNumericDate is the end of the year 9999, in seconds.
const MaxNumericDate = 253402300799

// NumericDate reads a date of a claim (RFC 7519 section 2): a number of seconds
// from 1970 to 9999, which may have a fraction. It is not ok for anything else.
func NumericDate(claim any) (at time.Time, ok bool) {
	number, _ := claim.(json.Number)
	seconds, err := number.Float64()
	if err != nil || seconds < 0 || seconds > MaxNumericDate {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(seconds * 1e6)), true
}

// Object reads a JSON object, with numbers as json.Number. It refuses what two
// readers could understand differently: text that is not UTF-8 (RFC 7519 section
// 7.2) or half a surrogate pair (RFC 7493 section 2.1), which would all be read as
// U+FFFD, a repeated member at any depth (RFC 7519 section 4), and anything after
// the object. Its errors repeat nothing of data.
func Object(data []byte) (map[string]any, error) {
	switch {
	case !utf8.Valid(data):
		return nil, errors.New("not UTF-8")
	case !json.Valid(data):
		return nil, errors.New("not JSON")
	case halved(data):
		return nil, errors.New("half of a surrogate pair")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := value(dec)
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return object, nil
}

// halved reports whether valid JSON has an escaped surrogate without its other
// half.
func halved(data []byte) bool {
	high := false // just after an escape that is the first half
	for i := 0; i < len(data); i++ {
		unit := uint64(0)
		if data[i] == '\\' {
			if i++; data[i] == 'u' {
				unit, _ = strconv.ParseUint(string(data[i+1:i+5]), 16, 16)
				i += 4
			}
		}
		low := 0xdc00 <= unit && unit <= 0xdfff
		if high != low {
			return true
		}
		high = 0xd800 <= unit && unit <= 0xdbff
	}
	return false
}

// value reads the next value of valid JSON.
func value(dec *json.Decoder) (any, error) {
	start, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch start {
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := value(dec)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	case json.Delim('{'):
		object := map[string]any{}
		for dec.More() {
			token, err := dec.Token()
			if err != nil {
				return nil, err
			}
			name, _ := token.(string)
			if _, twice := object[name]; twice {
				return nil, errors.New("a member is there twice")
			}
			if object[name], err = value(dec); err != nil {
				return nil, err
			}
		}
		_, err = dec.Token()
		return object, err
	}
	return start, nil
}
