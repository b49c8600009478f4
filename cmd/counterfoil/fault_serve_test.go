package main

import (
	crand "crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/signing"
)

const acmeBase = "https://auth.acme.example"

// manage runs the command line beside the server.
func (s *served) manage(t *testing.T, args ...string) ran {
	t.Helper()
	return execute(t, "", nil, binary, append(args, "--serve-config", s.file)...)
}

// atOnce runs a command in two processes at the same time.
func (s *served) atOnce(t *testing.T, args ...string) (both [2]ran) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range both {
		wg.Go(func() { both[i] = s.manage(t, args...) })
	}
	wg.Wait()
	return both
}

// status asks acme for a token and returns the status of the answer.
func (s *served) status(t *testing.T, c *http.Client, id, secret string) int {
	t.Helper()
	return do(t, c, tokenRequest(t, acmeToken, clients.Credentials{ClientID: id, ClientSecret: counterfoil.Secret(secret)})).status
}

// wantRefusal wants one error and its hint.
func wantRefusal(t *testing.T, got ran, says string) {
	t.Helper()
	var v struct{ Message, Hint string }
	if err := json.Unmarshal([]byte(got.err), &v); err != nil || got.code != 1 || got.out != "" || !strings.Contains(v.Message, says) || v.Hint == "" {
		t.Errorf("exit %d, said %s%s; want one error with %q and its hint", got.code, got.out, got.err, says)
	}
}

// Of two rotations at once from two processes each that succeeds gave a secret
// that serves; one that does not says so in one line, and nothing of it is done.
func TestServeTwoSecretRotationsAtOnce(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	creds, c := s.client(t, "acme", "orders:read"), s.http(t)
	rotated := 0
	for range 6 {
		var serve []string
		for _, got := range s.atOnce(t, "client", "rotate", "acme", creds.ClientID, "-o", "json") {
			if got.code == 0 {
				serve = append(serve, credentialsOf(t, got).ClientSecret)
			} else {
				wantRefusal(t, got, "changed by someone else")
			}
		}
		if len(serve) == 0 {
			t.Error("both rotations were refused")
		}
		rotated += len(serve)
		for _, secret := range serve {
			if got := s.status(t, c, creds.ClientID, secret); got != http.StatusOK {
				t.Errorf("a secret that was given out is answered %d", got)
			}
		}
		var shown struct {
			Secrets []any `json:"secrets"`
		}
		if err := json.Unmarshal([]byte(s.manage(t, "client", "show", "acme", creds.ClientID, "-o", "json").good(t).out), &shown); err != nil || len(shown.Secrets) != 2 {
			t.Errorf("the client has %d secrets, %v", len(shown.Secrets), err)
		}
	}
	if n := s.recorded(t, counterfoil.EventClientRotated); n != rotated {
		t.Errorf("%d rotations are recorded, %d were acknowledged", n, rotated)
	}
}

// Of two rotations of a signing key at once one makes a key. The other one says
// which key is waiting, and leaves nothing.
func TestServeTwoKeyRotationsAtOnce(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	before := s.recorded(t, counterfoil.EventKeyCreated)
	good := 0
	for _, got := range s.atOnce(t, "key", "rotate", "acme", "-o", "json") {
		if got.code == 0 {
			good++
		} else {
			wantRefusal(t, got, "a key is waiting to be activated at ")
		}
	}
	var keys []signing.View
	if err := json.Unmarshal([]byte(s.manage(t, "key", "list", "acme", "-o", "json").good(t).out), &keys); err != nil {
		t.Fatal(err)
	}
	states := map[string]int{}
	for _, k := range keys {
		states[k.State]++
	}
	if n := s.recorded(t, counterfoil.EventKeyCreated) - before; good != 1 || n != 1 || states["next"] != 1 || states["active"] != 1 || len(keys) != 2 {
		t.Errorf("%d rotations succeeded and %d are recorded, the keys are %v", good, n, states)
	}
}

// basic authenticates requests as a client, and reaches the server by its name.
type basic struct {
	http.RoundTripper
	clients.Credentials
}

