package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/spf13/cobra"
)

// adminPatience is how long a response of the Admin API may take, including an
// import, whose slow hashes take time.
const adminPatience = 30 * time.Minute

// operator is the shared part of the commands that manage a server: where it is.
// They work in the same way on a data directory, on the database of a serve
// configuration, and on a remote server.
type operator struct {
	*program
	dir, serveConfig, server string

	// state is the file of the server's limits, metrics the address of its metrics; ""
	// for none.
	state, metrics string
}

// flags adds the flags that say where the server is.
func (o *operator) flags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&o.dir, "dir", defaultDir, "data directory of 'up'")
	f.StringVar(&o.serveConfig, "serve-config", "", "configuration of 'serve': work on its database, even while it serves")
	f.StringVar(&o.server, "server", "", "connection of the client configuration: work through the Admin API of a server")
	_ = cmd.RegisterFlagCompletionFunc("server", func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return o.completeConnections(cmd, nil, begun)
	})
	for _, sub := range cmd.Commands() {
		switch names := argumentsOf(sub); {
		case slices.Contains(names, "CLIENT"):
			sub.ValidArgsFunction = o.completeClients
		case slices.Contains(names, "REALM"):
			sub.ValidArgsFunction = o.completeRealms
		}
		completeFlags(sub)
	}
	cmd.Long += `

Without a flag, or with --dir, the commands work on a data directory; with
--serve-config on the database of 'serve', on its machine; with --server through
the Admin API of a server elsewhere, as the client that the connection names.`
}

// with runs f on the server that the flags name.
func (o *operator) with(cmd *cobra.Command, f func(context.Context, admin.Service) error) error {
	return o.withAt(cmd, toWrite, f)
}

// reading is with for an operation that changes nothing, and so works where
// nothing can be written.
func (o *operator) reading(cmd *cobra.Command, f func(context.Context, admin.Service) error) error {
	return o.withAt(cmd, toRead, f)
}

