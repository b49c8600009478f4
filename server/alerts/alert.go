// Package alerts notices in the audit record, and in the state of a server, what an
// operator or the owner of a client must know, and tells them.
package alerts

import (
	"context"
	"time"
)

// Kind says what an alert is about.
type Kind string

// The kinds of alerts.
const (
	// KindFailures: authentications as one client, or from one network, fail again
	// and again.
	KindFailures Kind = "failures"
	// KindBlocked: a network must wait after failed authentications.
	KindBlocked Kind = "blocked"
	// KindVolume: a client requests far more tokens than in its last seven days.
	KindVolume Kind = "volume"
	// KindNewNetwork: a client authenticated from a network for the first time.
	KindNewNetwork Kind = "new_network"
	// KindRotatedCredential: a secret, an API key or a signing key was used after a
	// rotation had ended it.
	KindRotatedCredential Kind = "rotated_credential"
	// KindLeakedSecret: somebody reported a secret as leaked, which ended it.
	KindLeakedSecret Kind = "leaked_secret"
	// KindOldSecret: a secret is older than advised.
	KindOldSecret Kind = "old_secret"
	// KindExpiry: a client, a secret, an API key, a signing key or a certificate ends
	// in 30, 7 or 1 days.
	KindExpiry Kind = "expiry"
	// KindKeys: signing keys cannot be made, read or rotated.
	KindKeys Kind = "keys"
	// KindCheckpoint: checkpoints of the audit log cannot be signed or given away.
	KindCheckpoint Kind = "checkpoint"
	// KindStore: the database cannot be written.
	KindStore Kind = "store"
	// KindClock: the clock of the machine jumped.
	KindClock Kind = "clock"
)

// Alert is what somebody must know. What repeats is one alert with a Count: those
// of the same Kind, Realm, ClientID and Subject are one until it is acknowledged.
// Its JSON is the body of a webhook, and what 'counterfoil alerts -o json' prints.
type Alert struct {
	// ID is its number in the database, from 1.
	ID   int64 `json:"id"`
	Kind Kind  `json:"kind"`
	// Realm and ClientID are those that it is about; empty for the server itself.
	Realm    string `json:"realm,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	// Subject says which of several: a network in CIDR form, the ID of a secret or a
	// key, the name of a file.
	Subject string `json:"subject,omitempty"`
	// Summary is one sentence of what happened, with its evidence. It never has a
	// secret, a token or a line break.
	Summary string `json:"summary"`
	// Command is the next command for an operator to type.
	Command string `json:"command,omitempty"`
	// Contact is the mail address of the client's owner, when the owner must act.
	Contact string `json:"contact,omitempty"`
	// Count is how often it happened from First to Last.
	Count int64     `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	// Acknowledged is when an operator acknowledged it, and AcknowledgedBy who.
	Acknowledged   time.Time `json:"acknowledged,omitzero"`
	AcknowledgedBy string    `json:"acknowledged_by,omitempty"`
}

// Sender tells somebody of alerts.
type Sender interface {
	// Name identifies the sender in the queue and in logs, over restarts: "webhook
	// https://…", without credentials.
	Name() string
	// Send makes one attempt. An error means that the alert has not arrived, and that
	// it is worth another attempt unless it is a PermanentError. An alert can be
	// sent twice, with the same ID and Count.
	Send(context.Context, Alert) error
}

// PermanentError says that another attempt to send an alert would fail as well.
type PermanentError struct{ Err error }

// Error is that of Err.
func (e *PermanentError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *PermanentError) Unwrap() error { return e.Err }
