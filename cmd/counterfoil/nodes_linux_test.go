package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/server/clients"
)

// clusterOf lays out servers on one PostgreSQL database, each with a directory of its
// own.
func clusterOf(t *testing.T, n int) (d *pgtest.Server, nodes []*served) {
	t.Helper()
	d, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	d.Exec(t, "postgres", "CREATE ROLE counterfoil LOGIN PASSWORD 'a-password-of-the-test'")
	d.Exec(t, "postgres", "CREATE DATABASE counterfoil OWNER counterfoil")
	config := strings.NewReplacer(
		"database: counterfoil.db", fmt.Sprintf("database: postgres://counterfoil@127.0.0.1:%d/counterfoil?sslmode=disable\n"+
			"database_password: file:password", d.Port),
		"hosts: [ops.acme.example]", "hosts: [localhost]",
	).Replace(exampleConfig(t))
	for i := range n {
		s := layOut(t, config)
		s.certify(t, "localhost", "auth.acme.example")
		s.write(t, "password", "a-password-of-the-test\n")
		if i > 0 {
			key, err := os.ReadFile(filepath.Join(nodes[0].dir, "master.key"))
			if err != nil {
				t.Fatal(err)
			}
			s.write(t, "master.key", string(key))
		}
		nodes = append(nodes, s)
	}
	return d, nodes
}

// on runs a command on the database of a node.
func (s *served) on(t *testing.T, args ...string) ran {
	t.Helper()
	return execute(t, "", nil, binary, append(args, "--serve-config", s.file)...)
}

// Two servers on one PostgreSQL database serve as one: what is done at one is seen
// at the other at once, and when one dies, or the database does for a while, the
// clients of the other go on.
func TestTwoNodes(t *testing.T) {
	d, nodes := clusterOf(t, 2)
	a, b := nodes[0], nodes[1]
	check := execute(t, "", nil, binary, "serve", "--config", a.file, "--check").good(t).out
	if !strings.Contains(check, "a new database postgres://counterfoil@127.0.0.1") || strings.Contains(check, "a-password-of-the-test") {
		t.Errorf("--check says\n%s", check)
	}
	a.start(t)
	b.start(t)
	ha, hb := a.http(t), b.http(t)
	var made made
	if err := json.Unmarshal([]byte(a.on(t, "client", "create", "acme", "--id", "job", "--scope", "orders:read", "-o", "json").good(t).out), &made); err != nil {
		t.Fatal(err)
	}
	creds := clients.Credentials{ClientID: "job", ClientSecret: counterfoil.Secret(made.ClientSecret)}
	const base = "https://auth.acme.example"
	atA := a.token(t, ha, base+"/token", creds)
	atB := b.token(t, hb, base+"/token", creds)
	active := func(s *served, c *http.Client, token string) string {
		t.Helper()
		return s.form(t, c, base+"/introspect", creds, "token", token).body
	}
	for _, token := range []string{atA.Reveal(), atB.Reveal()} {
		if got := active(a, ha, token); !strings.Contains(got, `"active":true`) {
			t.Errorf("at the first node: %s", got)
		}
		if got := active(b, hb, token); !strings.Contains(got, `"active":true`) {
			t.Errorf("at the second node: %s", got)
		}
	}
	// What one node revokes is revoked at the other.
	if got := a.form(t, ha, base+"/revoke", creds, "token", atB.Reveal()); got.status != http.StatusOK {
		t.Fatalf("the revocation: %d", got.status)
	}
	if got := active(b, hb, atB.Reveal()); !strings.Contains(got, `"active":false`) {
		t.Errorf("a token that the other node revoked: %s", got)
	}
	// A client that is disabled at one node is refused at the other.
	a.on(t, "client", "disable", "acme", "job").good(t)
	if got := b.status(t, hb, "job", made.ClientSecret); got != http.StatusUnauthorized {
		t.Errorf("a client that is disabled: %d", got)
	}
	b.on(t, "client", "enable", "acme", "job").good(t)
	if got := a.status(t, ha, "job", made.ClientSecret); got != http.StatusOK {
		t.Errorf("a client that is enabled again: %d", got)
	}
	// The database dies and comes back: 503 meanwhile, and no restart.
	d.Kill()
	resp, err := hb.Do(tokenRequest(t, base+"/token", creds))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("without the database: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	if got := get(t, hb, base+"/.well-known/jwks.json"); got.status != http.StatusOK {
		t.Errorf("the key set without the database: %d", got.status)
	}
	if err := d.Run(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return b.status(t, hb, "job", made.ClientSecret) == http.StatusOK })
	// One node dies.
	if err := a.stop(syscall.SIGKILL); err == nil {
		t.Error("a killed node ended well")
	}
	if got := b.status(t, hb, "job", made.ClientSecret); got != http.StatusOK {
		t.Errorf("after the death of the other node: %d", got)
	}
	// One log, of both.
	if err := b.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if got := b.on(t, "audit", "verify").good(t).out; !strings.Contains(got, "every record") && !strings.Contains(got, "verified") {
		t.Errorf("audit verify says\n%s", got)
	}
	if got := b.errors() + a.errors(); strings.Contains(got, "a-password-of-the-test") {
		t.Error("the log has the password")
	}
	backup := b.on(t, "backup", filepath.Join(t.TempDir(), "x"))
	if backup.code != 1 || !strings.Contains(backup.err, "docs/postgres.md") {
		t.Errorf("backup: %d %s", backup.code, backup.err)
	}
}

// A configuration with PostgreSQL is checked as one with a file is.
func TestServeChecksPostgres(t *testing.T) {
	for _, row := range []struct{ name, database, says string }{
		{"a password in the URL", "postgres://u:hidden@127.0.0.1:1/x", "serve.yaml:6:1: the URL holds a password: give a reference to it as database_password"},
		{"a password as a parameter", "postgres://u@127.0.0.1:1/x?password=hidden", "give a reference to it as database_password"},
		{"no encryption", "postgres://u@db.example/x?sslmode=prefer", "the certificate of db.example would not be verified: add sslmode=verify-full"},
		{"no verification", "postgres://u@db.example/x?sslmode=require", "the certificate of db.example would not be verified"},
		{"TLS switched off", "postgres://u@db.example/x?sslmode=disable", "the connection to db.example would not be encrypted"},
		{"nobody there", "postgres://u@127.0.0.1:1/x?sslmode=disable", "see whether it runs and can be reached from here"},
		{"no URL", "postgres://[", "the URL of the database cannot be read"},
		{"a password of a file", "counterfoil.db\ndatabase_password: file:master.key", "the database is a file, which has no password"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := layOut(t, strings.Replace(exampleConfig(t), "database: counterfoil.db", "database: "+row.database, 1))
			got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check")
			if got.code == 0 || !strings.Contains(got.err, row.says) || strings.Contains(got.err, "hidden") {
				t.Errorf("%d: %s", got.code, got.err)
			}
		})
	}
}
