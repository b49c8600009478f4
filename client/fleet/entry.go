package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/bounded"
)

// entry is what this process knows of a key. Its counter comes first: a Source
// that holds the counter keeps the entry alive.
type entry struct {
	changes atomic.Uint64
	key     string
	// turn holds one value while someone of this process is in Renew.
	turn chan struct{}

	mu    sync.Mutex
	token counterfoil.Token
	// order increases with each change of the token: twice its generation, plus
	// one once it is dropped, 0 if there never was one.
	order int64
	// taken is when this process obtained the token, and left its remaining
	// lifetime then, because the wall clock can be set back.
	taken time.Time
	left  time.Duration
	// issued is when the latest of the tokens here so far was issued.
	issued time.Time
	// trouble is why what the server has under key cannot be used, nil if it
	// can.
	trouble error
	// looked says that it is known which key sealed what the server has, and
	// stale that it was not the first of this ring.
	looked, stale bool
	// news is closed when something has come from the server.
	news context.Context
	tell context.CancelFunc
}

// current returns the token, its order, and a channel that is closed at the next
// news. A token past its lifetime is not returned, whatever the wall clock
// shows.
func (e *entry) current(now time.Time) (counterfoil.Token, int64, context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Sub(e.taken) >= e.left {
		return counterfoil.Token{}, e.order, e.news
	}
	return e.token, e.order, e.news
}

// remains is how long the token is valid, by the wall clock and by the monotonic
// one: either may be wrong, the one if it is set back and the other while the
// machine is suspended.
func (e *entry) remains(now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return min(e.token.Expires.Sub(now), e.left-now.Sub(e.taken))
}

// put adopts a token that is valid for left from taken, or its removal, if it is
// newer than what is there.
func (e *entry) put(t counterfoil.Token, order int64, taken time.Time, left time.Duration) {
	e.mu.Lock()
	newer := order > e.order
	changed := newer && t.Value != e.token.Value
	if newer {
		// A token from the network seems up to a round trip older than it is: it
		// must not seem older than the previous one, dropped or not, unless that
		// one's time is from a wrong clock.
		if behind := e.issued.Sub(t.Issued); behind > 0 && behind <= roundTrip && e.issued.Before(t.Expires) {
			t.Issued = e.issued
		}
		e.token, e.order, e.taken, e.left = t, order, taken, left
		if t.Value != "" {
			e.issued = t.Issued
		}
	}
	e.mu.Unlock()
	if changed {
		e.changes.Add(1)
	}
}

// roundTrip is the most that a round trip can make a token seem older.
const roundTrip = 2 * time.Second

// drop removes the token if it equals rejected; any for "".
func (e *entry) drop(rejected counterfoil.Secret) {
	e.mu.Lock()
	dropped := e.token.Value != "" && (rejected == "" || e.token.Value == rejected)
	if dropped {
		e.token, e.order = counterfoil.Token{}, e.order|1
	}
	e.mu.Unlock()
	if dropped {
		e.changes.Add(1)
	}
}

// bound forgets an order that no server gives whose clock shows what st says: no
// other could ever be newer.
func (e *entry) bound(st state) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.order/2 > (st.now+24*time.Hour.Milliseconds())*1000 {
		e.order = 0
	}
}

// look records at the first look, and at each comparison of everything, whether
// what the server has is stale. It does not do so at every change: while a key
// is rotated some processes have the old one first, and others the new one, and
// would keep replacing each other's values.
func (e *entry) look(stale bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.looked {
		e.looked, e.stale = true, stale
	}
}

func (e *entry) lookAgain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.looked = false
}

func (e *entry) isStale() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stale
}

func (e *entry) resealed() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stale = false
}

// met records the state of what the server has under key, nil if it can be used,
// and reports whether that has changed.
func (e *entry) met(trouble error) (turned bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	turned = (e.trouble == nil) != (trouble == nil)
	e.trouble = trouble
	return turned
}

// wake ends the waiting of callers that wait for news.
func (e *entry) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tell()
	e.news, e.tell = context.WithCancel(context.Background())
}

// maxIdle is how many unused entries are kept.
const maxIdle = 4096

// entries are those known here. Their users keep the ones in use; of the others
// the most recently used are kept.
type entries struct {
	mu     sync.Mutex
	all    map[string]weak.Pointer[entry]
	recent *bounded.Cache[string, *entry]
}

func newEntries() *entries {
	return &entries{all: map[string]weak.Pointer[entry]{}, recent: bounded.New[string, *entry](maxIdle)}
}

const (
	keyDigits = "0123456789abcdef-"
	maxKey    = 160 // in bytes
)

func isKey(key string) bool {
	return key != "" && len(key) <= maxKey && strings.Trim(key, keyDigits) == ""
}

// get returns the entry of key, or a new one.
func (s *entries) get(key string) (*entry, error) {
	if !isKey(key) {
		return nil, errors.New("fleet: the key of a cache entry must be hexadecimal digits and hyphens")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.all[key].Value()
	if e == nil {
		e = &entry{key: key, turn: make(chan struct{}, 1)}
		e.news, e.tell = context.WithCancel(context.Background())
		s.all[key] = weak.Make(e)
		runtime.AddCleanup(e, s.forget, key)
	}
	if _, ok := s.recent.Get(key); !ok {
		s.recent.Put(key, e)
	}
	return e, nil
}

// known returns the entry of key if it exists.
func (s *entries) known(key string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[key].Value()
}

// list returns the entries whose key starts with prefix.
func (s *entries) list(prefix string) []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*entry
	for key, p := range s.all {
		if e := p.Value(); e != nil && strings.HasPrefix(key, prefix) {
			found = append(found, e)
		}
	}
	return found
}

// trouble returns that of an entry that has any.
func (s *entries) trouble() error {
	for _, e := range s.list("") {
		e.mu.Lock()
		err := e.trouble
		e.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *entries) forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[key].Value() == nil {
		delete(s.all, key)
	}
}

// circuit remembers that the server is away, so that only one caller from time
// to time waits to find out.
type circuit struct {
	mu    sync.Mutex
	err   error // nil while it is there
	next  time.Time
	pause time.Duration
}

const (
	minPause = 50 * time.Millisecond
	maxPause = time.Second
)

// enter returns the reason if trying is useless.
func (c *circuit) enter(now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		return nil
	}
	if now.Before(c.next) {
		return c.err
	}
	c.next = now.Add(c.pause) // others wait for the result of this one
	return nil
}

// lost returns the reason while the server is away.
func (c *circuit) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// report records the result of a command, nil for an answer, and reports whether
// the server was lost or found by it.
func (c *circuit) report(now time.Time, err error) (turned bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	turned = (err == nil) != (c.err == nil)
	if c.err = err; err == nil {
		c.pause = 0
		return turned
	}
	c.pause = min(max(2*c.pause, minPause), maxPause)
	c.next = now.Add(c.pause/2 + rand.N(c.pause/2+1))
	return turned
}
