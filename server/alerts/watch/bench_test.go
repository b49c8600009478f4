package watch_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/alerts/watch"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// BenchmarkFollow is what alerts cost for each token, in the background, of few
// clients and of many.
func BenchmarkFollow(b *testing.B) {
	for _, clients := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "x.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			c := clock.NewManual(start)
			for i := range clients {
				client := store.Client{Realm: "r", ID: fmt.Sprint(i), Created: start, Changed: start}
				if err := s.CreateClient(b.Context(), client, counterfoil.Event{Time: start}); err != nil {
					b.Fatal(err)
				}
			}
			w := watch.New(watch.Config{Store: s, Clock: c, Logger: slog.New(slog.DiscardHandler)})
			if err := w.Look(b.Context()); err != nil {
				b.Fatal(err)
			}
			var some []counterfoil.Event
			for i := range b.N {
				e := token(fmt.Sprint(i*7919%clients), "192.0.2.1")
				e.Realm, e.Time = "r", start
				if some = append(some, e); len(some) == 500 || i == b.N-1 {
					if err := s.RecordEvents(b.Context(), some...); err != nil {
						b.Fatal(err)
					}
					some = some[:0]
				}
			}
			b.ResetTimer()
			if err := w.Look(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
