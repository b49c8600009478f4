package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/conns"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/metrics"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/requestid"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/gofrs/flock"
	"github.com/spf13/cobra"
)

type upOptions struct {
	dir, listen, metrics string
	verbose              bool
}

func (p *program) upCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use: "up", Short: "Serve four providers, guarded APIs included, on this machine",
		Long: `Serve the token endpoints and the guarded APIs of ahotu, altrata, engagifii and
a55 in one process over HTTPS, with a development certificate authority and one
client for each. Keys, clients and data are kept in the data directory and are
used again at the next start.

A provider description (*.yaml, *.yml) in DIR/providers adds a realm.
Behind each of its APIs stands the reference API of that name (calendar,
profiles, events, wallets); wallets or, for GraphQL, profiles behind any other.`,
		Example: `  counterfoil up
  counterfoil up --dir ./try --listen localhost:9443`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.up(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", defaultDir, "data directory")
	f.StringVar(&o.listen, "listen", "localhost:8443", "address to listen on; localhost is 127.0.0.1 and [::1]")
	f.StringVar(&o.metrics, "metrics", "", "address for metrics and health, as 127.0.0.1:9090; without it there are none")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log what is allowed as well as what is refused")
	return cmd
}

// up starts everything, prints that it is ready, and serves until the context
// ends.
func (p *program) up(ctx context.Context, o upOptions) error {
	dir := dataDir(o.dir)
	log, troubles := alerting(p.clock, p.logger(o.verbose))
	// 1. A directory that no other process serves from, and a port.
	if err := dir.create(); err != nil {
		return err
	}
	unlock, err := dir.lock()
	if err != nil {
		return err
	}
	defer unlock()
	listeners, err := listen(ctx, o.listen)
	if err != nil {
		return err
	}
	defer closeAll(listeners)
	meter, err := newMeter(ctx, o.metrics, "--metrics")
	if err != nil {
		return err
	}
	defer meter.close()
	if err := meter.note(dir.metricsFile()); err != nil {
		return err
	}
	defer os.Remove(dir.metricsFile())
	// 2. Its contents, made where they are missing.
	if err := dir.keyed(ctx); err != nil {
		return err
	}
	certificate, ca, err := developmentTLS(dir.tls(), p.clock.Now(), log)
	if err != nil {
		return err
	}
	providers, err := dir.providers()
	if err != nil {
		return err
	}
	for _, doubt := range append(files.DoubtsOf(dir.uses()...), dir.passedOver()...) {
		log.Warn(doubt)
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
	site := &site{
		dir:         dir,
		base:        baseURL(listeners[0].Addr(), o.listen),
		ca:          ca,
		store:       store,
		masterKey:   masterKey,
		certificate: certificate.Leaf,
		clock:       p.clock,
		log:         log,
		meter:       meter,
		troubles:    troubles,
	}
	if err := site.build(ctx, providers); err != nil {
		return err
	}
	// 4. Serve.
	if err := p.welcome(site); err != nil {
		return errors.Join(
			withHint(err, "nothing is served: the output of 'up' must be written, so give it one that can be"),
			site.close(),
		)
	}
	ends := func() time.Time { return certificate.Leaf.NotAfter }
	checks, err := checksOf(ctx, p.clock, store, site.server, ends)
	if err != nil {
		return errors.Join(err, site.close())
	}
	connections := conns.New(conns.Config{Clock: p.clock, Logger: log})
	stopMeter := meter.serve(metrics.Sources{
		Clock: p.clock, Server: site.server, Connections: connections, Log: site.auditLog, Health: checks,
		Database: dir.database(), CertificateEnds: ends, Version: buildVersion(),
	}, store, log)
	stopCertificate := inBackground(ctx, func(ctx context.Context) {
		watchCertificate(ctx, p.clock, log, func() *x509.Certificate { return certificate.Leaf })
	})
	served := p.serve(ctx, endpoint{
		listeners: listeners, certificate: always(certificate), connections: connections,
		handler: checks.Handler(healthPath, false, site.mounts), log: log, end: site.server.Drain,
	})
	stopCertificate()
	stopMeter()
	return errors.Join(served, site.close())
}

// fit refuses a place that cannot hold a database of a server.
func fit(database string) error {
	err := sqlite.CheckPlace(database)
	if err != nil && !sqlite.Unwritable(err) {
		return withHint(err, "nothing was changed")
	}
	return nil // if it cannot be written, opening it says so
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

// loopback are the addresses that localhost stands for.
var loopback = []string{"127.0.0.1", "::1"}

// otherPort is what a hint offers in place of an address in use.
const otherPort = "localhost:9443"

func listen(ctx context.Context, address string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, usagef("--listen %q is not HOST:PORT", address)
	}
	if strings.EqualFold(host, "localhost") {
		return listenAll(ctx, loopback, port)
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsLoopback() && !ip.IsUnspecified()) {
		return nil, usagef("--listen %q: 'up' is for this machine, and its certificate is for localhost, 127.0.0.1 and ::1 only", address)
	}
	l, err := listenOn(ctx, address, "--listen", otherPort)
	return []net.Listener{l}, err
}

// maxPorts is how many ports are tried if any port will do.
const maxPorts = 20

// listenAll listens on one port of all addresses that the machine has; missing
// ones, such as ::1 without IPv6, are ignored. A port that another program uses
// on one of them is refused: callers of localhost would reach either.
func listenAll(ctx context.Context, hosts []string, port string) ([]net.Listener, error) {
	for try := 1; ; try++ {
		all, failed, err := listenEach(ctx, hosts, port)
		if any := port == "" || port == "0"; !any || try == maxPorts || !errors.Is(err, syscall.EADDRINUSE) {
			return all, unavailable(err, failed, "--listen", otherPort)
		}
	}
}

// listenEach is one attempt of listenAll; with an error it returns the address.
func listenEach(ctx context.Context, hosts []string, port string) (all []net.Listener, address string, err error) {
	var config net.ListenConfig
	for _, host := range hosts {
		at := net.JoinHostPort(host, port)
		l, failed := config.Listen(ctx, "tcp", at)
		if failed == nil {
			all = append(all, l)
			_, port, _ = net.SplitHostPort(l.Addr().String()) // the port that was chosen, if any will do
			continue
		}
		address, err = at, failed
		if probe, failed := config.Listen(ctx, "tcp", net.JoinHostPort(host, "0")); failed == nil {
			probe.Close() // the machine has the address: the port is the cause
			closeAll(all)
			return nil, address, err
		}
	}
	if len(all) > 0 {
		return all, "", nil
	}
	return nil, address, err
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// baseURL is the URL by which clients on this machine reach the listener: with
// the requested host if the certificate has it.
func baseURL(addr net.Addr, asked string) string {
	host, _, _ := net.SplitHostPort(asked)
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "localhost"
	}
	_, port, _ := net.SplitHostPort(addr.String())
	return "https://" + net.JoinHostPort(strings.ToLower(host), port)
}

// logger logs events of the given weight on standard error.
func (c *console) logger(verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	options := &slog.HandlerOptions{Level: level}
	if c.output == jsonForm {
		return slog.New(requestid.Logging(slog.NewJSONHandler(c.logTo(), options)))
	}
	return slog.New(requestid.Logging(slog.NewTextHandler(c.logTo(), options)))
}
