package server_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestFollowersAreBounded: one too many is told to come back, and can when
// another leaves.
func TestFollowersAreBounded(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	api := h.as("oauth2", h.resourceServer("oauth2"))
	streams := make([]*stream, 100)
	for i := range streams {
		streams[i] = h.follow("oauth2", api, "")
		streams[i].begin()
	}
	try := func() *http.Response {
		resp, err := h.http.Do(h.feedRequest(t.Context(), "oauth2", api, ""))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	if resp := try(); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many got %d, %v", resp.StatusCode, resp.Header)
	}
	// All hear of a revocation.
	h.revoke("oauth2", h.token("oauth2"), h.as("oauth2", h.creds["oauth2"]))
	for _, s := range streams {
		s.next("position")
		s.next("revocation")
	}
	streams[0].leave()
	streams[0].next("end")
	for resp := try(); resp.StatusCode != http.StatusOK; resp = try() {
		if t.Context().Err() != nil {
			t.Fatal("no follower can take the place of one that has left")
		}
	}
	// What another process revokes, the others still hear of.
	if err := h.clients.SetDisabled(t.Context(), "test", "oauth2", "good", true); err != nil {
		t.Fatal(err)
	}
	streams[1].turned("revocation", 25*time.Millisecond)
}

// TestFeedEnds with the server, and with the realm.
func TestFeedEnds(t *testing.T) {
	for name, end := range map[string]func(h *house) error{
		"server": func(h *house) error { return h.server.Close() },
		"realm":  func(h *house) error { return h.server.Reload(h.t.Context(), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, nil, "oauth2")
			api := h.as("oauth2", h.resourceServer("oauth2"))
			s := h.follow("oauth2", api, "")
			s.begin()
			s.next("position")
			if err := end(h); err != nil {
				t.Fatal(err)
			}
			s.next("end")
			resp, err := h.http.Do(h.feedRequest(t.Context(), "oauth2", api, ""))
			if err != nil {
				t.Fatal(err)
			}
			if resp.Body.Close(); resp.StatusCode != http.StatusNotFound {
				t.Errorf("after the end the feed answers %d", resp.StatusCode)
			}
			if log := h.log.String(); strings.Contains(log, "feed interrupted") {
				t.Errorf("an end that was wanted is logged: %s", log)
			}
		})
	}
}

// A server that limits how long an answer may take does not end the feed.
func TestFeedOutlivesWriteTimeout(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	api := h.as("oauth2", h.resourceServer("oauth2"))
	ts := httptest.NewUnstartedServer(http.StripPrefix("/oauth2", h.server.Handler("oauth2")))
	ts.Config.WriteTimeout = 1 // nanosecond: over before the handler starts
	ts.Start()
	defer ts.Close()
	secure := h.url
	h.url = ts.URL
	s := h.follow("oauth2", api, "")
	defer s.leave()
	s.begin()
	s.next("position")
	h.url = secure
	h.revoke("oauth2", h.token("oauth2"), h.as("oauth2", h.creds["oauth2"]))
	s.next("revocation")
}

// stuck is a connection whose other end does not read: writes fail once their
// deadline has passed, which is at once.
type stuck struct {
	httptest.ResponseRecorder
	mu        sync.Mutex
	deadlines []time.Time
	writes    int
}

func (w *stuck) SetReadDeadline(time.Time) error { return nil }

func (w *stuck) SetWriteDeadline(at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadlines = append(w.deadlines, at)
	return nil
}

func (w *stuck) Write([]byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	return 0, errors.New("deadline exceeded")
}

// TestFollowerThatDoesNotRead is dropped at the first write that takes more than
// ten seconds.
func TestFollowerThatDoesNotRead(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/revocations", nil)
	r.Header = h.as("oauth2", h.resourceServer("oauth2"))
	w := &stuck{ResponseRecorder: *httptest.NewRecorder()}
	before := time.Now()
	h.server.Handler("oauth2").ServeHTTP(w, r)
	if w.writes != 1 || len(w.deadlines) != 2 || !w.deadlines[0].IsZero() {
		t.Fatalf("%d writes with the deadlines %v", w.writes, w.deadlines)
	}
	if d := w.deadlines[1].Sub(before); d < 10*time.Second || d > 10*time.Second+time.Since(before) {
		t.Errorf("a write may take %v", d)
	}
}

// failing is a store whose feed cannot be read once it is broken.
type failing struct {
	store.Store
	mu     sync.Mutex
	broken bool
}

func (s *failing) Revocations(ctx context.Context, realm string, after int64, limit int) (store.RevocationPage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return store.RevocationPage{}, errors.New("disk on fire")
	}
	return s.Store.Revocations(ctx, realm, after, limit)
}

// A feed that cannot be read never says that it is current: it ends.
func TestFeedWithoutStore(t *testing.T) {
	db := &failing{}
	h := newHouseOf(t, func(s store.Store) store.Store { db.Store = s; return db }, "oauth2")
	api := h.as("oauth2", h.resourceServer("oauth2"))
	s := h.follow("oauth2", api, "")
	s.begin()
	s.next("position")
	db.mu.Lock()
	db.broken = true
	db.mu.Unlock()
	s.turned("end", 5*time.Second)
	if log := h.log.String(); !strings.Contains(log, "revocation feed interrupted") {
		t.Errorf("the log says %s", log)
	}
	header := api.Clone()
	header.Set("Accept", "application/json")
	resp, err := h.http.Do(h.feedRequest(t.Context(), "oauth2", header, ""))
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(h.log.String(), "disk on fire") {
		t.Errorf("a page is answered %d", resp.StatusCode)
	}
}

