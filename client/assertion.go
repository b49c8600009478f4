package client

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// jwtBearer is the client_assertion_type of RFC 7523 section 2.2.
const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const (
	// assertionLife is the lifetime of an assertion, which is made for one
	// request.
	assertionLife = time.Minute
	// maxAssertion bounds an assertion that another authority made, in bytes.
	maxAssertion = 64 << 10
	// wrongClock is how far off the provider's clock must have been for it to
	// explain a refusal.
	wrongClock = 5 * time.Second
)

// sign makes the assertion of one token request (RFC 7523 section 3). Its times
// are those of the provider's clock, set back a little: the clock is known only
// to the second, and a verifier without leeway accepts no time in the future.
func (s *Source) sign(k Key, audience string) (counterfoil.Secret, error) {
	now := s.providerTime().Add(-minSkew)
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		ID        string `json:"kid,omitempty"`
		Type      string `json:"typ"`
	}{k.Algorithm, k.ID, "JWT"})
	if err != nil {
		return "", err
	}
	claims, err := json.Marshal(struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
		ID       string `json:"jti"`
		IssuedAt int64  `json:"iat"`
		From     int64  `json:"nbf"`
		Expires  int64  `json:"exp"`
	}{s.cfg.ClientID, s.cfg.ClientID, audience, rand.Text(), now.Unix(), now.Unix(), now.Add(assertionLife + minSkew).Unix()})
	if err != nil {
		return "", err
	}
	assertion, err := jose.Sign(k.Signer, k.Algorithm, header, claims)
	return counterfoil.Secret(assertion), err
}

// key reads the key that signs assertions.
func (s *Source) key(ctx context.Context) (Key, *counterfoil.Error) {
	k, err := s.cfg.Key(ctx)
	if err == nil {
		k, err = k.complete()
	}
	if err != nil {
		return k, s.notHad("client's key", "Key", counterfoil.CredentialsMissing, err)
	}
	return k, nil
}

// federated reads the assertion that another authority has made. An expired one
// is not sent. It counts as expired only by both clocks, so not before the
// provider's is known.
func (s *Source) federated(ctx context.Context) (counterfoil.Secret, *counterfoil.Error) {
	v, err := s.given(ctx, s.cfg.Assertion, "assertion", "Assertion", counterfoil.CredentialsMissing)
	if err != nil {
		return "", err
	}
	v = counterfoil.Secret(strings.TrimSpace(v.Reveal()))
	ends, ok := expiry(v.Reveal())
	if !ok {
		return "", &counterfoil.Error{
			Reason:  counterfoil.AssertionMalformed,
			Message: "the assertion is not a JWT: check where " + s.cfg.field("Assertion") + " reads it from",
		}
	}
	if !ends.IsZero() && s.past(ends) && !s.cfg.Clock.Now().Before(ends) {
		return "", &counterfoil.Error{Reason: counterfoil.AssertionExpired,
			Message: fmt.Sprintf(
				"the assertion expired %s ago: its issuer has not renewed it where %s reads it from",
				s.providerTime().Sub(ends).Round(time.Second), s.cfg.field("Assertion"),
			)}
	}
	return v, nil
}

// expiry reads the exp of an unverified JWT (RFC 7519 section 4.1.4): the zero
// time if it has none, or is encrypted. It is not ok if the text is not a JWT.
func expiry(jwt string) (ends time.Time, ok bool) {
	if len(jwt) > maxAssertion {
		return time.Time{}, false
	}
	parts := strings.Split(jwt, ".")
	for _, part := range parts {
		if strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return time.Time{}, false
		}
	}
	if len(parts) != 3 {
		return time.Time{}, len(parts) == 5 // RFC 7516
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, false
	}
	claims, err := jose.Object(payload)
	if err != nil {
		return time.Time{}, false
	}
	ends, _ = jose.NumericDate(claims["exp"])
	return ends, true
}
