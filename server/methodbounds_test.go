package server_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// TestFederatedAudience: where an issuer's tokens are to name an audience of
// their own, no other will do, that of the realm's own assertions included.
func TestFederatedAudience(t *testing.T) {
	place := newSource(t, serving(jwks("gh", ecKey())))
	h := newGate(t, platforms(place))
	h.workload("job", store.Authentication{Federation: []store.FederationRule{
		{Issuer: actions, Claims: map[string]string{"sub": "repo:*"}}, {Issuer: cluster, Claims: map[string]string{"sub": "system:*"}},
	}})
	for name, row := range map[string]struct {
		aud any
		ok  bool
	}{
		"its own":         {"counterfoil", true},
		"its own in two":  {[]string{"other", "counterfoil"}, true},
		"another":         {"other", false},
		"the realm's":     {"https://issuer.example", false},
		"the beginning":   {"counter", false},
		"the other case":  {"Counterfoil", false},
		"none":            {nil, false},
		"none in a list":  {[]string{}, false},
		"an object of it": {claims{"counterfoil": true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := h.asserting(signed(ecKey(), "gh", h.workflow().but(claims{"aud": row.aud})), "client_id", "job")
			if row.ok {
				h.wantToken(t, a)
				return
			}
			h.wantInvalid(t, a, counterfoil.ReasonAssertionAudience)
		})
	}
	t.Run("of an issuer without one", func(t *testing.T) {
		h.wantInvalid(t, h.asserting(signed(rsKey(), "sa", h.pod().but(claims{"aud": "counterfoil"})), "client_id", "job"), counterfoil.ReasonAssertionAudience)
	})
}

// TestFederationRulesAreExact: names of claims and their values are taken as
// they are written.
func TestFederationRulesAreExact(t *testing.T) {
	place := newSource(t, serving(jwks("gh", ecKey())))
	h := newGate(t, platforms(place))
	odd := claims{"a/b": claims{"~": "tilde", "~1": "slash"}, "~1": "top"}
	for i, row := range []struct {
		path, want string
		ok         bool
	}{
		{"/a~1b/~0", "tilde", true},
		{"/a~1b/~01", "slash", true},
		{"~1", "top", true},
		{"/~01", "top", true},
		{"/a/b/~0", "tilde", false},
		{"/a~1b/~1", "slash", false},
		{"sub", "repo:acme/billing:environment:prod", true},
		{"sub", "repo:acme/billing:environment:prod*", true},
	} {
		t.Run(row.path+" "+row.want, func(t *testing.T) {
			id := fmt.Sprint("exact", i)
			h.workload(id, store.Authentication{Federation: []store.FederationRule{{Issuer: actions, Claims: map[string]string{row.path: row.want}}}})
			a := h.asserting(signed(ecKey(), "gh", h.workflow().but(odd)), "client_id", id)
			if row.ok {
				h.wantToken(t, a)
				return
			}
			h.wantInvalid(t, a, counterfoil.ReasonAssertionClaims)
		})
	}
	for _, want := range []string{"repo:*:environment:prod", "*:prod", "repo:acme/billing:**"} {
		n := clients.NewClient{Realm: "oauth2", Settings: store.Settings{Authentication: store.Authentication{
			Federation: []store.FederationRule{{Issuer: actions, Claims: map[string]string{"sub": want}}},
		}}}
		if _, _, err := h.clients.Create(t.Context(), "test", n); err == nil {
			t.Errorf("a rule with %q was taken", want)
		}
	}
}

// TestClientThatIsASPIFFEID: a client whose ID is a name of a trust domain that
// the realm federates with may authenticate by its own key.
func TestClientThatIsASPIFFEID(t *testing.T) {
	place := newSource(t, serving(jwks("gh", ecKey())))
	h := newGate(t, platforms(place))
	id := domain + "/own"
	h.workload(id, store.Authentication{KeySet: jwks("own", edKey())})
	h.wantToken(t, h.asserting(signed(edKey(), "own", h.own(id))))
	h.wantToken(t, h.asserting(signed(edKey(), "own", h.own(id)), "client_id", id))
	h.wantInvalid(t, h.asserting(signed(ecKey(), "svid", h.own(id))), counterfoil.ReasonAssertionKey)
}

// TestKeyIsForOneAlgorithm: a key that says what it is for is for nothing else.
func TestKeyIsForOneAlgorithm(t *testing.T) {
	h := newGate(t, nil)
	for keyFor, id := range map[string]string{"RS256": "rs", "PS256": "ps", "": "any"} {
		set := jwks("k", rsKey())
		if keyFor != "" {
			set = strings.Replace(set, `"kty"`, `"alg":"`+keyFor+`","kty"`, 1)
		}
		h.workload(id, store.Authentication{KeySet: set})
		for _, used := range []string{"RS256", "PS256"} {
			a := h.asserting(signers[used](`{"alg":"`+used+`","kid":"k"}`, h.own(id).String()))
			if keyFor == "" || keyFor == used {
				h.wantToken(t, a)
			} else {
				h.wantInvalid(t, a, counterfoil.ReasonAssertionKey)
			}
		}
	}
}

