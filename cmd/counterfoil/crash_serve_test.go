package main

import (
	"context"
	"crypto"
	crand "crypto/rand"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// besiegedConfig has a realm of each token policy, one for assertions, whose
// signing keys are compromised again and again, and the Admin API. Old secrets
// are tried more often than anybody may.
const besiegedConfig = `listen: 127.0.0.1:0
tls: {certificate: tls/certificate.pem, key: tls/key.pem}
database: counterfoil.db
master_key: file:master.key
limits: {guesses: {mode: monitor}}
realms:
  - {name: each, provider: oauth2, hosts: [auth.acme.example], path: /each, scopes: [{name: read, description: Read}]}
  - {name: single, provider: oauth2, hosts: [auth.acme.example], path: /single, policy: replace, scopes: [{name: read, description: Read}]}
  - {name: shared, provider: oauth2, hosts: [auth.acme.example], path: /shared, policy: reuse, scopes: [{name: read, description: Read}]}
  - {name: signed, provider: oauth2, hosts: [auth.acme.example], path: /signed, scopes: [{name: read, description: Read}]}
  - {name: ops, provider: counterfoil, hosts: [ops.acme.example]}
admin: {realm: ops}
`

var besiegedRealms = []string{"each", "single", "shared", "signed"}

// siege is a server that is killed again and again, and what it has
// acknowledged.
type siege struct {
	*served
	http      *http.Client
	admin     *admin.Remote
	bearer    atomic.Pointer[string]
	askers    map[string]clients.Credentials
	inspector map[string]clients.Credentials
	operator  clients.Credentials
	key       crypto.Signer // of the asker of the realm signed

	cancel context.CancelFunc
	kill   func() // ends the server
	killed atomic.Bool
	dark   atomic.Bool  // the disk has no power
	count  atomic.Int64 // what was acknowledged since the start
	killAt int64

	mu         sync.Mutex
	tokens     []*holding // of the askers
	round      []*holding // those acknowledged since the start, by anybody
	assertions []string   // accepted
	noted      map[string]int
	victims    []*victim // that nobody is changing
	touched    map[*victim]bool
	stab       context.CancelFunc // kills the command line that is at work
	rotations  int                // of the key of shared
	generation int                // grows before and after the keys of signed are compromised
	seen       int64              // of the audit record
	tally      map[string]int
}

// fact is what follows for something from what was acknowledged.
type fact int

const (
	isNot fact = iota
	is
	unsure
)

// doubt is what becomes of a fact when an operation may have ended it.
func (f *fact) doubt() {
	if *f == is {
		*f = unsure
	}
}

// holding is a token that was acknowledged.
type holding struct {
	realm, client, text string
	live                fact
}

func layOutSiege(t *testing.T) *siege {
	t.Helper()
	key := testkeys.EC()
	s := &siege{
		served: layOut(t, besiegedConfig), key: key, noted: map[string]int{}, tally: map[string]int{}, touched: map[*victim]bool{},
		askers: map[string]clients.Credentials{}, inspector: map[string]clients.Credentials{},
	}
	db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	made := clients.New(db, nil, anyRules)
	create := func(n clients.NewClient) clients.Credentials {
		n.Name = n.ID
		_, creds, err := made.Create(t.Context(), "test", n)
		if err != nil {
			t.Fatal(err)
		}
		return creds
	}
	read := counterfoil.Scopes{"read"}
	for _, realm := range besiegedRealms {
		asker := clients.NewClient{Realm: realm, ID: "asker", Settings: store.Settings{Scopes: read}}
		if realm == "signed" {
			asker.Authentication.KeySet = `{"keys":[` + josetest.JWK(key.Public()) + `]}`
		}
		s.askers[realm] = create(asker)
		s.inspector[realm] = create(clients.NewClient{Realm: realm, ID: "inspector", Settings: store.Settings{ResourceServer: true}})
	}
	s.operator = create(clients.NewClient{Realm: "ops", ID: "operator", Settings: store.Settings{
		Scopes: counterfoil.Scopes{"clients:read", "clients:write", "keys:read", "keys:write", "tokens:revoke", "audit:read"},
	}})
	s.kill = func() { _ = s.cmd.Process.Kill() }
	s.served.start(t)
	s.http = s.served.http(t)
	s.admin = &admin.Remote{URL: "https://ops.acme.example/admin", HTTP: &http.Client{Transport: s, Timeout: patience}}
	return s
}

// operate gets the operator a token.
func (s *siege) operate(t *testing.T) {
	t.Helper()
	token, status := s.ask(t.Context(), "ops", withSecret("operator", s.operator.ClientSecret.Reveal()))
	if status != http.StatusOK {
		t.Fatalf("the operator is answered %d", status)
	}
	s.bearer.Store(&token)
}

// RoundTrip adds the operator's token.
func (s *siege) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+*s.bearer.Load())
	return s.http.Transport.RoundTrip(r)
}

// post sends a form; the status is 0 when no answer came whole.
func (s *siege) post(ctx context.Context, target string, form url.Values) (status int, body []byte) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return 0, nil
	}
	return resp.StatusCode, body
}

func withSecret(id, secret string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}}
}

func (s *siege) at(realm, path string) string { return "https://auth.acme.example/" + realm + path }

