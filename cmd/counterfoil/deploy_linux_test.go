package main

import (
	"bufio"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// unit returns a unit of deploy, which starts the binary under test.
func unit(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "/usr/local/bin/counterfoil", binary)
}

// TestUnits: systemd finds nothing wrong with the units, and little that they
// leave open.
func TestUnits(t *testing.T) {
	dir := t.TempDir()
	var units []string
	all, err := os.ReadDir("../../deploy")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if ext := filepath.Ext(e.Name()); ext == ".service" || ext == ".timer" {
			file := filepath.Join(dir, e.Name())
			if err := os.WriteFile(file, []byte(unit(t, e.Name())), 0o600); err != nil {
				t.Fatal(err)
			}
			units = append(units, file)
		}
	}
	if r := execute(t, "", nil, "systemd-analyze", append([]string{"verify", "--man=no"}, units...)...); r.code != 0 || r.err != "" || len(units) != 3 {
		t.Errorf("%d units: exit %d, %s%s", len(units), r.code, r.out, r.err)
	}
	for _, name := range []string{"counterfoil.service", "counterfoil-backup.service"} {
		r := execute(t, "", nil, "systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", filepath.Join(dir, name))
		if r.code != 0 {
			t.Errorf("%s: %s%s", name, r.out, r.err)
		}
	}
}

// filtered are the system calls that a unit allows.
func filtered(t *testing.T, unit string) map[string]bool {
	t.Helper()
	calls := map[string]bool{}
	var expand func(set string, allow bool)
	expand = func(set string, allow bool) {
		if !strings.HasPrefix(set, "@") {
			if calls[set] = allow; !allow {
				delete(calls, set)
			}
			return
		}
		out := execute(t, "", nil, "systemd-analyze", "--no-pager", "syscall-filter", set).good(t).out
		for line := range strings.Lines(out) {
			if line = strings.TrimSpace(line); line != set && line != "" && !strings.HasPrefix(line, "#") {
				expand(line, allow)
			}
		}
	}
	for _, m := range regexp.MustCompile(`(?m)^SystemCallFilter=(~?)(.*)$`).FindAllStringSubmatch(unit, -1) {
		for set := range strings.FieldsSeq(m[2]) {
			expand(set, m[1] == "")
		}
	}
	return calls
}

// TestUnitAllowsWhatServeDoes: a server that starts, issues tokens, reloads and
// stops makes no system call that its unit forbids, and has no memory that it may
// both write and execute.
func TestUnitAllowsWhatServeDoes(t *testing.T) {
	text := unit(t, "counterfoil.service")
	allowed := filtered(t, text)
	if len(allowed) < 100 || allowed["mount"] || allowed["setuid"] {
		t.Fatalf("the unit allows %d system calls", len(allowed))
	}
	s := layOut(t, exampleConfig(t))
	creds := s.client(t, "acme", "orders:read")
	out := filepath.Join(s.dir, "trace")
	// Root does more, such as to give files to the owner of their directory.
	serve := s.unprivileged(t, "serve", "--config", s.file)
	cmd := exec.Command("strace", append([]string{"-f", "-o", out}, serve.Args...)...)
	cmd.SysProcAttr = serve.SysProcAttr
	p, err := spawned(cmd, "serve")
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
	waitFor(t, func() bool { return listening.MatchString(p.errors()) })
	s.port = listening.FindStringSubmatch(p.errors())[1]
	c := s.http(t)
	token := s.token(t, c, acmeToken, creds)
	s.form(t, c, "https://auth.acme.example/revoke", creds, "token", token.Reveal())
	trace, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer trace.Close()
	// The signals are for the server, not for strace.
	first, err := bufio.NewReader(trace).ReadString(' ')
	if err != nil {
		t.Fatal(err)
	}
	for _, signal := range []string{"-HUP", "-TERM"} {
		execute(t, "", nil, "kill", signal, strings.TrimSpace(first)).good(t)
		if signal == "-HUP" {
			waitFor(t, func() bool { return strings.Contains(p.errors(), "reloaded") })
		}
	}
	waitFor(t, func() bool { return strings.Contains(p.errors(), "draining") })
	if err := p.stop(0); err != nil {
		t.Errorf("%v: %s", err, p.errors())
	}
	lines, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	made, forbidden := 0, map[string]string{}
	writable := regexp.MustCompile(`^\d+ +(mmap|mprotect|pkey_mprotect)\(.*PROT_WRITE\|PROT_EXEC`)
	for line := range strings.Lines(string(lines)) {
		m := regexp.MustCompile(`^\d+ +(\w+)\(`).FindStringSubmatch(line)
		if m == nil {
			continue
		}
		made++
		if m[1] != "execve" && !allowed[m[1]] || writable.MatchString(line) {
			forbidden[m[1]] = strings.TrimSpace(line)
		}
	}
	if made < 1000 || len(forbidden) > 0 {
		t.Errorf("of %d system calls the unit forbids %q", made, slices.Collect(maps.Values(forbidden)))
	}
}

// TestContainer: the static binary serves as a user without rights, from a root
// file system that has nothing but it, its configuration and a place for the
// database.
func TestContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("another root file system needs root")
	}
	s := layOut(t, strings.NewReplacer("database: counterfoil.db", "database: /var/lib/counterfoil/counterfoil.db").Replace(exampleConfig(t)))
	static := filepath.Join(s.dir, "counterfoil")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "nolibcrypto", "-o", static, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	state := filepath.Join(s.dir, "var", "lib", "counterfoil")
	const user = 65532
	if err := os.MkdirAll(state, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{state, filepath.Join(s.dir, "master.key"), filepath.Join(s.dir, "tls", "key.pem")} {
		if err := os.Chown(path, user, user); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{s.dir, filepath.Join(s.dir, "tls"), filepath.Join(s.dir, "var"), filepath.Join(s.dir, "var", "lib")} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"serve.yaml", "tls/certificate.pem"} {
		if err := os.Chmod(filepath.Join(s.dir, file), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("/counterfoil", "serve", "--config", "/serve.yaml")
	cmd.Dir, cmd.Env = "/", []string{"TMPDIR=/var/lib/counterfoil"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: s.dir, Credential: &syscall.Credential{Uid: user, Gid: user}}
	p, err := spawned(cmd, "serve")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.stop(syscall.SIGKILL) })
	s.process = p
	waitFor(t, func() bool { return listening.MatchString(p.errors()) })
	s.port = listening.FindStringSubmatch(p.errors())[1]
	if got := get(t, s.http(t), acmeReady); got.status != 200 {
		t.Errorf("%+v", got)
	}
	backup := exec.CommandContext(t.Context(), "/counterfoil", "backup", "-", "--serve-config", "/serve.yaml")
	backup.Dir, backup.Env, backup.SysProcAttr = cmd.Dir, cmd.Env, cmd.SysProcAttr
	if out, err := backup.Output(); err != nil || len(out) == 0 {
		t.Errorf("a backup in the container: %d bytes, %v", len(out), err)
	}
	if err := p.stop(syscall.SIGTERM); err != nil {
		t.Errorf("%v: %s", err, p.errors())
	}
	if conn, err := net.Dial("tcp", "127.0.0.1:"+s.port); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}
