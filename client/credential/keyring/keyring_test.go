//go:build linux

package keyring_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/keyring"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/godbus/dbus/v5"
	library "github.com/zalando/go-keyring"
)

const theSecret = "s3cret-in-a-keyring"

var theStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// busConfig is a session bus that starts no services by itself.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`

// bus starts a session bus of the test alone, and returns what stops it.
func bus(t *testing.T) (stop func()) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus") // a short path: the socket's may have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, filepath.Join(dir, "bus")), 0o600); err != nil {
		t.Fatal(err)
	}
	address, stop := start(t, exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--print-address=1"), "")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
	return stop
}

// start runs a program until the test ends or stop is called, and returns the
// first line that it prints.
func start(t *testing.T, cmd *exec.Cmd, stdin string) (line string, stop func()) {
	t.Helper()
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v: ./needs.sh installs it", cmd.Path, err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	line, _ = bufio.NewReader(out).ReadString('\n')
	return strings.TrimSpace(line), stop
}

// gnome starts GNOME Keyring with an unlocked collection, without a desktop.
func gnome(t *testing.T) (stop func()) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets", "--control-directory="+dir)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_RUNTIME_DIR="+dir)
	_, stop = start(t, cmd, "password of the keyring")
	eventually.True(t, "the keyring takes an entry", func() bool { return library.Set("counterfoil-test", "first", "x") == nil })
	return stop
}

