package dircache_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/cachetest"
	"github.com/counterfoil/counterfoil/client/dircache"
	"github.com/counterfoil/counterfoil/internal/disktest"
)

// renew puts a token in the place of the one that is there.
func renew(c client.Cache, value string) error {
	_, err := c.Renew(context.Background(), "aa-1", client.Renewal{
		Accept: func(counterfoil.Token) bool { return false },
		Fetch:  func(context.Context) (counterfoil.Token, error) { return cachetest.Token(value), nil },
	})
	return err
}

// restored returns the token that a directory of a disk holds once the power is
// back.
func restored(t *testing.T, disk *disktest.Disk, fate uint64) string {
	t.Helper()
	c, err := dircache.Open(filepath.Join(disk.Restored(fate), "deep", "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return cachetest.Load(t, c, "aa-1")
}

// A loss of power at any moment leaves the old token or the new one, never half of
// one, and the new one once it was stored.
func TestPowerCut(t *testing.T) {
	for n, stored := 0, false; !stored; n++ {
		disk := disktest.New(t, "")
		c, err := dircache.Open(filepath.Join(disk.Path, "deep", "cache"))
		if err != nil {
			t.Fatal(err)
		}
		if err := renew(c, "old"); err != nil {
			t.Fatal(err)
		}
		disk.CutAfter(n)
		stored = renew(c, "new") == nil
		disk.Cut()
		for fate := range uint64(8) {
			if got := restored(t, disk, fate); got != "new" && (stored || got != "old") {
				t.Errorf("cut after %d changes, fate %d: got %q, stored: %v", n, fate, got, stored)
			}
		}
		if n > 50 {
			t.Fatal("it is never stored")
		}
	}
}

// Tokens that were cleared do not come back with the power.
func TestClearPowerCut(t *testing.T) {
	disk := disktest.New(t, "")
	c, err := dircache.Open(filepath.Join(disk.Path, "deep", "cache"))
	if err := errors.Join(err, renew(c, "old"), c.Clear(t.Context(), "")); err != nil {
		t.Fatal(err)
	}
	disk.Cut()
	if got := restored(t, disk, 0); got != "" {
		t.Errorf("got %q", got)
	}
}
