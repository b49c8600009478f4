package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/spf13/cobra"
)

const (
	// auditPage is how many records are read at once.
	auditPage = 1000
	// followEvery is how often --follow looks for new records.
	followEvery = 500 * time.Millisecond
)

func (p *program) auditCommand() *cobra.Command {
	o := &operator{program: p}
	var f auditFlags
	var follow bool
	cmd := &cobra.Command{
		Use: "audit", Short: "Print the audit record, here or of a remote server, and verify it",
		Long: `Print the audit record, oldest first: who requested tokens and with what result,
and who changed which clients and keys. With -o json: one object a line, each
with its sequence number, from which a later run continues with --after.

Refusals that repeat are one record a minute, which says how many there were.`,
		Example: `  counterfoil audit --type token.refused --since 24h
  counterfoil audit --realm a55 --reason invalid_client --follow
  counterfoil audit -o json --after 1200 | jq 'select(.success | not)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := f.query(p.clock)
			if err != nil {
				return err
			}
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error { return p.audit(ctx, service, q, follow) })
		},
	}
	f.flags(cmd)
	cmd.Flags().Int64Var(&f.after, "after", 0, "print the records after this sequence number")
	cmd.Flags().BoolVar(&follow, "follow", false, "go on with new records until interrupted")
	cmd.AddCommand(o.auditTop(), o.auditVerify(), o.auditProve(), o.auditExport())
	o.flags(cmd)
	return cmd
}

// auditFlags are the flags that select records.
type auditFlags struct {
	realm, client, reason, kind, address, actor, since, until string
	after                                                     int64
}

func (f *auditFlags) flags(cmd *cobra.Command) {
	for _, flag := range []struct {
		value       *string
		name, usage string
	}{
		{&f.realm, "realm", "only this realm"},
		{&f.client, "client", "only this client"},
		{&f.reason, "reason", "only refusals for this reason, or a kind of it"},
		{&f.kind, "type", "only this type, as token.refused, or what stands before its dot"},
		{&f.address, "address", "only callers with this address, or in this network, as 192.0.2.0/24"},
		{&f.actor, "actor", "only changes by this actor"},
		{&f.since, "since", "only from this time on: 2026-01-31, 2026-01-31T12:00:00Z, or 90m or 7d ago"},
		{&f.until, "until", "only before this time"},
	} {
		cmd.Flags().StringVar(flag.value, flag.name, "", flag.usage)
	}
}

// query returns the query of the flags.
func (f *auditFlags) query(c counterfoil.Clock) (q audit.Query, err error) {
	q.After = f.after
	q.Filter = audit.Filter{
		Realm: f.realm, ClientID: f.client, Actor: f.actor, Type: f.kind, Reason: counterfoil.Reason(f.reason),
	}
	if f.address != "" {
		if q.Network, err = audit.ParseNetwork(f.address); err != nil {
			return q, usagef("--address %q: %v", f.address, err)
		}
	}
	if q.Since, err = auditTime("--since", f.since, c.Now()); err == nil {
		q.Until, err = auditTime("--until", f.until, c.Now())
	}
	return q, err
}

// auditTime reads a time, or how long ago it was.
func auditTime(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, usagef("%s %q is no time: write 2026-01-31, 2026-01-31T12:00:00Z, or 90m or 7d for a time ago", flag, text)
}

func (p *program) audit(ctx context.Context, service admin.Service, q audit.Query, follow bool) error {
	write, flush := p.auditRows()
	q.Limit = auditPage
	for {
		page, err := service.Events(ctx, q)
		if err != nil {
			return err
		}
		for i := range page.Events {
			if err := write(&page.Events[i]); err != nil {
				return err
			}
		}
		q.After = page.Next
		if len(page.Events) == auditPage || page.End {
			if err := flush(); err != nil {
				return err
			}
		}
		if !page.End {
			continue
		}
		if !follow || p.clock.Sleep(ctx, followEvery) != nil {
			return nil
		}
	}
}

// auditRows prints records in the requested form. Both forms keep at most a page
// in memory.
func (c *console) auditRows() (write func(*store.RecordedEvent) error, flush func() error) {
	if c.output == jsonForm {
		rows := newJSONRows(c.Out, false)
		return func(e *store.RecordedEvent) error {
			e.Commitment, e.Opening = store.Commitment{}, nil // for proofs: see audit prove
			return rows.row(e)
		}, rows.end
	}
	t := newTable(c.Out, "TIME", "EVENT", "REALM", "CLIENT ID", "REASON", "BY", "IP ADDRESS", "USER AGENT", "DETAIL")
	t.width = c.width()
	return func(e *store.RecordedEvent) error {
		detail := oneLine(e.Detail)
		if e.Count > 0 {
			detail = strings.TrimSpace(fmt.Sprintf("%d times since %s %s", e.Count, e.First.Format(time.TimeOnly), detail))
		}
		return t.row(e.Time.Format(time.RFC3339), e.Type, e.Realm, oneLine(e.ClientID), string(e.Reason), oneLine(e.Actor),
			oneLine(e.Address), oneLine(e.UserAgent), detail)
	}, t.flush
}
