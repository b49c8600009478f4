package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a system lacks is found: in files of that system, in those of all, and in
// tests.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":           "module example.com/a\n\ngo 1.26\n",
		"a.go":             "package a\n\nfunc F() { unixOnly() }\n",
		"a_unix.go":        "//go:build unix\n\npackage a\n\nimport \"syscall\"\n\nfunc unixOnly() { syscall.Umask(0) }\n",
		"a_windows.go":     "package a\n\nimport \"syscall\"\n\nfunc windowsOnly() { syscall.Umask(0) }\n",
		"sub/sub_test.go":  "package sub_test\n\nimport \"syscall\"\n\nvar _ = syscall.Kill\n",
		"sub/sub_linux.go": "package sub\n\nimport \"syscall\"\n\nvar _ = syscall.EpollWait\n",
		"sub/sub.go":       "package sub\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for target, want := range map[string][]string{
		"linux/arm64":   nil,
		"darwin/arm64":  nil,
		"windows/amd64": {"a.go:3:12: undefined: unixOnly", "a_windows.go:5:30: undefined: syscall.Umask", "sub_test.go:5:17: undefined: syscall.Kill"},
		"plan9":         {"name an operating system and an architecture"},
		"nowhere/amd64": {"nowhere/amd64"},
	} {
		t.Run(target, func(t *testing.T) {
			err := check(dir, target)
			if (err == nil) != (want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, mistake := range want {
				if strings.Count(err.Error(), mistake) != 1 {
					t.Errorf("got %v\nwant %q once", err, mistake)
				}
			}
			if err != nil && strings.Count(strings.TrimSpace(err.Error()), "\n") >= len(want) {
				t.Errorf("got more than %q: %v", want, err)
			}
		})
	}
}
