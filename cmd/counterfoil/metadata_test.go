package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// fetch gets a JSON document of the shared server.
func fetch(t *testing.T, url string) map[string]any {
	t.Helper()
	got := shared.sourced(t, "a55", fmt.Sprintf("curl -sf '%s'", url)).good(t)
	var doc map[string]any
	if err := json.Unmarshal([]byte(got.out), &doc); err != nil {
		t.Fatalf("%s answered %s", url, got.out)
	}
	return doc
}

// The documents of each realm name each other, and what they name is there.
func TestMetadata(t *testing.T) {
	for _, provider := range missionProviders {
		t.Run(provider, func(t *testing.T) {
			base := shared.base + "/" + provider
			for _, url := range []string{
				base + "/.well-known/openid-configuration",
				base + "/.well-known/oauth-authorization-server",
				shared.base + "/.well-known/oauth-authorization-server/" + provider, // RFC 8414 section 3.1
			} {
				doc := fetch(t, url)
				if doc["issuer"] != base || doc["token_endpoint"] != shared.env(t, provider).Get("AUTH_URL") || doc["jwks_uri"] != base+"/.well-known/jwks.json" {
					t.Errorf("%s answered %v", url, doc)
				}
			}
			keys, ok := fetch(t, base+"/.well-known/jwks.json")["keys"].([]any)
			if !ok || len(keys) != 1 {
				t.Fatalf("the key set has %v", keys)
			}
			for member := range keys[0].(map[string]any) {
				if !strings.Contains(" kty kid use alg n e crv x y ", " "+member+" ") {
					t.Errorf("the key set shows %q", member)
				}
			}
		})
	}
	if got := shared.sourced(t, "a55", `curl -s -o /dev/null -w '%{http_code}' "${AUTH_URL%/oauth2/token}/.well-known/other"`); got.out != "404" {
		t.Errorf("an unknown document is answered %s", got.out)
	}
}

// The kernel writes no core file of a program that holds secrets.
func TestNoCoreFiles(t *testing.T) {
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", shared.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(limits), "Max core file size")
	if fields := strings.Fields(rest); len(fields) < 2 || fields[0] != "0" || fields[1] != "0" {
		t.Errorf("core files of %v bytes are allowed", fields[:2])
	}
	if err := shared.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Error(err)
	}
}
