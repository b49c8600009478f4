package client_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/provider"
)

// The test of a program, as docs/client.md shows it.
func TestProgram(t *testing.T) {
	fake := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/token":
			io.WriteString(w, `{"access_token":"t","token_type":"Bearer","expires_in":3600}`)
		case "/api/wallets":
			io.WriteString(w, `{"data":[]}`)
		}
	}))
	defer fake.Close()
	p, err := provider.Builtin("a55")
	if err != nil {
		t.Fatal(err)
	}
	clock := &fakeClock{now: time.Now(), advanced: make(chan struct{})}
	source, err := client.New(client.Config{
		Provider: p, TokenURL: fake.URL + "/token", APIURL: fake.URL + "/api",
		ClientID: "test", ClientSecret: client.Static("test"),
		HTTP: fake.Client().Transport, Clock: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	old, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	clock.Advance(2 * time.Hour) // the token has expired
	renewed, err := source.Token(t.Context())
	if err != nil || !renewed.Expires.After(old.Expires) {
		t.Errorf("got %v, %v", renewed, err)
	}
	resp, err := source.Client().Get(fake.URL + "/api/wallets")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	equal(t, "status", resp.StatusCode, http.StatusOK)
}

// A wait by the clock of the guide ends when the time has come, and no sooner.
func TestClockOfTheGuide(t *testing.T) {
	clock := &fakeClock{now: theStart, advanced: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- clock.Sleep(t.Context(), time.Minute) }()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	equal(t, "canceled", clock.Sleep(gone, time.Minute), context.Canceled)
	for seconds := 0; ; seconds++ {
		select {
		case err := <-done:
			equal(t, "end", err, nil)
			if seconds < 60 {
				t.Errorf("a minute ended after %d s", seconds)
			}
			return
		default:
			clock.Advance(time.Second)
		}
	}
}

// fakeClock is a counterfoil.Clock that a test advances.
type fakeClock struct {
	mu       sync.Mutex
	now      time.Time
	advanced chan struct{} // closed by Advance
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	for end := c.Now().Add(d); ; {
		c.mu.Lock()
		now, advanced := c.now, c.advanced
		c.mu.Unlock()
		if !now.Before(end) {
			return ctx.Err()
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *fakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	close(c.advanced)
	c.advanced = make(chan struct{})
}
