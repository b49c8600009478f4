package guard

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/document"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// RemoteKeySetConfig says where an issuer publishes its keys.
type RemoteKeySetConfig struct {
	// URL is the issuer's JWK Set, the jwks_uri of its metadata (RFC 8414
	// section 2); https only. Required.
	URL string
	// Client fetches it. Its CheckRedirect is not used: a redirect is a
	// failure. Default: a client of its own that takes proxies from the
	// environment.
	Client *http.Client
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
	// Refresh is how long a set is used before it is fetched again in the
	// background; default 5 minutes. The max-age of the answer's Cache-Control
	// takes precedence, clamped to [Refresh/5, 3*Refresh]. It is also how
	// long a key that the issuer has withdrawn is still trusted.
	Refresh time.Duration
	// Retry is the minimum time between two fetches, whatever their reason;
	// default 10 seconds.
	Retry time.Duration
	// Stale is how long the last set is used if no newer one can be fetched;
	// default 1 hour. After that the keys are unavailable.
	Stale time.Duration
	// Timeout bounds one fetch; default 10 seconds.
	Timeout time.Duration
	// Logger gets failed fetches and keys that were left out; default
	// slog.Default.
	Logger *slog.Logger
}

// maxKeySet bounds a JWK Set, in bytes.
const maxKeySet = 512 << 10

// RemoteKeySet is the Keys of an issuer that publishes them at a URL. The first
// call fetches them; from then on they are refreshed in the background. A set
// without a key that can verify tokens counts as a failed fetch, and the last set
// stays in use. There is at most one fetch at a time and one in each Retry, even if
// unknown keys are looked up.
type RemoteKeySet struct {
	cfg   RemoteKeySetConfig
	ctx   context.Context // ended by Close; fetches depend on no caller
	stop  context.CancelFunc
	tasks sync.WaitGroup
	start sync.Once
	set   atomic.Pointer[fetched] // nil before the first

	leftOut jose.LeftOutLog

	mu        sync.Mutex
	flight    chan struct{} // closed when the fetch under way ends; nil without one
	attempted time.Time     // when the last fetch began
	failure   error         // of the last fetch
}

// fetched is a set of keys, with the times of its refresh and of its expiry.
type fetched struct {
	keys           *keySet
	refresh, until time.Time
}

var errClosed = errors.New("remote keys: closed")

// NewRemoteKeySet returns the keys at a URL. It does not fetch them yet:
// [RemoteKeySet.Wait] does, or the first call. The caller must close the set.
func NewRemoteKeySet(cfg RemoteKeySetConfig) (*RemoteKeySet, error) {
	if _, ok := httpsurl.Parse(cfg.URL); !ok {
		return nil, errors.New("remote key set: RemoteKeySetConfig.URL must be an https URL without credentials, " +
			"such as https://auth.example.com/.well-known/jwks.json")
	}
	for d, value := range map[*time.Duration]time.Duration{
		&cfg.Refresh: 5 * time.Minute, &cfg.Retry: 10 * time.Second, &cfg.Stale: time.Hour, &cfg.Timeout: 10 * time.Second,
	} {
		if *d < 0 {
			return nil, errors.New("remote keys: Refresh, Retry, Stale and Timeout must not be negative")
		}
		if *d == 0 {
			*d = value
		}
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	client := http.Client{}
	if cfg.Client != nil {
		client = *cfg.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	cfg.Client = &client
	r := &RemoteKeySet{cfg: cfg}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r, nil
}

// Close ends the background refresh and any fetch under way, and waits for them.
// Afterwards the keys are unavailable.
func (r *RemoteKeySet) Close() {
	r.mu.Lock()
	r.stop()
	r.mu.Unlock()
	r.tasks.Wait()
}

// PublicKey returns the key of that ID and algorithm, as [Keys] says. It waits only
// for the first set, and for one fetch if an ID is not in the set; further unknown
// IDs within a Retry are refused at once. If the last fetch failed, an ID that is
// not in the set is unavailable, not unknown.
func (r *RemoteKeySet) PublicKey(ctx context.Context, id, algorithm string) (crypto.PublicKey, error) {
	r.start.Do(r.refreshing)
	set := r.current()
	if key, ok := set.key(id, algorithm); ok {
		return key.suits(algorithm)
	}
	if wait := r.fetch(set == nil); wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, fmt.Errorf("remote keys: %w", ctx.Err())
		}
		set = r.current()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key, ok := set.key(id, algorithm)
	switch {
	case ok:
		return key.suits(algorithm)
	case r.ctx.Err() != nil:
		return nil, errClosed
	case r.failure != nil:
		return nil, r.failure
	case set == nil:
		return nil, errors.New("remote keys: the last set is too old")
	}
	return nil, ErrKeyUnknown
}

// Wait fetches the first set and waits for it, so that the first calls need not.
// After a failed fetch it waits for the next one. The error is that of ctx, with
// the reason why the last fetch failed, or says that the set is closed.
func (r *RemoteKeySet) Wait(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	r.start.Do(r.refreshing)
	for r.current() == nil && ctx.Err() == nil {
		if flight := r.fetch(true); flight != nil {
			select {
			case <-flight:
			case <-ctx.Done():
			}
			continue
		}
		r.mu.Lock()
		next := r.attempted.Add(r.cfg.Retry).Sub(r.cfg.Clock.Now())
		r.mu.Unlock()
		_ = r.cfg.Clock.Sleep(ctx, next)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ctx.Err() != nil:
		return errClosed
	case r.current() != nil:
		return nil
	case r.failure != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), r.failure)
	}
	return fmt.Errorf("remote keys: %w", ctx.Err())
}

