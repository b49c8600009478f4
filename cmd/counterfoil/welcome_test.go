package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/provider"
)

// The lines to try hold text of a description, which may be a stranger's: a
// shell that runs them runs nothing else, and curl gets the text as it stands.
func TestTryLinesQuote(t *testing.T) {
	const evil = `a'$(touch PWNED)` + "`touch PWNED`" + `'"\ %s; touch PWNED #`
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	p.APIs[0].Headers = append(p.APIs[0].Headers, provider.Header{Name: "X-'`-Evil", Value: evil})
	p.APIs[0].Example = provider.Call{Method: "PUT;touch PWNED", Path: "/$(touch PWNED)", Body: evil}
	dir := t.TempDir()
	env := filepath.Join(dir, "a b'c.env")
	if err := os.WriteFile(env, []byte("CURL_CA_BUNDLE=x\nAUTH_URL=https://a\nAPI_BASE_URL=https://b\nTOKEN=the-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Stands for curl: shows its configuration and its arguments.
	if err := os.WriteFile(filepath.Join(dir, "curl"), []byte("#!/bin/sh\ncat\nprintf '[%s]' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	lines := (&realm{Provider: p}).tryLines(env)
	script := "cd '" + dir + "'\n" + lines[0] + "\n" + lines[2]
	got := execute(t, "", []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, "sh", "-c", script).good(t)
	for _, want := range []string{
		`header = "X-'` + "`" + `-Evil: ` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(evil) + `"`,
		`header = "Authorization: Bearer the-token"`,
		"[PUT;touch PWNED]", "[https://b/$(touch PWNED)]", "[" + evil + "]",
	} {
		if !strings.Contains(got.out, want) {
			t.Errorf("curl got\n%s\nwant %s in it", got.out, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "PWNED")); err == nil {
		t.Errorf("the lines ran what the description said:\n%s", script)
	}
}
