package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/spf13/cobra"
)

// listPage is how many clients are read at once.
const listPage = 100

// clientsCommand holds what the client commands share.
type clientsCommand struct {
	*program
	dir string
}

func (p *program) clientCommand() *cobra.Command {
	c := &clientsCommand{program: p}
	cmd := group("client", "Manage the clients of a data directory",
		c.create(), c.list(), c.show(), c.rotate(),
		c.change("disable", "Refuse a client until it is enabled again", func(ctx context.Context, s *server.Clients, realm, id string) error {
			return s.SetDisabled(ctx, actor(), realm, id, true)
		}),
		c.change("enable", "Accept a disabled client again", func(ctx context.Context, s *server.Clients, realm, id string) error {
			return s.SetDisabled(ctx, actor(), realm, id, false)
		}),
		c.change("delete", "Delete a client", func(ctx context.Context, s *server.Clients, realm, id string) error {
			return s.Delete(ctx, actor(), realm, id)
		}))
	cmd.Long = `Manage the clients of a data directory, also while 'up' serves from it: every
change counts from the next request on.`
	cmd.PersistentFlags().StringVar(&c.dir, "dir", defaultDir, "data directory")
	return cmd
}

// actor is who changes clients here, for the audit record.
func actor() string {
	if u, err := user.Current(); err == nil {
		return "command line: " + u.Username
	}
	return "command line"
}

// with runs f on the clients of the data directory.
func (c *clientsCommand) with(ctx context.Context, realm string, f func(*server.Clients, *provider.Provider) error) error {
	store, err := dataDir(c.dir).open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	p, err := dataDir(c.dir).realm(realm)
	if err != nil {
		return err
	}
	err = f(server.NewClients(store, nil), p)
	if errors.Is(err, server.ErrNotFound) {
		return withHint(fmt.Errorf("the realm %s has no such client", realm), "'counterfoil client list %s' shows those it has", realm)
	}
	return err
}

// credentials are what a person gets to see once.
type credentials struct {
	Realm        string `json:"realm"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"`
	APIKey       string `json:"api_key,omitempty"`
	Until        string `json:"old_secret_ends,omitempty"`
}

func (c *clientsCommand) reveal(realm string, creds server.Credentials) error {
	v := credentials{Realm: realm, ClientID: creds.ClientID, ClientSecret: creds.ClientSecret.Reveal(), APIKey: creds.APIKey.Reveal()}
	if !creds.OldEnds.IsZero() {
		v.Until = creds.OldEnds.UTC().Format(time.RFC3339)
	}
	fmt.Fprintln(c.Err, "these are shown once: keep them now")
	return c.print(v, func(w io.Writer) {
		for _, line := range [][2]string{{"client_id", v.ClientID}, {"client_secret", v.ClientSecret}, {"api_key", v.APIKey}, {"old_secret_ends", v.Until}} {
			if line[1] != "" {
				fmt.Fprintf(w, "%s=%s\n", line[0], line[1])
			}
		}
	})
}

func (c *clientsCommand) create() *cobra.Command {
	var n server.NewClient
	var scopes []string
	cmd := &cobra.Command{
		Use: "create REALM", Short: "Create a client and print its credentials",
		Long: `Create a client and print its credentials, which nobody can show again. Without
--scope it is allowed all scopes of the realm.`,
		Example: `  counterfoil client create a55 --name billing
  counterfoil client create engagifii --name sync --tenant TENANT123`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), args[0], func(s *server.Clients, p *provider.Provider) error {
				n.Realm, n.WithAPIKey, n.Scopes = p.Name, p.Needs(provider.HeaderFromAPIKey), scopes
				if len(scopes) == 0 {
					n.Scopes = p.ScopeNames()
				}
				if !p.ScopeNames().ContainAll(n.Scopes) {
					return usagef("the realm %s has the scopes %s", p.Name, join(p.ScopeNames()))
				}
				_, creds, err := s.Create(cmd.Context(), actor(), n)
				if errors.Is(err, server.ErrExists) {
					return withHint(fmt.Errorf("the realm %s has a client %s already", p.Name, n.ID), "choose another --id, or leave it out to have one made")
				}
				if err != nil {
					return err
				}
				return c.reveal(p.Name, creds)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.ID, "id", "", "client id (default: one is made)")
	f.StringVar(&n.Name, "name", "", "name for people")
	f.StringArrayVar(&scopes, "scope", nil, "scope that the client is allowed; repeat for several")
	f.StringArrayVar(&n.Tenants, "tenant", nil, "tenant that the client is granted; repeat for several")
	return cmd
}

func (c *clientsCommand) rotate() *cobra.Command {
	var overlap time.Duration
	var apiKey bool
	cmd := &cobra.Command{
		Use: "rotate REALM CLIENT", Short: "Make a new secret for a client",
		Long: `Make a new secret for a client and print it. The old one serves for the overlap,
so that nobody notices; a compromised one is ended at once with --overlap 0.`,
		Example: `  counterfoil client rotate a55 4cf5… --overlap 24h
  counterfoil client rotate altrata 4cf5… --api-key --overlap 0`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if overlap < 0 {
				return usagef("--overlap must not be negative")
			}
			return c.with(cmd.Context(), args[0], func(s *server.Clients, p *provider.Provider) error {
				rotate := s.Rotate
				if apiKey {
					rotate = s.RotateAPIKey
				}
				creds, err := rotate(cmd.Context(), actor(), p.Name, args[1], server.Rotation{Overlap: overlap})
				if err != nil {
					return err
				}
				return c.reveal(p.Name, creds)
			})
		},
	}
	cmd.Flags().DurationVar(&overlap, "overlap", 24*time.Hour, "how long the old secret still serves")
	cmd.Flags().BoolVar(&apiKey, "api-key", false, "rotate the API key instead of the secret")
	return cmd
}

