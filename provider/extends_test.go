package provider_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// folder is a directory with these files.
func folder(t *testing.T, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What is nearest wins, whatever the way is from a description to the one that
// extends nothing.
func TestExtendsWhatExtends(t *testing.T) {
	dir := folder(t, map[string]string{
		"house/base.yaml": "extends: engagifii\nname: base\ntitle: The House\ntoken_endpoint:\n  lifetime: 10m\n" +
			"  errors:\n    invalid_client: {status: 418}\n    rate_limited: {status: 420}\n",
		"house.yaml": "extends: house/base.yaml\nname: house\ntoken_endpoint:\n  path: /t\n  errors:\n    invalid_client: {status: 401}\n",
		"acme.yaml":  "extends: ./house.yaml\nname: acme\naccess_token: {signing_algorithm: EdDSA}\n",
	})
	p, err := provider.Read(filepath.Join(dir, "acme.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	e := p.TokenEndpoint
	for what, ok := range map[string]bool{
		"its own name, no title of others":    p.Name == "acme" && p.Title == "acme" && p.Extends == "./house.yaml",
		"its own algorithm alone":             len(p.AccessToken.SigningAlgorithms) == 1 && p.AccessToken.SigningAlgorithm == provider.AlgorithmEdDSA,
		"the path of the next":                e.Path == "/t",
		"the refusal of the nearest":          e.Refusal(counterfoil.ReasonInvalidClient).Status == 401,
		"the lifetime of the one after":       e.Lifetime == 10*time.Minute,
		"the refusal of the one after":        e.Refusal(counterfoil.ReasonRateLimited).Status == 420,
		"the scope of the catalog's":          e.Scope.Parameter == provider.PresenceRequired && len(p.APIs) == 1 && p.APIs[0].Name == "events",
		"the bounds of what that extends":     e.Limits.Scope == 300,
		"the header of what that extends":     e.Response.Headers["Cache-Control"] != "",
		"the text as it was written, no more": string(p.Source().Text) == "extends: ./house.yaml\nname: acme\naccess_token: {signing_algorithm: EdDSA}\n",
	} {
		if !ok {
			t.Errorf("it has not %s: %+v", what, p)
		}
	}
	for _, name := range provider.Names() {
		own, err := provider.Parse("acme.yaml", fmt.Appendf(nil, "extends: %s\nname: acme\n", name))
		if err != nil || len(own.APIs) == 0 {
			t.Errorf("nothing but extends: %s: %v", name, err)
		}
	}
}

// A chain has an end, and every mistake in it is told with the file that makes it.
func TestExtendsRefuses(t *testing.T) {
	long := map[string]string{"8.yaml": "extends: oauth2\nname: a\n", "9.yaml": "extends: ./8.yaml\nname: a\n"}
	for i := 1; i < 8; i++ {
		long[fmt.Sprintf("%d.yaml", i)] = fmt.Sprintf("extends: ./%d.yaml\nname: a\n", i+1)
	}
	long["0.yaml"] = "extends: 1.yaml\nname: a\n"
	for _, row := range []struct {
		name, open string
		files      map[string]string
		want       string // "" for none; DIR is the directory
	}{
		{"itself", "a.yaml", map[string]string{"a.yaml": "name: a\nextends: a.yaml\n"},
			`DIR/a.yaml:2:1: extends "a.yaml", and so itself: DIR/a.yaml extends DIR/a.yaml`},
		{"a circle of three", "a.yaml", map[string]string{"a.yaml": "extends: x/b.yaml\nname: a\n", "x/b.yaml": "extends: ./y/c.yaml\nname: b\n", "x/y/c.yaml": "extends: z/../c.yaml\nname: c\n"},
			`DIR/x/y/c.yaml:1:1: extends "z/../c.yaml", and so itself: DIR/x/y/c.yaml extends DIR/x/y/c.yaml`},
		{"a circle under another spelling", "./a.yaml", map[string]string{"a.yaml": "extends: b.yaml\nname: a\n", "b.yaml": "extends: x/../a.yaml\nname: b\n"},
			`DIR/b.yaml:1:1: extends "x/../a.yaml", and so itself: DIR/a.yaml extends DIR/b.yaml extends DIR/a.yaml`},
		{"eight files", "1.yaml", long, ""},
		{"nine files", "0.yaml", long, `DIR/7.yaml:1:1: extends "./8.yaml", which would be one file too many: 8 may extend one another`},
		{"a file above", "a.yaml", map[string]string{"a.yaml": "extends: ../b.yaml\nname: a\n"},
			`DIR/a.yaml:1:1: extends "../b.yaml": the file must be in the directory of this one or below it, and named from there`},
		{"an absolute path", "a.yaml", map[string]string{"a.yaml": "extends: /etc/passwd\nname: a\n"}, `DIR/a.yaml:1:1: extends "/etc/passwd": the file must be in`},
		{"a file that is not there", "a.yaml", map[string]string{"a.yaml": "extends: ./b.yaml\nname: a\n"},
			`DIR/a.yaml:1:1: extends "./b.yaml", which cannot be read: open DIR/b.yaml: no such file or directory`},
		{"a directory", "a.yaml", map[string]string{"a.yaml": "extends: ./b\nname: a\n", "b/c": ""}, `DIR/a.yaml:1:1: extends "./b", which cannot be read: read DIR/b: is a directory`},
		{"a mistake in the next", "a.yaml", map[string]string{"a.yaml": "extends: b.yaml\nname: a\n", "b.yaml": "extends: oauth2\nname: b\ncolour: red\n"},
			`DIR/b.yaml:3:1: unknown field "colour" (allowed: extends, name,`},
		{"a next that is not whole", "a.yaml", map[string]string{"a.yaml": "extends: b.yaml\nname: a\n", "b.yaml": "name: b\n"}, `DIR/b.yaml:1:1: "" must be a plain path`},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := folder(t, row.files)
			p, err := provider.Read(dir + "/" + row.open)
			want := strings.ReplaceAll(row.want, "DIR", dir)
			switch {
			case want == "" && err == nil && p.Name == "a":
			case want == "" || err == nil:
				t.Fatalf("got %v, want %q", err, want)
			case !strings.HasPrefix(strings.ReplaceAll(err.Error(), "/./", "/"), want):
				t.Errorf("got\n%v\nwant\n%s", err, want)
			}
			if _, ok := errors.AsType[provider.Problems](err); err != nil && !ok {
				t.Errorf("the error is %T, not Problems", err)
			}
		})
	}
}

// Links that lead in a circle end at the bound.
func TestExtendsThroughLinks(t *testing.T) {
	dir := folder(t, map[string]string{"a.yaml": "extends: x/a.yaml\nname: a\n"})
	if err := os.Symlink(".", filepath.Join(dir, "x")); err != nil {
		t.Fatal(err)
	}
	_, err := provider.Read(filepath.Join(dir, "a.yaml"))
	if err == nil || !strings.Contains(err.Error(), "one file too many") {
		t.Errorf("got %v", err)
	}
}
