package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
	"golang.org/x/sync/singleflight"
)

// dropsPerMinute bounds how many tokens are dropped: an API that rejects every
// token must not become a loop of token requests.
const dropsPerMinute = 5

// maxRejected bounds how many rejected tokens are remembered.
const maxRejected = 2 * dropsPerMinute

// Source obtains, keeps and renews the token of one client. It is safe for
// concurrent use and needs no closing: it runs a goroutine only while it renews
// a token.
type Source struct {
	cfg      Config
	api      *provider.API
	tokenURL *url.URL
	apiURL   *url.URL
	headers  []callHeader
	retries  []time.Duration

	held     atomic.Pointer[held]
	place    atomic.Pointer[entry]
	rejected atomic.Pointer[[]counterfoil.Secret] // the most recent
	flights  singleflight.Group
	calls    *limiter
	drops    *limiter             // of tokens dropped long before their renewal
	changed  *limiter             // requests because the credentials have changed
	skew     atomic.Pointer[skew] // nil until it is measured
	prover   *prover              // nil without DPoP
	health   atomic.Pointer[checked]
	issuer   atomic.Pointer[issuerFound] // nil until it was looked for

	mu       sync.Mutex
	former   *entry // the origin of the token in use, while place has none yet
	refused  refusal
	failures int // renewals that failed in a row
	// told is why the last request was not sent. It is returned until toldUntil.
	told      counterfoil.Reason
	toldUntil time.Time
}

// Format prints the provider and the client id, and nothing else, for every
// verb.
func (s *Source) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "client.Source(%s as %q)", s.cfg.Provider.Name, s.cfg.ClientID)
}

// Token returns a live token. It returns at once while there is one, even if ctx
// is done, except shortly before expiry; otherwise it waits for the request that
// all callers share, until ctx ends, which does not end the request.
//
// The error is a [*counterfoil.Error], whose Class says what to do about it:
// Transient errors may succeed later, Refused ones need a change by a person,
// Protocol ones mean that no token endpoint answers.
func (s *Source) Token(ctx context.Context) (counterfoil.Token, error) {
	h, err := s.current(ctx)
	if err != nil {
		return counterfoil.Token{}, err
	}
	return h.token, nil
}

// current returns the token in use.
func (s *Source) current(ctx context.Context) (*held, error) {
	h := s.held.Load()
	now := s.cfg.Clock.Now()
	if h != nil && clocks.Before(now, *h.until.Load()) && clocks.Before(now, h.ends) && h.seen.Load() == h.entry.changes.Load() {
		return h, nil
	}
	if h = s.look(ctx, h, now); !h.live(now) {
		return s.wait(ctx)
	}
	at := h.until.Load()
	if clocks.Before(now, *at) {
		return h, nil
	}
	if clocks.Before(now, h.lastCall) {
		if h.until.CompareAndSwap(at, &h.lastCall) {
			s.flights.DoChan("", s.fly(ctx))
		}
		return h, nil
	}
	// Half of the time left is for waiting, the other half for the call.
	waiting, cancel := clock.WithTimeout(ctx, s.cfg.Clock, clocks.Left(now, h.ends)/2)
	defer cancel()
	fresh, err := s.wait(waiting)
	if err == nil {
		return fresh, nil
	}
	if !h.live(s.cfg.Clock.Now()) { // the machine was suspended meanwhile
		return s.wait(ctx)
	}
	if waiting.Err() != nil && ctx.Err() == nil {
		h.until.CompareAndSwap(at, &h.ends) // no other caller need wait
	}
	return h, nil
}

// wait joins the flight, or starts it, and waits until ctx ends.
func (s *Source) wait(ctx context.Context) (*held, error) {
	if ctx.Err() != nil {
		return nil, gaveUp(ctx)
	}
	select {
	case r := <-s.flights.DoChan("", s.fly(ctx)):
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*held), nil
	case <-ctx.Done():
		return nil, gaveUp(ctx)
	}
}

func gaveUp(ctx context.Context) error {
	return &counterfoil.Error{Reason: counterfoil.Unavailable, Message: "gave up waiting for a token", Err: context.Cause(ctx)}
}

// fly is the flight that all callers share: it brings a token newer than the one
// in use. It belongs to no caller, has its own time limit, and leaves the token
// in use unchanged if it fails. Of caller, which started it, only OnEvent sees
// the values.
func (s *Source) fly(caller context.Context) func() (any, error) {
	return func() (any, error) {
		ctx, cancel := clock.WithTimeout(
			context.WithValue(context.Background(), callerKey{}, context.WithoutCancel(caller)), s.cfg.Clock,
			s.cfg.Timeout,
		)
		defer cancel()
		h, err := s.renew(ctx)
		if err == nil {
			return h, nil
		}
		s.pause(err)
		return nil, err
	}
}

// callerKey is the key of the context of the caller that started a flight. It is
// kept as a value: as the parent it would bring the caller's net/http/httptrace
// hooks into a request that may outlast the caller.
type callerKey struct{}

