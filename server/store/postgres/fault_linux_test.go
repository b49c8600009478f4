package postgres_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/postgres"
	"github.com/counterfoil/counterfoil/server/store/storetest"
)

func refused(id string) counterfoil.Event {
	return counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: time.Now(), Realm: "r", TokenID: id}
}

// recorded returns how often each token ID is in the record.
func recorded(t *testing.T, s store.Store) map[string]int {
	t.Helper()
	all := map[string]int{}
	for after := int64(0); ; {
		page, err := s.Events(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page {
			if e.Sequence != after+1 {
				t.Errorf("event %d follows %d", e.Sequence, after)
			}
			after = e.Sequence
			all[e.TokenID]++
		}
		if len(page) == 0 {
			return all
		}
	}
}

// The database is killed under load again and again. What was acknowledged is in
// the record once, and the same Store goes on when the database is back.
func TestKilledDatabase(t *testing.T) {
	d, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	}()
	s := open(t, d.URL("postgres"))
	defer s.Close()
	var mu sync.Mutex
	good, bad := []string{}, atomic.Int64{}
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := fmt.Sprintf("%d-%d", w, n)
				if err := s.RecordEvents(t.Context(), refused(id)); err != nil {
					bad.Add(1)
					continue
				}
				mu.Lock()
				good = append(good, id)
				mu.Unlock()
			}
		})
	}
	more := func(what string) {
		t.Helper()
		mu.Lock()
		before := len(good)
		mu.Unlock()
		eventually.True(t, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(good) > before+20
		})
	}
	for round := range 5 {
		more(fmt.Sprintf("writes in round %d", round))
		failed := bad.Load()
		d.Kill()
		eventually.True(t, "a write that fails", func() bool { return bad.Load() > failed })
		if err := s.Ready(t.Context()); err == nil {
			t.Error("a store without a database is ready")
		}
		if err := d.Run(); err != nil {
			t.Fatal(err)
		}
	}
	more("writes after the last round")
	stop()
	writers.Wait()
	all := recorded(t, s)
	for _, id := range good {
		if all[id] != 1 {
			t.Errorf("%s was acknowledged and is in the record %d times", id, all[id])
		}
	}
	t.Logf("%d writes were acknowledged, %d failed", len(good), bad.Load())
}

// proxy forwards connections to a database.
type proxy struct {
	listener net.Listener
	to       string
	// cut cuts a connection once it has forwarded a commit, before the answer; hold
	// forwards no answers.
	cut, hold atomic.Bool
}

func startProxy(t *testing.T, to int) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: fmt.Sprintf("127.0.0.1:%d", to)}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.forward(c)
		}
	}()
	return p
}

func (p *proxy) port() int { return p.listener.Addr().(*net.TCPAddr).Port }

func (p *proxy) forward(c net.Conn) {
	defer c.Close()
	d, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer d.Close()
	var cut atomic.Bool
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := d.Read(buf)
			if err != nil || cut.Load() {
				c.Close()
				return
			}
			if !p.hold.Load() {
				_, _ = c.Write(buf[:n])
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte("COMMIT")) && p.cut.CompareAndSwap(true, false) {
			cut.Store(true)
		}
		if _, err := d.Write(buf[:n]); err != nil && !errors.Is(err, io.EOF) {
			return
		}
	}
}

// through is the URL of a database through a proxy.
func (p *proxy) through(url string) string {
	return strings.Replace(url, fmt.Sprintf(":%d/", database.Port), fmt.Sprintf(":%d/", p.port()), 1)
}

// When the connection breaks between a commit and its answer, the writes have
// happened, and the callers are told that this is unknown. Nothing is written
// twice.
func TestUnknownOutcome(t *testing.T) {
	url := database.Database(t)
	p := startProxy(t, database.Port)
	s := open(t, p.through(url))
	defer s.Close()
	if err := s.RecordEvents(t.Context(), refused("before")); err != nil {
		t.Fatal(err)
	}
	// A writer of another server has the lock, so that these are one transaction.
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("SELECT 1 FROM totals FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var failed atomic.Int64
	for n := range 9 {
		all.Go(func() {
			if err := s.RecordEvents(t.Context(), refused(fmt.Sprint(n))); err != nil {
				failed.Add(1)
			}
		})
	}
	p.cut.Store(true)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if failed.Load() == 0 {
		t.Error("every write was acknowledged though the connection was cut")
	}
	if err := s.RecordEvents(t.Context(), refused("after")); err != nil {
		t.Errorf("after that: %v", err)
	}
	for id, n := range recorded(t, s) {
		if n != 1 {
			t.Errorf("%s is in the record %d times", id, n)
		}
	}
}

// A database that does not answer any more is given up, and found again.
func TestSilentDatabase(t *testing.T) {
	postgres.SetAnswerTimeout(300 * time.Millisecond)
	defer postgres.SetAnswerTimeout(10 * time.Second)
	p := startProxy(t, database.Port)
	s := open(t, p.through(database.Database(t)))
	defer s.Close()
	p.hold.Store(true)
	if err := s.RecordEvents(t.Context(), refused("one")); err == nil {
		t.Error("a write was acknowledged without an answer")
	}
	if _, err := s.Client(t.Context(), "r", "c"); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("a read without an answer: %v", err)
	}
	p.hold.Store(false)
	eventually.True(t, "a write", func() bool { return s.RecordEvents(t.Context(), refused("two")) == nil })
}

