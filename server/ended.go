package server

import (
	"context"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/requestid"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

const (
	// maxWrong is how many refused credentials wait to be compared with those that
	// have ended; while more wait, others are not compared.
	maxWrong = 256
	// slowEvery is how often one is compared with slow hashes, with slowAtOnce of them.
	slowEvery  = time.Second
	slowAtOnce = 2
	// keepEnded is how long after its end the use of a credential is recorded.
	keepEnded = 90 * 24 * time.Hour
)

// ended records the use of credentials that were a client's. It compares them after
// the answer, so that no caller learns from the time of an answer whether a secret
// was ever right.
type ended struct {
	*shared
	queue    chan wrong
	lastSlow time.Time
}

// wrong are credentials that were refused, with the request.
type wrong struct {
	clientauth.Wrong
	event     counterfoil.Event
	userAgent string
}

func newEnded(s *shared) *ended { return &ended{shared: s, queue: make(chan wrong, maxWrong)} }

// note has credentials compared that a request of a realm had. It does not wait.
func (d *ended) note(realm string, r *clientauth.Request, w clientauth.Wrong) {
	one := wrong{w, counterfoil.Event{
		Type: counterfoil.EventCredentialEnded, Time: r.Time, Realm: realm, ClientID: w.ClientID, Method: w.Method, Reason: w.Reason,
		Address: r.Address, RequestID: requestid.From(r.Context()),
	}, r.UserAgent()}
	select {
	case d.queue <- one:
	default:
	}
}

// run compares until the server is closed.
func (d *ended) run() {
	for {
		select {
		case w := <-d.queue:
			if err := d.compare(d.ctx, &w); err != nil {
				d.storeTrouble.Error(d.ctx, d.Clock, d.Logger, "the use of an ended credential is not recorded",
					alerts.Trouble(alerts.KindStore), "error", err)
			}
		case <-d.ctx.Done():
			return
		}
	}
}

// compare records that a credential was used which has ended.
func (d *ended) compare(ctx context.Context, w *wrong) error {
	now := d.Clock.Now()
	all, err := d.Store.EndedCredentials(ctx, w.event.Realm, w.ID(), now)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(e store.EndedCredential) bool {
		return now.Sub(e.Ended) > keepEnded
	})
	// Guesses for clients without slow hashes take no turn of the others.
	isSlow := func(e store.EndedCredential) bool { return sechash.IsSlow(e.Value) }
	rested := d.lastSlow.IsZero() || now.Sub(d.lastSlow) >= slowEvery || now.Before(d.lastSlow)
	slow := 0
	if rested && slices.ContainsFunc(all, isSlow) {
		slow, d.lastSlow = slowAtOnce, now
	}
	found := w.Ended(all, slow)
	if found == nil {
		return nil
	}
	e := w.event
	e.Credential, e.Detail, e.UserAgent = found.ID, found.Kind+" "+found.ID, event.Clean(w.userAgent, event.MaxUserAgent)
	return d.folder.Record(ctx, e, false)
}
