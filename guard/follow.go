package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/guard/internal/eventstream"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// Why a connection to a feed ends, apart from failures of the network.
var (
	errFeedSilent  = errors.New("the feed is silent")
	errFeedFull    = errors.New("more revocations than FeedConfig.MaxEntries")
	errFeedEnded   = errors.New("the server ended the connection")
	errFeedInvalid = errors.New("the feed sent an event that is invalid at this position")
	errFeedSetBack = errors.New("the clock was set back: expired tokens may be in force again")
)

// follow connects, again and again, until the feed is closed.
func (f *Feed) follow() {
	early := 0 // connections in a row that had caught up and soon ended
	for failures := 0; ; failures++ {
		began := f.cfg.Clock.Now()
		caughtUp, err := f.connect()
		if f.ctx.Err() != nil {
			return
		}
		f.alarm()
		if caughtUp {
			if early++; f.cfg.Clock.Now().Sub(began) >= longestWait {
				early = 0
			}
			failures = max(0, early-freeEnds)
		}
		wait := min(firstWait<<min(failures, 10), longestWait, max(f.cfg.StaleAfter/3, 1))
		// Guards that lost the same server must not reconnect all at once.
		wait = wait/2 + rand.N(wait/2+1)
		if errors.Is(err, errFeedFull) {
			wait = fullWait
		}
		f.warn("revocation feed: interrupted", "error", err, "again_in", wait)
		if f.cfg.Clock.Sleep(f.ctx, wait) != nil {
			return
		}
		f.alarm()
		f.mu.Lock()
		f.reconnects++
		f.mu.Unlock()
	}
}

// connection is one connection to a feed.
type connection struct {
	*Feed
	// greeted is true once the server has named the feed, lost if that is another
	// feed than the one followed before, so that a reset must follow, and renewed
	// between that reset and the time when the feed is complete.
	greeted, lost, renewed, caughtUp bool
}

// connect follows the feed until the connection ends, and reports whether it had
// caught up.
func (f *Feed) connect() (caughtUp bool, err error) {
	ctx, cancel := context.WithCancelCause(f.ctx)
	defer cancel(nil)
	var heard atomic.Pointer[time.Time]
	now := f.cfg.Clock.Now()
	heard.Store(&now)
	f.tasks.Go(func() { f.watch(ctx, &heard, cancel) })
	f.begin(now, cancel)
	c := &connection{Feed: f}
	err = c.read(ctx, &heard)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	f.mu.Lock()
	f.connected, f.failure = false, err
	f.mu.Unlock()
	return c.caughtUp, err
}

// begin prepares for a connection. If revocations may be missing, the feed starts
// at its beginning.
func (f *Feed) begin(now time.Time, hangUp context.CancelCauseFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hangUp = hangUp
	if f.filled().incomplete(now) {
		f.feed, f.after, f.next = "", 0, newRevoked(f.cfg.MaxEntries)
	}
}

// filled returns the set that new revocations go into; the caller holds the lock.
func (f *Feed) filled() *revoked {
	if f.next != nil {
		return f.next
	}
	return f.revoked.Load()
}

// watch ends a connection that has been silent for too long, and notices when the
// feed becomes stale meanwhile.
func (f *Feed) watch(ctx context.Context, heard *atomic.Pointer[time.Time], cancel context.CancelCauseFunc) {
	for {
		left := f.cfg.StaleAfter - f.cfg.Clock.Now().Sub(*heard.Load())
		if left <= 0 {
			cancel(errFeedSilent)
			return
		}
		f.alarm()
		if at := f.current.Load(); at != nil {
			if fresh := f.cfg.StaleAfter - f.cfg.Clock.Now().Sub(*at); fresh > 0 {
				left = min(left, fresh)
			}
		}
		if f.cfg.Clock.Sleep(ctx, left) != nil {
			return
		}
	}
}

// read requests the feed and handles its events.
func (c *connection) read(ctx context.Context, heard *atomic.Pointer[time.Time]) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	c.mu.Lock()
	if at := c.position(); at != "" {
		req.Header.Set("Last-Event-ID", at)
	}
	c.mu.Unlock()
	resp, err := c.cfg.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		return errors.New("the answer is 401: check the credentials that FeedConfig.Client adds")
	case resp.StatusCode == http.StatusForbidden:
		return errors.New("the answer is 403: the client of FeedConfig.Client is not a resource server: " +
			"make it one with counterfoil client change REALM CLIENT --resource-server")
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the answer is %d, not 200", resp.StatusCode)
	case media != "text/event-stream":
		return errors.New("the answer is not text/event-stream: check FeedConfig.URL")
	}
	events := eventstream.NewReader(resp.Body, maxFeedEvent)
	for {
		e, err := events.Next()
		if err != nil {
			return errors.Join(errFeedEnded, err)
		}
		now := c.cfg.Clock.Now()
		heard.Store(&now)
		if err := c.take(e, now); err != nil {
			return err
		}
	}
}

