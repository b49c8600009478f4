package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/store"
)

const (
	// readWithin is how long a follower may take to receive a chunk.
	readWithin = 10 * time.Second
	// maxChunk is roughly how much is sent at once, in bytes.
	maxChunk = 16 << 10
	// maxPosition bounds the position that a follower sends, in bytes.
	maxPosition = 200
)

// revocationEvent is a revocation as a follower receives it. Times are seconds
// since 1970. An event without TokenID, NotBefore and Disabled means that a
// disabled client was enabled again.
type revocationEvent struct {
	ClientID  string `json:"client_id"`
	TokenID   string `json:"token_id,omitempty"`
	NotBefore int64  `json:"not_before,omitempty"`
	Disabled  bool   `json:"disabled,omitempty"`
	Expires   int64  `json:"expires"`
}

func eventOf(r *store.Revocation) revocationEvent {
	e := revocationEvent{ClientID: r.ClientID, TokenID: r.TokenID, Disabled: r.Disabled, Expires: r.Expires.Unix()}
	if !r.NotBefore.IsZero() {
		// Rounded up: a guard that sees whole seconds must not treat a token as
		// newer than it is.
		e.NotBefore = r.NotBefore.Add(time.Second - 1).Unix()
	}
	return e
}

// position is a place in a feed: in text the feed's identifier, a dot and a
// sequence number.
type position struct {
	feed  string
	after int64
}

// parsePosition reads a position; the empty text is the beginning.
func parsePosition(s string) (position, bool) {
	if s == "" {
		return position{}, true
	}
	dot := strings.LastIndexByte(s, '.')
	if dot < 1 || len(s) > maxPosition {
		return position{}, false
	}
	n, err := strconv.ParseUint(s[dot+1:], 10, 63)
	return position{s[:dot], int64(n)}, err == nil && strconv.FormatUint(n, 10) == s[dot+1:]
}

// serveFeed is the revocation feed: as Server-Sent Events (WHATWG HTML section
// 9.2) until the follower disconnects, or one page of JSON for callers that
// poll.
func (rl *realm) serveFeed(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	a := rl.begin(r, revocationsPath)
	refuse := func(refusal *clientauth.Refusal) { rl.refuse(context.WithoutCancel(ctx), w, a, refusal) }
	// 1. Parse.
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", "GET")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	where, refusal := positionOf(r)
	if refusal != nil {
		refuse(refusal)
		return
	}
	// 2. Authenticate the caller: only resource servers may follow.
	by, refusal := rl.requester(context.WithoutCancel(ctx), a, r, nil, true)
	if refusal == nil && !by.Client.ResourceServer {
		refusal = clientauth.Refused(counterfoil.ReasonScopeInsufficient, "the client is not a resource server")
	}
	if refusal != nil {
		refuse(refusal)
		return
	}
	f := rl.feeds.get(rl.Name)
	if f == nil {
		http.NotFound(w, r)
		return
	}
	// 3. Answer one page, where JSON is requested.
	if acceptsJSON(r.Header) {
		if err := f.sendPage(ctx, w, where); err != nil {
			refuse(clientauth.StoreFailed("read revocations", err))
			return
		}
		rl.granted(ctx, a, counterfoil.EventFeedFollowed)
		return
	}
	// 4. Stream.
	if !f.join() {
		w.Header().Set("Retry-After", "5")
		refuse(clientauth.Refused(counterfoil.ReasonUnavailable, "too many followers"))
		return
	}
	defer f.leave()
	rl.granted(ctx, a, counterfoil.EventFeedFollowed)
	may := func(ctx context.Context) bool {
		c, still := rl.auth.Recheck(ctx, &by, rl.clock.Now())
		return still && c.ResourceServer
	}
	follower := &follower{source: f, may: may, position: where, w: w, control: http.NewResponseController(w)}
	if err := follower.run(ctx); err != nil && ctx.Err() == nil {
		rl.logger.WarnContext(ctx, "revocation feed interrupted", "realm", rl.Name, "client_id", by.Client.ID, "error", err)
	}
}

// positionOf returns the position of a follower: the header takes precedence,
// which a browser's EventSource sends when it reconnects to the same URL.
func positionOf(r *http.Request) (position, *clientauth.Refusal) {
	query, refusal := parseForm(r.URL.RawQuery)
	if refusal != nil {
		return position{}, refusal
	}
	text := query.Get("after")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		text = last
	}
	where, ok := parsePosition(text)
	if !ok {
		return where, clientauth.Refused(counterfoil.ReasonInvalidRequest, "the position is not one of a feed")
	}
	return where, nil
}

// acceptsJSON reports whether the first media type that a caller accepts is
// JSON.
func acceptsJSON(h http.Header) bool {
	first, _, _ := strings.Cut(h.Get("Accept"), ",")
	media, _, err := mime.ParseMediaType(first)
	return err == nil && media == "application/json"
}

