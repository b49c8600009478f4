package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/spf13/cobra"
)

// listPage is how many clients are read at once.
const listPage = 500

func (o *operator) listClients() *cobra.Command {
	var q store.ClientQuery
	var environment, status, idle, ends string
	var limit int
	cmd := &cobra.Command{
		Use: "list REALM", Short: "List the clients of a realm, when they were used, and what ends soon", Args: cobra.ExactArgs(1),
		Long: `List the clients of a realm in the order of their ids: all, or those that are
chosen. --search looks into ids, names, contacts and labels, each of them
NAME=VALUE. --idle lists those whose secrets and API keys are all older than that
and were not used for as long; it is not known when keys, certificates and
tokens of other issuers were used. --ends lists those that end within that
time, or have a secret or an API key that does.`,
		Example: `  counterfoil client list a55 -o json
  counterfoil client list a55 --search billing --environment production --status enabled
  counterfoil client list a55 --idle 90d --status enabled
  counterfoil client list a55 --ends 30d
  counterfoil client list a55 --limit 50 --after 4cf5…`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Realm, q.Environment = args[0], store.Environment(environment)
			if status != "" {
				if err := oneOf("status", status, "enabled", "disabled", "expired"); err != nil {
					return err
				}
				if err := admin.SelectStatus(&q, status); err != nil {
					return err
				}
			}
			if limit < 0 {
				return usagef("--limit must not be negative")
			}
			now := o.clock.Now()
			for _, f := range []struct {
				flag, text string
				into       *time.Time
				sign       time.Duration
			}{{"idle", idle, &q.Idle, -1}, {"ends", ends, &q.Ends, 1}} {
				if cmd.Flags().Changed(f.flag) {
					d, err := span(f.flag, f.text)
					if err != nil {
						return err
					}
					*f.into = now.Add(f.sign * d)
				}
			}
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error { return o.list(ctx, service, q, limit) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Search, "search", "", "text that id, name, contact or a label contains")
	f.StringVar(&environment, "environment", "", "sandbox or production")
	f.StringVar(&status, "status", "", "enabled, disabled or expired")
	f.StringVar(&idle, "idle", "", "only clients whose secrets were not used for so long, as 90d or 36h")
	f.StringVar(&ends, "ends", "", "only clients that end within so long, or have a secret that does, as 30d")
	f.StringVar(&q.After, "after", "", "begin after this client id")
	f.IntVar(&limit, "limit", 0, "list at most this many (default: all)")
	return cmd
}

// maxSpan bounds what span returns.
const maxSpan = 100 * 366 * 24 * time.Hour

// span reads a length of time, as 90d or 36h.
func span(flag, text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 || d > maxSpan {
		return 0, usagef("--%s %q is no length of time: write 90d or 36h", flag, text)
	}
	return d, nil
}

// list writes page after page, up to a limit; 0 for all.
func (o *operator) list(ctx context.Context, service admin.Service, q store.ClientQuery, limit int) error {
	write, end := o.clientRows()
	for n := 0; ; {
		q.Limit = listPage
		if limit > 0 {
			q.Limit = min(listPage, limit-n)
		}
		page, err := service.Clients(ctx, q)
		if err != nil {
			return err
		}
		for i := range page.Clients {
			if err := write(&page.Clients[i]); err != nil {
				return err
			}
		}
		n += len(page.Clients)
		if q.After = page.Next; q.After == "" || n == limit {
			return end()
		}
	}
}

// clientRows prints clients in the requested form. Both forms keep at most a
// page or two in memory.
func (o *operator) clientRows() (write func(*admin.Client) error, end func() error) {
	if o.output == jsonForm {
		rows := newJSONRows(o.Out, true)
		return func(c *admin.Client) error { return rows.row(c) }, rows.end
	}
	t := newTable(o.Out, "CLIENT ID", "NAME", "STATUS", "LAST USED", "ENDS", "ENVIRONMENT", "SCOPES", "TENANTS")
	now := o.clock.Now()
	return func(c *admin.Client) error {
		return t.row(
			oneLine(c.ID), oneLine(c.Name), c.Status, lastUsed(c), nextEnd(c, now), string(c.Environment),
			counterfoil.Scopes(c.Scopes).String(), oneLine(strings.Join(c.Tenants, " ")),
		)
	}, t.flush
}

// lastUsed is the day on which a secret or an API key of a client was last used.
func lastUsed(c *admin.Client) string {
	var last time.Time
	for _, all := range [][]admin.Secret{c.Secrets, c.APIKeys} {
		for _, s := range all {
			if s.LastUsed.After(last) {
				last = s.LastUsed
			}
		}
	}
	switch {
	case !last.IsZero():
		return last.UTC().Format(time.DateOnly)
	case len(c.Secrets)+len(c.APIKeys) == 0:
		return "" // it is not known
	}
	return "never"
}

// nextEnd is the day on which the first of a client and its accepted secrets ends;
// the past one of a client that has expired.
func nextEnd(c *admin.Client, now time.Time) string {
	end, what := c.Expires, ""
	for kind, all := range map[string][]admin.Secret{"secret": c.Secrets, "API key": c.APIKeys} {
		for _, s := range all {
			if s.Ends.After(now) && (end.IsZero() || s.Ends.Before(end)) {
				end, what = s.Ends, fmt.Sprintf(" (%s %s)", kind, s.ID)
			}
		}
	}
	if end.IsZero() {
		return ""
	}
	return end.UTC().Format(time.DateOnly) + what
}
