package serveconfig

import (
	"cmp"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/conns"
)

// connectionSettings bounds the open connections: in all, and from one network.
type connectionSettings struct {
	Total     int `yaml:"total,omitempty"`
	PerPrefix int `yaml:"per_prefix,omitempty"`
}

// Bounds of Total. A server with fewer would refuse its own monitor.
const (
	minConnections = 16
	maxConnections = 1_000_000
)

func (pl *planner) connections() {
	c, way := &pl.Limits.Connections, to("limits", "connections")
	total := cmp.Or(c.Total, conns.DefaultTotal)
	if at := under(way, "total"); pl.Has(at) && (c.Total < minConnections || c.Total > maxConnections) {
		pl.fail(at, "total must be from %d to %d", minConnections, maxConnections)
		total = maxConnections // not reported twice
	}
	if at := under(way, "per_prefix"); pl.Has(at) && (c.PerPrefix < 1 || c.PerPrefix > total) {
		pl.fail(at, "per_prefix must be from 1 to the total, which is %d", total)
	}
	pl.out.Connections = conns.Limits{Total: total, PerPrefix: cmp.Or(c.PerPrefix, min(conns.DefaultPerPrefix, total))}
}
