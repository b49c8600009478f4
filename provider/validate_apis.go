package provider

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
)

func (v *validator) api(way []any, a *API) {
	if !nameForm.MatchString(a.Name) {
		v.fail(under(way, "name"), "the name %q must be lower-case letters, digits and hyphens, starting with a letter", a.Name)
	}
	v.url(under(way, "url"), a.URL)
	v.path(under(way, "path"), a.Path)
	v.path(under(way, "base_path"), a.BasePath)
	if a.Path != a.BasePath && a.BasePath != "/" && !strings.HasPrefix(a.Path, a.BasePath+"/") {
		v.fail(under(way, "base_path"), "path must begin with base_path")
	}
	if a.Explorer != "" {
		v.path(under(way, "explorer"), a.Explorer)
	}
	v.headers(under(way, "headers"), a.Headers, HeaderFromToken, HeaderFromAPIKey, HeaderFromTenant)
	if h, ok := a.Header(HeaderFromToken); !ok || h.Presence == PresenceOptional {
		v.fail(under(way, "headers"), "an API must require a header whose source is token")
	}
	v.known(under(way, "scopes"), a.Scopes)
	v.audience(under(way, "audience"), a.Audience)
	v.line(under(way, "title"), a.Title)
	v.call(under(way, "health"), a.Health)
	v.call(under(way, "example"), a.Example)
	v.safe(way, a)
	if a.RequestsPerMinute < 0 || a.RequestsPerMinute > 100_000 {
		v.fail(under(way, "requests_per_minute"), "requests_per_minute must be from 0, for no limit, to 100000")
	}
	if a.Leeway > 10*time.Minute {
		v.fail(under(way, "leeway"), "leeway must be 10m at most")
	}
	need := slices.Clone(callReasons)
	if _, ok := a.Header(HeaderFromTenant); ok {
		need = append(need, counterfoil.ReasonTenantMissing)
	}
	if _, ok := a.Header(HeaderFromAPIKey); ok {
		need = append(need, counterfoil.ReasonAPIKeyInvalid)
	}
	if slices.ContainsFunc(a.Headers, func(h Header) bool { return h.Value != "" }) {
		need = append(need, counterfoil.ReasonHeaderMissing)
	}
	v.refusals(under(way, "refusals"), a.Refusals, need, append(slices.Clone(callReasons), callDetails...))
}

// audience refuses an API's audience that no token can have. Without an audience of
// their own, tokens have the issuer, an https URL that only the realm knows.
func (v *validator) audience(way []any, audience string) {
	t := &v.p.AccessToken
	if audience == "" || t.Claim(FromAudience) == "" {
		return
	}
	can := slices.Concat(t.Audience, v.p.TokenEndpoint.Resources)
	if slices.Contains(can, audience) || len(t.Audience) == 0 && strings.HasPrefix(audience, "https://") {
		return
	}
	if len(t.Audience) == 0 {
		can = append(can, "the issuer")
	}
	v.fail(way, "no token has the audience %q: choose from %s, or add it to access_token.audience", audience, strings.Join(can, ", "))
}

// safe checks the fields that say which calls of an API may be retried.
func (v *validator) safe(way []any, a *API) {
	if a.Kind == KindGraphQL && len(a.SafeCalls) > 0 {
		v.fail(under(way, "safe_calls"), "safe_calls belongs to a REST API: use safe_documents for a GraphQL API")
	}
	if a.Kind == KindREST && a.SafeDocuments != "" {
		v.fail(under(way, "safe_documents"), "safe_documents belongs to a GraphQL API: use safe_calls for a REST API")
	}
	for i, c := range a.SafeCalls {
		if !methodForm.MatchString(c.Method) {
			v.fail(under(way, "safe_calls", i, "method"), "%q is not an HTTP method", c.Method)
		}
		if !safeForm.MatchString(c.Path) {
			v.fail(under(way, "safe_calls", i, "path"), "%q is not a path: write each segment as it is sent or, for any one segment, "+
				"a name in braces, as in /orders/{id}/search", c.Path)
		}
	}
}

// reserved are the paths that every realm has, whatever its description says, with
// everything below them.
var reserved = []string{"/.well-known", "/introspect", "/revoke", "/revocations", "/status-lists", "/leaked"}

// places refuses paths that conflict.
func (v *validator) places() {
	own := func(p string) bool {
		return slices.ContainsFunc(reserved, func(dir string) bool { return in(p, dir) })
	}
	if own(v.p.TokenEndpoint.Path) {
		v.fail(at("token_endpoint", "path"), "every realm has %s of its own: choose another path", strings.Join(reserved, ", "))
	}
	taken := map[string]string{strings.TrimSuffix(v.p.TokenEndpoint.Path, "/"): "token_endpoint.path"}
	for i := range v.p.APIs {
		a := &v.p.APIs[i]
		if a.Kind == KindREST && (a.Path == "/" || in(v.p.TokenEndpoint.Path, a.Path)) {
			v.fail(at("apis", i, "path"), "%q would cover the token endpoint or /.well-known: give the API a path of its own, "+
				"as in /api", a.Path)
		}
		for key, p := range map[string]string{"path": a.Path, "explorer": a.Explorer} {
			if own(p) {
				v.fail(at("apis", i, key), "every realm has %s of its own: choose another path", strings.Join(reserved, ", "))
			}
			p = strings.TrimSuffix(p, "/")
			if other, twice := taken[p]; twice && p != "" {
				v.fail(at("apis", i, key), "the path is that of %s", other)
			}
			taken[p] = fmt.Sprintf("apis[%d].%s", i, key)
		}
	}
}

// in reports whether path is dir or below it.
func in(path, dir string) bool {
	dir = strings.TrimSuffix(dir, "/")
	return path == dir || strings.HasPrefix(path, dir+"/")
}
