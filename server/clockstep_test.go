package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// dates are what a token says of itself.
type dates struct {
	Issued    int64 `json:"iat"`
	NotBefore int64 `json:"nbf"`
	Expires   int64 `json:"exp"`
}

func datesOf(t *testing.T, token string) (d dates) {
	t.Helper()
	if err := json.Unmarshal([]byte(part(t, token, 1)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// wantDates holds a token to what verifiers allow and to what its realm says.
func (h *house) wantDates(when, token string, lifetime time.Duration) {
	h.t.Helper()
	now, d := h.clock.Now().Unix(), datesOf(h.t, token)
	if ahead := max(d.Issued, d.NotBefore) - now; ahead > int64(store.MaxAhead/time.Second) {
		h.t.Errorf("%s: a token is dated %d s ahead of the clock", when, ahead)
	}
	if left := d.Expires - now; left > int64(lifetime/time.Second)+1 || left <= 0 {
		h.t.Errorf("%s: a token has %d s left in a realm of %v", when, left, lifetime)
	}
}

func (h *house) done(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// The clock was two hours ahead for one token, or two hours behind, and every later
// token was dated so.
func TestClockSet(t *testing.T) {
	for _, by := range []time.Duration{2 * time.Hour, -2 * time.Hour, 30 * time.Second, -30 * time.Second, 5 * time.Second, -5 * time.Second} {
		for realm, lifetime := range map[string]time.Duration{"altrata": 8 * time.Hour, "a55": time.Hour, "engagifii": time.Hour, "reused": time.Hour} {
			t.Run(fmt.Sprintf("%s, clock set by %v for a moment", realm, by), func(t *testing.T) {
				h := newHouseOf(t, nil, realm)
				replaces := realm == "altrata"
				before := h.token(realm)
				h.clock.Turn(10 * time.Second)
				h.clock.Step(by)
				during := h.token(realm)
				h.wantDates("while it is wrong", during, lifetime)
				h.clock.Turn(500 * time.Millisecond)
				h.clock.Step(-by)
				after := h.token(realm)
				h.wantDates("set right", after, lifetime)
				h.wantActive(realm, after, true)
				if replaces {
					h.wantActive(realm, before, false)
					h.wantActive(realm, during, false)
				}
				h.clock.Turn(3 * time.Second)
				last := h.token(realm)
				h.wantDates("a little later", last, lifetime)
				h.wantActive(realm, last, true)
				if replaces {
					h.wantActive(realm, after, false)
				}
				// When the clock gets there by itself, what was replaced is not back.
				h.clock.Turn(2*time.Hour + time.Minute)
				if replaces {
					h.wantActive(realm, before, false)
					h.wantActive(realm, during, false)
					h.wantActive(realm, last, true)
				}
				told := 0 // of each client whose tokens were dated far ahead, once
				if replaces && by.Abs() > store.MaxAhead {
					told = 1
				}
				if log := h.log.String(); strings.Count(log, "the clock of this machine jumped") != 2 || strings.Count(log, "dated ahead of it are revoked") != told {
					t.Errorf("a clock that was set twice is logged so, want %d clients told of:\n%s", told, log)
				}
			})
		}
	}
}

// A clock that is set by a second is logged with its direction, once; one that goes
// on is not.
func TestClockThatIsSetIsLogged(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	for _, step := range []struct {
		by    time.Duration
		where string
	}{{0, ""}, {time.Second, "jumped ahead"}, {0, ""}, {-time.Second, "jumped back"}, {0, ""}} {
		before := len(h.log.String())
		h.clock.Turn(time.Minute)
		h.clock.Step(step.by)
		h.token("oauth2")
		h.token("oauth2")
		text := h.log.String()[before:]
		if n := strings.Count(text, "jumped"); (step.where == "") != (n == 0) || n > 1 || !strings.Contains(text, step.where) {
			t.Errorf("set by %v, the log says %q, want %q", step.by, text, step.where)
		}
	}
}

// Revoking, deleting and making anew did not bring a client back whose tokens were
// dated ahead, and a token that was dated ahead outlived its revocation.
func TestClockSetRevoked(t *testing.T) {
	for _, realm := range []string{"altrata", "engagifii"} {
		for name, end := range map[string]func(*house){
			"revoked": func(h *house) { h.done(h.clients.RevokeTokens(h.t.Context(), "test", realm, "good")) },
			"deleted": func(h *house) {
				h.done(h.clients.Delete(h.t.Context(), "test", realm, "good"))
				h.creds[realm] = h.client(clients.NewClient{Realm: realm, ID: "good", WithAPIKey: realm == "altrata",
					Settings: store.Settings{Scopes: must(builtin(realm)).ScopeNames(), Tenants: []string{"TENANT123"}}})
			},
		} {
			for _, ahead := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s %s, while the clock is ahead: %v", realm, name, ahead), func(t *testing.T) {
					h := newHouseOf(t, nil, realm)
					tokens := []string{h.token(realm)}
					h.clock.Turn(time.Minute)
					h.clock.Step(2 * time.Hour)
					tokens = append(tokens, h.token(realm))
					if ahead {
						end(h)
					}
					h.clock.Step(-2 * time.Hour)
					h.clock.Turn(time.Second)
					if !ahead {
						end(h)
					}
					after := h.token(realm)
					h.wantDates("set right", after, 8*time.Hour)
					h.wantActive(realm, after, true)
					for _, gone := range tokens {
						h.wantActive(realm, gone, false)
					}
					h.clock.Turn(2*time.Hour + 30*time.Second) // the second is not expired
					h.wantActive(realm, tokens[1], false)
				})
			}
		}
	}
}

// A token that was dated a few seconds ahead outlived the revocation of all tokens.
func TestClockSetALittleRevoked(t *testing.T) {
	for _, realm := range []string{"altrata", "engagifii"} {
		t.Run(realm, func(t *testing.T) {
			h := newHouseOf(t, nil, realm)
			h.clock.Step(5 * time.Second)
			ahead := h.token(realm)
			h.clock.Step(-5 * time.Second)
			h.done(h.clients.RevokeTokens(t.Context(), "test", realm, "good"))
			h.wantActive(realm, ahead, false)
			after := h.token(realm)
			h.wantDates("after the revocation", after, 8*time.Hour)
			h.wantActive(realm, after, true)
			h.clock.Turn(10 * time.Second)
			h.wantActive(realm, ahead, false)
			h.wantActive(realm, after, true)
		})
	}
}

// A request whose body came late was answered as if the clock had been set back.
func TestSlowBodyIsNoClockThatIsSet(t *testing.T) {
	h := newHouseOf(t, nil, "replaced")
	h.token("replaced")
	a := h.good("replaced")
	body, in := io.Pipe()
	req := h.request(t.Context(), "replaced", a)
	req.Body, req.ContentLength = body, -1
	h.http.Transport.(*http.Transport).MaxConnsPerHost = 2
	answered := make(chan int)
	go func() {
		resp, err := h.http.Do(req)
		if err != nil {
			answered <- 0
			return
		}
		var got struct {
			Token string `json:"access_token"`
		}
		_ = json.NewDecoder(resp.Body).Decode(&got)
		resp.Body.Close()
		h.keep(got.Token)
		answered <- resp.StatusCode
	}()
	text := a.form.Encode()
	if _, err := io.WriteString(in, text[:10]); err != nil {
		t.Fatal(err)
	}
	h.clock.Turn(12 * time.Second)
	h.token("replaced")
	if _, err := io.WriteString(in, text[10:]); err != nil {
		t.Fatal(err)
	}
	in.Close()
	if status := <-answered; status != http.StatusOK {
		t.Errorf("a slow request is answered %d", status)
	}
	if log := h.log.String(); strings.Contains(log, "set back") {
		t.Errorf("logged:\n%s", log)
	}
}

// A clock that was set back made a token that is answered again live for longer
// than its realm says.
func TestClockSetBackReused(t *testing.T) {
	h := newHouseOf(t, nil, "reused")
	h.clock.Step(2 * time.Hour)
	first := h.token("reused")
	h.clock.Step(-2 * time.Hour)
	resp := h.do("reused", h.good("reused"))
	var got struct {
		Token     string `json:"access_token"`
		ExpiresIn int    `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(resp.body), &got); err != nil || resp.status != http.StatusOK {
		t.Fatal(resp.status, err)
	}
	h.keep(got.Token)
	if got.ExpiresIn > 3600 || got.Token == first {
		t.Errorf("the realm says 3600 s, a token is said to have %d left; the one of the wrong clock: %v", got.ExpiresIn, got.Token == first)
	}
	if again := h.token("reused"); again != got.Token {
		t.Error("the new token is not answered again")
	}
}

// A token that did not replace others, since the realm's policy was another for a
// while, was valid again for followers of the feed once one had replaced it and the
// clock was set back.
func TestClockSetBackAfterReload(t *testing.T) {
	h := newHouseOf(t, nil, "replaced")
	reload := func(policy string) {
		t.Helper()
		text := "extends: oauth2\nname: replaced\ntoken_endpoint: {policy: " + policy + "}\n"
		realm := server.Realm{Name: "replaced", Provider: must(provider.Parse("replaced.yaml", []byte(text))), BaseURL: h.url + "/replaced"}
		h.done(h.server.Reload(t.Context(), []server.Realm{realm}))
	}
	token := func() (id string, issued time.Time) {
		t.Helper()
		var c struct {
			ID string `json:"jti"`
			dates
		}
		h.clock.Turn(time.Minute)
		h.done(json.Unmarshal([]byte(part(t, h.token("replaced"), 1)), &c))
		return c.ID, time.Unix(c.Issued, 0)
	}
	reload("replace")
	token()
	reload("independent")
	id, issued := token()
	reload("replace")
	token()
	h.clock.Step(-3 * time.Hour)
	token()
	page, err := h.store.Revocations(t.Context(), "replaced", 0, 1000)
	h.done(err)
	if !slices.ContainsFunc(page.Revocations, func(r store.Revocation) bool {
		return r.TokenID == id || r.TokenID == "" && issued.Before(r.NotBefore)
	}) {
		t.Errorf("the feed says nothing of the token that was replaced: %+v", page.Revocations)
	}
}

// A reload that changed nothing made every client's next request cost a signature.
func TestReloadKeepsReused(t *testing.T) {
	h := newHouseOf(t, nil, "reused", "a55")
	realms := func(lifetime string) []server.Realm {
		p := must(provider.Parse("reused.yaml", []byte(reused+lifetime)))
		return []server.Realm{{Name: "reused", Provider: p, BaseURL: h.url + "/reused"}}
	}
	if err := h.server.Reload(t.Context(), realms("")); err != nil {
		t.Fatal(err)
	}
	first := h.token("reused")
	for range 3 {
		if err := h.server.Reload(t.Context(), realms("")); err != nil {
			t.Fatal(err)
		}
		if again := h.token("reused"); again != first {
			t.Error("a reload forgot the token")
		}
	}
	pool := func(authorities ...*tls.Certificate) *x509.CertPool {
		p := x509.NewCertPool()
		for _, a := range authorities {
			p.AddCert(a.Leaf)
		}
		return p
	}
	one, other := h.authority("one", nil), h.authority("other", nil)
	for _, step := range []struct {
		name    string
		change  func(*server.Realm)
		changed bool
	}{
		{"tenants", func(r *server.Realm) { r.Tenants = []string{"TENANT123"} }, true},
		{"an authority", func(r *server.Realm) { r.CertificateAuthorities = pool(one) }, true},
		{"the same authority", func(r *server.Realm) { r.CertificateAuthorities = pool(one) }, false},
		{"another one", func(r *server.Realm) { r.CertificateAuthorities = pool(other) }, true},
		{"none", func(*server.Realm) {}, true},
	} {
		configured := realms("")
		step.change(&configured[0])
		if err := h.server.Reload(t.Context(), configured); err != nil {
			t.Fatal(err)
		}
		again := h.token("reused")
		if changed := again != first; changed != step.changed {
			t.Errorf("reloaded with %s: another token: %v, want %v", step.name, changed, step.changed)
		}
		first = again
	}
}
