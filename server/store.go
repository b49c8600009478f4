package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"time"

	"github.com/counterfoil/counterfoil"
)

// Errors that a Store returns, wrapped or bare.
var (
	// ErrNotFound: there is no such client, key or token.
	ErrNotFound = errors.New("not found")
	// ErrExists: the client or key is there already.
	ErrExists = errors.New("already exists")
	// ErrConflict: the client was changed since it was read.
	ErrConflict = errors.New("changed by someone else in the meantime: look at it again, then repeat the change")
)

// KeptRefusals is how many records of refused strangers a Store keeps by
// default.
const KeptRefusals = 100_000

// Store is what the server asks of a database. Package storetest holds the
// tests that each must pass.
//
// Durability: a method that writes returns nil only when what it wrote survives
// the death of the process and of the machine. Any other error means that
// nothing was written, or, when the connection to the database broke, that
// nobody can tell.
//
// Atomicity: what one call writes is written whole or not at all, its event
// included. A reader never sees half of it.
//
// Concurrency: all methods may be called at once, also from several processes
// on the same database. Writes take effect one after the other, each before its
// call returns; a read sees every write whose call had returned, wherever it
// was made. Only Events may lag behind, as it says. A write that waits is not abandoned when its context ends: the
// caller learns what became of it.
//
// Times are kept to the microsecond and come back in UTC; strings come back as
// they were given, in any script.
type Store interface {
	// CreateClient adds c with Version 1, whatever it says, and records e. It
	// returns ErrExists when the realm has a client of that ID.
	CreateClient(ctx context.Context, c Client, e counterfoil.Event) error
	// Client returns one client, or ErrNotFound. It is on the path of every
	// token request, and of every guarded call of a provider whose tokens are
	// independent.
	Client(ctx context.Context, realm, id string) (Client, error)
	// Clients returns up to limit clients of a realm whose IDs come after the
	// given one, in the byte order of their IDs; "" comes before all.
	Clients(ctx context.Context, realm, after string, limit int) ([]Client, error)
	// UpdateClient replaces the client that has c's Realm and ID, and records e.
	// c.Version is the one that was read; the client gets the next one. It
	// returns ErrConflict when the client has another version by now, and
	// ErrNotFound when it is gone. A client that is disabled has no live token
	// from then on.
	UpdateClient(ctx context.Context, c Client, e counterfoil.Event) error
	// DeleteClient removes a client and its live token, and records e. Events
	// about it stay. It returns ErrNotFound when there is no such client.
	DeleteClient(ctx context.Context, realm, id string, e counterfoil.Event) error

	// RecordIssued records that a token, e.TokenID, was issued to e.ClientID.
	// With replace it becomes the client's live token in place of any other: of
	// several recorded at once, the last to take effect is live and no other.
	// It returns ErrNotFound, and records nothing, when the client is gone or
	// disabled by then: no token leaves after such a change has returned.
	RecordIssued(ctx context.Context, e counterfoil.Event, replace bool) error
	// RecordRefused records that a request was refused. Of those by strangers,
	// who did not prove to be the client that they named, the newest
	// KeptRefusals are kept and the others counted; no other event is ever
	// evicted by them.
	RecordRefused(ctx context.Context, e counterfoil.Event, stranger bool) error
	// LiveToken returns the ID of the client's live token, or ErrNotFound. It is
	// on the path of every guarded call of a provider whose tokens replace each
	// other.
	LiveToken(ctx context.Context, realm, clientID string) (string, error)

	// AddSigningKey adds k. It returns ErrExists when the realm has a key for the
	// algorithm already, so that of several servers that start at
	// once one makes the key and the others read it.
	AddSigningKey(ctx context.Context, k SigningKey) error
	// SigningKeys returns the keys of a realm, oldest first.
	SigningKeys(ctx context.Context, realm string) ([]SigningKey, error)

	// Events returns up to limit events after the given sequence number, 0 for
	// the first: those of one client in the order in which they took effect. It
	// may end before an event whose sequence number is above that of a write
	// under way, wherever that is made, and has it once that write is over. An
	// event never appears before one that a reader was already given. So a
	// database need not make writes wait for each other to number their events.
	Events(ctx context.Context, after int64, limit int) (EventPage, error)

	// Close waits for writes under way, then lets go of the database. Calls
	// after it fail.
	Close() error
}

// EventPage is a part of the audit record.
type EventPage struct {
	Events []RecordedEvent
	// Evicted is how many records of refused strangers were dropped since the
	// database was made.
	Evicted int64
}

// RecordedEvent is an event with its place in the order of all.
type RecordedEvent struct {
	// Sequence numbers grow, not always by one, and are never used twice.
	Sequence int64 `json:"sequence"`
	counterfoil.Event
}

// SigningKey is a private key of a realm.
type SigningKey struct {
	Realm string
	// ID is the kid, in the form that the realm's provider has.
	ID string
	// Algorithm is the JWS algorithm that it signs with.
	Algorithm string
	Created   time.Time
	// PKCS8 is the key in DER form (RFC 5958).
	PKCS8 counterfoil.Secret
}

// Hash is what a Store keeps of a client secret or an API key.
type Hash struct {
	// Value is a tag that names the format, a colon and the hash. The one
	// format so far is "sha256:" with base64url (RFC 4648 section 5, without
	// padding): right for values of 256 random bits and for no others.
	Value   string
	Created time.Time
	// Ends is when the value stops being accepted; zero for never.
	Ends time.Time
}

func hash(value counterfoil.Secret) string {
	sum := sha256.Sum256([]byte(value.Reveal()))
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// verify reports whether value is behind one of the hashes that serve at the
// given time. How long it takes depends on how many there are, not on value.
func verify(hashes []Hash, value counterfoil.Secret, at time.Time) bool {
	given, found := []byte(hash(value)), 0
	for _, h := range hashes {
		same := subtle.ConstantTimeCompare([]byte(h.Value), given)
		if h.Ends.IsZero() || at.Before(h.Ends) {
			found |= same
		}
	}
	return found == 1
}
