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
	// Stands for curl: shows its arguments.
	if err := os.WriteFile(filepath.Join(dir, "curl"), []byte("#!/bin/sh\nprintf '[%s]' \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	lines := (&realm{Provider: p}).trials(env)[0].commands
	script := "cd '" + dir + "'\n" + lines[0] + "\n" + lines[2]
	got := execute(t, "", []string{"PATH=" + dir + ":" + os.Getenv("PATH")}, "sh", "-c", script).good(t)
	for _, want := range []string{
		"[X-'`-Evil: " + evil + "]", "[Authorization: Bearer the-token]", "[--cacert][x]",
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

// Text that follows a variable is not taken for a part of its name.
func TestTextJoinsAVariable(t *testing.T) {
	for _, tt := range []struct {
		parts []string
		want  string
	}{
		{[]string{"$A"}, "1"},
		{[]string{"x=", "$A"}, "x=1"},
		{[]string{"$A", ":", "$B"}, "1:2 *"},
		{[]string{"$A", "/b?c=d&e=f%20"}, "1/b?c=d&e=f%20"},
		{[]string{"$A", "B"}, "1B"},
		{[]string{"$A", "_B"}, "1_B"},
		{[]string{"$A", ":u"}, "1:u"},
		{[]string{"$A", "[0]"}, "1[0]"},
		{[]string{"a!b`c\"$d", "$A", "'"}, "a!b`c\"$d1'"},
		{[]string{"", "$B", ""}, "2 *"},
	} {
		for _, shell := range []string{"dash", "bash"} {
			got := execute(t, "", nil, shell, "-c", "A=1 B='2 *' AB=no A_B=no\nprintf %s "+template(tt.parts...)).good(t)
			if got.out != tt.want {
				t.Errorf("%s: %s is %q, want %q", shell, template(tt.parts...), got.out, tt.want)
			}
		}
	}
}

// A command is broken between its words where it would be longer than a line.
func TestLongCommandIsBroken(t *testing.T) {
	words := commandLine{"curl"}
	for range 40 {
		words = append(words, "-d 'some=thing'")
	}
	long := "'" + strings.Repeat("x", 150) + "'"
	words = append(words, long, "end")
	printed := "  " + words.format("A=$(", " | cat)")
	for _, line := range strings.Split(printed, "\n") {
		if len(line) > maxColumns && strings.TrimSpace(line) != long+" \\" {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	if got := strings.ReplaceAll(strings.TrimSpace(printed), " \\\n      ", " "); got != "A=$("+strings.Join(words, " ")+" | cat)" {
		t.Errorf("the lines together are %s", got)
	}
}
