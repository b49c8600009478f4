package store

import (
	"context"
	"errors"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/alerts"
)

// Bounds of alerts.
const (
	// MaxOpenAlerts is how many alerts of one kind and realm are open at once; the
	// others are one alert whose Subject is OtherAlerts.
	MaxOpenAlerts = 200
	// MaxAcknowledged is how many alerts are kept that are acknowledged.
	MaxAcknowledged = 10_000
	// MaxDeliveries is how many alerts wait for one sender.
	MaxDeliveries = 1000
	// MaxSilences is how many silences there are at once.
	MaxSilences = 100
	// OtherAlerts is the Subject of an alert that stands for others.
	OtherAlerts = "others"
)

// ErrTooManySilences: there are MaxSilences already.
var ErrTooManySilences = errors.New("there are too many silences: delete one")

// AlertStore keeps alerts, to whom they are still to be sent, and how far the
// record was searched for them. Of several processes that search it at the same
// time, one is ahead: AdvanceAlerts refuses the others.
type AlertStore interface {
	// AlertState returns how far the record was searched.
	AlertState(ctx context.Context) (AlertState, error)
	// AlertMemories returns what is remembered; what nothing is remembered of is left
	// out.
	AlertMemories(ctx context.Context, of []AlertOwner) (map[AlertOwner][]byte, error)
	// AdvanceAlerts stores a step of the search: all of it or, with ErrConflict when
	// the state is not of version s.From any more, nothing.
	AdvanceAlerts(ctx context.Context, s AlertStep) error

	// Alerts returns up to q.Limit alerts, the newest first.
	Alerts(ctx context.Context, q AlertQuery) ([]alerts.Alert, error)
	// AcknowledgeAlerts acknowledges the open alerts of q at e.Time, records e if there
	// are any, and returns their IDs. They are not sent any more, and what happens
	// next is a new alert.
	AcknowledgeAlerts(ctx context.Context, q AlertQuery, by string, e counterfoil.Event) ([]int64, error)

	// ClaimDelivery returns an alert that is due for a sender at a time and not
	// silenced, or ErrNotFound. Nobody else gets it for as long as the lease lasts.
	ClaimDelivery(ctx context.Context, sender string, at time.Time, lease time.Duration) (AlertDelivery, error)
	// FinishDelivery says how an attempt has ended; it does nothing when another one
	// was begun since.
	FinishDelivery(ctx context.Context, d AlertDelivery, r DeliveryResult) error

	// CreateSilence adds s with an ID of its own, and records e. ErrTooManySilences when
	// there are MaxSilences that have not ended at e.Time.
	CreateSilence(ctx context.Context, s alerts.Silence, e counterfoil.Event) (alerts.Silence, error)
	// Silences returns those that have begun and not ended at a time, by ID: one that was
	// made while a clock was ahead does not silence until it is that late.
	Silences(ctx context.Context, at time.Time) ([]alerts.Silence, error)
	// DeleteSilence ends a silence and records e; ErrNotFound when it does not exist.
	DeleteSilence(ctx context.Context, id int64, e counterfoil.Event) error
}

// AlertState says how far the record was searched for alerts.
type AlertState struct {
	// Version grows with each step.
	Version int64
	// Sequence is that of the last event that was searched: at first, that of the last
	// event before the database knew of alerts.
	Sequence int64
	// Data is what the search remembers.
	Data []byte
	// Dropped counts the deliveries that were given up, because attempts failed for
	// too long or because there were more than MaxDeliveries.
	Dropped int64
}

// AlertOwner is what something is remembered of: a client, a realm (without
// ClientID) or the server (without both).
type AlertOwner struct{ Realm, ClientID string }

// AlertStep is a step of the search.
type AlertStep struct {
	At time.Time
	// From is the Version that it goes on from. With 0, only Raise is stored, whatever
	// the state is.
	From int64
	// Sequence and Data are those of the next state.
	Sequence int64
	Data     []byte
	// Memory is what is to be remembered; nothing of those with nil, and of clients that
	// do not exist.
	Memory map[AlertOwner][]byte
	// Raise are alerts. Their Count is added to that of the open one of the same Kind,
	// Realm, ClientID and Subject, which takes their other fields over.
	Raise []alerts.Alert
	// OthersCommand is the command of an alert whose Subject is OtherAlerts.
	OthersCommand string
	// Senders are whom they are sent to: at once and, when the count has grown, again
	// after Repeat.
	Senders []string
	Repeat  time.Duration
}

// AlertQuery selects alerts. Empty fields select all.
type AlertQuery struct {
	IDs             []int64
	Kind            alerts.Kind
	Realm, ClientID string
	// Acknowledged selects also those that are acknowledged.
	Acknowledged bool
	// Before is the ID that a page ends before; 0 for the first page.
	Before int64
	// Limit is the maximum number of alerts; for AcknowledgeAlerts, 0 is no limit.
	Limit int
}

// AlertDelivery is one attempt to send an alert.
type AlertDelivery struct {
	alerts.Alert
	Sender string
	// Attempt counts from 1; it begins anew once the alert has arrived.
	Attempt int
}

// DeliveryResult is how an attempt to send an alert has ended.
type DeliveryResult struct {
	At time.Time
	// Sent says that it has arrived. Where the count has grown meanwhile, it is sent
	// again after Repeat.
	Sent   bool
	Repeat time.Duration
	// Next is when to try again; the zero time gives up.
	Next time.Time
}
