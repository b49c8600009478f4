package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/sent"
	"github.com/counterfoil/counterfoil/provider"
)

// credentials authenticate one request.
type credentials struct {
	id             string
	secret, apiKey counterfoil.Secret
	// key signs the assertion for audience, unless another authority has made
	// it.
	key       Key
	audience  string
	assertion counterfoil.Secret
	// print identifies these credentials without holding them.
	print [sha256.Size]byte

	// What one attempt was made with: its proof, the nonce in that, and how far
	// the provider's clock was assumed to be ahead.
	proof counterfoil.Secret
	nonce string
	ahead time.Duration
}

// credentialsGiven checks that the client can authenticate as the provider
// requires, in exactly one way.
func (s *Source) credentialsGiven() (err error) {
	c, t := &s.cfg, &s.cfg.Provider.TokenEndpoint
	if c.ClientID == "" {
		return c.wrong("ClientID", "is missing")
	}
	var given []string
	for name, there := range map[string]bool{"ClientSecret": c.ClientSecret != nil, "Key": c.Key != nil, "Assertion": c.Assertion != nil} {
		if there {
			given = append(given, name)
		}
	}
	slices.Sort(given)
	named := make([]string, len(given))
	for i, name := range given {
		named[i] = c.field(name)
	}
	switch {
	case len(given) > 1:
		return &FieldError{
			Field: given[0],
			err: fmt.Errorf(
				"%s are all given: a client authenticates in one way, leave out the others (RFC 6749 section 2.3)",
				strings.Join(named, ", "),
			),
		}
	case len(given) == 0 && c.Certificate == nil:
		return c.wrong("ClientSecret", "is missing: the client has no way to authenticate")
	case s.method() == "":
		return s.notAccepted(append(given, "Certificate")[0])
	}
	if s.method() == provider.ClientSecretBasic && t.BasicEncoding == provider.RawEncoding && strings.Contains(c.ClientID, ":") {
		return c.wrong("ClientID", "has a colon, which Basic credentials cannot carry here (RFC 7617 section 2)")
	}
	_, need := t.Header(provider.HeaderFromAPIKey)
	if !need && s.api != nil {
		_, need = s.api.Header(provider.HeaderFromAPIKey)
	}
	if need && c.APIKey == nil {
		return c.wrong("APIKey", "is missing: %s demands one", c.Provider.Name)
	}
	if c.AssertionAudience != "" && c.Key == nil {
		return c.wrong("AssertionAudience", "is for assertions that are signed with %s, which is missing", c.field("Key"))
	}
	if c.Certificate != nil {
		if err := c.ownTLS("Certificate"); err != nil {
			return err
		}
	}
	if s.prover, err = newProver(c.DPoP); err != nil {
		err = c.wrong("DPoP", "cannot be used: %w", err)
	}
	return err
}

// methods are the authentication methods that each of the Config's fields is
// for.
var methods = map[string][]provider.Method{
	"ClientSecret": {provider.ClientSecretBasic, provider.ClientSecretPost},
	"Key":          {provider.PrivateKeyJWT},
	"Assertion":    {provider.PrivateKeyJWT},
	"Certificate":  {provider.TLSClientAuth, provider.SelfSignedTLSClientAuth},
}

// notAccepted says what to give in place of a field that the provider does not
// accept.
func (s *Source) notAccepted(field string) error {
	accepted := s.cfg.Provider.TokenEndpoint.ClientAuthentication
	var words, instead []string
	for _, m := range accepted {
		words = append(words, string(m))
	}
	for _, f := range []string{"ClientSecret", "Key", "Assertion", "Certificate"} {
		if slices.ContainsFunc(methods[f], func(m provider.Method) bool { return slices.Contains(accepted, m) }) {
			instead = append(instead, s.cfg.field(f))
		}
	}
	return s.cfg.wrong(
		field, "cannot be used with this provider: the description of %s accepts %s only; give %s", s.cfg.Provider.Name,
		strings.Join(words, ", "), strings.Join(instead, " or "),
	)
}

// method is how the client authenticates: the first method that the provider
// accepts and the Config supports; "" for none.
func (s *Source) method() provider.Method {
	field := "Certificate"
	switch {
	case s.cfg.ClientSecret != nil:
		field = "ClientSecret"
	case s.cfg.Key != nil || s.cfg.Assertion != nil:
		field = "Key"
	}
	for _, m := range s.cfg.Provider.TokenEndpoint.ClientAuthentication {
		if slices.Contains(methods[field], m) {
			return m
		}
	}
	return ""
}

