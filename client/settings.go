package client

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/provider"
)

// target is what a Source asks for tokens, and what it calls.
type target struct {
	tokenURL *url.URL
	api      *provider.API // nil for none
	apiURL   *url.URL      // nil for no calls
}

// addresses determines the API and both URLs.
func (c *Config) addresses() (to target, problems []error) {
	p := c.Provider
	api, ok := p.API(c.API)
	switch {
	case ok:
		to.api = api
	case c.API != "" || len(p.APIs) > 0:
		names := make([]string, len(p.APIs))
		for i := range p.APIs {
			names[i] = p.APIs[i].Name
		}
		problems = append(problems, c.wrong("API", "is %q: choose from %s", c.API, strings.Join(names, ", ")))
	}
	var err error
	if to.tokenURL, err = c.secureURL("TokenURL", cmp.Or(c.TokenURL, p.TokenEndpoint.URL)); err != nil {
		problems = append(problems, err)
	}
	apiURL := c.APIURL
	if to.api != nil {
		apiURL = cmp.Or(apiURL, to.api.URL)
	}
	if apiURL == "" {
		return to, problems
	}
	u, err := c.secureURL("APIURL", apiURL)
	if err != nil {
		return to, append(problems, err)
	}
	if to.api != nil {
		to.apiURL = u
	}
	return to, problems
}

func (c *Config) secureURL(field, value string) (*url.URL, error) {
	wrong := func(format string, args ...any) error { return c.wrong(field, format, args...) }
	if value == "" {
		return nil, wrong("is missing, and the description has none")
	}
	u, err := readURL(value)
	switch {
	case err != nil:
		return nil, wrong("%w", err)
	case u.Hostname() == "", u.Fragment != "":
		return nil, wrong("is not an absolute URL")
	case u.User != nil:
		return nil, wrong("holds credentials: give them as %s and %s", c.field("ClientID"), c.field("ClientSecret"))
	case u.Scheme != "https":
		return nil, wrong("must start with https://: credentials and tokens never go over plain http")
	}
	return u, nil
}

// readURL reads a URL of Config as far as all have the same form. The error is
// preceded by the name of the field.
func readURL(value string) (*url.URL, error) {
	if strings.ContainsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return nil, errors.New("has a blank, or an invisible character: remove it")
	}
	u, err := url.Parse(value)
	if err != nil {
		return nil, errors.New("is not an absolute URL")
	}
	if !isPort(u.Port()) {
		return nil, fmt.Errorf("has the port %s: a port is from 1 to 65535", u.Port())
	}
	return u, nil
}

// credentialsGiven checks that the client can authenticate as the provider
// requires, in exactly one way, and returns its proofs.
func (c *Config) credentialsGiven(api *provider.API, clock *providerClock) (*proofs, error) {
	t := &c.Provider.TokenEndpoint
	if c.ClientID == "" {
		return nil, c.wrong("ClientID", "is missing")
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
		return nil, &FieldError{
			Field: given[0],
			err: fmt.Errorf(
				"%s are all given: a client authenticates in one way, leave out the others (RFC 6749 section 2.3)",
				strings.Join(named, ", "),
			),
		}
	case len(given) == 0 && c.Certificate == nil:
		return nil, c.wrong("ClientSecret", "is missing: the client has no way to authenticate")
	case c.method() == "":
		return nil, c.notAccepted(append(given, "Certificate")[0])
	}
	if c.method() == provider.MethodClientSecretBasic && t.BasicEncoding == provider.EncodingRaw && strings.Contains(c.ClientID, ":") {
		return nil, c.wrong("ClientID", "has a colon, which Basic credentials cannot carry here (RFC 7617 section 2)")
	}
	_, need := t.Header(provider.HeaderFromAPIKey)
	if !need && api != nil {
		_, need = api.Header(provider.HeaderFromAPIKey)
	}
	if need && c.APIKey == nil {
		return nil, c.wrong("APIKey", "is missing: %s demands one", c.Provider.Name)
	}
	if c.AssertionAudience != "" && c.Key == nil {
		return nil, c.wrong("AssertionAudience", "is for assertions that are signed with %s, which is missing", c.field("Key"))
	}
	if c.Certificate != nil {
		if err := c.ownTLS("Certificate"); err != nil {
			return nil, err
		}
	}
	p, err := newProofs(c.DPoP, clock)
	if err != nil {
		return nil, c.wrong("DPoP", "cannot be used: %w", err)
	}
	return p, nil
}

// notAccepted says what to give in place of a field that the provider does not
// accept.
func (c *Config) notAccepted(field string) error {
	accepted := c.Provider.TokenEndpoint.ClientAuthentication
	var words, instead []string
	for _, m := range accepted {
		words = append(words, string(m))
	}
	for _, f := range []string{"ClientSecret", "Key", "Assertion", "Certificate"} {
		if slices.ContainsFunc(methods[f], func(m provider.Method) bool { return slices.Contains(accepted, m) }) {
			instead = append(instead, c.field(f))
		}
	}
	return c.wrong(
		field, "cannot be used with this provider: the description of %s accepts %s only; give %s", c.Provider.Name,
		strings.Join(words, ", "), strings.Join(instead, " or "),
	)
}

