package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/spf13/cobra"
)

func (p *program) dataCommand() *cobra.Command {
	var dir string
	imp := &cobra.Command{
		Use: "import API FILE", Short: "Replace the rows of a reference API with those of a file",
		Long: `Replace the rows of a reference API (calendar, profiles, events, wallets) by those
of a file: all of them, or, when one is wrong, none. The file is JSON Lines, one
object a line. - is standard input; a file that anybody can write is refused.`,
		Example: `  counterfoil data import calendar conferences.jsonl
  generate-wallets | counterfoil data import wallets -`,
		Args: cobra.ExactArgs(2), ValidArgsFunction: completeAPIs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.importData(cmd.Context(), dataDir(dir), args[0], args[1])
		},
	}
	imp.Flags().StringVar(&dir, "dir", defaultDir, "data directory")
	return group("data", "Manage the rows of the reference APIs", imp)
}

// maxImport bounds what is imported from standard input, in bytes.
const maxImport = 1 << 30

// openImport opens a file to import. Standard input is first copied into a file
// that only this process has: rows are replaced in one transaction, and a slow
// writer must not block the server's.
func (c *console) openImport(file string) (*os.File, error) {
	if file != "-" {
		return c.openInput(file, false)
	}
	spool, err := os.CreateTemp("", "counterfoil-import-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(spool.Name()); err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	n, err := io.Copy(spool, io.LimitReader(c.In, maxImport+1))
	if err == nil && n > maxImport {
		err = fmt.Errorf("standard input is longer than %d bytes", maxImport)
	}
	if err == nil {
		_, err = spool.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	return spool, nil
}

func (p *program) importData(ctx context.Context, dir dataDir, name, file string) error {
	in, err := p.openImport(file)
	if err != nil {
		return err
	}
	defer in.Close()
	store, err := dir.open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	all := referenceAPIs(store.DB(), slog.New(slog.DiscardHandler))
	api, ok := all[name]
	if !ok {
		names := slices.Sorted(maps.Keys(all))
		return chooseFrom(names, fmt.Errorf("there is no API %q%s", name, didYouMean(name, names)))
	}
	telling := p.tellProgress(ctx)
	n, err := apis.Import(ctx, store.DB(), api, telling.read(in))
	telling.end()
	var row *apis.RowError
	switch {
	case errors.As(err, &row):
		return withHint(fmt.Errorf("%s:%d: %w", file, row.Line, row.Err), "nothing was changed; fix the line and import again")
	case errors.Is(err, apis.ErrEmpty):
		return withHint(fmt.Errorf("%s: %w", file, err), "nothing was changed; check what should have written the file")
	case err != nil:
		return err
	}
	return p.print(map[string]any{"api": name, "rows": n}, func(w io.Writer) {
		fmt.Fprintf(w, "%s has %d rows now\n", name, n)
	})
}
