package clientauth

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/form"
)

// The values of client_assertion_type: that of RFC 7523 section 2.2, and the one
// that clients with a JWT-SVID may send instead
// (draft-ietf-oauth-spiffe-client-auth).
const (
	jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	jwtSPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
)

// credentials are what a client presents to authenticate.
type credentials struct {
	method provider.Method
	id     string
	secret counterfoil.Secret
	apiKey counterfoil.Secret
	// assertion is set when the method is MethodPrivateKeyJWT.
	assertion *assertion
	// certificate is the one of the request, where no other credentials were
	// presented; nil when it has none.
	certificate *presented
}

// claim is what the credentials say before they are verified.
func (c *credentials) claim() Claim {
	claim := Claim{ClientID: event.ClientID(c.id), Method: string(c.method)}
	switch {
	case c.assertion != nil:
		claim.Credential = event.Clean(c.assertion.token.KeyID, event.MaxClientID)
	case c.certificate != nil:
		claim.Method = string(provider.MethodTLSClientAuth)
		sum := sha256.Sum256(c.certificate.leaf.Raw)
		claim.Credential = base64.RawURLEncoding.EncodeToString(sum[:])
		if bytes.Equal(c.certificate.leaf.RawIssuer, c.certificate.leaf.RawSubject) {
			claim.Method = string(provider.MethodSelfSignedTLSClientAuth)
		}
	}
	return claim
}

// reader reads the credentials of requests to a realm.
type reader struct {
	endpoint     *provider.TokenEndpoint
	apiKey       string // the name of the header with the API key, or ""
	federation   federation
	certificates *certificates
}

// credentials finds the client's credentials in the one place where they may
// be (RFC 6749 section 2.3.1, RFC 7523 section 2.2), or else in the
// certificate of the connection (RFC 8705 section 2). A certificate together
// with other credentials is ignored, and so is an Authorization header of
// another scheme than Basic: some clients send their old token with every
// request. The claimed id is returned even with a refusal.
func (d *reader) credentials(r *http.Request, f form.Form) (credentials, *Refusal) {
	c := credentials{id: f.Get("client_id"), secret: counterfoil.Secret(f.Get("client_secret"))}
	header, assertion := r.Header["Authorization"], f.Get("client_assertion") != ""
	inBody := c.secret != "" || assertion
	if len(header) == 1 && !isBasic(header[0]) && (inBody || c.id != "" && TakesCertificates(d.endpoint)) {
		header = nil
	}
	var refusal *Refusal
	switch {
	case len(header) > 1 || (len(header) == 1 && inBody) || (c.secret != "" && assertion):
		return c, Refused(counterfoil.ReasonMultipleCredentials, "")
	case len(header) == 1:
		claimed := c.id
		if c, refusal = d.basic(header[0]); refusal == nil && claimed != "" && claimed != c.id {
			refusal = Refused(counterfoil.ReasonMultipleCredentials, "client_id in the body differs from the header")
		}
	case assertion:
		refusal = d.readAssertion(r, f, &c)
	case c.id != "" && c.secret == "" && TakesCertificates(d.endpoint):
		c.certificate, refusal = d.certificates.presented(r)
	case c.id == "" || c.secret == "":
		refusal = Refused(counterfoil.ReasonCredentialsMissing, "")
	default:
		c.method = provider.MethodClientSecretPost
	}
	if refusal == nil && c.method != "" && !d.accepts(c.method) {
		refusal = Refused(counterfoil.ReasonMethodNotAccepted, string(c.method))
	}
	if refusal == nil && !d.wellFormed(c) {
		refusal = Refused(counterfoil.ReasonCredentialsMalformed, "")
	}
	if d.apiKey != "" {
		c.apiKey = counterfoil.Secret(r.Header.Get(d.apiKey))
	}
	return c, refusal
}

func (d *reader) accepts(m provider.Method) bool {
	return slices.Contains(d.endpoint.ClientAuthentication, m)
}

// isBasic reports whether an Authorization header is of the scheme Basic.
func isBasic(header string) bool {
	scheme, _, _ := strings.Cut(header, " ")
	return strings.EqualFold(scheme, "Basic")
}

