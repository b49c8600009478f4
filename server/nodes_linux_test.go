package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/postgres"
)

// node is one of several servers of a realm on one database.
type node struct {
	server  *server.Server
	handler http.Handler
	clients *clients.Service
}

// newNodes starts servers of the realm "acme", whose clients have one live token
// each. wrap stands between the last of them and its store.
func newNodes(t *testing.T, n int, wrap func(store.Store) store.Store) []*node {
	t.Helper()
	d, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
	})
	p, err := provider.Parse("acme.yaml", []byte("extends: oauth2\nname: acme\ntoken_endpoint: {policy: replace}\n"))
	if err != nil {
		t.Fatal(err)
	}
	realm := server.Realm{Name: "acme", Provider: p, BaseURL: "https://acme.example"}
	now := clock.NewManual(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	var all []*node
	for i := range n {
		db, err := postgres.Open(t.Context(), d.URL("postgres"), "")
		if err != nil {
			t.Fatal(err)
		}
		var s store.Store = db
		if wrap != nil && i == n-1 {
			s = wrap(s)
		}
		one := &node{clients: clients.New(s, now, rulesOf(realm))}
		one.server, err = server.New(t.Context(), server.Config{
			Store: s, Clock: now, Realms: []server.Realm{realm}, Logger: slog.New(slog.DiscardHandler), Limits: monitored,
		})
		if err != nil {
			t.Fatal(err)
		}
		one.handler = one.server.Handler("acme")
		t.Cleanup(func() {
			if err := errors.Join(one.server.Close(), db.Close()); err != nil {
				t.Error(err)
			}
		})
		all = append(all, one)
	}
	return all
}

func (n *node) post(path, id string, secret counterfoil.Secret, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "https://acme.example"+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(id, secret.Reveal())
	w := httptest.NewRecorder()
	n.handler.ServeHTTP(w, r)
	return w
}

// token requests a token; "" when that is refused.
func (n *node) token(id string, secret counterfoil.Secret) (string, error) {
	w := n.post("/token", id, secret, url.Values{"grant_type": {"client_credentials"}})
	switch w.Code {
	case http.StatusUnauthorized:
		return "", nil
	case http.StatusOK:
	default:
		return "", fmt.Errorf("the token request was answered %d %s", w.Code, w.Body)
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	err := json.Unmarshal(w.Body.Bytes(), &answer)
	return answer.Token, err
}

// live reports whether a token is in force.
func (n *node) live(t *testing.T, id, token string) (bool, error) {
	p := principal(t, token)
	p.ClientID = id
	err := n.server.Issuer("acme").Live(context.Background(), p, "")
	if refusal, ok := errors.AsType[*counterfoil.Error](err); ok && (refusal.Reason == counterfoil.ReasonTokenRevoked || refusal.Reason == counterfoil.ReasonTokenReplaced) {
		return false, nil
	}
	return err == nil, err
}

// What happens to one client: an operation is one of these, and its output says how
// it ended.
type (
	operation struct {
		do     string // token, check, authenticate, revoke or rotate
		secret string
		token  string
	}
	outcome struct {
		token, secret string
		good          bool
	}
	// situation is what there is to know of the client: its live token and its secret.
	situation struct{ live, secret string }
)

// clientModel is what a client of the realm must look like: as if every operation had
// happened at one moment between its call and its return, on one machine.
func clientModel(secret string) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return situation{secret: secret} },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(situation), input.(operation), output.(outcome)
			switch in.do {
			case "token":
				if in.secret != s.secret {
					return out.token == "", s
				}
				return out.token != "", situation{out.token, s.secret}
			case "check":
				return out.good == (in.token == s.live), s
			case "authenticate":
				return out.good == (in.secret == s.secret), s
			case "revoke":
				if in.token == s.live {
					s.live = ""
				}
				return true, s
			}
			return true, situation{s.live, out.secret}
		},
	}
}

