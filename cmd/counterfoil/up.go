package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"github.com/counterfoil/counterfoil/server/sqlite"
	"github.com/gofrs/flock"
	"github.com/spf13/cobra"
)

type upOptions struct {
	dir, listen string
	verbose     bool
}

func (p *program) upCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use: "up", Short: "Serve four providers, guarded APIs included, on this machine",
		Long: `Serve the token endpoints and the guarded APIs of ahotu, altrata, engagifii and
a55 in one process over HTTPS, with a development certificate authority and one
client for each. What it makes is kept in the data directory: started again, it
goes on with the same keys, clients and data.

A provider description that is put into DIR/providers becomes one more realm.
Behind each of its APIs stands the reference API of that name (calendar,
profiles, events, wallets); wallets or, for GraphQL, profiles behind any other.`,
		Example: `  counterfoil up
  counterfoil up --dir ./try --listen 127.0.0.1:9443`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.up(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", defaultDir, "data directory")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8443", "address to listen on")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log what is allowed as well as what is refused")
	return cmd
}

// up starts everything, says so, and serves until the context ends.
func (p *program) up(ctx context.Context, o upOptions) error {
	dir := dataDir(o.dir)
	log := p.logger(o.verbose)
	// 1. A directory that nobody else serves from, and a port.
	if err := dir.create(); err != nil {
		return err
	}
	unlock, err := dir.lock()
	if err != nil {
		return err
	}
	defer unlock()
	listener, err := listen(ctx, o.listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	// 2. What is kept there, made where it is missing.
	certificate, ca, err := developmentTLS(dir.tls(), p.clock.Now(), log)
	if err != nil {
		return err
	}
	providers, err := dir.providers()
	if err != nil {
		return err
	}
	if err := fit(dir.database()); err != nil {
		return err
	}
	if doubt := sqlite.Doubt(dir.database()); doubt != "" {
		log.Warn(doubt)
	}
	store, err := dir.store(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	masterKey, err := dir.masterKey()
	if err != nil {
		return err
	}
	// 3. The realms, with a client and data for each.
	site := &site{dir: dir, base: baseURL(listener.Addr(), o.listen), ca: ca, store: store, masterKey: masterKey, log: log}
	if err := site.build(ctx, providers); err != nil {
		return err
	}
	// 4. Serve.
	p.welcome(site)
	served := p.serve(ctx, endpoint{
		listener: listener, certificate: always(certificate), handler: site.mounts, log: log, end: site.server.Drain,
	})
	return errors.Join(served, site.server.Close())
}

// fit refuses a place that cannot hold a database that is served from.
func fit(database string) error {
	err := sqlite.CheckPlace(database)
	if err != nil && !sqlite.Unwritable(err) {
		return withHint(err, "nothing was changed")
	}
	return nil // where nothing can be written, opening it says so
}

// lock keeps a second 'up' off the directory.
func (d dataDir) lock() (unlock func(), err error) {
	lock := flock.New(filepath.Join(string(d), "lock"), flock.SetPermissions(0o600))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if !ok {
		return nil, withHint(fmt.Errorf("another 'counterfoil up' serves from %s", d), "stop it, or name another directory with --dir")
	}
	return func() { _ = lock.Unlock() }, nil
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usagef("--listen %q is not HOST:PORT", address)
	}
	if ip := net.ParseIP(host); host != "" && host != "localhost" && (ip == nil || !ip.IsLoopback() && !ip.IsUnspecified()) {
		return nil, usagef("--listen %q: 'up' is for this machine, and its certificate is for localhost, 127.0.0.1 and ::1 only", address)
	}
	return listenOn(ctx, address, "--listen")
}

// baseURL is how clients on this machine reach the listener: by the host that
// was asked for where the certificate has it.
func baseURL(addr net.Addr, asked string) string {
	host, _, _ := net.SplitHostPort(asked)
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return "https://" + net.JoinHostPort(host, port)
}

// logger logs events of the given weight for people, on standard error.
func (p *program) logger(verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(p.Err, &slog.HandlerOptions{Level: level}))
}
