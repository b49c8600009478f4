package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// Bounds of the revocation feed.
const (
	maxFollowers = 100
	// feedPage is how many revocations are read at once.
	feedPage = 1000
	// pollEvery is how often the store is read for revocations by other
	// processes: twice in the 50 ms that are promised, which leaves time for
	// reading and sending.
	pollEvery = 25 * time.Millisecond
	// beatEvery is how often a follower is sent a heartbeat.
	beatEvery = 5 * time.Second
)

// feeds are the feeds of all realms that a server has.
type feeds struct {
	store store.TokenStore
	clock counterfoil.Clock

	mu     sync.Mutex
	of     map[string]*feed
	closed bool
}

// keep makes the feeds of these realms and closes those of all others.
func (s *feeds) keep(realms []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, f := range s.of {
		if !slices.Contains(realms, name) {
			f.end()
			delete(s.of, name)
		}
	}
	for _, name := range realms {
		if s.of[name] == nil && !s.closed {
			s.of[name] = &feed{realm: name, store: s.store, clock: s.clock, changed: make(chan struct{}), ended: make(chan struct{})}
		}
	}
}

// close closes all feeds and refuses new followers.
func (s *feeds) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.keep(nil)
}

// get returns the feed of a realm; nil when the server does not have the
// realm, or is closed.
func (s *feeds) get(realm string) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[realm]
}

// wake tells the followers of a realm that there is something new.
func (s *feeds) wake(realm string) {
	if f := s.get(realm); f != nil {
		f.announce(false)
	}
}

// feed is the state that the followers of a realm share: one of them, or the
// poller, reads for all.
type feed struct {
	realm string
	store store.TokenStore
	clock counterfoil.Clock
	ended chan struct{} // closed with the realm

	mu          sync.Mutex
	followers   int
	stop        context.CancelFunc // ends the poller
	changed     chan struct{}      // closed when there may be something new
	news, beats int64              // count announcements and heartbeats

	reading sync.Mutex
	last    reading
}

// reading is a page that several followers ask for.
type reading struct {
	after, news int64
	at          time.Time
	page        store.RevocationPage
}

// join adds a follower; the first starts the poller. It reports false when
// there are too many.
func (f *feed) join() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == maxFollowers {
		return false
	}
	if f.followers++; f.followers == 1 {
		ctx, stop := context.WithCancel(context.Background())
		f.stop = stop
		go f.poll(ctx)
	}
	return true
}

// leave removes a follower; the last stops the poller.
func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers--; f.followers == 0 {
		f.stop()
	}
}

// end disconnects all followers.
func (f *feed) end() { close(f.ended) }

// announce wakes the followers; with beat, each sends its client a heartbeat.
func (f *feed) announce(beat bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.news++
	if beat {
		f.beats++
	}
	close(f.changed)
	f.changed = make(chan struct{})
}

// next returns a channel that is closed at the next announcement, and the
// number of the last heartbeat. A follower that calls it before reading misses
// nothing.
func (f *feed) next() (<-chan struct{}, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed, f.beats
}

// read returns the page after a sequence number, and the time at which it was
// current. Followers that are woken together ask for the same page: it is read
// once.
func (f *feed) read(ctx context.Context, after int64) (store.RevocationPage, time.Time, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	f.mu.Lock()
	news := f.news
	f.mu.Unlock()
	at := f.clock.Now()
	if l := &f.last; l.news == news && l.after == after && at.Sub(l.at) < pollEvery {
		return l.page, l.at, nil
	}
	page, err := f.store.Revocations(ctx, f.realm, after, feedPage)
	if err == nil {
		f.last = reading{after, news, at, page}
	}
	return page, at, err
}

// poll looks for revocations by other processes, and sends the heartbeat.
func (f *feed) poll(ctx context.Context) {
	var seen int64
	var beat time.Time
	for first := true; ; {
		now := f.clock.Now()
		page, err := f.store.Revocations(ctx, f.realm, seen, feedPage)
		if err == nil {
			seen = page.Last
		}
		if err == nil && first && len(page.Revocations) == feedPage {
			continue // not at the end yet
		}
		// An error announces nothing; followers run into it at the next heartbeat.
		due := !first && now.Sub(beat) >= beatEvery
		if (err == nil && len(page.Revocations) > 0) || first || due {
			f.announce(due)
		}
		if first || due {
			beat = now
		}
		first = false
		if f.clock.Sleep(ctx, pollEvery) != nil {
			return
		}
	}
}

// notifyingStore is a store that wakes the followers of a feed after a write
// of this process, sooner than the poller would.
type notifyingStore struct {
	store.Store
	feeds *feeds
}

func (s notifyingStore) UpdateClient(ctx context.Context, c store.Client, e counterfoil.Event) error {
	err := s.Store.UpdateClient(ctx, c, e)
	s.wake(c.Realm, err)
	return err
}

func (s notifyingStore) DeleteClient(ctx context.Context, realm, id string, e counterfoil.Event) error {
	err := s.Store.DeleteClient(ctx, realm, id, e)
	s.wake(realm, err)
	return err
}

func (s notifyingStore) ChangeClients(ctx context.Context, changes ...store.ClientChange) error {
	err := s.Store.ChangeClients(ctx, changes...)
	s.wake(changes[0].Client.Realm, err)
	return err
}

func (s notifyingStore) RevokeToken(ctx context.Context, r store.Revocation, e counterfoil.Event) error {
	err := s.Store.RevokeToken(ctx, r, e)
	s.wake(r.Realm, err)
	return err
}

func (s notifyingStore) RecordIssued(ctx context.Context, i store.Issuance) (int64, error) {
	asOf, err := s.Store.RecordIssued(ctx, i)
	if i.Replace {
		s.wake(i.Event.Realm, err) // the previous token is revoked
	}
	return asOf, err
}

// wake announces a write that succeeded, or whose outcome is unknown.
func (s notifyingStore) wake(realm string, err error) {
	for _, nothing := range []error{store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrTooManyRevocations, store.ErrReplayed} {
		if errors.Is(err, nothing) {
			return
		}
	}
	s.feeds.wake(realm)
}
