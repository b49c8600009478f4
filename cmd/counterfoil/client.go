package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/importer"
	"github.com/spf13/cobra"
)

// listPage is how many clients are read at once.
const listPage = 500

func (p *program) clientCommand() *cobra.Command {
	o := &operator{program: p}
	cmd := group("client", "Manage clients, here or on a server elsewhere",
		o.createClient(), o.listClients(), o.showClient(), o.changeClient(), o.rotateClient(), o.endSecret(),
		o.act("disable", "disabled", "Refuse a client until it is enabled again", admin.Service.DisableClient),
		o.act("enable", "enabled", "Accept a disabled client again", admin.Service.EnableClient),
		o.act("delete", "deleted", "Delete a client and end its tokens", admin.Service.DeleteClient),
		o.act("revoke", "revoked the tokens of", "End all tokens that a client was issued so far", admin.Service.RevokeTokens),
		o.importClients())
	cmd.Long = `Manage the clients of a server, also while it serves: every change counts from
the next request on, and is recorded with who made it.`
	o.flags(cmd)
	return cmd
}

// credentials are what a person gets to see once.
type credentials struct {
	Realm        string `json:"realm"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret,omitempty"`
	APIKey       string `json:"api_key,omitempty"`
	Until        string `json:"old_secret_ends,omitempty"`
}

func (o *operator) reveal(realm string, creds server.Credentials) error {
	v := credentials{Realm: realm, ClientID: creds.ClientID, ClientSecret: creds.ClientSecret.Reveal(), APIKey: creds.APIKey.Reveal()}
	if !creds.OldEnds.IsZero() {
		v.Until = creds.OldEnds.UTC().Format(time.RFC3339)
	}
	if v.ClientSecret+v.APIKey != "" {
		fmt.Fprintln(o.Err, "these are shown once: keep them now")
	}
	return o.print(v, func(w io.Writer) {
		for _, line := range [][2]string{{"client_id", v.ClientID}, {"client_secret", v.ClientSecret}, {"api_key", v.APIKey}, {"old_secret_ends", v.Until}} {
			if line[1] != "" {
				fmt.Fprintf(w, "%s=%s\n", line[0], oneLine(line[1]))
			}
		}
	})
}

func (o *operator) createClient() *cobra.Command {
	var n admin.NewClient
	var s settingsFlags
	cmd := &cobra.Command{
		Use: "create REALM", Short: "Create a client and print its credentials",
		Long: `Create a client and print its credentials, which nobody can show again. Without
--scope it is allowed all scopes of the realm.`,
		Example: `  counterfoil client create a55 --name billing
  counterfoil client create engagifii --name sync --tenant TENANT123
  counterfoil client create admin --serve-config serve.yaml --id operator --scope clients:read --scope clients:write`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			patch, err := s.patch(cmd)
			if err != nil {
				return err
			}
			if err := decodeStrictly(patch, &n.Settings); err != nil {
				return err
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				realms, err := service.Realms(ctx)
				if err != nil {
					return err
				}
				for _, r := range realms {
					switch known := counterfoil.Scopes(r.Scopes); {
					case r.Name != args[0]:
					case patch["scopes"] == nil:
						n.Scopes = r.Scopes
					case len(known) > 0 && !known.ContainAll(n.Scopes):
						return usagef("the realm %s has the scopes %s", r.Name, join(r.Scopes))
					}
				}
				_, creds, err := service.CreateClient(ctx, args[0], n)
				if err != nil {
					return err
				}
				return o.reveal(args[0], creds)
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
	var r server.Rotation
	var ends string
	var apiKey bool
	cmd := &cobra.Command{
		Use: "rotate REALM CLIENT", Short: "Make a new secret for a client",
		Long: `Make a new secret for a client and print it. The old one serves for the overlap,
so that nobody notices; a compromised one is ended at once with --overlap 0, and
the tokens that it has brought with 'client revoke'.`,
		Example: `  counterfoil client rotate a55 4cf5… --overlap 24h
  counterfoil client rotate a55 4cf5… --ends 2027-01-31
  counterfoil client rotate altrata 4cf5… --api-key --overlap 0`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			switch {
			case r.Overlap < 0:
				return usagef("--overlap must not be negative")
			case ends != "" && cmd.Flags().Changed("overlap"):
				return usagef("--overlap and --ends say the same in two ways: choose one")
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
				creds, err := rotate(ctx, args[0], args[1], r)
				if err != nil {
					return err
				}
				return o.reveal(args[0], creds)
			})
		},
	}
	f := cmd.Flags()
	f.DurationVar(&r.Overlap, "overlap", 24*time.Hour, "how long the old secret still serves")
	f.StringVar(&ends, "ends", "", "until when it serves instead, as 2027-01-31 or 2027-01-31T09:00:00Z")
	f.BoolVar(&apiKey, "api-key", false, "rotate the API key instead of the secret")
	f.Int64Var(&r.Version, "if-version", 0, "rotate only while the client has this version, which 'client show' prints")
	return cmd
}

