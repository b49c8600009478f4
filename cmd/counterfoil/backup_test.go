package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/backupfile"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// verified is what 'audit verify' says.
type verified struct {
	Entries, Signed int64
	Findings        []struct{ What string }
	Key             string
}

func (s *served) verify(t *testing.T, args ...string) (v verified) {
	t.Helper()
	r := s.manage(t, append([]string{"audit", "verify", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		t.Fatalf("%v: %s %s", err, r.out, r.err)
	}
	return v
}

// TestBackupAndRestore: a backup of a server at work is restored. What was
// acknowledged before it is there; what came after is listed; no token of before
// serves; the log goes on, agrees with a checkpoint of before the backup, and says
// of one of after it that a restore has lost what it is about.
func TestBackupAndRestore(t *testing.T) {
	s := layOut(t, exampleConfig(t)+"\naudit: { checkpoint_every: 1s, publish_every: 1s, checkpoint_file: checkpoint.txt }\n").start(t)
	file, checkpoint := filepath.Join(s.dir, "kept.backup"), filepath.Join(s.dir, "checkpoint.txt")
	c := s.http(t)
	creds, gone, leaky := s.client(t, "acme", "orders:read"), s.client(t, "acme", "orders:read"), s.client(t, "acme", "orders:read")
	token := s.token(t, c, acmeToken, creds)
	active := func(creds clients.Credentials, token string) string {
		t.Helper()
		return s.form(t, c, "https://auth.acme.example/introspect", creds, "token", token).body
	}
	published := func(size int64) string {
		t.Helper()
		var text []byte
		eventually.True(t, "a checkpoint is in the file", func() bool {
			text, _ = os.ReadFile(checkpoint)
			var n int64
			_, err := fmt.Sscanf(strings.ReplaceAll(string(text), "\n", " "), "%s %d", new(string), &n)
			return err == nil && n >= size
		})
		return string(text)
	}
	s.write(t, "early.txt", published(4))

	s.manage(t, "backup", file).good(t)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v", info.Mode(), err)
	}
	if secret, err := os.ReadFile(filepath.Join(s.dir, "master.key")); err != nil || strings.Contains(s.content(t)[file], strings.TrimSpace(string(secret))) {
		t.Errorf("the master key is in the backup, or %v", err)
	}

	// What the restore forgets.
	s.manage(t, "client", "disable", "acme", gone.ClientID).good(t)
	s.manage(t, "client", "rotate", "acme", creds.ClientID, "--overlap", "0").good(t)
	later := s.client(t, "acme", "orders:read")
	s.token(t, c, acmeToken, later)
	s.form(t, c, acmeBase+"/leaked", clients.Credentials{}, "secret", leaky.ClientSecret.Reveal())
	before := s.verify(t)
	s.write(t, "late.txt", published(before.Entries))
	if r := s.manage(t, "restore", file); r.code != exitLocal || !strings.Contains(r.err, "another process has the database open") {
		t.Errorf("under a server: %d, %s", r.code, r.err)
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	said := s.manage(t, "restore", file).good(t).out
	for _, want := range []string{"client.disabled", gone.ClientID, "client.rotated", creds.ClientID, "client.created", later.ClientID, "client.secret_leaked", leaky.ClientID, "tokens      revoked"} {
		if !strings.Contains(said, want) {
			t.Errorf("it says nothing of %q:\n%s", want, said)
		}
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "counterfoil.db*")); err != nil || len(left) != 3 { // the old one and the limits
		t.Errorf("beside the database are %v, %v", left, err)
	}
	if n := s.recorded(t, "database.restored"); n != 1 {
		t.Errorf("%d restores are recorded", n)
	}

	s.start(t)
	c = s.http(t)
	if got := active(creds, token.Reveal()); got != `{"active":false}` {
		t.Errorf("a token of before the restore is %s", got)
	}
	if got := active(creds, s.token(t, c, acmeToken, creds).Reveal()); !strings.Contains(got, `"active":true`) {
		t.Errorf("a token of after the restore is %s", got)
	}
	s.token(t, c, acmeToken, gone)
	if got := do(t, c, tokenRequest(t, acmeToken, later)); got.status != http.StatusUnauthorized {
		t.Errorf("a client that was made after the backup gets %d", got.status)
	}
	// It signs, and gives away, what is recorded after the restore.
	eventually.True(t, "the log goes on", func() bool { v := s.verify(t); return v.Signed == v.Entries })
	if log := s.errors(); strings.Contains(log, "altered") {
		t.Errorf("the log says %s", log)
	}
	eventually.True(t, "a checkpoint of it is given away", func() bool {
		text, err := os.ReadFile(checkpoint)
		if err != nil {
			return false
		}
		s.write(t, "next.txt", string(text))
		return len(s.verify(t, "--checkpoint", filepath.Join(s.dir, "next.txt")).Findings) == 0
	})
	if v := s.verify(t, "--checkpoint", filepath.Join(s.dir, "early.txt")); len(v.Findings) != 0 || v.Key != before.Key {
		t.Errorf("by a checkpoint of before: %+v, the key was %s", v, before.Key)
	}
	v := s.verify(t, "--checkpoint", filepath.Join(s.dir, "late.txt"))
	if len(v.Findings) != 1 || !strings.Contains(v.Findings[0].What, "were lost when the database was restored") {
		t.Errorf("by a checkpoint of after the backup: %+v", v)
	}
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

// TestRestoreRefuses: what is not a whole backup for this server is refused in one
// sentence, and nothing is changed.
func TestRestoreRefuses(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	s.client(t, "acme", "orders:read")
	file := filepath.Join(s.dir, "b")
	s.manage(t, "backup", file).good(t)
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(s.dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	newer := func() []byte {
		var m backupfile.Manifest
		if err := json.Unmarshal([]byte(s.manage(t, "restore", "--check", "-o", "json", file).good(t).out), &m); err != nil {
			t.Fatal(err)
		}
		key, err := seal.ParseKey(counterfoil.Secret(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file+".newer", whole[:m.Size], 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(file+".newer", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		m.Schema = 99
		if err := backupfile.Finish(f, &m, key); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file + ".newer")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}()
	changed := append([]byte{}, whole...)
	changed[len(changed)/2] ^= 1
	database, err := os.ReadFile(filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name    string
		backup  []byte
		prepare func() (undo func())
		want    string
	}{
		{name: "half of it", backup: whole[:len(whole)/2], want: "it is a part of a backup"},
		{name: "changed", backup: changed, want: "damaged or was changed"},
		{name: "newer", backup: newer, want: "its schema has version 99"},
		{name: "the database itself", backup: database, want: "no backup of Counterfoil"},
		{name: "nothing", want: "no backup of Counterfoil"},
		{name: "another master key", backup: whole, want: "needs the master key", prepare: func() func() {
			s.write(t, "master.key", seal.NewKey().Reveal())
			return func() { s.write(t, "master.key", string(text)) }
		}},
		{name: "another restore", backup: whole, want: "another 'restore' is under way", prepare: func() func() {
			s.write(t, "counterfoil.db.restoring", "")
			return func() { _ = os.Remove(filepath.Join(s.dir, "counterfoil.db.restoring")) }
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.write(t, "other", string(row.backup))
			if row.prepare != nil {
				defer row.prepare()()
			}
			before := s.content(t)
			r := s.manage(t, "restore", filepath.Join(s.dir, "other"))
			if r.code != exitLocal || !strings.Contains(r.err, row.want) || strings.Count(r.err, "\n") > 2 {
				t.Errorf("%d, %s", r.code, r.err)
			}
			if fmt.Sprint(s.content(t)) != fmt.Sprint(before) {
				t.Error("something was changed")
			}
		})
	}
	// A restore is not refused for what the others have left, nor is the log of one
	// that was killed taken for its own.
	db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	later := s.client(t, "acme", "orders:read")
	log, err := os.ReadFile(filepath.Join(s.dir, "counterfoil.db-wal"))
	if err := errors.Join(err, db.Close()); err != nil || len(log) == 0 {
		t.Fatalf("a log of %d bytes, %v", len(log), err)
	}
	s.write(t, "counterfoil.db.restoring-wal", string(log))
	s.manage(t, "restore", file).good(t)
	if v := s.verify(t); len(v.Findings) > 0 || s.manage(t, "client", "show", "acme", later.ClientID).code == exitGood {
		t.Errorf("the restored database is not that of the backup: %+v", v)
	}
}

// TestBackupReplacesOnlyBackups: a backup takes the place of an earlier one, and
// of nothing else.
func TestBackupReplacesOnlyBackups(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	s.client(t, "acme", "orders:read")
	file := filepath.Join(s.dir, "b")
	for range 2 {
		s.manage(t, "backup", file).good(t)
	}
	// What a backup of yesterday has left when it was killed goes, that of one under
	// way stays.
	s.write(t, ".b.2", "under way")
	yesterday := time.Now().Add(-24 * time.Hour)
	for _, left := range []string{".b.1", ".b.1-journal"} {
		s.write(t, left, "left")
		if err := os.Chtimes(filepath.Join(s.dir, left), yesterday, yesterday); err != nil {
			t.Fatal(err)
		}
	}
	s.manage(t, "backup", file).good(t)
	if left, err := filepath.Glob(filepath.Join(s.dir, ".b.*")); err != nil || len(left) != 1 || filepath.Base(left[0]) != ".b.2" {
		t.Errorf("left are %q, %v", left, err)
	}
	s.write(t, "text", "text")
	for _, other := range []string{"text", "counterfoil.db", "master.key", "tls"} {
		if r := s.manage(t, "backup", filepath.Join(s.dir, other)); r.code != exitLocal || !strings.Contains(r.err, "is no backup") {
			t.Errorf("%s: %d, %s", other, r.code, r.err)
		}
	}
	if r := s.manage(t, "restore", "--check", "-"); r.code != exitUsage || !strings.Contains(r.err, "--check reads a file") {
		t.Errorf("%d, %s", r.code, r.err)
	}
	out := s.manage(t, "backup", "-").good(t).out
	r := execute(t, out, nil, binary, "restore", "-", "--serve-config", s.file).good(t)
	if !strings.Contains(r.out, "restored") {
		t.Errorf("from a pipe: %s %s", r.out, r.err)
	}
}

// TestKillBackup: whenever a backup is killed, the earlier one or the new one is in
// its place, whole.
func TestKillBackup(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	s.client(t, "acme", "orders:read")
	file := filepath.Join(s.dir, "b")
	began := time.Now()
	s.manage(t, "backup", file).good(t)
	took := time.Since(began)
	for range rounds(t, 12) {
		s.client(t, "acme", "orders:read")
		cmd := exec.Command(binary, "backup", file, "--serve-config", s.file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(took) + 1)))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		s.manage(t, "restore", "--check", file).good(t)
	}
	s.manage(t, "restore", file).good(t)
}

// TestKillRestore: whenever a restore is killed, the database of before or that
// of the backup is in its place, whole.
func TestKillRestore(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	old := s.client(t, "acme", "orders:read")
	file := filepath.Join(s.dir, "b")
	s.manage(t, "backup", file).good(t)
	began := time.Now()
	s.manage(t, "restore", file).good(t)
	took := time.Since(began)
	for round := range rounds(t, 12) {
		mark := s.client(t, "acme", "orders:read") // which the backup has not
		cmd := exec.Command(binary, "restore", file, "--serve-config", s.file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(took) + 1)))
		_ = cmd.Process.Kill()
		restored := cmd.Wait() == nil
		_ = os.Remove(filepath.Join(s.dir, "counterfoil.db.restoring"))
		shown := func(id string) bool { return s.manage(t, "client", "show", "acme", id).code == exitGood }
		if v := s.verify(t); len(v.Findings) > 0 {
			t.Fatalf("round %d: %+v", round, v)
		}
		if !shown(old.ClientID) || restored && shown(mark.ClientID) {
			t.Fatalf("round %d: the database is not the one of before nor that of the backup", round)
		}
		kept, err := filepath.Glob(filepath.Join(s.dir, "counterfoil.db.before-restore-*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range kept {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A backup names the master key that it needs: one that does not fit the database is
// refused.
func TestBackupWithAnotherMasterKey(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.write(t, "master.key", seal.NewKey().Reveal())
	r := s.manage(t, "backup", filepath.Join(s.dir, "b"))
	if _, err := os.Stat(filepath.Join(s.dir, "b")); r.code != exitLocal || !strings.Contains(r.err, "sealed under master key") || err == nil {
		t.Errorf("%d, %s", r.code, r.err)
	}
}
