package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The lines that 'up' prints are run as they stand, by a shell in the directory
// where a newcomer would be.
func TestPrintedLinesWork(t *testing.T) {
	want := map[string]string{"ahotu": `"totalCount"`, "altrata": `"data"`, "engagifii": `"totalCount"`, "a55": `"currency"`}
	var script []string
	for _, line := range strings.Split(shared.printed(), "\n") {
		line, indented := strings.CutPrefix(line, "  ")
		switch {
		case strings.HasPrefix(line, "set -a; . "):
			script = []string{line}
		case indented && script != nil:
			script = append(script, line)
			if len(script) < 3 {
				continue
			}
			provider := strings.TrimSuffix(filepath.Base(strings.TrimSuffix(script[0], "; set +a")), ".env")
			t.Run(provider, func(t *testing.T) {
				got := execute(t, "", nil, "sh", "-c", strings.Join(script, "\n")).good(t)
				if !strings.Contains(got.out, want[provider]) || !json.Valid([]byte(got.out)) {
					t.Errorf("%s\nprinted %s", strings.Join(script, "\n"), got.out)
				}
			})
			delete(want, provider)
			script = nil
		}
	}
	if len(want) > 0 {
		t.Errorf("no lines were printed for %v:\n%s", want, shared.printed())
	}
	for _, secret := range []string{shared.env(t, "a55").Get("API_CLIENT_SECRET"), shared.env(t, "altrata").Get("API_KEY")} {
		if strings.Contains(shared.printed(), secret) {
			t.Error("a secret was printed")
		}
	}
}

// No name of an environment file is one that shells set by themselves: they had
// USERNAME, and zsh lets nobody change it.
func TestVariableOfTheShell(t *testing.T) {
	own := []string{"CDPATH", "COLUMNS", "ENV", "EUID", "GID", "HISTFILE", "HOME", "HOST", "HOSTNAME", "IFS", "LANG", "LINES", "LOGNAME", "MAIL", "OLDPWD", "OPTARG", "OPTIND",
		"PATH", "PPID", "PS1", "PS2", "PS4", "PWD", "RANDOM", "SECONDS", "SHELL", "SHLVL", "TERM", "TZ", "UID", "USER", "USERNAME"}
	for _, name := range missionProviders {
		for _, s := range shared.env(t, name) {
			if slices.Contains(own, s.Key) {
				t.Errorf("%s sets %s", name, s.Key)
			}
		}
	}
}

func TestEnvironmentFiles(t *testing.T) {
	all := []string{"AUTH_URL", "API_BASE_URL", "API_CLIENT_ID", "API_CLIENT_SECRET", "API_SCOPE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"}
	for _, row := range []struct {
		provider, token, api string
		more                 []string
	}{
		{"ahotu", "/oauth2/token", "/graphql", nil},
		{"altrata", "/oauth2/token", "/v1/graphql", []string{"API_KEY", "API_USERNAME", "API_PASSWORD"}},
		{"engagifii", "/connect/token", "", []string{"IDENTITY_SERVER_URL", "CLIENT_ID", "CLIENT_SECRET", "TENANT_CODE", "API_VERSION"}},
		{"a55", "/oauth2/token", "/api/v1", nil},
	} {
		t.Run(row.provider, func(t *testing.T) {
			path := filepath.Join(shared.dir, "env", row.provider+".env")
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != 0o600 {
				t.Errorf("mode %o", got)
			}
			env, want := shared.env(t, row.provider), slices.Concat(all, row.more)
			var keys []string
			for _, s := range env {
				keys = append(keys, s.Key)
				if s.Value == "" {
					t.Errorf("%s is empty", s.Key)
				}
			}
			slices.Sort(keys)
			slices.Sort(want)
			if !slices.Equal(keys, want) {
				t.Errorf("keys %v, want %v", keys, want)
			}
			base := shared.base + "/" + row.provider
			if got := env.Get("AUTH_URL"); got != base+row.token {
				t.Errorf("AUTH_URL %s", got)
			}
			if got := env.Get("API_BASE_URL"); got != base+row.api {
				t.Errorf("API_BASE_URL %s", got)
			}
			if row.provider == "engagifii" && env.Get("IDENTITY_SERVER_URL") != base {
				t.Errorf("IDENTITY_SERVER_URL %s", env.Get("IDENTITY_SERVER_URL"))
			}
			shell := shared.sourced(t, row.provider, `printf %s "$API_CLIENT_SECRET"`).good(t)
			if shell.out != env.Get("API_CLIENT_SECRET") || shell.err != "" {
				t.Errorf("sourced, the secret is another: %q", shell.err)
			}
		})
	}
}

