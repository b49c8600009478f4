package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/valkey-io/valkey-go"
)

// merge adopts what the server has, if it is newer than what is here. The error
// is ErrCacheLost if it cannot be read.
func (c *Cache) merge(e *entry, st state) error {
	e.bound(st)
	e.look(c.resealable(st))
	if _, known, _ := e.current(st.got); st.order <= known {
		return nil
	}
	if st.order%2 == 1 || st.ends <= st.now {
		e.put(counterfoil.Token{}, st.order, st.sent, 0)
		return nil
	}
	t, lifetime, err := c.ring.openToken(e.key, st.order/2, st.sealed)
	switch {
	case errors.Is(err, seal.ErrDamaged):
		// No process can use it: treat it as dropped, soon also on the server.
		c.noted(e, errors.New("fleet: a token on the server is damaged or forged: it is not used"))
		e.put(counterfoil.Token{}, st.order|1, st.sent, 0)
		c.later(e)
		return nil
	case err != nil:
		err = lost(err)
		c.noted(e, err)
		return err
	}
	c.noted(e, nil)
	if e.isStale() {
		c.later(e)
	}
	// The step was no earlier than sent: from there on, the end is never late.
	left := span(st.ends-st.now, lifetime)
	if span(st.ends-st.now, maxLifetime) > lifetime+ahead {
		left = 0 // the server's clock was set back since: the token's age is unknown
	}
	// The wall clock may have been set since, so it is read now.
	now := c.cfg.Clock.Now()
	t.Expires = now.Round(0).Add(left - clocks.Since(now, st.sent))
	t.Issued = t.Expires.Add(-lifetime)
	e.put(t, st.order, st.sent, left)
	return nil
}

// ahead is how far a token's time may be ahead of the server's clock, which is
// adjusted by some ms all the time.
const ahead = time.Second

// foreign reports whether st was sealed under a key that this ring lacks.
func (c *Cache) foreign(st state) bool {
	return len(st.keyID) == len(c.ring[0].ID()) && !strings.Contains(c.ring.ids(), st.keyID)
}

// resealable reports whether st was sealed under a key of this ring other than
// the first.
func (c *Cache) resealable(st state) bool {
	return len(st.keyID) == len(c.ring[0].ID()) && st.keyID != c.ring[0].ID() && !c.foreign(st)
}

// reseal seals it again, so that the other key can be removed from all rings. It
// may fail: the next comparison tries again.
func (c *Cache) reseal(e *entry, st state) error {
	anew, digest := "", ""
	if st.sealed != "" {
		var err error
		if anew, digest, err = c.ring.reseal(e.key, st.order/2, st.sealed); err != nil {
			return nil // merge has reported it
		}
	}
	_, err := c.server.try(c.ctx, reseal, e.key, st.sealed, anew, digest, c.ring[0].ID())
	if err == nil {
		e.resealed()
	}
	return err
}

// ends returns when a remaining time of left, measured at now, is over by the
// server's clock, in ms, as st gives that clock: never too late.
func (st state) endOf(left time.Duration, now time.Time) int64 {
	return st.now + (min(left, maxLifetime) + now.Sub(st.got)).Milliseconds() - 1
}

// sync compares e with the server: newer values there are adopted, newer values
// here are stored there.
func (c *Cache) sync(e *entry) error {
	st, err := c.server.try(c.ctx, read, e.key)
	if err != nil {
		return c.notOfServer(e, err)
	}
	if err := c.merge(e, st); err != nil {
		e.wake()
		return nil // it is permanent, and already reported
	}
	_, order, _ := e.current(st.got)
	switch {
	case c.foreign(st): // the others could not read what this process would store
		c.noted(e, lost(otherKey(st.keyID)))
		e.wake()
		return nil
	case order > st.order:
		err = c.restore(e, st)
	case c.resealable(st) && e.isStale():
		err = c.reseal(e, st)
	}
	if err == nil {
		c.noted(e, nil)
	}
	e.wake()
	return c.notOfServer(e, err)
}

// notOfServer returns err if another attempt may soon succeed. An error of e
// alone is reported; the next comparison of everything finds out whether it
// persists.
func (c *Cache) notOfServer(e *entry, err error) error {
	if isOfEntry(err) {
		c.noted(e, err)
		return nil
	}
	return err
}

