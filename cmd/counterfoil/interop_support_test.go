package main

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/provider"
)

// interopConfig has PORT, OTHER and CA for what is known at the start only.
const interopConfig = `
listen: 127.0.0.1:0
tls: {certificate: SERVER, key: SERVER, client_certificates: true}
database: counterfoil.db
master_key: file:master.key
outbound: {hosts: ['127.0.0.1:OTHER'], private: true, ca_file: CA}
realms:
  - name: generic
    provider: oauth2
    base_url: https://127.0.0.1:PORT/generic
    assertion_audience: token_url
    scopes: [{name: read, description: Read}, {name: write, description: Write}]
    signing_algorithms: [ES256, RS256, PS256, EdDSA]
    resources: ['https://orders.example/', 'https://stock.example/']
    certificate_authorities: CA
    federation:
      - {issuer: 'https://cluster.example', jwks_uri: 'https://127.0.0.1:OTHER/cluster', audience: counterfoil}
  # The one that has a host to itself.
  - name: nonce
    provider: oauth2
    base_url: https://localhost:PORT
    assertion_audience: token_url
    client_authentication: [client_secret_basic, client_secret_post, private_key_jwt]
    scopes: [{name: read, description: Read}]
    dpop_nonce: true
  - name: replace
    provider: oauth2
    base_url: https://127.0.0.1:PORT/replace
    client_authentication: [client_secret_basic]
    scopes: [{name: read, description: Read}]
    policy: replace
  - name: listed
    provider: oauth2
    base_url: https://127.0.0.1:PORT/listed
    client_authentication: [client_secret_basic]
    scopes: [{name: read, description: Read}]
    claims: [{name: status, from: status}]
  - {name: ops, provider: counterfoil, base_url: 'https://127.0.0.1:PORT/ops', client_authentication: [client_secret_basic]}
  - {name: ahotu, provider: ahotu, base_url: 'https://127.0.0.1:PORT/ahotu'}
  - {name: altrata, provider: altrata, base_url: 'https://127.0.0.1:PORT/altrata'}
  - {name: engagifii, provider: engagifii, base_url: 'https://127.0.0.1:PORT/engagifii'}
  - {name: a55, provider: a55, base_url: 'https://127.0.0.1:PORT/a55'}
  - name: moved
    provider: cognito
    base_url: https://127.0.0.1:PORT/moved
    issuer: https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example
    scopes: [{name: read, description: Read}]
  - name: identityserver
    provider: identityserver
    base_url: https://127.0.0.1:PORT/identityserver
    scopes: [{name: read, description: Read}]
`

// interop is a running 'serve', an API behind guards in this process, and the
// key sets of others, as the scripts of testdata/interop get to know them: on
// standard input, because there are secrets among it.
type interop struct {
	t     *testing.T
	serve *served
	pki   *pki
	http  *http.Client
	keys  map[string]crypto.Signer

	Realms       map[string]string `json:"realms"`
	APIs         map[string]string `json:"apis"`
	Clients      map[string]made   `json:"clients"`
	Keys         map[string]string `json:"keys"` // PKCS #8, by algorithm
	CA           string            `json:"ca"`
	Certificates map[string]string `json:"certificates"` // files with the key
	Federated    string            `json:"federated"`
	Tokens       []verifiable      `json:"tokens,omitempty"`
}

// newInterop starts all of it.
func newInterop(t *testing.T) *interop {
	t.Helper()
	h := &interop{
		t: t, pki: newPKI(t), keys: assertionKeys(),
		Realms: map[string]string{}, APIs: map[string]string{}, Clients: map[string]made{}, Keys: map[string]string{}, Certificates: map[string]string{},
	}
	h.CA = h.pki.file
	h.http = &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.pki.pool, MinVersion: tls.VersionTLS12}}}
	certificate := h.pki.server(t)
	cluster := newP256()
	others := http.NewServeMux()
	answer := func(path, text string) {
		others.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	answer("/cluster", keySet(t, map[string]crypto.Signer{"ES256": cluster}))
	answer("/client", keySet(t, h.keys))
	other := h.pki.listen(t, certificate, others)
	_, otherPort, _ := strings.Cut(strings.TrimPrefix(other.URL, "https://"), ":")

	f := newFront(t)
	h.serve = layOut(t, strings.NewReplacer("PORT", f.port(), "OTHER", otherPort, "CA", h.CA, "SERVER", certificate).Replace(interopConfig)).start(t)
	f.behind <- "127.0.0.1:" + h.serve.port
	for _, realm := range []string{"generic", "replace", "listed", "ops", "ahotu", "altrata", "engagifii", "a55", "moved", "identityserver"} {
		h.Realms[realm] = "https://127.0.0.1:" + f.port() + "/" + realm
	}
	h.Realms["nonce"] = "https://localhost:" + f.port()

	for alg, key := range h.keys {
		h.Keys[alg] = pkcs8(t, key)
	}
	h.register(other.URL + "/client")
	now := time.Now().Unix()
	h.Federated = josetest.Token(cluster, `{"alg":"ES256","kid":"key-ES256"}`, fmt.Sprintf(
		`{"iss":"https://cluster.example","sub":"system:serviceaccount:shop:billing","aud":["counterfoil"],"iat":%d,"exp":%d,`+
			`"kubernetes.io":{"namespace":"shop","serviceaccount":{"name":"billing"}}}`, now, now+1800))
	h.guard(certificate)
	return h
}

