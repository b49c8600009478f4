package watch_test

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/watch"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/postgres"
)

// TestTwoNodes: two nodes on one PostgreSQL find each alert once, and send it once.
func TestTwoNodes(t *testing.T) {
	database, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = database.Stop() })
	url := database.Database(t)
	c := clock.NewStepping(start)
	x := newSender("x", nil)
	var nodes [2]*watch.Watch
	var stores [2]*postgres.Store
	for i := range nodes {
		if stores[i], err = postgres.Open(t.Context(), url, ""); err != nil {
			t.Fatal(err)
		}
		defer stores[i].Close()
		nodes[i] = watch.New(watch.Config{Store: stores[i], Clock: c, Logger: slog.New(slog.DiscardHandler), Senders: []alerts.Sender{x},
			Realms: func() []string { return []string{"r"} }})
	}
	client := store.Client{Realm: "r", ID: "c", Created: start, Changed: start}
	if err := stores[0].CreateClient(t.Context(), client, counterfoil.Event{Type: counterfoil.EventClientCreated, Time: start, Realm: "r"}); err != nil {
		t.Fatal(err)
	}
	s := &scene{T: t, store: stores[1], clock: c}
	s.record(1, token("c", "192.0.2.1"))
	s.record(20_000, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	s.record(1, token("c", "203.0.113.1"))
	var wg sync.WaitGroup
	for _, w := range nodes {
		wg.Go(func() {
			for range 10 {
				if err := w.Look(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	failures, networks := s.opened(alerts.KindFailures), s.opened(alerts.KindNewNetwork)
	if len(failures) != 1 || failures[0].Count != 20_000 || len(networks) != 1 || networks[0].Count != 1 {
		t.Errorf("%+v %+v", failures, networks)
	}
	for i := range nodes {
		s.watch = nodes[i]
		s.run()
	}
	got := map[int64]int{s.until(0, x).ID: 1}
	got[s.until(0, x).ID]++
	if len(got) != 2 || len(x.got) != 0 {
		t.Errorf("sent %v, and %d more", got, len(x.got))
	}
}
