package agefile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/agefile"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
)

const theSecret = "s3cret-in-a-file"

func newIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// seal writes text to path, encrypted for the recipients.
func seal(t testing.TB, path, text string, armoured bool, recipients ...age.Recipient) {
	t.Helper()
	var b bytes.Buffer
	var out io.WriteCloser = struct {
		io.Writer
		io.Closer
	}{&b, io.NopCloser(nil)}
	if armoured {
		out = armor.NewWriter(&b)
	}
	w, err := age.Encrypt(out, recipients...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.WriteString(w, text)
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	if armoured {
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := files.Write(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func static(text string) client.SecretFunc { return client.Static(counterfoil.Secret(text)) }

func open(t testing.TB, identity client.SecretFunc, clk counterfoil.Clock, reference string) client.SecretFunc {
	t.Helper()
	f, err := credential.Open("age:"+reference, credential.Schemes{"age": agefile.Opener(identity, clk)})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// hides fails the test when what is printed of the values holds a secret.
func hides(t testing.TB, secrets []string, values ...any) {
	t.Helper()
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			for _, secret := range secrets {
				if text := fmt.Sprintf(verb, v); strings.Contains(text, secret) {
					t.Errorf("%s of %T shows a secret: %s", verb, v, text)
				}
			}
		}
	}
}

func TestDecrypt(t *testing.T) {
	id, other := newIdentity(t), newIdentity(t)
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	scrypt, err := age.NewScryptRecipient("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	scrypt.SetWorkFactor(10)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	seal(t, at("one"), theSecret+"\n", false, id.Recipient())
	seal(t, at("armoured"), theSecret, true, other.Recipient(), id.Recipient())
	seal(t, at("env"), "ID=me\nSECRET='"+theSecret+"'\n", false, id.Recipient())
	seal(t, at("hybrid"), theSecret, false, hybrid.Recipient())
	seal(t, at("phrase"), theSecret, true, scrypt)
	seal(t, at("costly"), theSecret, false, scrypt)
	costly, err := os.ReadFile(at("costly"))
	if err != nil {
		t.Fatal(err)
	}
	// to write such a file honestly would take as much work as to read it
	if err := os.WriteFile(at("costly"), bytes.Replace(costly, []byte(" 10\n"), []byte(" 21\n"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	seal(t, at("empty"), "\n", false, id.Recipient())
	seal(t, at("long"), strings.Repeat(theSecret, 5000), false, id.Recipient())
	seal(t, at("longer"), strings.Repeat(theSecret, 70000), false, id.Recipient())
	line := "SECRET='" + theSecret + "'\n"
	seal(t, at("full"), line+strings.Repeat("\n", 1<<20-len(line)), false, id.Recipient())
	if err := os.WriteFile(at("plain"), []byte(theSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(at("long"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("cut"), whole[:len(whole)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("huge"), make([]byte, 2<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("open"), whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(at("open"), 0o666); err != nil {
		t.Fatal(err)
	}
	key := id.String()
	for _, row := range []struct{ name, reference, identity, err string }{
		{"one secret", "one", key, ""},
		{"identity file of age-keygen", "one", "# created: 2026-01-02\n# public key: age1…\n" + key + "\n", ""},
		{"several identities", "armoured", other.String() + "\n" + key, ""},
		{"armour", "armoured", key, ""},
		{"environment file", "env#SECRET", key, ""},
		{"environment file, no such line", "env#NONE", key, "the file has no line NONE="},
		{"post-quantum identity", "hybrid", hybrid.String(), ""},
		{"passphrase", "phrase", "correct horse\n", ""},
		{"wrong passphrase", "phrase", "battery staple", "not encrypted with this passphrase"},
		{"passphrase for a file of recipients", "one", "battery staple", "not encrypted with this passphrase"},
		{"identity for a file of a passphrase", "phrase", key, "not encrypted for any of the identities"},
		{"costly passphrase", "costly", "correct horse", "requires too much work"},
		{"wrong identity", "one", other.String(), "not encrypted for any of the identities"},
		{"damaged identity", "one", key[:len(key)-1], "its identity is damaged"},
		{"line beside the identity", "one", key + "\n" + theSecret, "its identity is damaged"},
		{"identity of a plugin", "one", "AGE-PLUGIN-YUBIKEY-1" + theSecret, "give a key of age-keygen"},
		{"as many identities as can be", "one", strings.Repeat(key+"\n", 16), ""},
		{"too many identities", "one", strings.Repeat(key+"\n", 17), "more than 16 identities"},
		{"not encrypted", "plain", key, "not a complete age file"},
		{"cut off", "cut", key, "not a complete age file"},
		{"empty", "empty", key, "it is empty"},
		{"too long", "long", key, "longer than 65536 bytes"},
		{"an environment file as long as can be", "full#SECRET", key, ""},
		{"much too long", "longer", key, "longer than 1048576 bytes"},
		{"too large", "huge", key, "longer than 2097152 bytes"},
		{"others can write it", "open", key, "chmod go-w"},
		{"missing", "none", key, "no such file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := open(t, static(row.identity), nil, at(row.reference))
			v, err := f(t.Context())
			if row.err == "" && (err != nil || v.Reveal() != theSecret) {
				t.Errorf("got %q, %v", v.Reveal(), err)
			}
			if row.err != "" && (err == nil || !strings.Contains(err.Error(), row.err) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got error %v, want one line with %q", err, row.err)
			}
			hides(t, []string{theSecret, key, key[15:40], "battery", "horse"}, v, err, f)
		})
	}
	for name, f := range map[string]func() (client.SecretFunc, error){
		"no file":     func() (client.SecretFunc, error) { return agefile.Opener(static(key), nil)("") },
		"no line":     func() (client.SecretFunc, error) { return agefile.Opener(static(key), nil)("x#") },
		"no identity": func() (client.SecretFunc, error) { return agefile.Opener(nil, nil)("x") },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: it was opened", name)
		}
	}
}

// A file that was encrypted anew, for another identity too, gives its new secret
// at the next ask; one that was not is not decrypted again.
func TestRotates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.age")
	now, id := clock.NewManual(time.Now().Add(time.Hour)), newIdentity(t)
	identity, asked := id, 0
	f := open(t, func(context.Context) (counterfoil.Secret, error) {
		asked++
		return counterfoil.Secret(identity.String()), nil
	}, now, path)
	get := func(want string) {
		t.Helper()
		v, err := f(t.Context())
		if err != nil || v.Reveal() != want {
			t.Errorf("got %q, %v; want %q", v.Reveal(), err, want)
		}
	}
	seal(t, path, "first", false, id.Recipient())
	for range 5 {
		get("first")
	}
	if asked != 1 {
		t.Errorf("an unchanged file was decrypted %d times", asked)
	}
	seal(t, path, "second", true, id.Recipient())
	get("second")
	identity = newIdentity(t)
	seal(t, path, "third", false, identity.Recipient())
	get("third")
}

// A file for an identity that is not there yet: the last secret serves for 10 s,
// and the work of trying is bounded.
func TestIdentityComesLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.age")
	now, old, next := clock.NewManual(time.Now().Add(time.Hour)), newIdentity(t), newIdentity(t)
	identity, asked := old, 0
	var gone error
	f := open(t, func(context.Context) (counterfoil.Secret, error) {
		asked++
		return counterfoil.Secret(identity.String()), gone
	}, now, path)
	seal(t, path, "first", false, old.Recipient())
	if v, err := f(t.Context()); err != nil || v != "first" {
		t.Fatal(v.Reveal(), err)
	}
	seal(t, path, "second", false, next.Recipient())
	asked = 0
	for range 9 {
		for range 3 {
			if v, err := f(t.Context()); err != nil || v != "first" {
				t.Fatalf("got %q, %v; want the last good secret", v.Reveal(), err)
			}
		}
		now.Turn(time.Second)
	}
	if asked != 4 { // at 0, 1, 3 and 7 s
		t.Errorf("the file was tried %d times in 9 s", asked)
	}
	now.Turn(time.Second)
	gone = errors.New("the identity's file is missing")
	now.Turn(time.Minute)
	if _, err := f(t.Context()); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
	gone, identity = nil, next
	now.Turn(30 * time.Second)
	if v, err := f(t.Context()); err != nil || v != "second" {
		t.Errorf("got %q, %v", v.Reveal(), err)
	}
}

// What the age command writes is read.
func TestOfTheAgeCommand(t *testing.T) {
	dir := t.TempDir()
	identity, sealed := filepath.Join(dir, "identity"), filepath.Join(dir, "client.env.age")
	if out, err := exec.CommandContext(t.Context(), "age-keygen", "-o", identity).CombinedOutput(); err != nil {
		t.Fatalf("age-keygen: %v: %s", err, out)
	}
	recipient, err := exec.CommandContext(t.Context(), "age-keygen", "-y", identity).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{nil, {"--armor"}} {
		cmd := exec.CommandContext(t.Context(), "age", append(arguments, "-r", strings.TrimSpace(string(recipient)), "-o", sealed)...)
		cmd.Stdin = strings.NewReader("CLIENT_SECRET=" + theSecret + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("age: %v: %s", err, out)
		}
		if err := os.Chmod(sealed, 0o644); err != nil {
			t.Fatal(err)
		}
		id, err := credential.Open("file:"+identity, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := open(t, id, nil, sealed+"#CLIENT_SECRET")(t.Context())
		if err != nil || v.Reveal() != theSecret {
			t.Errorf("age %v: got %q, %v", arguments, v.Reveal(), err)
		}
	}
}

func FuzzFile(f *testing.F) {
	dir, id := f.TempDir(), newIdentity(f)
	path := filepath.Join(dir, "x")
	for _, armoured := range []bool{true, false} {
		seal(f, path, theSecret, armoured, id.Recipient())
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, id.String())
		f.Add(b[:len(b)/2], "AGE-SECRET-KEY-1")
	}
	f.Add([]byte("age-encryption.org/v1\n-> X25519 x\n--- \n"), "AGE-SECRET-KEY-PQ-1\n#")
	f.Fuzz(func(t *testing.T, b []byte, identity string) {
		if !strings.HasPrefix(identity, "AGE-") {
			identity = "AGE-SECRET-KEY-" + identity // a passphrase would cost seconds
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		v, err := open(t, static(identity), nil, path)(t.Context())
		if (err == nil) == (v == "") {
			t.Errorf("got a secret of %d bytes and error %v", len(v), err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("the error has lines: %q", err)
		}
	})
}
