package alerts

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
)

// troubleKey is the key of the attribute that makes a log line an alert.
const troubleKey = "trouble"

// Trouble is an attribute that makes a line of a log an alert of that kind as well,
// where the log is that of a Troubles.
func Trouble(k Kind) slog.Attr { return slog.String(troubleKey, string(k)) }

// maxTroubles bounds the alerts that wait, maxText a text of them in bytes.
const (
	maxTroubles = 100
	maxText     = 400
)

// Troubles are the alerts that a process makes of its own log: those of lines with
// the attribute of Trouble. They wait in memory while they cannot be stored, such
// as while the database is what is in trouble; the line itself is in the log at
// once. It is safe for concurrent use.
type Troubles struct {
	clock counterfoil.Clock

	mu      sync.Mutex
	waiting []Alert
}

// NewTroubles returns Troubles that are dated by a clock.
func NewTroubles(c counterfoil.Clock) *Troubles { return &Troubles{clock: c} }

// Take returns the alerts that wait, each once.
func (t *Troubles) Take() []Alert {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.waiting
	t.waiting = nil
	return all
}

// Return has alerts wait again that could not be stored.
func (t *Troubles) Return(all []Alert) {
	t.mu.Lock()
	defer t.mu.Unlock()
	since := t.waiting
	t.waiting = all
	for i := range since {
		t.add(since[i])
	}
}

// add adds an alert, or counts it with the one that it repeats; the caller holds
// the lock.
func (t *Troubles) add(a Alert) {
	for i := range t.waiting {
		w := &t.waiting[i]
		if w.Kind == a.Kind && w.Realm == a.Realm && w.Subject == a.Subject {
			w.Summary, w.Last, w.Count = a.Summary, a.Last, w.Count+a.Count
			return
		}
	}
	if len(t.waiting) < maxTroubles {
		t.waiting = append(t.waiting, a)
	}
}

// Handler returns a handler that passes lines on to next, and makes alerts of those
// with the attribute of Trouble.
func (t *Troubles) Handler(next slog.Handler) slog.Handler { return &troubleHandler{next: next, to: t} }

type troubleHandler struct {
	next  slog.Handler
	to    *Troubles
	attrs []slog.Attr
}

func (h *troubleHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn || h.next.Enabled(ctx, level)
}

func (h *troubleHandler) Handle(ctx context.Context, r slog.Record) error {
	h.note(&r)
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// note makes an alert of a line.
func (h *troubleHandler) note(r *slog.Record) {
	if r.Level < slog.LevelWarn {
		return
	}
	var a Alert
	var cause string
	a.Count = 1
	read := func(attr slog.Attr) bool {
		switch attr.Key {
		case troubleKey:
			a.Kind = Kind(attr.Value.String())
		case "realm":
			a.Realm = event.Clean(attr.Value.String(), event.MaxClientID)
		case "error", "by":
			cause = attr.Value.String()
		case "repeated":
			if n, ok := attr.Value.Any().(int64); ok {
				a.Count += n
			}
		}
		return true
	}
	for _, attr := range h.attrs {
		read(attr)
	}
	r.Attrs(read)
	switch a.Kind {
	case "":
		return
	case KindStore, KindClock: // whatever realm has noticed
		a.Realm = ""
	}
	a.Summary = r.Message
	if cause != "" {
		a.Summary += ": " + cause
	}
	a.Summary = event.Clean(a.Summary, maxText)
	a.First = h.to.clock.Now()
	a.Last = a.First
	h.to.mu.Lock()
	defer h.to.mu.Unlock()
	h.to.add(a)
}

func (h *troubleHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &troubleHandler{h.next.WithAttrs(attrs), h.to, slices.Concat(h.attrs, attrs)}
}

func (h *troubleHandler) WithGroup(name string) slog.Handler {
	return &troubleHandler{h.next.WithGroup(name), h.to, h.attrs}
}

// LogSender returns the sender that writes a line for each alert to a log.
func LogSender(log *slog.Logger) Sender { return logSender{log} }

type logSender struct{ log *slog.Logger }

func (logSender) Name() string { return "log" }

func (s logSender) Send(ctx context.Context, a Alert) error {
	args := []any{"id", a.ID, "kind", string(a.Kind)}
	for _, attr := range [][2]string{
		{"realm", a.Realm}, {"client_id", a.ClientID}, {"subject", a.Subject}, {"summary", a.Summary}, {"command", a.Command},
	} {
		if attr[1] != "" {
			args = append(args, attr[0], attr[1])
		}
	}
	args = append(args, "count", cmp.Or(a.Count, 1), "first", a.First.UTC().Format(time.RFC3339), "last", a.Last.UTC().Format(time.RFC3339))
	s.log.WarnContext(ctx, "alert", args...)
	return nil
}