func (o *operator) withAt(cmd *cobra.Command, open opener, f func(context.Context, admin.Service) error) (err error) {
	ctx, named := cmd.Context(), 0
	for _, flag := range []string{"dir", "serve-config", "server"} {
		if cmd.Flags().Changed(flag) {
			named++
		}
	}
	if named > 1 {
		return usagef("--dir, --serve-config and --server are alternatives: choose one")
	}
	if o.server != "" {
		service, err := o.remote()
		if err != nil {
			return err
		}
		return o.advise(cmd, service, f(ctx, service))
	}
	realms, outbound, store, masterKey, err := o.database(ctx, open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	keys, err := signing.NewKeys(store, nil, masterKey)
	if err != nil {
		return err
	}
	service := admin.New(admin.Config{
		Store: store, Keys: keys, Realms: func() []server.Realm { return realms }, Actor: actor(),
		Keeper: limits.File{Path: o.state, Clock: o.clock}, Outbound: &outbound,
	})
	return o.advise(cmd, service, f(ctx, service))
}

// opener opens a database after inspecting it.
type opener struct {
	look inspector
	open func(context.Context, string) (*sqlite.Store, error)
}

var (
	toWrite = opener{sqlite.Inspect, sqlite.Open}
	// toRead opens as toWrite does or, if that fails, for reading only.
	toRead = opener{
		func(ctx context.Context, path string) (sqlite.Inspection, error) {
			found, err := sqlite.Inspect(ctx, path)
			if sqlite.Unwritable(err) {
				return sqlite.Inspection{Exists: true}, nil // open reports what is wrong, if anything
			}
			return found, err
		},
		func(ctx context.Context, path string) (*sqlite.Store, error) {
			store, err := sqlite.Open(ctx, path)
			if sqlite.Unwritable(err) {
				return sqlite.OpenReadOnly(ctx, path)
			}
			return store, err
		},
	}
)

// database opens the database on this machine, and returns what its server may
// fetch: 'up' fetches nothing.
func (o *operator) database(
	ctx context.Context, open opener,
) ([]server.Realm, server.Outbound, store.Store, counterfoil.Secret, error) {
	none := server.Outbound{}
	if o.serveConfig != "" {
		config, err := serveConfig(ctx, o.serveConfig, o.getenv, open.look)
		if err != nil {
			return nil, none, nil, "", err
		}
		o.state, o.metrics = config.Server.Limits.File, config.Metrics
		db, err := openDatabase(ctx, config, open.open)
		return config.Server.Realms, config.Server.Outbound, db, config.Server.MasterKey, err
	}
	dir := dataDir(o.dir)
	o.state, o.metrics = dir.database()+serveconfig.Suffix, dir.metricsAt()
	if err := dir.keyed(ctx); err != nil {
		return nil, none, nil, "", err
	}
	db, err := dir.openWith(ctx, open)
	if err != nil {
		return nil, none, nil, "", err
	}
	failed := func(err error) ([]server.Realm, server.Outbound, store.Store, counterfoil.Secret, error) {
		return nil, none, nil, "", errors.Join(err, db.Close())
	}
	providers, err := dir.providers()
	if err != nil {
		return failed(err)
	}
	masterKey, err := dir.masterKey()
	if err != nil {
		return failed(err)
	}
	realms := make([]server.Realm, len(providers))
	for i, p := range providers {
		realms[i] = server.Realm{Name: p.Name, Provider: p}
	}
	return realms, none, db, masterKey, nil
}

// remote opens the connection to an Admin API.
func (o *operator) remote() (admin.Service, error) {
	link, err := o.open(o.server)
	if err != nil {
		return nil, err
	}
	if link.api.Name != serveconfig.AdminAPI || link.api.Kind != provider.KindREST {
		return nil, withHint(
			fmt.Errorf(
				"the connection %s leads to the API %q of %s, which is not an Admin API", o.server, link.api.Name,
				link.config.Provider.Name,
			),
			"name a connection whose provider is counterfoil; docs/admin.md has an example",
		)
	}
	if err := o.noCalls(link); err != nil {
		return nil, withHint(err, "add {api_url}")
	}
	return &admin.Remote{
		URL:  link.apiURL,
		HTTP: &http.Client{Transport: &client.Transport{Source: link.Source}, Timeout: adminPatience},
	}, nil
}

// actor is the author of changes, for the audit record.
func actor() string {
	if u, err := user.Current(); err == nil {
		return "command line: " + u.Username
	}
	return "command line"
}

// advise gives a problem its exit code and the next action, for both local and
// remote servers.
func (o *operator) advise(cmd *cobra.Command, s admin.Service, err error) error {
	realm := cmd.Flags().Arg(0)
	var p *admin.Problem
	var f *failure
	switch {
	case err == nil || errors.As(err, &f):
		return err
	case !errors.As(err, &p):
		return o.explain(err)
	}
	switch p.Code {
	case admin.NoSuchRealm:
		names := []string{}
		if realms, err := s.Realms(cmd.Context()); err == nil {
			for _, r := range realms {
				names = append(names, r.Name)
			}
		}
		return chooseFrom(names, fmt.Errorf("%w%s", err, didYouMean(realm, names)))
	case admin.NotFound:
		var ids []string
		if page, failed := s.Clients(cmd.Context(), store.ClientQuery{Realm: realm, Limit: listPage}); failed == nil {
			for i := range page.Clients {
				ids = append(ids, page.Clients[i].ID)
			}
		}
		err = fmt.Errorf("%w%s", err, didYouMean(cmd.Flags().Arg(1), ids))
		return withHint(err, "'counterfoil client list %s' shows those it has", realm)
	case admin.NoSuchAlert:
		return withHint(err, "'counterfoil alerts' lists those that are open")
	case admin.NoSuchSilence:
		return withHint(err, "'counterfoil alerts silences' lists them")
	case admin.AlreadyExists:
		return withHint(err, "choose another --id, or leave it out to have one made")
	case admin.Conflict, admin.Changed:
		return withHint(err, "check the current state, then repeat the command")
	case admin.ExceedsOwn:
		return &failure{code: exitRefused, err: err, hint: "leave it out, or do it on the server's machine"}
	}
	switch p.Status {
	case http.StatusNotFound:
		return withHint(err, "'counterfoil client show %s %s' shows those it has", realm, cmd.Flags().Arg(1))
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return &failure{code: exitUsage, err: err}
	case http.StatusForbidden:
		return &failure{
			code: exitRefused,
			err:  err,
			hint: "allow the scope to the client of the connection, and request it in the connection",
		}
	case http.StatusInternalServerError:
		return &failure{code: exitServerFault, err: err, hint: "the server's log has the cause"}
	}
	return &failure{code: exitCallerFault, err: err}
}

// moment parses a time of the command line.
func moment(flag, text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, usagef("--%s %q is not a time such as 2027-01-31T09:00:00Z", flag, strings.TrimSpace(text))
}
