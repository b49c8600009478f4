package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/spf13/cobra"
)

func (p *program) clientCommand() *cobra.Command {
	o := &operator{program: p}
	cmd := group("client", "Manage clients, here or on a remote server",
		o.createClient(), o.listClients(), o.showClient(), o.changeClient(), o.rotateClient(), o.endSecret(),
		o.act("disable", "disabled", "Refuse a client until it is enabled again", admin.Service.DisableClient),
		o.act("enable", "enabled", "Accept a disabled client again", admin.Service.EnableClient),
		o.act("delete", "deleted", "Delete a client and revoke its tokens", admin.Service.DeleteClient),
		o.act("revoke", "revoked the tokens of", "Revoke all tokens that a client was issued so far", admin.Service.RevokeTokens),
		o.importClients())
	cmd.Long = `Manage the clients of a server, also while it runs. Every change applies from the
next request on, and the audit record names who made it.`
	o.flags(cmd)
	return cmd
}

// credentials are printed only once.
type credentials struct {
	Realm        string `json:"realm"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"`
	APIKey       string `json:"api_key,omitempty"`
	Until        string `json:"old_secret_ends,omitempty"`
}

// lasting is a context for making a secret: an interrupt between the change and
// its output would lose the secret.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}

// reveal prints values that are shown once. If that fails, undo reverts the
// change and says so.
func (o *operator) reveal(realm string, creds clients.Credentials, undo func() (string, error)) error {
	signal.Ignore(syscall.SIGPIPE) // a closed reader is an error, like a full disk
	v := credentials{Realm: realm, ClientID: creds.ClientID, ClientSecret: creds.ClientSecret.Reveal(), APIKey: creds.APIKey.Reveal()}
	if !creds.PreviousExpires.IsZero() {
		v.Until = creds.PreviousExpires.UTC().Format(time.RFC3339)
	}
	const once = "these are shown once: keep them now"
	secrets := v.ClientSecret+v.APIKey != ""
	if secrets && o.output == text {
		fmt.Fprintln(o.Err, once)
	}
	show := func(w io.Writer) {
		for _, line := range [][2]string{
			{"client_id", v.ClientID}, {"client_secret", v.ClientSecret}, {"api_key", v.APIKey}, {"old_secret_ends", v.Until},
		} {
			if line[1] != "" {
				fmt.Fprintf(w, "%s=%s\n", line[0], oneLine(line[1]))
			}
		}
	}
	err := errors.New("write the output: it is closed")
	if !closedOutput() {
		err = o.print(v, show)
	}
	if err == nil && secrets && o.output == jsonForm {
		fmt.Fprintln(o.Err, once) // only on success: with an error, nothing else is printed
	}
	if err == nil {
		return nil
	}
	undone, failed := undo()
	if failed != nil {
		return withHint(
			errors.Join(err, failed),
			"the credentials are lost: make new ones with 'counterfoil client rotate %s %s'", realm, v.ClientID,
		)
	}
	return withHint(err, "%s: try again", undone)
}

