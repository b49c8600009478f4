//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/internal/seal"
)

// serviceUser is the user that a service runs as in these tests.
const serviceUser = 4711

// deployed is a directory that every user can enter, with the binary in it.
func deployed(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "counterfoil-modes-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir); os.RemoveAll(dir + "-home") })
	text, err := os.ReadFile(binary)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "counterfoil"), text, 0o755)
	}
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// as runs the binary of a deployed as a user with a further group.
func as(t *testing.T, user uint32, deployed string, args ...string) ran {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(deployed, "counterfoil"), args...)
	cmd.Dir, cmd.Env = deployed, []string{"HOME=" + deployed + "-home", "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, Groups: []uint32{4712}}}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	return ran{code: cmd.ProcessState.ExitCode(), out: out.String(), err: errs.String()}
}

// change sets mode and owner of files.
func change(t *testing.T, mode fs.FileMode, uid, gid int, files ...string) {
	t.Helper()
	for _, file := range files {
		if err := os.Chown(file, uid, gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
}

// everyFile is a configuration of serve that names a file of each kind.
func everyFile(t *testing.T) *served {
	t.Helper()
	config := strings.Replace(exampleConfig(t), "provider: oauth2", "provider: ./own.yaml\n    federation: [{issuer: 'https://i.example', jwks_file: keys.json}]\n    certificate_authorities: tls/ca.pem", 1)
	s := layOut(t, strings.Replace(config, "realms:", "outbound: {ca_file: outbound.pem}\nprevious_master_keys: ['file:old.key']\nrealms:", 1))
	s.write(t, "own.yaml", "name: own\nextends: oauth2\n")
	s.write(t, "old.key", seal.NewKey().Reveal())
	keys := execute(t, "", nil, "curl", "-sk", shared.base+"/a55/.well-known/jwks.json").good(t).out
	s.write(t, "keys.json", keys)
	pem, err := os.ReadFile(filepath.Join(s.dir, "tls/certificate.pem"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "tls/ca.pem", string(pem))
	s.write(t, "outbound.pem", string(pem))
	return s
}

// What anybody can write is refused, whatever names it; what the group can write and
// secrets that others can read are warned of, by the check and at the start.
func TestModesOfServe(t *testing.T) {
	s := everyFile(t)
	check := func() ran { return execute(t, "", nil, binary, "serve", "--check", "--config", s.file) }
	if got := check().good(t); strings.Contains(got.out, "chmod") {
		t.Errorf("nothing is wrong, and it says %s", got.out)
	}
	secret := map[string]bool{"master.key": true, "old.key": true, "tls/key.pem": true}
	for _, name := range []string{"serve.yaml", "master.key", "old.key", "tls/key.pem", "tls/certificate.pem", "own.yaml", "keys.json", "tls/ca.pem", "outbound.pem"} {
		file := filepath.Join(s.dir, name)
		for mode, want := range map[fs.FileMode]string{
			0o666: "anybody can write it (mode 0666): chmod o-w", 0o602: "anybody can write it (mode 0602)",
		} {
			change(t, mode, -1, -1, file)
			got := check()
			if got.code != exitLocal || !strings.Contains(got.err, want) || !strings.Contains(got.err, name) {
				t.Errorf("%s at %04o: exit %d, %s%s", name, mode, got.code, got.out, got.err)
			}
		}
		change(t, 0o664, -1, -1, file)
		got := check().good(t)
		if !strings.Contains(got.out, "warning: "+file+": its group can write it (mode 0664)") {
			t.Errorf("%s at 0664: %s", name, got.out)
		}
		if warned := strings.Contains(got.out, file+": it holds a secret and others can read it (mode 0664)"); warned != secret[name] {
			t.Errorf("%s at 0664, a secret that others can read: warned %v", name, warned)
		}
		change(t, 0o600, -1, -1, file)
	}
	change(t, 0o640, -1, -1, filepath.Join(s.dir, "master.key"))
	change(t, 0o644, -1, -1, filepath.Join(s.dir, "tls/key.pem"))
	s.start(t)
	if said := s.errors(); !strings.Contains(said, "tls/key.pem: it holds a secret and others can read it") || strings.Contains(said, "master.key") {
		t.Errorf("the start said %s", said)
	}
}

// The same for what 'up' keeps, its certificate and key among them.
func TestModesOfUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := start(t, dir, "127.0.0.1:0").stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]bool{"tls/server.pem": true, "tls/ca.pem": false, "master.key": true} {
		file := filepath.Join(dir, name)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		change(t, 0o666, -1, -1, file)
		if got := execute(t, "", nil, binary, "up", "--dir", dir, "--listen", "127.0.0.1:0"); got.code != exitLocal || !strings.Contains(got.err, file+": anybody can write it (mode 0666): chmod o-w") {
			t.Errorf("%s at 0666: exit %d, %s", name, got.code, got.err)
		}
		change(t, 0o664, -1, -1, file)
		u := start(t, dir, "127.0.0.1:0")
		if said := u.errors(); !strings.Contains(said, file+": its group can write it (mode 0664)") || strings.Contains(said, file+": it holds a secret and others can read it") != secret {
			t.Errorf("%s at 0664: said %s", name, said)
		}
		if err := u.stop(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		change(t, info.Mode().Perm(), -1, -1, file)
	}
	for _, name := range []string{"tls", "env", "providers"} {
		change(t, 0o777, -1, -1, filepath.Join(dir, name))
		if got := execute(t, "", nil, binary, "up", "--dir", dir, "--listen", "127.0.0.1:0"); got.code != exitLocal || !strings.Contains(got.err, "others may write to the data directory "+filepath.Join(dir, name)+" (mode 777)") {
			t.Errorf("%s at 0777: exit %d, %s", name, got.code, got.err)
		}
		change(t, 0o700, -1, -1, filepath.Join(dir, name))
	}
	if said := start(t, dir, "127.0.0.1:0").errors(); strings.Contains(said, "chmod") {
		t.Errorf("nothing is wrong, and it says %s", said)
	}
}

// The same for what a client's command line reads; its warnings are doctor's.
func TestModesOfTheClient(t *testing.T) {
	path, env := consumerWith(t, secretOfA55, "file:a55.env#API_CLIENT_SECRET", "provider: a55", "provider: ./a55.yaml", shared.dir+"/tls/ca.pem", "ca.pem", "../tls/ca.pem", "ca.pem")
	dir := filepath.Dir(path)
	copyTo := func(name string, text []byte, err error) {
		t.Helper()
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(shared.dir, "env", "a55.env"))
	copyTo("a55.env", text, err)
	text, err = os.ReadFile(filepath.Join(shared.dir, "tls", "ca.pem"))
	copyTo("ca.pem", text, err)
	copyTo("a55.yaml", []byte(execute(t, "", nil, binary, "provider", "show", "a55").good(t).out), nil)
	config, err := os.ReadFile(path)
	copyTo("consumer.yaml", []byte(strings.ReplaceAll(string(config), shared.dir+"/tls/ca.pem", "ca.pem")), err)
	run := func(args ...string) ran {
		return execute(t, "", env, binary, append([]string{"--config", path}, args...)...)
	}
	if got := run("doctor", "a55").good(t); strings.Contains(got.out, "warn") {
		t.Errorf("nothing is wrong, and it says %s", got.out)
	}
	for _, name := range []string{"consumer.yaml", "a55.env", "ca.pem", "a55.yaml"} {
		file := filepath.Join(dir, name)
		change(t, 0o666, -1, -1, file)
		if got := run("doctor", "a55"); got.code != exitLocal || !strings.Contains(got.out+got.err, "anybody can write it (mode 0666)") || !strings.Contains(got.out+got.err, name) {
			t.Errorf("%s at 0666: exit %d, %s%s", name, got.code, got.out, got.err)
		}
		change(t, 0o664, -1, -1, file)
		got := run("doctor", "a55").good(t)
		if !strings.Contains(got.out, "warn  files   "+file+": its group can write it (mode 0664)") ||
			strings.Contains(got.out, file+": it holds a secret and others can read it") != (name == "a55.env") {
			t.Errorf("%s at 0664: %s", name, got.out)
		}
		change(t, 0o600, -1, -1, file)
	}
}

// The same for files to import; their warnings are the command's own, and under
// -o json they are in the error's object, or objects of the log.
func TestModesOfImports(t *testing.T) {
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	dir := t.TempDir()
	for _, tt := range []struct {
		name, good, bad string
		secret          bool
		args            []string
	}{
		{"list.csv", "client_id,client_secret,scopes\nmodes,3f6a0c9b1e7d4825a0b6c3f19e8d7042,wallets:read\n", "client_id,client_secret,scopes\nm,${SECRET},\n", true, []string{"client", "import", "a55", "FILE", "--format", "plain"}},
		{"gophers.jsonl", `{"name": "GopherMeet", "startDate": "2026-05-31", "endDate": "2026-05-31", "city": "Lyon", "country": "France", "locales": "EN"}`, `{"name": 12}`, false, []string{"data", "import", "calendar", "FILE"}},
	} {
		file := filepath.Join(dir, tt.name)
		run := func(text string, mode fs.FileMode, more ...string) ran {
			t.Helper()
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			change(t, mode, -1, -1, file)
			args := append(slices.Concat(tt.args, []string{"--dir", u.dir}), more...)
			args[3] = file
			return execute(t, "", nil, binary, args...)
		}
		if got := run(tt.good, 0o666); got.code != exitLocal || !strings.HasPrefix(got.err, "counterfoil: "+file+": anybody can write it (mode 0666): chmod o-w") {
			t.Errorf("%s at 0666: exit %d, %s", tt.name, got.code, got.err)
		}
		if got := run(tt.good, 0o640).good(t); got.err != "" {
			t.Errorf("%s at 0640: said %s", tt.name, got.err)
		}
		const secretly = "it holds a secret and others can read it (mode 0664)"
		got := run(tt.good, 0o664).good(t)
		if !strings.HasPrefix(got.err, "warning: "+file+": its group can write it (mode 0664)") || strings.Contains(got.err, "warning: "+file+": "+secretly) != tt.secret {
			t.Errorf("%s at 0664: said %s", tt.name, got.err)
		}
		type logged struct{ Level, Msg string }
		var first logged
		line, _, _ := strings.Cut(run(tt.good, 0o664, "-o", "json").good(t).err, "\n")
		if err := json.Unmarshal([]byte(line), &first); err != nil || first.Level != "WARN" || !strings.HasPrefix(first.Msg, file+": its group can write it") {
			t.Errorf("%s at 0664 under -o json: said %s", tt.name, line)
		}
		var failed struct {
			Message string
			Log     []logged
		}
		got = run(tt.bad, 0o664, "-o", "json")
		if err := json.Unmarshal([]byte(got.err), &failed); err != nil || got.code != exitLocal || failed.Message == "" || len(failed.Log) == 0 || failed.Log[0] != first {
			t.Errorf("%s at 0664, a bad row under -o json: exit %d, %v: said %s", tt.name, got.code, err, got.err)
		}
		// Standard input has no mode.
		args := slices.Concat(tt.args, []string{"--dir", u.dir})
		args[3] = "-"
		if got := execute(t, tt.good, nil, binary, args...).good(t); got.err != "" {
			t.Errorf("%s from standard input: said %s", tt.name, got.err)
		}
	}
}

// What deployments make of files works for a user that is not root.
func TestModesOfDeployments(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run as another user")
	}
	for name, shape := range map[string]func(t *testing.T, s *served, secrets []string){
		"Kubernetes, 0644": func(t *testing.T, s *served, secrets []string) {
			secretsMount(t, s, 0o644, 0, secrets)
		},
		"Kubernetes, fsGroup and 0640": func(t *testing.T, s *served, secrets []string) {
			secretsMount(t, s, 0o640, 4712, secrets)
		},
		"Docker secrets": func(t *testing.T, s *served, secrets []string) {
			change(t, 0o444, 0, 0, secrets...)
			change(t, 0o755, 0, 0, filepath.Join(s.dir, "tls"))
		},
		"credentials of systemd": func(t *testing.T, s *served, secrets []string) {
			change(t, 0o440, 0, serviceUser, secrets...)
			change(t, 0o550, 0, serviceUser, filepath.Join(s.dir, "tls"))
		},
		"umask 002": func(t *testing.T, s *served, secrets []string) {
			change(t, 0o664, serviceUser, serviceUser, append(secrets, s.file)...)
			change(t, 0o775, serviceUser, serviceUser, filepath.Join(s.dir, "tls"), filepath.Join(s.dir, "state"))
		},
		"a state directory that is a link": func(t *testing.T, s *served, secrets []string) {
			change(t, 0o400, serviceUser, serviceUser, secrets...)
			change(t, 0o755, 0, 0, filepath.Join(s.dir, "tls"))
			state, private := filepath.Join(s.dir, "state"), filepath.Join(s.dir, "private")
			if err := os.Rename(state, private); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("private", state); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, first := range []uint32{serviceUser, 0} {
			t.Run(fmt.Sprintf("%s, user %d first", name, first), func(t *testing.T) {
				at := deployed(t)
				s := layOut(t, strings.Replace(exampleConfig(t), "database: counterfoil.db", "database: state/counterfoil.db", 1))
				moved := filepath.Join(at, "etc")
				if err := os.Rename(s.dir, moved); err != nil {
					t.Fatal(err)
				}
				s.dir, s.file = moved, filepath.Join(moved, "serve.yaml")
				if err := os.Mkdir(filepath.Join(s.dir, "state"), 0o700); err != nil {
					t.Fatal(err)
				}
				change(t, 0o755, 0, 0, s.dir)
				change(t, 0o644, 0, 0, s.file)
				change(t, 0o700, serviceUser, serviceUser, filepath.Join(s.dir, "state"))
				shape(t, s, []string{filepath.Join(s.dir, "master.key"), filepath.Join(s.dir, "tls/key.pem"), filepath.Join(s.dir, "tls/certificate.pem")})
				for _, user := range []uint32{first, serviceUser, 0, serviceUser} {
					as(t, user, at, "serve", "--check", "--config", s.file).good(t)
					as(t, user, at, "client", "create", "acme", "--name", fmt.Sprint(user), "--scope", "orders:read", "--serve-config", s.file).good(t)
				}
			})
		}
	}
}

// secretsMount puts secrets where Kubernetes does: behind a link to a directory that is a
// link itself.
func secretsMount(t *testing.T, s *served, mode fs.FileMode, gid int, secrets []string) {
	t.Helper()
	change(t, 0o755, 0, 0, filepath.Join(s.dir, "tls"))
	for i, file := range secrets {
		dir := filepath.Dir(file)
		data := fmt.Sprintf("..2026_%d", i)
		if err := os.Mkdir(filepath.Join(dir, data), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file, filepath.Join(dir, data, filepath.Base(file))); err != nil {
			t.Fatal(err)
		}
		change(t, mode, 0, gid, filepath.Join(dir, data, filepath.Base(file)))
		if err := os.Symlink(data, filepath.Join(dir, fmt.Sprintf("..data%d", i))); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(fmt.Sprintf("..data%d", i), filepath.Base(file)), file); err != nil {
			t.Fatal(err)
		}
	}
}

// A secret that another user owns is refused, unless root reads it.
func TestSecretOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run as another user")
	}
	at := deployed(t)
	s := layOut(t, exampleConfig(t))
	moved := filepath.Join(at, "etc")
	if err := os.Rename(s.dir, moved); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(moved, "serve.yaml")
	change(t, 0o700, serviceUser, serviceUser, moved, filepath.Join(moved, "tls"))
	change(t, 0o600, serviceUser, serviceUser, file, filepath.Join(moved, "tls/key.pem"), filepath.Join(moved, "tls/certificate.pem"))
	change(t, 0o644, 4713, 4713, filepath.Join(moved, "master.key"))
	if got := as(t, serviceUser, at, "serve", "--check", "--config", file); got.code != exitLocal || !strings.Contains(got.err, "another user can write it (its owner, id 4713)") {
		t.Errorf("exit %d, %s%s", got.code, got.out, got.err)
	}
	as(t, 0, at, "serve", "--check", "--config", file).good(t)
	change(t, 0o600, serviceUser, serviceUser, filepath.Join(moved, "master.key"))
	change(t, 0o644, 4713, 4713, file)
	if got := as(t, serviceUser, at, "serve", "--check", "--config", file).good(t); !strings.Contains(got.out, "warning: "+file+": another user can write it (its owner, id 4713)") {
		t.Errorf("nothing is said of the configuration's owner: %s", got.out)
	}
}

