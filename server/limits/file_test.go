package limits_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/limits"
)

// block makes an attempt's address wait for a block.
func (g *gate) block(a *limits.Attempt) {
	for range 30 {
		g.Failed(a, &limits.Verdict{})
	}
}

// Blocks and known clients are kept over a restart, whether the server was closed
// or killed seconds after the last change, for as long as they would have lasted.
func TestStateIsKeptOverARestart(t *testing.T) {
	for _, closed := range []bool{true, false} {
		file := filepath.Join(t.TempDir(), "state")
		g := newGate(t, limits.Config{File: file})
		good, bad := from("good", "192.0.2.1"), from("bad", "198.51.100.1")
		g.right(good)
		g.block(bad)
		if closed {
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			g.clock.Turn(2 * time.Second)
			g.Maintain(t.Context())
		}
		before := g.Look(bad).Wait
		for _, down := range []time.Duration{0, 5 * time.Minute} {
			next := gateBy(t, limits.Config{File: file}, clock.NewStepping(g.clock.Now().Add(down)))
			if v := next.Look(bad); !v.Refuse || v.Wait != before-down {
				t.Errorf("closed %t, after %v: %+v, want a wait of %v", closed, down, v, before-down)
			}
			if !next.Look(good).Known {
				t.Errorf("closed %t, after %v: the client is not known", closed, down)
			}
			next.clock.Turn(before - down)
			if next.wrong(bad) != 0 || next.wrong(bad) < 30*time.Second {
				t.Errorf("closed %t, after %v: the failures that led to the block are forgotten", closed, down)
			}
			next.clock.Turn(30*24*time.Hour - before)
			if next.Look(good).Known {
				t.Errorf("closed %t, after %v: known for longer than 30 days", closed, down)
			}
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
	}
}

// A clock that was set while the server was down makes nothing last longer.
func TestClockSetWhileDown(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	g := newGate(t, limits.Config{File: file})
	good, bad := from("good", "192.0.2.1"), from("bad", "198.51.100.1")
	g.right(good)
	g.block(bad)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	back := gateBy(t, limits.Config{File: file}, clock.NewStepping(start.Add(-1000*24*time.Hour)))
	if wait := back.Look(bad).Wait; wait != 15*time.Minute {
		t.Errorf("set back: the block lasts %v", wait)
	}
	back.clock.Turn(30 * 24 * time.Hour)
	if back.Look(good).Known {
		t.Error("set back: known for longer than 30 days")
	}
	ahead := gateBy(t, limits.Config{File: file}, clock.NewStepping(start.Add(1000*24*time.Hour)))
	if ahead.Look(bad).Refuse || ahead.Look(good).Known {
		t.Error("set forward: what has ended is in force")
	}
}

// A file that is broken, or that everybody can write, is not believed: the server
// starts, and says so.
func TestBrokenState(t *testing.T) {
	for name, make := range map[string]func(file string) error{
		"not JSON":           func(file string) error { return os.WriteFile(file, []byte("{"), 0o600) },
		"a directory":        func(file string) error { return os.Mkdir(file, 0o700) },
		"writable by anyone": func(file string) error { return chmod(file, 0o666) },
	} {
		file := filepath.Join(t.TempDir(), "state")
		if err := make(file); err != nil {
			t.Fatal(err)
		}
		g := newGate(t, limits.Config{File: file})
		if !strings.Contains(g.log.String(), "the state of limits is not complete") {
			t.Errorf("%s: the log says %q", name, g.log)
		}
		if a := from("good", "192.0.2.1"); !g.right(a) || !g.Look(a).Known {
			t.Errorf("%s: nothing is counted", name)
		}
	}
	// Entries without a prefix are passed over.
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, []byte(`{"waits":[{"prefix":"","until":"2099-01-01T00:00:00Z"}],"known":[{"prefix":"","until":"2099-01-01T00:00:00Z"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := newGate(t, limits.Config{File: file}).Stats(); s != (limits.Stats{}) {
		t.Errorf("%+v", s)
	}
}

func chmod(file string, mode os.FileMode) error {
	if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
		return err
	}
	return os.Chmod(file, mode)
}

// The file is written when something has changed, soon for what matters.
func TestWhenStateIsWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	g := newGate(t, limits.Config{File: file})
	written := func() bool {
		g.Maintain(t.Context())
		err := os.Remove(file)
		return err == nil
	}
	g.wrong(from("c", "192.0.2.1"))
	g.clock.Turn(time.Hour)
	if written() {
		t.Error("one failure is written")
	}
	a := from("good", "192.0.2.1")
	g.right(a)
	if !written() {
		t.Error("a new known client is not written")
	}
	g.right(a)
	g.clock.Turn(time.Hour)
	if written() {
		t.Error("it is written although nothing has changed")
	}
	g.clock.Turn(12 * time.Hour)
	g.right(a)
	if !written() {
		t.Error("a renewal is not written")
	}
	g.block(from("c", "192.0.2.1"))
	if written() {
		t.Error("written again at once")
	}
	g.clock.Turn(2 * time.Second)
	if !written() {
		t.Error("a block is not written within two seconds")
	}
}

func blocks(t *testing.T, k interface {
	Blocks(context.Context) ([]limits.Block, error)
}) []limits.Block {
	t.Helper()
	all, err := k.Blocks(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestBlocksAndLift(t *testing.T) {
	config := limits.Config{Guesses: limits.GuessLimits{ClientNetwork: 1000, Address: 500}}
	g := newGate(t, config)
	if all := blocks(t, g); all == nil || len(all) > 0 {
		t.Errorf("%v", all)
	}
	g.wrong(from("few", "203.0.113.1"))
	prefix := netip.MustParsePrefix
	fail := func(a *limits.Attempt) {
		for range 12 {
			g.Failed(a, &limits.Verdict{})
		}
	}
	block := func() {
		fail(from("b", "192.0.2.1"))
		for i := range 120 {
			g.Failed(from(fmt.Sprint(i), fmt.Sprintf("198.51.100.%d", i)), &limits.Verdict{})
		}
		a := from("a", "2001:db8::1")
		a.Realm = "s"
		fail(a)
	}
	block()
	want := []limits.Block{
		{prefix("192.0.2.1/32"), "r", "b", start.Add(2 * time.Second).UTC()},
		{prefix("198.51.100.0/24"), "", "", start.Add(15 * time.Minute).UTC()},
		{prefix("2001:db8::/64"), "s", "a", start.Add(2 * time.Second).UTC()},
	}
	if got := blocks(t, g); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, tt := range []struct {
		lift limits.Lift
		left []int // of want
	}{
		{limits.Lift{Prefix: prefix("203.0.113.0/24")}, []int{0, 1, 2}},
		{limits.Lift{Prefix: prefix("192.0.2.1/32")}, []int{1, 2}},
		{limits.Lift{Prefix: prefix("198.51.100.77/32")}, []int{0, 2}}, // that address is let in
		{limits.Lift{Prefix: prefix("192.0.0.0/8")}, []int{1, 2}},
		{limits.Lift{Realm: "s"}, []int{0, 1}},
		{limits.Lift{ClientID: "b"}, []int{1, 2}},
		{limits.Lift{ClientID: "b", Realm: "s"}, []int{0, 1, 2}},
		{limits.Lift{}, nil},
	} {
		g = newGate(t, config)
		block()
		if done, err := g.Lift(t.Context(), tt.lift); !done || err != nil {
			t.Errorf("%+v: %t %v", tt.lift, done, err)
		}
		var left []netip.Prefix
		for _, i := range tt.left {
			left = append(left, want[i].Prefix)
		}
		var got []netip.Prefix
		for _, b := range blocks(t, g) {
			got = append(got, b.Prefix)
		}
		if !reflect.DeepEqual(got, left) {
			t.Errorf("%+v leaves %v, want %v", tt.lift, got, left)
		}
	}
	// The failures that led to a block are forgotten with it.
	if wait := g.wrong(from("b", "192.0.2.1")); wait != 0 || g.Look(from("b", "192.0.2.1")).Wait != 0 {
		t.Error("one failure after all were lifted is over the limit")
	}
}

// What an operator asks for beside the file is done by the running server, or by
// the next.
func TestFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state")
	g := newGate(t, limits.Config{File: file})
	first, second := from("a", "192.0.2.1"), from("b", "198.51.100.1")
	g.block(first)
	g.block(second)
	g.Maintain(t.Context())
	now := g.clock.Now()
	by := clock.NewManual(now)
	state := limits.File{Path: file, Clock: by}
	if all, err := state.Blocks(t.Context()); err != nil || len(all) != 2 {
		t.Fatalf("%v %v", all, err)
	}
	// A server that runs takes it.
	answered := make(chan bool)
	go func() {
		done, err := state.Lift(t.Context(), limits.Lift{Prefix: netip.MustParsePrefix("192.0.2.1/32")})
		if err != nil {
			t.Error(err)
		}
		answered <- done
	}()
	if err := by.Sleepers(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if all, err := state.Blocks(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("while it is asked for: %v %v", all, err)
	}
	g.Maintain(t.Context())
	by.Turn(time.Second)
	if !<-answered || g.Look(first).Refuse || !g.Look(second).Refuse {
		t.Error("the running server has not lifted it, or another one")
	}
	if all, err := state.Blocks(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("after it was lifted: %v %v", all, err)
	}
	// Without one, the next does.
	go func() {
		done, err := state.Lift(t.Context(), limits.Lift{ClientID: "b"})
		if err != nil {
			t.Error(err)
		}
		answered <- done
	}()
	done := false
	for waiting := true; waiting; {
		select {
		case done = <-answered:
			waiting = false
		default:
			by.Turn(50 * time.Millisecond)
		}
	}
	if done {
		t.Error("done without a server")
	}
	next := gateBy(t, limits.Config{File: file}, clock.NewStepping(now))
	if next.Look(second).Refuse || len(blocks(t, next)) > 0 {
		t.Errorf("the next server has not lifted it: %+v", blocks(t, next))
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
