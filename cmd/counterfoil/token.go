package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/consumer"
	"github.com/spf13/cobra"
)

func (p *program) tokenCommand() *cobra.Command {
	var renew, forget bool
	cmd := &cobra.Command{
		Use: "token CONNECTION", Short: "Print an access token",
		Long: `Print an access token of a connection, and nothing else. Tokens are kept in a
cache that only you can read and that all runs share, so that a second run does
not ask for a second token. References to secrets are still read,
except those that ask a person or read standard input, so that a broken one is
found before the token expires.

--forget removes the tokens of a connection's client from the cache, and without
a connection all of them. It revokes none: the provider still accepts them.`,
		Example: `  counterfoil --config counterfoil-data/consumer.yaml token a55
  curl -H "Authorization: Bearer $(counterfoil token a55)" https://api.example.com/
  counterfoil token --forget a55`,
		ValidArgsFunction: p.completeConnections,
		Args: func(cmd *cobra.Command, args []string) error {
			if forget {
				return cobra.MaximumNArgs(1)(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case forget && renew:
				return usagef("--forget and --renew exclude each other: --renew alone replaces the cached token")
			case forget:
				return p.forget(cmd.Context(), args)
			}
			link, err := p.open(args[0])
			if err != nil {
				return err
			}
			return p.token(cmd.Context(), link, renew)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&renew, "renew", false, "request a new token even if the cached one is still valid")
	f.BoolVar(&forget, "forget", false, "remove the connection's tokens, or all, from the cache and print none")
	p.verboseFlag(cmd)
	return cmd
}

func (p *program) verboseFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&p.verbose, "verbose", "v", false, "print each step on standard error, without secrets and tokens")
}

func (p *program) token(ctx context.Context, link *link, renew bool) error {
	if err := link.follow(ctx); err != nil {
		return err
	}
	end := p.tellWaiting(ctx, link)
	token, err := link.Token(ctx)
	if err == nil && renew {
		link.Invalidate(ctx, token)
		token, err = link.Token(ctx)
	}
	end()
	if err != nil {
		return p.explain(err)
	}
	p.tokenStep(token)
	// The only place that prints a token: the command was asked for it.
	return p.print(map[string]any{
		"access_token": token.Value.Reveal(),
		"token_type":   token.Type,
		"scope":        token.Scopes.String(),
		"expires_at":   token.Expires.UTC().Format(time.RFC3339),
	}, func(w io.Writer) { fmt.Fprintln(w, token.Value.Reveal()) })
}

// follow reads the references of the connection, except those that prompt or
// read standard input, so that a broken one is reported even while a token is
// cached.
func (l *link) follow(ctx context.Context) error {
	for _, proof := range l.proofs {
		if proof.asks {
			continue
		}
		if err := proof.get(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tokenStep prints everything about a token except the token itself.
func (c *console) tokenStep(t counterfoil.Token) {
	c.step(
		"token", "%s, scope %q, got %s ago, expires in %s", t.Type, t.Scopes, time.Since(t.Issued).Round(time.Second),
		time.Until(t.Expires).Round(time.Second),
	)
}

// forget removes tokens from the cache: those of one connection, or all.
func (p *program) forget(ctx context.Context, args []string) error {
	of := "all connections"
	if len(args) == 1 {
		link, err := p.open(args[0])
		if err != nil {
			return err
		}
		if err := link.Forget(ctx); err != nil {
			return withHint(
				fmt.Errorf("forget tokens: %s", strings.TrimPrefix(err.Error(), "client: ")),
				"remove the files of the token cache yourself",
			)
		}
		of = args[0]
	} else {
		config, err := p.readConsumer()
		if err != nil {
			return err
		}
		cache, err := config.Cache()
		if err != nil {
			return withRemedy(err, consumer.Connection{})
		}
		if err := cache.Clear(ctx, ""); err != nil {
			return withHint(fmt.Errorf("forget tokens: %s", strings.TrimPrefix(err.Error(), "client: ")),
				"remove the files of the token cache yourself")
		}
	}
	return p.print(map[string]string{"connection": strings.Join(args, ""), "done": "forgotten"}, func(w io.Writer) {
		fmt.Fprintf(w, "forgot the cached tokens of %s\n", of)
	})
}
