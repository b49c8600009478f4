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

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/importer"
	"github.com/spf13/cobra"
)

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