// Open refuses what would lose data or is of another program, in one line that
// says what to do, without the password.
func TestOpenRefuses(t *testing.T) {
	exec := func(statement string) func(string) {
		return func(name string) { database.Exec(t, name, strings.ReplaceAll(statement, "NAME", name)) }
	}
	for _, row := range []struct {
		name    string
		prepare func(name string)
		url     func(url string) string
		says    string
	}{
		{"commits are not synced", exec("ALTER DATABASE NAME SET synchronous_commit = off"), nil, "synchronous_commit = off"},
		{"a newer schema", exec("INSERT INTO counterfoil_schema SELECT max(version) + 1, 'x' FROM counterfoil_schema"), nil, "use the newer program"},
		{"another schema", exec("UPDATE counterfoil_schema SET sum = 'x'"), nil, "is not the one that this program makes"},
		{"only for reading", exec("ALTER DATABASE NAME SET default_transaction_read_only = on"), nil, "read only"},
		{"nobody listens", nil, func(string) string { return "postgres://owner:hidden-password@127.0.0.1:1/x" }, "see whether it runs"},
		{"no database", nil, func(url string) string { return strings.Replace(url, "?", "none?", 1) }, "CREATE DATABASE"},
		{"no URL", nil, func(string) string { return "postgres://owner:hidden-password@[::1/x" }, "write postgres://"},
		{"no such user", nil, func(url string) string { return strings.Replace(url, "owner@", "nobody:hidden-password@", 1) }, "pg_hba.conf"},
	} {
		t.Run(row.name, func(t *testing.T) {
			url := database.Database(t)
			if err := open(t, url).Close(); err != nil {
				t.Fatal(err)
			}
			if row.prepare != nil {
				name, _, _ := strings.Cut(url[strings.LastIndexByte(url, '/')+1:], "?")
				row.prepare(name)
			}
			if row.url != nil {
				url = row.url(url)
			}
			s, err := postgres.Open(t.Context(), url, "")
			if err == nil {
				s.Close()
				t.Fatal("it is open")
			}
			if text := err.Error(); !strings.Contains(text, row.says) || strings.Contains(text, "\n") || strings.Contains(text, "hidden-password") {
				t.Errorf("got %q, want it to say %q", text, row.says)
			}
		})
	}
}

// Of several servers that start on an empty database, one makes the tables, and all
// of them serve.
func TestConcurrentStart(t *testing.T) {
	url := database.Database(t)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			s, err := postgres.Open(t.Context(), url, "")
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.RecordEvents(t.Context(), refused(fmt.Sprint(n))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	s := open(t, url)
	defer s.Close()
	if got := recorded(t, s); len(got) != 8 {
		t.Errorf("%d of 8 wrote", len(got))
	}
}

// TestPgBouncer runs the suite through a pooler that gives each transaction another
// connection.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	bouncer, err := exec.LookPath("pgbouncer")
	if err != nil {
		if bouncer = "/usr/sbin/pgbouncer"; !exists(bouncer) {
			t.Fatalf("%v: install pgbouncer, as 'make needs' does", err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	dir, err := os.MkdirTemp("", "bouncer") // one of t.TempDir belongs to root
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	config := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(config, fmt.Appendf(nil, `[databases]
* = host=127.0.0.1 port=%d user=owner
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
max_client_conn = 500
logfile = %s
`, database.Port, port, filepath.Join(dir, "log")), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd, err := pgtest.Unprivileged(exec.Command(bouncer, config), dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	eventually.True(t, "the pooler", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	storetest.Run(t, func(t *testing.T) func() store.Store {
		t.Parallel()
		url := strings.Replace(database.Database(t), fmt.Sprintf(":%d/", database.Port), fmt.Sprintf(":%d/", port), 1) +
			"&default_query_exec_mode=exec"
		return func() store.Store { return open(t, url) }
	})
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
