package client_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
)

// TestCredentialsThatEnd: what the token endpoint says of the end of the credentials
// is an event, once a day at most, and not while it is renewed or cannot be read.
func TestCredentialsThatEnd(t *testing.T) {
	w := newWorld(t)
	header := "@1785499200;kind=secret"
	w.answers(func(rw http.ResponseWriter, n int) {
		if header != "" {
			rw.Header().Set("Credential-Expires", header)
		}
		give(rw, n, "3600")
	})
	s := w.oauth2()
	told := func() (all []counterfoil.Event) {
		for _, e := range w.seenEvents() {
			if e.Type == counterfoil.EventCredentialExpiring {
				all = append(all, e)
			}
		}
		return all
	}
	renewed := func(by time.Duration) int {
		t.Helper()
		w.clock.Turn(by)
		w.must(s)
		w.eventually("nothing is under way", func() bool { return ownGoroutines() == "" })
		return len(told())
	}
	equal(t, "events at first", renewed(0), 1)
	e := told()[0]
	equal(t, "detail", e.Detail, "the client's secret ends at 2026-07-31T12:00:00Z")
	equal(t, "who", fmt.Sprint(e.Realm, " ", e.ClientID, " ", e.Success), "oauth2 the-client false")
	equal(t, "within a day", renewed(2*time.Hour)+renewed(20*time.Hour), 2)
	equal(t, "after a day", renewed(3*time.Hour), 2)
	header = "what is this"
	equal(t, "nonsense", renewed(48*time.Hour), 2)
	header = ""
	equal(t, "renewed credentials", renewed(48*time.Hour), 2)
	header = "@1785499200;kind=client"
	equal(t, "the client", renewed(2*time.Hour), 3)
	equal(t, "detail of it", told()[2].Detail, "the client ends at 2026-07-31T12:00:00Z")
}