// reads is a store that counts how often its feed is read, and from where.
type reads struct {
	store.Store
	mu     sync.Mutex
	afters []int64
}

func (s *reads) Revocations(ctx context.Context, realm string, after int64, limit int) (store.RevocationPage, error) {
	s.mu.Lock()
	s.afters = append(s.afters, after)
	s.mu.Unlock()
	return s.Store.Revocations(ctx, realm, after, limit)
}

// since returns the reads beyond the first n.
func (s *reads) since(n int) []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.afters[n:])
}

// TestFeedIsReadOnceForAll: however many follow, a revocation is read once for
// all of them, a feed with nothing new by the one that looks for it, and one
// that an unauthenticated caller follows nothing.
func TestFeedIsReadOnceForAll(t *testing.T) {
	db := &reads{}
	h := newHouseOf(t, func(s store.Store) store.Store { db.Store = s; return db }, "oauth2")
	api, token := h.as("oauth2", h.resourceServer("oauth2")), h.token("oauth2")
	looks := func() (n int) {
		for _, d := range h.clock.Slept() {
			if d == 25*time.Millisecond {
				n++
			}
		}
		return n
	}
	look := func(n int) {
		t.Helper()
		for range n {
			before := looks()
			for h.clock.Turn(25 * time.Millisecond); looks() == before; {
				if t.Context().Err() != nil {
					t.Fatal("the feed is not polled")
				}
				runtime.Gosched()
			}
		}
	}
	const many, idle = 20, 20
	streams := make([]*stream, many)
	for i := range streams {
		streams[i] = h.follow("oauth2", api, "")
		streams[i].begin()
		streams[i].next("position")
	}
	for looks() == 0 {
		runtime.Gosched()
	}
	// settle lets a beat go by: who tells it has seen all that was before.
	settle := func() {
		t.Helper()
		before := looks()
		h.clock.Turn(5 * time.Second)
		for _, s := range streams {
			s.next("position")
		}
		for looks() == before {
			runtime.Gosched()
		}
	}
	settle()
	before := len(db.since(0))
	h.revoke("oauth2", token, h.as("oauth2", h.creds["oauth2"]))
	for _, s := range streams {
		s.next("revocation")
	}
	if n := len(db.since(before)); n != 1 {
		t.Errorf("one revocation was read %d times for %d followers", n, many)
	}
	settle() // who looks for what is new finds the revocation too, and wakes all once more
	before = len(db.since(0))
	look(idle)
	again := db.since(before)
	if n := len(again); n != idle {
		t.Errorf("a feed that was looked at %d times was read %d times", idle, n)
	}
	if again[len(again)-1] == 0 {
		t.Error("the feed is read from its beginning again and again")
	}
	for _, s := range streams {
		s.leave()
	}
	// The poller slept a moment ago, and must be gone now.
	now, past := context.WithCancel(t.Context())
	past()
	eventually.True(t, "a feed without followers is not polled", func() bool { return h.clock.Sleepers(now, background+1) != nil })
}

// TestFollowerWhoseSecretEnded: a follower that authenticated with a secret
// follows for as long as that secret serves and its client is the same.
func TestFollowerWhoseSecretEnded(t *testing.T) {
	for name, end := range map[string]func(h *house) error{
		"rotated": func(h *house) error {
			c, err := h.clients.RotateSecret(h.t.Context(), "test", "oauth2", "api", clients.Rotation{})
			h.keep(c.ClientSecret.Reveal())
			return err
		},
		"deleted and made again": func(h *house) error {
			err := h.clients.Delete(h.t.Context(), "test", "oauth2", "api")
			h.clock.Turn(time.Second)
			h.resourceServer("oauth2")
			return err
		},
		"limited to other addresses": limitElsewhere,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouseOf(t, nil, "oauth2")
			s := h.follow("oauth2", h.as("oauth2", h.resourceServer("oauth2")), "")
			s.begin()
			s.next("position")
			if err := end(h); err != nil {
				t.Fatal(err)
			}
			wantEnd(t, h, s)
		})
	}
}

// TestFollowerWithATokenFromElsewhere: so it is with a token, when its client is
// limited to other addresses.
func TestFollowerWithATokenFromElsewhere(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	token := h.tokenOf("oauth2", h.resourceServer("oauth2"))
	s := h.follow("oauth2", http.Header{"Authorization": {"Bearer " + token}}, "")
	s.begin()
	s.next("position")
	if err := limitElsewhere(h); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, h, s)
}

// limitElsewhere limits the resource server to addresses that nobody has.
func limitElsewhere(h *house) error {
	_, err := h.clients.Change(h.t.Context(), "test", "oauth2", "api", 0, func(s *store.Settings) error {
		s.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		return nil
	})
	return err
}

// wantEnd wants a follower to be disconnected within three heartbeats.
func wantEnd(t *testing.T, h *house, s *stream) {
	t.Helper()
	for beats := 0; beats < 3; {
		h.clock.Turn(time.Second)
		select {
		case e := <-s.events:
			switch e.kind {
			case "end":
				return
			case "position":
				beats++
			}
		case <-time.After(20 * time.Millisecond): // nobody slept yet
		}
	}
	t.Error("it follows on")
}
