package clientauth

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/mediatype"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

const (
	// maxAssertionLife bounds how far ahead the exp of a client's own assertion
	// may be: its jti has to be remembered for that long. An hour is the default
	// of Authlib; most others use minutes.
	maxAssertionLife = time.Hour
	// maxAssertionID bounds a jti, in bytes.
	maxAssertionID = 256
)

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

// assertionType reports whether typ is that of an assertion: JWT, the one that
// is registered for it (draft-ietf-oauth-rfc7523bis section 2.2), or none, as
// before that was registered. Any other means that the JWT was made for
// another purpose (RFC 8725 section 3.11). A JWT-SVID may also say JOSE
// (JWT-SVID section 2.3).
func assertionType(typ string, federated bool) bool {
	typ = mediatype.OfJWT(typ)
	return typ == "" || strings.EqualFold(typ, "JWT") || strings.EqualFold(typ, "client-authentication+jwt") ||
		federated && strings.EqualFold(typ, "JOSE")
}

// assertions verifies the assertions that are sent to a realm.
type assertions struct {
	realm, issuer string
	endpoint      *provider.TokenEndpoint
	urls          func(path string) []string
	keys          *keys
}

// proveAssertion verifies the assertion of a client, and returns its replay
// key if it is single-use.
func (a *assertions) proveAssertion(
	ctx context.Context, now time.Time, shown *assertion, client *store.Client,
) ([]store.ReplayKey, *Refusal) {
	if client == dummyClient { // costs no fetch
		return nil, keyless(shown.token, Refused(counterfoil.ReasonUnknownClient, ""))
	}
	if shown.issuer != nil {
		// Without an audience of its own, the token must name the issuer, the token
		// endpoint, the realm's address or the endpoint that it was sent to (RFC
		// 7523 section 3 rule 3).
		own := slices.Concat([]string{a.issuer}, a.urls(""), a.urls(a.endpoint.Path), a.urls(shown.path))
		return nil, shown.issuer.proveFederated(ctx, now, shown.token, client, a.keys, own)
	}
	auth := &client.Authentication
	if auth.KeySet == "" && auth.KeySetURL == "" {
		return nil, keyless(shown.token, Refused(counterfoil.ReasonMethodNotAccepted, "the client has no keys for an assertion"))
	}
	set, refusal := a.keys.of(ctx, auth, shown.token.KeyID)
	if refusal != nil {
		return nil, refusal
	}
	claims, refusal := verifyAssertion(shown.token, set)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := a.checkOwn(claims, client.ID, now); refusal != nil {
		return nil, refusal
	}
	expires, _ := jose.NumericDate(claims["exp"])
	id, _ := claims["jti"].(string)
	return []store.ReplayKey{{
		Hash:  sha256.Sum256([]byte(strings.Join([]string{"assertion", a.realm, client.ID, id}, "\x00"))),
		Until: expires.Add(assertionLeeway + time.Second),
	}}, nil
}

// checkOwn checks the verified claims of a client's own assertion (RFC 7523
// section 3).
func (a *assertions) checkOwn(claims map[string]any, clientID string, now time.Time) *Refusal {
	if claims["iss"] != any(clientID) || claims["sub"] != any(clientID) {
		return Refused(counterfoil.ReasonAssertionIssuer, "iss and sub are not both the client_id")
	}
	if !a.meant(claims["aud"]) {
		return Refused(counterfoil.ReasonAssertionAudience, "")
	}
	expires, refusal := checkTimes(claims, now)
	if refusal != nil {
		return refusal
	}
	if expires.After(now.Add(maxAssertionLife + assertionLeeway)) {
		return Refused(counterfoil.ReasonAssertionLifetime, "it expires more than "+maxAssertionLife.String()+" from now")
	}
	if id, _ := claims["jti"].(string); !event.Visible(id, maxAssertionID) {
		return Refused(counterfoil.ReasonAssertionClaims, "its jti is not 1 to 256 bytes of visible characters")
	}
	return nil
}

// meant reports whether a client's own assertion is for this server only:
// whether its only audience is the issuer (draft-ietf-oauth-rfc7523bis section
// 4) or, where the realm accepts it, the token endpoint's URL. Clients that
// name both mean one server.
func (a *assertions) meant(aud any) bool {
	own := []string{a.issuer}
	if a.endpoint.AssertionAudience == provider.AssertionAudienceTokenURL {
		own = append(own, a.urls(a.endpoint.Path)...)
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
