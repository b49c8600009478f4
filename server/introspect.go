package server

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// ahead is how much earlier than its nbf a token is accepted: another node of
// the realm, whose clock is slightly ahead, may have just issued it.
const ahead = 30 * time.Second

// introspection is the answer about an active token (RFC 7662 section 2.2).
type introspection struct {
	Active       bool   `json:"active"`
	Issuer       string `json:"iss"`
	Subject      string `json:"sub"`
	ClientID     string `json:"client_id"`
	Scope        string `json:"scope,omitempty"`
	Expires      int64  `json:"exp"`
	Issued       int64  `json:"iat,omitempty"`
	NotBefore    int64  `json:"nbf,omitempty"`
	TokenID      string `json:"jti,omitempty"`
	Audience     any    `json:"aud,omitempty"`
	TokenType    string `json:"token_type"`
	Confirmation any    `json:"cnf,omitempty"`
	Tenants      any    `json:"tenants,omitempty"`
}

// inactive is the answer about every token that is not active, whatever the
// reason.
var inactive = []byte(`{"active":false}`)

// serveIntrospect is the introspection endpoint (RFC 7662 section 2).
func (rl *realm) serveIntrospect(w http.ResponseWriter, r *http.Request) {
	ctx := context.WithoutCancel(r.Context())
	a := &attempt{event: rl.newEvent(r)}
	// 1. Parse: one bounded read of a form.
	body, refusal := rl.aboutToken(r)
	a.event.Time = rl.Clock.Now() // it may arrive slowly
	if refusal != nil {
		rl.refuseAt(ctx, w, a, introspectPath, refusal)
		return
	}
	// 2. Authenticate the caller.
	by, refusal := rl.requester(ctx, a, r, body, true)
	if refusal == nil && body.get("token") == "" {
		refusal = refused(counterfoil.InvalidRequest, "token is missing")
	}
	if refusal != nil {
		rl.refuseAt(ctx, w, a, introspectPath, refusal)
		return
	}
	// 3. Read the token: the client's own, or any when the client is a resource
	// server.
	answer := inactive
	t, err := rl.read(ctx, body.get("token"))
	if err != nil {
		rl.refuseAt(ctx, w, a, introspectPath, storeFailed("read signing keys", err))
		return
	}
	if t != nil && t.serves(a.event.Time) && (by.client.ResourceServer || by.client.ID == t.clientID) {
		ended, err := rl.ended(ctx, t.principal())
		if err != nil {
			rl.refuseAt(ctx, w, a, introspectPath, storeFailed("read token status", err))
			return
		}
		if ended == "" {
			answer = rl.introspection(t)
		}
	}
	// 4. Answer.
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(answer)
}

// introspection returns the answer about an active token.
func (rl *realm) introspection(t *issuedToken) []byte {
	i := introspection{
		Active: true, Issuer: rl.Issuer, Subject: t.clientID, ClientID: t.clientID, Scope: t.scopes.String(),
		Expires: t.expires.Unix(), TokenID: t.tokenID, Audience: t.audience, TokenType: rl.endpoint.Response.TokenType,
		Confirmation: t.confirmation, Tenants: t.tenants,
	}
	if !t.issued.IsZero() {
		i.Issued = t.issued.Unix()
	}
	if !t.notBefore.IsZero() {
		i.NotBefore = t.notBefore.Unix()
	}
	if bound, ok := t.confirmation.(map[string]any); ok && bound["jkt"] != nil {
		i.TokenType = "DPoP" // RFC 9449 section 6.2
	}
	text, err := json.Marshal(i)
	if err != nil {
		return inactive // unreachable: all values come from JSON
	}
	return text
}

// issuedToken is a token that the realm has signed.
type issuedToken struct {
	clientID, tokenID          string
	scopes                     counterfoil.Scopes
	issued, notBefore, expires time.Time
	// The others have the values of the token; nil when it has none.
	audience, tenants, confirmation any
}

// serves reports whether now is within the token's times.
func (t *issuedToken) serves(now time.Time) bool {
	return now.Before(t.expires) && !now.Add(ahead).Before(t.notBefore)
}

// principal returns the token as Live takes it.
func (t *issuedToken) principal() *counterfoil.Principal {
	p := &counterfoil.Principal{ClientID: t.clientID, TokenID: t.tokenID, Issued: t.issued}
	if p.Issued.IsZero() {
		p.Issued = t.notBefore
	}
	return p
}

// read returns an access token that the realm has signed, or nil; it does not
// check the token's times. The error comes from the store.
func (rl *realm) read(ctx context.Context, text string) (*issuedToken, error) {
	parsed, err := jose.Parse(text, jose.RS256, jose.PS256, jose.ES256, jose.EdDSA)
	if err != nil {
		return nil, nil
	}
	// The key determines the algorithm, never the token.
	key, ok, err := rl.keys.PublicKey(ctx, parsed.KeyID)
	if err != nil {
		return nil, err
	}
	// The same key signs status lists: their typ distinguishes them.
	if !ok || key.Algorithm != parsed.Algorithm() || parsed.Type != rl.Provider.AccessToken.Type {
		return nil, nil
	}
	payload, err := parsed.Verify(key.Key)
	if err != nil {
		return nil, nil
	}
	claims, err := jose.Object(payload)
	if err != nil {
		return nil, nil
	}
	return rl.parseClaims(claims), nil
}

// parseClaims reads the claims by the realm's description; nil when the realm
// does not issue such a token.
func (rl *realm) parseClaims(claims map[string]any) *issuedToken {
	t := &issuedToken{}
	if bound, ok := claims["cnf"].(map[string]any); ok {
		t.confirmation = bound
	}
	for _, c := range rl.Provider.AccessToken.Claims {
		value, there := claims[c.Name]
		if !there {
			continue
		}
		switch c.From {
		case provider.FromIssuer:
			if value != any(rl.Issuer) {
				return nil
			}
		case provider.FromClientID:
			t.clientID, _ = value.(string)
		case provider.FromTokenID:
			t.tokenID, _ = value.(string)
		case provider.FromIssuedAt:
			t.issued = instant(value)
		case provider.FromNotBefore:
			t.notBefore = instant(value)
		case provider.FromExpiresAt:
			t.expires = instant(value)
		case provider.FromScope, provider.FromScopeList:
			t.scopes = scopesOf(value)
		case provider.FromAudience:
			t.audience = value
		case provider.FromTenants:
			t.tenants = value
		}
	}
	if t.clientID == "" || t.expires.IsZero() || (rl.revocable() && t.tokenID == "") {
		return nil
	}
	return t
}

// instant reads a NumericDate of whole seconds (RFC 7519 section 2); zero for
// anything else.
func instant(value any) time.Time {
	number, _ := value.(json.Number)
	s, err := strconv.ParseInt(number.String(), 10, 64)
	if err != nil || s <= 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

// scopesOf reads scopes that are one string or an array of them.
func scopesOf(value any) counterfoil.Scopes {
	if text, ok := value.(string); ok {
		scopes, _ := counterfoil.ParseScopes(text)
		return scopes
	}
	list, _ := value.([]any)
	var scopes counterfoil.Scopes
	for _, v := range list {
		if s, ok := v.(string); ok {
			scopes = append(scopes, s)
		}
	}
	return scopes
}
