package audit

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// Source is where a record and its log are read: a store.Store, or the Admin API
// of a server.
type Source interface {
	Log(ctx context.Context) (store.LogState, error)
	LogTile(ctx context.Context, level int, n int64) ([]byte, error)
	LogCheckpoints(ctx context.Context, after int64, limit int) ([]store.LogCheckpoint, error)
	Events(ctx context.Context, after int64, limit int) ([]store.RecordedEvent, error)
}

// Filter selects events. Empty fields select all.
type Filter struct {
	Realm, ClientID, Actor string
	// Type is an event's, as in "token.refused", or what stands before the dot.
	Type string
	// Reason is an event's, or the one that it is a kind of (see
	// counterfoil.Reason.Parent).
	Reason counterfoil.Reason
	// Network has the address of the caller.
	Network netip.Prefix
	// Since and Until bound the time of the event: from one to before the other.
	Since, Until time.Time
}

// Matches reports whether an event is selected.
func (f *Filter) Matches(e *counterfoil.Event) bool {
	kind, _, _ := strings.Cut(e.Type, ".")
	switch {
	case f.Realm != "" && e.Realm != f.Realm,
		f.ClientID != "" && e.ClientID != f.ClientID,
		f.Actor != "" && e.Actor != f.Actor,
		f.Type != "" && e.Type != f.Type && kind != f.Type,
		f.Reason != "" && e.Reason != f.Reason && e.Reason.Parent() != f.Reason,
		!f.Since.IsZero() && e.Time.Before(f.Since),
		!f.Until.IsZero() && !e.Time.Before(f.Until):
		return false
	}
	if f.Network.IsValid() {
		a, err := netip.ParseAddr(e.Address)
		return err == nil && f.Network.Contains(a.Unmap().WithZone(""))
	}
	return true
}

// Query asks for a part of the record.
type Query struct {
	Filter
	// After is the sequence number that the part begins after.
	After int64
	// Limit is the maximum number of events.
	Limit int
}

// Page is a part of the record.
type Page struct {
	Events []store.RecordedEvent `json:"events"`
	// Next is the After of the next part. A part may have few events, or none, and
	// not be the last: a call reads a bounded number of events.
	Next int64 `json:"next"`
	// End says that there are no more events now.
	End bool `json:"end"`
}

// maxScan bounds the events that one call of Read reads.
const maxScan = 20_000

// Read returns a part of the record.
func Read(ctx context.Context, s Source, q Query) (Page, error) {
	page := Page{Events: []store.RecordedEvent{}, Next: q.After}
	for scanned := 0; scanned < maxScan && len(page.Events) < q.Limit; {
		events, err := s.Events(ctx, page.Next, readAtOnce)
		if err != nil {
			return page, err
		}
		for i := range events {
			if len(page.Events) == q.Limit {
				return page, nil
			}
			if page.Next = events[i].Sequence; q.Matches(&events[i].Event) {
				page.Events = append(page.Events, events[i])
			}
		}
		if scanned += len(events); len(events) < readAtOnce {
			page.End = true
			return page, nil
		}
	}
	return page, nil
}

// ParseNetwork reads an address or a network, such as 192.0.2.1 or 2001:db8::/48.
func ParseNetwork(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, errors.New("give an address or a network, such as 192.0.2.1 or 192.0.2.0/24")
	}
	return p.Masked(), nil
}
