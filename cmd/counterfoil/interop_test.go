package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// What a token's life is, from the grant to its end: as a bearer token and as
// one that is bound.
const (
	lifeOfBearer   = "bearer for read; 200 %[1]s may read; active Bearer of %[1]s; revoked, active false; 401 bearer invalid_token"
	lifeOfProven   = "dpop for read; 200 %[1]s may read; active DPoP of %[1]s; jkt; revoked, active false; 401 dpop invalid_token"
	lifeOfShown    = "bearer for read; 200 %[1]s may read; active Bearer of %[1]s; x5t#S256; revoked, active false; 401 bearer invalid_token"
	lifeOfBoth     = "dpop for read; 200 %[1]s may read; active DPoP of %[1]s; jkt x5t#S256; revoked, active false; 401 dpop invalid_token"
	refusedClient  = "401 basic invalid_client"
	refusedProof   = "401 dpop invalid_dpop_proof"
	refusedUnbound = "401 bearer invalid_token"
)

func lifeOf(form, client string) string { return fmt.Sprintf(form, client) }

// clientCases are those of cases.mjs: both libraries meet with the same.
func clientCases() []expect {
	all := []expect{
		{"discovery oauth2 generic", "true /token /introspect /revoke /.well-known/jwks.json"},
		{"discovery oauth2 nonce", "true /token /introspect /revoke /.well-known/jwks.json"},
		{"discovery oidc generic", "true /token /introspect /revoke /.well-known/jwks.json"},
		{"discovery oidc nonce", "true /token /introspect /revoke /.well-known/jwks.json"},
		{"client_secret_basic", lifeOf(lifeOfBearer, "secret")},
		{"client_secret_basic odd id", lifeOf(lifeOfBearer, "svc:billing+eu%20/ä")},
		{"client_secret_post", lifeOf(lifeOfBearer, "secret")},
		{"private_key_jwt EdDSA by its older name", lifeOf(lifeOfBearer, "inline")},
		{"private_key_jwt without kid", lifeOf(lifeOfBearer, "inline")},
		{"private_key_jwt for the token endpoint", lifeOf(lifeOfBearer, "inline")},
		{"tls_client_auth subject_dn", lifeOf(lifeOfShown, "issued-dn")},
		{"tls_client_auth san_dns", lifeOf(lifeOfShown, "issued-dns")},
		{"self_signed_tls_client_auth thumbprint", lifeOf(lifeOfShown, "own")},
		{"self_signed_tls_client_auth jwks", lifeOf(lifeOfShown, "listed")},
		{"federation", lifeOf(lifeOfBearer, "workload")},
		{"federation of another workload", refusedClient},
		{"federation as another client", refusedClient},
		{"private_key_jwt and DPoP with nonces", "dpop after 2; again after 1"},
		{"DPoP with nonces", "dpop after 2; 200 nonce may read after 2"},
		{"certificate and DPoP", lifeOf(lifeOfBoth, "certified")},
		{"certificate-bound by a secret", lifeOf(lifeOfShown, "certified")},
		{"resource", lifeOf(lifeOfBearer, "secret")},
		{"resources", "https://orders.example/ https://stock.example/"},
		{"resource of another API", refusedUnbound},
		{"unknown resource", "400 invalid_target"},
		{"a resource server introspects", "server true, other client false"},
		{"a resource server introspects with its token", "server true, other client 403 bearer insufficient_scope"},
		{"another client revokes", "400 invalid_request; active true"},
		{"no token at all", "revoked, active false"},
		{"wrong secret basic", refusedClient},
		{"wrong secret post", refusedClient},
		{"wrong secret at introspection", refusedClient},
		{"wrong secret at revocation", refusedClient},
		{"scope that is not the client's", "400 invalid_scope"},
		{"assertion replayed", "bearer; " + refusedClient + "; " + refusedClient},
		{"assertion expired", refusedClient},
		{"assertion for another server", refusedClient},
		{"assertion of another client", refusedClient},
		{"assertion of another key", refusedClient},
		{"certificate missing", refusedClient},
		{"certificate of somebody", refusedClient},
		{"certificate that is not issued", refusedClient},
		{"proof missing", "400 invalid_dpop_proof"},
		{"proof replayed", "400 invalid_dpop_proof; 200; " + refusedProof},
		{"proof for another method", "400 invalid_dpop_proof"},
		{"certificate-bound token stolen", refusedUnbound + "; " + refusedUnbound + "; 200"},
		{"DPoP-bound token stolen", "401 dpop invalid_token; " + refusedProof + "; 200"},
		{"replaced token", "first false, second true"},
	}
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		all = append(all, expect{"private_key_jwt " + alg + " jwks", lifeOf(lifeOfBearer, "inline")},
			expect{"private_key_jwt " + alg + " jwks_uri", lifeOf(lifeOfBearer, "fetched")},
			expect{"DPoP " + alg, lifeOf(lifeOfProven, "secret")})
	}
	return all
}

