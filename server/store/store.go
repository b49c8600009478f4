// Package store defines the data of a server and its database: the records of
// clients, tokens and signing keys, and the interface [Store]. Package sqlite
// implements it; package storetest has the tests that each implementation must
// pass.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// Errors that a Store returns, wrapped or bare.
var (
	// ErrNotFound: there is no such client, key or token.
	ErrNotFound = errors.New("not found")
	// ErrExists: the client or key is there already.
	ErrExists = errors.New("already exists")
	// ErrConflict: the client or the keys were changed since they were read.
	ErrConflict = errors.New("changed by someone else in the meantime: read it again, then repeat the change")
	// ErrReplayed: a single-use assertion or proof was used before.
	ErrReplayed = errors.New("used before")
	// ErrTooManyRevocations: more than MaxRevoked tokens of a client are revoked individually.
	ErrTooManyRevocations = errors.New("too many tokens of this client are revoked one by one")
)

// Bounds of what a Store keeps.
const (
	// MaxAhead is how far the date of a token may be ahead of the clock: less than
	// the leeway that guards give by default.
	MaxAhead = 10 * time.Second
	// MaxRevoked is how many tokens of one client can be revoked individually.
	MaxRevoked = 10_000
	// MaxLifetime is the longest lifetime of a token, and so the longest time that a
	// revocation has to be remembered.
	MaxLifetime = 30 * 24 * time.Hour
)

// Store is the server's database. Package storetest holds the tests that each
// implementation must pass.
//
// Durability: a method that writes returns nil only when what it wrote
// survives the death of the process and of the machine. Any other error means
// that nothing was written, or, when the connection to the database broke,
// that the outcome is unknown.
//
// Atomicity: a call writes everything or nothing, its event included. A reader
// never sees a part of it.
//
// Concurrency: all methods may be called at once, also from several processes
// on the same database. Writes take effect one after the other, each before
// its call returns; a read sees every write whose call had returned, wherever
// it was made. Only Events may lag behind, as it says. A write that waits is
// not abandoned when its context ends: the caller learns its outcome.
//
// Clocks: the times that a Store is given may jump, because the clock of a
// machine can be set. The order of two writes is that in which they take
// effect. A token that a later write has revoked stays revoked, however the
// two are dated, and nothing that has not expired is forgotten because the
// clock was temporarily ahead: a Store measures the time that has passed, for
// which the times that it is given have a monotonic reading.
//
// Times are stored to the microsecond and returned in UTC; strings are
// returned as they were given, in any script.
type Store interface {
	ClientStore
	TokenStore
	KeyStore
	LogStore
	AlertStore

	// Events returns up to limit events after the given sequence number, 0 for
	// the first: those of one client in the order in which they took effect. The
	// list may stop before an event whose sequence number is above that of a
	// write in progress in any process, and includes it once that write is over.
	// An event never appears before one that a reader was already given. So a
	// database need not serialize writes to number their events.
	Events(ctx context.Context, after int64, limit int) ([]RecordedEvent, error)

	// Ready returns nil when a write would succeed now, and otherwise the
	// reason. It changes nothing, and waits no longer than a write would.
	Ready(ctx context.Context) error

	// Close waits for writes in progress, then closes the database. Later calls
	// fail.
	Close() error
}

