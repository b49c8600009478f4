package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBackupFullDisk: neither a backup nor a restore that finds no room leaves
// anything, and the earlier backup and the database stay.
func TestBackupFullDisk(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	s.client(t, "acme", "orders:read")
	file := filepath.Join(s.dir, "b")
	s.manage(t, "backup", file).good(t)
	before := s.content(t)
	for _, command := range []string{"backup", "restore"} {
		for _, blocks := range []int{80, 100, 150} { // of 512 bytes; less has no room for the index of the log
			r := execute(t, "", nil, "sh", "-c", fmt.Sprintf("ulimit -f %d; exec '%s' %s '%s' --serve-config '%s'", blocks, binary, command, file, s.file))
			if r.code != exitLocal || strings.Count(r.err, "\n") > 2 || !strings.Contains(r.err, "disk") && !strings.Contains(r.err, "too large") {
				t.Errorf("%s with room for %d blocks: %d, %s", command, blocks, r.code, r.err)
			}
			if after := s.content(t); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Errorf("%s with room for %d blocks has changed something", command, blocks)
			}
		}
	}
	s.manage(t, "restore", file).good(t)
}

// TestBackupReadOnly: what nobody may write to can be backed up, also to standard
// output, and has not changed then.
func TestBackupReadOnly(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	s.client(t, "acme", "orders:read")
	s.unprivileged(t)
	before := s.content(t)
	t.Cleanup(func() { _ = os.Chmod(s.dir, 0o700) })
	for path, mode := range map[string]os.FileMode{"counterfoil.db": 0o400, ".": 0o500} {
		if err := os.Chmod(filepath.Join(s.dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	out, err := s.unprivileged(t, "backup", "-", "--serve-config", s.file).Output()
	if err != nil || len(out) == 0 {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	if fmt.Sprint(s.content(t)) != fmt.Sprint(before) {
		t.Error("something was changed")
	}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(t, "b", string(out))
	s.manage(t, "restore", "--check", filepath.Join(s.dir, "b")).good(t)
}