// own are the parameters of a token request that have a field of their own.
var own = []string{"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "scope", "resource"}

// targetsGiven checks the resources and the further parameters.
func (c *Config) targetsGiven() error {
	for _, r := range c.Resources {
		if u, err := readURL(r); err != nil || !u.IsAbs() || strings.Contains(r, "#") || u.User != nil {
			return c.wrong(
				"Resources",
				"must be absolute URIs without a fragment, such as https://api.example.com/ (RFC 8707 section 2)",
			)
		}
	}
	for name := range c.Parameters {
		if name == "" || slices.Contains(own, name) {
			return c.wrong("Parameters", "must not have %q: it has a field of its own, or no meaning", name)
		}
	}
	return nil
}

func (c *Config) scopesGiven() error {
	want := c.Provider.TokenEndpoint.Scope
	if parsed, err := counterfoil.ParseScopes(c.Scopes.String()); err != nil || len(parsed) != len(c.Scopes) {
		return c.wrong("Scopes", "must be different scope tokens, one an element (RFC 6749 section 3.3)")
	}
	if !c.Scopes.ContainsAll(want.MustInclude) {
		return c.wrong("Scopes", "must include %s", want.MustInclude)
	}
	if len(c.Scopes) == 0 && want.Parameter == provider.PresenceRequired {
		return c.wrong("Scopes", "is missing: %s demands a scope (it has: %s)", c.Provider.Name, c.Provider.ScopeNames())
	}
	return nil
}

// callHeaders determines what calls carry.
func (c *Config) callHeaders(api *provider.API) (headers []callHeader, err error) {
	if api == nil {
		return nil, nil
	}
	for _, h := range api.Headers {
		ch := callHeader{name: textproto.CanonicalMIMEHeaderKey(h.Name), from: h.From, scheme: h.Scheme, value: h.Value}
		switch {
		case h.From == provider.HeaderFromTenant && c.Tenant == "":
			return nil, c.wrong("Tenant", "is missing: a call of %s names its tenant in %s", api.Name, h.Name)
		case h.From == provider.HeaderFromTenant:
			ch.value = c.Tenant
		}
		if strings.ContainsFunc(ch.value, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			return nil, c.wrong("Tenant", "must be printable ASCII, to travel in %s", h.Name)
		}
		headers = append(headers, ch)
	}
	// A request to a GraphQL API is JSON, even if the description does not
	// require a Content-Type.
	if api.Kind == provider.KindGraphQL && !slices.ContainsFunc(headers, func(h callHeader) bool { return h.name == contentType }) {
		headers = append(headers, callHeader{name: contentType, value: "application/json"})
	}
	return headers, nil
}

// foundations sets the remaining defaults.
func (c *Config) foundations() error {
	if c.Timeout < 0 {
		return c.wrong("Timeout", "is negative")
	}
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	if c.Cache == nil {
		c.Cache = Memory()
	}
	if c.HTTP == nil {
		c.HTTP = defaultHTTP()
	}
	if len(c.Pins) > 0 {
		if err := c.pin(); err != nil {
			return err
		}
	}
	if c.Retries == nil {
		c.Retries = []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}
	}
	if err := trust.Check(c.HTTP); err != nil {
		return c.wrong("HTTP", "%v", err)
	}
	return nil
}

// pin restricts HTTP to servers with a pinned key.
func (c *Config) pin() error {
	pins, err := parsePins(c.Pins)
	if err != nil {
		return c.wrong("Pins", "%v", err)
	}
	if err := c.ownTLS("Pins"); err != nil {
		return err
	}
	t := c.HTTP.(*http.Transport)
	if t.TLSClientConfig != nil && t.TLSClientConfig.InsecureSkipVerify {
		return c.wrong("Pins", "needs chains that are verified: leave InsecureSkipVerify out of %s", c.field("HTTP"))
	}
	c.HTTP = pinned(t, pins)
	return nil
}

// ownTLS refuses an HTTP whose TLS cannot be extended by what the other field
// holds.
func (c *Config) ownTLS(field string) error {
	if c.HTTP == nil {
		return nil
	}
	t, ok := c.HTTP.(*http.Transport)
	switch {
	case !ok:
		return c.wrong("HTTP", "is a %T, which cannot be given %s: leave it out or give an *http.Transport", c.HTTP, c.field(field))
	//lint:ignore SA1019 users of the deprecated field need the error, too
	case t.DialTLSContext != nil || t.DialTLS != nil:
		return c.wrong("HTTP", "makes its TLS connections itself, without %s: leave DialTLSContext out", c.field(field))
	}
	return nil
}
