package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
)

// FeedConfig says where an issuer publishes its revocations.
type FeedConfig struct {
	// URL is the issuer's revocation feed, the revocation_feed_endpoint of its
	// metadata: /revocations below the realm's base URL. https only. Required.
	URL string
	// Client sends the request and authenticates it: its Transport adds the
	// credentials or the token of a client that the issuer has for this guard. It
	// must be a resource server (counterfoil client create REALM
	// --resource-server); the issuer answers any other one with 403. The example of
	// FollowRevocations has such a Client. Its CheckRedirect and Timeout are not
	// used: a redirect is a failure, and the answer never ends. Required.
	Client *http.Client
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
	// Logger gets an error when the feed becomes stale and a line when it has
	// caught up again, and interruptions, as a warning once a minute at most;
	// default slog.Default.
	Logger *slog.Logger
	// StaleAfter is the maximum time without a heartbeat, which the issuer sends
	// every 5 seconds; after it the feed is stale. Default 15 seconds. A
	// revocation goes unnoticed for at most that long, unless OnStale accepts
	// tokens.
	StaleAfter time.Duration
	// OnStale decides about tokens while the feed is stale, except about those that
	// are known to be revoked. Default: calls are refused as unavailable. An
	// [Introspector] asks the issuer about each token, [Unchecked] accepts them.
	OnStale Liveness
	// MaxEntries is how many revoked tokens and clients are remembered at most,
	// each until no token that it concerns is in force; default 1,000,000. One
	// takes about 200 bytes, twice that while the feed restarts; names of more
	// than 256 bytes on average count as more entries. With more entries, the feed
	// is stale, and restarts every minute until they fit.
	MaxEntries int
}

const (
	// maxFeedEvent bounds an event, in bytes.
	maxFeedEvent = 8 << 10
	// The wait between two connections: at first, at most, and after the feed
	// had more than MaxEntries.
	firstWait, longestWait, fullWait = 100 * time.Millisecond, 5 * time.Second, time.Minute
	// freeEnds is how many connections in a row may end within longestWait before
	// the wait for the next one grows.
	freeEnds = 5
	// warnEvery is the time between two warnings about a feed that keeps failing.
	warnEvery = time.Minute
)

// Feed follows the revocations of an issuer. Several guards of the issuer may share
// one Feed. It is safe for concurrent use.
type Feed struct {
	cfg   FeedConfig
	ctx   context.Context // ended by Close
	stop  context.CancelFunc
	tasks sync.WaitGroup

	// revoked is what calls consult. current is the time of the last heartbeat;
	// nil before the first.
	revoked atomic.Pointer[revoked]
	current atomic.Pointer[time.Time]
	full    atomic.Bool
	// noticed is true if the feed was found stale since it last caught up.
	noticed atomic.Bool
	// warned is when the follower last logged a warning.
	warned time.Time

	mu sync.Mutex
	// feed and after are the position. next is filled after a reset; once
	// complete, it replaces revoked.
	feed       string
	after      int64
	next       *revoked
	connected  bool
	reconnects uint64
	// failure is why the last connection ended. awaited is closed when the feed
	// catches up; nil if nobody waits.
	failure error
	awaited chan struct{}
	// hangUp ends the current connection.
	hangUp context.CancelCauseFunc
}

// FeedStats is the state of a Feed.
type FeedStats struct {
	// Entries is how many revoked tokens and clients are remembered.
	Entries int
	// Position is the position of the last event; empty before the first.
	Position string
	// Connected reports whether the feed has a connection that has caught up.
	// Stale reports whether OnStale decides now, and Full whether that is because
	// there are more than MaxEntries.
	Connected, Stale, Full bool
	// LastHeartbeat is when the issuer last said that there is nothing more; zero
	// before the first time.
	LastHeartbeat time.Time
	// Reconnects counts the attempts to connect after the first, whether they
	// succeed or not.
	Reconnects uint64
}

// FollowRevocations starts to follow an issuer's revocation feed. It returns
// before the feed has caught up for the first time; until then the feed is stale,
// see [Feed.Wait]. The caller must close the feed.
func FollowRevocations(cfg FeedConfig) (*Feed, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("follow revocations: %w", err)
	}
	f := &Feed{cfg: cfg}
	f.revoked.Store(newRevoked(cfg.MaxEntries))
	f.ctx, f.stop = context.WithCancel(context.Background())
	f.tasks.Go(f.follow)
	return f, nil
}

func (cfg *FeedConfig) complete() error {
	if _, ok := httpsurl.Parse(cfg.URL); !ok {
		return errors.New("FeedConfig.URL must be an https URL without credentials, such as https://auth.example.com/revocations")
	}
	if cfg.Client == nil {
		return errors.New("FeedConfig.Client is missing: give one that authenticates the guard at the issuer")
	}
	if cfg.StaleAfter < 0 || cfg.MaxEntries < 0 {
		return errors.New("FeedConfig.StaleAfter and FeedConfig.MaxEntries must not be negative")
	}
	if cfg.StaleAfter == 0 {
		cfg.StaleAfter = 15 * time.Second
	}
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = 1_000_000
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Client = withoutRedirects(cfg.Client)
	cfg.Client.Timeout = 0
	return nil
}

