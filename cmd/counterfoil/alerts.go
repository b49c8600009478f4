package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/spf13/cobra"
)

func (p *program) alertsCommand() *cobra.Command {
	o := &operator{program: p}
	list := o.listAlerts()
	cmd := &cobra.Command{
		Use: "alerts", Short: "List, acknowledge and silence alerts, here or of a remote server",
		Long: `List what somebody must know, the newest first, with the next command to type:
failures that repeat, clients that behave unusually, what ends soon, and trouble
of the server. What repeats is one alert with a count until it is acknowledged.`,
		Example: list.Example + "\n  counterfoil alerts ack 12\n  counterfoil alerts silence --realm a55 --for 2h",
		Args:    cobra.NoArgs,
		RunE:    list.RunE,
	}
	cmd.Flags().AddFlagSet(list.Flags())
	cmd.AddCommand(list, o.ackAlerts(), o.silenceAlerts(), o.listSilences(), o.unsilence(), o.testAlerts())
	o.flags(cmd)
	return cmd
}

// alertFlags adds the flags that select alerts.
func alertFlags(cmd *cobra.Command, f *admin.AlertFilter) {
	flags := cmd.Flags()
	flags.StringVar((*string)(&f.Kind), "kind", "", "only alerts of this kind, as failures or expiry")
	flags.StringVar(&f.Realm, "realm", "", "only alerts of this realm")
	flags.StringVar(&f.ClientID, "client", "", "only alerts of this client")
}

func (o *operator) listAlerts() *cobra.Command {
	var f admin.AlertFilter
	var acknowledged bool
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List alerts",
		Long: `List the open alerts, the newest first. Those that are silenced are listed too, and
say until when.`,
		Example: "  counterfoil alerts\n  counterfoil alerts --kind expiry -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 {
				return usagef("--limit must be 1 or more")
			}
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error {
				var all []admin.Alert
				q := store.AlertQuery{Kind: f.Kind, Realm: f.Realm, ClientID: f.ClientID, Acknowledged: acknowledged}
				for len(all) < limit {
					q.Limit = min(limit-len(all), listPage)
					page, err := service.Alerts(ctx, q)
					if err != nil {
						return err
					}
					all = append(all, page.Alerts...)
					if q.Before = page.Next; q.Before == 0 {
						break
					}
				}
				return o.printAlerts(all)
			})
		},
	}
	alertFlags(cmd, &f)
	cmd.Flags().BoolVar(&acknowledged, "acknowledged", false, "also those that are acknowledged")
	cmd.Flags().IntVar(&limit, "limit", 1000, "how many at most")
	return cmd
}

// printAlerts prints alerts in the requested form.
func (c *console) printAlerts(all []admin.Alert) error {
	if c.output == jsonForm {
		return printJSONArray(c.Out, all)
	}
	if len(all) == 0 {
		fmt.Fprintln(c.Out, "no alerts")
	}
	for i := range all {
		a := &all[i]
		line := fmt.Sprintf("%d  %s", a.ID, a.Kind)
		for _, part := range []string{a.Realm, a.ClientID, a.Subject} {
			if part != "" {
				line += "  " + oneLine(part)
			}
		}
		if line += "  at " + a.Last.Format(time.RFC3339); a.Count > 1 {
			line += fmt.Sprintf(", %d times since %s", a.Count, a.First.Format(time.RFC3339))
		}
		switch {
		case !a.Acknowledged.IsZero():
			line += fmt.Sprintf(", acknowledged at %s by %s", a.Acknowledged.Format(time.RFC3339), oneLine(a.AcknowledgedBy))
		case !a.SilencedUntil.IsZero():
			line += ", silenced until " + a.SilencedUntil.Format(time.RFC3339)
		}
		if line += "\n    " + oneLine(a.Summary); a.Command != "" {
			line += "\n    next: " + oneLine(a.Command)
		}
		if _, err := fmt.Fprintln(c.Out, line); err != nil {
			return err
		}
	}
	return nil
}

