package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// methods are the authentication methods that each of the Config's fields is
// for.
var methods = map[string][]provider.Method{
	"ClientSecret": {provider.MethodClientSecretBasic, provider.MethodClientSecretPost},
	"Key":          {provider.MethodPrivateKeyJWT},
	"Assertion":    {provider.MethodPrivateKeyJWT},
	"Certificate":  {provider.MethodTLSClientAuth, provider.MethodSelfSignedTLSClientAuth},
}

// method is how the client authenticates: the first method that the provider
// accepts and the Config supports; "" for none.
func (c *Config) method() provider.Method {
	field := "Certificate"
	switch {
	case c.ClientSecret != nil:
		field = "ClientSecret"
	case c.Key != nil || c.Assertion != nil:
		field = "Key"
	}
	for _, m := range c.Provider.TokenEndpoint.ClientAuthentication {
		if slices.Contains(methods[field], m) {
			return m
		}
	}
	return ""
}

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

// authenticator is how the client proves itself at the token endpoint.
type authenticator struct {
	cfg      *Config
	method   provider.Method
	audience *audience
	clock    *providerClock
}

func newAuthenticator(c *Config, tokenURL *url.URL, clock *providerClock) *authenticator {
	return &authenticator{cfg: c, method: c.method(), audience: newAudience(c, tokenURL), clock: clock}
}

// words names the credential that the client authenticates with, and
// what else affects its acceptance.
func (a *authenticator) words() string {
	switch {
	case a.cfg.ClientSecret != nil:
		return "secret"
	case a.cfg.Key != nil:
		return "key with its ID, " + a.cfg.field("AssertionAudience") + " and this machine's clock"
	case a.cfg.Assertion != nil:
		return "what the provider knows of the assertion's issuer, audience and subject"
	}
	return "certificate"
}

// read reads what a request authenticates with, besides the certificate that
// print identifies.
func (a *authenticator) read(ctx context.Context, print string) (credentials, *counterfoil.Error) {
	c := credentials{id: a.cfg.ClientID}
	var err *counterfoil.Error
	switch {
	case a.cfg.ClientSecret != nil:
		c.secret, err = a.cfg.sendable(ctx, a.cfg.ClientSecret, "client secret", "ClientSecret", counterfoil.ReasonCredentialsMissing)
	case a.cfg.Key != nil:
		if c.key, err = a.readKey(ctx); err == nil {
			c.audience = a.audience.get(ctx)
		}
	case a.cfg.Assertion != nil:
		c.assertion, err = a.federated(ctx)
	}
	if err != nil {
		return c, err
	}
	if _, ok := a.cfg.Provider.TokenEndpoint.Header(provider.HeaderFromAPIKey); ok {
		if c.apiKey, err = a.cfg.sendable(ctx, a.cfg.APIKey, "API key", "APIKey", counterfoil.ReasonAPIKeyMissing); err != nil {
			return c, err
		}
	}
	h := sha256.New()
	for _, part := range []string{
		c.secret.Reveal(), c.assertion.Reveal(), c.apiKey.Reveal(),
		print, c.key.Algorithm, c.key.ID, thumbprint(c.key), c.audience,
	} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	h.Sum(c.print[:0])
	return c, nil
}

// sign makes the assertion that only one attempt carries, if the client makes its
// own.
func (a *authenticator) sign(cred *credentials) (err error) {
	if cred.key.Signer != nil {
		cred.assertion, err = assertion(a.cfg.ClientID, cred.key, cred.audience, a.clock.now())
	}
	return err
}

// apply puts cred into a token request: form is its body, which is written
// afterwards.
func (a *authenticator) apply(cred credentials, form url.Values, h http.Header) {
	switch a.method {
	case provider.MethodClientSecretBasic:
		id, secret := cred.id, cred.secret.Reveal()
		if a.cfg.Provider.TokenEndpoint.BasicEncoding == provider.EncodingForm {
			id, secret = url.QueryEscape(id), url.QueryEscape(secret)
		}
		(&http.Request{Header: h}).SetBasicAuth(id, secret)
	case provider.MethodClientSecretPost:
		form.Set("client_id", cred.id)
		form.Set("client_secret", cred.secret.Reveal())
	case provider.MethodPrivateKeyJWT: // where another authority made the assertion, only client_id names the client
		form.Set("client_id", cred.id)
		form.Set("client_assertion_type", jwtBearer)
		form.Set("client_assertion", cred.assertion.Reveal())
	case provider.MethodTLSClientAuth, provider.MethodSelfSignedTLSClientAuth: // RFC 8705 section 2
		form.Set("client_id", cred.id)
	}
}

// readKey reads the key that signs assertions.
func (a *authenticator) readKey(ctx context.Context) (Key, *counterfoil.Error) {
	k, err := a.cfg.Key(ctx)
	if err == nil {
		k, err = k.complete()
	}
	if err != nil {
		return k, a.cfg.unreadable("client's key", "Key", counterfoil.ReasonCredentialsMissing, err)
	}
	return k, nil
}

// federated reads the assertion that another authority has made. An expired one
// is not sent.
func (a *authenticator) federated(ctx context.Context) (counterfoil.Secret, *counterfoil.Error) {
	v, err := a.cfg.secret(ctx, a.cfg.Assertion, "assertion", "Assertion", counterfoil.ReasonCredentialsMissing)
	if err != nil {
		return "", err
	}
	v = counterfoil.Secret(strings.TrimSpace(v.Reveal()))
	ends, ok := expiry(v.Reveal())
	if !ok {
		return "", &counterfoil.Error{
			Reason:  counterfoil.ReasonAssertionMalformed,
			Message: "the assertion is not a JWT: check where " + a.cfg.field("Assertion") + " reads it from",
		}
	}
	if !ends.IsZero() && a.clock.past(ends) {
		return "", &counterfoil.Error{Reason: counterfoil.ReasonAssertionExpired,
			Message: fmt.Sprintf(
				"the assertion expired %s ago: its issuer has not renewed it where %s reads it from",
				a.clock.now().Sub(ends).Round(time.Second), a.cfg.field("Assertion"),
			)}
	}
	return v, nil
}

// readCertificate reads the certificate and parses its Leaf. An expired one is not
// presented.
func (a *authenticator) readCertificate(ctx context.Context) (*tls.Certificate, *counterfoil.Error) {
	given, err := a.cfg.Certificate(ctx)
	if err == nil && (given == nil || len(given.Certificate) == 0 || given.PrivateKey == nil) {
		err = errors.New("it is missing, or has no key")
	}
	var leaf *x509.Certificate
	if err == nil {
		if leaf = given.Leaf; leaf == nil || !bytes.Equal(leaf.Raw, given.Certificate[0]) {
			leaf, err = x509.ParseCertificate(given.Certificate[0])
		}
	}
	if err != nil {
		return nil, a.cfg.unreadable("client's certificate", "Certificate", counterfoil.ReasonCertificateMissing, err)
	}
	if a.clock.past(leaf.NotAfter) {
		return nil, &counterfoil.Error{Reason: counterfoil.ReasonCertificateMissing,
			Message: fmt.Sprintf(
				"the client's certificate expired at %s: renew it where %s reads it from",
				leaf.NotAfter.UTC().Format(time.RFC3339), a.cfg.field("Certificate"),
			)}
	}
	own := *given // the caller may change its own
	own.Leaf = leaf
	return &own, nil
}
