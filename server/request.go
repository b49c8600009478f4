package server

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/mediatype"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

const formType = "application/x-www-form-urlencoded"

// tokenRequest is a well-formed token request.
type tokenRequest struct {
	body      form
	grantType string
	// resources are the values of resource, the one parameter that may be
	// repeated (RFC 8707 section 2).
	resources []string
}

// parse reads a token request strictly and within the described limits.
func (rl *realm) parse(r *http.Request) (tokenRequest, *requestRefusal) {
	if r.Method != http.MethodPost {
		return tokenRequest{}, refused(counterfoil.MethodNotAllowed, "")
	}
	if !rl.acceptable(r.Header) && !rl.untyped(r) {
		return tokenRequest{}, refused(counterfoil.UnsupportedMediaType, "")
	}
	body, refusal := rl.readForm(r, int64(rl.endpoint.Limits.Body))
	if refusal != nil {
		return tokenRequest{}, refusal
	}
	query, refusal := parseForm(r.URL.RawQuery)
	if refusal != nil {
		return tokenRequest{}, refusal
	}
	for _, p := range query {
		if rl.misplaced(p.name) {
			return tokenRequest{}, refused(counterfoil.MisplacedParameter, "a parameter in the query")
		}
	}
	req := tokenRequest{body: body, grantType: body.get("grant_type"), resources: body.all("resource")}
	if rl.endpoint.GrantTypeIn == provider.InQuery {
		// Libraries put it into the body whatever the URL says, so an equal value
		// there is accepted.
		inBody := req.grantType
		if req.grantType = query.get("grant_type"); inBody != "" && inBody != req.grantType {
			return tokenRequest{}, refused(counterfoil.MisplacedParameter, "grant_type belongs into the query")
		}
	}
	return req, nil
}

// misplaced reports whether a parameter of that name must not be in the query.
// Unknown ones are ignored (RFC 6749 section 3.2).
func (rl *realm) misplaced(name string) bool {
	switch name {
	case "client_id", "client_secret", "scope", "client_assertion", "client_assertion_type":
		return true
	case "grant_type":
		return rl.endpoint.GrantTypeIn != provider.InQuery
	}
	return false
}

// acceptable reports whether the body is declared to be an uncompressed form.
func (rl *realm) acceptable(h http.Header) bool {
	given := h["Content-Type"]
	switch {
	case h.Get("Content-Encoding") != "", len(given) > 1:
		return false
	case noType(h):
		return rl.endpoint.MediaType == provider.Optional
	}
	return mediatype.Is(given[0], formType)
}

// noType reports whether a body's media type is not given: some libraries send
// the header with an empty value.
func noType(h http.Header) bool {
	return !slices.ContainsFunc(h["Content-Type"], func(given string) bool { return strings.TrimSpace(given) != "" })
}

// untyped reports whether the body is empty and therefore needs no media type:
// some libraries set one on every request. At most the first byte of the body
// is read.
func (rl *realm) untyped(r *http.Request) bool {
	if rl.endpoint.MediaType != provider.Optional || len(r.Header["Content-Type"]) > 1 || r.Header.Get("Content-Encoding") != "" {
		return false
	}
	if r.ContentLength >= 0 {
		return r.ContentLength == 0
	}
	n, err := io.ReadFull(r.Body, make([]byte, 1))
	return n == 0 && errors.Is(err, io.EOF)
}

// readForm reads an acceptable body. The media type has no parameters (WHATWG
// URL section 5); a charset that clients add nevertheless does not matter for
// ASCII, and browsers and libraries write forms in ASCII. Anything else must
// be UTF-8 (RFC 6749 appendix B).
func (rl *realm) readForm(r *http.Request, limit int64) (form, *requestRefusal) {
	text, refusal := readBody(r, limit)
	if refusal != nil {
		return nil, refusal
	}
	if strings.ContainsFunc(text, func(c rune) bool { return c >= utf8.RuneSelf }) && !mediatype.UTF8(r.Header.Get("Content-Type")) {
		return nil, refused(counterfoil.UnsupportedMediaType, "the charset is not UTF-8")
	}
	return parseForm(text)
}

// readBody reads the body at once, up to the limit. The rest is left to
// net/http, which skips a small rest and closes the connection on a large one.
func readBody(r *http.Request, limit int64) (string, *requestRefusal) {
	tooLarge := refused(counterfoil.RequestTooLarge, "")
	if r.ContentLength > limit {
		return "", tooLarge
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return "", refused(counterfoil.MalformedRequest, "the body ends early")
	}
	if int64(len(text)) > limit {
		return "", tooLarge
	}
	return string(text), nil
}