// take handles an event. It ignores unknown types, which are for later versions.
// It takes the lock of the feed.
func (c *connection) take(e eventstream.Event, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.filled().incomplete(now) {
		return errFeedSetBack
	}
	switch e.Type {
	case "feed", "reset":
		return c.greet(e)
	case "revocation":
		return c.revoke(e, now)
	case "position":
		return c.catchUp(e, now)
	}
	return nil
}

// greet handles an event that names the feed. A reset starts a new set of
// revocations; until it is complete, the old one stays in use.
func (c *connection) greet(e eventstream.Event) error {
	var said struct {
		Feed string `json:"feed"`
	}
	if !decode(e.Data, &said) || !isWord(said.Feed) {
		return errFeedInvalid
	}
	if e.Type == "reset" {
		if !c.greeted || c.renewed {
			return errFeedInvalid
		}
		c.warn("revocation feed: restarting")
		c.feed, c.after, c.next, c.lost, c.renewed = said.Feed, 0, newRevoked(c.cfg.MaxEntries), false, true
		return nil
	}
	c.greeted, c.lost = true, c.feed != "" && c.feed != said.Feed
	if c.feed == "" {
		c.feed = said.Feed
	}
	return nil
}

// decode reads JSON. It must be UTF-8: a name that is not UTF-8 would be read as
// another name.
func decode(data []byte, into any) bool {
	data, err := files.Text(data)
	return err == nil && utf8.Valid(data) && json.Unmarshal(data, into) == nil
}

// isWord reports whether the name of a feed can be put into a header.
func isWord(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7e })
}

// sequence reads the position of an event.
func (c *connection) sequence(id string) (int64, error) {
	number, ok := strings.CutPrefix(id, c.feed+".")
	if !c.greeted || c.lost || !ok {
		return 0, errFeedInvalid
	}
	n, err := strconv.ParseUint(number, 10, 63)
	if err != nil {
		return 0, errFeedInvalid
	}
	return int64(n), nil
}

// revoke stores a revocation.
func (c *connection) revoke(e eventstream.Event, now time.Time) error {
	var said struct {
		ClientID  string `json:"client_id"`
		TokenID   string `json:"token_id"`
		NotBefore int64  `json:"not_before"`
		Disabled  bool   `json:"disabled"`
		Expires   int64  `json:"expires"`
	}
	if !decode(e.Data, &said) || said.ClientID == "" || said.Expires <= 0 || said.Expires > jose.MaxNumericDate || said.NotBefore < 0 {
		return errFeedInvalid
	}
	n, err := c.sequence(e.ID)
	if err != nil {
		return err
	}
	if n <= c.after {
		return errFeedInvalid
	}
	into := c.filled()
	switch {
	case said.Expires <= now.Unix():
		into.leaveOut(said.Expires)
	case !into.set(subject{said.ClientID, said.TokenID}, standing{said.NotBefore, said.Expires, said.Disabled}):
		// No position says which revocations are missing now: the feed restarts.
		c.full.Store(true)
		c.feed, c.after, c.next = "", 0, newRevoked(c.cfg.MaxEntries)
		return errFeedFull
	}
	c.after = n
	return nil
}

// catchUp handles a heartbeat: the issuer has sent all revocations up to now.
func (c *connection) catchUp(e eventstream.Event, now time.Time) error {
	n, err := c.sequence(e.ID)
	if err != nil {
		return err
	}
	if n < c.after {
		return errFeedInvalid
	}
	c.after = n
	if c.next != nil {
		c.revoked.Store(c.next)
		c.next = nil
		c.full.Store(false)
	}
	c.revoked.Load().forget(now)
	c.connected, c.caughtUp, c.renewed = true, true, false
	c.current.Store(&now)
	if c.awaited != nil {
		close(c.awaited)
		c.awaited = nil
	}
	if c.noticed.Swap(false) {
		c.cfg.Logger.Info("revocation feed: caught up", "url", c.cfg.URL)
	}
	return nil
}
