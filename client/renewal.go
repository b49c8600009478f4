package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/client/internal/flight"
	"github.com/counterfoil/counterfoil/provider"
)

const (
	// retries is how often a transient failure is retried, after at most 2, 4
	// and 8 s (full jitter) or after Retry-After.
	retries      = 3
	firstBackoff = 2 * time.Second
	// maxLessons bounds how often one request is repeated at once.
	maxLessons = 3
	// changesPerMinute bounds how often a refusal is forgotten because the
	// credentials have changed: credentials that differ each time they are read
	// must not cause a loop either.
	changesPerMinute = 5
)

// renewal brings tokens that are newer than the one in use, one at a time.
type renewal struct {
	cfg      *Config
	auth     *authenticator
	exchange *exchange
	tokens   *tokens
	changed  *limiter // requests because the credentials have changed
	flight   flight.Flight[*held]
}

// start starts the flight, unless it is under way.
func (r *renewal) start(caller context.Context) { r.flight.Start(r.fly(caller)) }

// wait joins the flight, or starts it, and waits until ctx ends.
func (r *renewal) wait(ctx context.Context) (*held, error) {
	if ctx.Err() != nil {
		return nil, gaveUp(ctx)
	}
	h, err := r.flight.Wait(ctx, r.fly(ctx))
	if err == nil && !h.live(r.cfg.Clock.Now()) { // it had already landed, and what it brought has expired since
		h, err = r.flight.Wait(ctx, r.fly(ctx))
	}
	if ctx.Err() != nil && errors.Is(err, flight.ErrLeft) {
		return nil, gaveUp(ctx)
	}
	return h, err
}

func gaveUp(ctx context.Context) error {
	return &counterfoil.Error{Reason: counterfoil.ReasonUnavailable, Message: "gave up waiting for a token", Err: context.Cause(ctx)}
}

// fly is the flight that all callers share: it brings a token newer than the one
// in use. It belongs to no caller, has its own time limit, and leaves the token
// in use unchanged if it fails, but for the time of the next attempt. Of caller,
// which started it, only OnEvent sees the values.
func (r *renewal) fly(caller context.Context) func(context.Context) (*held, error) {
	return func(ctx context.Context) (*held, error) {
		h, err := r.renew(context.WithValue(ctx, callerKey{}, context.WithoutCancel(caller)))
		if err == nil {
			return h, nil
		}
		now := r.cfg.Clock.Now()
		r.tokens.change(func(st *state) bool {
			st.until = now.Add(pauseAfter(err, st.failures))
			st.failures++
			return true
		})
		return nil, err
	}
}

// renew returns a newer token: one that another holder of the cache has
// obtained, or one from the provider.
func (r *renewal) renew(ctx context.Context) (*held, error) {
	now, before := r.cfg.Clock.Now(), r.tokens.load()
	old := before.held
	if old.live(now) && clocks.Before(now, old.renewal) {
		r.tokens.rest(old)
		return old, nil // the flight before this one brought it
	}
	p, err := r.place(ctx)
	if err != nil {
		return nil, r.stopped(ctx, err)
	}
	changes := p.changes.Load()
	if !old.live(now) {
		t, ok, err := r.cfg.Cache.Load(ctx, p.key)
		if err == nil && ok && r.tokens.usable(t, now) && (old == nil || t.Value != old.token.Value) {
			r.recovered(ctx, before)
			return r.tokens.adopt(p, t, changes, old).held, nil
		}
	}
	cred, err := r.auth.read(ctx, p.certificate)
	if err != nil {
		return nil, r.stopped(ctx, err)
	}
	if err := r.remembered(cred.print); err != nil {
		return nil, err
	}
	var asked atomic.Bool
	wanted := Renewal{
		Accept: func(current counterfoil.Token) bool {
			now := r.cfg.Clock.Now()
			newer := old == nil || current.Value != old.token.Value
			return newer && r.tokens.usable(current, now) && clocks.Before(now, current.Expires.Add(-margin(current)))
		},
		Fetch: func(ctx context.Context) (counterfoil.Token, error) {
			asked.Store(true)
			return r.request(ctx, p, cred, old)
		},
		Credentials: cred.print,
	}
	changes = p.changes.Load() // before Renew, so that a concurrent change is seen
	t, failure := r.cfg.Cache.Renew(ctx, p.key, wanted)
	if t.Value == "" && errors.Is(failure, ErrCacheLost) && r.mayFetchAlone() {
		t, failure = wanted.Fetch(ctx)
	}
	if t.Value == "" {
		return nil, r.notRenewed(ctx, failure)
	}
	if failure != nil { // the token is valid, but the next process will not find it
		r.cfg.event(ctx, counterfoil.Event{
			Type: counterfoil.EventTokenNotCached, Reason: counterfoil.ReasonUnavailable,
			Detail: "token not kept in the cache: " + failure.Error(),
		})
	}
	if !asked.Load() {
		r.recovered(ctx, before)
	}
	r.tokens.change(func(st *state) bool { st.refused = refusal{}; return true })
	return r.tokens.adopt(p, t, changes, old).held, nil
}

