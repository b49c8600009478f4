// Package admin manages the clients, signing keys and audit record of a
// server. Use it to manage them from a program: New works on a Store, also
// while a server runs; Remote does the same over HTTPS, through the handler
// that NewHandler returns.
//
// The package promises that a change is recorded with its actor in the same
// transaction; that both ways take the same input, give the same answers and
// fail with the same *Problem; that a secret is shown once, when it is made,
// and reaches no error; that a caller of the handler is limited to the scopes
// of its token; and that every input is bounded. The HTTP interface is
// described by the OpenAPI document that the handler serves.
package admin

import (
	"context"
	"io"
	"time"

	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// Service holds the operations of an operator. An error that the caller can
// fix is a *Problem. All methods are safe for concurrent use.
//
// Where a method takes a version, it is the version of the client that the
// caller has read: when the client has changed since, nothing is done and the
// problem is Changed. 0 accepts any version.
type Service interface {
	// Realms returns the realms in the order of the configuration.
	Realms(ctx context.Context) ([]Realm, error)

	// CreateClient adds a client and returns it with its credentials, which
	// cannot be read again.
	CreateClient(ctx context.Context, realm string, n NewClient) (Client, clients.Credentials, error)
	// Client returns a client, with the times of its secrets' last uses.
	Client(ctx context.Context, realm, id string) (Client, error)
	// Clients returns a part of a realm's clients in the byte order of their
	// IDs. A limit of 0 stands for 100; more than 1,000 are never returned. Now is the
	// server's. Disabled and Expired are as SelectStatus sets them.
	Clients(ctx context.Context, q store.ClientQuery) (ClientPage, error)
	// ChangeClient applies a JSON merge patch (RFC 7396) to the settings of a
	// client; null gives a setting its default.
	ChangeClient(ctx context.Context, realm, id string, version int64, patch []byte) (Client, error)
	// RotateSecret gives a client a new secret, RotateAPIKey a new API key. The
	// old one is accepted for as long as r says.
	RotateSecret(ctx context.Context, realm, id string, r clients.Rotation) (clients.Credentials, error)
	RotateAPIKey(ctx context.Context, realm, id string, r clients.Rotation) (clients.Credentials, error)
	// EndSecret ends a secret or an API key at the given time; at once when that
	// is zero or has passed.
	EndSecret(ctx context.Context, realm, id, secretID string, at time.Time) error
	// DisableClient makes the server refuse a client and its tokens until
	// EnableClient.
	DisableClient(ctx context.Context, realm, id string) error
	EnableClient(ctx context.Context, realm, id string) error
	// DeleteClient removes a client and revokes its tokens.
	DeleteClient(ctx context.Context, realm, id string) error
	// RevokeTokens revokes all tokens that a client was issued so far.
	RevokeTokens(ctx context.Context, realm, id string) error
	// ImportClients reads a file of another server's clients and creates them:
	// all, or none unless the import is Partial. The caller closes the report.
	ImportClients(ctx context.Context, realm string, i Import) (Report, error)

	// Blocks returns the callers who have to wait after failed authentications, by
	// prefix.
	Blocks(ctx context.Context) ([]limits.Block, error)
	// LiftBlocks ends the blocks that match, and returns them.
	LiftBlocks(ctx context.Context, lift limits.Lift) (Lifted, error)

	// Alerts returns a part of the alerts, the newest first. A limit of 0 stands for
	// 100; more than 1,000 are never returned.
	Alerts(ctx context.Context, q store.AlertQuery) (AlertPage, error)
	// AcknowledgeAlerts acknowledges open alerts, and returns their IDs.
	AcknowledgeAlerts(ctx context.Context, a Acknowledgement) ([]int64, error)
	// Silences returns the silences that have not ended, CreateSilence makes one, and
	// DeleteSilence ends one.
	Silences(ctx context.Context) ([]alerts.Silence, error)
	CreateSilence(ctx context.Context, n NewSilence) (alerts.Silence, error)
	DeleteSilence(ctx context.Context, id int64) error

	// Keys returns the signing keys of a realm, oldest first.
	Keys(ctx context.Context, realm string) ([]signing.View, error)
	// RotateKey makes the next signing key; an empty algorithm is the realm's
	// first.
	RotateKey(ctx context.Context, realm string, algorithm provider.Algorithm, o signing.Rotation) (signing.View, error)

	// Events returns a part of the audit record. A limit of 0 stands for 100; more
	// than 1,000 are never returned.
	Events(ctx context.Context, q audit.Query) (audit.Page, error)
	// AuditLog, AuditTile and AuditCheckpoints return the log that proves the record
	// (package audit; see Source): its state, the hashes of a full tile, and up to
	// limit checkpoints of more than after entries.
	AuditLog(ctx context.Context) (AuditLog, error)
	AuditTile(ctx context.Context, level int, n int64) ([]byte, error)
	AuditCheckpoints(ctx context.Context, after int64, limit int) ([]AuditCheckpoint, error)
}

// Bounds of input.
const (
	// defaultLimit and maxLimit are of pages.
	defaultLimit = 100
	maxLimit     = 1000
	// maxBody bounds a request in bytes, maxImport an import.
	maxBody   = 1 << 20
	maxImport = 64 << 20
)

// Realm is a realm as an operator sees it.
type Realm struct {
	Name     string `json:"name"`
	Provider string `json:"provider"`
	// Issuer and TokenURL are empty where they are not known, as with 'up'.
	Issuer   string `json:"issuer"`
	TokenURL string `json:"token_url"`
	// Scopes are the scopes that clients can be allowed; none for any.
	Scopes []string `json:"scopes"`
	// Tenants are the tenants that clients can be granted; none for any.
	Tenants []string `json:"tenants"`
	// APIKeys says whether clients need an API key in addition to their secret.
	APIKeys bool `json:"api_keys"`
	// Algorithms are the algorithms that it signs with; the first is the
	// default.
	Algorithms []provider.Algorithm `json:"signing_algorithms"`
	Policy     provider.Policy      `json:"policy"`
	// Lifetime is the lifetime of its tokens, as 15m0s.
	Lifetime string `json:"lifetime"`
}

// Client is a client as an operator sees it: no secret, and no hash of one.
type Client struct {
	Realm string `json:"realm"`
	ID    string `json:"client_id"`
	// Status is "enabled", "disabled", or "expired" for one that is enabled and whose
	// Expires has come.
	Status string `json:"status"`
	// Maker is the client that made it, in the realm of the Admin API; empty when
	// an operator did. It ends with its maker.
	Maker string `json:"maker,omitempty"`
	store.Settings
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
	// NotBefore revokes the tokens that were issued before it; zero for none.
	NotBefore time.Time `json:"not_before,omitzero"`
	// Secrets and APIKeys are the accepted ones, newest first.
	Secrets []Secret `json:"secrets"`
	APIKeys []Secret `json:"api_keys"`
	// Version grows with every change.
	Version int64 `json:"version"`
}

// The values of Client.Status.
const (
	statusEnabled  = "enabled"
	statusDisabled = "disabled"
	statusExpired  = "expired"
)

// Secret describes a client secret or an API key.
type Secret struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	// Ends is when it stops being accepted; zero for never.
	Ends time.Time `json:"ends,omitzero"`
	// LastUsed is known within ten seconds of the use; zero for never. It is set where
	// clients are read, and not in the answer to a change.
	LastUsed time.Time `json:"last_used,omitzero"`
}