// ClientStore keeps clients.
type ClientStore interface {
	// CreateClient adds c with Version 1, regardless of c.Version, and records
	// e. It returns ErrExists when the realm has a client of that ID. The new
	// client inherits the NotBefore of a deleted client of that ID, when that is
	// later.
	CreateClient(ctx context.Context, c Client, e counterfoil.Event) error
	// Client returns one client, or ErrNotFound.
	Client(ctx context.Context, realm, id string) (Client, error)
	// ClientVersion returns the Version and Created of a client, which tell whether
	// one that was read before is unchanged, or ErrNotFound. It takes as long as
	// Client takes for a client that does not exist.
	ClientVersion(ctx context.Context, realm, id string) (version int64, created time.Time, err error)
	// Clients returns up to q.Limit clients in the byte order of their IDs.
	Clients(ctx context.Context, q ClientQuery) ([]Client, error)
	// ClientsWithHash returns the clients of a realm that have a secret or an API key
	// whose hash, in its stored form, is value, in the byte order of their IDs, and up
	// to limit. It finds only hashes that begin with sha256:.
	ClientsWithHash(ctx context.Context, realm, value string, limit int) ([]Client, error)
	// UpdateClient replaces the client that has c's Realm and ID, and records e.
	// c.Version and c.Created are those that were read; the client gets the next
	// version. It returns ErrConflict when the client has another version by
	// now, or was deleted and created again, and ErrNotFound when it is gone. A
	// change of Disabled or NotBefore becomes a revocation of all tokens
	// concerned, in the same write; with a changed NotBefore these are all
	// tokens recorded so far that are dated before it or ahead of the clock. The
	// store may choose a later NotBefore. A disabled client has no live token.
	UpdateClient(ctx context.Context, c Client, e counterfoil.Event) error
	// DeleteClient removes a client, its live token, its uses and what is remembered
	// of it for alerts, revokes all
	// tokens that it was issued up to e.Time, and records e. Events about it
	// stay. It returns ErrNotFound when there is no such client.
	DeleteClient(ctx context.Context, realm, id string, e counterfoil.Event) error
	// ChangeClients makes several such changes in one write: all, or none with
	// the error of the first that cannot be made. Their clients are distinct.
	ChangeClients(ctx context.Context, changes ...ClientChange) error

	// RecordLastUses stores when secrets were last used, where that is later
	// than the stored time. Those of deleted clients are ignored.
	RecordLastUses(ctx context.Context, uses []LastUse) error
	// LastUses returns the last uses of the secrets and API keys of clients of a
	// realm.
	LastUses(ctx context.Context, realm string, clientIDs ...string) ([]LastUse, error)
	// EndedCredentials returns the secrets and API keys of a client that are not
	// accepted any more at a time, and the last MaxEnded credentials that changes have
	// ended, the newest first. They are forgotten with the client.
	EndedCredentials(ctx context.Context, realm, clientID string, at time.Time) ([]EndedCredential, error)
}

// ClientChange is one of the changes of ChangeClients.
type ClientChange struct {
	Action ClientAction
	// Client is as for the method of the Action's name. RequireClient needs no
	// more than Realm, ID, Version and Created, and neither does DeleteClient,
	// which with a Version of 0 accepts any.
	Client Client
	// Event is recorded, unless its Type is empty. Its Time is that of the
	// change; the last change has one.
	Event counterfoil.Event
}

// ClientAction is what a ClientChange does.
type ClientAction int

const (
	// RequireClient changes nothing: the client must be as it was read.
	RequireClient ClientAction = iota
	// CreateClient, UpdateClient and DeleteClient do what the methods of these names
	// do.
	CreateClient
	UpdateClient
	DeleteClient
)

// ClientQuery asks for clients of a realm.
type ClientQuery struct {
	Realm string
	// After is the ID that the page starts after; "" for the first page.
	After string
	// Limit is the maximum number of clients.
	Limit int
	// Search, when set, is looked for in ID, name, contact and labels, each
	// written NAME=VALUE, without regard to the case of ASCII letters.
	Search string
	// Environment and Disabled, when set, filter the clients.
	Environment Environment
	Disabled    *bool
	// Made selects the clients that have a Maker.
	Made bool
	// Now is the time that Expired, Idle and Ends are about.
	Now time.Time
	// Expired, when set, filters the clients by whether their Expires has come.
	Expired *bool
	// Idle, when set, selects the clients that have accepted secrets or API keys, of
	// which none was made, or used, at or after that time.
	Idle time.Time
	// Ends, when set, selects the clients that end after Now and before it, and those
	// of which an accepted secret or API key does.
	Ends time.Time
}

