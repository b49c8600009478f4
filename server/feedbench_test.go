//go:build unix

package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// BenchmarkFeed tells how long it takes from the answer of a revocation until
// ten followers have its event, over TLS: revoked at the server that they
// follow, and at another process's server on the same database, which theirs
// finds by looking every 25 ms. Negative times are of events that overtook the
// answer.
func BenchmarkFeed(b *testing.B) {
	b.Run("same", func(b *testing.B) { benchmarkFeed(b, false) })
	b.Run("other", func(b *testing.B) { benchmarkFeed(b, true) })
}

func benchmarkFeed(b *testing.B, other bool) {
	p, err := provider.Builtin("oauth2")
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "bench.db")
	start := func() (*server.Server, *httptest.Server, *sqlite.Store) {
		store, err := sqlite.Open(b.Context(), path)
		if err != nil {
			b.Fatal(err)
		}
		s, err := server.New(b.Context(), server.Config{Store: store, Realms: []server.Realm{{Name: "bench", Provider: p, BaseURL: "https://auth.example"}}})
		if err != nil {
			b.Fatal(err)
		}
		ts := httptest.NewTLSServer(s.Handler("bench"))
		b.Cleanup(func() { _ = s.Close(); ts.Close(); _ = store.Close() })
		return s, ts, store
	}
	s, followed, _ := start()
	revoking := followed
	if other {
		_, revoking, _ = start()
	}
	_, creds, err := s.Clients().Create(b.Context(), "bench", clients.NewClient{
		Realm: "bench", ID: "api", Settings: store.Settings{ResourceServer: true, Scopes: counterfoil.Scopes{"read"}},
	})
	if err != nil {
		b.Fatal(err)
	}
	auth := basic("api", creds.ClientSecret.Reveal())
	const followers = 10
	seen := make(chan time.Time, followers)
	for range followers {
		arrivals(b, followed, auth, seen)
	}
	tokens := make([]string, b.N)
	for i := range tokens {
		tokens[i] = accessToken(b, revoking, creds)
	}
	var all []time.Duration
	b.ResetTimer()
	for _, token := range tokens {
		r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, revoking.URL+"/revoke", strings.NewReader(url.Values{"token": {token}}.Encode()))
		if err != nil {
			b.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", auth)
		resp, err := revoking.Client().Do(r)
		if err != nil {
			b.Fatal(err)
		}
		answered := time.Now()
		if resp.Body.Close(); resp.StatusCode != http.StatusOK {
			b.Fatalf("revoke got %d", resp.StatusCode)
		}
		for range followers {
			all = append(all, (<-seen).Sub(answered))
		}
	}
	b.StopTimer()
	slices.Sort(all)
	for _, percent := range []int{50, 99, 100} {
		b.ReportMetric(float64(all[(len(all)-1)*percent/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", percent))
	}
}

// arrivals follows a feed and tells when each revocation arrives.
func arrivals(b *testing.B, ts *httptest.Server, auth string, seen chan<- time.Time) {
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, ts.URL+"/revocations", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("Authorization", auth)
	resp, err := ts.Client().Do(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatalf("follow: %v", err)
	}
	var begun, done sync.WaitGroup
	begun.Add(1)
	done.Go(func() {
		lines, first := bufio.NewScanner(resp.Body), true
		for lines.Scan() {
			switch lines.Text() {
			case "event: position":
				if first {
					begun.Done()
				}
				first = false
			case "event: revocation":
				seen <- time.Now()
			}
		}
	})
	b.Cleanup(func() { cancel(); resp.Body.Close(); done.Wait() })
	begun.Wait()
}

// accessToken asks for a token.
func accessToken(b *testing.B, ts *httptest.Server, c clients.Credentials) string {
	resp, err := ts.Client().Post(ts.URL+"/token", "application/x-www-form-urlencoded", strings.NewReader(tokenForm(c.ClientID, c.ClientSecret.Reveal())))
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	_, rest, _ := strings.Cut(string(text), `"access_token":"`)
	token, _, ok := strings.Cut(rest, `"`)
	if err != nil || !ok {
		b.Fatalf("no token: %d %v", resp.StatusCode, err)
	}
	return token
}
