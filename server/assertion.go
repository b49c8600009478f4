package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
	"github.com/counterfoil/counterfoil/server/store"
)

// The values of client_assertion_type: that of RFC 7523 section 2.2, and the one
// that clients with a JWT-SVID may send instead
// (draft-ietf-oauth-spiffe-client-auth).
const (
	jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	jwtSPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
)

const (
	// assertionLeeway is the tolerance for an assertion's times.
	assertionLeeway = 30 * time.Second
	// maxAssertionLife bounds how far ahead the exp of a client's own assertion
	// may be: its jti has to be remembered for that long. An hour is the default
	// of Authlib; most others use minutes.
	maxAssertionLife = time.Hour
	// maxAssertionID bounds a jti, in bytes.
	maxAssertionID = 256
	// maxTriedKeys bounds the keys that are tried on an assertion without kid.
	maxTriedKeys = 4
)

// assertionAlgorithms returns the algorithms that an assertion may be signed
// with.
func assertionAlgorithms() []string {
	return []string{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}
}

// assertion is a JWT that a client authenticates with; nothing in it is
// trusted until its signature is verified.
type assertion struct {
	token *jose.Token
	// issuer is the one that the realm federates with; nil for an assertion of
	// the client's own.
	issuer *federatedIssuer
	// path is the path of the endpoint that it was sent to.
	path string
}

// readAssertion reads the client_assertion into c, far enough to know whose
// key must verify it.
func (rl *realm) readAssertion(r *http.Request, body form, c *credentials) *requestRefusal {
	c.method = provider.PrivateKeyJWT
	kind := body.get("client_assertion_type")
	if kind != jwtBearer && kind != jwtSPIFFE || !rl.accepts(c.method) {
		return refused(counterfoil.MethodNotAccepted, "client_assertion")
	}
	token, err := jose.Parse(body.get("client_assertion"), assertionAlgorithms()...)
	if err != nil {
		return badAssertion(err)
	}
	claims, err := token.UnverifiedClaims()
	if err != nil {
		return badAssertion(err)
	}
	c.assertion = &assertion{token: token, issuer: rl.federatedBy(claims), path: r.URL.Path}
	if !assertionType(token.Type, c.assertion.issuer != nil) {
		return refused(counterfoil.AssertionMalformed, "its typ belongs to another kind of JWT")
	}
	if f := c.assertion.issuer; kind == jwtSPIFFE && (f == nil || !strings.HasPrefix(f.Issuer, spiffe)) {
		return refused(counterfoil.AssertionIssuer, "its issuer is not a SPIFFE trust domain that the realm federates with")
	}
	if c.id == "" && c.assertion.issuer != nil {
		return refused(counterfoil.CredentialsMissing, "client_id is missing: it is required with the token of another issuer")
	}
	if c.id == "" {
		c.id, _ = claims["sub"].(string)
	}
	if c.id == "" {
		return refused(counterfoil.AssertionIssuer, "neither client_id nor sub")
	}
	return nil
}

// assertionType reports whether typ is that of an assertion: JWT, the one that
// is registered for it (draft-ietf-oauth-rfc7523bis section 2.2), or none, as
// before that was registered. Any other means that the JWT was made for
// another purpose (RFC 8725 section 3.11). A JWT-SVID may also say JOSE
// (JWT-SVID section 2.3).
func assertionType(typ string, federated bool) bool {
	const prefix = "application/" // RFC 7515 section 4.1.9
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return typ == "" || strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "client-authentication+jwt") ||
		federated && strings.EqualFold(typ, "JOSE")
}

// badAssertion returns the refusal for an error of package jose; it repeats
// nothing of the assertion.
func badAssertion(err error) *requestRefusal {
	reason := counterfoil.AssertionMalformed
	switch {
	case errors.Is(err, jose.ErrAlgorithm):
		reason = counterfoil.AssertionAlgorithm
	case errors.Is(err, jose.ErrSignature):
		reason = counterfoil.AssertionSignature
	}
	return refused(reason, err.Error())
}

// proveAssertion verifies the assertion of a client, and returns its replay
// key if it is single-use.
func (rl *realm) proveAssertion(
	ctx context.Context, a *attempt, c *credentials, client *store.Client,
) ([]store.ReplayKey, *requestRefusal) {
	if c.assertion.issuer != nil {
		return nil, rl.proveFederated(ctx, a, c.assertion, client)
	}
	auth := &client.Authentication
	if auth.KeySet == "" && auth.KeySetURL == "" {
		return nil, refused(counterfoil.MethodNotAccepted, "the client has no keys for an assertion")
	}
	keys, refusal := rl.clientKeys(ctx, auth, c.assertion.token.KeyID)
	if refusal != nil {
		return nil, refusal
	}
	claims, refusal := verifyAssertion(c.assertion.token, keys)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := rl.checkOwn(claims, client.ID, a.event.Time); refusal != nil {
		return nil, refusal
	}
	expires, _ := jose.NumericDate(claims["exp"])
	id, _ := claims["jti"].(string)
	return []store.ReplayKey{{
		Hash:  sha256.Sum256([]byte(strings.Join([]string{"assertion", rl.Name, client.ID, id}, "\x00"))),
		Until: expires.Add(assertionLeeway + time.Second),
	}}, nil
}

// clientKeys returns the keys of a client with that kid, all when it is "".
func (rl *realm) clientKeys(ctx context.Context, auth *store.Authentication, kid string) ([]jose.PublicKey, *requestRefusal) {
	if auth.KeySet == "" {
		return rl.fetchedKeys(ctx, auth.KeySetURL, kid)
	}
	keys, _, err := jose.ParseSet([]byte(auth.KeySet))
	if err != nil {
		return nil, refused(counterfoil.AssertionKey, "the client's key set: "+err.Error())
	}
	return named(keys, kid), nil
}