// Clients and verifiers that share no line with this server take it for what its
// metadata says that it is. Each library runs in a process of its own against
// the one server.
func TestInterop(t *testing.T) {
	h := newInterop(t)
	t.Run("openid-client", func(t *testing.T) {
		compareCases(t, h.run(t, "node", "testdata/interop/openid-client.mjs"), clientCases())
	})
	t.Run("oauth4webapi", func(t *testing.T) {
		compareCases(t, h.run(t, "node", "testdata/interop/oauth4webapi.mjs"), append(clientCases(),
			expect{"validateJwtAccessToken bearer", "secret read"}, expect{"validateJwtAccessToken dpop", "secret read"}))
	})
	h.issue()
	t.Run("jose", func(t *testing.T) { compareCases(t, h.run(t, "node", "testdata/interop/jose.mjs"), joseCases()) })
	t.Run("authlib", func(t *testing.T) {
		compareCases(t, h.run(t, "/usr/bin/python3", "testdata/interop/authlib_client.py"), authlibCases())
	})
}

// The packages come from whatever registry a machine has: the lock names none.
func TestInteropLockNamesNoRegistry(t *testing.T) {
	text, err := os.ReadFile("testdata/interop/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"axios", "openid-client", "oauth4webapi", "jose", `"integrity"`} {
		if !strings.Contains(string(text), name) {
			t.Errorf("it has no %s", name)
		}
	}
	if strings.Contains(string(text), "resolved") || strings.Contains(string(text), "://registry") {
		t.Error("it names a registry's host")
	}
}

// tokenKinds are the tokens that the server issues, one of each kind, and what is
// known of them from the guides and the RFCs, not from a description.
var tokenKinds = []struct {
	name, realm, client   string
	audience, typ, alg    string // audience "issuer" is the realm's
	lifetime              time.Duration
	resource, certificate string
	proven                bool
}{
	{name: "generic", realm: "generic", client: "secret", audience: "issuer", typ: "at+jwt", alg: "ES256", lifetime: time.Hour},
	{name: "RS256", realm: "generic", client: "signs-RS256", audience: "issuer", typ: "at+jwt", alg: "RS256", lifetime: time.Hour},
	{name: "PS256", realm: "generic", client: "signs-PS256", audience: "issuer", typ: "at+jwt", alg: "PS256", lifetime: time.Hour},
	{name: "ES256", realm: "generic", client: "signs-ES256", audience: "issuer", typ: "at+jwt", alg: "ES256", lifetime: time.Hour},
	{name: "EdDSA", realm: "generic", client: "signs-EdDSA", audience: "issuer", typ: "at+jwt", alg: "EdDSA", lifetime: time.Hour},
	{name: "resource", realm: "generic", client: "secret", audience: "https://stock.example/", typ: "at+jwt", alg: "ES256", lifetime: time.Hour, resource: "https://stock.example/"},
	{name: "certificate-bound", realm: "generic", client: "certified", audience: "issuer", typ: "at+jwt", alg: "ES256", lifetime: time.Hour, certificate: "own"},
	{name: "DPoP-bound", realm: "generic", client: "proving", audience: "issuer", typ: "at+jwt", alg: "ES256", lifetime: time.Hour, proven: true},
	{name: "ops", realm: "ops", client: "ops", audience: "issuer", typ: "at+jwt", alg: "ES256", lifetime: 15 * time.Minute},
	{name: "by host", realm: "nonce", client: "nonce", audience: "issuer", typ: "at+jwt", alg: "ES256", lifetime: time.Hour},
	{name: "replace", realm: "replace", client: "replace", audience: "issuer", typ: "at+jwt", alg: "ES256", lifetime: time.Hour},
	{name: "listed", realm: "listed", client: "in-list", audience: "issuer", typ: "at+jwt", alg: "ES256", lifetime: time.Hour},
	{name: "listed revoked", realm: "listed", client: "in-list", audience: "issuer", typ: "at+jwt", alg: "ES256", lifetime: time.Hour},
	{name: "ahotu", realm: "ahotu", client: "ahotu", alg: "RS256", lifetime: time.Hour},
	{name: "altrata", realm: "altrata", client: "altrata", audience: "profiles", typ: "at+jwt", alg: "RS256", lifetime: 8 * time.Hour},
	{name: "engagifii", realm: "engagifii", client: "engagifii", audience: "EventsApi", typ: "at+jwt", alg: "RS256", lifetime: time.Hour},
	{name: "a55", realm: "a55", client: "a55", alg: "RS256", lifetime: time.Hour},
	{name: "moved", realm: "moved", client: "moved", alg: "RS256", lifetime: time.Hour},
	{name: "identityserver", realm: "identityserver", client: "identityserver", audience: "issuer", typ: "at+jwt", alg: "RS256", lifetime: time.Hour},
}