func (o *operator) createClient() *cobra.Command {
	var n admin.NewClient
	var s settingsFlags
	cmd := &cobra.Command{
		Use: "create REALM", Short: "Create a client and print its credentials",
		Long: `Create a client and print its credentials, which cannot be shown again. It is
allowed the scopes that --scope names; without --scope it is allowed none, and
the command lists those of the realm. An API that introspects tokens or follows
revocations is a client of its own, with --resource-server, and needs no scopes.`,
		Example: `  counterfoil client create a55 --name billing --scope wallets:read
  counterfoil client create engagifii --name sync --scope EventsApi --tenant TENANT123
  counterfoil client create engagifii --id events-api --resource-server
  counterfoil client create admin --serve-config serve.yaml --id operator --scope clients:read --scope clients:write`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			patch, err := s.patch(cmd)
			if err != nil {
				return err
			}
			if n.Settings, err = settingsOf(patch); err != nil {
				return err
			}
			flag := "--scope"
			if !cmd.Flags().Changed("scope") {
				flag = "--settings: scope"
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				known, err := knownScopes(ctx, service, args[0], flag, n.Scopes)
				if err != nil {
					return err
				}
				ctx, cancel := lasting(ctx)
				defer cancel()
				_, creds, err := service.CreateClient(ctx, args[0], n)
				if err != nil {
					return err
				}
				err = o.reveal(args[0], creds, func() (string, error) {
					return "the client is deleted again", service.DeleteClient(ctx, args[0], creds.ClientID)
				})
				if err == nil && len(n.Scopes) == 0 && len(known) > 0 && !n.ResourceServer {
					fmt.Fprintf(
						o.Err,
						"it is allowed no scopes: the realm has %s, add some with 'counterfoil client change %s %s --scope …'\n",
						join(known), args[0], oneLine(creds.ClientID),
					)
				}
				return err
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.ID, "id", "", "client id (default: one is made)")
	f.BoolVar(&n.Disabled, "disabled", false, "refuse the client until it is enabled")
	f.BoolVar(&n.WithoutSecret, "without-secret", false, "make no secret: the client authenticates in another way")
	s.flags(cmd)
	return cmd
}

// knownScopes returns the scopes that a realm has, none if any is allowed, and
// refuses an unknown one by its name.
func knownScopes(ctx context.Context, service admin.Service, realm, flag string, asked counterfoil.Scopes) (counterfoil.Scopes, error) {
	realms, err := service.Realms(ctx)
	if err != nil {
		return nil, err
	}
	var known counterfoil.Scopes
	for _, r := range realms {
		if r.Name == realm {
			known = r.Scopes
		}
	}
	for _, scope := range asked {
		if len(known) > 0 && !known.Contains(scope) {
			return nil, chooseFrom(known, fmt.Errorf("%s %s: the realm %s has no such scope", flag, oneLine(scope), realm))
		}
	}
	return known, nil
}

func (o *operator) changeClient() *cobra.Command {
	var s settingsFlags
	var version int64
	cmd := &cobra.Command{
		Use: "change REALM CLIENT", Short: "Change the settings of a client",
		Long: `Change the settings that are named and leave the others. A list is replaced by
what is given; one empty value, as --tenant '', empties it.`,
		Example: `  counterfoil client change a55 4cf5… --name billing --contact ops@example.com
  counterfoil client change a55 4cf5… --address 192.0.2.0/24 --label team=payments
  counterfoil client change a55 4cf5… --settings '{"expires":null,"labels":{"team":null}}'`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			patch, err := s.patch(cmd)
			if err != nil {
				return err
			}
			if len(patch) == 0 {
				return usagef("nothing to change: name a setting")
			}
			text, err := encode(patch)
			if err != nil {
				return err
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				if _, err := knownScopes(ctx, service, args[0], "--scope", given(s.scopes)); err != nil {
					return err
				}
				c, err := service.ChangeClient(ctx, args[0], args[1], version, text)
				if err != nil {
					return err
				}
				return o.print(c, func(w io.Writer) { fmt.Fprintf(w, "changed %s of %s\n", oneLine(c.ID), c.Realm) })
			})
		},
	}
	s.flags(cmd)
	cmd.Flags().Int64Var(&version, "if-version", 0, "change it only while it has this version, which 'client show' prints")
	return cmd
}