// Nothing in the data directory can be read by another user, but for the
// authority's certificate, which is public, and inside a closed directory.
func TestDataDirectoryIsClosed(t *testing.T) {
	err := filepath.WalkDir(shared.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 && filepath.Base(path) != "ca.pem" {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUpRefusesToStart(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "counterfoil.db"), bytes.Repeat([]byte("no database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	odd := t.TempDir()
	if err := os.Mkdir(filepath.Join(odd, "providers"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(odd, "providers", "x.yaml"), []byte("name: x\ncolour: red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lost := t.TempDir()
	for _, name := range []string{"counterfoil.db", "consumer.yaml"} {
		if err := os.WriteFile(filepath.Join(lost, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(shared.base, "https://")
	for _, row := range []struct {
		name      string
		args      []string
		code      int
		says, why string
	}{
		{"port in use", []string{"--dir", t.TempDir(), "--listen", address}, 1, address + " is in use", "--listen"},
		{"directory that cannot be made", []string{"--dir", filepath.Join(blocked, "data"), "--listen", "127.0.0.1:0"}, 1, "not a directory", "--dir"},
		{"damaged database", []string{"--dir", damaged, "--listen", "127.0.0.1:0"}, 1, "counterfoil.db", "start afresh"},
		{"directory in use", []string{"--dir", shared.dir, "--listen", "127.0.0.1:0"}, 1, "another 'counterfoil up'", "--dir"},
		{"lost database", []string{"--dir", lost, "--listen", "127.0.0.1:0"}, 1, "missing or empty", "start afresh"},
		{"directory that others may write to", []string{"--dir", open, "--listen", "127.0.0.1:0"}, 1, "others may write", "chmod 700"},
		{"mistaken provider", []string{"--dir", odd, "--listen", "127.0.0.1:0"}, 1, `x.yaml:2:1: unknown field "colour"`, "provider check"},
		{"address of another machine", []string{"--dir", t.TempDir(), "--listen", "192.0.2.1:8443"}, 2, "for this machine", "--help"},
		{"no port", []string{"--dir", t.TempDir(), "--listen", "localhost"}, 2, "not HOST:PORT", "--help"},
		{"unknown flag", []string{"--colour"}, 2, "unknown flag", "--help"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := execute(t, "", nil, binary, append([]string{"up"}, row.args...)...)
			if got.code != row.code {
				t.Errorf("exit %d, want %d", got.code, row.code)
			}
			lines := strings.Split(strings.TrimSpace(got.err), "\n")
			if len(lines) != 2 || !strings.Contains(lines[0], row.says) || !strings.HasPrefix(lines[1], "hint: ") || !strings.Contains(lines[1], row.why) {
				t.Errorf("said\n%s\nwant one line with %q and a hint with %q", got.err, row.says, row.why)
			}
		})
	}
}

// A second start goes on where the first ended: tokens of the first are still
// good, secrets and data are the same.
func TestUpAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, dir, "127.0.0.1:0")
	address := strings.TrimPrefix(first.base, "https://")
	token := first.counterfoil(t, "token", "a55").good(t).out
	wallets := first.counterfoil(t, "call", "a55", "GET", "/wallets").good(t).out
	env := first.env(t, "altrata")
	if err := first.stop(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM: %v\n%s", err, first.errors())
	}
	second := start(t, dir, address)
	if got := second.env(t, "altrata"); !slices.Equal(got, env) {
		t.Error("the environment file changed")
	}
	if got := second.counterfoil(t, "token", "a55").good(t).out; got != token {
		t.Error("the cached token was not used")
	}
	if got := second.counterfoil(t, "call", "a55", "GET", "/wallets").good(t).out; got != wallets {
		t.Errorf("the wallets changed:\n%s\n%s", wallets, got)
	}
	if err := second.stop(syscall.SIGINT); err != nil {
		t.Errorf("SIGINT: %v", err)
	}
	// A lost environment file is made anew, with a secret that serves.
	if err := os.Remove(filepath.Join(dir, "env", "a55.env")); err != nil {
		t.Fatal(err)
	}
	third := start(t, dir, address)
	if got := third.env(t, "a55"); got.Get("API_CLIENT_ID") == "" || got.Get("API_CLIENT_SECRET") == "" {
		t.Errorf("not made anew: %v", got)
	}
	third.counterfoil(t, "token", "a55", "--renew").good(t)
	if got := third.counterfoil(t, "call", "a55", "GET", "/wallets").good(t).out; got != wallets {
		t.Error("the client lost its wallets")
	}
}

// A client that an operator has disabled stays so, and keeps its secret.
func TestUpLeavesADisabledClientAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, dir, "127.0.0.1:0")
	env := first.env(t, "a55")
	execute(t, "", nil, binary, "client", "disable", "a55", env.Get("API_CLIENT_ID"), "--dir", dir).good(t)
	if err := first.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	second := start(t, dir, "127.0.0.1:0")
	if got := second.env(t, "a55").Get("API_CLIENT_SECRET"); got != env.Get("API_CLIENT_SECRET") {
		t.Error("the secret of a disabled client was rotated")
	}
	if !strings.Contains(second.errors(), "is disabled") {
		t.Errorf("up does not say so: %s", second.errors())
	}
	execute(t, "", nil, binary, "client", "enable", "a55", env.Get("API_CLIENT_ID"), "--dir", dir).good(t)
	second.counterfoil(t, "token", "a55").good(t)
}

// kill -9 at any moment of the first start leaves a directory that the next
// start makes whole.
func TestKillDuringFirstStart(t *testing.T) {
	for _, step := range []string{"tls/server.pem", "tls/ca.pem", "counterfoil.db", "env/ahotu.env", "env/altrata.env", "consumer.yaml"} {
		t.Run(strings.ReplaceAll(step, "/", " "), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			killWhen(t, dir, step)
			u := start(t, dir, "127.0.0.1:0")
			for _, provider := range missionProviders {
				u.counterfoil(t, "doctor", provider).good(t)
			}
		})
	}
}

func TestPlainHTTPIsRefused(t *testing.T) {
	resp, err := http.Get("http://" + strings.TrimPrefix(shared.base, "https://") + "/ahotu/graphql")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" {
		t.Errorf("answered %s to %s", resp.Status, resp.Header.Get("Location"))
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	_, err := tls.Dial("tcp", strings.TrimPrefix(shared.base, "https://"), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

// A request under way when the signal comes is answered.
func TestDrain(t *testing.T) {
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	env := u.env(t, "a55")
	pool, err := trust(env.Get("SSL_CERT_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(u.base, "https://"), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := "grant_type=client_credentials&client_id=" + env.Get("API_CLIENT_ID") + "&client_secret=" + env.Get("API_CLIENT_SECRET")
	fmt.Fprintf(conn, "POST /a55/oauth2/token HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", len(body))
	answer := make([]byte, 4096)
	if n, err := conn.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 100")) {
		t.Fatalf("the server does not wait for the body: %q, %v", answer[:n], err)
	}
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return strings.Contains(u.errors(), "draining") })
	if c, err := net.Dial("tcp", conn.RemoteAddr().String()); err == nil {
		c.Close()
	}
	if _, err := conn.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(answer)
	if err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200")) {
		t.Errorf("the request under way got %q, %v", answer[:n], err)
	}
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Errorf("drained, but ended with %v", err)
	}
}
