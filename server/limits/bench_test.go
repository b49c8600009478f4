package limits_test

import (
	"log/slog"
	"testing"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/limits"
)

// BenchmarkRequest is what the limits cost a token request of a known client.
func BenchmarkRequest(b *testing.B) {
	l, err := limits.New(limits.Config{Requests: limits.RequestLimits{Client: limits.MaxCount, Realm: -1, Address: -1, Tenant: -1}}, clock.System, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	a := from("good", "192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		l.Arrived(b.Context(), a)
		v := l.Look(a)
		l.Succeeded(a, &v)
		l.Spend(b.Context(), "r", "good", nil)
	}
}
