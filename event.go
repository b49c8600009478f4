package counterfoil

import "time"

// The types of Event. A server issues and refuses tokens. A client requests a
// token (one event for each attempt), obtains its first, renews the one it has,
// fails to get one, and drops one that an API has rejected; it retries a call. A
// token is not cached if the client obtained and uses it but could not store it
// for the next process.
const (
	EventTokenIssued    = "token.issued"
	EventTokenReused    = "token.reused" // issued before and answered again
	EventTokenRefused   = "token.refused"
	EventTokenRequested = "token.requested"
	EventTokenObtained  = "token.obtained"
	EventTokenRenewed   = "token.renewed"
	EventTokenFailed    = "token.failed"
	EventTokenNotCached = "token.not_cached"
	EventTokenDropped   = "token.dropped"
	EventCallAllowed    = "call.allowed"
	EventCallRefused    = "call.refused"
	EventCallRetried    = "call.retried"
	EventClientCreated  = "client.created"
	EventClientRotated  = "client.rotated"
	EventClientDisabled = "client.disabled"
	EventClientEnabled  = "client.enabled"
	EventClientDeleted  = "client.deleted"
	EventClientChanged  = "client.changed"
	EventClientImported = "client.imported"
	EventSecretEnded    = "client.secret_ended"
	EventSecretLeaked   = "client.secret_leaked" // somebody reported it, which ended it
	EventTokenRevoked   = "token.revoked"
	EventTokensRevoked  = "tokens.revoked" // all of a client
	// EventClientAuthenticated: a client used a single-use assertion for something
	// other than a token.
	EventClientAuthenticated = "client.authenticated"
	// EventTokenIntrospected and EventFeedFollowed: a client was told whether a token
	// is active, or followed the revocations of its realm. Both are counted by minute
	// and client.
	EventTokenIntrospected = "token.introspected"
	EventFeedFollowed      = "feed.followed"
	EventKeyCreated        = "key.created"
	EventKeyChanged        = "key.changed" // it may sign tokens that live longer
	EventKeyRetired        = "key.retired" // its private part is gone
	EventKeyRemoved        = "key.removed"
	EventKeysResealed      = "keys.resealed"
	// EventBlockLifted: an operator let callers in who had to wait after failed
	// authentications.
	EventBlockLifted = "block.lifted"
	// EventBlockBegan: callers from an address or a network have to wait, after too many
	// failed authentications.
	EventBlockBegan = "block.began"
	// EventCredentialEnded: a request was refused whose secret, API key or public key was
	// the client's until it was replaced or ended.
	EventCredentialEnded = "credential.ended_used"
	// EventCredentialExpiring: a server has told its client that the credentials, or
	// the client, end soon.
	EventCredentialExpiring = "credential.expiring"
	// Operators acknowledge alerts, and silence them for a time.
	EventAlertAcknowledged = "alert.acknowledged"
	EventSilenceCreated    = "silence.created"
	EventSilenceDeleted    = "silence.deleted"
	// EventAuditDropped: events that are older than records are kept were dropped.
	EventAuditDropped = "audit.dropped"
	// EventDatabaseRestored: a backup took the place of the database. What was
	// recorded after the backup was made is lost.
	EventDatabaseRestored = "database.restored"
	// EventAdminCalled: a call of the Admin API was let through and changed nothing;
	// one that changes something is recorded as the change.
	EventAdminCalled  = "admin.called"
	EventAdminRefused = "admin.refused"
)

// Event records one decision. Audit records, logs and metrics are all made from
// it, so it never contains a secret or a token, and text that comes from a
// request is bounded and free of control characters.
type Event struct {
	// Type is one of the Event constants.
	Type string `json:"event_type"`
	// Time is when the decision was made.
	Time time.Time `json:"time"`
	// Realm is the realm (at the server) or the provider (at a guard or a
	// client).
	Realm string `json:"realm"`
	// ClientID is the client that the request claimed to be from. It is proven
	// only if Success is true, and empty if the request named no client.
	ClientID string `json:"client_id"`
	// Success reports whether the request was granted.
	Success bool `json:"success"`
	// Reason says why not; empty on success.
	Reason Reason `json:"reason,omitempty"`
	// Actor is who made a change to a client or a key; empty for requests.
	Actor string `json:"actor,omitempty"`
	// Method is how the client authenticated or tried to: one of the methods of
	// RFC 7591 section 2, as in "client_secret_basic", or "bearer" for an access
	// token. Credential is the ID of the secret, API key or public key that it used;
	// empty if it is unknown.
	Method     string `json:"auth_method,omitempty"`
	Credential string `json:"credential,omitempty"`
	// Scope and Resource are what was granted: scopes and audiences, each separated
	// by spaces. For a call, Resource is the method and the path.
	Scope    string `json:"scope,omitempty"`
	Resource string `json:"resource,omitempty"`
	// RequestID is the request's, as the answer and the log name it.
	RequestID string `json:"request_id,omitempty"`
	// Changes are what a change to a client has changed, without secrets, as JSON
	// from each changed setting to its old and new value.
	Changes string `json:"changes,omitempty"`
	// Count is how many decisions the event stands for when it is above 1: they were
	// alike, and lasted from First to Time.
	Count int64     `json:"count,omitempty"`
	First time.Time `json:"first,omitzero"`
	// TokenID is the jti of the token concerned, if any.
	TokenID string `json:"token_id,omitempty"`
	// Address is the IP address of the caller, without a port: that of the TCP
	// peer or, behind Proxies, the one that they forward.
	Address string `json:"ip_address"`
	// UserAgent is the request's User-Agent, at most 256 bytes: of a longer one the
	// end is replaced by a hash.
	UserAgent string `json:"user_agent"`
	// Detail is what an operator needs beyond the reason; never sent to the
	// caller.
	Detail string `json:"detail,omitempty"`
	// Duration is how long the client's request took that this event reports, or
	// the server's decision; 0 if that is not known. It is for metrics, logs and
	// traces, not for records.
	Duration time.Duration `json:"-"`
	// Endpoint is the path below the realm's base URL of the endpoint of a server
	// that decided, as in "/introspect"; empty for the token endpoint. It is not for
	// records.
	Endpoint string `json:"-"`
	// Status is the HTTP status that the client received; 0 without an answer.
	Status int `json:"-"`
	// Attempt counts a client's requests for one purpose from 1; 0 if it is
	// unknown.
	Attempt int `json:"-"`
}
