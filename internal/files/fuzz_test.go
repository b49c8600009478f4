package files_test

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/files"
)

var name = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Settings that were read from any environment file can be written and read again
// unchanged; an error is one line.
func FuzzEnv(f *testing.F) {
	for _, s := range []string{"A=1\nexport B='it'\\''s'\n", "# x\n\nC=\"d\"\n", "no setting", "=", "A='", "A=$(x)", "A=1 B=2;export C=\"a\\\nb\" # c\nset -a", "A=\"${x:-it's}\"", "\xff=\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		env, err := files.ParseEnv(bytes.NewReader(b), "x.env")
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error has lines: %q", err)
			}
			return
		}
		for _, setting := range env {
			if setting.Err != nil || !name.MatchString(setting.Key) {
				return // no shell has such a variable, and nothing here writes it
			}
		}
		again, err := files.ParseEnv(bytes.NewReader(env.Bytes()), "x.env")
		if err != nil || !slices.Equal(env, again) {
			t.Errorf("read %q, and again %q, %v", env, again, err)
		}
	})
}
