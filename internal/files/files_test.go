package files_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/counterfoil/counterfoil/internal/files"
)

func TestWriteTightensWhatWasThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := files.Write(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %o, want 600", got)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A real shell reads what was written: nothing runs, nothing is lost.
func TestEnvSurvivesAShell(t *testing.T) {
	for name, value := range map[string]string{
		"plain":   "https://127.0.0.1:8443/a55/oauth2/token",
		"empty":   "",
		"spaces":  "events:read events:drafts",
		"quote":   "it's",
		"command": "$(touch x) `touch y` ; & | > < * ? ~ #",
		"tilde":   "~root",
		"double":  `say "hi" \n`,
		"unicode": "naïve ☕",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x.env")
			if err := files.Write(path, files.Env{{Key: "KEY", Value: value}}.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-c", `. ./x.env && printf %s "$KEY"`)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			if err != nil || string(out) != value {
				t.Errorf("the shell read %q, %v; want %q", out, err, value)
			}
			env, err := files.ReadEnv(path)
			if err != nil || env.Get("KEY") != value {
				t.Errorf("ReadEnv read %q, %v; want %q", env.Get("KEY"), err, value)
			}
		})
	}
}
