package main

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/disktest"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// moveTo goes on in another directory that has the same files.
func (s *served) moveTo(dir string) {
	s.dir, s.file = dir, filepath.Join(dir, filepath.Base(s.file))
}

// fate is what becomes of changes that were not synced: now none has reached the
// disk, now all have, now some.
func fate(round int) uint64 {
	switch round % 4 {
	case 0:
		return 0
	case 1:
		return 1
	}
	return rand.Uint64()
}

// A loss of power under 'serve' and the command line beside it, in the middle of
// token requests, revocations, rotations and changes of clients: nothing that was
// acknowledged is lost, nothing that was ended serves again.
func TestKillPowerUnderChange(t *testing.T) {
	s := layOutSiege(t)
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	from, n := s.dir, rounds(t, 2)
	for round := range n {
		disk := disktest.New(t, from)
		s.served.moveTo(disk.Path)
		s.served.start(t)
		s.operate(t)
		s.dark.Store(false)
		s.kill = func() {
			s.dark.Store(true)
			disk.Cut()
			_ = s.cmd.Process.Kill()
		}
		s.load(t)
		seed := fate(round)
		from = disk.Restored(seed)
		disk.Close()
		s.served.moveTo(from)
		s.served.start(t)
		s.operate(t)
		s.check(t)
		if err := s.stop(syscall.SIGTERM); err != nil {
			t.Errorf("%v: %s", err, s.errors())
		}
		s.whole(t)
		if t.Failed() {
			t.Fatalf("after the loss of power of round %d, with fate %d of what was not synced", round, seed)
		}
	}
	t.Logf("%d rounds: %v", n, s.tally)
	for _, what := range []string{"tokens", "revocations", "client.created"} {
		if s.tally[what] == 0 {
			t.Errorf("no %s in %d rounds", what, n)
		}
	}
}

// tokensIn are the tokens in the record of a directory's database.
func tokensIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	page, err := store.Events(t.Context(), 0, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, e := range page {
		all[e.Type+" "+e.TokenID] = true
	}
	return all
}

// The power is cut at each change to the disk that a request makes. It is answered
// 200 only when its record is there afterwards, even if the disk has kept nothing
// that was not synced: no answer leaves before its record.
func TestPowerCutAtEachChange(t *testing.T) {
	for _, row := range []struct {
		name, event string
		// ask does it, and returns the token it was done to.
		ask func(t *testing.T, s *served, c *http.Client, creds clients.Credentials, held string) (token string, ok bool)
	}{
		{"token", counterfoil.EventTokenIssued, func(t *testing.T, s *served, c *http.Client, creds clients.Credentials, _ string) (string, bool) {
			got := do(t, c, tokenRequest(t, acmeToken, creds))
			var body struct {
				Token string `json:"access_token"`
			}
			_ = json.Unmarshal([]byte(got.body), &body)
			return body.Token, got.status == http.StatusOK
		}},
		{"revocation", counterfoil.EventTokenRevoked, func(t *testing.T, s *served, c *http.Client, creds clients.Credentials, held string) (string, bool) {
			return held, s.form(t, c, acmeBase+"/revoke", creds, "token", held).status == http.StatusOK
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := layOut(t, exampleConfig(t))
			creds, from := s.client(t, "acme", "orders:read"), s.dir
			for n, answered := 0, false; !answered; n++ {
				disk := disktest.New(t, from)
				s.moveTo(disk.Path)
				s.start(t)
				c := s.http(t)
				before := s.token(t, c, acmeToken, creds).Reveal()
				disk.CutAfter(n)
				var token string
				token, answered = row.ask(t, s, c, creds, before)
				disk.Cut()
				_ = s.stop(syscall.SIGKILL)
				found := tokensIn(t, disk.Restored(0))
				disk.Close()
				if !found[counterfoil.EventTokenIssued+" "+identifier(t, before)] {
					t.Errorf("cut after %d changes: the record of an earlier token is lost", n)
				}
				if answered && !found[row.event+" "+identifier(t, token)] {
					t.Errorf("cut after %d changes: it was answered 200, and its record is lost", n)
				}
				if answered && n < 2 {
					t.Errorf("answered after %d changes: a write and a sync are two", n)
				}
				if n > 50 {
					t.Fatal("it is never answered")
				}
			}
		})
	}
}

// A loss of power while 'up' makes its directory: the next start makes the rest.
// Once it has said that it is ready, the directory, its master key and the secrets
// that it gave out stay.
func TestKillPowerAtFirstStart(t *testing.T) {
	changes := 0
	for round := range rounds(t, 3) {
		disk := disktest.New(t, "")
		if round > 0 { // the first one tells how many there are
			disk.CutAfter(rand.IntN(changes))
		}
		u, err := launch(filepath.Join(disk.Path, "data"), "127.0.0.1:0")
		if round == 0 && err != nil {
			t.Fatal(err)
		}
		changes = max(changes, disk.Changes())
		var given map[string]string
		if err == nil {
			given = secretsOf(t, u.dir)
		}
		disk.Cut()
		_ = u.stop(syscall.SIGKILL)
		seed := fate(round)
		dir := filepath.Join(disk.Restored(seed), "data")
		disk.Close()
		again := start(t, dir, "127.0.0.1:0")
		for what, now := range secretsOf(t, dir) {
			if given != nil && given[what] != now {
				t.Errorf("round %d, fate %d: 'up' was ready, and its %s is lost", round, seed, what)
			}
		}
		for _, provider := range []string{"a55", "altrata"} {
			if again.asker(t, provider).token(t.Context()) == "" {
				t.Errorf("round %d, fate %d: the client of %s gets no token", round, seed, provider)
			}
		}
		if err := again.stop(syscall.SIGTERM); err != nil {
			t.Errorf("round %d, fate %d: %v: %s", round, seed, err, again.errors())
		}
	}
}

// secretsOf are what a directory of 'up' must not lose.
func secretsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"master key": string(key)}
	for _, provider := range missionProviders {
		env, err := files.ReadEnv(filepath.Join(dir, "env", provider+".env"))
		if err != nil {
			t.Fatal(err)
		}
		all["secret of "+provider] = env.Get("API_CLIENT_SECRET") + env.Get("API_PASSWORD")
	}
	return all
}