func (o *operator) endSecret() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use: "end-secret REALM CLIENT SECRET", Short: "End one secret or API key of a client, now or at a time",
		Long: `End a secret or an API key, by the id that 'client show' prints. Tokens that it
has brought serve on: end them with 'client revoke'.`,
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
					fmt.Fprintf(w, "the secret %s of %s of %s ends %s\n", args[2], args[1], args[0], until(end))
				})
			})
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "when it ends, as 2027-01-31 or 2027-01-31T09:00:00Z (default: now)")
	return cmd
}

func until(end time.Time) string {
	if end.IsZero() {
		return "now"
	}
	return end.Format(time.RFC3339)
}

// act is a command that does one thing to one client and prints nothing but
// that.
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

func (o *operator) listClients() *cobra.Command {
	var q server.ClientQuery
	var environment, status string
	var limit int
	cmd := &cobra.Command{
		Use: "list REALM", Short: "List the clients of a realm", Args: cobra.ExactArgs(1),
		Long: `List the clients of a realm in the order of their ids: all, or those that are
chosen. --search looks into ids, names, contacts and labels.`,
		Example: `  counterfoil client list a55 -o json
  counterfoil client list a55 --search billing --environment production --status enabled
  counterfoil client list a55 --limit 50 --after 4cf5…`,
		RunE: func(cmd *cobra.Command, args []string) error {
			q.Realm, q.Environment = args[0], server.Environment(environment)
			switch status {
			case "":
			case "enabled", "disabled":
				disabled := status == "disabled"
				q.Disabled = &disabled
			default:
				return usagef("--status must be enabled or disabled")
			}
			if limit < 0 {
				return usagef("--limit must not be negative")
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error { return o.list(ctx, service, q, limit) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Search, "search", "", "text that id, name, contact or a label has in it")
	f.StringVar(&environment, "environment", "", "sandbox or production")
	f.StringVar(&status, "status", "", "enabled or disabled")
	f.StringVar(&q.After, "after", "", "begin behind this client id")
	f.IntVar(&limit, "limit", 0, "list so many at most (default: all)")
	return cmd
}

// list reads page after page, up to a limit; 0 for all.
func (o *operator) list(ctx context.Context, service admin.Service, q server.ClientQuery, limit int) error {
	all := []admin.Client{}
	for {
		q.Limit = listPage
		if limit > 0 {
			q.Limit = min(listPage, limit-len(all))
		}
		page, err := service.Clients(ctx, q)
		if err != nil {
			return err
		}
		all = append(all, page.Clients...)
		if q.After = page.Next; q.After == "" || len(all) == limit {
			break
		}
	}
	return o.print(all, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "CLIENT ID\tNAME\tSTATUS\tENVIRONMENT\tSCOPES\tTENANTS")
		for _, c := range all {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(c.ID), oneLine(c.Name), c.Status, c.Environment,
				counterfoil.Scopes(c.Scopes), oneLine(strings.Join(c.Tenants, " ")))
		}
		t.Flush()
	})
}

func (o *operator) showClient() *cobra.Command {
	return &cobra.Command{
		Use: "show REALM CLIENT", Short: "Show a client, and when its secrets were last used", Args: cobra.ExactArgs(2),
		Example: "  counterfoil client show a55 4cf5…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				c, err := service.Client(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				return o.print(c, func(w io.Writer) { showClient(w, &c) })
			})
		},
	}
}

// showClient writes what is set of a client for a person.
func showClient(w io.Writer, c *admin.Client) {
	t, a := &c.Tokens, &c.Authentication
	rules := make([]string, len(a.Federation))
	for i, r := range a.Federation {
		rules[i] = r.Issuer + " (" + pairs(r.Claims) + ")"
	}
	subject := a.Certificate.SubjectDN + a.Certificate.DNS + a.Certificate.URI + a.Certificate.IP + a.Certificate.Email
	for _, line := range []struct {
		name, value string
		always      bool
	}{
		{"client_id", c.ID, true}, {"name", c.Name, true}, {"status", c.Status, true},
		{"contact", c.Contact, false}, {"environment", string(c.Environment), false},
		{"scopes", strings.Join(c.Scopes, " "), true}, {"tenants", strings.Join(c.Tenants, " "), true},
		{"addresses", strings.Join(c.Addresses, " "), false}, {"labels", pairs(c.Labels), false},
		{"expires", stamp(c.Expires), false}, {"resource server", yes(c.ResourceServer), false},
		{"lifetime", t.Lifetime, false}, {"algorithm", string(t.Algorithm), false}, {"policy", string(t.Policy), false},
		{"claims", pairs(t.Claims), false}, {"bound to certificate", yes(t.CertificateBound), false}, {"bound by DPoP", yes(t.DPoPBound), false},
		{"jwks", yes(len(a.KeySet) > 0), false}, {"jwks_uri", a.KeySetURL, false}, {"certificate", subject, false},
		{"thumbprints", strings.Join(a.Thumbprints, " "), false}, {"federation", strings.Join(rules, ", "), false},
		{"created", stamp(c.Created), true}, {"changed", stamp(c.Changed), true},
		{"tokens count from", stamp(c.NotBefore), false}, {"version", fmt.Sprint(c.Version), true},
	} {
		if line.always || line.value != "" {
			fmt.Fprintf(w, "%-20s  %s\n", line.name, oneLine(line.value))
		}
	}
	showSecrets(w, "secret", c.Secrets)
	showSecrets(w, "api key", c.APIKeys)
}