// basic reads an Authorization header of the scheme Basic (RFC 7617 section 2).
func (d *reader) basic(header string) (credentials, *Refusal) {
	_, text, _ := strings.Cut(header, " ")
	if !isBasic(header) {
		return credentials{}, Refused(counterfoil.ReasonMethodNotAccepted, "the Authorization scheme is not Basic")
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimLeft(text, " "))
	id, secret, ok := strings.Cut(string(decoded), ":")
	if d.endpoint.BasicEncoding == provider.EncodingForm {
		var ok1, ok2 bool
		id, ok1 = form.Unescape(id)
		secret, ok2 = form.Unescape(secret)
		ok = ok && ok1 && ok2
	}
	if err != nil || !ok {
		return credentials{}, Refused(counterfoil.ReasonCredentialsMalformed, "Basic credentials")
	}
	return credentials{method: provider.MethodClientSecretBasic, id: id, secret: counterfoil.Secret(secret)}, nil
}

// wellFormed reports whether the credentials are within the limits and are
// UTF-8 without control characters.
func (d *reader) wellFormed(c credentials) bool {
	plain := func(s string) bool {
		return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 })
	}
	return c.id != "" && len(c.id) <= d.endpoint.Limits.ClientID && plain(c.id) &&
		len(c.secret) <= d.endpoint.Limits.ClientSecret && plain(c.secret.Reveal())
}

// checkHeaders checks the headers that the provider requires beyond those of
// OAuth. Whether an API key belongs to the client is left to prove.
func (d *reader) checkHeaders(h http.Header) *Refusal {
	for i := range d.endpoint.Headers {
		want := &d.endpoint.Headers[i]
		given := h.Values(want.Name)
		fromKey := want.From == provider.HeaderFromAPIKey
		var reason counterfoil.Reason
		switch {
		case len(given) == 0 || given[0] == "":
			if want.Presence == provider.PresenceOptional {
				continue
			}
			reason = counterfoil.ReasonHeaderMissing
			if fromKey {
				reason = counterfoil.ReasonAPIKeyMissing
			}
		case fromKey && len(given) > 1:
			reason = counterfoil.ReasonAPIKeyInvalid
		case !fromKey && (len(given) > 1 || given[0] != want.Value):
			reason = counterfoil.ReasonHeaderInvalid
		default:
			continue
		}
		return &Refusal{Reason: reason, Header: want.Name}
	}
	return nil
}

// readAssertion reads the client_assertion into c, far enough to know whose
// key must verify it.
func (d *reader) readAssertion(r *http.Request, f form.Form, c *credentials) *Refusal {
	c.method = provider.MethodPrivateKeyJWT
	kind := f.Get("client_assertion_type")
	if kind != jwtBearer && kind != jwtSPIFFE || !d.accepts(c.method) {
		return Refused(counterfoil.ReasonMethodNotAccepted, "client_assertion")
	}
	token, err := jose.Parse(f.Get("client_assertion"), AssertionAlgorithms()...)
	if err != nil {
		return badAssertion(err)
	}
	claims, err := token.UnverifiedClaims()
	if err != nil {
		return badAssertion(err)
	}
	c.assertion = &assertion{token: token, issuer: d.federation.issuerOf(claims), path: r.URL.Path}
	if !assertionType(token.Type, c.assertion.issuer != nil) {
		return Refused(counterfoil.ReasonAssertionMalformed, "its typ belongs to another kind of JWT")
	}
	if f := c.assertion.issuer; kind == jwtSPIFFE && (f == nil || !strings.HasPrefix(f.Issuer, spiffe)) {
		return Refused(counterfoil.ReasonAssertionIssuer, "its issuer is not a SPIFFE trust domain that the realm federates with")
	}
	if c.id == "" && c.assertion.issuer != nil {
		return Refused(counterfoil.ReasonCredentialsMissing, "client_id is missing: it is required with the token of another issuer")
	}
	if c.id == "" {
		c.id, _ = claims["sub"].(string)
	}
	if c.id == "" {
		return Refused(counterfoil.ReasonAssertionIssuer, "neither client_id nor sub")
	}
	return nil
}