func (o *operator) ackAlerts() *cobra.Command {
	var a admin.Acknowledgement
	cmd := &cobra.Command{
		Use: "ack [ALERT…]", Short: "Acknowledge alerts: they are not sent any more",
		Long: `Acknowledge alerts, by the numbers that 'alerts' prints, or all that the flags select.
They are not sent any more; what happens next is a new alert.`,
		Example: `  counterfoil alerts ack 12 13
  counterfoil alerts ack --kind new_network --client 4cf5…
  counterfoil alerts ack --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			named := a.AlertFilter != admin.AlertFilter{}
			switch {
			case a.All && (len(args) > 0 || named):
				return usagef("--all acknowledges all alerts: name nothing else")
			case !a.All && len(args) == 0 && !named:
				return usagef("nothing to acknowledge: name alerts, --kind, --realm, --client or --all")
			}
			for _, arg := range args {
				id, err := strconv.ParseInt(arg, 10, 64)
				if err != nil || id < 1 {
					return usagef("%q is not the number of an alert, as 'counterfoil alerts' prints it", arg)
				}
				a.IDs = append(a.IDs, id)
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				done, err := service.AcknowledgeAlerts(ctx, a)
				if err != nil {
					return err
				}
				return o.print(map[string]any{"acknowledged": done}, func(w io.Writer) { fmt.Fprintf(w, "acknowledged %d\n", len(done)) })
			})
		},
	}
	alertFlags(cmd, &a.AlertFilter)
	cmd.Flags().BoolVar(&a.All, "all", false, "all alerts")
	return cmd
}

func (o *operator) silenceAlerts() *cobra.Command {
	var n admin.NewSilence
	var lasts time.Duration
	cmd := &cobra.Command{
		Use: "silence", Short: "Keep alerts from being sent for a time",
		Long: `Keep the alerts that the flags select from being sent for a time: an hour unless --for
says otherwise, 30 days at most. They are counted and listed as ever, and those
that nobody has acknowledged by then are sent when it ends. A * at the end of
--client stands for any ending.`,
		Example: `  counterfoil alerts silence --kind volume --client 'batch-*' --for 48h
  counterfoil alerts silence --all --for 30m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			named := n.AlertFilter != admin.AlertFilter{}
			switch {
			case n.All && named:
				return usagef("--all silences all alerts: name nothing else")
			case !n.All && !named:
				return usagef("nothing to silence: name --kind, --realm, --client or --all")
			case lasts < time.Minute || lasts > alerts.MaxSilence:
				return usagef("--for must be from 1m to %dh", int(alerts.MaxSilence.Hours()))
			}
			n.For = lasts.String()
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				made, err := service.CreateSilence(ctx, n)
				if err != nil {
					return err
				}
				return o.print(made, func(w io.Writer) {
					fmt.Fprintf(w, "silence %d until %s; end it with 'counterfoil alerts unsilence %[1]d'\n", made.ID, made.Until.Format(time.RFC3339))
				})
			})
		},
	}
	alertFlags(cmd, &n.AlertFilter)
	cmd.Flags().BoolVar(&n.All, "all", false, "all alerts")
	cmd.Flags().DurationVar(&lasts, "for", time.Hour, "how long it lasts")
	return cmd
}

func (o *operator) listSilences() *cobra.Command {
	return &cobra.Command{
		Use: "silences", Short: "List what is silenced, and until when",
		Long: `List the silences that have not ended.`, Example: "  counterfoil alerts silences",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error {
				all, err := service.Silences(ctx)
				if err != nil {
					return err
				}
				return o.printSilences(all)
			})
		},
	}
}

// printSilences prints silences in the requested form.
func (c *console) printSilences(all []alerts.Silence) error {
	if c.output == jsonForm {
		return printJSONArray(c.Out, all)
	}
	t := newTable(c.Out, "ID", "KIND", "REALM", "CLIENT ID", "UNTIL", "BY")
	for i := range all {
		s := &all[i]
		if err := t.row(strconv.FormatInt(s.ID, 10), cmp.Or(string(s.Kind), "any"), cmp.Or(oneLine(s.Realm), "any"),
			cmp.Or(oneLine(s.ClientID), "any"), s.Until.Format(time.RFC3339), oneLine(s.CreatedBy)); err != nil {
			return err
		}
	}
	return t.flush()
}

func (o *operator) unsilence() *cobra.Command {
	return &cobra.Command{
		Use: "unsilence SILENCE", Short: "End a silence",
		Long:    `End a silence, by the number that 'alerts silences' prints.`,
		Example: "  counterfoil alerts unsilence 3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id < 1 {
				return usagef("%q is not the number of a silence, as 'counterfoil alerts silences' prints it", args[0])
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				if err := service.DeleteSilence(ctx, id); err != nil {
					return err
				}
				return o.print(map[string]int64{"ended": id}, func(w io.Writer) { fmt.Fprintf(w, "ended silence %d\n", id) })
			})
		},
	}
}
