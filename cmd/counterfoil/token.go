package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

func (p *program) tokenCommand() *cobra.Command {
	var renew bool
	cmd := &cobra.Command{
		Use: "token CONNECTION", Short: "Print an access token",
		Long: `Print an access token of a connection, and nothing else. Tokens are kept in a
cache that only you can read and that all runs share, so that a second run does
not ask for a second token.`,
		Example: `  counterfoil --config counterfoil-data/consumer.yaml token a55
  curl -H "Authorization: Bearer $(counterfoil token a55)" https://api.example.com/`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: p.completeConnections,
		RunE: func(cmd *cobra.Command, args []string) error {
			link, err := p.open(args[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			token, err := link.Token(ctx)
			if err == nil && renew {
				link.Drop(ctx, token)
				token, err = link.Token(ctx)
			}
			if err != nil {
				return explain(err)
			}
			// The one place that prints a token: this is what was asked for.
			return p.print(map[string]any{
				"access_token": token.Value.Reveal(),
				"token_type":   token.Type,
				"scope":        token.Scopes.String(),
				"expires_at":   token.Expires.UTC().Format(time.RFC3339),
			}, func(w io.Writer) { fmt.Fprintln(w, token.Value.Reveal()) })
		},
	}
	cmd.Flags().BoolVar(&renew, "renew", false, "ask for a new token even if the cached one is live")
	return cmd
}
