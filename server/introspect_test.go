package server_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
)

// TestSignedByTheRealmButNoToken: what a realm's own key has signed serves only
// where it has the type, the algorithm and the issuer of the realm's tokens.
func TestSignedByTheRealmButNoToken(t *testing.T) {
	const realm = "identityserver" // whose RSA keys could sign by two algorithms
	h := newHouseOf(t, nil, realm)
	token := h.token(realm)
	rows, err := h.store.SigningKeys(t.Context(), realm)
	if err != nil || len(rows) != 1 {
		t.Fatalf("the realm has %d keys, %v", len(rows), err)
	}
	private, err := x509.ParsePKCS8PrivateKey([]byte(rows[0].Private.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	key, ok := private.(*rsa.PrivateKey)
	if !ok {
		t.Fatalf("the realm signs with %T, by which no two algorithms can be told apart", private)
	}
	header, payload := object(t, part(t, token, 0)), object(t, part(t, token, 1))
	for _, row := range []struct {
		name            string
		header, payload claims
		ok              bool
	}{
		{"as it was issued", nil, nil, true},
		{"type of a status list", claims{"typ": "statuslist+jwt"}, nil, false},
		{"type of an ID token", claims{"typ": "JWT"}, nil, false},
		{"no type", claims{"typ": nil}, nil, false},
		{"another algorithm of the same key", claims{"alg": "PS256"}, nil, false},
		{"another issuer", nil, claims{"iss": "https://other.example"}, false},
		{"issuer with a slash", nil, claims{"iss": payload["iss"].(string) + "/"}, false},
		{"issuer in a list", nil, claims{"iss": []any{payload["iss"]}}, false},
		{"empty issuer", nil, claims{"iss": ""}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			head, body := header.but(row.header).String(), payload.but(row.payload).String()
			again := josetest.Token(key, head, body)
			if row.header["alg"] == "PS256" {
				again = josetest.PS256(key, head, body)
			}
			got := h.introspect(realm, again, h.as(realm, h.creds[realm]))
			if active := got.body != inactive; got.status != http.StatusOK || active != row.ok {
				t.Errorf("the answer is %d %s, want it active: %v", got.status, got.body, row.ok)
			}
		})
	}
}

// object reads the members of a JSON object.
func object(t *testing.T, text string) claims {
	t.Helper()
	var members claims
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		t.Fatal(err)
	}
	return members
}

// Who asks about tokens leaves a trace: one record a minute and client, with the
// number.
func TestIntrospectionsAreCounted(t *testing.T) {
	const realm = "oauth2"
	h := newHouseOf(t, nil, realm)
	by := h.as(realm, h.creds[realm])
	for range 3 {
		if got := h.introspect(realm, "unknown", by); got.status != http.StatusOK {
			t.Fatalf("got %d %s", got.status, got.body)
		}
	}
	if err := h.server.Close(); err != nil {
		t.Fatal(err)
	}
	var found []counterfoil.Event
	for _, e := range h.recorded() {
		if e.Type == counterfoil.EventTokenIntrospected {
			found = append(found, e.Event)
		}
	}
	if len(found) != 1 || found[0].Count != 3 || !found[0].Success || found[0].ClientID != h.creds[realm].ClientID || found[0].Method == "" {
		t.Errorf("recorded: %+v", found)
	}
}
