package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/store"
)

// How uses are written down.
const (
	// useInterval is how often the store is told. A process that is killed loses
	// the uses since, and those of the write under way: together at most 10 s,
	// which leaves a write as long as the interval.
	useInterval = 5 * time.Second
	// maxUses is how many secrets' uses wait for the store before it is told
	// early; while it does not listen, twice as many are kept.
	maxUses = 20_000
	// usesAtOnce is how many go into one write, so that token requests wait for
	// none of them for long.
	usesAtOnce = 100
)

// uses keeps in memory when secrets and API keys were last used, and tells the
// store now and then: a write for each token would cost as much as the token.
type uses struct {
	store  store.ClientStore
	clock  counterfoil.Clock
	logger *slog.Logger

	mu      sync.Mutex
	pending map[useKey]time.Time
	// steady keeps uses from the future out of the store, which keeps the latest.
	steady clock.Steady
	early  bool // a flush before its time is under way
	closed bool

	flushing sync.Mutex

	stop context.CancelFunc
	wg   sync.WaitGroup
}

type useKey struct{ realm, client, secret string }

// startUses begins to keep uses; close ends it.
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

// note keeps that a secret or an API key of a client has served.
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

// close tells the store all that it does not know yet.
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
		u.logger.Error("last uses of secrets not recorded, they will be tried again", "error", err)
	}
}

// flush tells the store of the uses that wait.
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

// take returns what the store is to be told now.
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

// giveBack keeps uses that the store did not take, unless there are later ones.
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
