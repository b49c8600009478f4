package clients

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/store"
)

// Authority is the client of an Admin API that a Service acts for: that client,
// the realm of the API, whose tokens it accepts, and the scopes of the token.
type Authority struct {
	Realm, ClientID string
	Scopes          counterfoil.Scopes
}

// maxMakers bounds the chain of clients each of which made the next; maxMade is
// how many that others made a realm has, all of which may have to end in one write.
const (
	maxMakers = 8
	maxMade   = 1000
)

// As returns a Service that acts for a client of an Admin API. In the realm of
// that API it refuses, with an *Excess, to manage a client with scopes beyond
// those of a, and to give any client what a does not have: scopes, tenants and
// claims, a later end, more addresses, longer-lived tokens, weaker binding or
// authentication. A client that it makes there ends with its maker. In every
// other realm nothing is limited.
func (s *Service) As(a Authority) *Service {
	other := *s
	other.within = &a
	return &other
}

// Excess is the error of a change by which a client would have more than the one
// that changes it, or of a client that has more already.
type Excess struct {
	// Faults are the settings concerned. A Member may be none of settings:
	// "secrets", "client_id", or empty.
	Faults
}

func excess(member, format string, args ...any) *Excess {
	return &Excess{Faults{{member, fmt.Errorf(format, args...)}}}
}

// warrant is what a Service may do to a client of the realm of the Admin API;
// nil when nothing is limited.
type warrant struct {
	caller store.Client // as it is stored
	scopes counterfoil.Scopes
	rules  Rules
	now    time.Time
	// makers are those of the caller, nearest first, and above those of the
	// client. Their names, in names and own, include one that is gone.
	makers, above []store.Client
	names, own    []string
}

// warrant returns what s may do to a client that was read.
func (s *Service) warrant(ctx context.Context, c *store.Client) (*warrant, error) {
	w, err := s.callerOf(ctx, c.Realm, c)
	if w == nil || err != nil {
		return nil, err
	}
	w.above, w.own, err = s.makersOf(ctx, c)
	return w, err
}

// callerOf returns a warrant without a client yet; same is the client to act on,
// which may be the caller itself, and must then be one reading of it.
func (s *Service) callerOf(ctx context.Context, realm string, same *store.Client) (*warrant, error) {
	if s.within == nil || s.within.Realm != realm {
		return nil, nil
	}
	w := &warrant{now: s.clock.Now()}
	var err error
	if w.rules, err = s.Rules(realm); err != nil {
		return nil, err
	}
	if same != nil && same.ID == s.within.ClientID {
		w.caller = *same
	} else if w.caller, err = s.store.Client(ctx, realm, s.within.ClientID); errors.Is(err, store.ErrNotFound) {
		return nil, excess("", "the client of this token is gone")
	} else if err != nil {
		return nil, fmt.Errorf("read the client of the token: %w", err)
	}
	if !inForce(&w.caller, w.now) {
		return nil, excess("", "the client of this token is disabled or has expired")
	}
	for _, scope := range s.within.Scopes {
		if w.caller.Scopes.Contains(scope) {
			w.scopes = append(w.scopes, scope)
		}
	}
	w.makers, w.names, err = s.makersOf(ctx, &w.caller)
	return w, err
}

// makersOf returns the client that made c, the one that made that, and so on,
// and their names: the last may be gone.
func (s *Service) makersOf(ctx context.Context, c *store.Client) (found []store.Client, names []string, err error) {
	for id := c.Maker; id != "" && len(found) < maxMakers; {
		names = append(names, id)
		m, err := s.store.Client(ctx, c.Realm, id)
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read the maker of the client: %w", err)
		}
		found, id = append(found, m), m.Maker
	}
	return found, names, nil
}

func inForce(c *store.Client, now time.Time) bool {
	return !c.Disabled && (c.Expires.IsZero() || now.Before(c.Expires))
}

// mayManage returns why the caller may not manage a client at all: it has other
// scopes, or would go on when the caller's makers have ended.
func (w *warrant) mayManage(c *store.Client) error {
	if w == nil {
		return nil
	}
	if !w.scopes.ContainsAll(c.Scopes) {
		return excess("scopes", "it has the scopes %s: a client is managed with a token that has all of them", brief(c.Scopes.String()))
	}
	for _, maker := range w.names {
		if c.ID != w.caller.ID && !slices.Contains(w.own, maker) {
			return excess("", "it was not made by %s, which made the client of this token", maker)
		}
	}
	return nil
}

// mayGive returns why the caller may not turn a client into c.
func (w *warrant) mayGive(before, c *store.Client) error {
	if w == nil {
		return nil
	}
	var e Excess
	for _, l := range limits {
		if why := l.exceeds(w, c); why != "" {
			e.Faults = append(e.Faults, Fault{l.member, errors.New(why)})
		}
	}
	enabled := before.Disabled && !c.Disabled
	if enabled && len(w.own) > len(w.above) {
		e.Faults = append(e.Faults, Fault{"", fmt.Errorf("%s, which made it, is gone", w.own[len(w.own)-1])})
	}
	for i := range w.above {
		m := &w.above[i]
		if enabled && !inForce(m, w.now) {
			e.Faults = append(e.Faults, Fault{"", fmt.Errorf("%s, which made it, is disabled or has expired", m.ID)})
		}
		if m.ID != w.caller.ID && later(c.Expires, m.Expires) {
			e.Faults = append(e.Faults, Fault{"expires", fmt.Errorf("it ends at %s at the latest, as %s, which made it", instant(m.Expires), m.ID)})
		}
	}
	if e.Faults == nil {
		return nil
	}
	return &e
}

