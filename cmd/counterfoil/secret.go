package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/secretscan"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/spf13/cobra"
)

func (p *program) secretCommand() *cobra.Command {
	o := &operator{program: p}
	scan := &cobra.Command{
		Use: "scan PATH", Short: "Find secrets and API keys in files and in git histories",
		Long: `Find client secrets and API keys that a server of Counterfoil has made (cf_…), in a
file or in everything below a directory, with all commits of each git repository
there and what no commit has any more. - is standard input. Archives are not
opened. No secret is shown whole.

With --dir or --serve-config it says which client each belongs to, and whether it
still works. The exit code is 1 if something was found or could not be read.`,
		Example: `  counterfoil secret scan .
  counterfoil secret scan ~/src/orders --serve-config serve.yaml
  kubectl logs deploy/orders | counterfoil secret scan -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.scan(cmd, args[0]) },
	}
	f := scan.Flags()
	f.StringVar(&o.dir, "dir", "", "data directory of 'up' whose clients are looked up")
	f.StringVar(&o.serveConfig, "serve-config", "", "configuration of 'serve' whose clients are looked up")
	return group("secret", "Find leaked secrets", scan)
}

// leak is a place with a secret, as it is printed.
type leak struct {
	Path       string `json:"path,omitempty"`
	Repository string `json:"repository,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Object     string `json:"object,omitempty"`
	Line       int    `json:"line,omitempty"` // of a file
	// Secret is only the beginning of it.
	Secret string `json:"secret"`
	// Owners are the clients that have it; nil where they were not looked up.
	Owners []clients.Owner `json:"clients,omitempty"`
}

// leaks is the result of a scan.
type leaks struct {
	Found  []leak   `json:"found"`
	Unread []string `json:"unread"`
}

func (o *operator) scan(cmd *cobra.Command, path string) error {
	ctx := cmd.Context()
	if o.dir != "" && o.serveConfig != "" {
		return usagef("--dir and --serve-config are alternatives: choose one")
	}
	// A wrong flag is better known before an hour's scan.
	owners, end, err := o.owners(ctx)
	if err != nil {
		return err
	}
	var result *secretscan.Result
	if path == "-" {
		result, err = secretscan.Read(o.In, "standard input")
	} else {
		result, err = secretscan.Scan(ctx, path)
	}
	out := leaks{Found: []leak{}, Unread: []string{}}
	for i := 0; err == nil && i < len(result.Findings); i++ {
		f := &result.Findings[i]
		row := leak{
			Path: f.Path, Repository: f.Repository, Commit: f.Commit, Object: f.Object, Line: f.Line, Secret: cfsecret.Hint(f.Secret),
		}
		row.Owners, err = owners(f.Secret)
		out.Found = append(out.Found, row)
	}
	if err = errors.Join(err, end()); err != nil {
		return err
	}
	for _, unread := range result.Unread {
		out.Unread = append(out.Unread, oneLine(unread.Error()))
	}
	if err := o.print(out, func(w io.Writer) { out.people(w, o.dir != "" || o.serveConfig != "") }); err != nil {
		return err
	}
	return out.failure(path)
}

// failure is the error for what was found, or nil.
func (s *leaks) failure(path string) error {
	switch {
	case len(s.Found) > 0:
		return withHint(fmt.Errorf("secrets found in %s: %d", path, len(s.Found)),
			"end each that still works: docs/operate.md, A leaked secret; a history keeps what a later commit removes")
	case len(s.Unread) > 0:
		return withHint(fmt.Errorf("%s was not read as a whole, and the rest has no secret", path), "read what is named above, and scan again")
	}
	return nil
}

// people prints one line for each place; looked says that clients were looked up.
func (s *leaks) people(w io.Writer, looked bool) {
	for i := range s.Found {
		l := &s.Found[i]
		place := oneLine(l.Path)
		switch {
		case l.Commit != "" && l.Path == "":
			place = "commit " + l.Commit + " message"
		case l.Commit != "":
			place = "commit " + l.Commit + " " + place
		case l.Object != "":
			place = "object " + l.Object
		}
		if l.Line > 0 {
			place += fmt.Sprintf(":%d", l.Line)
		}
		if l.Repository != "" {
			place = oneLine(l.Repository) + ": " + place
		}
		fmt.Fprintf(w, "%s: %s%s\n", place, l.Secret, l.owners(looked))
	}
	for _, unread := range s.Unread {
		fmt.Fprintf(w, "not read: %s\n", unread)
	}
	if len(s.Found)+len(s.Unread) == 0 {
		fmt.Fprintln(w, "no secret found")
	}
}

// owners says whose the secret is.
func (l *leak) owners(looked bool) string {
	switch {
	case !looked:
		return ""
	case len(l.Owners) == 0:
		return " of no client: ended, or of another server"
	}
	says := ""
	for i, owner := range l.Owners {
		state := "still works"
		if !owner.Works {
			state = "does not work any more"
		}
		says += fmt.Sprintf("%s %s %s of client %s of realm %s: %s", map[bool]string{true: ",", false: ""}[i > 0],
			owner.Kind, owner.SecretID, oneLine(owner.ClientID), owner.Realm, state)
	}
	return says
}

// owners returns what looks up the clients with a secret, in the server that the
// flags name, if any; the caller calls end.
func (o *operator) owners(ctx context.Context) (find func(counterfoil.Secret) ([]clients.Owner, error), end func() error, err error) {
	if cmp.Or(o.dir, o.serveConfig) == "" {
		return func(counterfoil.Secret) ([]clients.Owner, error) { return nil, nil }, func() error { return nil }, nil
	}
	realms, _, db, _, err := o.database(ctx, toRead)
	if err != nil {
		return nil, nil, err
	}
	service, known := clients.New(db, o.clock, nil), map[counterfoil.Secret][]clients.Owner{}
	return func(s counterfoil.Secret) ([]clients.Owner, error) {
		if all, ok := known[s]; ok {
			return all, nil
		}
		var all []clients.Owner
		for i := range realms {
			of, err := service.OwnersOf(ctx, realms[i].Name, s)
			if err != nil {
				return nil, err
			}
			all = append(all, of...)
		}
		known[s] = all
		return all, nil
	}, db.Close, nil
}