func showSecrets(w io.Writer, kind string, secrets []admin.Secret) {
	for _, s := range secrets {
		ends, used := "serves until it is rotated", "never used"
		if !s.Ends.IsZero() {
			ends = "ends " + stamp(s.Ends)
		}
		if !s.LastUsed.IsZero() {
			used = "last used " + stamp(s.LastUsed)
		}
		fmt.Fprintf(w, "%-20s  %s, created %s, %s, %s\n", kind, s.ID, stamp(s.Created), ends, used)
	}
}

// stamp writes a time; "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// pairs writes a map in one order.
func pairs(m map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, name+"="+m[name])
	}
	return strings.Join(list, " ")
}

func (o *operator) importClients() *cobra.Command {
	var i admin.Import
	cmd := &cobra.Command{
		Use: "import REALM FILE", Short: "Import the clients of another authorization server",
		Long: `Import the clients of another authorization server, whose secrets serve on
unchanged. Every row of the file is accounted for, and all are imported or none:
look at a --dry-run first. Importing the same file again changes nothing. FILE
may be - for standard input.

Formats: identityserver, hydra, keycloak, cognito, plain (JSON Lines or CSV).`,
		Example: `  counterfoil client import a55 clients.json --format keycloak --dry-run
  counterfoil client import a55 clients.csv --format plain`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(importer.Formats(), i.Format) {
				return usagef("--format must be one of %s", join(importer.Formats()))
			}
			i.File = o.In
			if args[1] != "-" {
				f, err := os.Open(args[1])
				if err != nil {
					return err
				}
				defer f.Close()
				i.File = f
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				report, err := service.ImportClients(ctx, args[0], i)
				if err != nil {
					return err
				}
				return o.reported(args[1], &report, i.DryRun)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&i.Format, "format", "", "format of the file (required)")
	f.BoolVar(&i.DryRun, "dry-run", false, "change nothing and say what would become of each row")
	f.BoolVar(&i.Replace, "replace", false, "let rows take the place of other clients of their ids")
	f.BoolVar(&i.Partial, "partial", false, "import the good rows even when others cannot be taken")
	return cmd
}

// reported prints what became of an import, and fails when it is not what was
// asked for.
func (o *operator) reported(file string, r *admin.Report, dry bool) error {
	bad := r.Counts[string(importer.Refused)] + r.Counts[string(importer.Conflict)]
	counts := make([]string, 0, len(r.Counts))
	for _, outcome := range slices.Sorted(maps.Keys(r.Counts)) {
		counts = append(counts, fmt.Sprintf("%d %s", r.Counts[outcome], outcome))
	}
	outcome, are := "OUTCOME", "rows"
	if !r.Applied {
		outcome, are = "WOULD BE", "rows would be"
	}
	err := o.print(r, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "ROW\tCLIENT ID\t%s\tDETAIL\n", outcome)
		for _, row := range r.Rows {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", row.Place, oneLine(row.ClientID), row.Outcome, oneLine(row.Detail))
			for _, note := range row.Notes {
				fmt.Fprintf(t, "\t\t\tnote: %s\n", oneLine(note))
			}
		}
		t.Flush()
		fmt.Fprintf(w, "%d %s: %s\n", len(r.Rows), are, strings.Join(counts, ", "))
	})
	switch {
	case err != nil:
		return err
	case r.Failed != "":
		return withHint(fmt.Errorf("the import ended early: %s", r.Failed), "import the same file again to finish")
	case bad > 0 && !r.Applied && dry:
		return withHint(fmt.Errorf("%d of %d rows of %s cannot be taken", bad, len(r.Rows), file), "nothing was changed: mend them, or leave them out with --partial")
	case bad > 0 && !r.Applied:
		return withHint(fmt.Errorf("%d of %d rows of %s cannot be taken, so nothing was imported", bad, len(r.Rows), file), "mend them, or leave them out with --partial")
	case dry:
		fmt.Fprintln(o.Err, "nothing was changed: this was a dry run")
	}
	return nil
}
