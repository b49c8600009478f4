package server_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/store"
)

// reference is the claim of a token that is in a status list.
type reference struct {
	Status struct {
		List struct {
			Index int    `json:"idx"`
			URI   string `json:"uri"`
		} `json:"status_list"`
	} `json:"status"`
}

func referenceOf(t *testing.T, token string) reference {
	t.Helper()
	var r reference
	if err := json.Unmarshal([]byte(part(t, token, 1)), &r); err != nil || r.Status.List.URI == "" {
		t.Fatalf("%s: %v", part(t, token, 1), err)
	}
	return r
}

// statusOf does what a foreign verifier does: it fetches the list that a token
// names, verifies it with the realm's published key and looks at the token's
// bit.
func (h *house) statusOf(token string) byte {
	h.t.Helper()
	r := referenceOf(h.t, token)
	path, ok := strings.CutPrefix(r.Status.List.URI, h.url)
	if !ok {
		h.t.Fatalf("the list is at %s", r.Status.List.URI)
	}
	got := h.get(h.t, http.MethodGet, path)
	if got.status != http.StatusOK {
		h.t.Fatalf("%s got %d %s", path, got.status, got.body)
	}
	wantHeaders(h.t, got, map[string]string{"Content-Type": "application/statuslist+jwt", "Cache-Control": "public, max-age=15", "Access-Control-Allow-Origin": "*"})
	parsed, err := jose.Parse(got.body, jose.ES256)
	if err != nil || parsed.Type != "statuslist+jwt" {
		h.t.Fatalf("typ %q, %v", parsed.Type, err)
	}
	keys, _, err := jose.ParseSet([]byte(h.get(h.t, http.MethodGet, "/listed/.well-known/jwks.json").body))
	if err != nil {
		h.t.Fatal(err)
	}
	at := slices.IndexFunc(keys, func(k jose.PublicKey) bool { return k.ID == parsed.KeyID })
	if at < 0 {
		h.t.Fatalf("the key %q is not published", parsed.KeyID)
	}
	payload, err := parsed.Verify(keys[at].Key)
	if err != nil {
		h.t.Fatal(err)
	}
	var claims struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
		Issued  int64  `json:"iat"`
		Expires int64  `json:"exp"`
		TTL     int64  `json:"ttl"`
		List    struct {
			Bits int    `json:"bits"`
			List string `json:"lst"`
		} `json:"status_list"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		h.t.Fatal(err)
	}
	now := h.clock.Now().Unix()
	if claims.Subject != r.Status.List.URI || claims.Issuer != h.url+"/listed" || claims.TTL != 15 || claims.List.Bits != 1 || claims.Issued > now || claims.Issued < now-5 || claims.Expires <= now {
		h.t.Errorf("at %d the list says %s", now, payload)
	}
	packed, err := base64.RawURLEncoding.DecodeString(claims.List.List)
	if err != nil {
		h.t.Fatal(err)
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		h.t.Fatal(err)
	}
	bits, err := io.ReadAll(z)
	if err != nil || len(bits) != 1<<20/8 {
		h.t.Fatalf("%d bytes of bits, %v", len(bits), err)
	}
	return bits[r.Status.List.Index/8] >> (r.Status.List.Index % 8) & 1
}

// TestStatusList: a foreign verifier sees what was revoked, in any way, and
// nothing else.
func TestStatusList(t *testing.T) {
	h := newHouseOf(t, nil, "listed")
	first, second := h.token("listed"), h.token("listed")
	want := func(when string, one, two byte) {
		t.Helper()
		if a, b := h.statusOf(first), h.statusOf(second); a != one || b != two {
			t.Errorf("%s: %d and %d, want %d and %d", when, a, b, one, two)
		}
	}
	want("issued", 0, 0)
	h.revoke("listed", first, h.as("listed", h.creds["listed"]))
	want("just revoked, in what was signed before", 0, 0)
	h.clock.Turn(5 * time.Second)
	want("revoked", 1, 0)
	if err := h.clients.SetDisabled(t.Context(), "test", "listed", "good", true); err != nil {
		t.Fatal(err)
	}
	h.clock.Turn(5 * time.Second)
	want("disabled", 1, 1)
	if err := h.clients.SetDisabled(t.Context(), "test", "listed", "good", false); err != nil {
		t.Fatal(err)
	}
	h.clock.Turn(5 * time.Second)
	want("enabled", 1, 0)

	// A list is signed by the key of the tokens, and is not a token.
	api := h.as("listed", h.resourceServer("listed"))
	if got := h.introspect("listed", h.get(t, http.MethodGet, "/listed/status-lists/0").body, api); got.body != inactive {
		t.Errorf("a status list as a token: %s", got.body)
	}
	if got := h.introspect("listed", h.token("listed"), api); got.body == inactive {
		t.Errorf("a token: %s", got.body)
	}
}

// TestStatusIndexes are never the same, and their order tells nothing.
func TestStatusIndexes(t *testing.T) {
	h := newHouseOf(t, nil, "listed")
	seen, ordered, before := map[int]bool{}, 0, 0
	const n = 1024 // as many as a process reserves, so that the first of all is among them
	for range n {
		list := referenceOf(t, h.token("listed")).Status.List
		if list.URI == "" {
			t.Fatalf("a token is in no list; %d others are", len(seen))
		}
		at := list.Index
		if seen[at] {
			t.Fatalf("the index %d is given twice", at)
		}
		if seen[at] = true; at > before {
			ordered++
		}
		before = at
	}
	if ordered < n/5 || ordered > n*4/5 {
		t.Errorf("%d of %d indexes are above the one before", ordered, n)
	}
	// Another process has others.
	if first, err := h.store.StatusIndexes(t.Context(), "listed", 1); err != nil || first < n {
		t.Errorf("the next index is %d, %v", first, err)
	}
}

// counting counts what a stranger makes a store do.
type counting struct {
	store.Store
	mu             sync.Mutex
	asked, revoked int
	broken         bool
}

func (s *counting) StatusIndexes(ctx context.Context, realm string, n int64) (int64, error) {
	s.mu.Lock()
	s.asked++
	broken := s.broken
	s.mu.Unlock()
	if broken {
		return 0, errors.New("disk on fire")
	}
	return s.Store.StatusIndexes(ctx, realm, n)
}

func (s *counting) RevokedIndexes(ctx context.Context, realm string, first, last int64) ([]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked++
	return s.Store.RevokedIndexes(ctx, realm, first, last)
}

// TestStatusListForStrangers: a caller that asks repeatedly costs one
// signature in five seconds; lists that are not there cost none.
func TestStatusListForStrangers(t *testing.T) {
	db := &counting{}
	h := newHouseOf(t, func(s store.Store) store.Store { db.Store = s; return db }, "listed", "oauth2")
	for _, path := range []string{"0", "1", "-1", "01", "+1", "x", "", "0/", "99999999999999999999", "1099511627775"} {
		if got := h.get(t, http.MethodGet, "/listed/status-lists/"+path); got.status != http.StatusNotFound {
			t.Errorf("before any token the list %q got %d", path, got.status)
		}
	}
	if db.asked > 1 {
		t.Errorf("the store was asked %d times for lists that are not there", db.asked)
	}
	h.clock.Turn(5 * time.Second)
	h.token("listed")
	first := h.get(t, http.MethodGet, "/listed/status-lists/0").body
	for range 50 {
		if got := h.get(t, http.MethodGet, "/listed/status-lists/0"); got.body != first {
			t.Fatal("the list was signed again")
		}
	}
	if db.revoked != 1 {
		t.Errorf("the list was made %d times", db.revoked)
	}
	if got := h.get(t, http.MethodPost, "/listed/status-lists/0"); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST got %d", got.status)
	}
	if got := h.get(t, http.MethodGet, "/oauth2/status-lists/0"); got.status != http.StatusNotFound {
		t.Errorf("a realm without the claim got %d", got.status)
	}
	h.clock.Turn(time.Minute)
	db.broken = true
	if got := h.get(t, http.MethodGet, "/listed/status-lists/1"); got.status != http.StatusServiceUnavailable || strings.Contains(got.body, "fire") {
		t.Errorf("without a store the list got %d %s", got.status, got.body)
	}
}

// TestSecondStatusList: tokens beyond the first list are in the next.
func TestSecondStatusList(t *testing.T) {
	h := newHouseOf(t, nil, "listed")
	if _, err := h.store.StatusIndexes(t.Context(), "listed", 1<<20+7); err != nil {
		t.Fatal(err)
	}
	c, err := h.clients.Get(t.Context(), "listed", "good")
	if err != nil {
		t.Fatal(err)
	}
	now := h.clock.Now().Truncate(time.Second)
	inFirst := counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: now, Realm: "listed", ClientID: "good", TokenID: "first", Success: true}
	issue := store.Issuance{Event: inFirst, Version: c.Version, Created: c.Created, Issued: now, Expires: now.Add(time.Hour), StatusIndex: 3}
	if _, err := h.store.RecordIssued(t.Context(), issue); err != nil {
		t.Fatal(err)
	}
	inFirst.Type = counterfoil.EventTokenRevoked
	if err := h.store.RevokeToken(t.Context(), store.Revocation{Realm: "listed", ClientID: "good", TokenID: "first", Expires: issue.Expires}, inFirst); err != nil {
		t.Fatal(err)
	}
	token := h.token("listed")
	r := referenceOf(t, token)
	if r.Status.List.URI != h.url+"/listed/status-lists/1" || r.Status.List.Index < 7 || r.Status.List.Index >= 7+1024 {
		t.Errorf("the token is in %+v", r)
	}
	h.revoke("listed", token, h.as("listed", h.creds["listed"]))
	if h.statusOf(token) != 1 {
		t.Error("the token is not revoked in its list")
	}
	for n, want := range map[int]int{0: http.StatusOK, 1: http.StatusOK, 2: http.StatusNotFound} {
		if got := h.get(t, http.MethodGet, "/listed/status-lists/"+strconv.Itoa(n)); got.status != want {
			t.Errorf("list %d got %d", n, got.status)
		}
	}
}

// TestListThatIsFull: where as many tokens have an index as a list has, there is
// that list, and no next one.
func TestListThatIsFull(t *testing.T) {
	h := newHouseOf(t, nil, "listed")
	if _, err := h.store.StatusIndexes(t.Context(), "listed", 1<<20); err != nil {
		t.Fatal(err)
	}
	for path, status := range map[string]int{"/listed/status-lists/0": http.StatusOK, "/listed/status-lists/1": http.StatusNotFound} {
		if got := h.get(t, http.MethodGet, path); got.status != status {
			t.Errorf("%s got %d, want %d", path, got.status, status)
		}
	}
}

// TestListsAreKept: strangers who ask for several lists in turn cost one signature
// for each.
func TestListsAreKept(t *testing.T) {
	db := &counting{}
	h := newHouseOf(t, func(s store.Store) store.Store { db.Store = s; return db }, "listed")
	if _, err := h.store.StatusIndexes(t.Context(), "listed", 1<<20+1); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		for n := range 2 {
			if got := h.get(t, http.MethodGet, "/listed/status-lists/"+strconv.Itoa(n)); got.status != http.StatusOK {
				t.Fatalf("list %d got %d", n, got.status)
			}
		}
	}
	if db.revoked != 2 {
		t.Errorf("two lists were made %d times", db.revoked)
	}
}
