package guard_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/provider"
)

// discard is a response that costs nothing.
type discard http.Header

func (d discard) Header() http.Header         { return http.Header(d) }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkGuard compares a bare handler with the same behind a guard, in one
// run: a known token of each provider (about 650 bytes for RS256, 360 for
// ES256), many known tokens on all cores, tokens seen for the first time, and
// refusals.
func BenchmarkGuard(b *testing.B) {
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	b.Run("floor", func(b *testing.B) {
		req := must(http.NewRequest("GET", "https://api.example/", nil))
		w := discard{}
		b.ReportAllocs()
		for b.Loop() {
			bare.ServeHTTP(w, req)
		}
	})
	for _, name := range []string{"ahotu", "altrata", "engagifii", "a55", "oauth2"} {
		d := dialects()[name]
		g, request := benchGuard(name, d)
		h := g.Handler(bare)
		known := request(nil)
		w := discard{}
		b.Run("known/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, known)
			}
			b.ReportMetric(float64(len(known.Header.Get("Authorization"))-7), "token-bytes")
		})
	}
	d := dialects()["oauth2"]
	g, request := benchGuard("oauth2", d)
	h := g.Handler(bare)
	b.Run("known/parallel", func(b *testing.B) {
		var reqs []*http.Request
		for i := range 256 {
			reqs = append(reqs, request(members{"jti": fmt.Sprint(i)}))
		}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			w := discard{}
			for i := 0; pb.Next(); i++ {
				h.ServeHTTP(w, reqs[i%len(reqs)])
			}
		})
	})
	b.Run("known/following", func(b *testing.B) {
		s := newTeller(b, false)
		f := s.follow(nil)
		c := s.next().say(hello)
		for i := range 1000 {
			c.say(fmt.Sprintf(`revocation|w.%d|{"client_id":%q,"token_id":"%d","expires":%d}`, i+1, client, i, later))
		}
		c.say(position(1000))
		caughtUp(b, f, "w.1000")
		g := must(guard.New(guard.Config{Provider: must(provider.Builtin("oauth2")), Issuer: issuer, Keys: benchKeys(d), Liveness: f}))
		h, known, w := g.Handler(bare), request(nil), discard{}
		b.ReportAllocs()
		for b.Loop() {
			h.ServeHTTP(w, known)
		}
	})
	for _, name := range []string{"oauth2", "a55"} {
		d := dialects()[name]
		_, request := benchGuard(name, d)
		one := must(guard.New(guard.Config{Provider: must(provider.Builtin(name)), Issuer: issuer, CacheSize: 1,
			Keys: benchKeys(d)}))
		h := one.Handler(bare)
		pair := []*http.Request{request(members{"jti": "a"}), request(members{"jti": "b"})}
		b.Run("first/"+name, func(b *testing.B) {
			w := discard{}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				h.ServeHTTP(w, pair[i%2])
			}
		})
	}
	b.Run("refused", func(b *testing.B) {
		req := request(nil)
		req.Header.Set("Authorization", "Bearer "+strings.Repeat("a", 600))
		w := discard{}
		b.ReportAllocs()
		for b.Loop() {
			h.ServeHTTP(w, req)
		}
	})
}

func benchKeys(d dialect) guard.Keys {
	alg, _ := d.header["alg"].(string)
	return must(guard.StaticKeys(must(jose.MarshalSet([]jose.PublicKey{{ID: "k1", Algorithm: alg, Key: d.key().Public()}}))))
}

// benchGuard returns a guard and what makes right requests for it, with a token
// that does not expire during the run.
func benchGuard(name string, d dialect) (*guard.Guard, func(change members) *http.Request) {
	g := must(guard.New(guard.Config{Provider: must(provider.Builtin(name)), Issuer: issuer, Logger: slog.New(slog.DiscardHandler),
		Keys:     benchKeys(d),
		Liveness: &registry{}, Directory: &registry{tenants: []string{"TENANT123"}, apiKey: "key-1"}}))
	return g, func(change members) *http.Request {
		claims := members{}
		for _, m := range []members{d.claims, {"exp": 4_000_000_000}, change} {
			for k, v := range m {
				claims[k] = v
			}
		}
		for _, k := range []string{"iat", "nbf", "auth_time"} {
			if _, ok := claims[k]; ok {
				claims[k] = 1_700_000_000
			}
		}
		req := must(http.NewRequest(d.method, "https://api.example/", nil))
		for k, v := range d.callHeaders {
			req.Header.Set(k, v)
		}
		req.Header.Set("Authorization", "Bearer "+josetest.Token(d.key(), d.header.String(), claims.String()))
		return req
	}
}
