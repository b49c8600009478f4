package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/spf13/cobra"
)

// maxTop bounds the groups that 'audit top' counts.
const maxTop = 100_000

// auditColumns are what records can be counted by.
var auditColumns = map[string]func(*store.RecordedEvent) string{
	"realm":      func(e *store.RecordedEvent) string { return e.Realm },
	"client":     func(e *store.RecordedEvent) string { return e.ClientID },
	"reason":     func(e *store.RecordedEvent) string { return string(e.Reason) },
	"type":       func(e *store.RecordedEvent) string { return e.Type },
	"address":    func(e *store.RecordedEvent) string { return e.Address },
	"actor":      func(e *store.RecordedEvent) string { return e.Actor },
	"method":     func(e *store.RecordedEvent) string { return e.Method },
	"credential": func(e *store.RecordedEvent) string { return e.Credential },
	"network": func(e *store.RecordedEvent) string {
		if _, wide := peer.Networks(e.Address); wide.IsValid() {
			return wide.String()
		}
		return ""
	},
}

func (o *operator) auditTop() *cobra.Command {
	var f auditFlags
	var by string
	var limit int
	cmd := &cobra.Command{
		Use: "top", Short: "Count the records by client, reason, network, …",
		Long: `Count the records by what --by names, the most frequent first. Refusals that were
recorded together count as often as they happened.`,
		Example: `  counterfoil audit top --by client,reason --since 24h
  counterfoil audit top --by network --type token.refused`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := f.query(o.clock)
			if err != nil {
				return err
			}
			columns := strings.Split(by, ",")
			for _, c := range columns {
				if auditColumns[c] == nil {
					return usagef("--by %q: there is no %q; there are %s", by, c, strings.Join(slices.Sorted(maps.Keys(auditColumns)), ", "))
				}
			}
			if limit < 1 {
				return usagef("--limit must be 1 or more")
			}
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error {
				return o.top(ctx, service, q, columns, limit)
			})
		},
	}
	f.flags(cmd)
	cmd.Flags().StringVar(&by, "by", "client,reason", "what to count by, separated by commas: "+
		strings.Join(slices.Sorted(maps.Keys(auditColumns)), ", "))
	cmd.Flags().IntVar(&limit, "limit", 20, "how many groups to print")
	return cmd
}

// auditGroup is how often something happened.
type auditGroup struct {
	cells []string
	count int64
}

func (p *program) top(ctx context.Context, service admin.Service, q audit.Query, columns []string, limit int) error {
	groups, others := map[string]*auditGroup{}, int64(0)
	_, err := eachEvent(ctx, service, q, func(e *store.RecordedEvent) {
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = auditColumns[c](e)
		}
		key := strings.Join(cells, "\x00")
		g := groups[key]
		if g == nil {
			if len(groups) == maxTop {
				others += max(1, e.Count)
				return
			}
			g = &auditGroup{cells: cells}
			groups[key] = g
		}
		g.count += max(1, e.Count)
	})
	if err != nil {
		return err
	}
	sorted := slices.SortedFunc(maps.Values(groups), func(a, b *auditGroup) int {
		return cmp.Or(cmp.Compare(b.count, a.count), slices.Compare(a.cells, b.cells))
	})
	for _, g := range sorted[min(limit, len(sorted)):] {
		others += g.count
	}
	return p.printTop(sorted[:min(limit, len(sorted))], others, columns)
}

// printTop prints groups, and how often other things happened.
func (p *program) printTop(groups []*auditGroup, others int64, columns []string) error {
	if p.output == jsonForm {
		rows := newJSONRows(p.Out, false)
		for _, g := range groups {
			row := map[string]any{"count": g.count}
			for i, c := range columns {
				row[c] = g.cells[i]
			}
			if err := rows.row(row); err != nil {
				return err
			}
		}
		return rows.end()
	}
	heading := []string{"COUNT"}
	for _, c := range columns {
		heading = append(heading, strings.ToUpper(c))
	}
	t := newTable(p.Out, heading...)
	t.width = p.width()
	for _, g := range groups {
		cells := []string{fmt.Sprint(g.count)}
		for _, c := range g.cells {
			cells = append(cells, cmp.Or(oneLine(c), "-"))
		}
		if err := t.row(cells...); err != nil {
			return err
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	if others > 0 {
		fmt.Fprintf(p.Err, "and %d others: --limit prints more\n", others)
	}
	return nil
}