// sendPage answers one page. When the position is not one of this feed, that
// is the first page, and the caller starts over.
func (f *feed) sendPage(ctx context.Context, w http.ResponseWriter, where position) error {
	at := f.clock.Now()
	page, err := f.store.Revocations(ctx, f.realm, where.after, feedPage)
	if err == nil && where.lost(&page) {
		page, err = f.store.Revocations(ctx, f.realm, 0, feedPage)
	}
	if err != nil {
		return err
	}
	answer := struct {
		Feed        string      `json:"feed"`
		Revocations []sequenced `json:"revocations"`
		Last        int64       `json:"last"`
		Time        int64       `json:"time"`
	}{page.Feed, make([]sequenced, len(page.Revocations)), page.Last, at.Unix()}
	for i := range page.Revocations {
		r := &page.Revocations[i]
		answer.Revocations[i] = sequenced{r.Sequence, eventOf(r)}
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(answer)
}

// sequenced is a revocation on a page, with the sequence number that the
// stream has in its ids.
type sequenced struct {
	Sequence int64 `json:"sequence"`
	revocationEvent
}

// lost reports whether a page does not continue the position: it is of another
// database, or of an older state of the same.
func (p position) lost(page *store.RevocationPage) bool {
	return p.feed != page.Feed && (p.feed != "" || p.after != 0) || page.Last < p.after
}

// follower is one connection of the feed.
type follower struct {
	source *feed
	// may reports whether the follower may stay connected.
	may func(context.Context) bool
	position
	w       http.ResponseWriter
	control *http.ResponseController
	buffer  bytes.Buffer
	// sentFeedID is the feed that the client was told last.
	sentFeedID string
}

// run sends the existing revocations and then new ones, until the follower
// disconnects, the realm is removed, the follower loses its permission, or an
// error occurs.
func (f *follower) run(ctx context.Context) error {
	h := f.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would buffer events
	// The HTTP server's limits are for requests that end.
	if err := errors.Join(f.control.SetReadDeadline(time.Time{}), f.control.SetWriteDeadline(time.Time{})); err != nil {
		return fmt.Errorf("lift the connection's deadlines: %w", err)
	}
	told := int64(-1)
	for {
		changed, beat := f.source.next()
		if beat != told && told >= 0 && !f.may(ctx) {
			return nil
		}
		at, err := f.catchUp(ctx)
		if err == nil && beat != told {
			f.write("position", f.id(), struct {
				Time int64 `json:"time"`
			}{at.Unix()})
			told = beat
		}
		if err == nil {
			err = f.send(0)
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-f.source.ended:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// catchUp writes everything that is new, and returns the time at which the
// follower was up to date.
func (f *follower) catchUp(ctx context.Context) (time.Time, error) {
	for {
		page, at, err := f.source.read(ctx, f.after)
		if err != nil {
			return at, fmt.Errorf("read revocations: %w", err)
		}
		if f.sentFeedID != page.Feed || page.Last < f.after {
			if again := f.sendFeedID(&page); again {
				continue
			}
		}
		for i := range page.Revocations {
			r := &page.Revocations[i]
			f.after = r.Sequence
			f.write("revocation", f.id(), eventOf(r))
			if err := f.send(maxChunk); err != nil {
				return at, err
			}
		}
		f.after = max(f.after, page.Last)
		if len(page.Revocations) < feedPage {
			return at, nil
		}
	}
}

// sendFeedID tells the client which feed this is, and to start over where its
// position is not one of this feed. It reports whether the page must be read
// again, from the new position.
func (f *follower) sendFeedID(page *store.RevocationPage) (again bool) {
	word := struct {
		Feed string `json:"feed"`
	}{page.Feed}
	f.write("feed", "", word)
	lost, was := f.lost(page), f.after
	if lost {
		f.write("reset", "", word)
		f.after = 0
	}
	f.sentFeedID, f.position.feed = page.Feed, page.Feed
	return lost && was != 0
}

// id returns the position as the id of an event.
func (f *follower) id() string { return f.position.feed + "." + strconv.FormatInt(f.after, 10) }

// write adds an event to the buffer.
func (f *follower) write(kind, id string, data any) {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // strings, numbers and truth values only
	}
	f.buffer.WriteString("event: " + kind + "\n")
	if id != "" {
		f.buffer.WriteString("id: " + id + "\n")
	}
	f.buffer.WriteString("data: ")
	f.buffer.Write(text)
	f.buffer.WriteString("\n\n")
}

// send sends the buffer when it holds more than that many bytes. A client that
// does not receive it in time is disconnected: nothing is kept for it.
func (f *follower) send(more int) error {
	if f.buffer.Len() <= more {
		return nil
	}
	// Network deadlines use the system clock.
	if err := f.control.SetWriteDeadline(time.Now().Add(readWithin)); err != nil {
		return err
	}
	_, err := f.w.Write(f.buffer.Bytes())
	if err == nil {
		err = f.control.Flush()
	}
	f.buffer.Reset()
	if err != nil {
		return err
	}
	// With HTTP/2 a deadline ends an idle stream too.
	return f.control.SetWriteDeadline(time.Time{})
}
