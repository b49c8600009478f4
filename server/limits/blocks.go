package limits

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
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

// Blocks returns those who have to wait now, by prefix.
func (l *Limiter) Blocks() []Block {
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
	return all
}

// Lift ends blocks, and forgets the failures that led to them. It returns how
// many there were.
func (l *Limiter) Lift(lift Lift) int {
	n := l.lift(lift)
	if n > 0 {
		l.file.changed(true)
	}
	return n
}

func (l *Limiter) lift(lift Lift) (n int) {
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
		n += len(found)
	}
	return n
}

// ReadBlocks returns the blocks of a server that keeps its state in a file, at
// most a few seconds old, without those that it was asked to lift.
func ReadBlocks(path string, now time.Time) ([]Block, error) {
	k, err := readFile(path)
	if err != nil {
		return nil, err
	}
	found, err := liftFiles(path)
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