// Close ends the connection and waits for all goroutines of the feed. Afterwards
// the feed is stale; tokens that are known to be revoked stay revoked.
func (f *Feed) Close() {
	f.stop()
	f.tasks.Wait()
	f.current.Store(nil)
}

// Wait waits until the feed is not stale. Call it before the API's listener opens,
// so that the first calls are not refused as unavailable. The error is that of
// ctx, with the reason why the last connection ended, or says that the feed is
// closed.
func (f *Feed) Wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		if f.awaited == nil {
			f.awaited = make(chan struct{})
		}
		awaited, failure := f.awaited, f.failure
		f.mu.Unlock()
		switch {
		case f.ctx.Err() != nil:
			return errors.New("revocation feed: closed")
		case !f.stale(f.revoked.Load(), f.cfg.Clock.Now()):
			return nil
		case ctx.Err() != nil && failure != nil:
			return fmt.Errorf("revocation feed: %w: %w", ctx.Err(), failure)
		case ctx.Err() != nil:
			return fmt.Errorf("revocation feed: %w", ctx.Err())
		}
		select {
		case <-awaited:
		case <-ctx.Done():
		case <-f.ctx.Done():
		}
	}
}

// Stats returns the current state of the feed.
func (f *Feed) Stats() FeedStats {
	known := f.revoked.Load()
	s := FeedStats{Entries: int(known.count.Load()), Full: f.full.Load(), Stale: f.stale(known, f.cfg.Clock.Now())}
	if at := f.current.Load(); at != nil {
		s.LastHeartbeat = *at
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Position, s.Connected, s.Reconnects = f.position(), f.connected, f.reconnects
	return s
}

// position returns the position of the feed, as the ID of an event; the caller
// holds the lock.
func (f *Feed) position() string {
	if f.feed == "" {
		return ""
	}
	return f.feed + "." + strconv.FormatInt(f.after, 10)
}

// stale reports whether revocations may be missing.
func (f *Feed) stale(known *revoked, now time.Time) bool {
	at := f.current.Load()
	return at == nil || f.full.Load() || now.Sub(*at) >= f.cfg.StaleAfter || known.incomplete(now)
}

// alarm notices that a feed has become stale that had caught up.
func (f *Feed) alarm() {
	known, now := f.revoked.Load(), f.cfg.Clock.Now()
	if f.current.Load() != nil && f.stale(known, now) {
		f.notice(known, now)
	}
}

// notice logs once that the feed was found stale. If the reason is that the
// clock was set back, the feed restarts at once.
func (f *Feed) notice(known *revoked, now time.Time) {
	if !f.noticed.Swap(true) {
		f.cfg.Logger.Error("revocation feed: stale", "url", f.cfg.URL, "policy", f.policy(), "full", f.full.Load())
	}
	if known.incomplete(now) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.connected { // false once the feed restarts
			f.connected = false
			f.hangUp(errFeedSetBack)
		}
	}
}

// policy names what happens to tokens while the feed is stale, for the log.
func (f *Feed) policy() string {
	switch f.cfg.OnStale.(type) {
	case nil:
		return "refuse"
	case Unchecked:
		return "accept"
	}
	return "introspect"
}

// warn logs an interruption of the feed: as a warning once a minute, otherwise at
// the level debug.
func (f *Feed) warn(message string, args ...any) {
	level, now := slog.LevelWarn, f.cfg.Clock.Now()
	if f.warned.IsZero() || now.Sub(f.warned) >= warnEvery {
		f.warned = now
	} else {
		level = slog.LevelDebug
	}
	f.cfg.Logger.Log(f.ctx, level, message, append([]any{"url", f.cfg.URL}, args...)...)
}

var (
	errClientRevoked error = &counterfoil.Error{Reason: counterfoil.ReasonTokenRevoked, Message: "the client's tokens are revoked"}
	errFeedStale     error = &counterfoil.Error{Reason: counterfoil.ReasonUnavailable, Message: "the revocation feed is stale"}
)

// Live reports what the feed knows about a token, as [Liveness] says. A token that
// is known to be revoked is refused even while the feed is stale.
func (f *Feed) Live(ctx context.Context, p *counterfoil.Principal, token counterfoil.Secret) error {
	return f.live(p, func(other Liveness) error { return other.Live(ctx, p, token) })
}

// LiveFrom is Live. The feed knows no addresses, but OnStale may.
func (f *Feed) LiveFrom(ctx context.Context, p *counterfoil.Principal, token counterfoil.Secret, from netip.Addr) error {
	return f.live(p, func(other Liveness) error { return liveFrom(ctx, other, p, token, from) })
}

func (f *Feed) live(p *counterfoil.Principal, otherwise func(Liveness) error) error {
	known := f.revoked.Load()
	ended, client := known.ended(p)
	switch {
	case client:
		return errClientRevoked
	case ended:
		return errNotActive
	}
	now := f.cfg.Clock.Now()
	if !f.stale(known, now) {
		return nil
	}
	f.notice(known, now)
	if f.cfg.OnStale == nil {
		return errFeedStale
	}
	return otherwise(f.cfg.OnStale)
}