// credentials are what a client presents to authenticate.
type credentials struct {
	method provider.Method
	id     string
	secret counterfoil.Secret
	apiKey counterfoil.Secret
	// assertion is set when the method is PrivateKeyJWT.
	assertion *assertion
	// certificate is the one of the request, where no other credentials were
	// presented; nil when it has none.
	certificate *presented
}

// credentials finds the client's credentials in the one place where they may
// be (RFC 6749 section 2.3.1, RFC 7523 section 2.2), or else in the
// certificate of the connection (RFC 8705 section 2). A certificate together
// with other credentials is ignored, and so is an Authorization header of
// another scheme than Basic: some clients send their old token with every
// request. The claimed id is returned even with a refusal.
func (rl *realm) credentials(r *http.Request, body form) (credentials, *requestRefusal) {
	c := credentials{id: body.get("client_id"), secret: counterfoil.Secret(body.get("client_secret"))}
	header, assertion := r.Header["Authorization"], body.get("client_assertion") != ""
	inBody := c.secret != "" || assertion
	if len(header) == 1 && !isBasic(header[0]) && (inBody || c.id != "" && rl.takesCertificates()) {
		header = nil
	}
	var refusal *requestRefusal
	switch {
	case len(header) > 1 || (len(header) == 1 && inBody) || (c.secret != "" && assertion):
		return c, refused(counterfoil.MultipleCredentials, "")
	case len(header) == 1:
		claimed := c.id
		if c, refusal = rl.basic(header[0]); refusal == nil && claimed != "" && claimed != c.id {
			refusal = refused(counterfoil.MultipleCredentials, "client_id in the body differs from the header")
		}
	case assertion:
		refusal = rl.readAssertion(r, body, &c)
	case c.id != "" && c.secret == "" && rl.takesCertificates():
		c.certificate, refusal = rl.presented(r)
	case c.id == "" || c.secret == "":
		refusal = refused(counterfoil.CredentialsMissing, "")
	default:
		c.method = provider.ClientSecretPost
	}
	if refusal == nil && c.method != "" && !rl.accepts(c.method) {
		refusal = refused(counterfoil.MethodNotAccepted, string(c.method))
	}
	if refusal == nil && !rl.wellFormed(c) {
		refusal = refused(counterfoil.CredentialsMalformed, "")
	}
	if rl.apiKey != "" {
		c.apiKey = counterfoil.Secret(r.Header.Get(rl.apiKey))
	}
	return c, refusal
}

func (rl *realm) accepts(m provider.Method) bool {
	for _, accepted := range rl.endpoint.ClientAuthentication {
		if accepted == m {
			return true
		}
	}
	return false
}

// isBasic reports whether an Authorization header is of the scheme Basic.
func isBasic(header string) bool {
	scheme, _, _ := strings.Cut(header, " ")
	return strings.EqualFold(scheme, "Basic")
}

// basic reads an Authorization header of the scheme Basic (RFC 7617 section 2).
func (rl *realm) basic(header string) (credentials, *requestRefusal) {
	_, text, _ := strings.Cut(header, " ")
	if !isBasic(header) {
		return credentials{}, refused(counterfoil.MethodNotAccepted, "the Authorization scheme is not Basic")
	}
	malformed := refused(counterfoil.CredentialsMalformed, "Basic credentials")
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimLeft(text, " "))
	if err != nil {
		return credentials{}, malformed
	}
	id, secret, colon := strings.Cut(string(decoded), ":")
	if rl.endpoint.BasicEncoding == provider.FormEncoding {
		var ok, ok2 bool
		id, ok = unescape(id)
		secret, ok2 = unescape(secret)
		colon = colon && ok && ok2
	}
	c := credentials{method: provider.ClientSecretBasic, id: id, secret: counterfoil.Secret(secret)}
	if !colon {
		return credentials{}, malformed
	}
	return c, nil
}

// wellFormed reports whether the credentials are within the limits and are
// UTF-8 without control characters.
func (rl *realm) wellFormed(c credentials) bool {
	plain := func(s string) bool {
		return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
	}
	return c.id != "" && len(c.id) <= rl.endpoint.Limits.ClientID && plain(c.id) &&
		len(c.secret) <= rl.endpoint.Limits.ClientSecret && plain(c.secret.Reveal())
}

