//go:build unix

package server_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// BenchmarkToken compares the token endpoint, with 1,000 clients in a real
// database and a durable record of each token, to a floor: a handler that
// parses the same form and signs a token of the same size, and does nothing
// else. The 32 callers of either share the machine with it, and for either the
// collector runs seldom, as in the binary with its ballast: a heap this small is otherwise
// collected every few hundred requests.
func BenchmarkToken(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	for _, algorithm := range []string{"RS256", "ES256"} {
		b.Run(algorithm+"/floor", func(b *testing.B) { benchmarkFloor(b, algorithm) })
		for _, policy := range []string{"independent", "replace"} {
			b.Run(algorithm+"/"+policy, func(b *testing.B) { benchmarkServer(b, algorithm, policy) })
		}
	}
}

func benchmarkFloor(b *testing.B, algorithm string) {
	key, err := jose.Generate(algorithm)
	if err != nil {
		b.Fatal(err)
	}
	protected := []byte(`{"alg":"` + algorithm + `","kid":"x","typ":"at+jwt"}`)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "client_credentials" {
			http.Error(w, "bad", http.StatusBadRequest)
			return
		}
		id, now := r.PostForm.Get("client_id"), time.Now().Unix()
		payload := fmt.Appendf(nil, `{"iss":"https://auth.example","exp":%d,"aud":"https://auth.example","sub":%q,"client_id":%q,"iat":%d,"jti":"00000000-0000-4000-8000-000000000000","scope":"read"}`, now+3600, id, id, now)
		token, err := jose.Sign(key, algorithm, protected, payload)
		if err != nil {
			http.Error(w, "bad", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, `{"access_token":"`+token+`","token_type":"Bearer","expires_in":3600,"scope":"read"}`)
	})
	bodies := make([]string, 1000)
	for i := range bodies {
		bodies[i] = tokenForm(fmt.Sprintf("client-%04d", i), base64.RawURLEncoding.EncodeToString(make([]byte, 32)))
	}
	benchmarkHandler(b, handler, bodies)
}

func benchmarkServer(b *testing.B, algorithm, policy string) {
	p, err := provider.Parse("bench.yaml", []byte("extends: oauth2\nname: bench\ntoken_endpoint:\n  policy: "+policy+"\naccess_token:\n  signing_algorithm: "+algorithm+"\n"))
	if err != nil {
		b.Fatal(err)
	}
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "bench.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	s, err := server.New(b.Context(), server.Config{Store: db, Realms: []server.Realm{{Name: "bench", Provider: p, BaseURL: "https://auth.example"}}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	made, bodies := s.Clients(), make([]string, 1000)
	var wg sync.WaitGroup
	for i := range bodies {
		wg.Go(func() {
			_, creds, err := made.Create(b.Context(), "bench", clients.NewClient{Realm: "bench", ID: fmt.Sprintf("client-%04d", i), Settings: store.Settings{Scopes: []string{"read"}}})
			if err != nil {
				b.Error(err)
			}
			bodies[i] = tokenForm(creds.ClientID, creds.ClientSecret.Reveal())
		})
	}
	wg.Wait()
	benchmarkHandler(b, s.Handler("bench"), bodies)
}

func tokenForm(id, secret string) string {
	return "grant_type=client_credentials&client_id=" + id + "&client_secret=" + secret + "&scope=read"
}

func benchmarkHandler(b *testing.B, h http.Handler, bodies []string) {
	var next atomic.Uint64
	b.SetParallelism(16) // 32 callers on two cores
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(bodies[next.Add(1)%uint64(len(bodies))]))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusOK {
				b.Errorf("status %d: %s", w.Code, w.Body)
				return
			}
		}
	})
	b.ReportMetric(float64(cpuTime(b)-before)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
}

// cpuTime is what the process has used of the processors, which other programs
// on the machine do not change as they change the time that passes.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
