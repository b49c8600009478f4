package sqlite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/internal/disktest"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/counterfoil/counterfoil/server/store/storetest"
)

const powerFile = "x.db"

// powered makes a directory with a database that has the clients c and d.
func powered(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, powerFile))
	for _, id := range []string{"c", "d"} {
		if err := createClient(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// integral has the database checked by SQLite itself.
func integral(t *testing.T, s *sqlite.Store) {
	t.Helper()
	var verdict string
	if err := s.DB().QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("the database is %q, %v", verdict, err)
	}
}

// TestPowerCut cuts the power under a writing store again and again: what was
// acknowledged is there afterwards, whatever of the rest has reached the disk.
func TestPowerCut(t *testing.T) {
	from, all, seed := powered(t), newAcknowledged(), rand.Uint64()
	by := rand.New(rand.NewPCG(seed, 0))
	for n := range *cuts {
		t.Logf("round %d of seed %d", n, seed)
		disk := disktest.New(t, from)
		disk.CutAfter(by.IntN(500))
		round := newAcknowledged()
		writeUntilCut(filepath.Join(disk.Path, powerFile), n, func(line string) { all.add(line); round.add(line) })
		disk.Cut()
		for _, fate := range []uint64{0, 1, by.Uint64(), by.Uint64()} {
			from = disk.Restored(fate)
			s, err := sqlite.Open(t.Context(), filepath.Join(from, powerFile))
			if err != nil {
				t.Fatalf("after fate %d: %v", fate, err)
			}
			all.check(t, s)
			integral(t, s)
			if t.Failed() {
				t.Fatalf("after fate %d", fate)
			}
			round.checkOnce(t, s) // which uses up what was not acknowledged
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		disk.Close()
	}
	if len(all.tokens) < *cuts || len(all.revoked) == 0 || len(all.lives) == 0 {
		t.Errorf("only %d tokens, %d revocations and %d clients in %d rounds", len(all.tokens), len(all.revoked), len(all.lives), *cuts)
	}
}

// writeUntilCut writes to the database from several goroutines until it fails.
func writeUntilCut(path string, round int, say func(string)) {
	s, err := sqlite.Open(context.Background(), path)
	if err != nil {
		return // cut so early
	}
	defer s.Close()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := 0; childWrites(s, fmt.Sprintf("%d-%d-%d", round, i, j), true, say) == nil; j++ {
			}
		})
	}
	wg.Wait()
}

// TestPowerCutAtEachChange cuts the power at each change to the disk that a
// record makes: it is acknowledged only when it is there afterwards, even if the
// disk has kept nothing that was not synced.
func TestPowerCutAtEachChange(t *testing.T) {
	from := powered(t)
	acknowledged := false
	for n := 0; !acknowledged; n++ {
		disk := disktest.New(t, from)
		s := open(t, filepath.Join(disk.Path, powerFile))
		if err := record(s, "c", "before"); err != nil {
			t.Fatal(err)
		}
		disk.CutAfter(n)
		acknowledged = record(s, "c", "now") == nil
		disk.Cut()
		found := events(t, disk.Restored(0))
		if !slices.Contains(found, "before") || acknowledged && !slices.Contains(found, "now") {
			t.Errorf("cut after %d changes: a record was acknowledged and is lost, there is %q", n, found)
		}
		if n > 100 {
			t.Fatal("it is never acknowledged")
		}
		if acknowledged && n < 2 {
			t.Errorf("acknowledged after %d changes: a write and a sync are two", n)
		}
	}
}

// events are the tokens in the record of a restored database.
func events(t *testing.T, dir string) (tokens []string) {
	t.Helper()
	s := open(t, filepath.Join(dir, powerFile))
	all := storetest.Events(t, s)
	for _, e := range all {
		tokens = append(tokens, e.TokenID)
	}
	integral(t, s)
	return tokens
}

// TestFailedWrite lets each change to the disk fail, once, under one writer and
// under several: each learns the truth, and the store goes on.
func TestFailedWrite(t *testing.T) {
	from := powered(t)
	for _, writers := range []int{1, 4} {
		t.Run(fmt.Sprint("writers: ", writers), func(t *testing.T) {
			failed := 0
			for n := range 8 {
				failed += failedWrite(t, from, n, writers)
			}
			if failed == 0 && writers == 1 { // several share a transaction, and try alone what failed together
				t.Error("no record failed")
			}
		})
	}
}

// failedWrite lets the change after n fail, and returns how many records failed
// with it.
func failedWrite(t *testing.T, from string, n, writers int) (failed int) {
	t.Helper()
	disk := disktest.New(t, from)
	s := open(t, filepath.Join(disk.Path, powerFile))
	disk.FailAfter(n)
	good := make([]bool, writers)
	var wg sync.WaitGroup
	for i := range good {
		wg.Go(func() { good[i] = record(s, "c", fmt.Sprint("during-", i)) == nil })
	}
	wg.Wait()
	if err := record(s, "c", "after"); err != nil {
		t.Errorf("change %d failed, and so does the next record: %v", n, err)
	}
	disk.Cut()
	found := events(t, disk.Restored(0))
	for i, acknowledged := range good {
		if !acknowledged {
			failed++
		} else if !slices.Contains(found, fmt.Sprint("during-", i)) {
			t.Errorf("change %d failed: a record was acknowledged and is lost", n)
		}
	}
	if !slices.Contains(found, "after") {
		t.Errorf("change %d failed: the record behind it was acknowledged and is lost", n)
	}
	return failed
}

// TestPowerCutAtBirth cuts the power while the file is made: another start makes
// it.
func TestPowerCutAtBirth(t *testing.T) {
	step := max(1, 40 / *cuts)
	for n, made := rand.IntN(step), false; !made; n += step {
		disk := disktest.New(t, "")
		disk.CutAfter(n)
		s, err := sqlite.Open(t.Context(), filepath.Join(disk.Path, powerFile))
		if err == nil {
			made = createClient(t.Context(), s, "c") == nil
			_ = s.Close()
		}
		disk.Cut()
		for fate := range uint64(4) {
			again, err := sqlite.Open(t.Context(), filepath.Join(disk.Restored(fate), powerFile))
			if err != nil {
				t.Errorf("after %d changes, fate %d: %v", n, fate, err)
				continue
			}
			if _, err := again.Client(t.Context(), "r", "c"); made && err != nil {
				t.Errorf("after %d changes, fate %d: the first client was acknowledged and is lost: %v", n, fate, err)
			}
			integral(t, again)
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		}
		if n > 300 {
			t.Fatal("it is never made")
		}
	}
}
