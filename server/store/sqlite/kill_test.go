package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// child writes to the database until it is killed, from several goroutines, and
// prints each write after it was acknowledged: a word, and what it was done to.
// With "once" it stops after 200 tokens.
func child(path, mode string) int {
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	prefix := fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := 0; mode != "once" || j < 25; j++ {
				if err := childWrites(s, fmt.Sprintf("%s-%d-%d", prefix, i, j), mode != "once", printLine); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
			}
		})
	}
	wg.Wait()
	if err := s.Close(); err != nil {
		return 1
	}
	return 0
}

func printLine(line string) { fmt.Println(line) }

// childWrites records a token and, when asked to, revokes it and takes a client
// through its life. It says each write after it was acknowledged: one line is one
// write call, whole or not at all.
func childWrites(s store.Store, name string, all bool, say func(string)) error {
	if err := record(s, "c", name); err != nil {
		return err
	}
	say("token " + name)
	if !all {
		return nil
	}
	ctx := context.Background()
	event := counterfoil.Event{Type: counterfoil.EventTokenRevoked, Time: time.Now(), Realm: "r", ClientID: "d"}
	if err := s.RevokeToken(ctx, store.Revocation{Realm: "r", ClientID: "d", TokenID: name, Expires: event.Time.Add(time.Hour)}, event); err != nil && !errors.Is(err, store.ErrTooManyRevocations) {
		return err
	} else if err == nil {
		say("revoked " + name)
	}
	if err := createClient(ctx, s, name); err != nil {
		return err
	}
	say("life " + name + " 1")
	c, err := s.Client(ctx, "r", name)
	if err != nil {
		return err
	}
	c.Disabled, c.Tokens.Lifetime = true, time.Minute
	if err := s.UpdateClient(ctx, c, counterfoil.Event{Type: counterfoil.EventClientDisabled, Time: event.Time, Realm: "r", ClientID: name}); err != nil {
		return err
	}
	say("life " + name + " 2")
	if err := s.DeleteClient(ctx, "r", name, counterfoil.Event{Type: counterfoil.EventClientDeleted, Time: event.Time, Realm: "r", ClientID: name}); err != nil {
		return err
	}
	say("life " + name + " 3")
	return nil
}

// acknowledged are the writes that a child printed.
type acknowledged struct {
	mu              sync.Mutex
	tokens, revoked map[string]bool
	// lives are how far clients had come.
	lives map[string]int
}

func newAcknowledged() *acknowledged {
	return &acknowledged{tokens: map[string]bool{}, revoked: map[string]bool{}, lives: map[string]int{}}
}

func (a *acknowledged) add(line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	words := strings.Fields(line)
	switch words[0] {
	case "token":
		a.tokens[words[1]] = true
	case "revoked":
		a.revoked[words[1]] = true
	case "life":
		a.lives[words[1]], _ = strconv.Atoi(words[2])
	}
}

// check compares what is in the store with what was acknowledged.
func (a *acknowledged) check(t *testing.T, s store.Store) {
	t.Helper()
	var last string
	recorded, of := map[string]bool{}, map[string]int{}
	var after int64
	for {
		page, err := s.Events(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			after = e.Sequence
			if e.Type == counterfoil.EventTokenIssued {
				recorded[e.TokenID], last = true, e.TokenID
			} else {
				of[e.ClientID]++
			}
		}
	}
	for token := range a.tokens {
		if !recorded[token] {
			t.Errorf("the record of %s was acknowledged and is lost", token)
		}
	}
	if st, err := s.TokenStatus(t.Context(), "r", "c", last); err != nil || st.LiveToken != last {
		t.Errorf("live token %q, %v; the last record is %q", st.LiveToken, err, last)
	}
	for token := range a.revoked {
		if st, err := s.TokenStatus(t.Context(), "r", "d", token); err != nil || !st.Revoked {
			t.Errorf("the revocation of %s was acknowledged and is lost: %+v, %v", token, st, err)
		}
	}
	for id, life := range a.lives {
		a.checkLife(t, s, id, life, of[id])
	}
}

// checkLife: a client has come as far as was acknowledged, or one step further,
// and has an event for each.
func (a *acknowledged) checkLife(t *testing.T, s store.Store, id string, life, events int) {
	t.Helper()
	c, err := s.Client(t.Context(), "r", id)
	now := 3
	switch {
	case err == nil && c.Disabled && c.Tokens.Lifetime == time.Minute:
		now = 2
	case err == nil:
		now = 1
	case !errors.Is(err, store.ErrNotFound):
		t.Error(err)
	}
	if now < life || now > life+1 || events != now {
		t.Errorf("client %s had come to step %d and is at %d with %d events", id, life, now, events)
	}
}

// checkOnce: what a token used up stays used up.
func (a *acknowledged) checkOnce(t *testing.T, s store.Store) {
	t.Helper()
	for token := range a.tokens {
		if err := record(s, "c", token); !errors.Is(err, store.ErrReplayed) {
			t.Errorf("what %s used up can be used again: %v", token, err)
		}
	}
}

func startChild(t *testing.T, path, mode string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0], mode)
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

// TestProcesses writes from several processes at once, which all make the file.
func TestProcesses(t *testing.T) {
	path := newPath(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := sqlite.Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			_ = s.Close()
		})
	}
	wg.Wait()
	s := open(t, path)
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	all := newAcknowledged()
	for range 3 {
		cmd, out := startChild(t, path, "once")
		wg.Go(func() {
			for lines := bufio.NewScanner(out); lines.Scan(); {
				all.add(lines.Text())
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("child: %v", err)
			}
		})
	}
	for i := range 100 {
		if err := record(s, "c", fmt.Sprintf("own-%d", i)); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if len(all.tokens) != 600 {
		t.Errorf("the children wrote %d records, want 600", len(all.tokens))
	}
	all.check(t, s)
}

// TestKill kills a writing process again and again, without a warning.
func TestKill(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	for _, id := range []string{"c", "d"} {
		if err := createClient(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all := newAcknowledged()
	for range *kills {
		cmd, out := startChild(t, path, "forever")
		lines, round := bufio.NewScanner(out), newAcknowledged()
		note := func() { all.add(lines.Text()); round.add(lines.Text()) }
		for stop := rand.IntN(500); stop >= 0 && lines.Scan(); stop-- {
			note()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what was acknowledged before the signal arrived
			note()
		}
		_ = cmd.Wait()
		s := open(t, path)
		all.check(t, s)
		round.checkOnce(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(all.tokens) < *kills || len(all.revoked) == 0 || len(all.lives) == 0 {
		t.Errorf("only %d tokens, %d revocations and %d clients in %d rounds", len(all.tokens), len(all.revoked), len(all.lives), *kills)
	}
}