// current returns the set in use; nil before the first fetch, or if the set is too
// old.
func (r *RemoteKeySet) current() *fetched {
	set := r.set.Load()
	if set == nil || r.ctx.Err() != nil || !r.cfg.Clock.Now().Before(set.until) {
		return nil
	}
	return set
}

// key returns the key of that ID and algorithm; a nil set has no keys.
func (f *fetched) key(id, algorithm string) (published, bool) {
	if f == nil {
		return published{}, false
	}
	return f.keys.key(id, algorithm)
}

// fetch starts a fetch unless one is under way, the last was less than Retry ago,
// or the set is closed. It returns a channel that is closed when the fetch ends
// that it started or, if join is true, the one under way; otherwise nil.
func (r *RemoteKeySet) fetch(join bool) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Clock.Now()
	switch {
	case r.flight != nil && join:
		return r.flight
	case r.flight != nil, r.ctx.Err() != nil, !r.attempted.IsZero() && now.Sub(r.attempted) < r.cfg.Retry:
		return nil
	}
	flight := make(chan struct{})
	r.flight, r.attempted = flight, now
	r.tasks.Go(func() {
		err := r.load()
		if err != nil && r.ctx.Err() == nil {
			r.cfg.Logger.Error("remote keys: fetch failed", "url", r.cfg.URL, "error", err, "last_set_serves", r.current() != nil)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.flight, r.failure = nil, err
		close(flight)
	})
	return flight
}

// refreshing starts the background refresh, with the first fetch.
func (r *RemoteKeySet) refreshing() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return
	}
	r.tasks.Go(func() {
		for {
			due := func() time.Duration {
				if set := r.set.Load(); set != nil {
					return set.refresh.Sub(r.cfg.Clock.Now())
				}
				return 0
			}
			if due() <= 0 {
				if flight := r.fetch(true); flight != nil {
					<-flight
				}
			}
			if r.cfg.Clock.Sleep(r.ctx, max(due(), r.cfg.Retry)) != nil {
				return
			}
		}
	})
}

// load fetches the set and replaces the old one.
func (r *RemoteKeySet) load() error {
	ctx, cancel := clock.WithTimeoutCause(r.ctx, r.cfg.Clock, r.cfg.Timeout, fmt.Errorf("no answer within %v", r.cfg.Timeout))
	defer cancel()
	now := r.cfg.Clock.Now()
	doc, err := r.get(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // whatever the client noticed first
	}
	if err != nil {
		return fmt.Errorf("remote keys: %w", err)
	}
	list, left, err := jose.ParseSet(doc.Body)
	if err == nil {
		r.leftOut.Warn(r.cfg.Logger, now, r.cfg.URL, len(list), left)
		err = unusable(list, left)
	}
	if err != nil {
		return fmt.Errorf("remote keys: %w", err)
	}
	var before *keySet
	if old := r.set.Load(); old != nil {
		before = old.keys
	}
	r.set.Store(&fetched{keys: keysOf(list, before), refresh: now.Add(r.lifetime(doc.Header)), until: now.Add(r.cfg.Stale)})
	return nil
}

// get fetches the set.
func (r *RemoteKeySet) get(ctx context.Context) (*document.Document, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.cfg.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.cfg.Client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return document.Read(resp, maxKeySet)
}

// lifetime returns the time from an answer to the next refresh.
func (r *RemoteKeySet) lifetime(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if seconds, err := strconv.ParseUint(value, 10, 31); err == nil && strings.EqualFold(name, "max-age") {
			return min(max(time.Duration(seconds)*time.Second, r.cfg.Refresh/5), 3*r.cfg.Refresh)
		}
	}
	return r.cfg.Refresh
}
