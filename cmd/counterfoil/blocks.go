package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/spf13/cobra"
)

func (p *program) blocksCommand() *cobra.Command {
	o := &operator{program: p}
	list := o.listBlocks()
	cmd := &cobra.Command{
		Use: "blocks", Short: "List who has to wait after failed authentications, and let them in",
		Long: `List the addresses and networks that have to wait after failed authentications,
here or of a remote server, and let them in. Requests from there are answered
429; with a client ID, only those that claim to be from that client.`,
		Example: list.Example + "\n  counterfoil blocks lift 192.0.2.7",
		Args:    cobra.NoArgs,
		RunE:    list.RunE,
	}
	cmd.AddCommand(list, o.liftBlocks())
	o.flags(cmd)
	return cmd
}

func (o *operator) listBlocks() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List who has to wait",
		Long:    `List who has to wait, as of the last seconds, in the order of their addresses.`,
		Example: "  counterfoil blocks -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error {
				all, err := service.Blocks(ctx)
				if err != nil {
					return err
				}
				return o.printBlocks(all)
			})
		},
	}
}

// printBlocks prints blocks in the requested form.
func (c *console) printBlocks(all []limits.Block) error {
	if c.output == jsonForm {
		return printJSONArray(c.Out, all)
	}
	t := newTable(c.Out, "PREFIX", "REALM", "CLIENT ID", "UNTIL")
	for i := range all {
		b := &all[i]
		realm, client := cmp.Or(oneLine(b.Realm), "any"), cmp.Or(oneLine(b.ClientID), "any")
		if err := t.row(b.Prefix.String(), realm, client, b.Until.Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return t.flush()
}

func (o *operator) liftBlocks() *cobra.Command {
	var lift limits.Lift
	var all bool
	cmd := &cobra.Command{
		Use: "lift [ADDRESS]", Short: "Let callers in who have to wait",
		Long: `Let callers in, and forget the failed authentications that led to the wait. The
address, which may be a network, lifts the blocks that overlap it; --realm and
--client only those of such clients.

A server on this machine does it within seconds. If none is running, the next
does it when it starts.`,
		Example: `  counterfoil blocks lift 192.0.2.7
  counterfoil blocks lift --realm a55 --client 4cf5…
  counterfoil blocks lift --all`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			named := len(args) > 0 || lift.Realm != "" || lift.ClientID != ""
			switch {
			case all && named:
				return usagef("--all lifts all blocks: name nothing else")
			case !all && !named:
				return usagef("nothing to lift: name an address, --realm, --client or --all")
			}
			if len(args) > 0 {
				var err error
				if lift.Prefix, err = admin.ParsePrefix(args[0]); err != nil {
					return usagef("%v", err)
				}
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				lifted, err := service.LiftBlocks(ctx, lift)
				if err != nil {
					return err
				}
				if lifted.Pending {
					fmt.Fprintln(o.Err, "no running server has done it yet: the next does when it starts")
				}
				return o.print(lifted, func(w io.Writer) { fmt.Fprintf(w, "lifted %d\n", len(lifted.Blocks)) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&lift.Realm, "realm", "", "only blocks of clients of this realm")
	f.StringVar(&lift.ClientID, "client", "", "only blocks of this client")
	f.BoolVar(&all, "all", false, "all blocks")
	return cmd
}
