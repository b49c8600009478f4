package credential_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
)

const theSecret = "s3cret-by-reference"

// shows fails the test when anything that is printed of the values holds the
// secret.
func shows(t testing.TB, secret string, values ...any) {
	t.Helper()
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if text := fmt.Sprintf(verb, v); strings.Contains(text, secret) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, text)
			}
		}
	}
}

func must(t testing.TB, f client.SecretFunc) string {
	t.Helper()
	v, err := f(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return v.Reveal()
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"plain": theSecret + "\r\n", "x.env": "# of the client\nA=1\nexport KEY='it'\\''s'\n", "empty": "", "blank": "\n",
		"big": strings.Repeat("x", 65<<10), "broken.env": theSecret + "\n",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("COUNTERFOIL_TEST_SECRET", "from-env")
	t.Setenv("COUNTERFOIL_TEST_EMPTY", "")
	more := credential.Schemes{
		"vault": func(reference string) (client.SecretFunc, error) {
			return client.Static(counterfoil.Secret(reference)), nil
		},
		"none": nil,
		"file": credential.Files{Dir: dir}.Open,
	}
	for _, row := range []struct{ name, reference, want, err string }{
		{"environment", "env:COUNTERFOIL_TEST_SECRET", "from-env", ""},
		{"environment: not set", "env:COUNTERFOIL_TEST_UNSET", "", "secret env:COUNTERFOIL_TEST_UNSET: the environment variable is not set"},
		{"environment: empty", "env:COUNTERFOIL_TEST_EMPTY", "", "is not set"},
		{"environment: no name", "env:", "", "write env:NAME"},
		{"environment: no possible name", "env:A=" + theSecret, "", "write env:NAME"},
		{"file", "file:plain", theSecret, ""},
		{"file: absolute", "file:" + filepath.Join(dir, "plain"), theSecret, ""},
		{"file: line", "file:x.env#KEY", "it's", ""},
		{"file: no such line", "file:x.env#NONE", "", "secret file:x.env#NONE: the file has no line NONE="},
		{"file: no line named", "file:x.env#", "", "it does not name a line"},
		{"file: no environment file", "file:broken.env#KEY", "", "this line is not KEY=value"},
		{"file: missing", "file:missing", "", "no such file"},
		{"file: none named", "file:", "", "it does not name a file"},
		{"file: empty", "file:empty", "", "it is empty"},
		{"file: blank", "file:blank", "", "it is empty"},
		{"file: too long", "file:big", "", "longer than 65536 bytes"},
		{"file: a directory", "file:dir", "", "not a regular file"},
		{"another scheme", "vault:kv/app#secret", "kv/app#secret", ""},
		{"no function", "none:x", "", "the opener of none is nil"},
		{"unknown scheme", theSecret + ":rest", "", "given by reference, not written out: use env:NAME, file:PATH, file:PATH#KEY (a line of an environment file), none:…, vault:…"},
		{"no reference", theSecret, "", "given by reference, not written out"},
		{"nothing", "", "", "given by reference, not written out"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f, err := credential.Open(row.reference, more)
			var got counterfoil.Secret
			if err == nil {
				got, err = f(t.Context())
			}
			if got.Reveal() != row.want {
				t.Errorf("got %q, want %q", got.Reveal(), row.want)
			}
			if (err == nil) != (row.err == "") || err != nil && (!strings.Contains(err.Error(), row.err) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got error %v, want one line with %q", err, row.err)
			}
			shows(t, theSecret, err, got, f)
		})
	}
}

// Without more schemes the error lists the two that are always there, and a
// variable that is set later is read.
func TestOpenAlone(t *testing.T) {
	_, err := credential.Open("keyring:a/b", nil)
	if err == nil || !strings.HasSuffix(err.Error(), "use env:NAME, file:PATH, file:PATH#KEY (a line of an environment file)") {
		t.Errorf("got %v", err)
	}
	f, err := credential.Open("env:COUNTERFOIL_TEST_ROTATED", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"first", "second"} {
		t.Setenv("COUNTERFOIL_TEST_ROTATED", want)
		if got := must(t, f); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	settings := map[string]string{"NAME": "of-the-caller"}
	f, err = credential.Open("env:NAME", credential.Schemes{"env": credential.Env(func(name string) string { return settings[name] })})
	if err != nil || must(t, f) != "of-the-caller" {
		t.Errorf("Env with a getenv of its own: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	for _, s := range []string{"env:A", "env:", "file:x", "file:x#K", "file:#", "x", "s3cr3t:y", ":", "file:\x00", "FILE:x"} {
		f.Add(s)
	}
	files := credential.Files{Dir: f.TempDir()}
	f.Fuzz(func(t *testing.T, reference string) {
		get, err := credential.Open(reference, credential.Schemes{"file": func(rest string) (client.SecretFunc, error) {
			if filepath.IsAbs(rest) {
				rest = "of-this-machine" // not to be read by a test
			}
			return files.Open(rest)
		}})
		scheme, _, ok := strings.Cut(reference, ":")
		if known := ok && (scheme == "env" || scheme == "file"); !known {
			if err == nil {
				t.Fatal("an unknown scheme was opened")
			}
			_, plain := credential.Open("", nil)
			if err.Error() != plain.Error() {
				t.Fatalf("the error depends on what was given: %v", err)
			}
			return
		}
		if err == nil {
			_, _ = get(context.Background())
		}
	})
}
