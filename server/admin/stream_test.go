package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/server/store"
)

// stream is a follower of the record.
type stream struct {
	t     *testing.T
	lines *bufio.Scanner
	close func() error
}

func (p *place) stream(t *testing.T, query, last string) *stream {
	t.Helper()
	ts := p.serve(t, allScopes)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ts.URL+"/v1/events"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := ts.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %d %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return &stream{t, bufio.NewScanner(resp.Body), resp.Body.Close}
}

// next returns the next event and its ID; false at the end of the stream.
func (s *stream) next() (e store.RecordedEvent, id string, ok bool) {
	s.t.Helper()
	for s.lines.Scan() {
		line := s.lines.Text()
		if text, found := strings.CutPrefix(line, "id: "); found {
			id = text
		}
		if text, found := strings.CutPrefix(line, "data: "); found {
			if err := json.Unmarshal([]byte(text), &e); err != nil {
				s.t.Fatal(err)
			}
			return e, id, true
		}
	}
	return e, id, false
}

// TestFollowEvents: a follower gets what is recorded, old and new, in order and
// filtered, and goes on where it was when it connects again.
func TestFollowEvents(t *testing.T) {
	p := newPlace(t)
	p.have(t, "acme", "first")
	s := p.stream(t, "?realm=acme&type=client&limit=1", "")
	e, id, ok := s.next()
	if !ok || e.ClientID != "first" || id != "2" {
		t.Fatalf("got %+v, %s, %v", e, id, ok)
	}
	if err := p.clock.Sleepers(t.Context(), 2); err != nil { // it waits for more, and for its end
		t.Fatal(err)
	}
	p.have(t, "acme", "second")
	p.have(t, "acme", "third")
	p.clock.Turn(time.Second)
	for _, want := range []string{"second", "third"} {
		if e, id, ok = s.next(); !ok || e.ClientID != want {
			t.Fatalf("got %+v, %s, %v; want %s", e, id, ok, want)
		}
	}
	// It ends by itself, so that no token lasts longer by it.
	if err := p.clock.Sleepers(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	p.clock.Turn(time.Minute)
	if e, _, ok := s.next(); ok {
		t.Fatalf("got %+v after its end", e)
	}
	p.have(t, "acme", "fourth")
	again := p.stream(t, "?realm=acme&type=client", id)
	if e, _, ok := again.next(); !ok || e.ClientID != "fourth" {
		t.Errorf("got %+v, %v", e, ok)
	}
	if err := again.close(); err != nil {
		t.Fatal(err)
	}
}

// TestStreamsAreBounded: who opens many is refused, and gets one when others have
// left.
func TestStreamsAreBounded(t *testing.T) {
	p := newPlace(t)
	p.have(t, "acme", "first")
	ts := p.serve(t, allScopes)
	get := func(last string) (*http.Response, func()) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		t.Cleanup(cancel)
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, ts.URL+"/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		req.Header.Set("Last-Event-ID", last)
		resp, err := ts.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		return resp, cancel
	}
	for _, wrong := range []string{"x", "-1"} {
		if resp, _ := get(wrong); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("Last-Event-ID %s got %d", wrong, resp.StatusCode)
		}
	}
	leave := follow(t, ts, 32)
	resp, _ := get("0")
	if text, err := io.ReadAll(resp.Body); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" || err != nil {
		t.Errorf("one too many got %d %s, %v", resp.StatusCode, text, err)
	}
	leave()
	for {
		resp, cancel := get("0")
		if resp.StatusCode == http.StatusOK {
			break
		}
		cancel()
		if t.Context().Err() != nil {
			t.Fatal("none when one has left")
		}
	}
}

// follow opens streams of events, until the returned function is called.
func follow(t *testing.T, ts *httptest.Server, streams int) (leave func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	for n := range streams {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, ts.URL+"/v1/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/event-stream")
		resp, err := ts.Client().Do(req)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("stream %d: %+v, %v", n, resp, err)
		}
	}
	t.Cleanup(cancel)
	return cancel
}
