package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/apis"
	"github.com/spf13/cobra"
)

func (p *program) dataCommand() *cobra.Command {
	var dir, form string
	imp := &cobra.Command{
		Use: "import API FILE", Short: "Replace the rows of a reference API by those of a file",
		Long: `Replace the rows of a reference API (calendar, profiles, events, wallets) by those
of a file: all of them, or, when one is wrong, none. The file is JSON Lines, one
object a line; the calendar reads iCalendar (RFC 5545) too. - is standard input.`,
		Example: `  counterfoil data import calendar conferences.jsonl
  counterfoil data import calendar holidays.ics
  generate-wallets | counterfoil data import wallets -`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.importData(cmd.Context(), dataDir(dir), args[0], args[1], apis.Format(form))
		},
	}
	imp.Flags().StringVar(&dir, "dir", defaultDir, "data directory")
	imp.Flags().StringVar(&form, "format", "", "jsonl or ics (default: by the file's name, else jsonl)")
	return group("data", "Manage the rows of the reference APIs", imp)
}

func (p *program) importData(ctx context.Context, dir dataDir, name, file string, form apis.Format) error {
	if form == "" {
		form = apis.JSONLines
		if ext := strings.ToLower(filepath.Ext(file)); ext == ".ics" || ext == ".ical" {
			form = apis.ICalendar
		}
	}
	if form != apis.JSONLines && form != apis.ICalendar {
		return usagef("--format %q is not understood: choose jsonl or ics", form)
	}
	in := p.In
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	store, err := dir.open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	all := referenceAPIs(store.DB(), slog.New(slog.DiscardHandler))
	api, ok := all[name]
	if !ok {
		return &failure{code: exitUsage, err: fmt.Errorf("there is no API %q", name), hint: "choose from " + join(slices.Sorted(maps.Keys(all)))}
	}
	n, err := apis.Import(ctx, store.DB(), api, form, in)
	var row *apis.RowError
	switch {
	case errors.As(err, &row):
		return withHint(fmt.Errorf("%s:%d: %w", file, row.Line, row.Err), "nothing was changed; mend the line and import again")
	case errors.Is(err, apis.ErrFormat):
		return usagef("%s does not read %s: choose jsonl", name, form)
	case err != nil:
		return err
	}
	return p.print(map[string]any{"api": name, "rows": n}, func(w io.Writer) {
		fmt.Fprintf(w, "%s has %d rows now\n", name, n)
	})
}
