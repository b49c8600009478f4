// Package origin tells the record of a change which request has made it. Use it
// where a request changes something through services that know nothing of HTTP:
// the request puts an Origin into its context, and the store that the services
// write to is that of Store.
package origin

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
)

// Origin is a request.
type Origin struct {
	// Event has the request's Address, UserAgent, RequestID, Method and Resource,
	// which go into the records of changes. Its other fields are for the request's
	// own record.
	Event counterfoil.Event

	recorded atomic.Bool
}

// Recorded reports whether a change by the request was recorded.
func (o *Origin) Recorded() bool { return o.recorded.Load() }

type key struct{}

// With returns a context of that request.
func With(ctx context.Context, o *Origin) context.Context { return context.WithValue(ctx, key{}, o) }

// From returns the request of a context; nil for none.
func From(ctx context.Context) *Origin {
	o, _ := ctx.Value(key{}).(*Origin)
	return o
}

// Store returns s with the changes of clients and keys recorded as those of the
// request in their context.
func Store(s store.Store) store.Store { return recording{s} }

type recording struct{ store.Store }

// about returns e with what is known of the request.
func about(ctx context.Context, e counterfoil.Event) counterfoil.Event {
	if o := From(ctx); o != nil && e.Type != "" {
		e.Address, e.UserAgent, e.RequestID = o.Event.Address, o.Event.UserAgent, o.Event.RequestID
		e.Method, e.Resource = o.Event.Method, o.Event.Resource
	}
	return e
}

// note notes that a change was recorded, unless there is an error.
func note(ctx context.Context, err error) error {
	if o := From(ctx); o != nil && err == nil {
		o.recorded.Store(true)
	}
	return err
}

func (s recording) RecordEvents(ctx context.Context, events ...counterfoil.Event) error {
	events = slices.Clone(events)
	for i := range events {
		events[i] = about(ctx, events[i])
	}
	return note(ctx, s.Store.RecordEvents(ctx, events...))
}

func (s recording) CreateClient(ctx context.Context, c store.Client, e counterfoil.Event) error {
	return note(ctx, s.Store.CreateClient(ctx, c, about(ctx, e)))
}

func (s recording) UpdateClient(ctx context.Context, c store.Client, e counterfoil.Event) error {
	return note(ctx, s.Store.UpdateClient(ctx, c, about(ctx, e)))
}

func (s recording) DeleteClient(ctx context.Context, realm, id string, e counterfoil.Event) error {
	return note(ctx, s.Store.DeleteClient(ctx, realm, id, about(ctx, e)))
}

func (s recording) ChangeClients(ctx context.Context, changes ...store.ClientChange) error {
	changes = slices.Clone(changes)
	for i := range changes {
		changes[i].Event = about(ctx, changes[i].Event)
	}
	return note(ctx, s.Store.ChangeClients(ctx, changes...))
}

func (s recording) AddSigningKey(ctx context.Context, k store.SigningKey, after string, e counterfoil.Event) error {
	return note(ctx, s.Store.AddSigningKey(ctx, k, after, about(ctx, e)))
}

func (s recording) UpdateSigningKeys(ctx context.Context, keys []store.SigningKey, e counterfoil.Event) error {
	return note(ctx, s.Store.UpdateSigningKeys(ctx, keys, about(ctx, e)))
}

func (s recording) DeleteSigningKey(ctx context.Context, realm, id string, e counterfoil.Event) error {
	return note(ctx, s.Store.DeleteSigningKey(ctx, realm, id, about(ctx, e)))
}

func (s recording) AcknowledgeAlerts(ctx context.Context, q store.AlertQuery, by string, e counterfoil.Event) ([]int64, error) {
	done, err := s.Store.AcknowledgeAlerts(ctx, q, by, about(ctx, e))
	if len(done) > 0 {
		err = note(ctx, err)
	}
	return done, err
}

func (s recording) CreateSilence(ctx context.Context, n alerts.Silence, e counterfoil.Event) (alerts.Silence, error) {
	made, err := s.Store.CreateSilence(ctx, n, about(ctx, e))
	return made, note(ctx, err)
}

func (s recording) DeleteSilence(ctx context.Context, id int64, e counterfoil.Event) error {
	return note(ctx, s.Store.DeleteSilence(ctx, id, about(ctx, e)))
}
