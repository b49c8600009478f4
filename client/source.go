package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
	"golang.org/x/sync/singleflight"
)

const (
	// A token is renewed maxMargin before its end, or a marginShare of its
	// lifetime where that is less, so that a short token is not always stale.
	maxMargin   = 300 * time.Second
	marginShare = 5
	// jitterShare of the margin is the most by which renewal is earlier still,
	// so that processes that began together do not renew together.
	jitterShare = 10
	// minPause and maxPause bound the wait after a failure, which doubles.
	minPause = time.Second
	maxPause = 60 * time.Second
	// dropsPerMinute bounds how many rejected tokens are replaced: an API that
	// rejects every token must not become a loop of token requests.
	dropsPerMinute = 5
	never          = math.MaxInt64
)

// Source gets, keeps and renews the token of one client. It is safe for
// concurrent use and needs no closing: it has no goroutine but while a token is
// being renewed.
type Source struct {
	cfg      Config
	api      *provider.API
	tokenURL *url.URL
	apiURL   *url.URL
	headers  []callHeader
	key      string

	held     atomic.Pointer[held]
	rejected atomic.Pointer[counterfoil.Secret]
	flights  singleflight.Group
	calls    *limiter
	drops    *limiter

	mu      sync.Mutex
	refused refusal
}

// held is a token in use.
type held struct {
	token counterfoil.Token
	// authorization is the token as the API's header carries it.
	authorization string
	// renewAt is when to renew next, in ns since 1970; never while a renewal is
	// under way.
	renewAt atomic.Int64
	// failures counts failed renewals; it belongs to the renewal under way.
	failures int
}

// Format prints the provider and the client id, and nothing else, for every
// verb.
func (s *Source) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "client.Source(%s as %q)", s.cfg.Provider.Name, s.cfg.ClientID)
}

// Token returns a live token. It returns at once while there is one, whatever
// the state of ctx; otherwise it waits for the request that all callers share
// until ctx ends, which leaves the request to the others.
//
// The error is a [*counterfoil.Error]: its Reason is InvalidClient,
// InvalidScope or another refusal of the provider; Unavailable, RateLimited or
// ServerError when it may pass; BadResponse when the answer is no token.
func (s *Source) Token(ctx context.Context) (counterfoil.Token, error) {
	h, err := s.current(ctx)
	if err != nil {
		return counterfoil.Token{}, err
	}
	return h.token, nil
}

