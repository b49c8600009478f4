package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// Renew returns a token that r accepts: the one here; one that another process
// has obtained or is obtaining; or, under the lease of key, the one that it
// fetches. A failure of another process with the same credentials is returned
// until its pause is over, as a *counterfoil.Error.
func (c *Cache) Renew(ctx context.Context, key string, r client.Renewal) (counterfoil.Token, error) {
	none := counterfoil.Token{}
	e, err := c.entries.get(key)
	if err != nil {
		return none, err
	}
	if t, _, _ := e.current(c.cfg.Clock.Now()); r.Accept(t) {
		return t, nil
	}
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	return c.renew(ctx, e, r)
}

// renew does so, alone in this process for e.
func (c *Cache) renew(ctx context.Context, e *entry, r client.Renewal) (counterfoil.Token, error) {
	none := counterfoil.Token{}
	credentials := c.ring.digests("credentials", r.Credentials[:])
	for {
		t, order, news := e.current(c.cfg.Clock.Now())
		switch {
		case r.Accept(t):
			return t, nil
		case ctx.Err() != nil:
			return none, context.Cause(ctx)
		case c.alive() != nil:
			return none, c.alive()
		}
		if ready, err := c.ready(ctx, e, news); err != nil {
			return none, err
		} else if !ready {
			continue
		}
		st, err := c.server.run(
			ctx, acquire, e.key, c.id, number(c.cfg.Lease.Milliseconds()), number(order), credentials, c.ring.ids(),
			number(asking.Milliseconds()),
		)
		if err != nil {
			return none, err
		}
		e.bound(st)
		if st.order < order {
			c.later(e) // the server has lost what this process knows
		}
		switch st.what {
		case "ok":
			if c.server.away() || c.server.grace.left(c.cfg.Clock.Now()) > 0 { // the break was recent
				_, _ = c.server.run(ctx, release, e.key, c.id, number(st.number), credentials, "", "0", "0")
				continue
			}
			t, err := c.hold(ctx, e, st, r, credentials)
			if !errors.Is(err, errLeaseLost) {
				return t, err
			}
			// Accept what the present holder obtains; there is no second
			// request.
			r.Fetch = func(context.Context) (counterfoil.Token, error) { return none, lost(errLeaseOver) }
		case "changed":
			if err := c.merge(e, st); err != nil {
				return none, err
			}
			if _, now, _ := e.current(st.got); now <= order {
				return none, lost(errAnswer) // not written by a fleet
			}
		case "sealed":
			err := lost(otherKey(st.keyID))
			c.noted(e, err)
			return none, err
		case "failed":
			failure, err := c.ring.openFailure(e.key, st.failure, span(st.pause-st.now, maxFailure))
			if err != nil {
				return none, lost(err)
			}
			return none, failure
		case "asked": // short, unless the token is put back
			c.wait(ctx, news, span(st.until-st.now, asking)+rand.N(asking/4))
		default: // held; waiting processes do not all try at once when it expires
			c.wait(ctx, news, span(st.until-st.now, c.cfg.Lease)+rand.N(c.cfg.Lease/20+1))
		}
	}
}

// ready reports whether a new lease may be taken now. After a break it waits
// until the others are back, or for news.
func (c *Cache) ready(ctx context.Context, e *entry, news context.Context) (bool, error) {
	if c.server.away() {
		_, err := c.server.run(ctx, probe, e.key) // finding the server takes no lease
		return false, err
	}
	left := c.server.grace.left(c.cfg.Clock.Now())
	if left > 0 {
		c.wait(ctx, news, left)
	}
	return left <= 0, nil
}

// asking is how long processes that know the token of a lost entry have to put
// it back before another one is requested.
const asking = 200 * time.Millisecond

// span is a time of the server, in ms, within bounds.
func span(ms int64, most time.Duration) time.Duration {
	return time.Duration(min(max(ms, 0), most.Milliseconds())) * time.Millisecond
}

// lease is the right to fetch, while it lasts.
type lease struct {
	number int64
	mu     sync.Mutex
	at     state // the last answer, which tells the server's clock
}

func (l *lease) seen(st state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = st
}

func (l *lease) last() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}

// errLeaseLost is why a request is canceled: another process may have sent one
// already. errLeaseOver is returned for it if no other has.
var (
	errLeaseLost = errors.New("fleet: the lease is lost")
	errLeaseOver = errors.New("the lease expired while the token was requested, because the server could not be reached for that long")
)

