package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/audit"
)

const (
	// streamFor is how long a stream of events lasts: less than a server gives an
	// answer. A follower connects again and names the last event that it got, as an
	// EventSource does by itself.
	streamFor = 20 * time.Second
	// streamEvery is how often new events are looked for.
	streamEvery = 500 * time.Millisecond
	// maxStreams bounds the streams at a time.
	maxStreams = 32
)

// eventStream is the audit record as Server-Sent Events (WHATWG HTML section
// 9.2), one for each record, with its sequence number as ID.
type eventStream struct {
	handler *handler
	call    *call
	query   audit.Query
}

// follows reports whether the caller asks for a stream.
func (c *call) follows() bool {
	return c.Method == http.MethodGet && strings.Contains(c.Header.Get("Accept"), "text/event-stream")
}

// lastEvent is the event that a follower has seen, which it names when it
// connects again.
func (c *call) lastEvent(after int64) (int64, error) {
	id := c.Header.Get("Last-Event-ID")
	if id == "" {
		return after, nil
	}
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < 0 {
		return 0, problem(malformed, "Last-Event-ID must be the sequence number of an event")
	}
	return n, nil
}

// write sends events until the stream has lasted for its time or the follower
// leaves.
func (s *eventStream) write(w http.ResponseWriter) {
	h := s.handler
	defer h.streams.Add(-1)
	if h.streams.Add(1) > maxStreams {
		w.Header().Set("Retry-After", "20")
		h.refuse(w, s.call.Request, problem(tooMany, "%d follow the audit record already: try again later", maxStreams))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	ctx, cancel := clock.WithTimeout(s.call.Context(), h.local.Clock, streamFor)
	defer cancel()
	flush := http.NewResponseController(w)
	// Connect again soon; this also tells the follower that the stream has begun.
	if _, err := fmt.Fprint(w, "retry: 1000\n\n"); err != nil || flush.Flush() != nil {
		return
	}
	for {
		end, err := s.page(ctx, w)
		if err != nil || flush.Flush() != nil || end && h.local.Clock.Sleep(ctx, streamEvery) != nil || ctx.Err() != nil {
			return
		}
	}
}

// page sends the events that there are now, up to a limit; end says that these
// are all.
func (s *eventStream) page(ctx context.Context, w http.ResponseWriter) (end bool, err error) {
	page, err := s.call.admin.Events(ctx, s.query)
	if err != nil {
		return false, err
	}
	for i := range page.Events {
		text, err := json.Marshal(&page.Events[i])
		if err != nil {
			return false, err
		}
		if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", page.Events[i].Sequence, text); err != nil {
			return false, err
		}
	}
	s.query.After = page.Next
	return page.End, nil
}
