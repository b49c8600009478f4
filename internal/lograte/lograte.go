// Package lograte keeps a failure that affects every request from filling the log:
// it logs one line a second and counts the others. It is internal and makes no
// compatibility promise.
package lograte

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
)

// Interval is the time between two lines.
const Interval = time.Second

// Limiter limits the lines about one kind of failure. The zero value is ready.
type Limiter struct {
	// Every replaces the Interval.
	Every time.Duration

	mu     sync.Mutex
	last   time.Time
	missed int
}

// Error logs a line unless one was logged within the Interval. The attribute
// "repeated" says how many lines were left out before it.
func (l *Limiter) Error(ctx context.Context, c clock.Clock, log *slog.Logger, message string, args ...any) {
	l.line(ctx, c, log, slog.LevelError, message, args)
}

// Warn is Error for a warning.
func (l *Limiter) Warn(ctx context.Context, c clock.Clock, log *slog.Logger, message string, args ...any) {
	l.line(ctx, c, log, slog.LevelWarn, message, args)
}

func (l *Limiter) line(ctx context.Context, c clock.Clock, log *slog.Logger, level slog.Level, message string, args []any) {
	missed, ok := l.allow(c.Now())
	if !ok {
		return
	}
	if missed > 0 {
		args = append(args, "repeated", missed)
	}
	log.Log(ctx, level, message, args...)
}

// allow reports whether a line may be logged, and how many were not.
func (l *Limiter) allow(now time.Time) (missed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// After a clock was set back, a line is logged.
	if since := now.Sub(l.last); !l.last.IsZero() && since >= 0 && since < cmp.Or(l.Every, Interval) {
		l.missed++
		return 0, false
	}
	missed, l.missed, l.last = l.missed, 0, now
	return missed, true
}