// restore stores t on a server that does not know it: it has lost its data, or
// was away.
func (c *Cache) restore(e *entry, st state) error {
	now := c.cfg.Clock.Now()
	t, order, _ := e.current(now)
	left := e.remains(now)
	sealed, digest, ends := "", "", int64(0)
	switch {
	case order%2 == 1:
	case t.Value == "" || left <= 0:
		return nil
	default:
		sealed, digest, ends = c.ring.sealToken(e.key, order/2, t), c.ring.digest(t), st.endOf(left, now)
	}
	st, err := c.server.try(
		c.ctx, restore, e.key, number(order), sealed, digest, number(ends), number(t.Lifetime().Milliseconds()),
		c.ring[0].ID(),
	)
	if err != nil {
		return err
	}
	_ = c.merge(e, st) // another was faster; unreadable values have been reported
	return nil
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// later makes sure that e is soon compared with the server.
func (c *Cache) later(all ...*entry) {
	c.mu.Lock()
	for _, e := range all {
		c.pending[e] = struct{}{}
	}
	c.mu.Unlock()
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// reconcile compares pending entries with the server, until Close.
func (c *Cache) reconcile() {
	var pause time.Duration
	for {
		select {
		case <-c.kick:
		case <-c.ctx.Done():
			return
		}
		c.mu.Lock()
		batch := c.pending
		c.pending = map[*entry]struct{}{}
		c.mu.Unlock()
		if failed := c.syncAll(batch); len(failed) == 0 {
			pause = 0
		} else {
			c.later(failed...)
			pause = min(max(2*pause, minPause), maxPause)
			_ = c.cfg.Clock.Sleep(c.ctx, pause/2+rand.N(pause))
		}
	}
}

// syncAll returns those that it could not compare.
func (c *Cache) syncAll(batch map[*entry]struct{}) (failed []*entry) {
	var mu sync.Mutex
	var all sync.WaitGroup
	places := make(chan struct{}, 16)
	for e := range batch {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			if c.sync(e) != nil {
				mu.Lock()
				failed = append(failed, e)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return failed
}

// follow listens for changes, until Close. Whenever it starts to listen
// everything known is compared, because changes may have been missed. It sends
// the result of the first attempt to first.
func (c *Cache) follow(first chan<- error) {
	for pause := time.Duration(0); ; {
		began := c.cfg.Clock.Now()
		listened, err := c.listen(first)
		if c.ctx.Err() != nil {
			return
		}
		if listened {
			pause = 0
			if c.cfg.Clock.Now().Sub(began) > maxPause {
				continue // connections end; only one that cannot be made again matters
			}
		}
		if err == nil {
			err = errors.New("the server ended the subscription")
		}
		c.server.met(err, "")
		sayFirst(first, err) // after every call knows it
		for _, e := range c.entries.list("") {
			e.wake() // waiting callers learn that no news will come
		}
		pause = min(max(2*pause, minPause), maxPause)
		if c.cfg.Clock.Sleep(c.ctx, pause/2+rand.N(pause)) != nil {
			return
		}
	}
}

// sayFirst sends the result of the first attempt, once.
func sayFirst(first chan<- error, err error) {
	select {
	case first <- err:
	default:
	}
}

// listen listens until the connection ends, and reports whether there was one.
func (c *Cache) listen(first chan<- error) (listened bool, err error) {
	if err := c.server.connect(); err != nil {
		return false, err
	}
	var began atomic.Bool
	ctx := valkey.WithOnSubscriptionHook(c.ctx, func(s valkey.PubSubSubscription) {
		if s.Kind == "subscribe" {
			began.Store(true)
			c.later(c.entries.list("")...)
			c.server.listens()
			sayFirst(first, nil)
		}
	})
	subscribe := c.server.connected().B().Subscribe().Channel(c.server.channel).Build()
	err = c.server.connected().Receive(ctx, subscribe, func(m valkey.PubSubMessage) {
		if len(m.Message) > maxKey {
			return // not from a fleet
		}
		if e := c.entries.known(m.Message); e != nil {
			c.later(e)
		}
	})
	return began.Load(), err
}

var errClosed = errors.New("fleet: the cache is closed")

// alive is the error of a closed cache.
func (c *Cache) alive() error {
	if c.ctx.Err() != nil {
		return errors.Join(client.ErrCacheLost, errClosed)
	}
	return nil
}

// wait returns at the news of e, after d, or when ctx ends.
func (c *Cache) wait(ctx, news context.Context, d time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(news, cancel)()
	defer context.AfterFunc(c.ctx, cancel)()
	_ = c.cfg.Clock.Sleep(ctx, d)
}