// hold fetches a token under the lease that st has given:
//
//  1. fetch, and prolong the lease meanwhile; who loses it gives up;
//  2. a failure is left for the others, and the lease ended;
//  3. a token is put on the server, unless another has had the lease since.
func (c *Cache) hold(ctx context.Context, e *entry, st state, r client.Renewal, credentials string) (counterfoil.Token, error) {
	l := &lease{number: st.number, at: st}
	leased, giveUp := context.WithCancelCause(ctx)
	beating, stop := context.WithCancel(leased)
	var heart sync.WaitGroup
	heart.Go(func() { c.prolong(beating, e, l, giveUp) })
	t, err := r.Fetch(leased)
	stop()
	heart.Wait()
	defer giveUp(nil)
	switch {
	case err != nil && errors.Is(context.Cause(leased), errLeaseLost):
		return counterfoil.Token{}, errLeaseLost
	case err != nil:
		c.fail(ctx, e, l, err, credentials)
		return t, err
	}
	return c.share(ctx, e, l, t, r)
}

// share puts t, which was fetched under l, on the server.
func (c *Cache) share(ctx context.Context, e *entry, l *lease, t counterfoil.Token, r client.Renewal) (counterfoil.Token, error) {
	now, lifetime := c.cfg.Clock.Now(), t.Lifetime()
	put := func() { e.put(t, 2*l.number, now, lifetime) }
	sealed := c.ring.sealToken(e.key, l.number, t)
	if len(sealed) > maxSealed {
		put()
		return t, fmt.Errorf("fleet: the token is not shared: it has more than %d bytes", maxSealed)
	}
	st, err := c.server.run(
		ctx, publish, e.key, number(l.number), sealed, c.ring.digest(t),
		number(l.last().endOf(min(t.Expires.Sub(now), lifetime), now)), number(lifetime.Milliseconds()),
		c.ring[0].ID(),
	)
	if err == nil && (st.what == "ok" || st.order == 2*l.number) {
		put()
		e.look(false)
		c.noted(e, nil)
		return t, nil
	}
	if err == nil {
		err = fmt.Errorf(
			"another process has fetched a token meanwhile, because this one was away for longer than the lease of %s",
			c.cfg.Lease,
		)
		if c.merge(e, st) == nil {
			if theirs, _, _ := e.current(st.got); r.Accept(theirs) {
				return theirs, nil
			}
		}
	}
	put()
	c.later(e)
	return t, fmt.Errorf("fleet: the token is not shared yet: %w", err)
}

// prolong keeps the lease until ctx ends, or calls giveUp when another process
// has it or may have it. It also extends it at any news: the entry may have been
// lost, and another process be about to take the lease.
func (c *Cache) prolong(ctx context.Context, e *entry, l *lease, giveUp context.CancelCauseFunc) {
	for pause := c.cfg.Lease / 3; ; {
		_, _, news := e.current(c.cfg.Clock.Now())
		left, _ := c.left(l)
		c.wait(ctx, news, min(pause, left))
		left, sure := c.left(l)
		switch {
		case ctx.Err() != nil:
			return
		case left <= 0:
			giveUp(errLeaseLost)
			return
		}
		limited, cancel := context.WithTimeout(ctx, left)
		st, err := c.server.try(limited, beat, e.key, c.id, number(l.number), number(c.cfg.Lease.Milliseconds()))
		cancel()
		switch {
		case err != nil && sure:
			pause = c.cfg.Lease / 30
		case err != nil, st.what != "ok":
			giveUp(errLeaseLost)
			return
		default:
			l.seen(st)
			pause = c.cfg.Lease / 3
		}
	}
}

// left is how long the lease lasts by the monotonic clock. It is sure unless the
// wall clock says that the lease is over, because that was set or the machine
// was suspended: then the server must be asked.
func (c *Cache) left(l *lease) (left time.Duration, sure bool) {
	now, sent := c.cfg.Clock.Now(), l.last().sent
	return c.cfg.Lease - now.Sub(sent), now.Round(0).Sub(sent.Round(0)) < c.cfg.Lease
}

// fail ends the lease and stores the failure for processes that would meet the
// same.
func (c *Cache) fail(ctx context.Context, e *entry, l *lease, err error, credentials string) {
	sealed, least, most := "", time.Duration(0), time.Duration(0)
	// A caller that left has met nothing that others would meet.
	if failure, ok := errors.AsType[*counterfoil.Error](err); ok && !errors.Is(context.Cause(ctx), context.Canceled) {
		sealed, least, most = c.ring.sealFailure(e.key, failure), failure.RetryAfter, maxFailure
		if failure.Status == 0 {
			// The absence of a response may be caused by this machine alone: the
			// others try too, one after another.
			most = minFailure
		}
	}
	end := func() {
		_, _ = c.server.try(context.WithoutCancel(ctx), release, e.key, c.id, number(l.number), credentials, sealed,
			number(min(least, maxFailure).Milliseconds()), number(most.Milliseconds()))
	}
	if ctx.Err() != nil {
		c.background(end) // the caller has waited long enough
		return
	}
	end()
}

// A failure is remembered for minFailure, which doubles with each one in a row
// up to maxFailure.
const (
	minFailure = time.Second
	maxFailure = 60 * time.Second
)
