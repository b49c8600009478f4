package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/certfiles"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/conns"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/health"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/metrics"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/internal/requestid"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/watch"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/spf13/cobra"
)

func (p *program) serveCommand() *cobra.Command {
	var config string
	var check bool
	cmd := &cobra.Command{
		Use: "serve --config FILE", Short: "Serve realms in production, from a configuration file",
		Long: `Serve the realms of a configuration file over HTTPS: token endpoints, keys,
metadata, revocation. docs/serve.md describes the file.

Here --config names the server's configuration, not a client's, and
$COUNTERFOIL_CONFIG is ignored.

SIGHUP reads the file again: everything in it is checked first, and with a
mistake nothing changes. SIGTERM lets requests in progress finish.

With --check, everything is read as at a start, including the database, and
nothing is changed or served. It prints what would be served, or every problem,
and exits with 0 or 1.`,
		Example: `  counterfoil serve --config /etc/counterfoil/serve.yaml --check
  counterfoil serve --config /etc/counterfoil/serve.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config == "" {
				return usagef("'serve' needs the server's configuration: --config FILE")
			}
			if check {
				return p.serveCheck(cmd.Context(), config)
			}
			return p.serveRealms(cmd.Context(), config)
		},
	}
	// It shadows the flag that all other commands share.
	cmd.Flags().StringVar(&config, "config", "", "the server's configuration")
	cmd.Flags().BoolVar(&check, "check", false, "check everything, change nothing, and print what would be served")
	return cmd
}

// service is a running 'serve'.
type service struct {
	getenv func(string) string
	log    *slog.Logger
	level  *slog.LevelVar
	store  database
	server *server.Server
	meter  *meter // nil without metrics
	// auditLog is the log over the record.
	auditLog *audit.Log
	checks   *health.Health
	// requests logs them.
	requests *requestLog
	// connections bounds those that are open.
	connections *conns.Limiter
	// trouble limits the log of a store that records nothing.
	trouble lograte.Limiter
	// notify tells the service manager the state.
	notify func(state string)

	config *serveconfig.Config // the one that is served
	// watched is that one, for those who look for alerts.
	watched atomic.Pointer[serveconfig.Config]
	routes  atomic.Pointer[routes]
	// certificate is that of the configuration.
	certificate atomic.Pointer[certfiles.Certificate]
}

// serveRealms serves a configuration until the context ends.
func (p *program) serveRealms(ctx context.Context, file string) (err error) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	// 1. All checks, before anything is changed.
	config, err := serveConfig(ctx, file, p.getenv, sqlite.Inspect)
	if err != nil {
		return err
	}
	s := &service{getenv: p.getenv, level: new(slog.LevelVar)}
	var troubles *alerts.Troubles
	s.log, troubles = alerting(clock.System, logger(config, p.logTo(), s.level))
	for _, w := range config.Warnings {
		s.log.Warn(w)
	}
	listener, err := listenOn(ctx, config.Listen, fmt.Sprintf("listen (%s:%d)", config.File, config.ListenLine), "127.0.0.1:9443")
	if err != nil {
		return err
	}
	defer listener.Close()
	s.meter, err = newMeter(ctx, config.Metrics, fmt.Sprintf("metrics.listen (%s:%d)", config.File, config.MetricsLine))
	if err != nil {
		return err
	}
	defer s.meter.close()
	// 2. The database and the realms.
	stop, err := s.start(ctx, config, troubles)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	// 3. Serve, and reload the file on request.
	return p.serveStarted(ctx, s, config, listener, hangups)
}

// start opens the database, and starts all that works on it. The caller calls stop
// when nothing is served any more.
func (s *service) start(ctx context.Context, config *serveconfig.Config, troubles *alerts.Troubles) (stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var all error
		for _, f := range slices.Backward(stops) {
			all = errors.Join(all, f())
		}
		return all
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	if !config.Postgres {
		if err := fit(config.Database); err != nil {
			return stop, err
		}
	}
	if s.store, err = openDatabase(ctx, config, sqlite.Open); err != nil {
		return stop, err
	}
	stops = append(stops, s.store.Close)
	s.requests = newRequestLog(s.log, clock.System, s.meter)
	stopRequests := inBackground(ctx, s.requests.run)
	stops = append(stops, func() error {
		stopRequests() // so that every request is in the log
		return nil
	})
	settings := config.Server
	settings.Store, settings.Logger, settings.OnEvent = s.store, s.log, s.meter.events(s.requests.onEvent)
	if s.server, err = server.New(ctx, settings); err != nil {
		return stop, err
	}
	stopAlerts, stopLog := func() {}, func() {}
	stops = append(stops, func() error {
		err := s.server.Close()
		stopAlerts()
		stopLog() // so that every record is in a checkpoint
		return err
	})
	if s.auditLog, stopLog, err = startLog(ctx, s.store, clock.System, s.log, &settings, config.Audit); err != nil {
		stopLog = func() {}
		return stop, err
	}
	senders, err := alertSenders(s.log, config)
	if err != nil {
		return stop, err
	}
	if s.checks, err = checksOf(ctx, clock.System, s.store, s.server, s.certificateEnds); err != nil {
		return stop, err
	}
	s.connections = conns.New(conns.Config{
		Limits: config.Connections, Exempt: config.Server.Proxies.Networks, Clock: clock.System, Logger: s.log,
	})
	s.adopt(config)
	stopAlerts = startAlerts(ctx, watch.Config{
		Settings: config.Alerts, Store: s.store, Clock: clock.System, Logger: s.log, Realms: s.realmNames, Certificates: s.certificates,
		Troubles: troubles, OnRaise: s.meter.raised(), Senders: senders, Where: whereFlag("--serve-config", config.File),
	})
	return stop, nil
}

// serveStarted serves until the context ends, and reloads the configuration on
// request.
func (p *program) serveStarted(
	ctx context.Context, s *service, config *serveconfig.Config, listener net.Listener, hangups <-chan os.Signal,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.notify = supervised(s.log)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.obey(ctx, hangups)
	}()
	stopWatchdog := inBackground(ctx, func(ctx context.Context) {
		watchdog(ctx, clock.System, watchedWithin(s.log), s.store.Ready, s.notify)
	})
	defer stopWatchdog()
	stopCertificate := inBackground(ctx, func(ctx context.Context) {
		watchCertificate(ctx, clock.System, s.log, func() *x509.Certificate {
			c := s.certificate.Load()
			c.Look()
			return c.Leaf()
		})
	})
	printRealms(p.Out, config.Realms)
	s.log.Info("listening", "address", listener.Addr().String())
	metered := config.Database
	if config.Postgres {
		metered = ""
	}
	stopMeter := s.meter.serve(metrics.Sources{
		Clock: clock.System, Server: s.server, Connections: s.connections, Log: s.auditLog, Health: s.checks,
		Database: metered, CertificateEnds: s.certificateEnds, Version: buildVersion(),
	}, s.store, s.log)
	err := p.serve(ctx, endpoint{
		listeners: []net.Listener{listener}, connections: s.connections, handler: s.checks.Handler(healthPath, false, s), log: s.log,
		certificate: s.handshake, clientCertificates: config.ClientCertificates, proxies: config.Server.Proxies,
		end: s.server.Drain, notify: s.notify,
	})
	cancel()
	<-ended
	stopCertificate()
	stopMeter()
	return err
}

// serveConfig reads a configuration of 'serve' with everything that it names.
func serveConfig(ctx context.Context, file string, getenv func(string) string, inspect inspector) (*serveconfig.Config, error) {
	config, err := serveconfig.Read(ctx, file, serveconfig.Options{Getenv: getenv, Inspect: inspect})
	if e, ok := errors.AsType[*serveconfig.Error](err); ok {
		return nil, withHint(e.Err, "%s", e.Hint)
	}
	return config, err
}

// inspector inspects a database that is not open; it is nil for one that this
// process has open.
type inspector = func(context.Context, string) (sqlite.Inspection, error)

// ServeHTTP serves the current realms.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.routes.Load().ServeHTTP(w, r)
}

func (s *service) handshake(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.certificate.Load().Get(hello)
}

// certificateEnds returns when the certificate expires.
func (s *service) certificateEnds() time.Time { return s.certificate.Load().Leaf().NotAfter }

// obey reloads at each signal until the context ends.
func (s *service) obey(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
		err := s.reload(ctx)
		s.notify(daemon.SdNotifyReady)
		if err != nil {
			s.log.Error("reload refused: the old configuration stays", "error", strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		for _, w := range s.config.Warnings {
			s.log.Warn(w)
		}
		s.log.Info("reloaded", "file", s.config.File, "realms", len(s.config.Realms))
	}
}

// reload serves the current content of the file, or leaves everything unchanged.
func (s *service) reload(ctx context.Context) error {
	// The database stays open.
	next, err := serveConfig(ctx, s.config.File, s.getenv, nil)
	if err != nil {
		return err
	}
	if err := s.config.CheckReload(next); err != nil {
		return err
	}
	// Removed realms are kept until no more requests are sent to them.
	all := slices.Clone(next.Server.Realms)
	for i := range s.config.Realms {
		old := &s.config.Realms[i]
		if !slices.ContainsFunc(all, func(r server.Realm) bool { return r.Name == old.Name }) {
			all = append(all, old.Realm)
		}
	}
	if err := s.server.Reload(ctx, all); err != nil {
		return fmt.Errorf("%s: %w", next.File, err)
	}
	s.connections.Set(next.Connections)
	s.adopt(next)
	if len(all) == len(next.Realms) {
		return nil
	}
	if err := s.server.Reload(ctx, next.Server.Realms); err != nil {
		// They are no longer reached, but revocation feeds are still connected.
		s.log.Error("realms that were removed from the file are not released yet: send SIGHUP again", "error", err)
	}
	return nil
}

// adopt routes requests as the configuration says.
func (s *service) adopt(next *serveconfig.Config) {
	t := &routes{hosts: map[string]mounts{}}
	for i := range next.Realms {
		r := &next.Realms[i]
		t.realm(r, s.server.Handler(r.Name))
	}
	if err := s.administer(t, next); err != nil {
		s.log.Error("the Admin API is not served", "error", err)
	}
	next.Certificate.Failed = func(err error) {
		s.log.Error("the certificate's files cannot be loaded: the old one stays, until they can", "error", err)
	}
	next.Certificate.Loaded = func(c *tls.Certificate) {
		s.log.Info("loaded a new certificate", "expires", c.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	s.level.Set(next.LogLevel)
	s.requests.every.Store(next.LogSample)
	s.certificate.Store(next.Certificate)
	s.routes.Store(t)
	s.config = next
	s.watched.Store(next)
}

// logger writes to w in the form that the configuration names, from level on.
func logger(c *serveconfig.Config, w io.Writer, level *slog.LevelVar) *slog.Logger {
	level.Set(c.LogLevel)
	options := &slog.HandlerOptions{Level: level}
	if c.LogJSON {
		return slog.New(requestid.Logging(slog.NewJSONHandler(w, options)))
	}
	return slog.New(requestid.Logging(slog.NewTextHandler(w, options)))
}

// printRealms prints what is served where.
func printRealms(w io.Writer, realms []serveconfig.Realm) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REALM\tPROVIDER\tISSUER\tTOKEN URL")
	for i := range realms {
		r := &realms[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.Name, r.Provider.Name, oneLine(r.Issuer), oneLine(r.TokenURL()))
	}
	t.Flush()
}
