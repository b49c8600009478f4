package server_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// lookups notes how the server looks clients up.
type lookups struct {
	store.Store
	mu     sync.Mutex
	seen   []string
	broken error // of ClientVersion
}

func (l *lookups) note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, what)
}

func (l *lookups) taken() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := l.seen
	l.seen = nil
	return seen
}

func (l *lookups) Client(ctx context.Context, realm, id string) (store.Client, error) {
	l.note("client")
	return l.Store.Client(ctx, realm, id)
}

func (l *lookups) ClientVersion(ctx context.Context, realm, id string) (int64, time.Time, error) {
	l.note("version")
	if l.broken != nil {
		return 0, time.Time{}, l.broken
	}
	return l.Store.ClientVersion(ctx, realm, id)
}

// TestGuessesReadNoSettings: a guess for a client in memory costs one look at its
// version, a guess for an unknown one a look that finds nothing. Whatever settings
// a client has, their reading takes time that would tell that it exists.
// 'make timing' measures what this is for.
func TestGuessesReadNoSettings(t *testing.T) {
	var l *lookups
	h := newHouseOf(t, func(s store.Store) store.Store { l = &lookups{Store: s}; return l }, "oauth2")
	h.client(clients.NewClient{Realm: "oauth2", ID: "off", Disabled: true})
	h.client(clients.NewClient{Realm: "oauth2", ID: "slow", Secrets: []store.SecretHash{{Value: pbkdf2Hash}}})
	guess := func(id string, want ...string) {
		t.Helper()
		l.taken()
		if status := h.try(id, "a guess"); status != http.StatusUnauthorized {
			t.Errorf("%s: %d", id, status)
		}
		if got := l.taken(); !slices.Equal(got, want) {
			t.Errorf("a guess for %s takes %v, want %v", id, got, want)
		}
	}
	for _, id := range []string{"good", "off", "slow"} {
		guess(id, "client")
		guess(id, "version")
		guess(id, "version")
	}
	for range 2 {
		guess("nobody", "client")
	}
	// At the endpoints whose callers must be fresh, too, and there the right secret
	// reads no more.
	for secret, want := range map[counterfoil.Secret]int{"a guess": 401, h.creds["oauth2"].ClientSecret: 200} {
		l.taken()
		as := h.as("oauth2", clients.Credentials{ClientID: "good", ClientSecret: secret})
		if got := h.introspect("oauth2", "x", as); got.status != want {
			t.Errorf("introspection: %d, want %d", got.status, want)
		}
		if got := l.taken(); !slices.Equal(got, []string{"version"}) {
			t.Errorf("introspection takes %v", got)
		}
	}
	// What has changed is read, and what cannot be looked at is refused otherwise.
	creds, err := h.clients.RotateSecret(t.Context(), "root", "oauth2", "good", clients.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	h.keep(creds.ClientSecret.Reveal())
	l.taken()
	if status := h.try("good", creds.ClientSecret); status != http.StatusOK {
		t.Errorf("the new secret: %d", status)
	}
	if got := l.taken(); !slices.Equal(got, []string{"version", "client"}) {
		t.Errorf("the new secret takes %v", got)
	}
	l.broken = errors.New("disk on fire")
	if status := h.try("good", "a guess"); status != http.StatusServiceUnavailable {
		t.Errorf("without a store: %d", status)
	}
	l.broken = nil
	// Deleted and made again, it is another client, also at the same version.
	if err := h.clients.Delete(t.Context(), "root", "oauth2", "off"); err != nil {
		t.Fatal(err)
	}
	h.clock.Turn(time.Second)
	again := h.client(clients.NewClient{Realm: "oauth2", ID: "off"})
	if status := h.try("off", again.ClientSecret); status != http.StatusOK {
		t.Errorf("made again: %d", status)
	}
	if err := h.clients.Delete(t.Context(), "root", "oauth2", "off"); err != nil {
		t.Fatal(err)
	}
	guess("off", "version", "client")
	guess("off", "client")
	// A slow hash is computed although the client in memory was the right one.
	if status := h.try("slow", imported); status != http.StatusOK {
		t.Errorf("the right imported secret: %d", status)
	}
}
