package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// consumerWith writes the client configuration with the reference to a55's
// secret replaced, and returns its path and an environment with a cache of its
// own.
func consumerWith(t *testing.T, replace ...string) (path string, env []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(shared.dir, "consumer.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path = filepath.Join(dir, "consumer.yaml")
	moved := strings.NewReplacer(append(replace, "file:env/", "file:"+shared.dir+"/env/", "tls/ca.pem", shared.dir+"/tls/ca.pem")...).Replace(string(text))
	if err := os.WriteFile(path, []byte(moved), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, []string{"COUNTERFOIL_CACHE=" + filepath.Join(dir, "tokens")}
}

const secretOfA55 = "file:env/a55.env#API_CLIENT_SECRET"

// A secret comes from the environment, a file, standard input or a person.
func TestWhereSecretsComeFrom(t *testing.T) {
	secret := shared.env(t, "a55").Get("API_CLIENT_SECRET")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, ref, in string }{
		{"environment", "env:THE_SECRET", ""},
		{"file", "file:" + file, ""},
		{"standard input", "stdin:", secret + "\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path, env := consumerWith(t, secretOfA55, row.ref)
			got := execute(t, row.in, append(env, "THE_SECRET="+secret), binary, "--config", path, "token", "a55").good(t)
			if !strings.HasPrefix(got.out, "eyJ") {
				t.Errorf("printed %d bytes", len(got.out))
			}
			// doctor wants the secret more than once.
			execute(t, row.in, append(env, "THE_SECRET="+secret), binary, "--config", path, "doctor", "a55").good(t)
		})
	}
	t.Run("person", func(t *testing.T) {
		path, env := consumerWith(t, secretOfA55, "prompt:Secret of a55")
		// A terminal of its own: what it shows comes back, and nothing else.
		const terminal = `import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
while b"Secret of a55: " not in shown:
    shown += os.read(fd, 4096)
os.write(fd, os.environ["THE_SECRET"].encode() + b"\n")
try:
    while chunk := os.read(fd, 4096):
        shown += chunk
except OSError:
    pass
sys.stdout.write(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`
		got := execute(t, "", append(env, "THE_SECRET="+secret), "/usr/bin/python3", "-c", terminal, binary, "--config", path, "token", "a55").good(t)
		if strings.Contains(got.out, secret) || !strings.Contains(got.out, "eyJ") {
			t.Errorf("the terminal showed %q", strings.ReplaceAll(got.out, secret, "THE SECRET"))
		}
	})
	t.Run("nobody to ask", func(t *testing.T) {
		path, env := consumerWith(t, secretOfA55, "prompt:Secret")
		got := execute(t, "", env, binary, "--config", path, "token", "a55")
		if got.code != exitLocal || !strings.Contains(got.err, "no terminal to prompt at") {
			t.Errorf("exit %d, said %s", got.code, got.err)
		}
	})
}

// A configuration that is too long is refused, and not read in part.
func TestLongConfiguration(t *testing.T) {
	path, env := consumerWith(t)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("\n" + strings.Repeat("# a comment\n", maxConfig/12))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := execute(t, "", env, binary, "--config", path, "token", "a55"); got.code != exitLocal || !strings.Contains(got.err, "is larger than 1048576 bytes") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
}

// A person gives up on a server that does not answer.
func TestInterrupted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, command := range [][]string{{"token", "a55"}, {"call", "a55", "GET", "/wallets"}, {"doctor", "a55"}, {"doctor", "a55", "-o", "json"}} {
		t.Run(strings.Join(command, " "), func(t *testing.T) {
			path, env := consumerWith(t, shared.base, fmt.Sprintf("https://%s", l.Addr()))
			cmd := exec.CommandContext(t.Context(), binary, append([]string{"--config", path}, command...)...)
			cmd.Env = append(os.Environ(), env...)
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			conn, err := l.Accept() // and never a word
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != exitInterrupted {
				t.Errorf("exit %d, want %d; said %s", got, exitInterrupted, out.String())
			}
		})
	}
}
