package server

import (
	"cmp"
	"context"
	"net/http"
	"strconv"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/gcra"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/accesstoken"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/internal/form"
	"github.com/counterfoil/counterfoil/server/signing"
)

// realm is a Realm with everything that can be computed before the first
// request.
type realm struct {
	Realm
	*recorder
	memory   *clientauth.Memory
	feeds    *feeds
	endpoint *provider.TokenEndpoint
	keys     *signing.Ring
	auth     *clientauth.Authenticator
	tokens   *accesstoken.Reader
	binder   binder
	mint     *mint
	status   *statusLists // nil where the tokens are in none
	answer   template
	headers  []header
	// documents are the realm's public JSON files, by path.
	documents map[string][]byte
}

// header is a header in the form of http.Header; its value is shared and never
// changed.
type header struct {
	name  string
	value []string
}

// newRealm prepares a realm; before is the one that it replaces, or nil.
func newRealm(s *shared, r Realm, before *realm) (*realm, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	rl := &realm{Realm: r, memory: s.memory, feeds: s.feeds, endpoint: &r.Provider.TokenEndpoint, recorder: &recorder{
		realm: r.Name, store: s.Store, clock: s.Clock, logger: s.Logger, onEvent: s.OnEvent, record: s.folder.Record, count: s.folder.Count,
		peers: s.peers, watch: s.watch, trouble: &s.storeTrouble,
	}}
	if s.EachRefusal {
		rl.record = func(ctx context.Context, e counterfoil.Event, _ bool) error { return s.Store.RecordEvents(ctx, e) }
	}
	token := &r.Provider.AccessToken
	config := signing.Config{
		Realm: r.Signing(), Store: s.Store, Clock: s.Clock, Logger: s.Logger, Sealer: s.sealer, RSA: s.rsa,
		Protected: func(kid, algorithm string) []byte { return protected(token, kid, algorithm) },
	}
	if before == nil {
		rl.keys = signing.New(config, nil)
	} else {
		rl.keys = signing.New(config, before.keys)
	}
	rl.tokens = &accesstoken.Reader{Realm: r.Name, Issuer: r.Issuer, Provider: r.Provider, Keys: rl.keys, Store: s.Store}
	rl.binder = binder{realm: r.Name, urls: r.urls(rl.endpoint.Path), peers: s.peers}
	if token.Claim(provider.FromStatus) != "" {
		rl.status = &statusLists{
			recorder: rl.recorder, issuer: r.Issuer, url: r.BaseURL + statusPath, algorithm: token.SigningAlgorithm, keys: rl.keys,
			lists: bounded.New[int64, signedList](keptLists),
		}
	}
	rl.mint = &mint{
		recorder: rl.recorder, provider: r.Provider, keys: rl.keys, claims: claimsOf(&r), status: rl.status,
		memory: s.memory, reuse: s.reuse,
	}
	rl.answer = answerOf(rl.endpoint)
	for name, value := range rl.endpoint.Response.Headers {
		rl.headers = append(rl.headers, header{http.CanonicalHeaderKey(name), []string{value}})
	}
	var err error
	if r.DPoPNonce {
		if rl.binder.nonces, err = dpop.NewNonces(s.nonceKey, s.Clock, 0); err != nil {
			return nil, err
		}
	}
	federation := make([]clientauth.FederatedIssuer, len(r.Federation))
	for i, f := range r.Federation {
		federation[i] = clientauth.FederatedIssuer(f)
	}
	rl.auth, err = clientauth.New(clientauth.Config{
		Realm: r.Name, Issuer: r.Issuer, Endpoint: rl.endpoint, URLs: r.urls, Federation: federation,
		Authorities: r.CertificateAuthorities, Memory: s.memory, KeySets: s.keySets, Tokens: rl.tokens, Limits: s.limits, Peers: s.peers,
		Clock: s.Clock, Logger: s.Logger, OnUse: s.uses.note,
		OnWrong: func(by *clientauth.Request, w clientauth.Wrong) { s.ended.note(r.Name, by, w) },
	})
	if err != nil {
		return nil, err
	}
	rl.documents, err = documentsOf(&r)
	return rl, err
}

