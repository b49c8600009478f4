package sqlite_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

// stored is the row of a client with every setting, as databases have had it since
// before settings had a JSON form of their own.
const stored = `{"contact":"ops@example.com","environment":"sandbox","addresses":["192.0.2.0/24"],"labels":{"team":"blue \u003c1\u003e"},` +
	`"expires":1801386000000000,"resource_server":true,"tokens":{"lifetime":300000000000,"algorithm":"ES256","policy":"replace",` +
	`"claims":{"plan":"gold"},"certificate_bound":true,"dpop_bound":true},"authentication":{"jwks":"{\"keys\": []}",` +
	`"jwks_uri":"https://a.example/jwks","certificate":{"tls_client_auth_subject_dn":"CN=a","tls_client_auth_san_dns":"a.example",` +
	`"tls_client_auth_san_uri":"urn:a","tls_client_auth_san_ip":"192.0.2.1","tls_client_auth_san_email":"a@example.com"},` +
	`"thumbprints":["bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"],"federation":[{"issuer":"https://k.example","claims":{"sub":"a:*"}}]}}`

// TestStoredSettings: the stored form of settings stays, so that servers of several
// versions can share a database, and what a newer one adds hinders no older one.
func TestStoredSettings(t *testing.T) {
	s := open(t, newPath(t))
	want := store.Settings{
		Name: "Job", Contact: "ops@example.com", Environment: store.EnvironmentSandbox, Scopes: counterfoil.Scopes{"read"}, Tenants: []string{"T"},
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Labels: map[string]string{"team": "blue <1>"},
		Expires: time.Date(2027, 1, 31, 9, 0, 0, 0, time.UTC), ResourceServer: true,
		Tokens: store.TokenSettings{
			Lifetime: 5 * time.Minute, Algorithm: provider.AlgorithmES256, Policy: provider.PolicyReplace, Claims: map[string]string{"plan": "gold"},
			CertificateBound: true, DPoPBound: true,
		},
		Authentication: store.Authentication{
			KeySet: `{"keys": []}`, KeySetURL: "https://a.example/jwks",
			Certificate: store.CertificateRule{SubjectDN: "CN=a", DNS: "a.example", URI: "urn:a", IP: "192.0.2.1", Email: "a@example.com"},
			Thumbprints: []string{"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0"},
			Federation:  []store.FederationRule{{Issuer: "https://k.example", Claims: map[string]string{"sub": "a:*"}}},
		},
	}
	for _, setting := range []any{want, want.Tokens, want.Authentication, want.Authentication.Certificate} {
		for v, i := reflect.ValueOf(setting), 0; i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Errorf("%T.%s is not tested", setting, v.Type().Field(i).Name)
			}
		}
	}
	e := counterfoil.Event{Type: counterfoil.EventClientCreated, Realm: "r", ClientID: "c"}
	if err := s.CreateClient(t.Context(), store.Client{Realm: "r", ID: "c", Settings: want}, e); err != nil {
		t.Fatal(err)
	}
	var text string
	if err := s.DB().QueryRowContext(t.Context(), `SELECT rest FROM clients WHERE id = 'c'`).Scan(&text); err != nil || text != stored {
		t.Errorf("stored as %s, want %s, error %v", text, stored, err)
	}
	for name, row := range map[string]string{
		"as it is": stored,
		"of a newer server": strings.NewReplacer(
			`{"contact"`, `{"colour":{"a":1},"contact"`, `"plan":"gold"},`, `"plan":"gold"},"shape":[],`,
			`{"issuer"`, `{"weight":1,"issuer"`, `{"tls_client_auth_subject_dn"`, `{"tls_client_auth_san_other":"x","tls_client_auth_subject_dn"`,
		).Replace(stored),
	} {
		if name != "as it is" && strings.Count(row, ":")-strings.Count(stored, ":") != 5 {
			t.Errorf("%s: %s", name, row)
		}
		if _, err := s.DB().ExecContext(t.Context(), `UPDATE clients SET rest = ? WHERE id = 'c'`, row); err != nil {
			t.Fatal(err)
		}
		if c, err := s.Client(t.Context(), "r", "c"); err != nil || !reflect.DeepEqual(c.Settings, want) {
			t.Errorf("%s: read as %+v, want %+v, error %v", name, c.Settings, want, err)
		}
	}
}