// ask asks for a token and returns it with the status.
func (s *siege) ask(ctx context.Context, realm string, form url.Values) (token string, status int) {
	target := s.at(realm, "/token")
	if realm == "ops" {
		target = "https://ops.acme.example/token"
	}
	status, body := s.post(ctx, target, form)
	for end := time.Now().Add(20 * time.Second); status == http.StatusServiceUnavailable && !s.killed.Load() && time.Now().Before(end); {
		status, body = s.post(ctx, target, form) // a busy disk: the answer says to try again
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if status == http.StatusOK && (json.Unmarshal(body, &answer) != nil || answer.AccessToken == "") {
		status = -1
	}
	return answer.AccessToken, status
}

// assertion is one of the asker of the realm signed that was not used yet.
func (s *siege) assertion() string {
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{"iss": "asker", "sub": "asker", "aud": s.at("signed", ""), "iat": now, "exp": now + 540, "jti": crand.Text()})
	if err != nil {
		panic(err)
	}
	return josetest.Token(s.key, `{"alg":"ES256"}`, string(claims))
}

func withAssertion(assertion string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "client_assertion": {assertion},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}
}

// acknowledged counts, and kills the server when its time has come; now and then
// it kills the command line.
func (s *siege) acknowledged() {
	n := s.count.Add(1)
	if rand.IntN(200) == 0 {
		s.mu.Lock()
		stab := s.stab
		s.mu.Unlock()
		if stab != nil {
			stab()
		}
	}
	if n == s.killAt {
		s.killed.Store(true)
		s.kill()
		s.cancel()
	}
}

// load asks for tokens and changes clients from all sides until the server is
// killed.
func (s *siege) load(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.cancel, s.killAt, s.round = cancel, 50+rand.Int64N(500), nil
	s.count.Store(0)
	s.killed.Store(false)
	var wg sync.WaitGroup
	for _, realm := range []string{"each", "single", "single", "shared", "signed", "signed"} {
		wg.Go(func() {
			for ctx.Err() == nil {
				s.askOnce(ctx, t, realm)
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			s.revokeOne(ctx, t)
		}
	})
	for _, h := range []hand{remote{s}, remote{s}, commands{s}} {
		wg.Go(func() {
			for ctx.Err() == nil {
				s.changeOne(ctx, t, h)
			}
		})
	}
	wg.Wait()
	_ = s.stop(syscall.SIGKILL)
	s.http.CloseIdleConnections()
}

// askOnce has the asker of a realm ask.
func (s *siege) askOnce(ctx context.Context, t *testing.T, realm string) {
	form := withSecret("asker", s.askers[realm].ClientSecret.Reveal())
	assertion := ""
	if realm == "signed" {
		assertion = s.assertion()
		form = withAssertion(assertion)
	}
	s.mu.Lock()
	generation := s.generation
	s.mu.Unlock()
	token, status := s.ask(ctx, realm, form)
	if status != http.StatusOK {
		if !s.killed.Load() {
			t.Errorf("the asker of %s is answered %d", realm, status)
			s.acknowledged() // or a server that refuses everything is never killed
		}
		return
	}
	h := &holding{realm: realm, client: "asker", text: token, live: is}
	s.mu.Lock()
	if assertion != "" {
		s.assertions = append(s.assertions, assertion)
	}
	if realm == "signed" && (generation != s.generation || generation%2 == 1) {
		h.live = unsure // its key may be one of those that ended meanwhile
	}
	s.tokens, s.round = append(s.tokens, h), append(s.round, h)
	s.tally["tokens"]++
	s.mu.Unlock()
	s.acknowledged()
}

// revokeOne revokes a token of the asker of each.
func (s *siege) revokeOne(ctx context.Context, t *testing.T) {
	s.mu.Lock()
	var h *holding
	revoked := s.tally["revocations"]
	for range 20 {
		if len(s.tokens) == 0 {
			break
		}
		if one := s.tokens[rand.IntN(len(s.tokens))]; one.realm == "each" && one.live == is {
			h = one
			break
		}
	}
	s.mu.Unlock()
	if h == nil || revoked > store.MaxRevoked/2 { // one too many would end all
		s.askOnce(ctx, t, "each")
		return
	}
	s.revoke(ctx, t, h, s.askers["each"].ClientSecret.Reveal())
}

// revoke revokes a token as its client (RFC 7009).
func (s *siege) revoke(ctx context.Context, t *testing.T, h *holding, secret string) {
	form := url.Values{"token": {h.text}, "client_id": {h.client}, "client_secret": {secret}}
	status, _ := s.post(ctx, s.at(h.realm, "/revoke"), form)
	s.mu.Lock()
	switch {
	case status == http.StatusOK:
		h.live = isNot
		s.tally["revocations"]++
		s.noted[h.realm+" "+h.client+" "+counterfoil.EventTokenRevoked]++
	case !s.killed.Load():
		t.Errorf("a revocation in %s is answered %d", h.realm, status)
	default:
		h.live.doubt()
	}
	s.mu.Unlock()
	if status == http.StatusOK {
		s.acknowledged()
	}
}

// kill -9 of 'serve' and of the command line beside it, in the middle of token
// requests, revocations, rotations and changes of clients: nothing that was
// acknowledged is lost, nothing that was ended serves again.
func TestKillUnderChange(t *testing.T) {
	s := layOutSiege(t)
	n := rounds(t, 3)
	for round := range n {
		s.operate(t)
		if round > 0 {
			s.check(t)
		}
		if t.Failed() {
			t.Fatalf("after the kill of round %d", round)
		}
		s.load(t)
		if round%10 == 9 {
			s.whole(t)
		}
		s.served.start(t)
	}
	s.operate(t)
	s.check(t)
	s.whole(t)
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Errorf("%v: %s", err, s.errors())
	}
	t.Logf("%d rounds: %v", n, s.tally)
	for i, what := range []string{"tokens", "revocations", "replays", "client.created", "client.rotated", "client.changed", "client.deleted", "commands killed", "unknown"} {
		if s.tally[what] == 0 && (i < 4 || n > 20) {
			t.Errorf("no %s in %d rounds", what, n)
		}
	}
}