// proofOfClient names the credential that the client authenticates with, and
// what else affects its acceptance.
func (s *Source) proofOfClient() string {
	switch {
	case s.cfg.ClientSecret != nil:
		return "secret"
	case s.cfg.Key != nil:
		return "key with its ID, " + s.cfg.field("AssertionAudience") + " and this machine's clock"
	case s.cfg.Assertion != nil:
		return "what the provider knows of the assertion's issuer, audience and subject"
	}
	return "certificate"
}

// own are the parameters of a token request that have a field of their own.
var own = []string{"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "scope", "resource"}

// targetsGiven checks the resources and the further parameters.
func (s *Source) targetsGiven() error {
	for _, r := range s.cfg.Resources {
		if u, err := readURL(r); err != nil || !u.IsAbs() || strings.Contains(r, "#") || u.User != nil {
			return s.cfg.wrong(
				"Resources",
				"must be absolute URIs without a fragment, such as https://api.example.com/ (RFC 8707 section 2)",
			)
		}
	}
	for name := range s.cfg.Parameters {
		if name == "" || slices.Contains(own, name) {
			return s.cfg.wrong("Parameters", "must not have %q: it has a field of its own, or no meaning", name)
		}
	}
	return nil
}

// entry returns the place in the cache of the token that the Source needs now.
// Only one flight at a time calls it.
func (s *Source) entry(ctx context.Context) (*entry, *counterfoil.Error) {
	old := s.place.Load()
	if s.cfg.Certificate == nil {
		if old == nil {
			key := cacheKey(&s.cfg, s.tokenURL, s.prover.binding(), "")
			old = &entry{key: key, changes: s.cfg.Cache.Changes(key), base: s.cfg.HTTP}
			s.place.Store(old)
		}
		return old, nil
	}
	cert, err := s.certificate(ctx)
	if err != nil {
		return nil, err
	}
	if old != nil && old.certificate == chainPrint(cert) {
		return old, nil
	}
	e := s.binds(cert)
	s.place.Store(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case old == nil:
	case s.former == nil:
		s.former = old // its token is used until e has one
	default:
		old.retire() // it never had a token
	}
	return e, nil
}

// credentials reads what a request authenticates with at e.
func (s *Source) credentials(ctx context.Context, e *entry) (credentials, *counterfoil.Error) {
	c := credentials{id: s.cfg.ClientID}
	var err *counterfoil.Error
	switch {
	case s.cfg.ClientSecret != nil:
		c.secret, err = s.reveal(ctx, s.cfg.ClientSecret, "client secret", "ClientSecret", counterfoil.CredentialsMissing)
	case s.cfg.Key != nil:
		if c.key, err = s.key(ctx); err == nil {
			c.audience = s.audience(ctx)
		}
	case s.cfg.Assertion != nil:
		c.assertion, err = s.federated(ctx)
	}
	if err != nil {
		return c, err
	}
	if _, ok := s.cfg.Provider.TokenEndpoint.Header(provider.HeaderFromAPIKey); ok {
		if c.apiKey, err = s.reveal(ctx, s.cfg.APIKey, "API key", "APIKey", counterfoil.APIKeyMissing); err != nil {
			return c, err
		}
	}
	h := sha256.New()
	for _, part := range []string{
		c.secret.Reveal(), c.assertion.Reveal(), c.apiKey.Reveal(),
		e.certificate, c.key.Algorithm, c.key.ID, thumbprint(c.key), c.audience,
	} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	h.Sum(c.print[:0])
	return c, nil
}

// prove makes what only this attempt carries: the assertion and the proof.
func (s *Source) prove(cred *credentials) *counterfoil.Error {
	var err error
	cred.ahead = s.ahead(s.cfg.Clock.Now())
	if cred.key.Signer != nil {
		cred.assertion, err = s.sign(cred.key, cred.audience)
	}
	if s.prover != nil && err == nil {
		var proof string
		proof, cred.nonce, err = s.prover.proof(&s.prover.endpoint, http.MethodPost, s.tokenURL, "", s.providerTime())
		cred.proof = counterfoil.Secret(proof)
	}
	if err != nil { // the key is valid, but its store may be unavailable
		return &counterfoil.Error{
			Reason:  counterfoil.Unavailable,
			Message: "the client's key cannot sign: check where it is stored",
			Err:     err,
		}
	}
	return nil
}

// outdated reports whether err, the response to an attempt with cred, has
// provided what the next attempt needs: a nonce (RFC 9449 section 8) or the
// time.
func (s *Source) outdated(cred credentials, err *counterfoil.Error) bool {
	if s.prover != nil && (err.Reason == counterfoil.UseDPoPNonce || err.Code == string(counterfoil.UseDPoPNonce)) {
		fresh := s.prover.endpoint.nonce.Load()
		return fresh != nil && *fresh != cred.nonce
	}
	broad := err.Reason
	for broad.Parent() != "" {
		broad = broad.Parent()
	}
	timed := cred.proof != "" || cred.key.Signer != nil
	return timed && (broad == counterfoil.InvalidClient || broad == counterfoil.InvalidRequest) &&
		(s.ahead(s.cfg.Clock.Now())-cred.ahead).Abs() > wrongClock
}

// given reads one credential, that of a field of Config.
func (s *Source) given(
	ctx context.Context, f SecretFunc, name, field string, missing counterfoil.Reason,
) (counterfoil.Secret, *counterfoil.Error) {
	v, err := f(ctx)
	switch {
	case err != nil:
		return "", s.notHad(name, field, missing, err)
	case v == "":
		return "", &counterfoil.Error{
			Reason:  missing,
			Message: "the " + name + " is empty: check where " + s.cfg.field(field) + " reads it from",
		}
	}
	return v, nil
}

// reveal reads a credential that is sent unchanged.
func (s *Source) reveal(
	ctx context.Context, f SecretFunc, name, field string, missing counterfoil.Reason,
) (counterfoil.Secret, *counterfoil.Error) {
	v, failure := s.given(ctx, f, name, field, missing)
	if failure != nil || !sent.Doubtful(v) {
		return v, failure
	}
	if _, err := f(sent.Checked(ctx)); err != nil {
		return "", s.notHad(name, field, missing, err)
	}
	if err := sent.Flaw(v); err != nil {
		return "", s.notHad(name, field, missing, err)
	}
	return v, nil
}

// notHad makes the error for a credential that cannot be read: because its
// source is unavailable, which is transient, or because it needs attention.
func (s *Source) notHad(name, field string, missing counterfoil.Reason, err error) *counterfoil.Error {
	told, ok := errors.AsType[*counterfoil.Error](err)
	_, network := errors.AsType[net.Error](err) // context.DeadlineExceeded too
	if ok && told.Class() == counterfoil.Transient || network {
		missing = counterfoil.Unavailable
	}
	return &counterfoil.Error{
		Reason:  missing,
		Message: "the " + name + " cannot be read from where " + s.cfg.field(field) + " says",
		Err:     err,
	}
}

// tokenRequest builds the request of RFC 6749 section 4.4.2, in the provider's
// manner.
func (s *Source) tokenRequest(ctx context.Context, cred credentials) (*http.Request, error) {
	t, target, form := &s.cfg.Provider.TokenEndpoint, *s.tokenURL, url.Values{}
	if t.GrantTypeIn == provider.InQuery {
		q := target.Query()
		q.Set("grant_type", "client_credentials")
		target.RawQuery = q.Encode()
	} else {
		form.Set("grant_type", "client_credentials")
	}
	if len(s.cfg.Scopes) > 0 {
		form.Set("scope", s.cfg.Scopes.String())
	}
	for _, r := range s.cfg.Resources {
		form.Add("resource", r)
	}
	for name, values := range s.cfg.Parameters {
		form[name] = slices.Clone(values)
	}
	switch s.method() {
	case provider.ClientSecretPost:
		form.Set("client_id", cred.id)
		form.Set("client_secret", cred.secret.Reveal())
	case provider.PrivateKeyJWT: // where another authority made the assertion, only client_id names the client
		form.Set("client_id", cred.id)
		form.Set("client_assertion_type", jwtBearer)
		form.Set("client_assertion", cred.assertion.Reveal())
	case provider.TLSClientAuth, provider.SelfSignedTLSClientAuth: // RFC 8705 section 2
		form.Set("client_id", cred.id)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "counterfoil")
	if s.method() == provider.ClientSecretBasic {
		id, secret := cred.id, cred.secret.Reveal()
		if t.BasicEncoding == provider.FormEncoding {
			id, secret = url.QueryEscape(id), url.QueryEscape(secret)
		}
		req.SetBasicAuth(id, secret)
	}
	if cred.proof != "" {
		req.Header[proofHeader] = []string{cred.proof.Reveal()}
	}
	for _, h := range t.Headers {
		if h.From == provider.HeaderFromAPIKey {
			req.Header.Set(h.Name, cred.apiKey.Reveal())
		} else {
			req.Header.Set(h.Name, h.Value)
		}
	}
	return req, nil
}
