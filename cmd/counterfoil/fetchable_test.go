package main

import (
	"net/http"
	"strings"
	"testing"
)

// A jwks_uri that can never be fetched is refused when it is written, by the
// command line, the Admin API and an import alike, and the answer says what to
// change.
func TestKeySetThatCanNeverBeFetched(t *testing.T) {
	const listed = "outbound: {hosts: [keys.example, '10.0.0.7', 'keys.example:8443']}\ntrusted_proxies:"
	s := layOut(t, strings.Replace(exampleConfig(t), "trusted_proxies:", listed, 1)).start(t)
	c := s.http(t)
	chief := s.client(t, "ops", "clients:read", "clients:write")
	token := s.token(t, c, "https://ops.acme.example/token", chief)
	post := func(body string) answer {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://ops.acme.example/admin/v1/realms/acme/clients", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
		req.Header.Set("Content-Type", "application/json")
		return do(t, c, req)
	}
	for address, says := range map[string]string{
		"https://keys.example/jwks":                         "",
		"https://keys.example:443/jwks":                     "",
		"https://KEYS.example:8443/jwks":                    "",
		"https://other.example/jwks":                        "outbound.hosts",
		"https://keys.example:8444/jwks":                    "outbound.hosts",
		"https://keys.example:0/jwks":                       "outbound.hosts",
		"https://keys.example./jwks":                        "outbound.hosts",
		"https://10.0.0.7/jwks":                             "outbound.private",
		"http://keys.example/jwks":                          "must be an https URL",
		"https://user@keys.example/jwks":                    "must be an https URL",
		"https://keys.example/jwks#first":                   "must be an https URL",
		"https:///jwks":                                     "must be an https URL",
		"https://keys.example/" + strings.Repeat("x", 1000): "of at most 1000 bytes",
	} {
		id := "by-command-" + strings.Map(func(r rune) rune {
			if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' {
				return r
			}
			return '-'
		}, address[:min(len(address), 40)])
		byCommand := s.manage(t, "client", "create", "acme", "--id", id, "--without-secret", "--jwks-uri", address)
		if (byCommand.code == 0) != (says == "") || !strings.Contains(byCommand.err, says) {
			t.Errorf("%s: the command line says %d %s", address, byCommand.code, byCommand.err)
		}
		byAPI := post(`{"client_id":"api-` + id + `","without_secret":true,"authentication":{"jwks_uri":"` + address + `"}}`)
		if (byAPI.status == http.StatusCreated) != (says == "") || !strings.Contains(byAPI.body, says) || says != "" && byAPI.status != http.StatusUnprocessableEntity && byAPI.status != http.StatusBadRequest {
			t.Errorf("%s: the Admin API answers %d %s", address, byAPI.status, byAPI.body)
		}
		s.write(t, "hydra.json", `[{"client_id":"hydra-`+id+`","grant_types":["client_credentials"],"scope":"orders:read","token_endpoint_auth_method":"private_key_jwt","jwks_uri":"`+address+`"}]`)
		imported := s.manage(t, "client", "import", "acme", "--format", "hydra", s.dir+"/hydra.json")
		if (imported.code == 0) != (says == "") || says != "" && !strings.Contains(imported.out+imported.err, "jwks_uri") {
			t.Errorf("%s: the import says %d %s %s", address, imported.code, imported.out, imported.err)
		}
	}
	// What was written before the list changed does not keep a client from being changed.
	s.write(t, "serve.yaml", strings.Replace(exampleConfig(t), "trusted_proxies:", "outbound: {hosts: [new.example]}\ntrusted_proxies:", 1))
	id := "by-command-https---keys-example-jwks"
	s.manage(t, "client", "change", "acme", id, "--name", "Orders").good(t)
	if got := s.manage(t, "client", "change", "acme", id, "--jwks-uri", "https://keys.example/other"); got.code == 0 {
		t.Errorf("a new address of a host that is not on the list: %s", got.out)
	}
}
