package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// Bounds of the revocation feed.
const (
	maxFollowers = 100
	// feedPage is how many revocations are read at once.
	feedPage = 1000
	// pollEvery is how soon a revocation is seen that another process made: twice
	// as often as the 50 ms that are promised, for the reading and the sending.
	pollEvery = 25 * time.Millisecond
	// beatEvery is how often a follower is told that it is current.
	beatEvery = 5 * time.Second
)

// feeds are the feeds of all realms that a server has.
type feeds struct {
	mu     sync.Mutex
	of     map[string]*feed
	closed bool
}

// keep makes the feeds of these realms, ends those of all others and, with
// none, lets nobody follow any more.
func (s *feeds) keep(realms map[string]*realm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = s.closed || realms == nil
	for name, f := range s.of {
		if _, stays := realms[name]; !stays {
			f.end()
			delete(s.of, name)
		}
	}
	for name := range realms {
		if _, there := s.of[name]; !there && !s.closed {
			s.of[name] = &feed{changed: make(chan struct{}), ended: make(chan struct{})}
		}
	}
}

// get returns the feed of a realm; nil when the server does not have it, or is
// closed.
func (s *feeds) get(realm string) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[realm]
}

// wake tells those who follow a realm that there is something new.
func (s *feeds) wake(realm string) {
	if f := s.get(realm); f != nil {
		f.announce(false)
	}
}

// feed is what the followers of a realm share: one of them, or the poller, reads
// for all.
type feed struct {
	ended chan struct{} // closed with the realm

	mu          sync.Mutex
	followers   int
	stop        context.CancelFunc // ends the poller
	changed     chan struct{}      // closed when there may be something new
	news, beats int64              // count how often it was, and on the beat

	reading sync.Mutex
	last    reading
}

// reading is a page that several followers ask for.
type reading struct {
	after, news int64
	at          time.Time
	page        store.RevocationPage
}

// join counts a follower in; the first starts the poller. It reports false when
// there are too many.
func (f *feed) join(rl *realm) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers == maxFollowers {
		return false
	}
	if f.followers++; f.followers == 1 {
		ctx, stop := context.WithCancel(context.Background())
		f.stop = stop
		go f.poll(ctx, rl)
	}
	return true
}

// leave counts a follower out; the last stops the poller.
func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.followers--; f.followers == 0 {
		f.stop()
	}
}

// end sends all followers away.
func (f *feed) end() { close(f.ended) }

// announce wakes the followers; on the beat, each tells its client that it is
// current.
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

// next returns what is closed at the next announcement, and the number of the
// last beat. Who takes it before reading misses nothing.
func (f *feed) next() (<-chan struct{}, int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed, f.beats
}

// read returns the page after a sequence number, and the time at which it held.
// Those who were woken together ask for the same page: it is read once.
func (f *feed) read(ctx context.Context, rl *realm, after int64) (store.RevocationPage, time.Time, error) {
	f.reading.Lock()
	defer f.reading.Unlock()
	f.mu.Lock()
	news := f.news
	f.mu.Unlock()
	at := rl.Clock.Now()
	if l := &f.last; l.news == news && l.after == after && at.Sub(l.at) < pollEvery {
		return l.page, l.at, nil
	}
	page, err := rl.Store.Revocations(ctx, rl.Name, after, feedPage)
	if err == nil {
		f.last = reading{after, news, at, page}
	}
	return page, at, err
}

// poll looks for what other processes have revoked, and keeps the beat.
func (f *feed) poll(ctx context.Context, rl *realm) {
	var seen int64
	var beat time.Time
	for first := true; ; {
		now := rl.Clock.Now()
		page, err := rl.Store.Revocations(ctx, rl.Name, seen, feedPage)
		if err == nil {
			seen = page.Last
		}
		if err == nil && first && len(page.Revocations) == feedPage {
			continue // not at the end yet
		}
		// An error announces nothing; followers run into it at the next beat.
		due := !first && now.Sub(beat) >= beatEvery
		if (err == nil && len(page.Revocations) > 0) || first || due {
			f.announce(due)
		}
		if first || due {
			beat = now
		}
		first = false
		if rl.Clock.Sleep(ctx, pollEvery) != nil {
			return
		}
	}
}

// announcing is a store that wakes the followers of a feed after what this
// process has written into it, sooner than the poller would.
type announcing struct {
	store.Store
	feeds *feeds
}

func (s announcing) UpdateClient(ctx context.Context, c store.Client, e counterfoil.Event) error {
	err := s.Store.UpdateClient(ctx, c, e)
	s.wake(c.Realm, err)
	return err
}

func (s announcing) DeleteClient(ctx context.Context, realm, id string, e counterfoil.Event) error {
	err := s.Store.DeleteClient(ctx, realm, id, e)
	s.wake(realm, err)
	return err
}

func (s announcing) RevokeToken(ctx context.Context, r store.Revocation, e counterfoil.Event) error {
	err := s.Store.RevokeToken(ctx, r, e)
	s.wake(r.Realm, err)
	return err
}

func (s announcing) RecordIssued(ctx context.Context, i store.Issuance) (int64, error) {
	asOf, err := s.Store.RecordIssued(ctx, i)
	if i.Replace {
		s.wake(i.Event.Realm, err) // the token before it has ended
	}
	return asOf, err
}

// wake announces a write that succeeded, or of which nobody can tell.
func (s announcing) wake(realm string, err error) {
	for _, nothing := range []error{store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrTooManyRevocations, store.ErrReplayed} {
		if errors.Is(err, nothing) {
			return
		}
	}
	s.feeds.wake(realm)
}

// Clients returns the service on the server's own store. What it changes reaches
// those who follow a revocation feed of this server at once; what is changed
// through another one, within 50 ms.
func (s *Server) Clients() *clients.Service { return clients.New(s.Store, s.Clock) }
