package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"text/tabwriter"

	"github.com/counterfoil/counterfoil/client/consumer"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

func (p *program) providerCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List the providers of the catalog", Example: "  counterfoil provider list", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return p.providerList() },
	}
	show := &cobra.Command{
		Use: "show NAME|FILE", Short: "Print a provider's description",
		Long: `Print a provider's description as it was written. With -o json it is printed
whole: with what it extends and with its defaults.`,
		Example: `  counterfoil provider show a55
  counterfoil provider show oauth2 > acme.yaml
  counterfoil provider show -o json ./acme.yaml`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: completeProviders,
		RunE: func(_ *cobra.Command, args []string) error { return p.providerShow(args[0]) },
	}
	check := &cobra.Command{
		Use: "check FILE...", Short: "Check provider descriptions",
		Long: `Check provider descriptions strictly. Every mistake is shown with its file, its
line and what is allowed there.`,
		Example: "  counterfoil provider check acme.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return p.providerCheck(args) },
	}
	schema := &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of a description, for editors",
		Long: `Print the JSON Schema of a provider description. An editor with the YAML
language server completes and marks a description whose first line is
# yaml-language-server: $schema=provider.schema.json`,
		Example: "  counterfoil provider schema > provider.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := io.WriteString(p.Out, provider.Schema())
			return err
		},
	}
	return group("provider", "Read and check provider descriptions", list, show, check, schema)
}

func completeProviders(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return provider.Names(), cobra.ShellCompDirectiveDefault
}

func (c *console) providerList() error {
	type row struct {
		Name    string          `json:"name"`
		Title   string          `json:"title"`
		Extends string          `json:"extends,omitempty"`
		Policy  provider.Policy `json:"policy"`
		APIs    []string        `json:"apis"`
	}
	var rows []row
	for _, name := range provider.Names() {
		d, err := provider.Builtin(name)
		if err != nil {
			return err
		}
		r := row{Name: d.Name, Title: d.Title, Extends: d.Extends, Policy: d.TokenEndpoint.Policy}
		for _, api := range d.APIs {
			r.APIs = append(r.APIs, fmt.Sprintf("%s (%s)", api.Name, api.Kind))
		}
		rows = append(rows, r)
	}
	return c.print(rows, func(w io.Writer) {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "NAME\tAPI\tTOKENS\tTITLE")
		for _, r := range rows {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.Name, strings.Join(r.APIs, ", "), r.Policy, r.Title)
		}
		t.Flush()
	})
}

func (c *console) providerShow(nameOrFile string) error {
	d, err := openProvider(nameOrFile)
	if err != nil {
		return err
	}
	if c.output == text {
		_, err := c.Out.Write(d.Source().Text)
		return err
	}
	whole, err := yaml.MarshalWithOptions(d, yaml.JSON())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.Out, "%s\n", bytes.TrimSpace(whole))
	return err
}

func (c *console) providerCheck(files []string) error {
	type row struct {
		File     string            `json:"file"`
		Name     string            `json:"name,omitempty"`
		Problems provider.Problems `json:"problems"`
	}
	var rows []row
	bad := 0
	for _, file := range files {
		r := row{File: file, Problems: provider.Problems{}}
		d, err := provider.Read(file)
		switch {
		case err == nil:
			r.Name = d.Name
		case errors.As(err, &r.Problems):
			bad++
		default:
			return withHint(err, "name a file, for example one made by 'counterfoil provider show oauth2 > acme.yaml'")
		}
		rows = append(rows, r)
	}
	err := c.print(rows, func(w io.Writer) {
		for _, r := range rows {
			if len(r.Problems) == 0 {
				fmt.Fprintf(w, "%s: good, describes %s\n", r.File, r.Name)
				continue
			}
			fmt.Fprintln(w, r.Problems)
		}
	})
	if err == nil && bad > 0 {
		err = withHint(
			fmt.Errorf("%d of %d descriptions are invalid", bad, len(files)),
			"fix the lines above and check again; 'counterfoil provider show oauth2' prints a complete one",
		)
	}
	return err
}

// openProvider opens a catalog entry or a file, with the next action if that
// fails.
func openProvider(nameOrFile string) (*provider.Provider, error) {
	d, err := provider.Open(nameOrFile)
	if err == nil {
		return d, nil
	}
	return nil, withHint(err, "%s", ofProvider(err, nameOrFile))
}

// ofProvider is the next action when a description cannot be opened.
func ofProvider(err error, nameOrFile string) string {
	if _, mistaken := errors.AsType[provider.Problems](err); mistaken {
		return "fix the description; 'counterfoil provider check " + nameOrFile + "' checks it again"
	}
	if consumer.IsFile(nameOrFile) {
		if errors.Is(err, fs.ErrNotExist) {
			return "correct the path of the description, or begin one with 'counterfoil provider show oauth2'"
		}
		return "" // the message says what is missing
	}
	return strings.TrimSpace(
		strings.TrimPrefix(didYouMean(nameOrFile, provider.Names()), ": ") + " 'counterfoil provider list' shows the catalog",
	)
}