// recovered emits an event if a token that another process has obtained ends the
// failures of before.
func (r *renewal) recovered(ctx context.Context, before *state) {
	if before.failures == 0 {
		return
	}
	kind := counterfoil.EventTokenObtained
	if before.held != nil {
		kind = counterfoil.EventTokenRenewed
	}
	r.cfg.event(ctx, counterfoil.Event{Type: kind, Detail: "from the shared cache"})
}

// place returns the place in the cache of the token that the Source needs now.
// Only one flight at a time calls it.
func (r *renewal) place(ctx context.Context) (*place, *counterfoil.Error) {
	old, binding := r.tokens.load().place, r.exchange.proofs.binding()
	if r.cfg.Certificate == nil {
		if old == nil {
			old = newPlace(r.cfg, r.exchange.url, binding, nil)
			r.tokens.change(func(st *state) bool { st.place = old; return true })
		}
		return old, nil
	}
	cert, err := r.auth.readCertificate(ctx)
	if err != nil {
		return nil, err
	}
	if old != nil && old.certificate == chainPrint(cert) {
		return old, nil
	}
	p := newPlace(r.cfg, r.exchange.url, binding, cert)
	var unused *place
	r.tokens.change(func(st *state) bool {
		unused = nil
		switch {
		case st.place == nil:
		case st.former == nil:
			st.former = st.place // its token is used until p has one
		default:
			unused = st.place // it never had a token
		}
		st.place = p
		return true
	})
	if unused != nil {
		unused.retire()
	}
	return p, nil
}

// mayFetchAlone reports whether a token may be requested without the exclusion
// of the cache.
func (r *renewal) mayFetchAlone() bool {
	return r.cfg.FetchWithoutCache || r.cfg.Provider.TokenEndpoint.Policy != provider.PolicyReplace
}

// request gets a token from the provider, newer than old:
//
//  1. send the request;
//  2. again at once, when the answer has taught something: other credentials by
//     now, the clock of the provider, a nonce;
//  3. repeat what may pass, within the time that is left: not while old still
//     serves, because then nobody waits for it; once after a second, when the
//     token had no time to live;
//  4. remember what will not.
func (r *renewal) request(ctx context.Context, p *place, cred credentials, old *held) (counterfoil.Token, error) {
	deadline := r.cfg.Clock.Now().Add(r.cfg.Timeout)
	ended := false
	for n, attempt, lessons := 1, 0, 0; ; n++ {
		began := r.cfg.Clock.Now()
		t, err := r.exchange.send(ctx, p, &cred)
		sent := counterfoil.Event{
			Type: counterfoil.EventTokenRequested, Status: http.StatusOK, Attempt: n, Duration: r.cfg.Clock.Now().Sub(began),
		}
		if err == nil {
			r.cfg.event(ctx, sent)
			kind := counterfoil.EventTokenObtained
			if old != nil {
				kind, t = counterfoil.EventTokenRenewed, old.bounding(t, r.cfg.Clock.Now())
			}
			r.cfg.event(ctx, counterfoil.Event{Type: kind, Status: http.StatusOK, Attempt: n})
			r.exchange.tell(ctx)
			return t, nil
		}
		sent.Reason, sent.Status, sent.Detail = err.Reason, err.Status, err.Error()
		r.cfg.event(ctx, sent)
		if lessons < maxLessons && ctx.Err() == nil {
			if again, ok := r.learned(ctx, p, cred, err); ok {
				cred, lessons = again, lessons+1
				continue
			}
		}
		again := err.Class() == counterfoil.ClassTransient && attempt < retries && !r.cfg.permanent(err)
		wait := max(rand.N(firstBackoff<<attempt+1), err.RetryAfter)
		if errors.Is(err, errEnded) {
			again, wait, ended = !ended, time.Second, true
		}
		serves := old.live(r.cfg.Clock.Now()) // the wall clock may have been changed meanwhile
		if again && ctx.Err() == nil && !serves {
			if attempt++; r.cfg.Clock.Now().Add(wait).Before(deadline) && r.cfg.Clock.Sleep(ctx, wait) == nil {
				if again, failure := r.auth.read(ctx, p.certificate); failure == nil {
					cred = again
				}
				continue
			}
		}
		r.remember(err, cred.print, serves)
		return counterfoil.Token{}, r.failed(ctx, err)
	}
}

