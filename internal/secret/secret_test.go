package secret_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/secret"
)

func TestGet(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"plain": "from-file\n", "x.env": "A=1\nKEY='it'\\''s'\n", "empty": "\n", "big": strings.Repeat("x", 65<<10), "full": strings.Repeat("x", 64<<10), "over": strings.Repeat("x", 64<<10+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	source := secret.Source{
		Dir:    dir,
		Getenv: func(name string) string { return map[string]string{"SET": "from-env"}[name] },
		Stdin:  strings.NewReader("from-stdin\r\n"),
		Prompt: func(question string) (string, error) {
			if question == "broken" {
				return "", errors.New("gone")
			}
			return "typed", nil
		},
	}
	for _, row := range []struct{ ref, want, err string }{
		{"env:SET", "from-env", ""},
		{"env:UNSET", "", "secret env:UNSET: the environment variable is not set"},
		{"file:plain", "from-file", ""},
		{"file:" + filepath.Join(dir, "plain"), "from-file", ""},
		{"file:x.env#KEY", "it's", ""},
		{"file:x.env#NONE", "", "the file has no line NONE="},
		{"file:missing", "", "no such file"},
		{"file:empty", "", "it is empty"},
		{"file:big", "", "longer than"},
		{"file:full", strings.Repeat("x", 64<<10), ""},
		{"file:over", "", "longer than"},
		{"stdin:", "from-stdin", ""},
		{"prompt:Secret", "typed", ""},
		{"prompt:broken", "", "gone"},
		{"s3cr3t:with-a-colon", "", "given by reference, not written out: use env:NAME"},
		{"s3cr3t-in-the-clear", "", "given by reference, not written out"},
	} {
		t.Run(row.ref, func(t *testing.T) {
			got, err := source.Get(row.ref)
			if got.Reveal() != row.want {
				t.Errorf("got %q, want %q", got.Reveal(), row.want)
			}
			if (err == nil) != (row.err == "") || (err != nil && !strings.Contains(err.Error(), row.err)) {
				t.Errorf("got error %v, want %q", err, row.err)
			}
			if err != nil && strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	for size, taken := range map[int]bool{64<<10 - 1: true, 64 << 10: true, 64<<10 + 1: false, 128 << 10: false} {
		source.Stdin = strings.NewReader(strings.Repeat("x", size))
		if got, err := source.Get("stdin:"); (err == nil) != taken || taken && len(got.Reveal()) != size {
			t.Errorf("%d bytes of input gave %d, %v", size, len(got.Reveal()), err)
		}
	}
	source.Prompt = nil
	if _, err := source.Get("prompt:x"); err == nil {
		t.Error("a prompt without a terminal was answered")
	}
}
