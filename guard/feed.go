package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// CutPolicy says what happens to a call whose token is right while nobody can
// tell whether it was revoked.
type CutPolicy string

// cutPolicies are the words: "refuse" answers as unavailable, "introspect" asks
// the issuer about each token, "accept" lets calls through as without a feed.
var cutPolicies = []CutPolicy{"refuse", "introspect", "accept"}

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
	// After is how long the issuer may say nothing until the feed counts as cut;
	// default 15 seconds. It speaks every 5. It is also the longest that a
	// revocation goes unnoticed without the policy Cut in its place.
	After time.Duration
	// Cut is that policy: "refuse" (default), "introspect" or "accept".
	Cut CutPolicy
	// Introspect is what the policy "introspect" asks. Required with it.
	Introspect *Introspection
	// MaxEntries is how many tokens and clients are remembered at most, each
	// until no token that it concerns is in force; default 1,000,000. One takes
	// about 200 bytes, twice that while the feed starts anew; names of more than
	// 256 bytes on average count as more entries. With more, the feed counts as
	// cut, and starts anew every minute until they fit.
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
	// noticed tells that a call found the feed cut, since it was not.
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
	// missing. Cut tells that calls get the policy Cut now, Full that this is
	// because there are more than MaxEntries.
	Connected, Cut, Full bool
	// LastWord is when the issuer last said that there is nothing more; zero
	// before.
	LastWord time.Time
	// Reconnects are the connections after the first.
	Reconnects uint64
}

// FollowRevocations follows an issuer's revocation feed from now on. Until it
// has caught up for the first time, which it does not wait for, it counts as
// cut. The caller closes it in the end.
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
	if cfg.Cut == "" {
		cfg.Cut = "refuse"
	}
	switch {
	case !slices.Contains(cutPolicies, cfg.Cut):
		return fmt.Errorf("FeedConfig.Cut must be one of %q", cutPolicies)
	case (cfg.Introspect != nil) != (cfg.Cut == "introspect"):
		return errors.New(`FeedConfig.Introspect and FeedConfig.Cut "introspect" go together: set both or neither`)
	case cfg.After < 0 || cfg.MaxEntries < 0:
		return errors.New("FeedConfig.After and FeedConfig.MaxEntries must not be negative")
	}
	if cfg.Introspect != nil {
		if err := cfg.Introspect.prepare(); err != nil {
			return err
		}
	}
	if cfg.After == 0 {
		cfg.After = 15 * time.Second
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

// Close leaves the feed and waits until nothing of it runs. Afterwards it counts
// as cut; what it knows to be revoked stays so.
func (f *Feed) Close() {
	f.stop()
	f.tasks.Wait()
	f.current.Store(nil)
}

// Stats returns how the feed is now.
func (f *Feed) Stats() FeedStats {
	known := f.revoked.Load()
	s := FeedStats{Entries: int(known.count.Load()), Full: f.full.Load(), Cut: f.cut(known, f.cfg.Clock.Now())}
	if at := f.current.Load(); at != nil {
		s.LastWord = *at
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

// cut reports whether what the feed knows may not be all there is.
func (f *Feed) cut(known *revoked, now time.Time) bool {
	at := f.current.Load()
	return at == nil || f.full.Load() || now.Sub(*at) >= f.cfg.After || known.incomplete(now)
}

// notice tells once that a call found the feed cut. When that is because the
// clock was set back, the feed starts anew at once.
func (f *Feed) notice(known *revoked, now time.Time) {
	if !f.noticed.Swap(true) {
		f.cfg.Logger.Error("revocation feed: cut", "url", f.cfg.URL, "policy", string(f.cfg.Cut), "full", f.full.Load())
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

// standing looks at a token whose client is p. What the feed knows to be
// revoked is, cut or not.
func (g *Guard) standing(ctx context.Context, p *counterfoil.Principal, raw string) *denial {
	f := g.feed
	known := f.revoked.Load()
	token, client := known.ended(p)
	switch {
	case client:
		return g.deny(counterfoil.TokenRevoked, "the client's tokens are revoked")
	case token:
		return g.ended()
	}
	now := f.cfg.Clock.Now()
	if !f.cut(known, now) {
		return nil
	}
	f.notice(known, now)
	switch f.cfg.Cut {
	case "accept":
		return nil
	case "introspect":
		return g.introspect(ctx, f.cfg.Introspect, raw)
	}
	return g.deny(counterfoil.Unavailable, "the revocation feed is cut")
}

// introspect asks the issuer whether the token is active.
func (g *Guard) introspect(ctx context.Context, i *Introspection, raw string) *denial {
	active, err := i.active(ctx, raw)
	switch {
	case err != nil:
		return g.unavailable(err)
	case active:
		return nil
	}
	return g.ended()
}
