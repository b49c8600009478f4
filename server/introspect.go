package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/internal/accesstoken"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
)

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
	// Addresses are the networks that the client is limited to. The member is not
	// registered with IANA; guards read it.
	Addresses []netip.Prefix `json:"client_addresses,omitempty"`
}

// inactive is the answer about every token that is not active, whatever the
// reason.
var inactive = []byte(`{"active":false}`)

// serveIntrospect is the introspection endpoint (RFC 7662 section 2).
func (rl *realm) serveIntrospect(w http.ResponseWriter, r *http.Request) {
	ctx := context.WithoutCancel(r.Context())
	a := rl.begin(r, introspectPath)
	// 1. Parse, and authenticate the caller.
	by, token, refusal := rl.aboutToken(ctx, a, r, true)
	if refusal != nil {
		rl.refuse(ctx, w, a, refusal)
		return
	}
	// 2. Read the token: the client's own, or any when the client is a resource
	// server.
	answer := inactive
	t, err := rl.tokens.Read(ctx, token)
	if err != nil {
		rl.refuse(ctx, w, a, clientauth.StoreFailed("read signing keys", err))
		return
	}
	if t != nil && t.ValidAt(a.event.Time) && (by.Client.ResourceServer || by.Client.ID == t.ClientID) {
		ended, err := rl.tokens.Ended(ctx, t.Principal())
		if err != nil {
			rl.refuse(ctx, w, a, clientauth.StoreFailed("read token status", err))
			return
		}
		if ended == "" {
			c, err := rl.store.Client(ctx, rl.Name, t.ClientID)
			if err != nil {
				rl.refuse(ctx, w, a, clientauth.StoreFailed("read client", err))
				return
			}
			answer = activeAnswer(&rl.Realm, t, c.Addresses)
		}
	}
	// 3. Answer.
	rl.granted(ctx, a, counterfoil.EventTokenIntrospected)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write(answer)
}

// activeAnswer returns the answer about an active token of a realm.
func activeAnswer(r *Realm, t *accesstoken.Token, addresses []netip.Prefix) []byte {
	i := introspection{
		Active: true, Issuer: r.Issuer, Subject: t.ClientID, ClientID: t.ClientID, Scope: t.Scopes.String(),
		Expires: t.Expires.Unix(), TokenID: t.TokenID, Audience: t.Audience, TokenType: r.Provider.TokenEndpoint.Response.TokenType,
		Confirmation: t.Confirmation, Tenants: t.Tenants, Addresses: addresses,
	}
	if !t.Issued.IsZero() {
		i.Issued = t.Issued.Unix()
	}
	if !t.NotBefore.IsZero() {
		i.NotBefore = t.NotBefore.Unix()
	}
	if bound, ok := t.Confirmation.(map[string]any); ok && bound["jkt"] != nil {
		i.TokenType = "DPoP" // RFC 9449 section 6.2
	}
	text, err := json.Marshal(i)
	if err != nil {
		return inactive // unreachable: all values come from JSON
	}
	return text
}
