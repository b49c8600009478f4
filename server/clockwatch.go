package server

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/server/alerts"
)

// noticed is the smallest jump of the wall clock that is logged.
const noticed = time.Second

// clockWatch detects that the wall clock was set, by the monotonic clock.
// Without monotonic readings it detects nothing.
type clockWatch struct {
	start time.Time
	// off is how far the wall clock has drifted from the monotonic clock since
	// start.
	off atomic.Int64
	// ahead and back count the jumps.
	ahead, back atomic.Uint64
}

// look logs a jump since the last look.
func (c *clockWatch) look(ctx context.Context, now time.Time, log *slog.Logger) {
	off := now.Round(0).Sub(c.start.Round(0)) - now.Sub(c.start)
	was := c.off.Load()
	jump := off - time.Duration(was)
	if jump.Abs() < noticed || !c.off.CompareAndSwap(was, int64(off)) {
		return
	}
	where, count := "ahead", &c.ahead
	if jump < 0 {
		where, count = "back", &c.back
	}
	count.Add(1)
	log.WarnContext(ctx, "the clock of this machine jumped "+where+": it was set, or the machine was suspended; tokens are dated by it",
		alerts.Trouble(alerts.KindClock), "by", jump.Round(time.Millisecond).String(), "now", now.UTC().Format(time.RFC3339))
}
