package admin

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// AuditLog is the state of the tamper-evident log over the audit record.
type AuditLog struct {
	// ID is a random identifier of the database.
	ID string `json:"id"`
	// Base is the sequence number before that of the log's first event; Recorded is
	// that of the last event.
	Base     int64 `json:"base"`
	Recorded int64 `json:"recorded"`
	// Dropped: the events up to this one were dropped because of their age.
	Dropped int64 `json:"dropped"`
	// Key verifies the log's checkpoints, in the form of C2SP signed-note; empty
	// when no server has made it yet.
	Key string `json:"key"`
	// Checkpoint is the latest; its Size is 0 before the first.
	Checkpoint AuditCheckpoint `json:"checkpoint"`
}

// AuditCheckpoint is a signed checkpoint of the log.
type AuditCheckpoint struct {
	Size int64     `json:"size"`
	Time time.Time `json:"time,omitzero"`
	// Note is the checkpoint itself, as in C2SP tlog-checkpoint.
	Note string `json:"note"`
}

type (
	checkpointsView struct {
		Checkpoints []AuditCheckpoint `json:"checkpoints"`
	}
	tileView struct {
		Hashes []byte `json:"hashes"`
	}
)

// eventFilters are the query parameters that select events.
var eventFilters = []string{"after", "limit", "realm", "client", "reason", "type", "address", "actor", "since", "until"}

// Events returns a part of the audit record.
func (l *Local) Events(ctx context.Context, q audit.Query) (audit.Page, error) {
	q.Limit = bounded(q.Limit)
	return audit.Read(ctx, l.Store, q)
}

// AuditLog returns the state of the log.
func (l *Local) AuditLog(ctx context.Context) (AuditLog, error) {
	state, err := l.Store.Log(ctx)
	if err != nil {
		return AuditLog{}, err
	}
	v := AuditLog{
		ID: state.ID, Base: state.Base, Recorded: state.Recorded, Dropped: state.Dropped,
		Checkpoint: AuditCheckpoint(state.Checkpoint),
	}
	var key ed25519.PublicKey
	if key, err = signing.PublicLogKey(ctx, l.Store); err == nil {
		v.Key = audit.VerifierKey(audit.Origin(state.ID), key)
	} else if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	return v, err
}

// AuditTile returns the hashes of a full tile of the log; none when it is not full
// yet.
func (l *Local) AuditTile(ctx context.Context, level int, n int64) ([]byte, error) {
	data, err := l.Store.LogTile(ctx, level, n)
	if errors.Is(err, store.ErrNotFound) {
		return []byte{}, nil
	}
	return data, err
}

// AuditCheckpoints returns checkpoints of more than a number of entries.
func (l *Local) AuditCheckpoints(ctx context.Context, after int64, limit int) ([]AuditCheckpoint, error) {
	stored, err := l.Store.LogCheckpoints(ctx, after, bounded(limit))
	all := make([]AuditCheckpoint, len(stored))
	for i, c := range stored {
		all[i] = AuditCheckpoint(c)
	}
	return all, err
}

// Events returns a part of the audit record.
func (r *Remote) Events(ctx context.Context, q audit.Query) (audit.Page, error) {
	request := get([]string{"events"})
	request.values = url.Values{"after": {strconv.FormatInt(q.After, 10)}, "limit": {strconv.Itoa(bounded(q.Limit))}}
	for name, value := range map[string]string{
		"realm": q.Realm, "client": q.ClientID, "reason": string(q.Reason), "type": q.Type, "actor": q.Actor,
	} {
		if value != "" {
			request.values.Set(name, value)
		}
	}
	if q.Network.IsValid() {
		request.values.Set("address", q.Network.String())
	}
	for name, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			request.values.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	var page audit.Page
	err := r.do(ctx, request, &page)
	return page, err
}

// AuditLog returns the state of the log.
func (r *Remote) AuditLog(ctx context.Context) (AuditLog, error) {
	var v AuditLog
	err := r.do(ctx, get([]string{"log"}), &v)
	return v, err
}

// AuditTile returns the hashes of a full tile of the log; none when it is not full
// yet.
func (r *Remote) AuditTile(ctx context.Context, level int, n int64) ([]byte, error) {
	q := get([]string{"log", "tile"})
	q.values = url.Values{"level": {strconv.Itoa(level)}, "n": {strconv.FormatInt(n, 10)}}
	var v tileView
	err := r.do(ctx, q, &v)
	return v.Hashes, err
}

