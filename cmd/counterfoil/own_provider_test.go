package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ownSection is the README's recipe for a provider of one's own.
func ownSection(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)## A provider of your own\n.*?```sh\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("the README has no recipe")
	}
	return strings.Split(strings.TrimSpace(string(block[1])), "\n")
}

// The recipe stopped 'up': it had no API of the name that every generic
// description gives to its own.
func TestOwnProviderAsWritten(t *testing.T) {
	home, path := t.TempDir(), []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")}
	run := func(lines ...string) ran {
		return execute(t, "", path, "sh", "-ec", strings.Join(append([]string{"cd " + home}, lines...), "\n"))
	}
	lines := ownSection(t)
	for i, line := range lines {
		if line != "counterfoil up" {
			continue
		}
		if got := run(lines[:i]...).good(t); !strings.Contains(got.out, "acme.yaml: good, describes acme\n") {
			t.Errorf("printed %s", got.out)
		}
		start(t, filepath.Join(home, "counterfoil-data"), "127.0.0.1:0")
		if got := run(lines[i+1:]...).good(t); i+1 == len(lines) || !strings.HasPrefix(got.out, "{") {
			t.Errorf("printed %s", got.out)
		}
		return
	}
	t.Errorf("the recipe starts nothing: %q", lines)
}

// Whatever its APIs are called, and however little a description says, 'up' serves
// it, and a call through its guard is answered.
func TestOwnProviders(t *testing.T) {
	const headers = "    headers:\n      - {name: Authorization, from: token, scheme: Bearer}\n      - {name: Content-Type, value: application/json, presence: optional}\n" +
		"    refusals:\n      token_missing: {status: 401}\n      token_invalid: {status: 401}\n      scope_insufficient: {status: 403}\n      header_missing: {status: 400}\n      unavailable: {status: 503}\n"
	rows := []struct{ name, text, connection, printed string }{
		{"extends oauth2", "extends: oauth2\nname: acme\n", "acme", `"wallets"`},
		{"extends cognito", "extends: cognito\nname: pool\n", "pool", `"wallets"`},
		{"extends identityserver", "extends: identityserver\nname: ids\n", "ids", `"wallets"`},
		{"extends what extends", "extends: a55\nname: bank\n", "bank", `"currency"`},
		{"extends what has tenants", "extends: engagifii\nname: council\n", "council", `"totalCount"`},
		{"extends what has an API key", "extends: altrata\nname: people\n", "people", `"data"`},
		{"extends a file", "extends: ./extends-oauth2.yaml\nname: chain\ntoken_endpoint: {lifetime: 5m}\n", "chain", `"wallets"`},
		{"copied whole", "", "oauth2", `"wallets"`},
		{"GraphQL", "extends: oauth2\nname: graph\napis:\n  - name: stars\n    kind: graphql\n    path: /q\n" + headers, "graph", `{"__typename":"Query"}`},
		{"a name of another kind", "extends: oauth2\nname: mixed\napis:\n  - name: wallets\n    kind: graphql\n    path: /q\n" + headers +
			"  - name: calendar\n    kind: rest\n    path: /r\n" + headers, "mixed", `{"__typename":"Query"}`},
		{"a second API", "", "mixed-calendar", `"wallets"`},
	}
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(dir, "providers"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		text := row.text
		if text == "" && row.connection == "oauth2" {
			text = execute(t, "", nil, binary, "provider", "show", "oauth2").good(t).out
		}
		if text == "" {
			continue
		}
		file := filepath.Join(dir, "providers", strings.ReplaceAll(row.name, " ", "-")+".yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u := start(t, dir, "127.0.0.1:0")
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if got := u.counterfoil(t, "call", row.connection).good(t); !strings.Contains(got.out, row.printed) {
				t.Errorf("the call printed %s", got.out)
			}
			u.counterfoil(t, "doctor", row.connection).good(t)
		})
	}
	if log := u.errors(); !strings.Contains(log, "realm=acme api=api kind=rest answers=wallets") || strings.Contains(log, "realm=bank api=") {
		t.Errorf("which APIs stand in for others is not told: %s", log)
	}
}