// Root calls with a user's configuration and leaves the user's cache of tokens alone.
func TestRootInTheConfigurationOfAUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run as another user")
	}
	at := deployed(t)
	path, _ := consumerWith(t)
	for name, from := range map[string]string{"consumer.yaml": path, "a55.env": filepath.Join(shared.dir, "env/a55.env"), "ca.pem": filepath.Join(shared.dir, "tls/ca.pem")} {
		text, err := os.ReadFile(from)
		if err == nil {
			moved := strings.NewReplacer("file:"+shared.dir+"/env/", "file:", "../tls/ca.pem", "ca.pem", shared.dir+"/tls/ca.pem", "ca.pem").Replace(string(text))
			err = os.WriteFile(filepath.Join(at, name), []byte(moved), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		change(t, 0o600, serviceUser, serviceUser, filepath.Join(at, name))
	}
	change(t, 0o755, serviceUser, serviceUser, at)
	for _, user := range []uint32{0, serviceUser, 0} {
		if got := as(t, user, at, "--config", filepath.Join(at, "consumer.yaml"), "token", "a55"); got.code != exitGood {
			t.Errorf("user %d: exit %d, %s", user, got.code, got.err)
		}
	}
	info, err := os.Stat(filepath.Join(at, "tokens"))
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != serviceUser {
		t.Errorf("the cache: %v", err)
	}
}

// A lost master key is said before anything is written.
func TestMasterKeyIsLost(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	u := start(t, dir, "127.0.0.1:0")
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"master.key", "consumer.yaml", "tls/server.pem"} { // a start would write them
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	tree := func() string {
		return execute(t, "", nil, "sh", "-c", "cd '"+dir+"' && find . -type f ! -name lock -exec sha256sum {} + | sort").good(t).out
	}
	before := tree()
	for _, args := range [][]string{
		{"up", "--dir", dir, "--listen", "127.0.0.1:0"}, {"key", "list", "a55", "--dir", dir}, {"client", "create", "a55", "--dir", dir},
	} {
		got := execute(t, "", nil, binary, args...)
		if got.code != exitLocal || !strings.Contains(got.err, "the master key "+dir+"/master.key is lost") || !strings.Contains(got.err, "hint: restore a copy") {
			t.Errorf("%s: exit %d, %s", args[0], got.code, got.err)
		}
		if after := tree(); after != before {
			t.Errorf("%s: was\n%s\nis\n%s", args[0], before, after)
		}
	}
}
