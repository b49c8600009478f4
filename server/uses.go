package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
)

// How uses are recorded.
const (
	// useInterval is how often uses are written to the store. A killed process
	// loses the uses since the last write and those of the write in progress:
	// together at most 10 s, if a write takes no longer than the interval.
	useInterval = 5 * time.Second
	// maxUses is how many secrets' uses are pending before they are written
	// early; while the store fails, twice as many are kept.
	maxUses = 20_000
	// usesAtOnce is how many go into one write, so that no write delays token
	// requests for long.
	usesAtOnce = 100
)

// uses keeps in memory when secrets and API keys were last used, and writes
// that to the store periodically: a write for each token would cost as much as
// the token.
type uses struct {
	store  store.ClientStore
	clock  counterfoil.Clock
	logger *slog.Logger

	mu      sync.Mutex
	pending map[useKey]time.Time
	// steady keeps times in the future out of the store, which keeps the latest.
	steady clock.Steady
	early  bool // an early flush is in progress
	closed bool

	flushing sync.Mutex

	stop context.CancelFunc
	wg   sync.WaitGroup
}

type useKey struct{ realm, client, secret string }

// startUses starts recording uses; close stops it.
func startUses(db store.ClientStore, c counterfoil.Clock, logger *slog.Logger) *uses {
	ctx, stop := context.WithCancel(context.Background())
	u := &uses{
		store: db, clock: c, logger: logger, stop: stop,
		pending: map[useKey]time.Time{}, steady: clock.Steady{Patience: store.MaxLifetime},
	}
	u.wg.Go(func() {
		for u.clock.Sleep(ctx, useInterval) == nil {
			u.try()
		}
	})
	return u
}

// note records that a secret or an API key of a client was used.
func (u *uses) note(c *store.Client, h *store.SecretHash, at time.Time) {
	key := useKey{c.Realm, c.ID, h.ID}
	u.mu.Lock()
	defer u.mu.Unlock()
	at = u.steady.At(at)
	last, there := u.pending[key]
	if u.closed || there && !at.After(last) || !there && len(u.pending) >= 2*maxUses {
		return
	}
	u.pending[key] = at
	if len(u.pending) > maxUses && !u.early {
		u.early = true
		u.wg.Go(func() {
			u.try()
			u.mu.Lock()
			u.early = false
			u.mu.Unlock()
		})
	}
}

// close writes all pending uses to the store.
func (u *uses) close() error {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.stop()
	u.wg.Wait()
	return u.flush()
}

func (u *uses) try() {
	if err := u.flush(); err != nil {
		u.logger.Error("last uses of secrets not recorded, they will be tried again", alerts.Trouble(alerts.KindStore), "error", err)
	}
}

// flush writes the pending uses to the store.
func (u *uses) flush() error {
	u.flushing.Lock()
	defer u.flushing.Unlock()
	due := u.take()
	for i := 0; i < len(due); i += usesAtOnce {
		part := due[i:min(i+usesAtOnce, len(due))]
		if err := u.store.RecordLastUses(context.Background(), part); err != nil {
			u.giveBack(due[i:])
			return fmt.Errorf("record uses: %w", err)
		}
	}
	return nil
}

// take removes and returns the pending uses.
func (u *uses) take() []store.LastUse {
	u.mu.Lock()
	defer u.mu.Unlock()
	due := make([]store.LastUse, 0, len(u.pending))
	for key, last := range u.pending {
		due = append(due, store.LastUse{Realm: key.realm, ClientID: key.client, SecretID: key.secret, Time: last})
	}
	clear(u.pending)
	return due
}

// giveBack keeps uses that the store did not record, unless there are later
// ones.
func (u *uses) giveBack(list []store.LastUse) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, use := range list {
		key := useKey{use.Realm, use.ClientID, use.SecretID}
		if last, there := u.pending[key]; !there && len(u.pending) < 2*maxUses || there && use.Time.After(last) {
			u.pending[key] = use.Time
		}
	}
}
