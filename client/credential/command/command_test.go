//go:build unix

package command_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/command"
	"github.com/counterfoil/counterfoil/client/internal/sent"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

const theSecret = "s3cret-of-a-program"

// script writes a program for the test.
func script(t *testing.T, path, body string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o700); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, c command.Config, reference string) client.SecretFunc {
	t.Helper()
	f, err := credential.Open("exec:"+reference, credential.Schemes{"exec": command.Opener(c)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A program's standard output is the secret; whatever goes wrong, the error says
// what the program said of it, and never what it printed.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	in := func(name, body string) { script(t, filepath.Join(dir, name), body) }
	in("plain", "echo "+theSecret)
	in("crlf", "printf '"+theSecret+"\\r\\n\\n'")
	in("bom", `printf '\357\273\277`+theSecret+`'`)
	in("args", `[ $# = 3 ] && [ "$1" = 'a b' ] && [ "$2" = '$HOME;*' ] && [ "$3" = '' ] && echo `+theSecret)
	in("stdin", "[ -z \"$(cat)\" ] && echo "+theSecret)
	in("here", "cat beside")
	in("warns", "echo 'deprecated: "+theSecret+"' >&2; echo "+theSecret)
	in("fails", "echo "+theSecret+"; echo 'no login:\n\033[1m"+theSecret+" expired' >&2; exit 3")
	in("silent", "exit 1")
	in("long-errors", "yes 'no login' | head -c 1000000 >&2; exit 1")
	in("empty", "echo")
	in("lines", "printf 'password\\nuser: me\\n'")
	in("long", "yes "+theSecret+" | head -c 70000 | tr -d '\\n'")
	in("huge", "yes "+theSecret+" | head -c 2000000")
	in("most", "head -c 1048576 /dev/zero | tr '\\0' x")
	in("killed", "kill -9 $$")
	in("open", "echo x")
	for name, mode := range map[string]os.FileMode{"open": 0o777, "beside": 0o600} {
		if name == "beside" {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(theSecret), mode); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "no-program"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, row := range []struct{ name, reference, err string }{
		{"a program of PATH", "plain", ""},
		{"a path", filepath.Join(dir, "plain"), ""},
		{"a path beside the configuration", "./plain", ""},
		{"line ends", "crlf", ""},
		{"a byte order mark", "bom", ""},
		{"arguments in quotes", `args 'a b' '$HOME;*' ""`, ""},
		{"arguments as JSON", ` ["args", "a b", "$HOME;*", ""]`, ""},
		{"no standard input", "stdin", ""},
		{"it runs beside the configuration", "here", ""},
		{"errors of what succeeds", "warns", ""},
		{"its errors are shown", "fails token", "secret exec:fails …: it failed (exit status 3): no login: [1m[redacted] expired"},
		{"it fails silently", "silent", "secret exec:silent: it failed (exit status 1)"},
		{"long errors", "long-errors", "no login no login"},
		{"killed", "killed", "it failed (signal: killed)"},
		{"nothing printed", "empty", "it is empty"},
		{"too long", "long", "longer than 65536 bytes"},
		{"as long as is read", "most", "longer than 65536 bytes"},
		{"endless", "huge", "printed more than 1048576 bytes"},
		{"not there", "counterfoil-has-no-such-program " + theSecret, "there is no such program in PATH"},
		{"not there, with a path", "./none", "there is no such program: correct its path"},
		{"not to be run", "./no-program", "chmod +x"},
		{"anybody can write it", "./open", "anybody can write it (mode 0777)"},
		{"several lines", "lines", "secret exec:lines: it has a line end inside"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := open(t, command.Config{Dir: dir}, row.reference)
			v, err := f(sent.Checked(t.Context()))
			if row.err == "" && (err != nil || v.Reveal() != theSecret) {
				t.Errorf("got %q, %v", v.Reveal(), err)
			}
			if row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err) || strings.ContainsAny(err.Error(), "\n\033") || len(err.Error()) > 1000) {
				t.Errorf("got error %v, want one line with %q", err, row.err)
			}
			if text := fmt.Sprintf("%v %+v %#v", err, f, v); strings.Contains(text, theSecret) {
				t.Errorf("it shows what was printed: %s", text)
			}
		})
	}
}

