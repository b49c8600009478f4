package resolver_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/counterfoil/counterfoil/client/credential/resolver"
)

// Every kind of reference is opened by one function, which refuses those that have
// no place where it stands.
func TestReferences(t *testing.T) {
	dir := t.TempDir()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var sealed strings.Builder
	w, err := age.Encrypt(&sealed, id.Recipient())
	if err == nil {
		_, err = w.Write([]byte("KEY='of age'\n"))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"plain": "of a file\n", "x.env": "KEY='of a line' # it is\n", "x.age": sealed.String(), "id": "# created\n" + id.String() + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all := func() resolver.Config {
		return resolver.Config{
			Dir: dir, Getenv: func(name string) string { return map[string]string{"SET": "of the environment\n"}[name] },
			Stdin: strings.NewReader("\xef\xbb\xbfof input\r\n"), AgeIdentity: "file:id", Exec: func() error { return nil },
			Prompt: func(_ context.Context, question string) (string, error) { return "of " + question, nil },
		}
	}
	for _, row := range []struct {
		name, reference string
		change          func(*resolver.Config)
		want, err       string
	}{
		{"environment", "env:SET", nil, "of the environment", ""},
		{"file", "file:plain", nil, "of a file", ""},
		{"line", "file:x.env#KEY", nil, "of a line", ""},
		{"standard input", "stdin:", nil, "of input", ""},
		{"person", "prompt:somebody", nil, "of somebody", ""},
		{"age", "age:x.age#KEY", nil, "of age", ""},
		{"program", "exec:cat plain", nil, "of a file", ""},
		{"keyring that names nothing", "keyring:acme", nil, "", "write keyring:SERVICE/NAME"},
		{"no standard input", "stdin:", func(c *resolver.Config) { c.Stdin = nil }, "", "no input here"},
		{"standard input and more", "stdin:x", nil, "", "nothing may follow the scheme stdin"},
		{"nobody to ask", "prompt:x", func(c *resolver.Config) { c.Prompt = nil }, "", "no terminal to prompt at"},
		{"somebody who fails", "prompt:x", func(c *resolver.Config) {
			c.Prompt = func(context.Context, string) (string, error) { return "", errors.New("gone") }
		}, "", "gone"},
		{"somebody who says nothing", "prompt:x", func(c *resolver.Config) {
			c.Prompt = func(context.Context, string) (string, error) { return "", nil }
		}, "", "it is empty"},
		{"age without identity", "age:x.age#KEY", func(c *resolver.Config) { c.AgeIdentity = "" }, "", "set age_identity"},
		{"age in age", "age:x.age#KEY", func(c *resolver.Config) { c.AgeIdentity = "age:id" }, "", "age_identity: a reference to age is wrong"},
		{"age with an identity of a program", "age:x.age#KEY", func(c *resolver.Config) { c.AgeIdentity = "exec:cat id" }, "of age", ""},
		{"age with an identity of a program, forbidden", "age:x.age#KEY", func(c *resolver.Config) { c.AgeIdentity, c.Exec = "exec:cat id", nil }, "", "exec: is accepted only in a client configuration"},
		{"program, nobody has allowed it", "exec:cat plain", func(c *resolver.Config) { c.Exec = nil }, "", "exec: is accepted only in a client configuration"},
		{"program, forbidden", "exec:cat plain", func(c *resolver.Config) { c.Exec = func() error { return errors.New("not here") } }, "", "not here"},
		{"unknown", "op://vault/item", nil, "", "use env:NAME, file:PATH, file:PATH#KEY (a line of an environment file), keyring:SERVICE/NAME, age:PATH or age:PATH#KEY (with age_identity), stdin:, prompt:QUESTION, exec:PROGRAM ARGUMENT…"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := all()
			if row.change != nil {
				row.change(&c)
			}
			f, err := resolver.New(c)(row.reference)
			for range 2 { // what can be read once is kept
				if err != nil {
					break
				}
				v, failed := f(t.Context())
				if err = failed; v.Reveal() != row.want {
					t.Errorf("got %q, want %q", v.Reveal(), row.want)
				}
			}
			if (err == nil) != (row.err == "") || err != nil && (!strings.Contains(err.Error(), row.err) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got error %v, want %q", err, row.err)
			}
		})
	}
	open := resolver.New(all())
	if _, err := open("stdin:"); err != nil {
		t.Error(err)
	}
	if _, err := open("stdin:"); err == nil || !strings.Contains(err.Error(), "standard input can be read once") {
		t.Errorf("two references to standard input: %v", err)
	}
}

// A configuration that others can write runs nothing.
func TestMayExec(t *testing.T) {
	path := filepath.Join(t.TempDir(), "consumer.yaml")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, allowed := range map[fs.FileMode]bool{0o600: true, 0o644: true, 0o400: true, 0o664: false, 0o620: false, 0o602: false, 0o666: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := resolver.MayExec(info); (err == nil) != allowed {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	info, err := os.Stat(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if resolver.MayExec(info) == nil {
		t.Error("a device is taken for a configuration")
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := errors.Join(os.Chmod(path, 0o600), os.Chown(path, 4711, 4711)); err != nil {
		t.Fatal(err)
	}
	if info, err = os.Stat(path); err != nil {
		t.Fatal(err)
	}
	if err := resolver.MayExec(info); err == nil || !strings.Contains(err.Error(), "id 4711") {
		t.Errorf("another user's: %v", err)
	}
}
