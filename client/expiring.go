package client

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/ending"
)

// tellEvery is how often a Source tells at most that its credentials end soon.
const tellEvery = 24 * time.Hour

// expiring is what a token endpoint has said of the end of the credentials.
type expiring struct {
	mu sync.Mutex
	// end and kind are of the last answer; end is zero when it said nothing.
	end  time.Time
	kind ending.Kind
	told time.Time
}

// learn notes what an answer says.
func (x *expiring) learn(h http.Header) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.end, x.kind, _ = ending.Parse(h)
}

// due returns what there is to tell, once in a while.
func (x *expiring) due(now time.Time) (detail string, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.end.IsZero() || !x.told.IsZero() && now.Sub(x.told) < tellEvery && !now.Before(x.told) {
		return "", false
	}
	x.told = now
	what := map[ending.Kind]string{ending.Secret: "the client's secret", ending.APIKey: "the API key", ending.Client: "the client"}[x.kind]
	if what == "" {
		what = "a credential of the client"
	}
	return what + " ends at " + x.end.Format(time.RFC3339), true
}

// tell emits an event when the token endpoint says that credentials end soon.
func (x *exchange) tell(ctx context.Context) {
	if detail, ok := x.expiring.due(x.cfg.Clock.Now()); ok {
		x.cfg.event(ctx, counterfoil.Event{Type: counterfoil.EventCredentialExpiring, Detail: detail})
	}
}
