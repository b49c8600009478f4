package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/disktest"
	"github.com/counterfoil/counterfoil/internal/files"
)

// binary is the program as a user has it: built without cgo.
var binary string

// shared is one 'up' that all tests use which change nothing that others see.
var shared *upProcess

func TestMain(m *testing.M) {
	disktest.Main()
	guardMain()
	flag.Parse()
	// A fuzzing worker needs no binary, and has no time for one.
	if f := flag.Lookup("test.fuzzworker"); f != nil && f.Value.String() == "true" {
		os.Exit(m.Run())
	}
	os.Exit(withBinary(m))
}

func withBinary(m *testing.M) int {
	dir, err := os.MkdirTemp("", "counterfoil-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "counterfoil")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	shared, err = launch(filepath.Join(dir, "data"), "localhost:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = shared.stop(syscall.SIGTERM) }()
	return m.Run()
}

// patience is how long a process may take before a test gives up on it.
const patience = 2 * time.Minute

// process is the binary at work.
type process struct {
	cmd  *exec.Cmd
	done chan error

	mu       sync.Mutex
	out, err bytes.Buffer
}

// spawn starts the binary and returns once it says that it is ready.
func spawn(args ...string) (*process, error) { return spawned(exec.Command(binary, args...), args[0]) }

// spawned is spawn for any command that says that it is ready.
func spawned(cmd *exec.Cmd, name string) (*process, error) {
	p := &process{cmd: cmd, done: make(chan error, 1)}
	p.cmd.Stderr = writer(func(b []byte) { p.mu.Lock(); p.err.Write(b); p.mu.Unlock() })
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan bool, 1)
	go func() {
		sc := bufio.NewScanner(out)
		for sc.Scan() {
			p.mu.Lock()
			fmt.Fprintln(&p.out, sc.Text())
			p.mu.Unlock()
			if sc.Text() == "ready" {
				ready <- true
			}
		}
		p.done <- p.cmd.Wait()
		close(ready)
	}()
	select {
	case ok := <-ready:
		if !ok {
			return p, fmt.Errorf("%s ended: %s", name, p.errors())
		}
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		return p, fmt.Errorf("%s is not ready: %s", name, p.errors())
	}
	return p, nil
}

// stop sends a signal and returns how the process ended.
func (p *process) stop(sig syscall.Signal) error {
	_ = p.cmd.Process.Signal(sig)
	select {
	case err := <-p.done:
		p.done <- err
		return err
	case <-time.After(patience):
		return errors.Join(errors.New("it did not end"), p.cmd.Process.Kill())
	}
}

func (p *process) printed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *process) errors() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

// upProcess is a running 'counterfoil up'.
type upProcess struct {
	*process
	dir, base string
}

// launch starts an 'up' and returns once it says that it is ready.
func launch(dir, listen string, more ...string) (*upProcess, error) {
	p, err := spawn(append([]string{"up", "--dir", dir, "--listen", listen}, more...)...)
	u := &upProcess{process: p, dir: dir}
	if err != nil {
		return u, err
	}
	env, err := files.ReadEnv(filepath.Join(dir, "env", "a55.env"))
	if err != nil {
		return u, err
	}
	u.base = strings.TrimSuffix(env.Get("AUTH_URL"), "/a55/oauth2/token")
	return u, nil
}

// start launches an 'up' of a test's own.
func start(t *testing.T, dir, listen string, more ...string) *upProcess {
	t.Helper()
	u, err := launch(dir, listen, more...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = u.stop(syscall.SIGKILL) })
	return u
}

// env returns a provider's environment file.
func (u *upProcess) env(t *testing.T, provider string) files.Env {
	t.Helper()
	env, err := files.ReadEnv(filepath.Join(u.dir, "env", provider+".env"))
	if err != nil {
		t.Fatal(err)
	}
	return env
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// ran is how a command ended.
type ran struct {
	code     int
	out, err string
}

// execute runs a command with the given input and additions to the environment.
func execute(t *testing.T, in string, env []string, name string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "COUNTERFOIL_") }), env...)
	cmd.Stdin = strings.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	return ran{code: cmd.ProcessState.ExitCode(), out: out.String(), err: errs.String()}
}

// counterfoil runs the binary with the client configuration of u.
func (u *upProcess) counterfoil(t *testing.T, args ...string) ran {
	t.Helper()
	return execute(t, "", nil, binary, append([]string{"--config", filepath.Join(u.dir, "consumer.yaml")}, args...)...)
}

// sourced runs a shell script after sourcing a provider's environment file, as
// exported variables.
func (u *upProcess) sourced(t *testing.T, provider, script string) ran {
	t.Helper()
	return execute(t, "", nil, "sh", "-c", fmt.Sprintf("set -a; . '%s/env/%s.env'; set +a\n%s", u.dir, provider, script))
}

// good fails the test unless the command succeeded.
func (r ran) good(t *testing.T) ran {
	t.Helper()
	if r.code != 0 {
		t.Fatalf("exit %d\nout: %s\nerr: %s", r.code, r.out, r.err)
	}
	return r
}

// startWith launches an 'up' with one more provider.
func startWith(t *testing.T, description string) *upProcess {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	text, err := os.ReadFile(description)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "providers"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "providers", filepath.Base(description)), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, dir, "127.0.0.1:0")
}