// authenticate returns the client of a request, and notes for the record who
// the request claims to be from.
func (rl *realm) authenticate(
	ctx context.Context, a *attempt, r clientauth.Request, f form.Form,
) (clientauth.Caller, *clientauth.Refusal) {
	r.Time, r.Address, r.Origin = a.event.Time, a.event.Address, rl.peers.Origin(r.Request)
	by, refusal := rl.auth.Authenticate(ctx, r, f)
	claim := by.Claim
	a.proven = true
	if refusal != nil {
		claim, a.proven = refusal.Claim, refusal.Proven
	}
	a.event.ClientID, a.event.TokenID, a.event.Method, a.event.Credential = claim.ClientID, claim.TokenID, claim.Method, claim.Credential
	return by, refusal
}

// requester authenticates the caller of one of the realm's own endpoints: by
// the credentials that the token endpoint accepts or, where that is allowed,
// by an access token of a resource server. A token that is granted to a client
// from memory is checked when it is recorded; here nothing is, except for
// credentials that are single-use, so the client must come from the store.
func (rl *realm) requester(
	ctx context.Context, a *attempt, r *http.Request, f form.Form, bearer bool,
) (clientauth.Caller, *clientauth.Refusal) {
	return retried(func() (clientauth.Caller, *clientauth.Refusal) {
		by, refusal := rl.authenticate(ctx, a, clientauth.Request{Request: r, Fresh: true, Bearer: bearer}, f)
		if refusal == nil && len(by.Once) > 0 {
			e := a.event
			e.Type, e.Success = counterfoil.EventClientAuthenticated, true
			_, refusal = rl.used(ctx, a, e, by.Client, by.Client.Revision, by.Once)
		}
		return by, refusal
	})
}

// aboutToken reads a request about a token, authenticates its caller, and
// returns the token as it was sent.
func (rl *realm) aboutToken(
	ctx context.Context, a *attempt, r *http.Request, bearer bool,
) (clientauth.Caller, string, *clientauth.Refusal) {
	body, refusal := parseAbout(rl.endpoint, r, "token")
	a.event.Time = rl.clock.Now() // the body may arrive slowly
	if refusal != nil {
		return clientauth.Caller{}, "", refusal
	}
	by, refusal := rl.requester(ctx, a, r, body, bearer)
	token := body.Get("token")
	if refusal == nil && token == "" {
		refusal = clientauth.Refused(counterfoil.ReasonInvalidRequest, "token is missing")
	}
	return by, token, refusal
}

// refuse records a refusal and then answers it in the shape that the
// description has for its reason. At the realm's own endpoints, refused bearer
// tokens have the shape of RFC 6750 section 3.
func (rl *realm) refuse(ctx context.Context, w http.ResponseWriter, a *attempt, refusal *clientauth.Refusal) {
	refusal = rl.refused(ctx, a, refusal)
	rl.setHeaders(w.Header())
	shape := rl.endpoint.Refusal(cmp.Or(refusal.Answer, refusal.Reason))
	if a.path != "" {
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case refusal.Reason == counterfoil.ReasonScopeInsufficient:
			shape = bearerRefusal(http.StatusForbidden, "insufficient_scope")
		case refusal.Reason == counterfoil.ReasonTokenInvalid, refusal.Reason.Parent() == counterfoil.ReasonTokenInvalid:
			shape = bearerRefusal(http.StatusUnauthorized, "invalid_token")
		}
	}
	shape = shape.Fill(provider.RefusalParams{Header: refusal.Header})
	if refusal.RetryAfter > 0 {
		a.rate.set(w.Header())
		shape.Headers["Retry-After"] = strconv.FormatInt(gcra.Seconds(refusal.RetryAfter), 10)
	}
	shape.Write(w)
}

func bearerRefusal(status int, code string) provider.Refusal {
	return provider.Refusal{
		Status: status, Body: `{"error":"` + code + `"}`,
		Headers: map[string]string{"WWW-Authenticate": `Bearer error="` + code + `"`, "Content-Type": "application/json"},
	}
}

// setHeaders sets the headers of every answer of the token endpoint.
func (rl *realm) setHeaders(h http.Header) {
	for _, set := range rl.headers {
		h[set.name] = set.value
	}
	if rl.binder.nonces != nil {
		h[nonceHeader] = []string{rl.binder.nonces.Issue()} // RFC 9449 section 8.2
	}
}