// Narrow reports whether a client, whose last uses are not known, is one that Idle
// and Ends select: a Store looks at the uses itself.
func (q *ClientQuery) Narrow(c *Client) bool {
	ends := func(at time.Time) bool { return at.After(q.Now) && at.Before(q.Ends) }
	idle, ending := false, ends(c.Expires)
	for _, all := range [][]SecretHash{c.Secrets, c.APIKeys} {
		for i := range all {
			h := &all[i]
			if !h.AcceptedAt(q.Now) {
				continue
			}
			idle = true
			if ending = ending || ends(h.Expires); !q.Idle.IsZero() && !h.Created.Before(q.Idle) {
				return false
			}
		}
	}
	return (q.Idle.IsZero() || idle) && (q.Ends.IsZero() || ending)
}

// TokenStore keeps the state of tokens: which were issued, and which of them
// are revoked.
type TokenStore interface {
	// RecordIssued records that a token was issued. It returns ErrNotFound when
	// the client is gone or disabled, ErrConflict when it was changed since it
	// was read, or deleted and created again, or when a token that replaces
	// others is dated before its MinIssuedAt, and ErrReplayed when one of
	// i.ReplayKeys was used before. It then records nothing, so that no token is
	// issued on stale data. It returns the new Revision of the client.
	RecordIssued(ctx context.Context, i Issuance) (revision int64, err error)
	// RecordEvents records events that change nothing, such as refused requests:
	// all of them or, with an error, none.
	RecordEvents(ctx context.Context, events ...counterfoil.Event) error

	// TokenStatus returns the status of a client and of one of its tokens;
	// ErrNotFound if the client is gone. It is called for every guarded call.
	TokenStatus(ctx context.Context, realm, clientID, tokenID string) (TokenStatus, error)
	// RevokeToken revokes one token of r's client until r.Expires, and records
	// e. Revoking it again changes and records nothing. ErrTooManyRevocations
	// means that MaxRevoked tokens of the client are already revoked.
	RevokeToken(ctx context.Context, r Revocation, e counterfoil.Event) error
	// Revocations returns up to limit revocations of a realm in the order of
	// their sequence numbers, after one of them; 0 for the first. Each client
	// and each token appears once, with its latest state. Expired revocations
	// may be omitted: a follower from 0 misses none that has not expired.
	Revocations(ctx context.Context, realm string, after int64, limit int) (RevocationPage, error)
	// StatusIndexes reserves n indexes for a realm's status lists and returns
	// the first. Indexes are never given twice.
	StatusIndexes(ctx context.Context, realm string, n int64) (int64, error)
	// RevokedIndexes returns the indexes from first to before last of tokens
	// that are revoked in any way. Those of expired tokens may be omitted.
	RevokedIndexes(ctx context.Context, realm string, first, last int64) ([]int64, error)
}

// Issuance is a signed token that is about to be returned.
type Issuance struct {
	// Event has the Realm, the ClientID and the TokenID.
	Event counterfoil.Event
	// Version, Created and Revision are those of the client as it was read.
	// Versions start over when a client is deleted and created again: Created
	// distinguishes the two.
	Version, Revision int64
	Created           time.Time
	// Replace makes the token the client's only live one: of several recorded
	// concurrently, the last to take effect is live.
	Replace bool
	// Beside says that the token does not replace others, and that the client's
	// MinIssuedAt is not zero: it may have had tokens that did.
	Beside bool
	// SetBack says that the clock is more than MaxAhead behind the dates of the
	// client's tokens, and that Issued follows the clock. The store revokes
	// individually the tokens that would become valid again, and accepts tokens
	// from Issued on; ErrTooManyRevocations when there are too many.
	SetBack bool
	// Reused says that the token was recorded before and is returned again: if
	// it was revoked since Revision, that is an ErrConflict.
	Reused bool
	// Issued and Expires are the token's iat and exp: whole seconds.
	Issued, Expires time.Time
	// ReplayKeys are those of the assertions and proofs that must not have been
	// used before.
	ReplayKeys []ReplayKey
	// StatusIndex is the token's index in the realm's status lists; negative
	// for none.
	StatusIndex int64
}

