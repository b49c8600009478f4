package admin

import (
	"context"
	"net/http"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/requestid"
	"github.com/counterfoil/counterfoil/server/internal/origin"
)

// begin begins the record of a call: one that changes something is recorded as
// the change, any other by itself.
func (h *handler) begin(r *http.Request, p *counterfoil.Principal) *http.Request {
	return r.WithContext(origin.With(r.Context(), &origin.Origin{Event: counterfoil.Event{
		Realm: h.Realm, ClientID: event.Clean(p.ClientID, event.MaxClientID), TokenID: event.Clean(p.TokenID, event.MaxClaim),
		Actor: event.Clean(h.actor(p), event.MaxClientID), Method: "bearer", Address: h.peers.Caller(r),
		UserAgent: event.Clean(r.UserAgent(), event.MaxUserAgent), RequestID: requestid.From(r.Context()),
		Resource: event.Resource(r.Method, r.URL.EscapedPath()),
	}}))
}

// readsRecord has the operations that read the audit record.
var readsRecord = map[string]bool{}

func init() {
	for _, o := range operations {
		readsRecord[o.id] = o.scopes.Contains(auditRead)
	}
}

// record records a call that changed nothing: refused for a problem, or let
// through. It tells OnEvent of every call.
func (h *handler) record(r *http.Request, p *Problem) error {
	o := origin.From(r.Context())
	if o == nil {
		return nil
	}
	e := o.Event
	e.Type, e.Time, e.Success = counterfoil.EventAdminCalled, h.local.Clock.Now(), true
	if p != nil {
		e.Type, e.Success, e.Reason = counterfoil.EventAdminRefused, false, reasonOf(p)
		if e.Detail != "" {
			e.Detail += ": "
		}
		e.Detail += p.Code
		for _, f := range p.Faults {
			e.Detail = event.Clean(e.Detail+" "+f.Pointer, event.MaxClaim)
		}
	}
	record := h.Repeated
	if p != nil || record == nil || !readsRecord[e.Detail] {
		record = func(ctx context.Context, e counterfoil.Event) error { return h.local.Store.RecordEvents(ctx, e) }
	}
	if p != nil || !o.Recorded() {
		if err := record(r.Context(), e); err != nil {
			return err
		}
	}
	if h.OnEvent != nil {
		h.OnEvent(r.Context(), e)
	}
	return nil
}

// reasonOf returns the reason of the record for a problem; the Detail has its
// code.
func reasonOf(p *Problem) counterfoil.Reason {
	switch p.Status {
	case http.StatusBadRequest:
		return counterfoil.ReasonMalformedRequest
	case http.StatusForbidden:
		return counterfoil.ReasonScopeInsufficient
	case http.StatusMethodNotAllowed:
		return counterfoil.ReasonMethodNotAllowed
	case http.StatusRequestEntityTooLarge:
		return counterfoil.ReasonRequestTooLarge
	case http.StatusUnsupportedMediaType:
		return counterfoil.ReasonUnsupportedMediaType
	case http.StatusInternalServerError:
		return counterfoil.ReasonServerError
	}
	return counterfoil.ReasonInvalidRequest
}
