package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
)

const (
	// poll is how often the queue is looked at for what another process has raised.
	poll = 2 * time.Second
	// sendWithin is how long an attempt may take, and lease how long it is nobody
	// else's.
	sendWithin = time.Minute
	lease      = 2 * time.Minute
	// firstWait and longestWait are the waits after failed attempts: twice as long each
	// time.
	firstWait   = time.Minute
	longestWait = time.Hour
)

// MaxAttempts is how often an alert is sent that does not arrive: the waits between
// are three days together. They are counted and not the time, which a clock that is
// set would end.
const MaxAttempts = 78

// wait is how long to wait after that number of failed attempts.
func wait(attempts int) time.Duration {
	return min(firstWait<<min(attempts-1, 10), longestWait)
}

// send sends what is due for one sender, one at a time, until ctx ends.
func (w *Watch) send(ctx context.Context, sender alerts.Sender, wake <-chan struct{}) {
	var trouble, away lograte.Limiter // of the store, and of the receiver
	for ctx.Err() == nil {
		d, err := w.Store.ClaimDelivery(ctx, sender.Name(), w.Clock.Now(), lease)
		if err != nil {
			if !errors.Is(err, store.ErrNotFound) && ctx.Err() == nil {
				trouble.Error(ctx, w.Clock, w.Logger, "alerts are not sent", alerts.Trouble(alerts.KindStore), "sender", sender.Name(), "error", err)
			}
			w.rest(ctx, wake)
			continue
		}
		ended := w.attempt(ctx, sender, &d, &away)
		select {
		case <-ended: // one that does not end blocks no other sender
		case <-ctx.Done():
		}
	}
}

// rest waits until something was raised here, or it is time to look for what others
// have raised.
func (w *Watch) rest(ctx context.Context, wake <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-wake:
			cancel()
		case <-ctx.Done():
		}
	}()
	_ = w.Clock.Sleep(ctx, poll)
}

// attempt makes one attempt and stores how it ended. ended is closed once the sender
// has returned, which may be later.
func (w *Watch) attempt(
	ctx context.Context, sender alerts.Sender, d *store.AlertDelivery, away *lograte.Limiter,
) (ended <-chan struct{}) {
	sending, cancel := clock.WithTimeout(ctx, w.Clock, sendWithin)
	defer cancel()
	result, returned := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(returned)
		result <- try(sending, sender, d.Alert)
	}()
	var err error
	select {
	case err = <-result:
	case <-sending.Done():
		err = fmt.Errorf("it does not answer within %v", sendWithin)
	}
	now := w.Clock.Now()
	r := store.DeliveryResult{At: now, Sent: err == nil, Repeat: w.Repeat}
	var permanent *alerts.PermanentError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		r.Next = now // the next process tries at once
	case errors.As(err, &permanent) || d.Attempt >= MaxAttempts:
		w.Logger.ErrorContext(ctx, "an alert was not sent, and is not tried again", "id", d.ID, "sender", sender.Name(),
			"attempts", d.Attempt, "error", err)
	default:
		after := wait(d.Attempt)
		if later := (*alerts.LaterError)(nil); errors.As(err, &later) {
			after = max(after, later.After)
		}
		r.Next = now.Add(after)
		away.Warn(ctx, w.Clock, w.Logger, "an alert was not sent", "id", d.ID, "sender", sender.Name(), "attempt", d.Attempt,
			"next", r.Next.UTC().Format(time.RFC3339), "error", err)
	}
	if err := w.Store.FinishDelivery(context.WithoutCancel(ctx), *d, r); err != nil {
		// It is sent once more when the lease has ended.
		w.trouble.Error(ctx, w.Clock, w.Logger, "what was sent of alerts is not recorded", alerts.Trouble(alerts.KindStore), "error", err)
	}
	return returned
}

// try is one call of a sender, which may panic.
func try(ctx context.Context, sender alerts.Sender, a alerts.Alert) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the sender panicked: %v", p)
		}
	}()
	return sender.Send(ctx, a)
}
