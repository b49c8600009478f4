// Package fold keeps refusals that repeat from filling the audit record, and
// from displacing anything in it: the first of a kind is recorded at once, and
// those that follow are counted and recorded together, once a minute, with their
// number and the times of the first and the last.
//
// Refusals are of one kind when realm, type, reason, client ID, method and text
// are the same and they come from the same network (IPv4 /24, IPv6 /48). Each
// network may begin a number of kinds a minute, and so may the strangers of each
// realm together; further ones are counted as "others". So the record grows by a
// bounded number of events a minute, whatever callers send.
//
// A process that is killed loses the counts of at most a minute, never the first
// event of a kind.
package fold

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/peer"
)

const (
	// Window is how long refusals are counted before they are recorded together.
	Window = time.Minute
	// maxOfSource is how many kinds of refusals a network, or an authenticated
	// client, may begin in a window; maxOfRealm is how many all strangers, or all
	// clients, of a realm may.
	maxOfSource = 32
	maxOfRealm  = 256
	// maxCounted is how many kinds of decisions are counted in a window that are
	// never recorded at once.
	maxCounted = 100_000
	// maxKept is how many kinds are kept while nothing can be written.
	maxKept = 10_000
)

// Folder folds the refusals of all realms. It is safe for concurrent use.
type Folder struct {
	clock counterfoil.Clock
	write func(context.Context, ...counterfoil.Event) error

	mu    sync.Mutex
	kinds map[kind]*repeats
	// begun counts the kinds that began in the present window, by source and, where
	// that is empty, by realm.
	begun map[source]int
	// since is when the present window began.
	since time.Time
}

// source is who a refusal counts against.
type source struct {
	realm string
	// network is a stranger's; client is the ID of an authenticated client.
	network netip.Prefix
	client  string
	// proven is set for authenticated clients.
	proven bool
}

// kind identifies refusals that are alike.
type kind struct {
	source
	event, reason, id, method, detail string
	// others are all that their source, or its realm, has no room for.
	others bool
}

// repeats are refusals of a kind that were counted and not recorded.
type repeats struct {
	count int64
	first time.Time
	// last is the last of them; of "others", without what they do not share.
	last counterfoil.Event
}

// New returns a Folder that records with write.
func New(clock counterfoil.Clock, write func(context.Context, ...counterfoil.Event) error) *Folder {
	return &Folder{clock: clock, write: write, kinds: map[kind]*repeats{}, begun: map[source]int{}, since: clock.Now()}
}

// Record records an event, or counts it. proven says that the client that it
// names was authenticated. Its error is that of the write.
func (f *Folder) Record(ctx context.Context, e counterfoil.Event, proven bool) error {
	k, first := f.first(&e, proven)
	if !first {
		return nil
	}
	err := f.write(ctx, e)
	if err != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		if r := f.kinds[k]; r != nil && r.count == 0 { // the next one is the first
			delete(f.kinds, k)
		}
	}
	return err
}

// first returns the kind of an event and whether it is to be recorded at once.
// Otherwise it is counted.
func (f *Folder) first(e *counterfoil.Event, proven bool) (k kind, first bool) {
	k = kind{
		source: source{realm: e.Realm, proven: proven}, event: e.Type, reason: string(e.Reason), id: e.ClientID,
		method: e.Method, detail: e.Detail,
	}
	if proven {
		k.client = e.ClientID
	} else {
		_, k.network = peer.Networks(e.Address)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if r := f.kinds[k]; r != nil {
		r.add(e)
		return k, false
	}
	realm := source{realm: e.Realm, proven: proven}
	inRealm, inSource := f.begun[realm] < maxOfRealm, f.begun[k.source] < maxOfSource
	if inRealm && inSource {
		f.begun[realm]++
		f.begun[k.source]++
		f.kinds[k] = &repeats{}
		return k, true
	}
	k = kind{source: k.source, event: e.Type, others: true}
	k.reason = string(e.Reason)
	rest := *e
	rest.Method, rest.Credential, rest.Resource, rest.RequestID = "", "", "", ""
	rest.Detail = "others of the same client"
	if !proven {
		rest.ClientID, rest.UserAgent, rest.Detail = "", "", "others of the same network"
	}
	if !inRealm && f.kinds[k] == nil { // even "others" by their source would be too many
		k.source = realm
		rest.Address, rest.ClientID, rest.UserAgent, rest.Detail = "", "", "", "others in this realm"
	}
	r := f.kinds[k]
	if r == nil {
		r = &repeats{}
		f.kinds[k] = r
	}
	r.add(&rest)
	return k, false
}

// Again counts an event that could not be recorded, so that it is recorded with
// the others of its kind.
func (f *Folder) Again(e counterfoil.Event, proven bool) {
	if k, first := f.first(&e, proven); first {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.kinds[k].add(&e)
	}
}

// Count counts a decision of an authenticated client, which is recorded with the
// client's others of its type when the window ends.
func (f *Folder) Count(e counterfoil.Event) {
	k := kind{source: source{realm: e.Realm, proven: true, client: e.ClientID}, event: e.Type}
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.kinds[k]
	if r == nil && len(f.kinds) >= maxCounted {
		k = kind{source: source{realm: e.Realm, proven: true}, event: e.Type, others: true}
		e.ClientID, e.Address, e.UserAgent, e.Detail = "", "", "", "others in this realm"
		r = f.kinds[k]
	}
	if r == nil {
		r = &repeats{}
		f.kinds[k] = r
	}
	if r.count > 0 || k.others {
		e.TokenID, e.Resource, e.RequestID = "", "", "" // not of all
	}
	r.add(&e)
}

func (r *repeats) add(e *counterfoil.Event) {
	if r.count == 0 {
		r.first = e.Time
	}
	r.count++
	r.last = *e
}

// Flush records what was counted in a window that has passed, and begins the
// next one. Call it every few seconds. What cannot be written is kept.
func (f *Folder) Flush(ctx context.Context) error {
	// A clock that was set back must not keep the window open.
	if passed := f.clock.Now().Sub(f.windowStart()); passed >= 0 && passed < Window {
		return nil
	}
	return f.Close(ctx)
}

func (f *Folder) windowStart() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.since
}

// Close records what was counted, whenever the window ends.
func (f *Folder) Close(ctx context.Context) error {
	f.mu.Lock()
	counted := f.kinds
	f.kinds, f.since = map[kind]*repeats{}, f.clock.Now()
	clear(f.begun)
	f.mu.Unlock()
	var events []counterfoil.Event
	for k, r := range counted {
		if r.count == 0 {
			delete(counted, k)
			continue
		}
		e := r.last
		if r.count > 1 {
			e.Count, e.First = r.count, r.first
		}
		events = append(events, e)
	}
	if len(events) == 0 {
		return nil
	}
	slices.SortFunc(events, func(a, b counterfoil.Event) int { return a.Time.Compare(b.Time) })
	err := f.write(ctx, events...)
	if err != nil {
		f.keep(counted)
		err = fmt.Errorf("record the number of repeated refusals: %w", err)
	}
	return err
}

// keep adds what could not be written to the present window.
func (f *Folder) keep(counted map[kind]*repeats) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, r := range counted {
		if now := f.kinds[k]; now != nil {
			r.count += now.count
			if now.count > 0 {
				r.last = now.last
			}
		} else if len(f.kinds) >= maxKept {
			continue // the store has failed for long
		}
		f.kinds[k] = r
	}
}