// fetchedKeys returns the keys of that kid from a URL. When the URL cannot be
// fetched and no older set is known, the assertion can be neither accepted nor
// rejected.
func (rl *realm) fetchedKeys(ctx context.Context, url, kid string) ([]jose.PublicKey, *requestRefusal) {
	keys, err := rl.keySets.Keys(ctx, url, kid)
	var none *outbound.NoSetError
	is := errors.As(err, &none)
	rl.away.note(url, rl.Clock.Now(), is)
	switch {
	case is:
		return nil, refused(counterfoil.Unavailable, err.Error())
	case err != nil:
		return nil, refused(counterfoil.AssertionKey, err.Error())
	}
	return keys, nil
}

// named returns the keys of that ID, all when it is "".
func named(keys []jose.PublicKey, id string) []jose.PublicKey {
	if id == "" {
		return keys
	}
	return slices.DeleteFunc(slices.Clone(keys), func(k jose.PublicKey) bool { return k.ID != id })
}

// verifyAssertion returns the claims when one of the keys made the signature.
func verifyAssertion(token *jose.Token, keys []jose.PublicKey) (map[string]any, *requestRefusal) {
	if len(keys) == 0 {
		return nil, refused(counterfoil.AssertionKey, "no such key")
	}
	refusal, tried := refused(counterfoil.AssertionKey, "no key for its algorithm"), 0
	for _, key := range keys {
		if !key.Suits(token.Algorithm()) {
			continue
		}
		if tried++; tried > maxTriedKeys {
			return nil, refused(counterfoil.AssertionKey, "too many keys match: it needs a kid")
		}
		payload, err := token.Verify(key.Key)
		if err != nil {
			refusal = badAssertion(err)
			continue
		}
		claims, err := jose.Object(payload)
		if err != nil {
			return nil, refused(counterfoil.AssertionMalformed, "claims: "+err.Error())
		}
		return claims, nil
	}
	return nil, refusal
}

// checkOwn checks the verified claims of a client's own assertion (RFC 7523
// section 3).
func (rl *realm) checkOwn(claims map[string]any, clientID string, now time.Time) *requestRefusal {
	if claims["iss"] != any(clientID) || claims["sub"] != any(clientID) {
		return refused(counterfoil.AssertionIssuer, "iss and sub are not both the client_id")
	}
	if !rl.meant(claims["aud"]) {
		return refused(counterfoil.AssertionAudience, "")
	}
	expires, refusal := checkTimes(claims, now)
	if refusal != nil {
		return refusal
	}
	if expires.After(now.Add(maxAssertionLife + assertionLeeway)) {
		return refused(counterfoil.AssertionLifetime, "it expires more than "+maxAssertionLife.String()+" from now")
	}
	if id, _ := claims["jti"].(string); !event.Visible(id, maxAssertionID) {
		return refused(counterfoil.AssertionClaims, "its jti is not 1 to 256 bytes of visible characters")
	}
	return nil
}

// meant reports whether a client's own assertion is for this server only:
// whether its only audience is the issuer (draft-ietf-oauth-rfc7523bis section
// 4) or, where the realm accepts it, the token endpoint's URL. Clients that
// name both mean one server.
func (rl *realm) meant(aud any) bool {
	own := []string{rl.Issuer}
	if rl.endpoint.AssertionAudience == provider.TokenURLAudience {
		own = append(own, rl.urls(rl.endpoint.Path)...)
	}
	list, several := aud.([]any)
	if !several {
		list = []any{aud}
	}
	return len(list) > 0 && !slices.ContainsFunc(list, func(one any) bool {
		text, ok := one.(string)
		return !ok || !slices.Contains(own, text)
	})
}

// meantByOthers reports whether a token of a federated issuer without an audience
// of its own is for this realm: whether its aud names the issuer, the token
// endpoint, the realm's address or the endpoint that it was sent to (RFC 7523
// section 3 rule 3).
func (rl *realm) meantByOthers(aud any, path string) bool {
	own := slices.Concat([]string{rl.Issuer}, rl.urls(""), rl.urls(rl.endpoint.Path), rl.urls(path))
	return slices.ContainsFunc(own, func(one string) bool { return hasAudience(aud, one) })
}

// urls are those of a path of the realm, BaseURL's first.
func (rl *realm) urls(path string) []string {
	all := []string{rl.BaseURL + path}
	for _, base := range rl.OtherURLs {
		all = append(all, base+path)
	}
	return all
}

// hasAudience reports whether aud is want or an array that contains it.
func hasAudience(aud any, want string) bool {
	list, ok := aud.([]any)
	if !ok {
		return aud == any(want)
	}
	return slices.Contains(list, any(want))
}

// checkTimes checks that now is within an assertion's times, and returns when
// it expires.
func checkTimes(claims map[string]any, now time.Time) (time.Time, *requestRefusal) {
	expires, ok := jose.NumericDate(claims["exp"])
	if !ok {
		return time.Time{}, refused(counterfoil.AssertionClaims, "its exp is not a number of seconds")
	}
	for _, name := range []string{"iat", "nbf"} {
		at, ok := jose.NumericDate(claims[name])
		if _, there := claims[name]; there && !ok {
			return time.Time{}, refused(counterfoil.AssertionClaims, "its "+name+" is not a number of seconds")
		}
		if at.After(now.Add(assertionLeeway)) {
			return time.Time{}, refused(counterfoil.AssertionClaims, "its "+name+" is in the future")
		}
	}
	if !now.Before(expires.Add(assertionLeeway)) {
		return time.Time{}, refused(counterfoil.AssertionExpired, "")
	}
	return expires, nil
}
