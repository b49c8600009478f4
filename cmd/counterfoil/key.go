package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/spf13/cobra"
)

func (p *program) keyCommand() *cobra.Command {
	o := &operator{program: p}
	cmd := group("key", "See and rotate signing keys, or make a client's key", o.listKeys(), o.rotateKey(), p.newKey())
	cmd.Long = `Show and rotate the signing keys of a server, also while it runs. A key is next
until it signs, active while it does, and retiring until the last token that it
signed has expired.`
	o.flags(cmd)
	return cmd
}

func (o *operator) listKeys() *cobra.Command {
	return &cobra.Command{
		Use: "list REALM", Short: "List the signing keys of a realm", Args: cobra.ExactArgs(1),
		Example: "  counterfoil key list a55",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error {
				keys, err := service.Keys(ctx, args[0])
				if err != nil {
					return err
				}
				return o.print(keys, func(w io.Writer) { showKeys(w, keys) })
			})
		},
	}
}

func showKeys(w io.Writer, keys []signing.View) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KEY ID\tALGORITHM\tSTATE\tCREATED\tSIGNS FROM\tENDS")
	for _, k := range keys {
		fmt.Fprintf(
			t, "%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(k.ID), k.Algorithm, k.State, stamp(k.Created), stamp(k.Activates),
			stamp(k.Expires),
		)
	}
	t.Flush()
}

func (o *operator) rotateKey() *cobra.Command {
	var r signing.Rotation
	var algorithm string
	cmd := &cobra.Command{
		Use: "rotate REALM", Short: "Make the next signing key of a realm",
		Long: `Make the next signing key of a realm. It is published ahead, so that every
verifier knows it before it signs. --compromised withdraws the others at once,
and with them every token that they signed.`,
		Example: `  counterfoil key rotate a55
  counterfoil key rotate a55 --algorithm RS256 --ahead 24h`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.Prepublish < 0 {
				return usagef("--ahead must not be negative")
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				k, err := service.RotateKey(ctx, args[0], provider.Algorithm(algorithm), r)
				if err != nil {
					return err
				}
				return o.print(k, func(w io.Writer) { showKeys(w, []signing.View{k}) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&algorithm, "algorithm", "", "algorithm of the key (default: the realm's first)")
	f.DurationVar(&r.Prepublish, "ahead", 0, "how long it is published before it signs (default: the realm's)")
	f.BoolVar(&r.Immediately, "now", false, "let it sign at once: verifiers that cache key sets may refuse its tokens until they fetch it")
	f.BoolVar(&r.Compromised, "compromised", false, "let it sign at once and revoke every other key of the algorithm")
	return cmd
}
