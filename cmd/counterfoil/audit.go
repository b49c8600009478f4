package main

import (
	"context"
	"time"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/spf13/cobra"
)

// auditPage is how many records are read at once.
const auditPage = 1000

func (p *program) auditCommand() *cobra.Command {
	o := &operator{program: p}
	var after int64
	cmd := &cobra.Command{
		Use: "audit", Short: "Print the audit record, here or of a remote server",
		Long: `Print the audit record, oldest first: who requested tokens and with what result,
and who changed which clients and keys. With -o json: one object a line, each
with its sequence number, from which a later run continues with --after.`,
		Example: `  counterfoil audit
  counterfoil audit -o json --after 1200 | jq 'select(.success | not)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error { return p.audit(ctx, service, after) })
		},
	}
	o.flags(cmd)
	cmd.Flags().Int64Var(&after, "after", 0, "print the records after this sequence number")
	return cmd
}

func (p *program) audit(ctx context.Context, service admin.Service, after int64) error {
	write, flush := p.auditRows()
	for {
		page, err := service.Events(ctx, after, auditPage)
		if err != nil {
			return err
		}
		for i := range page {
			after = page[i].Sequence
			if err := write(&page[i]); err != nil {
				return err
			}
		}
		if err := flush(); err != nil {
			return err
		}
		if len(page) < auditPage {
			return nil
		}
	}
}

// auditRows prints records in the requested form. Both forms keep at most a page
// in memory.
func (c *console) auditRows() (write func(*store.RecordedEvent) error, flush func() error) {
	if c.output == jsonForm {
		rows := newJSONRows(c.Out, false)
		return func(e *store.RecordedEvent) error { return rows.row(e) }, rows.end
	}
	t := newTable(c.Out, "TIME", "EVENT", "REALM", "CLIENT ID", "REASON", "BY", "IP ADDRESS", "USER AGENT", "DETAIL")
	return func(e *store.RecordedEvent) error {
		return t.row(e.Time.Format(time.RFC3339), e.Type, e.Realm, oneLine(e.ClientID), string(e.Reason), oneLine(e.Actor),
			e.Address, oneLine(e.UserAgent), oneLine(e.Detail))
	}, t.flush
}
