package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/internal/disktest"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// pulled is a server with a client in a realm of each policy, under load.
type pulled struct {
	*served
	creds map[string]clients.Credentials

	mu       sync.Mutex
	answered map[string]bool // the IDs of the tokens that were answered
	disabled map[string]bool // the clients whose disabling was acknowledged
}

// layOutPulled makes a directory that is ready to be served.
func layOutPulled(t *testing.T) *pulled {
	t.Helper()
	p := &pulled{served: layOut(t, besiegedConfig), creds: map[string]clients.Credentials{}, answered: map[string]bool{}, disabled: map[string]bool{}}
	for _, realm := range []string{"each", "single", "shared"} {
		p.creds[realm] = p.client(t, realm, "read")
	}
	return p
}

// moved is the same in another directory.
func (p *pulled) moved(dir string) *pulled {
	p.served = &served{dir: dir, file: filepath.Join(dir, "serve.yaml")}
	return p
}

// ask asks for a token and notes it when it is answered, whole.
func (p *pulled) ask(t *testing.T, c *http.Client, realm string) bool {
	target := "https://auth.acme.example/" + realm + "/token"
	resp, err := c.Do(tokenRequest(t, target, p.creds[realm]))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var body struct {
		Token string `json:"access_token"`
	}
	if resp.StatusCode != http.StatusOK || json.NewDecoder(resp.Body).Decode(&body) != nil {
		return false
	}
	var claims struct {
		ID string `json:"jti"`
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(body.Token, ".")[1])
	if err != nil || json.Unmarshal(text, &claims) != nil || claims.ID == "" {
		t.Errorf("the answer of %s holds no token with an ID", realm)
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answered[claims.ID] = true
	return true
}

// load asks from all sides until the context ends, and calls each time that a token
// is answered.
func (p *pulled) load(ctx context.Context, t *testing.T, each func(n int64)) *sync.WaitGroup {
	c := p.http(t)
	var all sync.WaitGroup
	var n atomic.Int64
	for _, realm := range []string{"each", "each", "single", "shared"} {
		all.Go(func() {
			for ctx.Err() == nil {
				if p.ask(t, c, realm) {
					each(n.Add(1))
				}
			}
		})
	}
	return &all
}

// check looks for everything that was acknowledged in the database of a directory.
func (p *pulled) check(t *testing.T, dir string) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var verdict string
	if err := store.DB().QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("the database is %q, %v", verdict, err)
	}
	recorded := map[string]bool{}
	for after := int64(0); ; {
		page, err := store.Events(t.Context(), after, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			recorded[e.TokenID] = true
			after = e.Sequence
		}
	}
	lost := 0
	for id := range p.answered {
		if !recorded[id] {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d answered tokens are not in the record", lost, len(p.answered))
	}
	for id := range p.disabled {
		if c, err := store.Client(t.Context(), "each", id); err != nil || !c.Disabled {
			t.Errorf("client %s was disabled, and is not: %v", id, err)
		}
	}
}