// issue gets a token of each kind, and revokes the one that is to be revoked.
func (h *interop) issue() {
	h.t.Helper()
	for _, k := range tokenKinds {
		issuer := h.Realms[k.realm]
		if k.realm == "moved" {
			issuer = movedIssuer
		}
		v := verifiable{Name: k.name, KeySet: h.Realms[k.realm] + "/.well-known/jwks.json", Issuer: issuer, Audience: k.audience, Type: k.typ, Alg: k.alg}
		if k.audience == "issuer" {
			v.Audience = issuer
		}
		var more []string
		if k.resource != "" {
			more = append(more, "resource", k.resource)
		}
		switch k.realm {
		case "ahotu":
			more = append(more, "scope", "events:read")
		case "engagifii":
			more = append(more, "scope", "EventsApi")
		}
		v.Token = h.ask(h.showing(k.certificate), k.proven, k.realm, k.client, more...)
		h.Tokens = append(h.Tokens, v)
		if k.name == "listed revoked" {
			h.revoke(k.realm, k.client, v.Token)
		}
	}
}

// revoke ends a token of a client.
func (h *interop) revoke(realm, client, token string) {
	h.t.Helper()
	c := h.Clients[client]
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.Realms[realm]+"/revoke", strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(c.ClientID, c.ClientSecret)
	if got := do(h.t, h.http, req); got.status != http.StatusOK {
		h.t.Fatalf("the revocation is answered %d %s", got.status, got.body)
	}
}

func joseCases() []expect {
	all := []expect{
		{"another issuer", "ERR_JWT_CLAIM_VALIDATION_FAILED iss"},
		{"another audience", "ERR_JWT_CLAIM_VALIDATION_FAILED aud"},
		{"another algorithm", "ERR_JOSE_ALG_NOT_ALLOWED"},
		{"as a status list", "ERR_JWT_CLAIM_VALIDATION_FAILED typ"},
		{"another realm's keys", "ERR_JWKS_NO_MATCHING_KEY"},
		{"changed", "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"},
		{"status of a live token", "application/statuslist+jwt ES256 bits 1 status 0"},
		{"status of a revoked token", "application/statuslist+jwt ES256 bits 1 status 1"},
	}
	for _, k := range tokenKinds {
		typ, bound := k.typ, ""
		if typ == "" {
			typ = "-"
		}
		if k.certificate != "" {
			bound = " bound by x5t#S256"
		} else if k.proven {
			bound = " bound by jkt"
		}
		all = append(all, expect{k.name, fmt.Sprintf("%s %s %s %.0fs%s", k.alg, typ, k.client, k.lifetime.Seconds(), bound)})
	}
	return all
}

// inPython is a life as Authlib tells it: token types as they are on the wire,
// truth in Python's words, and challenges left to who asks for them.
func inPython(form, client string) string {
	return strings.NewReplacer("active false", "active False", " bearer invalid_token", "").Replace("B" + lifeOf(form, client)[1:])
}

func authlibCases() []expect {
	const unbound = `401 Bearer error="invalid_token"`
	all := []expect{
		{"client_secret_basic", inPython(lifeOfBearer, "secret")},
		{"client_secret_post", inPython(lifeOfBearer, "secret")},
		{"tls_client_auth", inPython(lifeOfShown, "issued-dn")},
		{"self_signed_tls_client_auth thumbprint", inPython(lifeOfShown, "own")},
		{"self_signed_tls_client_auth jwks", inPython(lifeOfShown, "listed")},
		{"certificate-bound token stolen", unbound + "; " + unbound + "; 200 None"},
		{"wrong secret basic", "invalid_client"},
		{"wrong secret post", "invalid_client"},
		{"certificate missing", "invalid_client"},
		{"key of another client", "invalid_client"},
		{"assertion replayed", "Bearer; invalid_client"},
		{"assertion expired", "invalid_client"},
		{"metadata", "a55 ahotu altrata engagifii generic identityserver listed nonce ops replace"},
		{"verify another issuer", "invalid_claim"},
		{"verify changed", "bad_signature"},
	}
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		all = append(all, expect{"private_key_jwt " + alg + " jwks", inPython(lifeOfBearer, "inline")},
			expect{"private_key_jwt " + alg + " jwks_uri", inPython(lifeOfBearer, "fetched")})
	}
	for _, k := range tokenKinds {
		all = append(all, expect{"verify " + k.name, k.alg + " " + k.client})
	}
	return all
}
