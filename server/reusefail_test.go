package server_test

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil/server/store"
)

// stuckStore fails each record of a token, once it is let go on.
type stuckStore struct {
	store.Store
	calls atomic.Int64
	goOn  chan struct{}
}

func (s *stuckStore) RecordIssued(context.Context, store.Issuance) (int64, error) {
	s.calls.Add(1)
	<-s.goOn
	return 0, errors.New("another process holds the database")
}

// Under the policy "reuse" those who waited for one token to be made tried one after
// the other when the store failed, and the last waited for all of them.
func TestReuseSharesAFailure(t *testing.T) {
	stuck := &stuckStore{goOn: make(chan struct{})}
	h := newHouseOf(t, func(s store.Store) store.Store { stuck.Store = s; return stuck }, "reused")
	h.http.Transport.(*http.Transport).MaxConnsPerHost = 0
	const many = 30
	var waiting atomic.Int64
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			waiting.Add(1)
			if got := h.do("reused", h.good("reused")); got.status != http.StatusServiceUnavailable {
				t.Errorf("answered %d", got.status)
			}
		})
	}
	for stuck.calls.Load() == 0 || waiting.Load() < many {
		runtime.Gosched()
	}
	for range 50 { // the others come as far as they can meanwhile
		resp, err := h.http.Get(h.url + "/reused/.well-known/jwks.json")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	close(stuck.goOn)
	all.Wait()
	// Who comes only after the first has failed tries for itself.
	if n := stuck.calls.Load(); n == many {
		t.Errorf("%d callers made the store fail %d times", many, n)
	}
}
