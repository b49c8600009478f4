package guard_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/provider"
)

// networked is an issuer in the guard's process that limits a client to a network.
type networked struct {
	guard.Liveness
	network netip.Prefix
}

func (l networked) LiveFrom(_ context.Context, _ *counterfoil.Principal, _ counterfoil.Secret, from netip.Addr) error {
	if !l.network.Contains(from) {
		return &counterfoil.Error{Reason: counterfoil.ReasonTokenAddress}
	}
	return nil
}

// A stolen token is used from elsewhere: it is refused wherever the guard knows
// the addresses of its client, and by the caller's own address behind proxies.
func TestAddressesOfAClient(t *testing.T) {
	i := newIntrospector(t)
	i.answer(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"active":true,"client_addresses":["192.0.2.0/24","2001:db8::/32"]}`)
	})
	asks := i.introspection(nil)
	issuer := networked{guard.Unchecked{}, netip.MustParsePrefix("192.0.2.0/24")}
	for name, source := range map[string]guard.Liveness{
		"introspection": asks, "the issuer": issuer, "all of two": guard.AllOf(guard.Unchecked{}, issuer), "all of two, otherwise": guard.AllOf(asks, guard.Unchecked{}),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) {
				c.Liveness = source
				c.Proxies = counterfoil.Proxies{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
			})
			h := r.guard.Handler(http.NotFoundHandler())
			for _, row := range []struct {
				peer, forwarded string
				reason          counterfoil.Reason
			}{
				{"192.0.2.7:1", "", ""},
				{"198.51.100.1:1", "", counterfoil.ReasonTokenAddress},
				{"198.51.100.1:1", "192.0.2.7", counterfoil.ReasonTokenAddress}, // claims to be a proxy
				{"10.0.0.1:1", "192.0.2.7", ""},
				{"10.0.0.1:1", "192.0.2.7, 198.51.100.1", counterfoil.ReasonTokenAddress},
				{"10.0.0.1:1", "", counterfoil.ReasonTokenAddress},
				{"[::ffff:192.0.2.7]:1", "", ""},
				{"@", "", counterfoil.ReasonTokenAddress},
			} {
				req := r.call(r.token(nil))
				req.RemoteAddr = row.peer
				if row.forwarded != "" {
					req.Header.Set("X-Forwarded-For", row.forwarded)
				}
				w := httptest.NewRecorder()
				h.ServeHTTP(w, req)
				e := r.events[len(r.events)-1]
				if e.Reason != row.reason || (w.Code == 401) != (row.reason != "") {
					t.Errorf("from %s for %q: %d %q, want %q", row.peer, row.forwarded, w.Code, e.Reason, row.reason)
				}
			}
		})
	}
	// An answer that cannot be read limits nobody to nothing: the call is not served.
	for _, bad := range []string{`"192.0.2.0/24"`, `[]`, `["192.0.2.0"]`, `[7]`, `{}`, `false`} {
		i.answer(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"active":true,"client_addresses":`+bad+`}`)
		})
		r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.Liveness = i.introspection(nil) })
		if got := r.reason(r.token(nil)); got != counterfoil.ReasonUnavailable {
			t.Errorf("%s: %q", bad, got)
		}
	}
}
