package client_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/provider"
)

// inMemory answers token requests and calls without a network.
var inMemory = roundTripper(func(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && r.URL.Path == "/connect/token" {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(
			`{"access_token":"` + strings.Repeat("t", 900) + `","token_type":"Bearer","expires_in":3600}`))}, nil
	}
	return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
})

// benchSource is a Source of engagifii without its limit of requests.
func benchSource(b *testing.B) *client.Source {
	p, err := provider.Builtin("engagifii")
	if err != nil {
		b.Fatal(err)
	}
	unlimited := *p
	unlimited.APIs = append([]provider.API(nil), p.APIs...)
	unlimited.APIs[0].RequestsPerMinute = 0
	s, err := client.New(client.Config{Provider: &unlimited, TokenURL: "https://id.example/connect/token", APIURL: "https://api.example",
		ClientID: "c", ClientSecret: client.Static("s"), Scopes: p.TokenEndpoint.Scope.MustInclude, Tenant: "T", HTTP: inMemory})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkSourceToken(b *testing.B) {
	s, ctx := benchSource(b), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Token(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSourceTokenParallel(b *testing.B) {
	s, ctx := benchSource(b), context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Token(ctx); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkTransport shows what the Transport costs beyond its base.
func BenchmarkTransport(b *testing.B) {
	for name, rt := range map[string]http.RoundTripper{"base": inMemory, "transport": &client.Transport{Source: benchSource(b)}} {
		b.Run(name, func(b *testing.B) {
			req, err := http.NewRequest(http.MethodGet, "https://api.example/api/1.0/event/1", nil)
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Accept", "application/json")
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rt.RoundTrip(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
