package client

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
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
)

// assertion makes that of one token request (RFC 7523 section 3) at now, by the
// provider's clock. Its times are set back a little: the clock is known only
// to the second, and a verifier without leeway accepts no time in the future.
func assertion(clientID string, k Key, audience string, now time.Time) (counterfoil.Secret, error) {
	now = now.Add(-minSkew)
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
	}{clientID, clientID, audience, rand.Text(), now.Unix(), now.Unix(), now.Add(assertionLife + minSkew).Unix()})
	if err != nil {
		return "", err
	}
	assertion, err := jose.Sign(k.Signer, k.Algorithm, header, claims)
	return counterfoil.Secret(assertion), err
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
