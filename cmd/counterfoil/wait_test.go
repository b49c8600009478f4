package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/counterfoil/counterfoil/internal/eventually"
)

// waitFor yields until the condition holds: for what another process does, and
// no clock of ours can bring about.
func waitFor(t *testing.T, condition func() bool) {
	t.Helper()
	eventually.True(t, "what the test waits for", condition)
}

// killWhen starts 'up' and kills it with SIGKILL as soon as a file of its
// directory is there.
func killWhen(t *testing.T, dir, file string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, "up", "--dir", dir, "--listen", "127.0.0.1:0")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { _, err := os.Stat(filepath.Join(dir, file)); return err == nil })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
