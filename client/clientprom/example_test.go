package clientprom_test

import (
	"context"
	"log"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clientprom"
	"github.com/counterfoil/counterfoil/client/clientslog"
)

// opened has the method of a consumer.Config, whose package is not of this
// module.
type opened struct{}

func (opened) Source(string, ...func(*client.Config)) (*client.Source, error) { return nil, nil }

// Of several functions for OnEvent one is made that calls them all.
func Example() {
	var config opened // of consumer.Load
	logged := clientslog.OnEvent(slog.Default().With("connection", "ahotu"), clientslog.Options{})
	metrics := clientprom.New()
	prometheus.MustRegister(metrics)
	source, err := config.Source("ahotu", func(c *client.Config) {
		c.OnEvent = func(ctx context.Context, e counterfoil.Event) { logged(ctx, e); metrics.OnEvent(ctx, e) }
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = source
}
