package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// A token of a client that is limited to a network is stolen: it opens nothing
// from elsewhere. The guard of the Admin API tells who called by the realm and by
// the caller's own address.
func TestStolenTokenFromElsewhere(t *testing.T) {
	text := strings.Replace(exampleConfig(t), "trusted_proxies: [10.0.0.0/8]", "trusted_proxies: [127.6.6.6]", 1)
	s := layOut(t, strings.Replace(text, "level: info", "level: debug", 1)).start(t)
	from := func(address string) *http.Client {
		c := s.http(t)
		c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext(ctx, network, "127.0.0.1:"+s.port)
		}
		return c
	}
	creds := s.client(t, "ops", "clients:read")
	db, err := sqlite.Open(t.Context(), s.dir+"/counterfoil.db")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	own := netip.MustParsePrefix("127.3.0.0/16")
	if _, err := clients.New(db, nil, anyRules).Change(t.Context(), "test", "ops", creds.ClientID, 0, func(c *store.Settings) error {
		c.Addresses = []netip.Prefix{own}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	token := s.token(t, from("127.3.0.1"), "https://ops.acme.example/token", creds)
	for _, row := range []struct {
		peer, forwarded string
		status          int
		says            string
	}{
		{"127.3.0.2", "", 200, ""},
		{"127.4.0.1", "", 401, "msg=admin.refused realm=ops client_id=" + creds.ClientID + " reason=token_address ip_address=127.4.0.1"},
		{"127.4.0.2", "127.3.0.2", 401, "reason=token_address ip_address=127.4.0.2"},
		{"127.6.6.6", "127.3.0.9", 200, ""},
		{"127.6.6.6", "127.3.0.9, 203.0.113.7", 401, "reason=token_address ip_address=203.0.113.7"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://ops.acme.example/admin/v1/realms", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
		if row.forwarded != "" {
			req.Header.Set("X-Forwarded-For", row.forwarded)
		}
		before := len(s.errors())
		if got := do(t, from(row.peer), req); got.status != row.status {
			t.Errorf("from %s for %q: answered %d", row.peer, row.forwarded, got.status)
		}
		waitFor(t, func() bool { return strings.Contains(s.errors()[before:], row.says) })
	}
}
