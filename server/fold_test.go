package server_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
)

// TestAttackLeavesItsTrace: an attacker cannot erase its trace with malformed
// requests in any number: they take little room in the record, and none of them is
// uncounted once the server has stopped.
func TestAttackLeavesItsTrace(t *testing.T) {
	h := newGate(t, func(c *server.Config) { c.EachRefusal = false })
	handler := http.StripPrefix("/oauth2", h.server.Handler("oauth2"))
	send := func(address string, form url.Values) {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, h.url+"/oauth2/token", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.RemoteAddr = address + ":1234"
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, r); w.Code != http.StatusBadRequest && w.Code != http.StatusUnauthorized {
			t.Fatalf("got %d", w.Code)
		}
	}
	send("192.0.2.7", url.Values{"grant_type": {"client_credentials"}, "client_id": {"good"}, "client_secret": {"wrong"}})
	const noise = 101_000
	for range noise {
		send("192.0.2.7", url.Values{"nothing": {"1"}})
	}
	if err := h.server.Close(); err != nil {
		t.Fatal(err)
	}
	attack, malformed, events := 0, int64(0), h.recorded()
	for _, e := range events {
		switch {
		case e.Type != counterfoil.EventTokenRefused:
		case e.ClientID == "good":
			attack++
		default:
			malformed += max(1, e.Count)
		}
	}
	if attack != 1 || malformed != noise || len(events) > 10 {
		t.Errorf("%d attempts, %d malformed requests of %d, in %d records", attack, malformed, noise, len(events))
	}
}
