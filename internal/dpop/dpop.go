// Package dpop makes and checks proofs of possession (RFC 9449). A proof is a JWT
// in a request's DPoP header that is signed with the key that it contains, for
// this request and for now. A client makes them with a Maker. A server checks one
// before it binds a token to the key, a guard before it accepts the token. Verify
// checks one proof, Nonces makes and
// checks the server's nonces, Seen remembers proofs so that none is accepted twice.
//
// A proof says only that the sender holds the key. A request has exactly one
// (section 4.3, first check): a caller must refuse a request that repeats the
// header. Functions are safe for concurrent use and accept untrusted input. The
// package is internal and makes no compatibility promise.
package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/jose"
)

// The default bounds of a proof's time. A proof is made for one request, so a
// minute covers a slow network and a client whose clock is behind. It is also how
// long a stolen proof is valid if no nonce is required, and how long Seen has to
// remember it. A clock that NTP keeps is never ahead by more than 5 seconds.
const (
	DefaultMaxAge = time.Minute
	DefaultSkew   = 5 * time.Second
)

// proofType is the typ of a proof.
const proofType = "dpop+jwt"

// maxID bounds a jti, in bytes.
const maxID = 128

// What is wrong with a proof, for errors.Is.
var (
	// ErrInvalid means that the proof is not one for this request: the error
	// invalid_dpop_proof (RFC 9449 section 5).
	ErrInvalid = errors.New("invalid DPoP proof")
	// ErrUseNonce means that the proof is valid except for its nonce, which is
	// missing or no longer valid: the error use_dpop_nonce (RFC 9449 section 8),
	// with which a new nonce is sent.
	ErrUseNonce = errors.New("the DPoP proof needs a fresh nonce of this server")
)

// Algorithms returns those that a proof may be signed with, for
// dpop_signing_alg_values_supported (RFC 9449 section 5.1).
func Algorithms() []string { return []string{jose.ES256, jose.RS256, jose.PS256, jose.EdDSA} }

// Want is what a proof must match.
type Want struct {
	// Method is the request's method, with its case.
	Method string
	// URL is the request's absolute URL as its sender sees it; its query and
	// fragment do not matter. OtherURLs are further URLs that it may have been sent
	// to.
	URL       string
	OtherURLs []string
	// Now is the time.
	Now time.Time
	// MaxAge is how old a proof may be; DefaultMaxAge if 0. It applies to proofs
	// with a nonce, too: Seen relies on it.
	MaxAge time.Duration
	// Skew is how far in the future it may have been made; DefaultSkew if 0.
	Skew time.Duration
	// AccessToken is the token that the proof comes with; its hash must be in
	// the proof. Empty at the token endpoint, where requests have no token.
	AccessToken string
	// Thumbprint is that of the key which must have made the proof, a token's
	// cnf.jkt (section 6.1); empty if any key may have made it.
	Thumbprint string
	// Nonce reports whether a nonce is the server's and still valid; nil if no
	// nonce is required.
	Nonce func(string) bool
}

// Proof is a proof that was verified.
type Proof struct {
	// Thumbprint is that of the key, a token's cnf.jkt: 43 characters.
	Thumbprint string
	// ID is the jti: 1 to 128 visible characters of ASCII.
	ID string
	// IssuedAt is the iat, by the sender's clock.
	IssuedAt time.Time
	// Nonce is the nonce; empty if the proof has none.
	Nonce string
}

// Verify makes the checks of RFC 9449 section 4.3 on one proof, except the last:
// Seen checks that it was not used before. The error is ErrInvalid or ErrUseNonce
// and repeats nothing of the proof.
func Verify(proof string, w Want) (Proof, error) {
	token, err := jose.ParseProof(proof, Algorithms()...)
	if err != nil {
		return Proof{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if token.Type != proofType {
		return Proof{}, invalid("its typ is not dpop+jwt")
	}
	payload, err := token.Verify(token.JWK())
	if err != nil {
		return Proof{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	claims, err := jose.Object(payload)
	if err != nil {
		return Proof{}, fmt.Errorf("%w: claims: %w", ErrInvalid, err)
	}
	p := Proof{Thumbprint: token.Thumbprint()}
	if w.Thumbprint != "" && !same(p.Thumbprint, w.Thumbprint) {
		return Proof{}, invalid("made with another key than the token is bound to")
	}
	if err := w.request(claims); err != nil {
		return Proof{}, err
	}
	if p.IssuedAt, err = w.issued(claims["iat"]); err != nil {
		return Proof{}, err
	}
	id, _ := claims["jti"].(string)
	if !visible(id) {
		return Proof{}, invalid("its jti is not 1 to %d visible characters of ASCII", maxID)
	}
	p.ID = id
	nonce, there := claims["nonce"]
	if p.Nonce, _ = nonce.(string); there && p.Nonce == "" {
		return Proof{}, invalid("its nonce is not a non-empty string")
	}
	if w.Nonce != nil && (!there || !w.Nonce(p.Nonce)) {
		return Proof{}, ErrUseNonce
	}
	return p, nil
}

// request checks that the proof was made for the request and its token.
func (w *Want) request(claims map[string]any) error {
	if method, _ := claims["htm"].(string); method == "" || method != w.Method {
		return invalid("its htm is not the request's method")
	}
	if _, ok := normal(w.URL); !ok {
		return invalid("the request's own URL is not an absolute http or https URL")
	}
	stated, _ := claims["htu"].(string)
	stated, ok := normal(stated)
	is := func(own string) bool { own, _ = normal(own); return own == stated }
	if !ok || !is(w.URL) && !slices.ContainsFunc(w.OtherURLs, is) {
		return invalid("its htu is not the request's URL")
	}
	if w.AccessToken == "" {
		return nil
	}
	if ath, _ := claims["ath"].(string); !same(ath, tokenHash(w.AccessToken)) {
		return invalid("its ath is not the hash of the access token")
	}
	return nil
}

// tokenHash is the ath of a token.
func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// issued reads the iat and checks that the proof was made just now.
func (w *Want) issued(iat any) (time.Time, error) {
	at, ok := jose.NumericDate(iat)
	if !ok {
		return time.Time{}, invalid("its iat is not a number of seconds")
	}
	most, skew := w.MaxAge, w.Skew
	if most == 0 {
		most = DefaultMaxAge
	}
	if skew == 0 {
		skew = DefaultSkew
	}
	switch age := w.Now.Sub(at); {
	case age > most:
		return time.Time{}, invalid("made more than %s ago: check the clock", most)
	case age < -skew:
		return time.Time{}, invalid("made more than %s in the future: check the clock", skew)
	}
	return at, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// same compares in constant time.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// visible reports whether id is 1 to maxID visible characters of ASCII.
func visible(id string) bool {
	return id != "" && len(id) <= maxID && !strings.ContainsFunc(id, func(r rune) bool { return r < 0x21 || r > 0x7e })
}