// requires are the readings that the decisions rest on.
func (w *warrant) requires(c *store.Client) (all []store.ClientChange) {
	if w == nil {
		return nil
	}
	if w.caller.ID != c.ID {
		all = append(all, store.ClientChange{Client: w.caller})
	}
	for _, m := range slices.Concat(w.makers, w.above) {
		if m.ID != c.ID && !slices.ContainsFunc(all, func(other store.ClientChange) bool { return other.Client.ID == m.ID }) {
			all = append(all, store.ClientChange{Client: m})
		}
	}
	return all
}

// make adds a client that the caller makes: it ends with the caller, whose mark
// lets a later end find it.
func (s *Service) make(ctx context.Context, w *warrant, c store.Client, e counterfoil.Event) (store.Client, error) {
	made, err := s.store.Clients(ctx, store.ClientQuery{Realm: c.Realm, Limit: maxMade, Made: true})
	if err != nil {
		return c, fmt.Errorf("count the clients that others made: %w", err)
	}
	for {
		c.Maker = w.caller.ID
		e.Changes = difference(&store.Client{}, &c)
		err := w.mayGive(&c, &c)
		switch {
		case err != nil:
			return c, err
		case len(made) >= maxMade:
			return c, excess("", "the realm has %d clients that others made, and no more can be made: delete some first", maxMade)
		case slices.Contains(w.names, c.ID):
			return c, excess("client_id", "%s made the client of this token, or what made that: choose another name", event.Clean(c.ID, maxID))
		case len(w.names) >= maxMakers:
			return c, excess("", "the client of this token was made by one that was made by another, and so on, %d times: "+
				"it can make no more", maxMakers)
		}
		maker := w.caller
		maker.Makes = true
		changes := make([]store.ClientChange, 0, len(w.makers)+2)
		for _, m := range w.makers {
			changes = append(changes, store.ClientChange{Client: m})
		}
		err = s.store.ChangeClients(ctx, append(changes, store.ClientChange{Action: store.UpdateClient, Client: maker},
			store.ClientChange{Action: store.CreateClient, Client: c, Event: e})...)
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) || ctx.Err() != nil {
			return c, err
		}
		if w, err = s.callerOf(ctx, c.Realm, nil); err != nil { // someone has changed the caller
			return c, err
		}
	}
}

// followers returns the changes that a change of a client brings for those that
// it made, and that these made: they are disabled with it, and do not end later.
func (s *Service) followers(ctx context.Context, before *store.Client, change *store.ClientChange) ([]store.ClientChange, error) {
	after, e := &change.Client, change.Event
	disabled := after.Disabled && !before.Disabled || change.Action == store.DeleteClient
	sooner := !before.Expires.Equal(after.Expires) && later(before.Expires, after.Expires)
	if !after.Makes || !disabled && !sooner {
		return nil, nil
	}
	made, err := s.madeBy(ctx, after)
	var changes []store.ClientChange
	for _, c := range made {
		was := c
		e.ClientID, e.Type, e.Detail = c.ID, "", "with "+after.ID+", which it comes from"
		if sooner && later(c.Expires, after.Expires) {
			c.Expires = after.Expires
			e.Type, e.Detail = counterfoil.EventClientChanged, Changes(&was.Settings, &c.Settings)+"; "+e.Detail
		}
		if disabled && !c.Disabled {
			c.Disabled, e.Type = true, counterfoil.EventClientDisabled
		}
		if e.Type != "" {
			c.Changed, e.Changes = e.Time, difference(&was, &c)
			changes = append(changes, store.ClientChange{Action: store.UpdateClient, Client: c, Event: e})
		}
	}
	return changes, err
}

// madeBy returns the clients that a client made, and those that these made.
func (s *Service) madeBy(ctx context.Context, c *store.Client) ([]store.Client, error) {
	byMaker := map[string][]store.Client{}
	q := store.ClientQuery{Realm: c.Realm, Limit: 1000, Made: true}
	for {
		page, err := s.store.Clients(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("list what the client made: %w", err)
		}
		for _, made := range page {
			byMaker[made.Maker] = append(byMaker[made.Maker], made)
		}
		if len(page) < q.Limit {
			break
		}
		q.After = page[len(page)-1].ID
	}
	var all []store.Client
	for makers := []string{c.ID}; len(makers) > 0; makers = makers[1:] {
		made := byMaker[makers[0]]
		delete(byMaker, makers[0]) // each once
		for _, m := range made {
			if m.ID != c.ID {
				all, makers = append(all, m), append(makers, m.ID)
			}
		}
	}
	return all, nil
}