func open(t *testing.T, now *clock.Manual, reference string) client.SecretFunc {
	t.Helper()
	f, err := credential.Open("keyring:"+reference, credential.Schemes{"keyring": keyring.Opener(now)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// fails expects an error of one line with want, and without the secret.
func fails(t *testing.T, f client.SecretFunc, want string) {
	t.Helper()
	v, err := f(t.Context())
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %q and error %v, want %q", v.Reveal(), err, want)
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		if text := fmt.Sprintf(verb+verb, err, f); strings.Contains(text, theSecret) {
			t.Errorf("it shows the secret: %s", text)
		}
	}
}

// GNOME Keyring on a real bus: a secret is read, rotated, and outlives the
// keyring for a while.
func TestSecretService(t *testing.T) {
	stopBus := bus(t)
	stopKeyring := gnome(t)
	store := func(name, secret string) {
		t.Helper()
		if err := library.Set("acme", name, secret); err != nil {
			t.Fatal(err)
		}
	}
	store("client/secret", theSecret+"\n")
	store("blank", "\n")
	store("long", strings.Repeat("x", 64<<10+1))
	now := clock.NewManual(theStart)
	f := open(t, now, "acme/client/secret")
	get := func(want string) {
		t.Helper()
		v, err := f(t.Context())
		if err != nil || v.Reveal() != want {
			t.Errorf("got %q, %v; want %q", v.Reveal(), err, want)
		}
	}
	get(theSecret)
	fails(t, open(t, now, "acme/none"), "secret keyring:acme/none: there is no such entry")
	fails(t, open(t, now, "acme/blank"), "it is empty")
	fails(t, open(t, now, "acme/long"), "longer than 65536 bytes")

	store("client/secret", "rotated")
	now.Turn(30*time.Second - 1)
	get(theSecret)
	now.Turn(1)
	get("rotated")

	stopKeyring()
	now.Turn(time.Minute)
	get("rotated")
	fails(t, open(t, now, "acme/client/secret"), "there is no keyring here")
	stopBus()
	eventually.True(t, "the bus is known to be gone", func() bool {
		_, err := open(t, now, "acme/client/secret")(t.Context())
		return err != nil && strings.Contains(err.Error(), "there is no keyring here")
	})
}

// hanging is a keyring that is locked and asks somebody who does not answer.
type hanging struct{ asked chan struct{} }

func (h hanging) Get(string, string) (dbus.Variant, *dbus.Error) {
	return dbus.MakeVariant([]dbus.ObjectPath{}), nil
}

func (h hanging) Unlock([]dbus.ObjectPath) ([]dbus.ObjectPath, dbus.ObjectPath, *dbus.Error) {
	return nil, "/org/freedesktop/secrets/prompt/p1", nil
}

func (h hanging) Prompt(string) *dbus.Error {
	h.asked <- struct{}{}
	return nil
}

// answers takes the name of the Secret Service on the bus for what h answers.
func answers(t *testing.T, h any) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(os.Getenv("DBUS_SESSION_BUS_ADDRESS"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for path, face := range map[dbus.ObjectPath][]string{
		"/org/freedesktop/secrets":           {"org.freedesktop.DBus.Properties", "org.freedesktop.Secret.Service"},
		"/org/freedesktop/secrets/prompt/p1": {"org.freedesktop.Secret.Prompt"},
	} {
		for _, name := range face {
			if err := conn.Export(h, path, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := conn.RequestName("org.freedesktop.secrets", dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
	return conn
}

// turning turns the clock, second by second, until there is an outcome.
func turning(t *testing.T, now *clock.Manual, outcome <-chan error) error {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		select {
		case err := <-outcome:
			cancel()
			return err
		case <-ctx.Done(): // real time for who was woken by the last turn
		}
		cancel()
		now.Turn(time.Second)
	}
}

// A keyring that waits for its password costs 3 s, not the caller's life, and is
// not asked a second time beside the first.
func TestLocked(t *testing.T) {
	bus(t)
	h := hanging{asked: make(chan struct{}, 16)}
	conn := answers(t, h)
	now := clock.NewManual(theStart)
	open := keyring.Opener(now)
	for round := range 3 {
		f, err := open(fmt.Sprintf("acme/client-secret-%d", round))
		if err != nil {
			t.Fatal(err)
		}
		failed := make(chan error)
		go func() { _, err := f(context.Background()); failed <- err }()
		if round == 0 {
			<-h.asked
		}
		if err := turning(t, now, failed); err == nil || !strings.Contains(err.Error(), "gave no answer in") {
			t.Errorf("round %d: got %v", round, err)
		}
	}
	if n := len(h.asked); n != 0 {
		t.Errorf("the keyring was asked %d more times while it asked somebody", n)
	}
	if err := conn.Emit("/org/freedesktop/secrets/prompt/p1", "org.freedesktop.Secret.Prompt.Completed", true, dbus.MakeVariant([]dbus.ObjectPath{})); err != nil {
		t.Fatal(err)
	}
	eventually.True(t, "the question is at its end", func() bool {
		stacks := make([]byte, 1<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "/credential/keyring.")
	})
}

// wrong answers with types that are not those of the Secret Service, and with
// words of its own.
type wrong struct{ err *dbus.Error }

func (w wrong) Get(string, string) (dbus.Variant, *dbus.Error) {
	return dbus.MakeVariant(theSecret), w.err
}

func (w wrong) Unlock([]dbus.ObjectPath) (string, string, *dbus.Error) {
	return theSecret, theSecret, w.err
}

func TestNoKeyring(t *testing.T) {
	now := clock.NewManual(theStart)
	t.Run("no bus", func(t *testing.T) {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
		if _, err := os.Stat(fmt.Sprintf("/run/user/%d/bus", os.Getuid())); err == nil {
			t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
		}
		fails(t, open(t, now, "a/b"), "secret keyring:a/b: there is no keyring here: use file: or env: instead")
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
		fails(t, open(t, now, "a/b"), "there is no keyring here")
	})
	t.Run("bus without keyring", func(t *testing.T) {
		bus(t)
		fails(t, open(t, now, "a/b"), "there is no keyring here")
	})
	t.Run("wrong types", func(t *testing.T) {
		bus(t)
		answers(t, wrong{})
		fails(t, open(t, now, "a/b"), "the service that answers is not a keyring")
	})
	t.Run("an error", func(t *testing.T) {
		bus(t)
		answers(t, wrong{dbus.NewError("org.example.Error.Odd", []any{theSecret + "\nand more"})})
		fails(t, open(t, now, "a/b"), "the keyring does not return it: check whether it is locked (org.example.Error.Odd)")
	})
	t.Run("an error with the longest name that is told", func(t *testing.T) {
		bus(t)
		name := "org.example." + strings.Repeat("x", 128-len("org.example."))
		answers(t, wrong{dbus.NewError(name, nil)})
		fails(t, open(t, now, "a/b"), "check whether it is locked ("+name+")")
	})
}

func TestReference(t *testing.T) {
	for name, reference := range map[string]string{
		"empty": "", "no name": "acme", "no name behind the slash": "acme/", "no service": "/name",
		"control character": "acme/na\x00me", "not UTF-8": "acme/\xff", "too long": "acme/" + strings.Repeat("x", 513),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := keyring.Opener(nil)(reference); err == nil || !strings.Contains(err.Error(), "write keyring:SERVICE/NAME") {
				t.Errorf("got %v", err)
			}
		})
	}
	longest := strings.Repeat("x", 512)
	if _, err := keyring.Opener(nil)(longest + "/" + longest); err != nil {
		t.Errorf("the longest names: %v", err)
	}
}

func FuzzReference(f *testing.F) {
	for _, s := range []string{"a/b", "a/b/c", "/", "", "a\x00/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reference string) {
		get, err := keyring.Opener(nil)(reference)
		service, name, _ := strings.Cut(reference, "/")
		if (err == nil) != (get != nil) || err == nil && (service == "" || name == "") {
			t.Errorf("%q was opened: %v", reference, err)
		}
	})
}
