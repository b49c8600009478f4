package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/importer"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/spf13/cobra"
)

const (
	// completionTime bounds how long a shell waits.
	completionTime = 2 * time.Second
	// maxCompletions bounds how many client ids are offered.
	maxCompletions = 100
)

// noFiles keeps a shell from offering files.
const noFiles = cobra.ShellCompDirectiveNoFileComp

// toComplete opens a database for reading only: completion changes nothing.
var toComplete = opener{toRead.look, sqlite.OpenReadOnly}

// completeConnections offers the names of the configuration's connections.
func (p *program) completeConnections(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	config, err := p.readConsumer()
	if err != nil || len(args) > 0 {
		return nil, noFiles
	}
	return config.Names(), noFiles
}

// completeRealms offers the realms of the server that the flags name, then files
// for further arguments.
func (o *operator) completeRealms(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	o.completing(cmd, func(ctx context.Context, service admin.Service) error {
		realms, err := service.Realms(ctx)
		for _, r := range realms {
			names = append(names, r.Name)
		}
		return err
	})
	return names, noFiles
}

// completeClients offers realms, then the ids of a realm's clients.
func (o *operator) completeClients(cmd *cobra.Command, args []string, begun string) (ids []string, _ cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return o.completeRealms(cmd, args, begun)
	case 1:
	default:
		return nil, noFiles
	}
	o.completing(cmd, func(ctx context.Context, service admin.Service) error {
		page, err := service.Clients(ctx, store.ClientQuery{Realm: args[0], After: begun, Limit: maxCompletions})
		for i := range page.Clients {
			if id := page.Clients[i].ID; strings.HasPrefix(id, begun) && oneLine(id) == id {
				ids = append(ids, id)
			}
		}
		return err
	})
	return ids, noFiles
}

// completing runs f on the server that the flags name. It never prompts or reads
// input; an error offers nothing.
func (o *operator) completing(cmd *cobra.Command, f func(context.Context, admin.Service) error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
	defer cancel()
	cmd.SetContext(ctx)
	in, out := o.In, o.Err
	o.In, o.Err = strings.NewReader(""), discard{}
	defer func() { o.In, o.Err = in, out }()
	_ = o.withAt(cmd, toComplete, f)
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// completeAPIs offers the reference APIs, then files.
func completeAPIs(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return slices.Sorted(maps.Keys(referenceAPIs(nil, slog.New(slog.DiscardHandler)))), noFiles
}

// completeFlags offers the values of the flags of a command that have few.
func completeFlags(cmd *cobra.Command) {
	for flag, values := range map[string][]string{
		"format": importer.Formats(), "environment": {"sandbox", "production"}, "status": {"enabled", "disabled", "expired"},
		"policy": {"independent", "replace", "reuse"},
	} {
		if cmd.Flags().Lookup(flag) != nil {
			_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, noFiles))
		}
	}
}
