package main

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// A token that is bound to a certificate opens the Admin API with that
// certificate, be it one that a trusted proxy forwards, and without it does not.
func TestServeAdminBehindAProxy(t *testing.T) {
	config := strings.NewReplacer("10.0.0.0/8", "127.0.0.0/8", "log: {", "certificate_header: {name: Client-Cert}\nlog: {").Replace(exampleConfig(t))
	s := layOut(t, config).start(t)
	text, err := os.ReadFile(filepath.Join(s.dir, "tls", "certificate.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	certificate := ":" + base64.StdEncoding.EncodeToString(block.Bytes) + ":"
	db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, creds, err := clients.New(db, nil, anyRules).Create(t.Context(), "test", clients.NewClient{Realm: "ops", Settings: store.Settings{
		Scopes: counterfoil.Scopes{"clients:read"}, Tokens: store.TokenSettings{CertificateBound: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c := s.http(t)
	// send sends a request as the proxy would.
	send := func(req *http.Request, certificate string) answer {
		req.Host = "ops.acme.example"
		if certificate != "" {
			req.Header.Set("Client-Cert", certificate)
		}
		return do(t, c, req)
	}
	const base = "https://auth.acme.example" // the name in the certificate of the server
	if got := send(tokenRequest(t, base+"/token", creds), ""); got.status != http.StatusUnauthorized {
		t.Errorf("a token without the certificate: %d", got.status)
	}
	got := send(tokenRequest(t, base+"/token", creds), certificate)
	var answer struct {
		Token counterfoil.Secret `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || answer.Token == "" {
		t.Fatalf("a token with the certificate: %d", got.status)
	}
	for shown, want := range map[string]int{certificate: http.StatusOK, "": http.StatusUnauthorized} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+"/admin/v1/realms/acme/clients", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+answer.Token.Reveal())
		if got := send(req, shown); got.status != want {
			t.Errorf("with the certificate %v: %d, want %d", shown != "", got.status, want)
		}
	}
}
