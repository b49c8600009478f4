// Package trail records the decisions of guards: each refusal, and the calls that
// are let through as counts by minute and client, or each where that is wanted.
// Use it beside a guard in any process: give a Trail's OnEvent to the guard, run
// the Trail, and have it write to a file (Open) or to whatever implements Sink,
// such as the store of a server in the same process.
//
//	file, err := trail.Open("/var/log/api/decisions.jsonl")
//	…
//	t := trail.New(trail.Config{Sink: file})
//	go t.Run(ctx)
//	g, err := guard.New(guard.Config{…, OnEvent: t.OnEvent})
//
// Refusals that repeat are recorded as the server records its own: the first of a
// kind at once, the others once a minute with their number, so that nobody fills
// the record. A process that is killed loses the counts of at most a minute.
package trail

import (
	"context"
	"log/slog"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/fold"
	"github.com/counterfoil/counterfoil/internal/lograte"
)

// flushEvery is how often Run looks whether a minute is over.
const flushEvery = 5 * time.Second

// Sink records events durably: all of a call or, with an error, none. It must be
// safe for concurrent use.
type Sink interface {
	RecordEvents(ctx context.Context, events ...counterfoil.Event) error
}

// Config configures New.
type Config struct {
	// Sink records the events. Required.
	Sink Sink
	// Each records each call that is let through by itself, before it reaches the
	// API; otherwise they are counted by minute and client. A call that cannot be
	// recorded is let through all the same, and counted.
	Each bool
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
	// Logger gets failures of Sink; default slog.Default.
	Logger *slog.Logger
}

// Trail records decisions. It is safe for concurrent use, also by several guards.
type Trail struct {
	Config
	folder  *fold.Folder
	trouble lograte.Limiter
}

// New returns a Trail. Run it, so that counts are recorded.
func New(c Config) *Trail {
	if c.Clock == nil {
		c.Clock = clock.System
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Trail{Config: c, folder: fold.New(c.Clock, c.Sink.RecordEvents)}
}

// OnEvent records a decision, or counts it: give it to guard.Config. What cannot
// be recorded is logged, at most once a second, and counted again later.
func (t *Trail) OnEvent(ctx context.Context, e counterfoil.Event) {
	ctx = context.WithoutCancel(ctx) // a caller that leaves is recorded, too
	var err error
	proven := e.ClientID != ""
	switch {
	case !e.Success:
		err = t.folder.Record(ctx, e, proven)
	case t.Each:
		err = t.Sink.RecordEvents(ctx, e)
	default:
		t.folder.Count(e)
	}
	if err != nil && e.Success {
		t.folder.Count(e)
	} else if err != nil {
		t.folder.Again(e, proven)
	}
	t.failed(ctx, err)
}

// Run records the counts of each minute until ctx ends, and those that are left
// then.
func (t *Trail) Run(ctx context.Context) {
	for t.Clock.Sleep(ctx, flushEvery) == nil {
		t.failed(ctx, t.folder.Flush(ctx))
	}
	ctx = context.WithoutCancel(ctx)
	t.failed(ctx, t.folder.Close(ctx))
}

func (t *Trail) failed(ctx context.Context, err error) {
	if err != nil {
		t.trouble.Error(ctx, t.Clock, t.Logger, "guard: decisions not recorded", "error", err)
	}
}