// kill -9 leaves in the page cache what a process wrote, so no kill shows that a
// sync is missing. Here the machine loses its power under the server and the
// command line: what was answered and acknowledged is on the disk.
func TestKillPower(t *testing.T) {
	p := layOutPulled(t)
	from, seed := p.dir, rand.Uint64()
	by := rand.New(rand.NewPCG(seed, 1))
	n := rounds(t, 2)
	for round := range n {
		t.Logf("round %d of seed %d", round, seed)
		disk := disktest.New(t, from)
		p.moved(disk.Path).start(t)
		victim := p.client(t, "each", "read").ClientID
		ctx, cancel := context.WithCancel(t.Context())
		at := 20 + by.Int64N(200)
		var disabled atomic.Bool
		all := p.load(ctx, t, func(n int64) {
			if n == at/2 {
				got := p.manage(t, "client", "disable", "each", victim)
				if got.code != 0 {
					t.Errorf("disable: exit %d, %s", got.code, got.err)
				}
				p.mu.Lock()
				p.disabled[victim] = true
				p.mu.Unlock()
				disabled.Store(true)
			}
			if n >= at && disabled.Load() {
				disk.Cut()
				cancel()
			}
		})
		<-disk.Off()
		all.Wait()
		cancel()
		_ = p.stop(syscall.SIGKILL)
		for _, fate := range []uint64{0, 1, by.Uint64()} {
			from = disk.Restored(fate)
			if p.check(t, from); t.Failed() {
				t.Fatalf("after round %d of seed %d, fate %d", round, seed, fate)
			}
		}
		disk.Close()
	}
	if len(p.answered) < n*20 || len(p.disabled) == 0 {
		t.Errorf("only %d tokens and %d changes in %d rounds", len(p.answered), len(p.disabled), n)
	}
	// With the power back the server goes on.
	p.moved(from).start(t)
	if c := p.http(t); !p.ask(t, c, "each") || !p.ask(t, c, "single") {
		t.Error("no token after the power is back")
	}
}

// foreigners are other programs that look at the database of a running server.
var foreigners = map[string][]string{
	"backup":     {"sqlite3", "DB", ".backup 'DB.backup'"},
	"select":     {"sqlite3", "DB", "SELECT count(*) FROM clients"},
	"checkpoint": {"sqlite3", "DB", "PRAGMA wal_checkpoint(TRUNCATE)"},
	"Python":     {"/usr/bin/python3", "-c", "import sqlite3; c = sqlite3.connect('DB'); c.execute('SELECT count(*) FROM clients').fetchone(); c.close()"},
}

// posixLocks returns how many POSIX locks a process has on a file.
func posixLocks(t *testing.T, pid int, path string) (n int) {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text()) // 1: POSIX ADVISORY READ 4711 00:2d:1234 0 EOF
		if len(fields) >= 6 && fields[1] == "POSIX" && fields[4] == fmt.Sprint(pid) && strings.HasSuffix(fields[5], fmt.Sprintf(":%d", st.Ino)) {
			n++
		}
	}
	return n
}

// A reload closed a descriptor of the database and with it dropped all locks of the
// process: the next SQLite of another program deleted the log under the server,
// which answered 200 to what is in no record.
func TestKillAmongForeignPrograms(t *testing.T) {
	p := layOutPulled(t)
	n := rounds(t, 2)
	for round := range n {
		p.start(t)
		database := filepath.Join(p.dir, "counterfoil.db")
		ctx, cancel := context.WithCancel(t.Context())
		all := p.load(ctx, t, func(int64) {})
		for _, name := range slices.Sorted(maps.Keys(foreigners)) {
			if log := p.hangUp(t); !strings.Contains(log, "msg=reloaded") {
				t.Errorf("round %d: not reloaded: %s", round, log)
			}
			for _, file := range []string{database, database + "-shm"} {
				if posixLocks(t, p.cmd.Process.Pid, file) == 0 {
					t.Errorf("round %d, before %s: after a reload the server has no lock on %s", round, name, filepath.Base(file))
				}
			}
			if t.Failed() {
				t.FailNow() // what comes is lost
			}
			args := make([]string, len(foreigners[name]))
			for i, a := range foreigners[name] {
				args[i] = strings.ReplaceAll(a, "DB", database)
			}
			if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil && !strings.Contains(string(out), "locked") {
				t.Errorf("round %d, %s: %v: %s", round, name, err, out)
			}
			p.mu.Lock()
			before := len(p.answered)
			p.mu.Unlock()
			waitFor(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.answered) > before+10 })
		}
		_ = p.stop(syscall.SIGKILL)
		cancel()
		all.Wait()
		if p.check(t, p.dir); t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	if len(p.answered) < 40*n {
		t.Errorf("only %d tokens in %d rounds", len(p.answered), n)
	}
}