func (b basic) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(url.QueryEscape(b.ClientID), url.QueryEscape(b.ClientSecret.Reveal()))
	return b.RoundTripper.RoundTrip(r)
}

// guarded is an API elsewhere that follows what acme revokes.
func (s *served) guarded(t *testing.T, api clients.Credentials) (status func(token string) int) {
	t.Helper()
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	transport := s.http(t).Transport
	keys, err := guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: acmeBase + "/.well-known/jwks.json", Client: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { keys.Close() })
	feed, err := guard.FollowRevocations(guard.FeedConfig{URL: acmeBase + "/revocations", Client: &http.Client{Transport: basic{transport, api}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { feed.Close() })
	g, err := guard.New(guard.Config{Provider: p, Issuer: acmeBase, Keys: keys, Liveness: feed})
	if err != nil {
		t.Fatal(err)
	}
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	waitFor(t, func() bool { return !feed.Stats().Stale })
	return func(token string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.example/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		h.ServeHTTP(w, r)
		return w.Code
	}
}

// A client whose tokens are live is deleted: its secret and its tokens are
// refused at once, by the server and by a guard that follows it, and a client
// that is made under the same id later does not revive them.
func TestServeDeleteLiveClient(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	c := s.http(t)
	api := credentialsOf(t, s.manage(t, "client", "create", "acme", "--id", "api", "--resource-server", "-o", "json"))
	call := s.guarded(t, clients.Credentials{ClientID: api.ClientID, ClientSecret: counterfoil.Secret(api.ClientSecret)})
	active := func(token counterfoil.Secret) bool {
		got := s.form(t, c, acmeBase+"/introspect", clients.Credentials{ClientID: api.ClientID, ClientSecret: counterfoil.Secret(api.ClientSecret)}, "token", token.Reveal())
		if got.status != http.StatusOK {
			t.Fatalf("introspection is answered %d", got.status)
		}
		return strings.Contains(got.body, `"active":true`)
	}
	create := func() clients.Credentials {
		m := credentialsOf(t, s.manage(t, "client", "create", "acme", "--id", "billing", "--scope", "orders:read", "-o", "json"))
		return clients.Credentials{ClientID: m.ClientID, ClientSecret: counterfoil.Secret(m.ClientSecret)}
	}
	first := create()
	old := s.token(t, c, acmeToken, first)
	if got := call(old.Reveal()); got != http.StatusOK || !active(old) {
		t.Fatalf("a live token is answered %d", got)
	}
	s.manage(t, "client", "delete", "acme", "billing").good(t)
	if active(old) {
		t.Error("deleted, its token is active")
	}
	if got := s.status(t, c, "billing", first.ClientSecret.Reveal()); got != http.StatusUnauthorized {
		t.Errorf("deleted, its secret is answered %d", got)
	}
	waitFor(t, func() bool { return call(old.Reveal()) == http.StatusUnauthorized })
	again := s.manage(t, "client", "delete", "acme", "billing", "-o", "json")
	wantRefusal(t, again, "no such client")
	second := create()
	fresh := s.token(t, c, acmeToken, second)
	if !active(fresh) {
		t.Error("the token of the new client is not active")
	}
	waitFor(t, func() bool { return call(fresh.Reveal()) == http.StatusOK }) // until the guard has heard of the new client
	if got := call(old.Reveal()); got != http.StatusUnauthorized || active(old) {
		t.Errorf("with a new client of its id, the old token is answered %d", got)
	}
	if got := s.status(t, c, "billing", first.ClientSecret.Reveal()); got != http.StatusUnauthorized {
		t.Errorf("with a new client of its id, the old secret is answered %d", got)
	}
}

// An import with a broken row in the middle imports nothing, accounts for every
// row and says in one error what to do; with --partial it takes the others.
func TestServeImportBrokenRow(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	c := s.http(t)
	s.write(t, "clients.jsonl", `{"client_id":"a","client_secret":"secret of a","scopes":"orders:read"}
{"client_id":"b","client_secret":
{"client_id":"z","client_secret":"secret of z","scopes":"orders:read"}
`)
	file := filepath.Join(s.dir, "clients.jsonl")
	got := s.manage(t, "client", "import", "acme", file, "--format", "plain")
	if got.code != 1 || strings.Count(got.err, "\n") != 2 || !strings.Contains(got.err, "1 of 3 rows of "+file+" are refused, so nothing was imported") || !strings.Contains(got.err, "\nhint: ") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
	if !strings.Contains(got.out, "line 2") || !strings.Contains(got.out, "refused") || !strings.Contains(got.out, "3 rows would be: 2 created, 1 refused") {
		t.Errorf("printed %s", got.out)
	}
	if strings.Contains(got.out+got.err, "secret of") {
		t.Error("a secret was shown")
	}
	for _, id := range []string{"a", "b", "z"} {
		if got := s.status(t, c, id, "secret of "+id); got != http.StatusUnauthorized {
			t.Errorf("after an import that was refused, %s is answered %d", id, got)
		}
	}
	if n := s.recorded(t, counterfoil.EventClientImported); n != 0 {
		t.Errorf("%d imports are recorded", n)
	}
	s.manage(t, "client", "import", "acme", file, "--format", "plain", "--partial").good(t)
	for id, want := range map[string]int{"a": http.StatusOK, "b": http.StatusUnauthorized, "z": http.StatusOK} {
		if got := s.status(t, c, id, "secret of "+id); got != want {
			t.Errorf("after a partial import, %s is answered %d", id, got)
		}
	}
}

// While the keys of one client do not come, whoever asks with them waits, and
// nobody else does.
func TestServeHangingKeySet(t *testing.T) {
	key := testkeys.EC()
	arrived, release := make(chan struct{}, 100), make(chan struct{})
	place := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-release:
			fmt.Fprintf(w, `{"keys":[%s]}`, josetest.JWK(key.Public()))
		case <-r.Context().Done():
		}
	}))
	defer place.Close()
	_, port, _ := strings.Cut(place.Listener.Addr().String(), ":")
	outbound := fmt.Sprintf("log: {level: info, format: text}\noutbound: {hosts: ['localhost:%s'], private: true, ca_file: tls/certificate.pem}", port)
	s := layOut(t, strings.Replace(exampleConfig(t), "log: {level: info, format: text}", outbound, 1))
	s.certify(t, "auth.acme.example", "ops.acme.example", "localhost")
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "tls/certificate.pem"), filepath.Join(s.dir, "tls/key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	place.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	place.StartTLS()
	s.start(t)
	c, other := s.http(t), s.client(t, "acme", "orders:read")
	s.manage(t, "client", "create", "acme", "--id", "stuck", "--without-secret", "--jwks-uri", "https://localhost:"+port+"/jwks").good(t)
	answered := make(chan int, 8)
	for range cap(answered) {
		now := time.Now().Unix()
		claims := fmt.Sprintf(`{"iss":"stuck","sub":"stuck","aud":%q,"iat":%d,"exp":%d,"jti":%q}`, acmeBase, now, now+60, crand.Text())
		form := withAssertion(josetest.Token(key, `{"alg":"ES256"}`, claims))
		go func() {
			resp, err := c.PostForm(acmeToken, form)
			if err != nil {
				answered <- 0
				return
			}
			resp.Body.Close()
			answered <- resp.StatusCode
		}()
	}
	<-arrived
	for range 20 {
		if got := s.status(t, c, other.ClientID, other.ClientSecret.Reveal()); got != http.StatusOK {
			t.Errorf("meanwhile another client is answered %d", got)
		}
	}
	select {
	case got := <-answered:
		t.Errorf("without its keys a client is answered %d", got)
	default:
	}
	close(release)
	for range cap(answered) {
		if got := <-answered; got != http.StatusOK {
			t.Errorf("once its keys have come a client is answered %d", got)
		}
	}
	if n := len(arrived); n != 0 {
		t.Errorf("the keys were asked for %d times more", n)
	}
}
