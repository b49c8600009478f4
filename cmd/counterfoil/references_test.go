//go:build linux

package main

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/zalando/go-keyring"
)

// standIns are the arguments that the command lines of secret managers are called
// with, as their manuals say.
var standIns = map[string]string{
	"vault":  "kv get -field=client_secret secret/acme",
	"bao":    "kv get -field=client_secret secret/acme",
	"aws":    "secretsmanager get-secret-value --secret-id acme/client --query SecretString --output text",
	"az":     "keyvault secret show --vault-name acme --name client-secret --query value --output tsv",
	"gcloud": "secrets versions access latest --secret=acme-client",
	"op":     "read op://acme/client/secret",
	"pass":   "show acme/client-secret",
}

// The lines of docs/credentials.md work from the command line, with programs that
// stand in for those of the secret managers.
func TestSecretsOfPrograms(t *testing.T) {
	secret := shared.env(t, "a55").Get("API_CLIENT_SECRET")
	docs, err := os.ReadFile("../../docs/credentials.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, args := range standIns {
		script := fmt.Sprintf("#!/bin/sh\nif [ \"$*\" = '%s' ]; then echo \"$THE_SECRET\"; else echo 'Error: no such secret' >&2; exit 2; fi\n", args)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	shown := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^client_secret: (exec:(\w+).*)$`).FindAllStringSubmatch(string(docs), -1) {
		shown[line[2]] = true
		t.Run(line[2], func(t *testing.T) {
			path, env := consumerWith(t, secretOfA55, line[1])
			env = append(env, "THE_SECRET="+secret, "PATH="+dir+":"+os.Getenv("PATH"))
			if got := execute(t, "", env, binary, "--config", path, "token", "a55").good(t); !strings.HasPrefix(got.out, "eyJ") {
				t.Errorf("printed %d bytes", len(got.out))
			}
		})
	}
	if names := slices.Sorted(maps.Keys(standIns)); !slices.Equal(slices.Sorted(maps.Keys(shown)), names) {
		t.Errorf("the manual shows %v, want %v", slices.Sorted(maps.Keys(shown)), names)
	}
	path, env := consumerWith(t, secretOfA55, "exec:vault kv get -field=other secret/acme")
	env = append(env, "THE_SECRET="+secret, "PATH="+dir+":"+os.Getenv("PATH"))
	got := execute(t, "", env, binary, "--config", path, "token", "a55")
	if got.code != exitLocal || !strings.Contains(got.err, "exec:vault …: it failed (exit status 2): Error: no such secret") || strings.Contains(got.err, "-field") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
}

// A program runs only where nobody else can have written its name.
func TestWhoseProgramsRun(t *testing.T) {
	secret := shared.env(t, "a55").Get("API_CLIENT_SECRET")
	path, env := consumerWith(t, secretOfA55, "exec:printenv THE_SECRET")
	env = append(env, "THE_SECRET="+secret)
	run := func(args ...string) ran {
		return execute(t, "", env, binary, append([]string{"--config", path}, args...)...)
	}
	run("token", "a55").good(t)
	for name, row := range map[string]struct {
		mode os.FileMode
		uid  int
		args []string
		want string
	}{
		"its group can write it": {0o660, 0, nil, "mode 0660"},
		"anybody can write it":   {0o606, 0, nil, "anybody can write it (mode 0606)"},
		"another user's":         {0o644, 4711, nil, "id 4711"},
		"forbidden":              {0o600, 0, []string{"--no-exec"}, "a reference to exec is wrong: exec: is forbidden by --no-exec"},
	} {
		if row.uid != 0 && os.Geteuid() != 0 {
			continue
		}
		if err := os.Chmod(path, row.mode); err != nil {
			t.Fatal(err)
		}
		if os.Geteuid() == 0 {
			if err := os.Chown(path, row.uid, -1); err != nil {
				t.Fatal(err)
			}
		}
		for _, command := range [][]string{{"token", "a55"}, {"doctor", "a55"}, {"call", "a55", "GET", "/wallets"}} {
			if got := run(append(row.args, command...)...); got.code != exitLocal || !strings.Contains(got.err, row.want) || strings.Contains(got.err, secret) {
				t.Errorf("%s: %s: exit %d, said %s", name, command[0], got.code, got.err)
			}
		}
	}
	// Nor does the configuration of a server run any.
	s := layOut(t, strings.Replace(exampleConfig(t), "file:master.key", "exec:cat master.key", 1))
	got := execute(t, "", nil, binary, "serve", "--check", "--config", filepath.Join(s.dir, "serve.yaml"))
	if got.code != exitLocal || !strings.Contains(got.err, "exec: is accepted only in a client configuration") {
		t.Errorf("serve: exit %d, said %s", got.code, got.err)
	}
}

// Keyrings and files of age work from the command line.
func TestSecretsOfKeyringAndAge(t *testing.T) {
	secret := shared.env(t, "a55").Get("API_CLIENT_SECRET")
	t.Run("age", func(t *testing.T) {
		path, env := consumerWith(t, secretOfA55, "age:client.env.age#API_CLIENT_SECRET", "token_cache:", "age_identity: file:identity\ntoken_cache:")
		dir := filepath.Dir(path)
		script := `age-keygen -o identity 2>/dev/null && echo "API_CLIENT_SECRET='$THE_SECRET' # of a55" | age -r "$(age-keygen -y identity)" -o client.env.age`
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "THE_SECRET="+secret)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s: ./needs.sh installs age", err, out)
		}
		execute(t, "", env, binary, "--config", path, "token", "a55").good(t)
	})
	t.Run("keyring", func(t *testing.T) {
		dir, err := os.MkdirTemp("", "bus") // a short path: the socket's may have 108 bytes
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		// A bus that starts no services by itself: a second keyring would be locked.
		config := `<busconfig><type>session</type><listen>unix:path=` + dir + `/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
		if err := os.WriteFile(filepath.Join(dir, "bus.conf"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		address := startOf(t, exec.Command("dbus-daemon", "--config-file="+dir+"/bus.conf", "--nofork", "--print-address=1"), "")
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
		daemon := exec.Command("gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets", "--control-directory="+dir)
		daemon.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_RUNTIME_DIR="+dir)
		startOf(t, daemon, "password of the keyring")
		eventually.True(t, "the keyring takes an entry", func() bool { return keyring.Set("acme", "client-secret", secret) == nil })
		path, env := consumerWith(t, secretOfA55, "keyring:acme/client-secret")
		execute(t, "", env, binary, "--config", path, "token", "a55").good(t)
	})
}

// startOf runs a program until the test ends, and returns the first line that it
// prints.
func startOf(t *testing.T, cmd *exec.Cmd, stdin string) string {
	t.Helper()
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v: ./needs.sh installs it", cmd.Path, err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line)
}
