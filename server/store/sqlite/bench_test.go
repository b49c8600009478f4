//go:build unix

package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// filled returns a store with 1,000 clients as the server makes them.
func filled(b *testing.B) *sqlite.Store {
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "x.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	made := clients.New(s, nil, func(string) (clients.Rules, bool) {
		p, err := provider.Builtin("oauth2")
		return clients.Rules{Provider: p}, err == nil
	})
	for i := range 1000 {
		if _, _, err := made.Create(b.Context(), "bench", clients.NewClient{Realm: "r", ID: fmt.Sprintf("client-%04d", i), Settings: store.Settings{Scopes: counterfoil.Scopes{"read"}}}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func BenchmarkClient(b *testing.B) {
	s := filled(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.Client(b.Context(), "r", fmt.Sprintf("client-%04d", i%1000)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecordIssued has 32 callers, each of which waits until its own
// record is on the disk.
func BenchmarkRecordIssued(b *testing.B) {
	for _, replace := range []bool{false, true} {
		b.Run(fmt.Sprintf("replace=%v", replace), func(b *testing.B) {
			s := filled(b)
			first, err := s.Client(b.Context(), "r", "client-0000")
			if err != nil {
				b.Fatal(err)
			}
			var n, mark atomic.Int64
			mark.Store(first.Revision)
			b.SetParallelism(16)
			b.ReportAllocs()
			before := cpuTime(b)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					now := time.Now()
					asOf, err := s.RecordIssued(context.Background(), store.Issuance{
						Event: counterfoil.Event{
							Type: counterfoil.EventTokenIssued, Time: now, Realm: "r", ClientID: fmt.Sprintf("client-%04d", n.Add(1)%1000), Success: true,
							TokenID: "00000000-0000-4000-8000-000000000000", Address: "192.0.2.1", UserAgent: "bench/1",
						},
						Version: 1, Revision: mark.Load(), Replace: replace, Issued: now.Truncate(time.Second), Expires: now.Add(time.Hour).Truncate(time.Second), StatusIndex: -1,
					})
					if err != nil {
						b.Error(err)
						return
					}
					mark.Store(asOf)
				}
			})
			b.ReportMetric(float64(cpuTime(b)-before)/float64(time.Microsecond)/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpuTime is what the process has used of the processors.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
