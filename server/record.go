package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/internal/requestid"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/store"
)

// maxTries is how often a request is decided while its client is being
// changed, before the caller is told to retry.
const maxTries = 5

// retried decides a request, and again while the refusal says so.
func retried[T any](decide func() (T, *clientauth.Refusal)) (T, *clientauth.Refusal) {
	result, refusal := decide()
	for try := 1; refusal != nil && refusal.Again && try < maxTries; try++ {
		result, refusal = decide()
	}
	return result, refusal
}

// attempt is one request to an endpoint, for the record.
type attempt struct {
	event counterfoil.Event
	// began is when it arrived.
	began time.Time
	// path is that of one of the realm's own endpoints; "" for the token
	// endpoint.
	path string
	// over is the refusal for a client that is not known at an address that sends
	// too much; rate is what is left of the client's own limit.
	over *clientauth.Refusal
	rate rate
	// by is the client that got a token.
	by clientauth.Caller
	// proven is set when the client is authenticated.
	proven bool
}

// recorder records the decisions of a realm: in the store before the answer,
// and then with OnEvent.
type recorder struct {
	realm   string
	store   store.Store
	clock   counterfoil.Clock
	logger  *slog.Logger
	onEvent func(context.Context, counterfoil.Event)
	// record records a refusal of a client that was authenticated or not; count
	// counts what was granted, for a record of the minute.
	record func(ctx context.Context, e counterfoil.Event, proven bool) error
	count  func(e counterfoil.Event)
	peers  *peer.Config
	watch  *clockWatch
	// trouble limits the log of a store that fails every request.
	trouble *lograte.Limiter
}

// begin begins the record of a request to an endpoint. Text from the caller is
// truncated and cleaned; the address is that of the TCP peer, or the one that
// trusted proxies report.
func (c *recorder) begin(r *http.Request, path string) *attempt {
	now := c.clock.Now()
	c.watch.look(r.Context(), now, c.logger)
	return &attempt{began: now, path: path, event: counterfoil.Event{
		Time: now, Realm: c.realm, Address: c.peers.Caller(r),
		UserAgent: event.Clean(r.UserAgent(), event.MaxUserAgent), RequestID: requestid.From(r.Context()),
	}}
}

// tell calls onEvent with a decision about an attempt.
func (c *recorder) tell(ctx context.Context, a *attempt, e counterfoil.Event) {
	e.Duration, e.Endpoint = c.clock.Now().Sub(a.began), a.path
	c.onEvent(ctx, e)
}

// used records that a client used what may be used once, for something other
// than a new token: revision is that at which the client was read. It returns
// the one at which the client was found unchanged.
func (c *recorder) used(
	ctx context.Context, a *attempt, e counterfoil.Event, client *store.Client, revision int64, once []store.ReplayKey,
) (int64, *clientauth.Refusal) {
	return c.issued(ctx, a, store.Issuance{
		Event: e, Version: client.Version, Created: client.Created, Revision: revision, Reused: true,
		ReplayKeys: once, StatusIndex: -1,
	})
}

// issued records a token that is about to be answered, and returns the store's
// revision.
func (c *recorder) issued(ctx context.Context, a *attempt, i store.Issuance) (int64, *clientauth.Refusal) {
	revision, err := c.store.RecordIssued(ctx, i)
	switch {
	case err == nil:
		c.tell(ctx, a, i.Event)
		return revision, nil
	case errors.Is(err, store.ErrReplayed):
		return 0, clientauth.Refused(counterfoil.ReasonAssertionReplayed, "")
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrConflict):
		// The client was changed or deleted: the next try finds out.
		return 0, changing()
	}
	return 0, clientauth.StoreFailed("record token", err)
}

// changing is the refusal while the client is being changed.
func changing() *clientauth.Refusal {
	return &clientauth.Refusal{Reason: counterfoil.ReasonUnavailable, Detail: "the client is being changed", Again: true}
}

// granted counts a request that was granted and changed nothing.
func (c *recorder) granted(ctx context.Context, a *attempt, kind string) {
	e := a.event
	e.Type, e.Success = kind, true
	c.count(e)
	c.tell(ctx, a, e)
}

// refused records a refusal, unless the store has failed, and returns the
// refusal to answer with.
func (c *recorder) refused(ctx context.Context, a *attempt, refusal *clientauth.Refusal) *clientauth.Refusal {
	e := a.event
	e.Type, e.Reason, e.Detail = counterfoil.EventTokenRefused, refusal.Reason, refusal.Detail
	if a.path != "" {
		if e.Detail = a.path; refusal.Detail != "" {
			e.Detail += ": " + refusal.Detail
		}
	}
	switch {
	case refusal.Unrecorded:
		c.trouble.Error(ctx, c.clock, c.logger, "token request failed", alerts.Trouble(alerts.KindStore),
			"realm", c.realm, "client_id", e.ClientID, "error", refusal.Err)
	case refusal.Err != nil:
		c.logger.ErrorContext(ctx, "token request failed", alerts.Trouble(alerts.KindKeys), "realm", c.realm, "client_id", e.ClientID,
			"error", refusal.Err)
	}
	if !refusal.Unrecorded {
		if err := c.record(ctx, e, a.proven); err != nil {
			c.trouble.Error(ctx, c.clock, c.logger, "token request not recorded", alerts.Trouble(alerts.KindStore),
				"realm", c.realm, "client_id", e.ClientID, "reason", refusal.Reason, "error", err)
			refusal = clientauth.Refused(counterfoil.ReasonUnavailable, "")
			e.Reason, e.Detail = refusal.Reason, "record refusal"
		}
	}
	c.tell(ctx, a, e)
	return refusal
}
