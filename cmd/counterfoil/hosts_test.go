package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// DPoP proofs and assertions worked at the first host of a realm only.
func TestProofsAtEveryHost(t *testing.T) {
	s := layOut(t, strings.NewReplacer("hosts: [auth.acme.example]\n    lifetime", "hosts: [auth.acme.example, alias.acme.example, '[::1]']\n    lifetime",
		"issuer: https://cognito", "base_url: https://auth.acme.example:8443/outside\n    assertion_audience: token_url\n    client_authentication: [client_secret_basic, private_key_jwt]\n    issuer: https://cognito",
	).Replace(exampleConfig(t))).start(t)
	key, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := jose.MarshalSet([]jose.PublicKey{{ID: "own", Algorithm: key.Algorithm, Key: key.Signer.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ids := map[string]string{}
	for realm, scope := range map[string]string{"acme": "orders:read", "partners": "stock:read"} {
		_, c, err := clients.New(db, nil, anyRules).Create(t.Context(), "test", clients.NewClient{Realm: realm, Settings: store.Settings{
			Name: "test", Scopes: []string{scope}, Tokens: store.TokenSettings{DPoPBound: true}, Authentication: store.Authentication{KeySet: string(jwk)}}})
		if err != nil {
			t.Fatal(err)
		}
		ids[realm] = c.ClientID
	}
	described, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	own := key
	own.ID = "own"
	for _, row := range []struct{ name, realm, url, audience string }{
		{"the first host", "acme", "https://auth.acme.example/token", ""},
		{"the second host", "acme", "https://alias.acme.example/token", "https://auth.acme.example"},
		{"the second host in capitals", "acme", "https://ALIAS.acme.example/token", "https://auth.acme.example"},
		{"an address", "acme", "https://[::1]/token", "https://auth.acme.example"},
		{"the base URL", "partners", "https://auth.acme.example:8443/partners/oauth2/token", "https://auth.acme.example:8443/outside/oauth2/token"},
		{"its own token URL", "partners", "https://auth.acme.example:8443/partners/oauth2/token", "https://auth.acme.example:8443/partners/oauth2/token"},
		{"the issuer of a realm that takes the token URL", "partners", "https://auth.acme.example:8443/partners/oauth2/token", movedIssuer},
	} {
		t.Run(row.name, func(t *testing.T) {
			source, err := client.New(client.Config{
				Provider: described, TokenURL: row.url, ClientID: ids[row.realm], AssertionAudience: row.audience, HTTP: s.http(t).Transport,
				Key: func(context.Context) (client.Key, error) { return own, nil }, DPoP: key,
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := source.Token(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// The same in 'up', whose certificate is for three names of this machine.
func TestProofsAtEveryNameOfThisMachine(t *testing.T) {
	key, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	described, err := provider.Builtin("a55")
	if err != nil {
		t.Fatal(err)
	}
	env := shared.env(t, "a55")
	pool, err := trust.File(env.Get("SSL_CERT_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(shared.base)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, base.Host)
	}}
	defer transport.CloseIdleConnections()
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		at := "https://" + net.JoinHostPort(host, base.Port()) + "/a55"
		source, err := client.New(client.Config{
			Provider: described, TokenURL: at + "/oauth2/token", APIURL: at + "/api/v1", HTTP: transport, DPoP: key,
			ClientID: env.Get("API_CLIENT_ID"), ClientSecret: client.Static(counterfoil.Secret(env.Get("API_CLIENT_SECRET"))),
		})
		if err != nil {
			t.Fatal(err)
		}
		resp, err := source.Client().Get(at + "/api/v1/wallets")
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: the call is answered %d", host, resp.StatusCode)
		}
	}
}
