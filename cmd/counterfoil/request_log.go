package main

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
)

// requestLog logs decisions about requests, one line each. What is granted is for
// debugging, or logged as a sample. Of refusals that are alike, one a second is
// logged, and at its end how many were left out, so that nobody fills the log.
type requestLog struct {
	log   *slog.Logger
	clock counterfoil.Clock
	// every is the sample: one of so many granted requests is logged; 0 for none.
	every   atomic.Int64
	granted atomic.Int64
	// leftOut is called with how many lines were left out in a second.
	leftOut func(int64)

	mu sync.Mutex
	// since is when the present second began, lines are those that it has, and more
	// counts the requests that have none.
	since time.Time
	lines map[line]bool
	more  map[line]int64
}

// line identifies lines that are alike.
type line struct {
	event, realm, endpoint, client, address string
	reason                                  counterfoil.Reason
}

// Bounds of the log.
const (
	logSecond = time.Second
	// maxLines is how many refusals are logged in a second.
	maxLines = 100
)

// newRequestLog returns a log; run it, so that what is left out is told in time.
func newRequestLog(log *slog.Logger, c counterfoil.Clock, m *meter) *requestLog {
	l := &requestLog{log: log, clock: c, leftOut: func(int64) {}, lines: map[line]bool{}, more: map[line]int64{}}
	if m != nil {
		l.leftOut = m.LeftOut
	}
	return l
}

// run tells each second what was left out, until ctx ends, and a last time then.
func (l *requestLog) run(ctx context.Context) {
	for l.clock.Sleep(ctx, logSecond) == nil {
		l.flush(l.clock.Now())
	}
	l.flush(l.clock.Now().Add(logSecond))
}

// onEvent logs a decision. A service that is unavailable is logged with its cause
// and not for each request, so that the cause can be found.
func (l *requestLog) onEvent(ctx context.Context, e counterfoil.Event) {
	unavailable := e.Reason == counterfoil.ReasonUnavailable || e.Reason.Parent() == counterfoil.ReasonUnavailable
	level := slog.LevelInfo
	var sample []slog.Attr
	switch {
	case unavailable:
		return
	case e.Success && l.log.Enabled(ctx, slog.LevelDebug):
		level = slog.LevelDebug
	case e.Success:
		every := l.every.Load()
		if every == 0 || (l.granted.Add(1)-1)%every != 0 {
			return
		}
		sample = append(sample, slog.Int64("sample", every))
	case l.log.Enabled(ctx, level) && !l.first(&e):
		return
	}
	if l.log.Enabled(ctx, level) {
		l.log.LogAttrs(ctx, level, e.Type, append(attributes(&e), sample...)...)
	}
}

// attributes are what a line says of a decision: never a secret or a token.
func attributes(e *counterfoil.Event) []slog.Attr {
	attrs := []slog.Attr{
		slog.String("realm", e.Realm), slog.String("client_id", e.ClientID), slog.String("reason", string(e.Reason)),
		slog.String("ip_address", e.Address), slog.String("user_agent", e.UserAgent),
	}
	for _, a := range []slog.Attr{
		slog.String("auth_method", e.Method), slog.String("endpoint", e.Endpoint), slog.String("resource", e.Resource),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	if e.Duration > 0 {
		attrs = append(attrs, slog.Float64("milliseconds", float64(e.Duration.Microseconds())/1000))
	}
	return attrs
}

// first reports whether a refusal is the first of its kind in this second. Others
// are counted.
func (l *requestLog) first(e *counterfoil.Event) bool {
	l.flush(l.clock.Now())
	k := line{e.Type, e.Realm, e.Endpoint, e.ClientID, e.Address, e.Reason}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lines[k] && len(l.lines) < maxLines {
		l.lines[k] = true
		return true
	}
	k.client, k.address = "", "" // so that the lines of a second are few
	l.more[k]++
	return false
}

// flush ends the present second if it is over, and tells what was left out.
func (l *requestLog) flush(now time.Time) {
	l.mu.Lock()
	since := now.Sub(l.since)
	if l.since.IsZero() || since < 0 || since >= logSecond {
		l.since = now
	} else {
		l.mu.Unlock()
		return
	}
	more := l.more
	clear(l.lines)
	if len(more) > 0 {
		l.more = map[line]int64{}
	}
	l.mu.Unlock()
	var all int64
	for _, k := range slices.SortedFunc(maps.Keys(more), func(a, b line) int {
		return cmp.Or(
			cmp.Compare(a.event, b.event), cmp.Compare(a.realm, b.realm), cmp.Compare(a.endpoint, b.endpoint), cmp.Compare(a.reason, b.reason),
		)
	}) {
		all += more[k]
		l.log.Info(k.event, "realm", k.realm, "reason", string(k.reason), "endpoint", k.endpoint, "repeated", more[k])
	}
	l.leftOut(all)
}
