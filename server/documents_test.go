package server_test

import (
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// document is what a realm says of itself.
type document map[string]any

func (d document) text(name string) string {
	s, _ := d[name].(string)
	return s
}

func (d document) list(name string) (all []string) {
	values, _ := d[name].([]any)
	for _, v := range values {
		all = append(all, fmt.Sprint(v))
	}
	return all
}

// TestMetadataIsTrue does what each member of the metadata says can be done, and
// what it does not say where that could be. A member that nobody proves here is
// a mistake.
func TestMetadataIsTrue(t *testing.T) {
	h := newHouse(t)
	for _, realm := range []string{"oauth2", "engagifii", "ahotu", "altrata"} {
		for _, name := range []string{"oauth-authorization-server", "openid-configuration"} {
			var d document
			if err := json.Unmarshal([]byte(h.get(t, http.MethodGet, "/"+realm+"/.well-known/"+name).body), &d); err != nil {
				t.Fatal(err)
			}
			for member := range d {
				prove, ok := proofs[member]
				if !ok {
					t.Errorf("%s: no test covers the member %s", realm, member)
					continue
				}
				t.Run(realm+" "+name+" "+member, func(t *testing.T) { prove(t, h, realm, d) })
			}
		}
	}
}

var proofs = map[string]func(*testing.T, *house, string, document){
	"issuer": func(t *testing.T, h *house, realm string, d document) {
		if !strings.Contains(part(t, h.token(realm), 1), `"iss":"`+d.text("issuer")+`"`) {
			t.Error("tokens have another issuer")
		}
	},
	"token_endpoint": func(t *testing.T, h *house, realm string, d document) {
		if url := h.request(t.Context(), realm, h.good(realm)).URL; d.text("token_endpoint") != strings.TrimSuffix(url.String(), "?"+url.RawQuery) {
			t.Errorf("tokens come from %s", url)
		}
	},
	"jwks_uri": func(t *testing.T, h *house, realm string, d document) {
		parsed, err := jose.Parse(h.token(realm), jose.RS256, jose.ES256)
		if err != nil {
			t.Fatal(err)
		}
		keys, _, err := jose.ParseSet([]byte(h.get(t, http.MethodGet, strings.TrimPrefix(d.text("jwks_uri"), h.url)).body))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(keys, func(k jose.PublicKey) bool {
			_, err := parsed.Verify(k.Key)
			return k.ID == parsed.KeyID && err == nil
		}) {
			t.Error("no published key verifies a token")
		}
	},
	"scopes_supported": func(t *testing.T, h *house, realm string, d document) {
		for _, scope := range d.list("scopes_supported") {
			a := h.good(realm)
			if a.form == nil {
				a.form = url.Values{}
			}
			a.form.Set("scope", scope)
			if got := h.do(realm, a); got.status != http.StatusOK {
				t.Errorf("the scope %s got %d %s", scope, got.status, got.body)
			}
		}
	},
	"grant_types_supported": func(t *testing.T, h *house, realm string, d document) {
		for _, grant := range append(d.list("grant_types_supported"), "authorization_code", "refresh_token", "password") {
			a := h.good(realm)
			if a.form == nil {
				a.query = "grant_type=" + grant
			} else {
				a.form.Set("grant_type", grant)
			}
			if got := h.do(realm, a); (got.status == http.StatusOK) != slices.Contains(d.list("grant_types_supported"), grant) {
				t.Errorf("the grant type %s got %d %s", grant, got.status, got.body)
			}
		}
	},
	"token_endpoint_auth_methods_supported": func(t *testing.T, h *house, realm string, d document) {
		for _, method := range []string{"client_secret_basic", "client_secret_post"} {
			a := h.good(realm)
			a.header.Del("Authorization")
			if a.form == nil {
				a.form = url.Values{}
			}
			authenticate(method, h.creds[realm], a.form, a.header)
			if got := h.do(realm, a); (got.status == http.StatusOK) != slices.Contains(d.list("token_endpoint_auth_methods_supported"), method) {
				t.Errorf("%s got %d %s", method, got.status, got.body)
			}
		}
	},
	"introspection_endpoint": func(t *testing.T, h *house, realm string, d document) {
		got := h.post(strings.TrimPrefix(d.text("introspection_endpoint"), h.url), url.Values{"token": {h.token(realm)}}, h.asGood(realm))
		if got.status != http.StatusOK || got.body == inactive {
			t.Errorf("got %d %s", got.status, got.body)
		}
	},
	"introspection_endpoint_auth_methods_supported": func(t *testing.T, h *house, realm string, d document) {
		h.proveMethods(t, realm, "/introspect", d.list("introspection_endpoint_auth_methods_supported"))
	},
	"revocation_feed_endpoint": func(t *testing.T, h *house, realm string, d document) {
		api, made := h.creds[realm+" api"]
		if !made {
			api = h.client(clients.NewClient{Realm: realm, ID: "api", Settings: store.Settings{ResourceServer: true}, WithAPIKey: realm == "altrata"})
			h.creds[realm+" api"] = api
		}
		// What page and feedRequest ask.
		if path := strings.TrimPrefix(d.text("revocation_feed_endpoint"), h.url); path != "/"+realm+"/revocations" {
			t.Errorf("it is %s", path)
		}
		h.page(realm, h.as(realm, api), "")
	},
	"revocation_endpoint": func(t *testing.T, h *house, realm string, d document) {
		token := h.token(realm)
		got := h.post(strings.TrimPrefix(d.text("revocation_endpoint"), h.url), url.Values{"token": {token}}, h.asGood(realm))
		if said := h.introspect(realm, token, h.asGood(realm)); got.status != http.StatusOK || said.body != inactive {
			t.Errorf("got %d %s, then %s", got.status, got.body, said.body)
		}
	},
	"revocation_endpoint_auth_methods_supported": func(t *testing.T, h *house, realm string, d document) {
		h.proveMethods(t, realm, "/revoke", d.list("revocation_endpoint_auth_methods_supported"))
	},
	"subject_types_supported": func(t *testing.T, h *house, realm string, d document) {
		if got := h.introspect(realm, h.token(realm), h.asGood(realm)); !slices.Equal(d.list("subject_types_supported"), []string{"public"}) || !strings.Contains(got.body, `"sub":"good"`) {
			t.Errorf("everybody sees the same sub: %s", got.body)
		}
	},
	"response_types_supported": func(t *testing.T, _ *house, _ string, d document) {
		if len(d.list("response_types_supported")) > 0 || d["authorization_endpoint"] != nil {
			t.Error("there is no authorization endpoint")
		}
	},
	"token_endpoint_auth_signing_alg_values_supported":         provesAssertions("/token", "token_endpoint_auth_signing_alg_values_supported"),
	"introspection_endpoint_auth_signing_alg_values_supported": provesAssertions("/introspect", "introspection_endpoint_auth_signing_alg_values_supported"),
	"revocation_endpoint_auth_signing_alg_values_supported":    provesAssertions("/revoke", "revocation_endpoint_auth_signing_alg_values_supported"),
	"dpop_signing_alg_values_supported": func(t *testing.T, h *house, realm string, d document) {
		keys := map[string]crypto.Signer{"ES256": ecKey(), "RS256": rsKey(), "PS256": rsKey(), "EdDSA": edKey(), "Ed25519": edKey(), "HS256": ecKey()}
		for alg, sign := range signers {
			a := h.good(realm)
			a.header.Set("DPoP", sign(`{"typ":"dpop+jwt","alg":"`+alg+`","jwk":`+josetest.JWK(keys[alg].Public())+`}`, h.proofFor(d.text("token_endpoint")).String()))
			if got := h.do(realm, a); (got.status == http.StatusOK) != slices.Contains(d.list("dpop_signing_alg_values_supported"), alg) {
				t.Errorf("%s got %d %s", alg, got.status, got.body)
			}
		}
	},
	"tls_client_certificate_bound_access_tokens": func(t *testing.T, _ *house, realm string, _ document) {
		h := newGate(t, nil)
		if h.creds[realm].ClientID == "" {
			t.Fatalf("the test has no realm %s that asks for certificates", realm)
		}
		cert := h.selfSigned(ecKey(), nil)
		h.workload("job", store.Authentication{Thumbprints: []string{thumbprint(cert)}})
		h.http = trusting(cert)
		if c, _ := h.wantToken(t, certified("job")); c["cnf"] == nil {
			t.Error("the token is not bound")
		}
	},
	"id_token_signing_alg_values_supported": func(t *testing.T, h *house, realm string, d document) {
		if got := h.do(realm, h.good(realm)); len(d.list("id_token_signing_alg_values_supported")) > 0 || strings.Contains(got.body, "id_token") {
			t.Errorf("there are no ID tokens: %s", got.body)
		}
	},
}

// provesAssertions proves that assertions of these algorithms are taken at a
// path, and no others.
func provesAssertions(path, member string) func(*testing.T, *house, string, document) {
	return func(t *testing.T, h *house, realm string, d document) {
		id := h.client(clients.NewClient{Realm: realm, Settings: store.Settings{Authentication: store.Authentication{
			KeySet: jwks("", ecKey(), "", rsKey(), "", edKey()),
		}}}).ClientID
		for alg, sign := range signers {
			c := h.own(id).but(claims{"aud": d.text("issuer")})
			form := h.asserting(sign(claims{"alg": alg}.String(), c.String())).form
			form.Set("token", "x")
			if got := h.post("/"+realm+path, form, nil); (got.status == http.StatusOK) != slices.Contains(d.list(member), alg) {
				t.Errorf("%s got %d %s", alg, got.status, got.body)
			}
		}
	}
}

// authenticate puts a client's credentials where the method has them.
func authenticate(method string, c clients.Credentials, form url.Values, header http.Header) {
	form.Del("client_id")
	form.Del("client_secret")
	if method == string(provider.MethodClientSecretBasic) {
		header.Set("Authorization", basic(c.ClientID, c.ClientSecret.Reveal()))
		return
	}
	form.Set("client_id", c.ClientID)
	form.Set("client_secret", c.ClientSecret.Reveal())
}

// asGood is how the client "good" authenticates with the method that the realm
// has as Basic credentials.
func (h *house) asGood(realm string) http.Header { return h.as(realm, h.creds[realm]) }

// proveMethods authenticates at a path with each method, those that are said to
// be supported and those that are not.
func (h *house) proveMethods(t *testing.T, realm, path string, said []string) {
	t.Helper()
	for _, method := range []string{"client_secret_basic", "client_secret_post", "Bearer"} {
		form, header := url.Values{"token": {"x"}}, http.Header{}
		if key := h.creds[realm].APIKey; key != "" {
			header.Set("X-Api-Key", key.Reveal())
		}
		if method == "Bearer" {
			p, err := provider.Builtin(realm)
			if err != nil {
				t.Fatal(err)
			}
			scopes := p.ScopeNames()
			if len(scopes) == 0 {
				scopes = counterfoil.Scopes{"read", "write"}
			}
			good := h.creds[realm]
			h.creds[realm] = h.client(clients.NewClient{Realm: realm, WithAPIKey: good.APIKey != "", Settings: store.Settings{ResourceServer: true, Scopes: scopes}})
			header = http.Header{"Authorization": {"Bearer " + h.token(realm)}}
			h.creds[realm] = good
		} else {
			authenticate(method, h.creds[realm], form, header)
		}
		if got := h.post("/"+realm+path, form, header); (got.status == http.StatusOK) != slices.Contains(said, method) {
			t.Errorf("%s got %d %s", method, got.status, got.body)
		}
	}
}