// AuditCheckpoints returns checkpoints of more than a number of entries.
func (r *Remote) AuditCheckpoints(ctx context.Context, after int64, limit int) ([]AuditCheckpoint, error) {
	q := get([]string{"log", "checkpoints"})
	q.values = url.Values{"after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(bounded(limit))}}
	var v checkpointsView
	err := r.do(ctx, q, &v)
	return v.Checkpoints, err
}

func (c *call) events() (answer, error) {
	q, err := c.eventQuery()
	if err != nil {
		return answer{}, err
	}
	if c.follows() {
		if q.After, err = c.lastEvent(q.After); err != nil {
			return answer{}, err
		}
		return good(&eventStream{call: c, query: q})
	}
	page, err := c.admin.Events(c.Context(), q)
	if err != nil {
		return answer{}, err
	}
	return good(page)
}

func (c *call) eventQuery() (q audit.Query, err error) {
	limit := int64(0)
	if q.After, err = c.number("after"); err == nil {
		limit, err = c.number("limit")
	}
	if err != nil {
		return q, err
	}
	q.Limit = bounded(int(min(limit, maxLimit)))
	q.Filter = audit.Filter{
		Realm: c.query.Get("realm"), ClientID: c.query.Get("client"), Actor: c.query.Get("actor"), Type: c.query.Get("type"),
		Reason: counterfoil.Reason(c.query.Get("reason")),
	}
	if q.Since, err = c.time("since"); err == nil {
		q.Until, err = c.time("until")
	}
	if text := c.query.Get("address"); err == nil && text != "" {
		if q.Network, err = audit.ParseNetwork(text); err != nil {
			err = problem(malformed, "the query parameter address: %v", err)
		}
	}
	return q, err
}

// time returns a parameter that is a time; zero when it is omitted.
func (c *call) time(name string) (time.Time, error) {
	text := c.query.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, problem(malformed, "the query parameter %s must be a time such as 2026-01-31T12:00:00Z (RFC 3339)", name)
	}
	return at, nil
}

func (c *call) auditLog() (answer, error) {
	v, err := c.admin.AuditLog(c.Context())
	if err != nil {
		return answer{}, err
	}
	return good(v)
}

func (c *call) auditTile() (answer, error) {
	level, err := c.number("level")
	if err != nil {
		return answer{}, err
	}
	n, err := c.number("n")
	if err != nil {
		return answer{}, err
	}
	data, err := c.admin.AuditTile(c.Context(), int(min(level, 64)), n)
	if err != nil {
		return answer{}, err
	}
	return good(tileView{data})
}

func (c *call) auditCheckpoints() (answer, error) {
	after, err := c.number("after")
	if err != nil {
		return answer{}, err
	}
	limit, err := c.number("limit")
	if err != nil {
		return answer{}, err
	}
	all, err := c.admin.AuditCheckpoints(c.Context(), after, int(min(limit, maxLimit)))
	if err != nil {
		return answer{}, err
	}
	return good(checkpointsView{all})
}

// Source returns the record and the log of a service, for package audit.
func Source(s Service) audit.Source { return source{s} }

type source struct{ Service }

func (s source) Log(ctx context.Context) (store.LogState, error) {
	v, err := s.AuditLog(ctx)
	return store.LogState{ID: v.ID, Base: v.Base, Recorded: v.Recorded, Dropped: v.Dropped, Checkpoint: store.LogCheckpoint(v.Checkpoint)}, err
}

func (s source) LogTile(ctx context.Context, level int, n int64) ([]byte, error) {
	data, err := s.AuditTile(ctx, level, n)
	if err == nil && len(data) == 0 {
		err = store.ErrNotFound
	}
	return data, err
}

func (s source) LogCheckpoints(ctx context.Context, after int64, limit int) ([]store.LogCheckpoint, error) {
	some, err := s.AuditCheckpoints(ctx, after, limit)
	all := make([]store.LogCheckpoint, len(some))
	for i, c := range some {
		all[i] = store.LogCheckpoint(c)
	}
	return all, err
}

func (s source) Events(ctx context.Context, after int64, limit int) ([]store.RecordedEvent, error) {
	page, err := s.Service.Events(ctx, audit.Query{After: after, Limit: limit})
	return page.Events, err
}