func (o *operator) rotateClient() *cobra.Command {
	var r clients.Rotation
	var ends string
	var apiKey bool
	cmd := &cobra.Command{
		Use: "rotate REALM CLIENT", Short: "Make a new secret for a client",
		Long: `Make a new secret for a client and print it. The old one is accepted
for the overlap, so that no request fails. If it is compromised, end it at once
with --overlap 0, and revoke its tokens with 'client revoke'.

A client has two at most. To rotate again within the overlap ends the oldest at
once: look with 'client show' whether it is still used.`,
		Example: `  counterfoil client rotate a55 4cf5… --overlap 24h
  counterfoil client rotate a55 4cf5… --ends 2027-01-31
  counterfoil client rotate altrata 4cf5… --api-key --overlap 0`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			switch {
			case r.Overlap < 0:
				return usagef("--overlap must not be negative")
			case ends != "" && cmd.Flags().Changed("overlap"):
				return usagef("--overlap and --ends are alternatives: choose one")
			case ends != "":
				r.Overlap = 0
				if r.At, err = moment("ends", ends); err != nil {
					return err
				}
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				rotate := service.RotateSecret
				if apiKey {
					rotate = service.RotateAPIKey
				}
				ctx, cancel := lasting(ctx)
				defer cancel()
				// An old secret that is to expire at once expires after the new
				// one is printed.
				atOnce := r.Overlap == 0 && r.At.IsZero()
				r.Keep = atOnce
				creds, err := rotate(ctx, args[0], args[1], r)
				if err != nil {
					return err
				}
				ends := creds.PreviousExpires
				if atOnce {
					creds.PreviousExpires = time.Time{}
				}
				err = o.reveal(args[0], creds, func() (string, error) {
					undone := "the new secret is revoked again"
					switch {
					case creds.PreviousID != "" && ends.IsZero():
						undone += ", and the old one stays valid"
					case creds.PreviousID != "":
						undone += ", and the old one stays valid until " + ends.Format(time.RFC3339)
					}
					return undone, service.EndSecret(ctx, args[0], args[1], creds.ID, time.Time{})
				})
				if err != nil {
					return err
				}
				o.tellStale(args[0], args[1])
				if !atOnce || creds.PreviousID == "" {
					return nil
				}
				if err := service.EndSecret(ctx, args[0], args[1], creds.PreviousID, time.Time{}); err != nil {
					return withHint(
						fmt.Errorf("the new secret is valid, but the old one was not revoked: %w", err),
						"revoke it with 'counterfoil client end-secret %s %s %s'", args[0], args[1], creds.PreviousID,
					)
				}
				return nil
			})
		},
	}
	f := cmd.Flags()
	f.DurationVar(&r.Overlap, "overlap", 24*time.Hour, "how long the old secret stays valid")
	f.StringVar(&ends, "ends", "", "when it expires instead, as 2027-01-31 or 2027-01-31T09:00:00Z")
	f.BoolVar(&apiKey, "api-key", false, "rotate the API key instead of the secret")
	f.Int64Var(&r.Version, "if-version", 0, "rotate only while the client has this version, which 'client show' prints")
	return cmd
}

// tellStale says that the files of an 'up' still have the old credential of its
// own client.
func (o *operator) tellStale(realm, id string) {
	if o.serveConfig != "" || o.server != "" || !filepath.IsLocal(realm) {
		return
	}
	file := dataDir(o.dir).env(realm)
	if text, err := readBounded(file); err == nil && strings.Contains(string(text), id) {
		fmt.Fprintf(
			o.Err, "%s, which %s reads, has the old one: write the new one there, or start 'counterfoil up' again\n", file,
			dataDir(o.dir).consumer(),
		)
	}
}

func (o *operator) endSecret() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "end-secret REALM CLIENT SECRET", Short: "Expire one secret or API key of a client, now or at a time",
		Long: `End a secret or an API key, by the id that 'client show' prints. Tokens that
were issued for it stay valid: revoke them with 'client revoke'.`,
		Example: `  counterfoil client end-secret a55 4cf5… 1f2e3d4c
  counterfoil client end-secret a55 4cf5… 1f2e3d4c --at 2027-01-31`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			var end time.Time
			if at != "" {
				if end, err = moment("at", at); err != nil {
					return err
				}
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				if err := service.EndSecret(ctx, args[0], args[1], args[2], end); err != nil {
					return err
				}
				done := map[string]string{"realm": args[0], "client_id": args[1], "secret": args[2], "done": "end-secret"}
				return o.print(done, func(w io.Writer) {
					fmt.Fprintf(w, "the secret %s of %s of %s expires %s\n", args[2], args[1], args[0], until(end))
				})
			})
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "when it expires, as 2027-01-31 or 2027-01-31T09:00:00Z (default: now)")
	return cmd
}

func until(end time.Time) string {
	if end.IsZero() {
		return "now"
	}
	return end.Format(time.RFC3339)
}

// act is a command that does one thing to one client and prints nothing else.
func (o *operator) act(word, past, short string, do func(admin.Service, context.Context, string, string) error) *cobra.Command {
	return &cobra.Command{
		Use: word + " REALM CLIENT", Short: short, Args: cobra.ExactArgs(2),
		Example: "  counterfoil client " + word + " a55 4cf5…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				if err := do(service, ctx, args[0], args[1]); err != nil {
					return err
				}
				done := map[string]string{"realm": args[0], "client_id": args[1], "done": word}
				return o.print(done, func(w io.Writer) { fmt.Fprintf(w, "%s %s of %s\n", past, args[1], args[0]) })
			})
		},
	}
}
