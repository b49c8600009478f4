package server_test

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// background is how many goroutines of a server wait for the clock.
const background = 2

// masterKey is 32 counted bytes, otherKey 32 others.
const (
	masterKey = counterfoil.Secret("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
	otherKey  = counterfoil.Secret("ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=")
)

// keyHouse is one database, and the servers that use it by one clock.
type keyHouse struct {
	t      *testing.T
	path   string
	clock  *clock.Manual
	config server.Config
	log    syncBuffer
	store  store.Store   // for looking
	keys   *signing.Keys // as from the command line
	creds  clients.Credentials
	opened int
}

var noon = time.Date(2026, 7, 1, 12, 0, 0, 5e8, time.UTC)

// newKeyHouse has a realm "r" whose tokens live for an hour.
func newKeyHouse(t *testing.T, algorithms ...provider.Algorithm) *keyHouse {
	t.Helper()
	return newKeyHouseBy(t, clock.NewManual(noon), algorithms...)
}

// newKeyHouseBy is newKeyHouse by a clock of the caller's.
func newKeyHouseBy(t *testing.T, c *clock.Manual, algorithms ...provider.Algorithm) *keyHouse {
	t.Helper()
	h := &keyHouse{t: t, path: filepath.Join(t.TempDir(), "x.db"), clock: c}
	h.store = h.open()
	h.config = server.Config{Clock: h.clock, Signer: "go", Logger: slog.New(slog.NewTextHandler(&h.log, nil)), Realms: []server.Realm{h.realm(time.Hour, algorithms...)}}
	var err error
	if h.keys, err = signing.NewKeys(h.store, h.clock, ""); err != nil {
		t.Fatal(err)
	}
	n := clients.NewClient{Realm: "r", ID: "good", Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}}}
	if _, h.creds, err = clients.New(h.store, h.clock, rulesOf(h.config.Realms...)).Create(t.Context(), "test", n); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *keyHouse) open() store.Store {
	h.t.Helper()
	store, err := sqlite.Open(h.t.Context(), h.path)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = store.Close() })
	return store
}

// realm describes the realm "r" anew.
func (h *keyHouse) realm(life time.Duration, algorithms ...provider.Algorithm) server.Realm {
	h.t.Helper()
	p, err := provider.Builtin("oauth2")
	if err != nil {
		h.t.Fatal(err)
	}
	described := *p
	described.TokenEndpoint.Lifetime = life
	if len(algorithms) > 0 {
		described.AccessToken.SigningAlgorithm, described.AccessToken.SigningAlgorithms = algorithms[0], algorithms
	}
	return server.Realm{Name: "r", Provider: &described, BaseURL: "https://auth.example"}
}

// start starts a server on a connection of its own; wrap, when given, stands
// between them.
func (h *keyHouse) start(wrap func(store.Store) store.Store) *server.Server {
	h.t.Helper()
	s, err := h.tryStart(wrap)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *keyHouse) tryStart(wrap func(store.Store) store.Store) (*server.Server, error) {
	h.t.Helper()
	c := h.config
	c.Store = h.open()
	if wrap != nil {
		c.Store = wrap(c.Store)
	}
	s, err := server.New(h.t.Context(), c)
	if err == nil {
		h.opened += background
		h.t.Cleanup(func() { _ = s.Close() })
	}
	return s, err
}

func (h *keyHouse) stop(s *server.Server) {
	h.t.Helper()
	if err := s.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.opened -= background
}

// turn turns the clock and waits until all servers have done what they do then.
func (h *keyHouse) turn(d time.Duration) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	if err := h.clock.Sleepers(ctx, h.opened); err != nil {
		h.t.Fatal("the servers do not wait for the clock: ", err)
	}
	h.clock.Turn(d)
	if err := h.clock.Sleepers(ctx, h.opened); err != nil {
		h.t.Fatal("the servers do not come back: ", err)
	}
}

// ask asks a server for a token and returns it, or "" and the status.
func (h *keyHouse) ask(s *server.Server) (token string, status int) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {h.creds.ClientID}, "client_secret": {h.creds.ClientSecret.Reveal()}}
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	s.Handler("r").ServeHTTP(w, r)
	var body struct {
		Token string `json:"access_token"`
	}
	_ = json.Unmarshal(w.Body.Bytes(), &body)
	return body.Token, w.Code
}

func (h *keyHouse) token(s *server.Server) string {
	h.t.Helper()
	token, status := h.ask(s)
	if token == "" {
		h.t.Fatalf("a token request got %d: %s", status, h.log.String())
	}
	return token
}

func keySet(s *server.Server) *jose.JSONWebKeySet {
	w := httptest.NewRecorder()
	s.Handler("r").ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
	set := new(jose.JSONWebKeySet)
	if err := json.Unmarshal(w.Body.Bytes(), set); err != nil {
		return nil
	}
	return set
}

