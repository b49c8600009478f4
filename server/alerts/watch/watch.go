// Package watch finds alerts in the audit record and in the state of a server, and
// has them sent. Use it beside a server.Server, on its Store: any number of
// processes may watch one database.
//
// It follows the record from where it was followed to, in parts, and stores what it
// has found together with how far it came: of several processes one is ahead with
// each part, another goes on when that one dies, and a process that is killed loses
// no alert and makes none twice. An alert is sent at least once, by each sender, for
// as long as MaxAttempts attempts take; a sender that hangs delays no other. What it
// remembers and what waits is bounded, whatever callers send.
package watch

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
)

// Settings say what is an alert. Fields that are 0 have their defaults.
type Settings struct {
	// Failures is how many failed authentications of one client from one network
	// in an hour are one; default 20. Five times as many are one from networks with fewer
	// each.
	Failures int
	// VolumeFactor is how many times the tokens of the busiest hour of a client's last
	// seven days an hour must have more than, and VolumeAbove the number of tokens that
	// it must have more than in any case; defaults 5 and 100.
	VolumeFactor, VolumeAbove int64
	// SecretAge is the age that a secret should not reach; default 90 days.
	SecretAge time.Duration
	// Repeat is how long an alert that was sent is not sent again, although its count
	// grows; default 1 hour.
	Repeat time.Duration
	// Off are the kinds that are never raised.
	Off []alerts.Kind
}

// Config configures New.
type Config struct {
	Settings
	// Store is required. Clock is the system's when nil, Logger slog.Default.
	Store  store.Store
	Clock  counterfoil.Clock
	Logger *slog.Logger
	// Realms returns the names of the realms whose clients are looked at.
	Realms func() []string
	// Certificates, when set, returns the certificates of the server.
	Certificates func() []Certificate
	// Troubles, when set, are raised as well.
	Troubles *alerts.Troubles
	// OnRaise, when set, is called with the kind of each alert that was raised or whose
	// count has grown, after that is stored.
	OnRaise func(alerts.Kind)
	// Senders are those that alerts are sent by. Their names are distinct.
	Senders []alerts.Sender
	// Where is added to the commands of alerts, and says which server they are for, as
	// in "--serve-config /etc/counterfoil/serve.yaml".
	Where string
}

// Certificate is one that the server uses.
type Certificate struct {
	// Name says which: the path of its file.
	Name string
	// Realm is the one that uses it; "" for the server itself.
	Realm   string
	Expires time.Time
	// Command is what checks it.
	Command string
}

const (
	// every is how often the record is followed.
	every = 3 * time.Second
	// sweepEvery is how often clients and certificates are looked at.
	sweepEvery = time.Hour
	// readAtOnce is how many events one step reads, and raiseAtOnce how many alerts it
	// raises: whatever else is to be recorded, by any process, waits while it is stored.
	readAtOnce  = 2048
	raiseAtOnce = 50
)

// Watch follows one database. Its methods may be called at once.
type Watch struct {
	Config
	senders []string
	wake    []chan struct{}
	trouble lograte.Limiter
	mu      sync.Mutex // held by Look
}

// New returns a Watch, which does nothing before Run.
func New(c Config) *Watch {
	if c.Clock == nil {
		c.Clock = clock.System
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Realms == nil {
		c.Realms = func() []string { return nil }
	}
	s := &c.Settings
	s.Failures, s.VolumeFactor, s.VolumeAbove = cmp.Or(s.Failures, 20), cmp.Or(s.VolumeFactor, 5), cmp.Or(s.VolumeAbove, 100)
	s.SecretAge, s.Repeat = cmp.Or(s.SecretAge, 90*24*time.Hour), cmp.Or(s.Repeat, time.Hour)
	w := &Watch{Config: c}
	for _, sender := range c.Senders {
		w.senders = append(w.senders, sender.Name())
		w.wake = append(w.wake, make(chan struct{}, 1))
	}
	return w
}

// Run looks every few seconds, and sends, until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range w.Senders {
		wg.Go(func() { w.send(ctx, w.Senders[i], w.wake[i]) })
	}
	for w.Clock.Sleep(ctx, every) == nil {
		if err := w.Look(ctx); err != nil && ctx.Err() == nil {
			w.trouble.Error(ctx, w.Clock, w.Logger, "alerts are not looked for", alerts.Trouble(alerts.KindStore), "error", err)
		}
	}
	wg.Wait()
	// The log may have said something since; it is sent after the next start.
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.troubles(context.WithoutCancel(ctx)); err != nil {
		w.trouble.Error(ctx, w.Clock, w.Logger, "the last alerts are not kept", "error", err)
	}
}

// Look raises what is to be raised now: it reads the record up to its end and, when
// an hour has passed since, looks at certificates and clients: 2000 of them at once,
// and at the others when it is called again.
func (w *Watch) Look(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.troubles(ctx); err != nil {
		return err
	}
	for {
		more, err := w.follow(ctx)
		if errors.Is(err, store.ErrConflict) {
			return nil // another process is at it
		}
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	if err := w.sweep(ctx); err != nil && !errors.Is(err, store.ErrConflict) {
		return err
	}
	return nil
}

// troubles raises what this process has in its log.
func (w *Watch) troubles(ctx context.Context) error {
	if w.Troubles == nil {
		return nil
	}
	found := w.Troubles.Take()
	if len(found) == 0 {
		return nil
	}
	raise := slices.Clone(found)
	for i := range raise {
		raise[i].Command = w.troubleCommand(&raise[i])
	}
	err := w.advance(ctx, store.AlertStep{At: w.Clock.Now(), Raise: raise})
	if err != nil {
		w.Troubles.Return(found)
	}
	return err
}

// advance stores a step, and wakes the senders.
func (w *Watch) advance(ctx context.Context, step store.AlertStep) error {
	step.Raise = slices.DeleteFunc(step.Raise, func(a alerts.Alert) bool { return slices.Contains(w.Off, a.Kind) })
	step.Senders, step.Repeat, step.OthersCommand = w.senders, w.Repeat, w.command("alerts")
	err := w.Store.AdvanceAlerts(ctx, step)
	if err != nil {
		return err
	}
	for i := range step.Raise {
		if w.OnRaise != nil {
			w.OnRaise(step.Raise[i].Kind)
		}
	}
	if len(step.Raise) > 0 {
		for _, wake := range w.wake {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}
	return nil
}