// register makes the clients of the tests on the command line, as an operator
// does beside the running server.
func (h *interop) register(keySetURL string) {
	t := h.t
	issued, _, _ := h.pki.client(t, "issued", false)
	own, ownCert, _ := h.pki.client(t, "own", true)
	listed, listedCert, listedKey := h.pki.client(t, "listed", true)
	strange, _, _ := h.pki.client(t, "strange", true)
	h.Certificates = map[string]string{"issued": issued, "own": own, "listed": listed, "strange": strange}
	file := func(name, text string) string {
		h.serve.write(t, name, text)
		return filepath.Join(h.serve.dir, name)
	}
	generic := func(id string, args ...string) {
		h.create("generic", id, append(args, "--scope", "read", "--scope", "write")...)
	}
	generic("secret")
	generic("odd", "--id", "svc:billing+eu%20/ä") // what the Basic scheme has to encode
	generic("server", "--resource-server")
	generic("certified", "--certificate-bound")
	generic("proving", "--dpop-bound")
	generic("inline", "--without-secret", "--jwks", file("inline.json", keySet(t, h.keys)))
	generic("fetched", "--without-secret", "--jwks-uri", keySetURL)
	generic("issued-dn", "--without-secret", "--settings", `{"authentication":{"certificate":{"tls_client_auth_subject_dn":"CN=issued,O=Acme"}}}`)
	generic("issued-dns", "--without-secret", "--settings", `{"authentication":{"certificate":{"tls_client_auth_san_dns":"issued.acme.example"}}}`)
	generic("own", "--without-secret", "--thumbprint", jose.CertificateThumbprint(ownCert))
	generic("listed", "--without-secret", "--jwks", file("listed.json", certificateSet(t, listedCert, listedKey)))
	generic("workload", "--without-secret", "--settings",
		`{"authentication":{"federation":[{"issuer":"https://cluster.example","claims":{"/kubernetes.io/namespace":"shop","/kubernetes.io/serviceaccount/name":"billing"}}]}}`)
	generic("other-workload", "--without-secret", "--settings", `{"authentication":{"federation":[{"issuer":"https://cluster.example","claims":{"/kubernetes.io/namespace":"bank"}}]}}`)
	for _, alg := range []string{"ES256", "RS256", "PS256", "EdDSA"} {
		generic("signs-"+alg, "--algorithm", alg)
	}
	h.create("engagifii", "engagifii", "--tenant", "TENANT123", "--scope", "EventsApi")
	for realm, scope := range map[string]string{
		"nonce": "read", "replace": "read", "ops": "clients:read", "ahotu": "events:read", "altrata": "profiles:read", "a55": "wallets:read", "moved": "read", "identityserver": "read",
	} {
		h.create(realm, realm, "--scope", scope)
	}
	h.create("listed", "in-list", "--scope", "read")
	h.create("nonce", "nonce-key", "--scope", "read", "--without-secret", "--jwks", file("nonce.json", keySet(t, h.keys)))
}

// create makes a client that the tests call name, which is its id as well unless
// the arguments have another.
func (h *interop) create(realm, name string, args ...string) {
	h.t.Helper()
	args = append([]string{"client", "create", realm, "--id", name, "--serve-config", h.serve.file, "-o", "json"}, args...)
	h.Clients[name] = credentialsOf(h.t, execute(h.t, "", nil, binary, args...))
}

// basicAuth adds a client's credentials.
type basicAuth struct {
	made
	next http.RoundTripper
}

func (b basicAuth) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(b.ClientID, b.ClientSecret)
	return b.next.RoundTrip(r)
}

