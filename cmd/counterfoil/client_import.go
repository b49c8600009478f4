package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/importer"
	"github.com/spf13/cobra"
)

func (o *operator) importClients() *cobra.Command {
	var i admin.Import
	cmd := &cobra.Command{
		Use: "import REALM FILE", Short: "Import the clients of another authorization server",
		Long: `Import the clients of another authorization server. Their secrets stay valid.
Every row of the file is reported, and all are imported or none: try --dry-run
first. Importing the same file again changes nothing. FILE
may be - for standard input; one that anybody can write is refused. Progress is
printed on standard error.

A secret that is a placeholder of a template, such as ${ORDERS_SECRET}, is refused:
fill it in, or say with --literal-secrets that it is the secret. So is a lifetime of
tokens that is longer than the realm's, unless --cap-lifetime reduces it.

Clients that people sign in with are skipped. A file of which each row is skipped
fails: perhaps a member is missing in all of them.

Formats: identityserver, hydra, keycloak, cognito, plain (JSON Lines or CSV).`,
		Example: `  counterfoil client import a55 clients.json --format keycloak --dry-run
  counterfoil client import a55 realms.json --format keycloak --from-realm prod
  counterfoil client import a55 clients.csv --format plain`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if i.Format == "" {
				return chooseFrom(importer.Formats(), errors.New("--format is missing"))
			}
			if err := oneOf("format", i.Format, importer.Formats()...); err != nil {
				return err
			}
			if i.FromRealm != "" && i.Format != "keycloak" {
				return usagef("--from-realm is for files of the format keycloak")
			}
			i.File = o.In
			if args[1] != "-" {
				f, err := o.openInput(args[1], true)
				if err != nil {
					return err
				}
				defer f.Close()
				i.File = f
			}
			return o.with(cmd, func(ctx context.Context, service admin.Service) error {
				telling := o.tellProgress(ctx)
				i.Progress = telling.imports
				report, err := service.ImportClients(ctx, args[0], i)
				telling.end()
				if err != nil {
					return err
				}
				return errors.Join(o.reported(args[1], &report, i.DryRun), report.Close())
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&i.Format, "format", "", "format of the file (required)")
	f.BoolVar(&i.DryRun, "dry-run", false, "change nothing and print what would happen to each row")
	f.BoolVar(&i.Replace, "replace", false, "let rows replace other clients with the same ids")
	f.BoolVar(&i.Partial, "partial", false, "import the valid rows even if others are refused")
	f.BoolVar(&i.LiteralSecrets, "literal-secrets", false, "accept secrets that look like placeholders")
	f.BoolVar(&i.CapLifetime, "cap-lifetime", false, "reduce longer token lifetimes to the realm's")
	f.StringVar(&i.FromRealm, "from-realm", "", "import the clients of this realm of a Keycloak export only")
	return cmd
}

// reported prints the result of an import, and fails if it is not what was
// requested.
func (o *operator) reported(file string, r *admin.Report, dry bool) error {
	bad := r.Counts[string(importer.OutcomeRefused)] + r.Counts[string(importer.OutcomeConflict)]
	counts := make([]string, 0, len(r.Counts))
	for _, outcome := range slices.Sorted(maps.Keys(r.Counts)) {
		counts = append(counts, fmt.Sprintf("%d %s", r.Counts[outcome], outcome))
	}
	err := o.printReport(r, counts)
	switch {
	case err != nil:
		return err
	case r.Failed != "":
		return withHint(fmt.Errorf("the import ended early: %s", r.Failed), "import the same file again to finish")
	case bad > 0 && !r.Applied && dry:
		return withHint(
			fmt.Errorf("%d of %d rows of %s are refused", bad, r.Len(), file),
			"nothing was changed: fix them, or leave them out with --partial",
		)
	case bad > 0 && !r.Applied:
		return withHint(
			fmt.Errorf("%d of %d rows of %s are refused, so nothing was imported", bad, r.Len(), file),
			"fix them, or leave them out with --partial",
		)
	case r.Counts[string(importer.OutcomeSkipped)] == r.Len():
		what := "nothing of %s was imported: each of its %d rows was skipped"
		if dry {
			what = "nothing of %s would be imported: each of its %d rows would be skipped"
		}
		return withHint(
			fmt.Errorf(what, file, r.Len()),
			"see the detail of each row: its client is not for machines, or the member that says so is missing",
		)
	case dry:
		fmt.Fprintln(o.Err, "nothing was changed: this was a dry run")
	}
	return nil
}

// printReport prints the rows of a report as they are read.
func (o *operator) printReport(r *admin.Report, counts []string) error {
	if o.output == jsonForm {
		return r.WriteJSON(o.Out)
	}
	outcome, are := "OUTCOME", "rows"
	if !r.Applied {
		outcome, are = "WOULD BE", "rows would be"
	}
	t := newTable(o.Out, "ROW", "CLIENT ID", outcome, "DETAIL")
	for row, err := range r.Rows() {
		if err != nil {
			return err
		}
		if err := t.row(row.Place, oneLine(row.ClientID), row.Outcome, oneLine(row.Detail)); err != nil {
			return err
		}
		for _, note := range row.Notes {
			if err := t.row("", "", "", "note: "+oneLine(note)); err != nil {
				return err
			}
		}
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(o.Out, "%d %s: %s\n", r.Len(), are, strings.Join(counts, ", "))
	return err
}