// caller is an authenticated client.
type caller struct {
	client *store.Client
	// secret is the one that it authenticated with; nil for other methods.
	secret *store.SecretHash
	// once are the assertions that it authenticated with.
	once []store.ReplayKey
	// certificate is the one that it authenticated with; nil for other methods.
	certificate *x509.Certificate
}

// dummyClient stands in for a client that does not exist, so that a guess of
// an id takes as long as a guess of a secret.
var dummyClient = &store.Client{Secrets: []store.SecretHash{{Value: sechash.Own(sechash.NewSecret()).String()}}}

// authenticate returns the client that the credentials belong to, from memory
// unless anew is set.
func (rl *realm) authenticate(ctx context.Context, a *attempt, c *credentials, anew bool) (*caller, *requestRefusal) {
	a.fresh = false
	if client, ok := rl.clients.Get(clientKey{rl.Name, c.id}); ok && !anew {
		// The client in memory may be stale: no request is refused because of it.
		if by, refusal := rl.prove(ctx, a, c, client); refusal == nil || refusal.unrecorded {
			return by, refusal
		}
	}
	client, err := rl.fresh(ctx, rl.Name, c.id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		client = dummyClient
	case err != nil:
		return nil, storeFailed("read client", err)
	}
	a.proven, a.fresh = false, true
	return rl.prove(ctx, a, c, client)
}

// prove verifies the credentials of a client and checks that the client may
// use the endpoint.
func (rl *realm) prove(ctx context.Context, a *attempt, c *credentials, client *store.Client) (*caller, *requestRefusal) {
	by, refusal := rl.proveBy(ctx, a, c, client)
	if refusal != nil {
		return nil, refusal
	}
	a.proven = true
	if by.secret != nil {
		rl.uses.note(client, by.secret, a.event.Time)
	}
	switch {
	case client.Disabled:
		return nil, refused(counterfoil.ClientDisabled, "")
	case !client.Expires.IsZero() && !a.event.Time.Before(client.Expires):
		return nil, refused(counterfoil.ClientExpired, "")
	case !acceptsAddress(client, a.event.Address):
		return nil, refused(counterfoil.AddressNotAllowed, "")
	}
	if refusal := rl.proveAPIKey(ctx, a, c, client); refusal != nil {
		return nil, refusal
	}
	return by, nil
}

// proveBy verifies the credentials by their method.
func (rl *realm) proveBy(ctx context.Context, a *attempt, c *credentials, client *store.Client) (*caller, *requestRefusal) {
	by := &caller{client: client}
	var refusal *requestRefusal
	switch c.method {
	case provider.PrivateKeyJWT:
		if client == dummyClient {
			refusal = refused(counterfoil.UnknownClient, "") // costs no fetch
		} else {
			by.once, refusal = rl.proveAssertion(ctx, a, c, client)
		}
		refusal = rl.veil(refusal, a.event.Time)
	case "":
		if refusal = rl.veil(rl.proveCertificate(ctx, a, c.certificate, client), a.event.Time); refusal == nil {
			by.certificate = c.certificate.leaf
		}
	default:
		by.secret, refusal = rl.secrets.verify(ctx, client, client.Secrets, c.secret, a.event.Time, a.fresh)
		switch {
		case refusal != nil:
		case client == dummyClient:
			refusal = refused(counterfoil.UnknownClient, "")
		case by.secret == nil:
			refusal = refused(counterfoil.WrongSecret, "")
		}
	}
	return by, refusal
}

// proveAPIKey verifies the API key of the request, if there is one.
func (rl *realm) proveAPIKey(ctx context.Context, a *attempt, c *credentials, client *store.Client) *requestRefusal {
	if c.apiKey == "" {
		return nil
	}
	key, busy := rl.secrets.verify(ctx, client, client.APIKeys, c.apiKey, a.event.Time, a.fresh)
	switch {
	case busy != nil:
		return busy
	case key == nil:
		return refused(counterfoil.APIKeyInvalid, "")
	}
	rl.uses.note(client, key, a.event.Time)
	return nil
}

// acceptsAddress reports whether the client may send requests from an address.
func acceptsAddress(c *store.Client, address string) bool {
	if len(c.Addresses) == 0 {
		return true
	}
	ip, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(c.Addresses, func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
}