// guard puts guards before an API that says who calls. Those of the realm generic
// ask the server about each token each time.
func (h *interop) guard(certificate string) {
	t := h.t
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := counterfoil.PrincipalFrom(r.Context())
		fmt.Fprintf(w, "%s may %s", caller.ClientID, caller.Scopes)
	})
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	if p, err = p.Override(provider.Overrides{SigningAlgorithms: []provider.Algorithm{provider.AlgorithmES256, provider.AlgorithmRS256, provider.AlgorithmPS256, provider.AlgorithmEdDSA}}); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	server := h.pki.listen(t, certificate, mux)
	for _, g := range []struct {
		name, realm, audience string
		nonce                 bool
	}{{"generic", "generic", "", false}, {"orders", "generic", "https://orders.example/", false}, {"nonce", "nonce", "", true}} {
		keys, err := guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: h.Realms[g.realm] + "/.well-known/jwks.json", Client: h.http})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(keys.Close)
		config := guard.Config{Provider: p, Issuer: h.Realms[g.realm], Audience: g.audience, Keys: keys, DPoPNonce: g.nonce, URL: server.URL}
		if g.realm == "generic" {
			config.Liveness, err = guard.NewIntrospector(guard.IntrospectionConfig{
				URL: h.Realms[g.realm] + "/introspect", Client: &http.Client{Transport: basicAuth{h.Clients["server"], h.http.Transport}}, TTL: 1,
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		guarded, err := guard.New(config)
		if err != nil {
			t.Fatal(err)
		}
		mux.Handle("/"+g.name+"/", guarded.Handler(api))
		h.APIs[g.name] = server.URL + "/" + g.name + "/"
	}
}

// verifiable is a token, and what a verifier knows of it beforehand.
type verifiable struct {
	Name     string `json:"name"`
	KeySet   string `json:"jwks_uri"`
	Issuer   string `json:"issuer"`
	Audience string `json:"audience,omitempty"`
	Type     string `json:"typ,omitempty"`
	Alg      string `json:"alg"`
	Token    string `json:"token"`
}

// showing is an HTTP client that has the certificate of that name; "" for none.
func (h *interop) showing(certificate string) *http.Client {
	h.t.Helper()
	if certificate == "" {
		return h.http
	}
	file := h.Certificates[certificate]
	pair, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		h.t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.pki.pool, MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}}
	h.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Timeout: patience, Transport: transport}
}

// ask gets a token as each dialect wants to be asked, with a proof or without.
func (h *interop) ask(through *http.Client, proven bool, realm, client string, more ...string) string {
	h.t.Helper()
	c := h.Clients[client]
	form := url.Values{"grant_type": {"client_credentials"}}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	place := map[string]string{"engagifii": "/connect/token", "identityserver": "/connect/token", "ahotu": "/oauth2/token", "altrata": "/oauth2/token", "a55": "/oauth2/token", "moved": "/oauth2/token"}[realm]
	if place == "" {
		place = "/token"
	}
	where, body := h.Realms[realm]+place, form.Encode()
	if realm == "altrata" {
		where, body = where+"?"+body, ""
	}
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, where, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if c.APIKey != "" {
		req.Header.Set("x-api-key", c.APIKey)
	}
	if proven {
		key := newP256()
		req.Header.Set("DPoP", josetest.Token(key, `{"typ":"dpop+jwt","alg":"ES256","jwk":`+josetest.JWK(key.Public())+`}`,
			fmt.Sprintf(`{"htm":"POST","htu":"%s","iat":%d,"jti":"%s"}`, where, time.Now().Unix(), rand.Text())))
	}
	req.SetBasicAuth(url.QueryEscape(c.ClientID), c.ClientSecret)
	got := do(h.t, through, req)
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || answer.Token == "" {
		h.t.Fatalf("%s answers %d", where, got.status)
	}
	return answer.Token
}

// run runs a script, and returns what it reports of each case. A case that is
// reported twice, or a script that fails as a whole, fails the test.
func (h *interop) run(t *testing.T, command ...string) map[string]string {
	t.Helper()
	if _, err := os.Stat("testdata/interop/node_modules"); err != nil {
		t.Fatal("the packages of testdata/interop are missing: run 'make needs'")
	}
	env := []string{"NODE_EXTRA_CA_CERTS=" + h.CA, "REQUESTS_CA_BUNDLE=" + h.CA, "NO_PROXY=*", "no_proxy=*", "PYTHONDONTWRITEBYTECODE=1"}
	ran := execute(t, jsonOf(t, h), env, command[0], command[1:]...)
	got := map[string]string{}
	for line := range strings.Lines(ran.out) {
		var report struct {
			Case string `json:"case"`
			Got  string `json:"got"`
		}
		if err := json.Unmarshal([]byte(line), &report); err != nil || report.Case == "" {
			t.Fatalf("printed %q: %v", line, err)
		}
		if _, twice := got[report.Case]; twice {
			t.Errorf("the case %q is reported twice", report.Case)
		}
		got[report.Case] = report.Got
	}
	if ran.code != 0 || ran.err != "" {
		t.Errorf("%s ended with %d: %s", command, ran.code, ran.err)
	}
	return got
}

// expect is a case and what is reported of it.
type expect struct{ name, want string }

// compareCases holds each case as a subtest; there are no others.
func compareCases(t *testing.T, got map[string]string, want []expect) {
	t.Helper()
	for _, row := range want {
		t.Run(row.name, func(t *testing.T) {
			report, there := got[row.name]
			if !there {
				t.Fatal("the script did not report it")
			}
			if report != row.want {
				t.Errorf("\n got %s\nwant %s", report, row.want)
			}
		})
		delete(got, row.name)
	}
	for name, report := range got {
		t.Errorf("nobody expects the case %q: %s", name, report)
	}
}
