package limits

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// Block is a caller who has to wait after failed authentications.
type Block struct {
	// Prefix is where requests are refused from.
	Prefix netip.Prefix `json:"prefix"`
	// Realm and ClientID are set if only requests that claim to be from that
	// client are refused.
	Realm    string `json:"realm,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	// Until is when the caller may try again.
	Until time.Time `json:"until"`
}

// Lift says which blocks to lift: those that have all that it names.
type Lift struct {
	// Prefix overlaps the blocks' own; the zero Prefix is any.
	Prefix netip.Prefix `json:"prefix,omitzero"`
	// Realm and ClientID are those of the blocks; "" is any.
	Realm    string `json:"realm,omitempty"`
	ClientID string `json:"client_id,omitempty"`
}

// Matches reports whether the block is one to lift.
func (f Lift) Matches(b *Block) bool {
	return (!f.Prefix.IsValid() || f.Prefix.Overlaps(b.Prefix)) &&
		(f.Realm == "" || f.Realm == b.Realm) && (f.ClientID == "" || f.ClientID == b.ClientID)
}

// Blocks returns those who have to wait now, by prefix. The error is nil.
func (l *Limiter) Blocks(context.Context) ([]Block, error) {
	all := []Block{}
	wall, now := l.clock.Now().Round(0), l.tick()
	for _, store := range []Store[failures]{l.prefixes, l.pairs} {
		store.Each(func(k Key, f failures) {
			if f.until > now {
				all = append(all, Block{k.Prefix, k.Realm, k.ClientID, wall.Add(time.Duration(f.until - now)).UTC()})
			}
		})
	}
	order(all)
	return all, nil
}

// Lift ends blocks, and forgets the failures that led to them. It is always done,
// and the error is nil.
func (l *Limiter) Lift(_ context.Context, lift Lift) (done bool, err error) {
	l.lift(lift)
	l.file.changed(true)
	return true, nil
}

func (l *Limiter) lift(lift Lift) {
	now := l.tick()
	for _, store := range []Store[failures]{l.prefixes, l.pairs} {
		var found []Key
		store.Each(func(k Key, f failures) {
			if f.until > now && lift.Matches(&Block{Prefix: k.Prefix, Realm: k.Realm, ClientID: k.ClientID}) {
				found = append(found, k)
			}
		})
		for _, k := range found {
			store.Update(k, func(failures) failures { return failures{} })
		}
	}
}

// File is the state of a server on this machine, which may be running: the
// Config.File of its Limiter.
type File struct {
	Path string
	// Clock is the system's unless a test has another.
	Clock counterfoil.Clock
}

// Blocks returns those who have to wait, as of a few seconds ago, without those
// that the server was asked to lift.
func (f File) Blocks(context.Context) ([]Block, error) {
	now := f.clock().Now()
	k, err := readFile(f.Path)
	if err != nil {
		return nil, err
	}
	found, err := liftFiles(f.Path)
	if err != nil {
		return nil, err
	}
	var lifts []Lift
	for _, path := range found {
		if lift, err := readLift(path); err == nil { // a server may have taken it meanwhile
			lifts = append(lifts, lift)
		}
	}
	all := []Block{}
	for _, w := range k.Waits {
		b := Block{w.Prefix, w.Realm, w.ClientID, w.Until}
		if w.Until.After(now) && !slices.ContainsFunc(lifts, func(f Lift) bool { return f.Matches(&b) }) {
			all = append(all, b)
		}
	}
	order(all)
	return all, nil
}

func order(all []Block) {
	slices.SortFunc(all, func(a, b Block) int {
		return cmp.Or(a.Prefix.Addr().Compare(b.Prefix.Addr()), a.Prefix.Bits()-b.Prefix.Bits(),
			strings.Compare(a.Realm, b.Realm), strings.Compare(a.ClientID, b.ClientID))
	})
}

func (f File) clock() counterfoil.Clock {
	if f.Clock == nil {
		return clock.System
	}
	return f.Clock
}