// TestCertificateThatIsToCome is none yet, also where it is registered by itself.
func TestCertificateThatIsToCome(t *testing.T) {
	h := newGate(t, nil)
	early := h.selfSigned(ecKey(), &x509.Certificate{NotBefore: h.clock.Now().Add(time.Minute), NotAfter: h.clock.Now().Add(time.Hour)})
	h.workload("pinned", store.Authentication{Thumbprints: []string{thumbprint(early)}})
	h.workload("keyed", store.Authentication{KeySet: jwks("", ecKey())})
	h.http = trusting(early)
	for _, id := range []string{"pinned", "keyed"} {
		h.wantInvalid(t, certified(id), counterfoil.ReasonCertificateUnknown)
	}
	h.clock.Turn(time.Minute)
	for _, id := range []string{"pinned", "keyed"} {
		h.wantToken(t, certified(id))
	}
}

// TestStatusListEnds: a list is not to be taken for true for longer than two
// minutes.
func TestStatusListEnds(t *testing.T) {
	h := newHouseOf(t, nil, "listed")
	h.token("listed")
	var list struct {
		Issued  int64 `json:"iat"`
		Expires int64 `json:"exp"`
	}
	if err := json.Unmarshal([]byte(part(t, h.get(t, http.MethodGet, "/listed/status-lists/0").body, 1)), &list); err != nil {
		t.Fatal(err)
	}
	if life := list.Expires - list.Issued; life < 15 || life > 120 {
		t.Errorf("a list serves for %d seconds", life)
	}
}

// TestKeptStatusLists: a caller that requests many lists fills no memory. Which
// lists are kept depends on a random hash, so the test requests all of them twice.
func TestKeptStatusLists(t *testing.T) {
	db := &counting{}
	h := newHouseOf(t, func(s store.Store) store.Store { db.Store = s; return db }, "listed")
	const lists = 129 // one more than are kept
	if _, err := h.store.StatusIndexes(t.Context(), "listed", (lists-1)<<20+1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for n := range lists {
			if got := h.get(t, http.MethodGet, fmt.Sprint("/listed/status-lists/", n)); got.status != http.StatusOK {
				t.Fatalf("list %d got %d %s", n, got.status, got.body)
			}
		}
	}
	if db.revoked <= lists || db.revoked == 2*lists {
		t.Errorf("%d lists, each requested twice, were made %d times", lists, db.revoked)
	}
}

// TestTokenThatIsToCome: a token that another server of the realm has issued,
// whose clock is ahead, is active from half a minute before its nbf on.
func TestTokenThatIsToCome(t *testing.T) {
	h := newHouseOf(t, nil, "engagifii")
	token := h.token("engagifii")
	h.clock.Step(-30 * time.Second)
	h.wantActive("engagifii", token, true)
	h.clock.Step(-2 * time.Second)
	h.wantActive("engagifii", token, false)
	h.clock.Step(2 * time.Second)
	h.wantActive("engagifii", token, true)
}

// TestCertificateOfOneSubject: a rule names one subject, and the whole of it.
func TestCertificateOfOneSubject(t *testing.T) {
	pool := x509.NewCertPool()
	h := newGate(t, func(c *server.Config) { c.Realms[0].CertificateAuthorities = pool })
	root := h.authority("root", nil)
	pool.AddCert(root.Leaf)
	for i, row := range []struct {
		name string
		rule store.CertificateRule
		ok   bool
	}{
		{"one", store.CertificateRule{DNS: "job.example.com"}, true},
		{"of two subjects, both right", store.CertificateRule{DNS: "job.example.com", IP: "192.0.2.7"}, false},
		{"of two subjects, one wrong", store.CertificateRule{DNS: "x.example.com", IP: "192.0.2.7"}, false},
		{"the end of a name", store.CertificateRule{DNS: "example.com"}, false},
		{"the end of a label", store.CertificateRule{DNS: "ob.example.com"}, false},
		{"the start of a name", store.CertificateRule{DNS: "job.example"}, false},
		{"the start of a URI", store.CertificateRule{URI: "spiffe://example.com/ns/x"}, false},
		{"an email's domain", store.CertificateRule{Email: "@example.com"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := store.Client{
				Realm: "oauth2", ID: fmt.Sprint("c", i), Version: 1, Created: h.clock.Now(),
				Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}, Authentication: store.Authentication{Certificate: row.rule}},
			}
			// Past the checks of Clients, as an older program or a restored backup does.
			if err := h.store.CreateClient(t.Context(), c, counterfoil.Event{Type: counterfoil.EventClientCreated, Time: h.clock.Now(), Realm: "oauth2", ClientID: c.ID, Success: true}); err != nil {
				t.Fatal(err)
			}
			cert := forClient()
			cert.EmailAddresses = append(cert.EmailAddresses, "@example.com") // whose local part is missing
			h.http = trusting(h.certificate(ecKey(), cert, root))
			if row.ok {
				h.wantToken(t, certified(c.ID))
				return
			}
			h.wantInvalid(t, certified(c.ID), counterfoil.ReasonCertificateUnknown)
		})
	}
}
