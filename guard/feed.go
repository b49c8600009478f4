package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// FeedConfig says where an issuer tells what it revokes.
type FeedConfig struct {
	// URL is the issuer's revocation feed, /revocations below the realm's base
	// URL; https only. Required.
	URL string
	// Client follows it and authenticates: the transport adds the guard's own
	// credentials or token. Its CheckRedirect and Timeout are not used: a
	// redirect is a failure, and the answer never ends. Required.
	Client *http.Client
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
	// Logger gets what interrupts the feed, as a warning once a minute at most;
	// default slog.Default.
	Logger *slog.Logger
	// StaleAfter is the maximum time without a heartbeat, which the issuer sends
	// every 5 seconds, after which the feed is stale; default 15 seconds. A
	// revocation goes unnoticed for at most that long, unless OnStale lets tokens
	// pass.
	StaleAfter time.Duration
	// OnStale decides about tokens while the feed is stale, beside what it knows to
	// be revoked. Default: calls are refused as unavailable. An [Introspector] asks
	// the issuer about each token, [Unchecked] accepts them.
	OnStale Liveness
	// MaxEntries is how many tokens and clients are remembered at most, each
	// until no token that it concerns is in force; default 1,000,000. One takes
	// about 200 bytes, twice that while the feed starts anew; names of more than
	// 256 bytes on average count as more entries. With more, the feed is
	// stale, and starts anew every minute until they fit.
	MaxEntries int
}

const (
	// maxFeedEvent bounds an event, in bytes.
	maxFeedEvent = 8 << 10
	// The wait between two connections: at first, at most, and after the feed
	// had more than MaxEntries.
	firstWait, longestWait, fullWait = 100 * time.Millisecond, 5 * time.Second, time.Minute
	// freeEnds is how many connections in a row may end within longestWait, and
	// the next one still comes after firstWait.
	freeEnds = 5
	// warnEvery is how often a feed that fails again and again is warned of.
	warnEvery = time.Minute
)

// Feed follows what an issuer revokes. One may serve several guards of the
// issuer. It is safe for concurrent use.
type Feed struct {
	cfg   FeedConfig
	ctx   context.Context // ended by Close
	stop  context.CancelFunc
	tasks sync.WaitGroup

	// revoked is what calls look at, current when the issuer last said that
	// there is nothing more; nil before that was so.
	revoked atomic.Pointer[revoked]
	current atomic.Pointer[time.Time]
	full    atomic.Bool
	// noticed tells that a call found the feed stale, since it was not.
	noticed atomic.Bool
	// warned is when the follower last logged a warning.
	warned time.Time

	mu sync.Mutex
	// feed and after are the position. next is what is filled after a reset, in
	// place of revoked until it is complete.
	feed       string
	after      int64
	next       *revoked
	connected  bool
	reconnects uint64
	// hangUp ends the connection that there is.
	hangUp context.CancelCauseFunc
}

// FeedStats is how a Feed is.
type FeedStats struct {
	// Entries is how many tokens and clients are remembered.
	Entries int
	// Position is the last that the feed was followed to; empty before the first.
	Position string
	// Connected tells that there is a connection, and nothing older than it is
	// missing. Stale tells that OnStale decides now, Full that this is because
	// there are more than MaxEntries.
	Connected, Stale, Full bool
	// LastHeartbeat is when the issuer last said that there is nothing more; zero
	// before.
	LastHeartbeat time.Time
	// Reconnects are the connections after the first.
	Reconnects uint64
}

// FollowRevocations follows an issuer's revocation feed from now on. Until it
// has caught up for the first time, which it does not wait for, it is stale. The
// caller closes it in the end.
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
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
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

// Close leaves the feed and waits until nothing of it runs. Afterwards it is
// stale; what it knows to be revoked stays so.
func (f *Feed) Close() {
	f.stop()
	f.tasks.Wait()
	f.current.Store(nil)
}

// Stats returns how the feed is now.
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

// position is where the feed is, as the id of an event; the caller holds the
// lock.
func (f *Feed) position() string {
	if f.feed == "" {
		return ""
	}
	return f.feed + "." + strconv.FormatInt(f.after, 10)
}

// stale reports whether what the feed knows may not be all there is.
func (f *Feed) stale(known *revoked, now time.Time) bool {
	at := f.current.Load()
	return at == nil || f.full.Load() || now.Sub(*at) >= f.cfg.StaleAfter || known.incomplete(now)
}

// notice tells once that a call found the feed stale. When that is because the
// clock was set back, the feed starts anew at once.
func (f *Feed) notice(known *revoked, now time.Time) {
	if !f.noticed.Swap(true) {
		f.cfg.Logger.Error("revocation feed: stale", "url", f.cfg.URL, "policy", f.policy(), "full", f.full.Load())
	}
	if known.incomplete(now) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.connected { // it is not any more when it starts anew
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

// warn logs what interrupts the feed: the first time as a warning, and for a
// minute only for those who look for more.
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
	errClientRevoked error = &counterfoil.Error{Reason: counterfoil.TokenRevoked, Message: "the client's tokens are revoked"}
	errFeedStale     error = &counterfoil.Error{Reason: counterfoil.Unavailable, Message: "the revocation feed is stale"}
)

// Live tells of a token what the feed knows, as [Liveness] says. What it knows to
// be revoked stays so, stale or not.
func (f *Feed) Live(ctx context.Context, p *counterfoil.Principal, token counterfoil.Secret) error {
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
	return f.cfg.OnStale.Live(ctx, p, token)
}