// clientView is a client as it is shown: no secret, and no hash of one.
type clientView struct {
	Realm    string       `json:"realm"`
	ClientID string       `json:"client_id"`
	Name     string       `json:"name"`
	Status   string       `json:"status"`
	Scopes   []string     `json:"scopes"`
	Tenants  []string     `json:"tenants"`
	Created  time.Time    `json:"created"`
	Changed  time.Time    `json:"changed"`
	Secrets  []secretView `json:"secrets"`
	APIKeys  []secretView `json:"api_keys"`
}

type secretView struct {
	Created time.Time  `json:"created"`
	Ends    *time.Time `json:"ends,omitempty"`
}

func viewOf(c server.Client) clientView {
	v := clientView{
		Realm: c.Realm, ClientID: c.ID, Name: c.Name, Status: "enabled", Scopes: append([]string{}, c.Scopes...),
		Tenants: append([]string{}, c.Tenants...), Created: c.Created, Changed: c.Changed,
		Secrets: secretViews(c.Secrets), APIKeys: secretViews(c.APIKeys),
	}
	if c.Disabled {
		v.Status = "disabled"
	}
	return v
}

func secretViews(hashes []server.Hash) []secretView {
	views := make([]secretView, len(hashes))
	for i, h := range hashes {
		views[i].Created = h.Created
		if !h.Ends.IsZero() {
			views[i].Ends = &h.Ends
		}
	}
	return views
}

func (c *clientsCommand) list() *cobra.Command {
	return &cobra.Command{
		Use: "list REALM", Short: "List the clients of a realm", Args: cobra.ExactArgs(1),
		Example: "  counterfoil client list a55 -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), args[0], func(s *server.Clients, p *provider.Provider) error {
				views := []clientView{}
				for after := ""; ; {
					page, err := s.List(cmd.Context(), server.ClientQuery{Realm: p.Name, After: after, Limit: listPage})
					if err != nil {
						return err
					}
					if len(page) == 0 {
						break
					}
					for _, client := range page {
						views = append(views, viewOf(client))
					}
					after = page[len(page)-1].ID
				}
				return c.print(views, func(w io.Writer) {
					t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
					fmt.Fprintln(t, "CLIENT ID\tNAME\tSTATUS\tSCOPES\tTENANTS")
					for _, v := range views {
						fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", v.ClientID, v.Name, v.Status, counterfoil.Scopes(v.Scopes), strings.Join(v.Tenants, " "))
					}
					t.Flush()
				})
			})
		},
	}
}

func (c *clientsCommand) show() *cobra.Command {
	return &cobra.Command{
		Use: "show REALM CLIENT", Short: "Show a client", Args: cobra.ExactArgs(2),
		Example: "  counterfoil client show a55 4cf5…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), args[0], func(s *server.Clients, p *provider.Provider) error {
				client, err := s.Get(cmd.Context(), p.Name, args[1])
				if err != nil {
					return err
				}
				v := viewOf(client)
				return c.print(v, func(w io.Writer) {
					fmt.Fprintf(w, "client_id  %s\nname       %s\nstatus     %s\nscopes     %s\ntenants    %s\ncreated    %s\nchanged    %s\n",
						v.ClientID, v.Name, v.Status, strings.Join(v.Scopes, " "), strings.Join(v.Tenants, " "), v.Created.Format(time.RFC3339), v.Changed.Format(time.RFC3339))
					showSecrets(w, "secret", v.Secrets)
					showSecrets(w, "api key", v.APIKeys)
				})
			})
		},
	}
}

func showSecrets(w io.Writer, kind string, secrets []secretView) {
	for _, s := range secrets {
		ends := "serves until it is rotated"
		if s.Ends != nil {
			ends = "ends " + s.Ends.Format(time.RFC3339)
		}
		fmt.Fprintf(w, "%-10s created %s, %s\n", kind, s.Created.Format(time.RFC3339), ends)
	}
}

// change is a command that changes one client and prints nothing but that.
func (c *clientsCommand) change(word, short string, f func(context.Context, *server.Clients, string, string) error) *cobra.Command {
	return &cobra.Command{
		Use: word + " REALM CLIENT", Short: short, Args: cobra.ExactArgs(2),
		Example: "  counterfoil client " + word + " a55 4cf5…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd.Context(), args[0], func(s *server.Clients, p *provider.Provider) error {
				if err := f(cmd.Context(), s, p.Name, args[1]); err != nil {
					return err
				}
				done := map[string]string{"realm": p.Name, "client_id": args[1], "done": word}
				return c.print(done, func(w io.Writer) { fmt.Fprintf(w, "%sd %s of %s\n", word, args[1], p.Name) })
			})
		},
	}
}
