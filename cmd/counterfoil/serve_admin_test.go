package main

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
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

// A client of the Admin API cannot fill the record: calls above its limit are
// refused, and their refusals are counted in one record.
func TestServeAdminCallsAreLimited(t *testing.T) {
	const allowed = 1_200 + 120 // a minute, and the tenth
	o := operate(t)
	token := curl(t, o).token
	c := o.http(t)
	var answers [600]atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for refused := 0; refused < 20 && t.Context().Err() == nil; {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.base+"/admin/v1/realms", nil)
				if err != nil {
					t.Error(err)
					return
				}
				req.Header.Set("Authorization", "Bearer "+token)
				status := do(t, c, req).status
				answers[status].Add(1)
				if status != http.StatusOK {
					refused++
				}
			}
		})
	}
	group.Wait()
	good, refused := answers[http.StatusOK].Load(), answers[http.StatusTooManyRequests].Load()
	if good < allowed || refused != 8*20 {
		t.Errorf("%d calls were let through and %d refused", good, refused)
	}
	record := o.here(t, "audit", "--realm", "ops", "--reason", "rate_limited", "-o", "json").good(t).out
	if n := strings.Count(record, `"admin.refused"`); n == 0 || n > 10 {
		t.Errorf("%d records of %d refusals:\n%s", n, refused, record)
	}
}