// ReplayKey stands for a single-use assertion or DPoP proof.
type ReplayKey struct {
	// Hash is the SHA-256 of its jti and its owner; Until is when it can be
	// forgotten.
	Hash  [32]byte
	Until time.Time
}

// TokenStatus is the state of a client and of one of its tokens.
type TokenStatus struct {
	Disabled bool
	// NotBefore: tokens of the client that were issued before it are revoked.
	NotBefore time.Time
	// Revoked says that the token is revoked individually.
	Revoked bool
	// LiveToken is the ID of the client's live token; "" when it has none.
	LiveToken string
	// Policy is the client's own; "" when it has none.
	Policy provider.Policy
}

// Revocation revokes tokens before they expire: one token, or those of a
// client.
type Revocation struct {
	// Sequence numbers grow, not always by one, and are never used twice. It is
	// the store's.
	Sequence int64
	Realm    string
	ClientID string
	// TokenID is the revoked token; "" when the other fields apply to all of the
	// client's.
	TokenID string
	// NotBefore: the client's tokens that were issued before it are revoked.
	NotBefore time.Time
	// Disabled: all of the client's tokens are refused while it is disabled.
	Disabled bool
	// Expires is when it can be forgotten: every token concerned has expired.
	Expires time.Time
}

// RevocationPage is a part of a realm's revocations.
type RevocationPage struct {
	// Feed is a random identifier of the database: when it changes, as after a
	// restore, followers start over.
	Feed        string
	Revocations []Revocation
	// Last is the sequence number that the page goes up to: nothing up to it
	// will ever be added. It is below the requested one only when an older state
	// of the database was restored.
	Last int64
}

// KeyStore keeps the signing keys.
type KeyStore interface {
	// AddSigningKey adds k and records e. It returns ErrConflict when the newest
	// key of the realm for the algorithm is not after; "" for none. So of
	// several that are made concurrently, one is added.
	AddSigningKey(ctx context.Context, k SigningKey, after string, e counterfoil.Event) error
	// SigningKeys returns the keys of a realm, oldest first: in the order of
	// Activates, and of Created where that is the same.
	SigningKeys(ctx context.Context, realm string) ([]SigningKey, error)
	// UpdateSigningKeys replaces the keys that have the realms and IDs of these,
	// all or, with ErrNotFound, none, and records e. It never lowers a Lifetime,
	// and an empty Private stays empty: so concurrent changes by several servers
	// undo nothing that matters.
	UpdateSigningKeys(ctx context.Context, keys []SigningKey, e counterfoil.Event) error
	// DeleteSigningKey removes a key and records e; ErrNotFound when it is gone.
	DeleteSigningKey(ctx context.Context, realm, id string, e counterfoil.Event) error
}

// SigningKey is a key of a realm. At a given time it is next before Activates,
// active from then until the next one of its algorithm activates, and retiring
// from then on until its last token has expired.
type SigningKey struct {
	Realm string
	// ID is the kid, in the form of the realm's provider.
	ID string
	// Algorithm is the JWS algorithm that it signs with.
	Algorithm string
	Created   time.Time
	// Activates is when it begins to sign.
	Activates time.Time
	// Lifetime is the longest life of a token that it may have signed.
	Lifetime time.Duration
	// Public is the public key in PKIX form (RFC 5280 section 4.1.2.7).
	Public []byte
	// Private is the private key in PKCS #8 form (RFC 5958), sealed under the
	// master key where there is one; empty once the key no longer signs.
	Private counterfoil.Secret
}

// RecordedEvent is an event with its sequence number.
type RecordedEvent struct {
	// Sequence numbers grow by one, from 1 in a new database. Databases that
	// earlier programs have made may have gaps before the log's first entry.
	Sequence int64 `json:"sequence"`
	counterfoil.Event
	// Commitment stands for Address and UserAgent in the log, so that these can
	// be erased; zero when both were empty. Opening is the random part of it;
	// empty once they are erased.
	Commitment Commitment `json:"commitment,omitzero"`
	Opening    []byte     `json:"opening,omitempty"`
}