func (s *Source) current(ctx context.Context) (*held, error) {
	if h := s.held.Load(); h != nil {
		now := s.cfg.Clock.Now()
		if now.Before(h.token.Expires) {
			if at := h.renewAt.Load(); now.UnixNano() >= at && h.renewAt.CompareAndSwap(at, never) {
				go s.renewAhead(h)
			}
			return h, nil
		}
	}
	if ctx.Err() != nil {
		return nil, gaveUp(ctx)
	}
	select {
	case r := <-s.flights.DoChan("", func() (any, error) { return s.fetch() }):
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

// fetch is the request that callers without a live token share.
func (s *Source) fetch() (*held, error) {
	now := s.cfg.Clock.Now()
	old := s.held.Load()
	if old != nil && old.token.Live(now) {
		return old, nil // the flight before this one brought it
	}
	ctx, cancel := withTimeout(context.Background(), s.cfg.Clock, s.cfg.Timeout)
	defer cancel()
	if t, ok, err := s.cfg.Cache.Load(ctx, s.key); err == nil && ok && t.Live(now) && !s.isRejected(t) {
		return s.adopt(t), nil
	}
	return s.renew(ctx, old)
}

// renewAhead renews h while it still serves.
func (s *Source) renewAhead(h *held) {
	ctx, cancel := withTimeout(context.Background(), s.cfg.Clock, s.cfg.Timeout)
	defer cancel()
	_, err := s.renew(ctx, h)
	if err == nil {
		return
	}
	pause := min(minPause<<min(h.failures, 10), maxPause)
	h.failures++
	if e, ok := errors.AsType[*counterfoil.Error](err); ok {
		pause = max(pause, e.RetryAfter)
	}
	h.renewAt.Store(s.cfg.Clock.Now().Add(pause).UnixNano())
}

// renew gets a token newer than old: one that another holder of the cache has
// got meanwhile, or one from the provider.
func (s *Source) renew(ctx context.Context, old *held) (*held, error) {
	t, err := s.cfg.Cache.Renew(ctx, s.key, func(ctx context.Context, current counterfoil.Token) (counterfoil.Token, error) {
		now := s.cfg.Clock.Now()
		newer := old == nil || current.Value != old.token.Value
		if newer && current.Live(now) && !s.isRejected(current) && now.Before(current.Expires.Add(-margin(current))) {
			return current, nil
		}
		return s.request(ctx)
	})
	if t.Value == "" {
		if _, ok := errors.AsType[*counterfoil.Error](err); !ok {
			err = &counterfoil.Error{Reason: counterfoil.Unavailable, Message: "the token cache fails", Err: err}
			s.event(ctx, counterfoil.EventTokenFailed, counterfoil.Unavailable, err.Error())
		}
		return nil, err
	}
	if err != nil { // the token is good, only the next process will not find it
		s.event(ctx, counterfoil.EventTokenNotCached, counterfoil.Unavailable, "token not kept in the cache: "+err.Error())
	}
	return s.adopt(t), nil
}

// adopt makes t the token in use, unless one that was issued later is.
func (s *Source) adopt(t counterfoil.Token) *held {
	h := &held{token: t, authorization: t.Value.Reveal()}
	for _, ch := range s.headers {
		if ch.from == provider.HeaderFromToken && ch.scheme != "" {
			h.authorization = ch.scheme + " " + h.authorization
		}
	}
	early := margin(t)
	early += rand.N(early/jitterShare + 1)
	h.renewAt.Store(t.Expires.Add(-early).UnixNano())
	for {
		old := s.held.Load()
		if old != nil && old.token.Live(s.cfg.Clock.Now()) && old.token.Issued.After(t.Issued) {
			return old
		}
		if s.held.CompareAndSwap(old, h) {
			return h
		}
	}
}

func margin(t counterfoil.Token) time.Duration { return min(maxMargin, t.Lifetime()/marginShare) }

// Drop takes out of use, here and in the cache, the token that an API has
// rejected, and only that one: a token that has been renewed since stays. The
// next call of Token gets a new one. Of more than 5 tokens in a minute the
// further ones are kept, because then it is not the tokens that are wrong.
func (s *Source) Drop(ctx context.Context, rejected counterfoil.Token) {
	h := s.held.Load()
	if h == nil || h.token.Value != rejected.Value || s.drops.take(s.cfg.Clock.Now()) > 0 {
		return
	}
	s.rejected.Store(&h.token.Value)
	if !s.held.CompareAndSwap(h, nil) {
		return
	}
	detail := ""
	if err := s.cfg.Cache.Drop(ctx, s.key, rejected); err != nil {
		detail = "token not dropped from the cache: " + err.Error()
	}
	s.event(ctx, counterfoil.EventTokenDropped, counterfoil.TokenInvalid, detail)
}

// isRejected reports whether t is the token that was dropped last: the cache
// may still have it.
func (s *Source) isRejected(t counterfoil.Token) bool {
	r := s.rejected.Load()
	return r != nil && *r == t.Value
}

// Clear forgets the tokens of this client, whatever their scopes, here and in
// the cache.
func (s *Source) Clear(ctx context.Context) error {
	s.held.Store(nil)
	return s.cfg.Cache.Clear(ctx, KeyPrefix(s.cfg.ClientID))
}

func (s *Source) event(ctx context.Context, kind string, reason counterfoil.Reason, detail string) {
	if s.cfg.OnEvent == nil {
		return
	}
	s.cfg.OnEvent(ctx, counterfoil.Event{
		Type: kind, Time: s.cfg.Clock.Now(), Realm: s.cfg.Provider.Name, ClientID: s.cfg.ClientID,
		Success: kind == counterfoil.EventTokenObtained, Reason: reason, Detail: detail[:min(len(detail), 512)],
	})
}

// withTimeout is context.WithTimeout by clock c.
func withTimeout(parent context.Context, c counterfoil.Clock, d time.Duration) (context.Context, context.CancelFunc) {
	if c == clock.System {
		return context.WithTimeout(parent, d)
	}
	ctx, cancel := context.WithCancelCause(parent)
	go func() {
		if c.Sleep(ctx, d) == nil {
			cancel(context.DeadlineExceeded)
		}
	}()
	return ctx, func() { cancel(nil) }
}

// refusal is a failure that is remembered, so that what cannot succeed is not
// asked again at once.
type refusal struct {
	err         *counterfoil.Error
	until       time.Time
	pause       time.Duration
	credentials [32]byte
}

// remember keeps err for a time that doubles with each one in a row, or for as
// long as the provider asked.
func (s *Source) remember(err *counterfoil.Error, credentials [32]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.refused
	if r.credentials != credentials {
		*r = refusal{credentials: credentials}
	}
	wait := err.RetryAfter
	if !transient(err.Reason) {
		r.pause = min(max(2*r.pause, minPause), maxPause)
		wait = max(wait, r.pause)
	}
	r.err, r.until = err, s.cfg.Clock.Now().Add(wait)
}

// remembered returns the failure that still stands for these credentials.
func (s *Source) remembered(credentials [32]byte) *counterfoil.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.refused
	left := r.until.Sub(s.cfg.Clock.Now())
	if r.err == nil || left <= 0 || r.credentials != credentials {
		return nil
	}
	err := *r.err
	err.RetryAfter = left
	err.Message = fmt.Sprintf("%s (remembered; asked again in %s)", cmp.Or(err.Message, string(err.Reason)), left.Round(time.Millisecond))
	return &err
}

// forget ends what is remembered: a token was issued.
func (s *Source) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = refusal{}
}
