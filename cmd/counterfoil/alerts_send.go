package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/mail"
	"github.com/spf13/cobra"
)

// kindTest is the kind of what 'alerts test' sends: no server raises it.
const kindTest alerts.Kind = "test"

func (o *operator) testAlerts() *cobra.Command {
	return &cobra.Command{
		Use: "test", Short: "Send a test alert to every webhook and mail address of a configuration",
		Long: `Send one alert of the kind test to each webhook and to each address of mail that a
configuration of 'serve' names, whatever kinds it is to get, and say what came of
it. Contacts of clients get none. It needs no running server.`,
		Example: "  counterfoil alerts test --serve-config serve.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.serveConfig == "" {
				return usagef("name the configuration whose webhooks and mail are tested: --serve-config")
			}
			return o.sendTests(cmd.Context())
		},
	}
}

// tested is what came of a test alert.
type tested struct {
	Sender string `json:"sender"`
	Sent   bool   `json:"sent"`
	Error  string `json:"error,omitempty"`
}

func (o *operator) sendTests(ctx context.Context) error {
	config, err := serveConfig(ctx, o.serveConfig, o.getenv, toRead.look)
	if err != nil {
		return err
	}
	for i := range config.Webhooks {
		config.Webhooks[i].Kinds = nil
	}
	senders, err := configuredSenders(config, o.clock)
	if err != nil {
		return err
	}
	now := o.clock.Now().UTC()
	all, failed := []tested{}, 0
	for _, s := range senders {
		if m, ok := s.(*mail.Sender); ok && m.ForContacts() {
			continue
		}
		err := s.Send(ctx, alerts.Alert{
			Kind: kindTest, Summary: "this is a test, sent by " + actor() + ": nothing has happened", Count: 1, First: now, Last: now,
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		row := tested{Sender: s.Name(), Sent: err == nil}
		if err != nil {
			row.Error = oneLine(err.Error())
			failed++
		}
		all = append(all, row)
	}
	if len(all) == 0 {
		return withHint(errors.New("the configuration names no webhook and no mail"), "docs/serve.md, Where alerts go, has an example")
	}
	if err := o.print(all, func(w io.Writer) {
		for _, row := range all {
			if row.Sent {
				fmt.Fprintln(w, "sent ", row.Sender)
			} else {
				fmt.Fprintln(w, "FAIL ", row.Error)
			}
		}
	}); err != nil || failed == 0 {
		return err
	}
	return withHint(fmt.Errorf("%d of %d test alerts were not sent", failed, len(all)), "correct what is named above, and test again")
}
