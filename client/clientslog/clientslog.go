// Package clientslog writes the events of package client to a log. Use it as
// client.Config's OnEvent where a program logs with log/slog:
//
//	OnEvent: clientslog.OnEvent(slog.Default(), clientslog.Options{})
//
// A line holds no secret and no token. Repeated failures do not flood the log:
// equal lines are counted, and one a minute says how many there were. Lines are
// written synchronously, as quickly as the logger's handler allows.
package clientslog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
)

// Options say how much is logged.
type Options struct {
	// Every is how often equal lines about failures are written: lines of the
	// same type, provider, client, reason and status. Default a minute;
	// negative: each is written.
	Every time.Duration
}

// maxKinds bounds how many different lines are counted.
const maxKinds = 1024

// OnEvent returns a function for client.Config's OnEvent, which several Sources
// may share. The levels are
//
//	Debug  token.requested
//	Info   token.obtained, token.renewed, call.retried
//	Warn   token.failed, token.not_cached, token.dropped, credential.expiring
//	Error  token.refused, and token.failed when it is no token endpoint that answers
//
// A line has the time of the event, and as attributes the members of the Event
// under their names in JSON, those that are empty left out; beside them duration
// (of the request), status (HTTP), attempt, and repeated: how many lines like it
// were left out before it. The attribute realm is the provider's name; a program
// with several connections gives each a logger with the connection's name:
//
//	clientslog.OnEvent(slog.Default().With("connection", name), clientslog.Options{})
func OnEvent(l *slog.Logger, o Options) func(context.Context, counterfoil.Event) {
	if o.Every == 0 {
		o.Every = time.Minute
	}
	h := &hook{handler: l.Handler(), every: o.Every, kinds: map[kind]*count{}}
	return h.write
}

type hook struct {
	handler slog.Handler
	every   time.Duration

	mu    sync.Mutex
	kinds map[kind]*count
}

// kind is what equal lines have in common.
type kind struct {
	event, realm, client string
	reason               counterfoil.Reason
	status               int
}

type count struct {
	last    time.Time
	skipped int
}

func (h *hook) write(ctx context.Context, e counterfoil.Event) {
	level := levelOf(e)
	if !h.handler.Enabled(ctx, level) {
		return
	}
	repeated, ok := h.due(e)
	if !ok {
		return
	}
	r := slog.NewRecord(e.Time, level, message(e.Type), 0)
	r.AddAttrs(attributes(e)...)
	if repeated > 0 {
		r.AddAttrs(slog.Int("repeated", repeated))
	}
	_ = h.handler.Handle(ctx, r) // ignored, as by slog.Logger
}

// due reports whether e should be written, and how many equal events were not.
func (h *hook) due(e counterfoil.Event) (repeated int, ok bool) {
	if h.every < 0 || e.Success || e.Type == counterfoil.EventTokenRequested {
		return 0, true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	k := kind{e.Type, e.Realm, e.ClientID, e.Reason, e.Status}
	c := h.kinds[k]
	switch {
	case c == nil:
		h.makeRoom(e.Time)
		h.kinds[k] = &count{last: e.Time}
		return 0, true
	case e.Time.Sub(c.last) >= h.every, e.Time.Before(c.last): // before: the clock was set back
		repeated, c.skipped, c.last = c.skipped, 0, e.Time
		return repeated, true
	}
	c.skipped++
	return 0, false
}

// makeRoom forgets kinds that would be written again anyway, or one more.
func (h *hook) makeRoom(now time.Time) {
	if len(h.kinds) < maxKinds {
		return
	}
	for k, c := range h.kinds {
		if now.Sub(c.last) >= h.every {
			delete(h.kinds, k)
		}
	}
	for k := range h.kinds {
		if len(h.kinds) < maxKinds {
			return
		}
		delete(h.kinds, k)
	}
}

func levelOf(e counterfoil.Event) slog.Level {
	switch e.Type {
	case counterfoil.EventTokenRequested:
		return slog.LevelDebug
	case counterfoil.EventTokenRefused:
		return slog.LevelError
	case counterfoil.EventTokenFailed:
		if (&counterfoil.Error{Reason: e.Reason}).Class() == counterfoil.ClassTransient {
			return slog.LevelWarn
		}
		return slog.LevelError
	case counterfoil.EventTokenNotCached, counterfoil.EventTokenDropped, counterfoil.EventCredentialExpiring:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

func message(event string) string {
	switch event {
	case counterfoil.EventTokenRequested:
		return "token requested"
	case counterfoil.EventTokenObtained:
		return "token obtained"
	case counterfoil.EventTokenRenewed:
		return "token renewed"
	case counterfoil.EventTokenRefused:
		return "token refused"
	case counterfoil.EventTokenFailed:
		return "token request failed"
	case counterfoil.EventTokenNotCached:
		return "token not cached"
	case counterfoil.EventTokenDropped:
		return "token dropped"
	case counterfoil.EventCallRetried:
		return "call retried"
	case counterfoil.EventCredentialExpiring:
		return "credentials end soon"
	}
	return "client event"
}

func attributes(e counterfoil.Event) []slog.Attr {
	all := []slog.Attr{
		slog.String("event_type", e.Type),
		slog.String("realm", e.Realm),
		slog.String("client_id", e.ClientID),
		slog.Bool("success", e.Success),
	}
	for _, a := range []slog.Attr{
		slog.String("reason", string(e.Reason)),
		slog.String("token_id", e.TokenID),
		slog.String("detail", e.Detail),
	} {
		if a.Value.String() != "" {
			all = append(all, a)
		}
	}
	if e.Duration > 0 {
		all = append(all, slog.Duration("duration", e.Duration))
	}
	if e.Status != 0 {
		all = append(all, slog.Int("status", e.Status))
	}
	if e.Attempt != 0 {
		all = append(all, slog.Int("attempt", e.Attempt))
	}
	return all
}