// What would need a shell, or is no list, is refused before anything runs, without
// showing what was written.
func TestReference(t *testing.T) {
	for name, reference := range map[string]string{
		"nothing": "", "blanks": "  ", "pipe": "pass x | head -1", "variable": "vault read $HOME", "command": "a `b`", "redirection": "a >b",
		"two programs": "a; b", "open quote": "a 'b", "no list": `["a", 1]`, "open list": `["a"`, "empty list": "[]", "empty program": `["", "a"]`,
		"NUL": `["a", "b\u0000"]`, "control character": `["a\n"]`, "tilde": "~/bin/a", "pattern": "cat *",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := credential.Open("exec:"+reference, credential.Schemes{"exec": command.Opener(command.Config{})})
			if err == nil || !strings.Contains(err.Error(), "a reference to exec is wrong") || strings.Contains(err.Error(), "HOME") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A program that does not end is given up, and what it started ends with it.
func TestHangs(t *testing.T) {
	dir := t.TempDir()
	script(t, filepath.Join(dir, "hangs"), "sleep 3600 &\necho $! > pid\necho asking >&2\nwait\n")
	now := clock.NewManual(time.Now())
	f := open(t, command.Config{Dir: dir, Clock: now}, "./hangs")
	failed := make(chan error, 1)
	go func() { _, err := f(context.Background()); failed <- err }()
	var pid int
	eventually.True(t, "the program has started", func() bool {
		text, _ := os.ReadFile(filepath.Join(dir, "pid"))
		pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return pid != 0
	})
	var err error
	eventually.True(t, "the program's time is over", func() bool {
		select {
		case err = <-failed:
			return true
		default:
			now.Turn(time.Second)
			return false
		}
	})
	if err == nil || !strings.Contains(err.Error(), "10s") {
		t.Errorf("got %v", err)
	}
	gone(t, pid)
}

// What a program leaves behind ends with it, whether or not it holds the output,
// and the secret is good.
func TestLeavesAChild(t *testing.T) {
	for _, row := range []struct{ name, body, err string }{
		{"a child that holds the output", "sleep 3600 &\necho $! > pid\necho " + theSecret, ""},
		{"a child that holds nothing", "sleep 3600 >/dev/null 2>&1 &\necho $! > pid\necho " + theSecret, ""},
		{"a child of a program that fails", "sleep 3600 &\necho $! > pid\nexit 3", "it failed (exit status 3)"},
		{"a child that prints a little later", "(sleep 0.1; echo " + theSecret + "; exec sleep 3600) &\necho $! > pid", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			script(t, filepath.Join(dir, "leaves"), row.body)
			v, err := open(t, command.Config{Dir: dir}, "./leaves")(t.Context())
			if row.err == "" && (err != nil || v.Reveal() != theSecret) || row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err)) {
				t.Errorf("got %q, %v", v.Reveal(), err)
			}
			text, _ := os.ReadFile(filepath.Join(dir, "pid"))
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			gone(t, pid)
		})
	}
}

// gone waits until a process has ended.
func gone(t *testing.T, pid int) {
	t.Helper()
	eventually.True(t, "what the program started has ended", func() bool {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid)
	})
}

// zombie reports whether a process has ended and nobody has asked how.
func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(text), ") Z ")
}

// A value is kept, asked for again after 30 s, and outlives a program that fails.
func TestKept(t *testing.T) {
	dir, now := t.TempDir(), clock.NewManual(time.Now())
	body := "echo x >> runs; [ -e broken ] && exit 1; cat value"
	script(t, filepath.Join(dir, "counts"), body)
	set := func(v string) {
		if err := os.WriteFile(filepath.Join(dir, "value"), []byte(v), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t, command.Config{Dir: dir, Clock: now}, "./counts")
	get := func(want string, runs int) {
		t.Helper()
		v, err := f(t.Context())
		text, _ := os.ReadFile(filepath.Join(dir, "runs"))
		if err != nil || v.Reveal() != want || len(text) != 2*runs {
			t.Errorf("got %q, %v after %d runs; want %q after %d", v.Reveal(), err, len(text)/2, want, runs)
		}
	}
	set("first")
	get("first", 1)
	set("second")
	get("first", 1)
	now.Turn(30 * time.Second)
	get("second", 2)
	if err := os.WriteFile(filepath.Join(dir, "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	now.Turn(time.Minute)
	get("second", 3)
}