// learned returns the credentials for an immediate attempt, if err is the
// response to credentials that are no longer current.
func (r *renewal) learned(ctx context.Context, p *place, cred credentials, err *counterfoil.Error) (credentials, bool) {
	if err.Class() != counterfoil.ClassRefused {
		return cred, false
	}
	now, failure := r.auth.read(ctx, p.certificate)
	return now, failure == nil && (now.print != cred.print && r.changed.take(r.cfg.Clock.Now()) == 0 || r.exchange.outdated(cred, err))
}

// remember keeps err as the failure of credentials.
func (r *renewal) remember(err *counterfoil.Error, credentials [32]byte, serves bool) {
	now := r.cfg.Clock.Now()
	fresh := r.changed.wait(now) == 0
	r.tokens.change(func(st *state) bool {
		st.refused = st.refused.after(err, credentials, now, fresh, serves)
		return true
	})
}

// remembered returns the failure that is still remembered for these credentials.
// It does not apply to other credentials, unless they have changed too often
// recently.
func (r *renewal) remembered(credentials [32]byte) *counterfoil.Error {
	refused, now := r.tokens.load().refused, r.cfg.Clock.Now()
	left := refused.until.Sub(now)
	if refused.err == nil || left <= 0 || refused.credentials != credentials && r.changed.take(now) == 0 {
		return nil
	}
	return refused.repeated(left)
}

// notRenewed makes an Error of the error that a cache returned in place of a
// token.
func (r *renewal) notRenewed(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*counterfoil.Error](err); ok {
		return e // of a request, which has already emitted its event
	}
	e := &counterfoil.Error{Reason: counterfoil.ReasonUnavailable, Message: "the token cache fails", Err: err}
	if errors.Is(err, ErrCacheLost) {
		e.Message = fmt.Sprintf(
			"no token is requested while the shared cache is lost, because a new token of %s replaces "+
				"the others': fix the cache, or set %s",
			r.cfg.Provider.Name, r.cfg.field("FetchWithoutCache"),
		)
	}
	return r.stopped(ctx, e)
}

// stopped is failed for an error that prevented a request. Callers do not wait,
// so it emits at most one event a second.
func (r *renewal) stopped(ctx context.Context, err *counterfoil.Error) error {
	now := r.cfg.Clock.Now()
	_, first := r.tokens.change(func(st *state) bool {
		if now.Before(st.toldUntil) && st.told == err.Reason {
			return false
		}
		st.told, st.toldUntil = err.Reason, now.Add(minPause)
		return true
	})
	if !first {
		return err
	}
	return r.failed(ctx, err)
}

// failed emits an event for err and returns it.
func (r *renewal) failed(ctx context.Context, err *counterfoil.Error) error {
	kind := counterfoil.EventTokenFailed
	if err.Class() == counterfoil.ClassRefused {
		kind = counterfoil.EventTokenRefused
	}
	r.cfg.event(ctx, counterfoil.Event{Type: kind, Reason: err.Reason, Status: err.Status, Detail: err.Error()})
	return err
}