// ClientPage is a part of a realm's clients.
type ClientPage struct {
	Clients []Client `json:"clients"`
	// Next is the query's After for the next page; empty at the end.
	Next string `json:"next,omitempty"`
}

// NewClient holds the parameters of CreateClient. The zero value makes a
// client with a generated ID and a secret, and without scopes.
type NewClient struct {
	// ID is generated when empty.
	ID string `json:"client_id,omitempty"`
	store.Settings
	// Disabled creates a client that is refused until it is enabled.
	Disabled bool `json:"disabled,omitempty"`
	// WithoutSecret creates no secret: the client authenticates in another way.
	WithoutSecret bool `json:"without_secret,omitempty"`
	// APIKey says whether to create an API key; nil creates one when the realm
	// needs it.
	APIKey *bool `json:"api_key,omitempty"`
}

// Import holds the parameters of ImportClients.
type Import struct {
	// Format is one of importer.Formats; File is read once.
	Format string
	File   io.Reader
	// DryRun changes nothing and reports the outcome that each row would have.
	DryRun bool
	// Replace lets rows replace existing clients of their IDs. Partial imports
	// the valid rows even when others are refused.
	Replace, Partial bool
	// LiteralSecrets accepts secrets that look like placeholders of a template;
	// CapLifetime reduces token lifetimes that are longer than the realm's to
	// the realm's.
	LiteralSecrets, CapLifetime bool
	// FromRealm selects the clients of one realm of a Keycloak export; "" for
	// all.
	FromRealm string
	// Progress, when set, is called with the progress of the import: after each
	// row, or each part of the file that was sent to a server, one call at a
	// time.
	Progress func(Progress)
}

var (
	_ Service = (*Local)(nil)
	_ Service = (*Remote)(nil)
)
