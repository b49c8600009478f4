package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/spf13/cobra"
)

// auditPage is how many records are read at once.
const auditPage = 1000

func (p *program) auditCommand() *cobra.Command {
	o := &operator{program: p}
	var after int64
	cmd := &cobra.Command{
		Use: "audit", Short: "Print the audit record, here or of a server elsewhere",
		Long: `Print who asked for tokens, with what result, and who changed clients and keys,
and what of them, oldest first. With -o json: one object a line, each with its sequence number, so that a
later run goes on with --after.`,
		Example: `  counterfoil audit
  counterfoil audit -o json --after 1200 | jq 'select(.success | not)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd, func(ctx context.Context, service admin.Service) error { return p.audit(ctx, service, after) })
		},
	}
	o.flags(cmd)
	cmd.Flags().Int64Var(&after, "after", 0, "print the records after this sequence number")
	return cmd
}

func (p *program) audit(ctx context.Context, service admin.Service, after int64) error {
	table := tabwriter.NewWriter(p.Out, 0, 0, 2, ' ', 0)
	enc := json.NewEncoder(p.Out)
	enc.SetEscapeHTML(false)
	if p.output == text {
		fmt.Fprintln(table, "TIME\tEVENT\tREALM\tCLIENT ID\tREASON\tBY\tIP ADDRESS\tUSER AGENT\tDETAIL")
	}
	var evicted int64
	for {
		page, err := service.Events(ctx, after, auditPage)
		if err != nil {
			return err
		}
		for _, e := range page.Events {
			after = e.Sequence
			if p.output == jsonForm {
				if err := enc.Encode(e); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Time.Format(time.RFC3339), e.Type, e.Realm,
				oneLine(e.ClientID), e.Reason, oneLine(e.Actor), e.Address, oneLine(e.UserAgent), oneLine(e.Detail))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if evicted = page.Evicted; len(page.Events) < auditPage {
			break
		}
	}
	if evicted > 0 {
		fmt.Fprintf(p.Err, "%d records of refused strangers were dropped to keep the record bounded\n", evicted)
	}
	return nil
}