// verifyWith tells in an error why a token does not verify with a key set.
func verifyWith(token string, set *jose.JSONWebKeySet) error {
	parsed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA})
	if err != nil {
		return err
	}
	found := set.Key(parsed.Signatures[0].Header.KeyID)
	if len(found) != 1 {
		return fmt.Errorf("%d keys are called %q", len(found), parsed.Signatures[0].Header.KeyID)
	}
	if found[0].Algorithm != parsed.Signatures[0].Header.Algorithm {
		return errors.New("another algorithm")
	}
	_, err = parsed.Verify(found[0].Key)
	return err
}

// kid returns the key ID of a token.
func kid(t *testing.T, token string) string {
	t.Helper()
	var header struct {
		ID string `json:"kid"`
	}
	if err := json.Unmarshal([]byte(part(t, token, 0)), &header); err != nil {
		t.Fatal(err)
	}
	return header.ID
}

// rows returns the keys in the store.
func (h *keyHouse) rows() []store.SigningKey {
	h.t.Helper()
	keys, err := h.store.SigningKeys(h.t.Context(), "r")
	if err != nil {
		h.t.Fatal(err)
	}
	return keys
}

// states returns the keys as the command line lists them, in short: the state
// of each, oldest first.
func (h *keyHouse) states() string {
	h.t.Helper()
	views, err := h.keys.List(h.t.Context(), "r")
	if err != nil {
		h.t.Fatal(err)
	}
	words := make([]string, len(views))
	for i, v := range views {
		words[i] = v.State
	}
	return strings.Join(words, " ")
}

// changes returns the records about keys, as "type by actor".
func (h *keyHouse) changes() []string {
	h.t.Helper()
	page, err := h.store.Events(h.t.Context(), 0, 1<<20)
	if err != nil {
		h.t.Fatal(err)
	}
	var all []string
	for _, e := range page {
		if strings.HasPrefix(e.Type, "key") {
			all = append(all, e.Type+" by "+e.Actor)
		}
	}
	return all
}

func (h *keyHouse) rotate(o signing.Rotation) signing.View {
	h.t.Helper()
	v, err := h.keys.Rotate(h.t.Context(), "ann", h.config.Realms[0].Signing(), "", o)
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

// keyFaults is a store whose methods about keys count, and fail when told.
type keyFaults struct {
	store.Store
	mu sync.Mutex
	// writes and reads count calls; failAt is the write that fails, from 1;
	// after says that it takes effect all the same. All later ones fail as well:
	// the process is dead.
	writes, reads, failAt int
	after                 bool
	down                  error // of reads
}

var errDead = errors.New("killed")

func (f *keyFaults) write(do func() error) error {
	f.mu.Lock()
	f.writes++
	n := f.writes
	f.mu.Unlock()
	if f.failAt > 0 && (n > f.failAt || n == f.failAt && !f.after) {
		return errDead
	}
	if err := do(); err != nil {
		return err
	}
	if n == f.failAt {
		return errDead
	}
	return nil
}

func (f *keyFaults) set(down error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *keyFaults) count() (reads, writes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads, f.writes
}

func (f *keyFaults) SigningKeys(ctx context.Context, realm string) ([]store.SigningKey, error) {
	f.mu.Lock()
	f.reads++
	down := f.down
	f.mu.Unlock()
	if down != nil {
		return nil, down
	}
	return f.Store.SigningKeys(ctx, realm)
}

func (f *keyFaults) AddSigningKey(ctx context.Context, k store.SigningKey, after string, e counterfoil.Event) error {
	return f.write(func() error { return f.Store.AddSigningKey(ctx, k, after, e) })
}

func (f *keyFaults) UpdateSigningKeys(ctx context.Context, keys []store.SigningKey, e counterfoil.Event) error {
	return f.write(func() error { return f.Store.UpdateSigningKeys(ctx, keys, e) })
}

func (f *keyFaults) DeleteSigningKey(ctx context.Context, realm, id string, e counterfoil.Event) error {
	return f.write(func() error { return f.Store.DeleteSigningKey(ctx, realm, id, e) })
}

// sealed reports whether a key is at rest under a master key.
func sealed(k store.SigningKey) bool {
	return bytes.HasPrefix([]byte(k.Private.Reveal()), []byte("cfseal1:"))
}

// publicKey asks the server in the way that a guard in its process does, for the
// algorithm that the key is for.
func publicKey(s *server.Server, id string) (key crypto.PublicKey, err error) {
	for _, algorithm := range []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA} {
		key, err = s.Issuer("r").PublicKey(context.Background(), id, string(algorithm))
		if requestRefusal, ok := errors.AsType[*counterfoil.Error](err); !ok || requestRefusal.Reason != counterfoil.ReasonTokenAlgorithm {
			break
		}
	}
	return key, err
}
