package server_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/server"
)

// TestSlowSecretsLeaveHalfTheProcessors: slow secrets are verified by half of the
// processors, the others are left to requests that need none.
func TestSlowSecretsLeaveHalfTheProcessors(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	h := newHouseOf(t, nil, "oauth2")
	s := watch(h, 0)
	const clients, half = 6, 4
	held := make(chan struct{})
	for i := range clients {
		id := fmt.Sprint("client", i)
		h.adopt(id, bcryptHash)
		s.hold[id] = held
	}
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			if got := h.try(fmt.Sprint("client", i), imported); got != 200 {
				t.Errorf("got %d", got)
			}
		})
	}
	for len(s.begun)+server.Waiting(h.server) < clients {
		runtime.Gosched()
	}
	if n := len(s.begun); n != half {
		t.Errorf("%d secrets are verified at once by 8 processors, want %d", n, half)
	}
	close(held)
	wg.Wait()
}

// TestReusedASecondEarlier: of two requests at once, one may have read the clock a
// second earlier. It gets the same token; one from further back gets its own.
func TestReusedASecondEarlier(t *testing.T) {
	h := newHouseOf(t, nil, "reused")
	first := h.token("reused")
	h.clock.Step(-time.Second)
	if h.token("reused") != first {
		t.Error("a second earlier the token is not answered again")
	}
	h.clock.Step(-time.Second)
	if h.token("reused") == first {
		t.Error("two seconds earlier the token is answered again")
	}
}