// renew returns a newer token: one that another holder of the cache has
// obtained, or one from the provider.
func (s *Source) renew(ctx context.Context) (*held, error) {
	now, old := s.cfg.Clock.Now(), s.held.Load()
	if old.live(now) && clocks.Before(now, old.renewal) {
		old.until.Store(&old.renewal)
		return old, nil // the flight before this one brought it
	}
	e, err := s.entry(ctx)
	if err != nil {
		return nil, s.stopped(ctx, err)
	}
	changes := e.changes.Load()
	if !old.live(now) {
		if t, ok, err := s.cfg.Cache.Load(ctx, e.key); err == nil && ok && s.usable(t, now) && (old == nil || t.Value != old.token.Value) {
			return s.adopt(e, t, changes, old), nil
		}
	}
	cred, err := s.credentials(ctx, e)
	if err != nil {
		return nil, s.stopped(ctx, err)
	}
	if err := s.remembered(cred.print); err != nil {
		return nil, err
	}
	r := Renewal{
		Accept: func(current counterfoil.Token) bool {
			now := s.cfg.Clock.Now()
			newer := old == nil || current.Value != old.token.Value
			return newer && s.usable(current, now) && clocks.Before(now, current.Expires.Add(-margin(current)))
		},
		Fetch:       func(ctx context.Context) (counterfoil.Token, error) { return s.request(ctx, e, cred, old) },
		Credentials: cred.print,
	}
	changes = e.changes.Load() // before Renew, so that a concurrent change is seen
	t, failure := s.cfg.Cache.Renew(ctx, e.key, r)
	if t.Value == "" && errors.Is(failure, ErrCacheLost) && s.mayFetchAlone() {
		t, failure = r.Fetch(ctx)
	}
	if t.Value == "" {
		return nil, s.notRenewed(ctx, failure)
	}
	if failure != nil { // the token is valid, but the next process will not find it
		s.event(
			ctx,
			counterfoil.Event{
				Type:   counterfoil.EventTokenNotCached,
				Reason: counterfoil.Unavailable,
				Detail: "token not kept in the cache: " + failure.Error(),
			},
		)
	}
	s.forget()
	return s.adopt(e, t, changes, old), nil
}

// mayFetchAlone reports whether a token may be requested without the exclusion
// of the cache.
func (s *Source) mayFetchAlone() bool {
	return s.cfg.FetchWithoutCache || s.cfg.Provider.TokenEndpoint.Policy != provider.Replace
}

// notRenewed makes an Error of the error that a cache returned in place of a
// token.
func (s *Source) notRenewed(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*counterfoil.Error](err); ok {
		return e // of a request, which has already emitted its event
	}
	e := &counterfoil.Error{Reason: counterfoil.Unavailable, Message: "the token cache fails", Err: err}
	if errors.Is(err, ErrCacheLost) {
		e.Message = fmt.Sprintf(
			"no token is requested while the shared cache is lost, because a new token of %s replaces "+
				"the others': fix the cache, or set %s",
			s.cfg.Provider.Name, s.cfg.field("FetchWithoutCache"),
		)
	}
	return s.stopped(ctx, e)
}

// Invalidate drops, here and in the cache, the token that an API has rejected,
// and only that one: a token that has been renewed since stays. The next call of
// Token gets a new one. After 5 tokens in a minute have been dropped long before
// their renewal, by this Source or others that share the cache, further ones are
// kept, because then the tokens are not the cause.
func (s *Source) Invalidate(ctx context.Context, rejected counterfoil.Token) {
	h, now := s.held.Load(), s.cfg.Clock.Now()
	if h == nil || h.token.Value != rejected.Value {
		return
	}
	changes := h.entry.changes.Load()
	t, ok, err := s.cfg.Cache.Load(ctx, h.entry.key)
	replaced := err == nil && ok && t.Value != rejected.Value && s.usable(t, now)
	if !replaced && h.early(now) && s.drops.wait(now) > 0 {
		return
	}
	s.reject(h.token.Value)
	if !s.held.CompareAndSwap(h, nil) {
		return
	}
	s.gone(h, now, max(changes, h.seen.Load()+1))
	if replaced {
		s.adopt(h.entry, t, changes, h)
		return
	}
	detail := ""
	if err := s.cfg.Cache.Drop(ctx, h.entry.key, rejected); err != nil {
		detail = "token not dropped from the cache: " + err.Error()
	}
	s.event(ctx, counterfoil.Event{Type: counterfoil.EventTokenDropped, Reason: counterfoil.TokenInvalid, Detail: detail})
}

// reject remembers a token that an API has rejected, as one of the last
// maxRejected: the cache may still return it.
func (s *Source) reject(token counterfoil.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []counterfoil.Secret{token}
	if old := s.rejected.Load(); old != nil {
		all = append(all, (*old)[:min(len(*old), maxRejected-1)]...)
	}
	s.rejected.Store(&all)
}

func (s *Source) isRejected(t counterfoil.Token) bool {
	all := s.rejected.Load()
	return all != nil && slices.Contains(*all, t.Value)
}

// Clear forgets the tokens of this client, whatever their scopes, here and in
// the cache.
func (s *Source) Clear(ctx context.Context) error {
	err := s.cfg.Cache.Clear(ctx, KeyPrefix(s.cfg.ClientID))
	s.held.Store(nil) // last: a caller may have loaded it from the cache meanwhile
	return err
}

// Forget forgets the token of this Source, here and in the cache, and no other
// token of the client; Clear forgets those, too.
func (s *Source) Forget(ctx context.Context) error {
	e, failure := s.entry(ctx)
	if failure != nil {
		return failure
	}
	err := s.cfg.Cache.Clear(ctx, e.key) // a whole key is the prefix of itself alone
	s.held.Store(nil)
	return err
}