// history has two nodes work for one client at the same time, and returns what
// happened.
func history(t *testing.T, nodes []*node, id string, operations int) (porcupine.Model, []porcupine.Operation) {
	t.Helper()
	_, first, err := nodes[0].clients.Create(t.Context(), "test", clients.NewClient{Realm: "acme", ID: id, Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}}})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	secrets, tokens := []counterfoil.Secret{first.ClientSecret}, []string{}
	var all []porcupine.Operation
	newest := func() (secret counterfoil.Secret, token string) {
		mu.Lock()
		defer mu.Unlock()
		if len(tokens) > 0 {
			token = tokens[max(0, len(tokens)-1-rand.IntN(3))]
		}
		return secrets[max(0, len(secrets)-1-rand.IntN(2)*rand.IntN(2))], token
	}
	var left atomic.Int64
	left.Store(int64(operations))
	var workers sync.WaitGroup
	began := time.Now()
	for worker := range 3 * len(nodes) {
		n := nodes[worker%len(nodes)]
		workers.Go(func() {
			for left.Add(-1) >= 0 {
				secret, token := newest()
				in, out := operation{secret: secret.Reveal(), token: token}, outcome{}
				var err error
				call := time.Since(began)
				switch dice := rand.IntN(20); {
				case token == "" || dice < 8:
					in.do = "token"
					out.token, err = n.token(id, secret)
				case dice < 17:
					in.do = "check"
					out.good, err = n.live(t, id, token)
				case dice < 19:
					in.do = "revoke"
					w := n.post("/revoke", id, secret, url.Values{"token": {token}})
					if out.good = w.Code == http.StatusOK; !out.good && w.Code != http.StatusUnauthorized {
						err = fmt.Errorf("the revocation was answered %d %s", w.Code, w.Body)
					}
				default:
					in.do = "rotate"
					var made clients.Credentials
					made, err = n.clients.RotateSecret(context.Background(), "test", "acme", id, clients.Rotation{})
					out.secret = made.ClientSecret.Reveal()
				}
				back := time.Since(began)
				if errors.Is(err, store.ErrConflict) {
					continue // another rotation came first: nothing has happened
				}
				if err != nil {
					t.Errorf("%s: %v", in.do, err)
					return
				}
				mu.Lock()
				if out.token != "" {
					tokens = append(tokens, out.token)
				}
				if out.secret != "" {
					secrets = append(secrets, counterfoil.Secret(out.secret))
				}
				add := func(in operation) {
					all = append(all, porcupine.Operation{ClientId: worker, Input: in, Output: out, Call: int64(call), Return: int64(back)})
				}
				if in.do != "revoke" || out.good {
					add(in)
				}
				if in.do == "revoke" {
					// Its secret may end between these two: whoever had a good one when it
					// asked is answered.
					in.do = "authenticate"
					add(in)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return clientModel(first.ClientSecret.Reveal()), all
}

// Two nodes on one database are as one machine: what their clients see of token
// requests, revocations and rotations has happened in one order.
func TestNodesAreLinearizable(t *testing.T) {
	histories := 4
	if text := os.Getenv("COUNTERFOIL_HISTORIES"); text != "" {
		var err error
		if histories, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	nodes := newNodes(t, 2, nil)
	for i := range histories {
		model, all := history(t, nodes, fmt.Sprint("c", i), 300)
		if result := porcupine.CheckOperationsTimeout(model, all, time.Minute); result != porcupine.Ok {
			t.Fatalf("%d operations of two nodes in history %d: %s", len(all), i, result)
		}
	}
}

// stale is a store whose reads of tokens lag behind, as those of a cache do.
type stale struct {
	store.Store
	mu    sync.Mutex
	known map[string]store.TokenStatus
}

func (s *stale) TokenStatus(ctx context.Context, realm, clientID, tokenID string) (store.TokenStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, ok := s.known[tokenID]; ok {
		return known, nil
	}
	status, err := s.Store.TokenStatus(ctx, realm, clientID, tokenID)
	if err == nil {
		s.known[tokenID] = status
	}
	return status, err
}

// A node that answers from what it has read before is found out.
func TestStaleNodeIsNoticed(t *testing.T) {
	model, all := history(t, newNodes(t, 2, func(s store.Store) store.Store { return &stale{Store: s, known: map[string]store.TokenStatus{}} }), "c", 600)
	if result := porcupine.CheckOperationsTimeout(model, all, time.Minute); result != porcupine.Illegal {
		t.Errorf("%d operations, of which one node's are stale: %s", len(all), result)
	}
}
