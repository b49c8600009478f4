package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// unpack unpacks a directory that a program of an earlier migration has made.
// 'serve' was killed there; of 'up', the rows of the APIs are left out.
func unpack(t *testing.T, name, dir string) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "upgrade", name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for all := tar.NewReader(unzipped); ; {
		h, err := all.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, h.Name)
		if h.FileInfo().IsDir() {
			err = os.MkdirAll(to, 0o700)
		} else {
			var text []byte
			if text, err = io.ReadAll(all); err == nil {
				err = os.WriteFile(to, text, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// migrationsBefore are those that databases of earlier programs end with. Who adds
// a migration adds the directories of the one before: testdata/upgrade/make.sh.
func migrationsBefore() (all []int) {
	for n := 1; n < sqlite.Migrations(); n++ {
		all = append(all, n)
	}
	return all
}

// TestUpgradeServe: a directory of each earlier schema is served: tokens stay
// valid and revoked ones revoked, secrets are accepted, the record is there and
// verifies, also by a checkpoint that the earlier program has signed.
func TestUpgradeServe(t *testing.T) {
	for _, n := range migrationsBefore() {
		t.Run(fmt.Sprintf("%04d", n), func(t *testing.T) {
			s := layOut(t, "")
			unpack(t, fmt.Sprintf("serve-%04d", n), s.dir)
			s.certify(t, "localhost", "auth.acme.example")
			text, err := os.ReadFile(s.file)
			if err != nil {
				t.Fatal(err)
			}
			s.write(t, "serve.yaml", strings.Replace(string(text), fmt.Sprintf(":1844%d", n), ":0", 1))
			read := func(name string) string {
				t.Helper()
				text, err := os.ReadFile(filepath.Join(s.dir, name))
				if err != nil {
					t.Fatal(err)
				}
				return strings.TrimSpace(string(text))
			}
			var billing made
			if err := json.Unmarshal([]byte(read("billing.json")), &billing); err != nil {
				t.Fatal(err)
			}
			creds := clients.Credentials{ClientID: "billing", ClientSecret: counterfoil.Secret(billing.ClientSecret)}

			// A backup of before the upgrade, by the program of after it.
			s.manage(t, "backup", filepath.Join(s.dir, "before.backup")).good(t)
			if found, err := sqlite.Inspect(t.Context(), filepath.Join(s.dir, "counterfoil.db")); err != nil || found.Migrations != sqlite.Migrations()-n {
				t.Fatalf("a backup has upgraded the database: %+v, %v", found, err)
			}
			for _, upgraded := range []bool{true, false} {
				if !upgraded {
					s.manage(t, "restore", "--keep-tokens", filepath.Join(s.dir, "before.backup")).good(t)
				}
				for name, active := range map[string]bool{"token": true, "revoked": false, "stopped.token": false} {
					if got := s.introspected(t, read("at"), creds, read(name)); strings.Contains(got, `"active":true`) != active {
						t.Errorf("the token %s is %s", name, got)
					}
				}
			}
			s.start(t)
			s.token(t, s.http(t), "https://localhost/token", creds)
			records := s.manage(t, "audit", "-o", "json").good(t).out
			for line := range strings.Lines(read("audit.jsonl")) {
				var was, is store.RecordedEvent
				if err := json.Unmarshal([]byte(line), &was); err != nil {
					t.Fatal(err)
				}
				now, rest, _ := strings.Cut(records, "\n")
				records = rest
				if err := json.Unmarshal([]byte(now), &is); err != nil || is.Sequence != was.Sequence || is.Type != was.Type || is.ClientID != was.ClientID ||
					is.TokenID != was.TokenID || is.Address != was.Address || is.Reason != was.Reason || !is.Time.Equal(was.Time) {
					t.Errorf("the record was %s and is %s, %v", line, now, err)
				}
			}
			if err := s.stop(syscall.SIGTERM); err != nil {
				t.Errorf("%v: %s", err, s.errors())
			}
			args := []string{}
			if n >= 3 {
				args = []string{"--checkpoint", filepath.Join(s.dir, "checkpoint.txt"), "--key", read("key")}
			}
			if v := s.verify(t, args...); len(v.Findings) > 0 || v.Entries < 3 || v.Signed != v.Entries {
				t.Errorf("the record: %+v", v)
			}
		})
	}
}

// introspected is what a server on the directory says of a token, at a time in
// seconds since 1970.
func (s *served) introspected(t *testing.T, at string, creds clients.Credentials, token string) string {
	t.Helper()
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	config, err := serveConfig(t.Context(), s.file, os.Getenv, sqlite.Inspect)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), config.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	settings := config.Server
	settings.Store, settings.Clock = db, clock.NewManual(time.Unix(seconds, 0))
	settings.Limits.File, settings.Logger = "", slog.New(slog.DiscardHandler)
	srv, err := server.New(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	form := url.Values{"client_id": {creds.ClientID}, "client_secret": {creds.ClientSecret.Reveal()}, "token": {token}}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://localhost/introspect", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	srv.Handler("acme").ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Fatalf("introspection is answered %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestUpgradeUp: 'up' goes on with a directory of each earlier schema: its clients
// keep their secrets.
func TestUpgradeUp(t *testing.T) {
	for _, n := range migrationsBefore() {
		t.Run(fmt.Sprintf("%04d", n), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			unpack(t, fmt.Sprintf("up-%04d", n), dir)
			before, err := files.ReadEnv(filepath.Join(dir, "env", "a55.env"))
			if err != nil {
				t.Fatal(err)
			}
			u := start(t, dir, "127.0.0.1:0")
			after := u.env(t, "a55")
			for _, name := range []string{"API_CLIENT_ID", "API_CLIENT_SECRET"} {
				if before.Get(name) == "" || after.Get(name) != before.Get(name) {
					t.Errorf("%s has changed", name)
				}
			}
			u.counterfoil(t, "call", "a55", "GET", "/wallets?size=1").good(t)
			if err := u.stop(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			verified := u.counterfoil(t, "audit", "verify", "--dir", dir).good(t).out
			if !bytes.Contains([]byte(verified), []byte("verified: up to record")) {
				t.Errorf("it says %s", verified)
			}
		})
	}
}
