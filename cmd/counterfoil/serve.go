package main

import (
	"context"
	"crypto/tls"
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

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/strict"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"github.com/spf13/cobra"
)

func (p *program) serveCommand() *cobra.Command {
	var config string
	var check bool
	cmd := &cobra.Command{
		Use: "serve --config FILE", Short: "Serve realms in production, from a configuration file",
		Long: `Serve the realms of a configuration file over HTTPS: token endpoints, keys,
metadata and all that belongs to them. docs/serve.md is the file's manual.

Here --config names the server's configuration, not a client's, and
$COUNTERFOIL_CONFIG is not looked at.

SIGHUP reads the file again: everything in it is checked first, and a mistake
leaves all as it was. SIGTERM lets requests under way finish.

With --check, everything is read as a start would read it, the database
included; nothing is changed and nothing is served. It prints what would be
served, or every problem, and exits with 0 or 1.`,
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
	program *program
	log     *slog.Logger
	level   *slog.LevelVar
	store   store.Store
	server  *server.Server
	health  *health

	plan   *plan // the one that is served
	routes atomic.Pointer[routes]
	// certificate is the one of the plan.
	certificate atomic.Pointer[certificateFiles]
}

// serveRealms serves a configuration until the context ends.
func (p *program) serveRealms(ctx context.Context, file string) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	// 1. All checks, before anything is changed.
	plan, err := p.plan(ctx, file, sqlite.Inspect)
	if err != nil {
		return err
	}
	s := &service{program: p, level: new(slog.LevelVar)}
	s.log = plan.logger(p.logTo(), s.level)
	for _, w := range plan.warnings {
		s.log.Warn(w)
	}
	listener, err := listenOn(ctx, plan.Listen, fmt.Sprintf("listen (%s:%d)", plan.file, plan.doc.Line("listen")), "127.0.0.1:9443")
	if err != nil {
		return err
	}
	defer listener.Close()
	// 2. The database and the realms.
	if err := fit(plan.database); err != nil {
		return err
	}
	store, err := sqlite.Open(ctx, plan.database)
	if err != nil {
		return err
	}
	defer store.Close()
	s.store = store
	if s.server, err = server.New(ctx, plan.server(store, s.log)); err != nil {
		return err
	}
	s.health = &health{store: store, clock: clock.System}
	s.adopt(plan)
	// 3. Serve, and reload the file on request.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.obey(ctx, hangups)
	}()
	plan.print(p.Out)
	s.log.Info("listening", "address", listener.Addr().String())
	err = p.serve(ctx, endpoint{
		listeners: []net.Listener{listener}, handler: s.health.wrap(s), log: s.log,
		certificate: s.handshake, clientCertificates: plan.TLS.ClientCertificates,
		end: s.server.Drain,
	})
	cancel()
	<-ended
	return errors.Join(err, s.server.Close())
}

// ServeHTTP serves the current realms.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.routes.Load().ServeHTTP(w, r)
}

func (s *service) handshake(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.certificate.Load().get(hello)
}

// obey reloads at each signal until the context ends.
func (s *service) obey(ctx context.Context, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		if err := s.reload(ctx); err != nil {
			s.log.Error("reload refused: the old configuration stays", "error", strings.ReplaceAll(err.Error(), "\n", "; "))
			continue
		}
		for _, w := range s.plan.warnings {
			s.log.Warn(w)
		}
		s.log.Info("reloaded", "file", s.plan.file, "realms", len(s.plan.realms))
	}
}

// reload serves the current content of the file, or leaves everything unchanged.
func (s *service) reload(ctx context.Context) error {
	// The database stays open.
	next, err := s.program.plan(ctx, s.plan.file, nil)
	if err != nil {
		return err
	}
	if err := s.plan.fixed(next); err != nil {
		return err
	}
	// Removed realms are kept until no more requests are sent to them.
	all := next.serverRealms()
	for i := range s.plan.realms {
		old := &s.plan.realms[i]
		if !slices.ContainsFunc(all, func(r server.Realm) bool { return r.Name == old.Name }) {
			all = append(all, old.Realm)
		}
	}
	if err := s.server.Reload(ctx, all); err != nil {
		return fmt.Errorf("%s: %w", next.file, err)
	}
	s.adopt(next)
	if len(all) == len(next.realms) {
		return nil
	}
	if err := s.server.Reload(ctx, next.serverRealms()); err != nil {
		// They are no longer reached, but revocation feeds are still connected.
		s.log.Error("realms that were removed from the file are not released yet: send SIGHUP again", "error", err)
	}
	return nil
}

// adopt routes requests as the plan says.
func (s *service) adopt(next *plan) {
	t := &routes{hosts: map[string]mounts{}}
	for i := range next.realms {
		r := &next.realms[i]
		t.realm(r, s.server.Handler(r.Name))
	}
	if err := s.administer(t, next); err != nil {
		s.log.Error("the Admin API is not served", "error", err)
	}
	next.certificate.failed = func(err error) {
		s.log.Error("the certificate's files cannot be loaded: the old one stays", "error", err)
	}
	next.certificate.loaded = func(c *tls.Certificate) {
		s.log.Info("loaded a new certificate", "expires", c.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	s.level.Set(next.level())
	s.certificate.Store(next.certificate)
	s.routes.Store(t)
	s.plan = next
}

// fixed refuses a plan that differs in a setting that cannot change while
// serving. The places are those of the new file.
func (was *plan) fixed(next *plan) error {
	var found strict.Problems
	for _, f := range []struct {
		key  string
		same bool
	}{
		{"listen", was.Listen == next.Listen},
		{"database", was.database == next.database},
		{"master_key", was.masterKey == next.masterKey},
		{"previous_master_keys", slices.Equal(was.previous, next.previous)},
		{"signer", was.Signer == next.Signer},
		{"trusted_proxies", slices.Equal(was.proxies, next.proxies)},
		{"address_header", was.AddressHeader == next.AddressHeader},
		{"certificate_header", was.CertificateHeader == next.CertificateHeader},
		{"outbound", slices.Equal(was.Outbound.Hosts, next.Outbound.Hosts) && was.Outbound.Private == next.Outbound.Private &&
			was.Outbound.CAFile == next.Outbound.CAFile},
		{"tls", was.TLS.ClientCertificates == next.TLS.ClientCertificates},
		{"log", was.Log.Format == next.Log.Format},
	} {
		if f.same {
			continue
		}
		what := f.key
		switch f.key {
		case "tls":
			what = "tls.client_certificates"
		case "log":
			what = "log.format"
		}
		next.doc.Fail(to(f.key), nil, "%s cannot change while the server runs: restart it", what)
	}
	if err := next.doc.Err(); errors.As(err, &found) {
		return found
	}
	return nil
}

// server converts the plan for package server.
func (c *plan) server(store store.Store, log *slog.Logger) server.Config {
	return server.Config{
		Store: store, Realms: c.serverRealms(), Logger: log, OnEvent: logEvent(log),
		MasterKey: c.masterKey, PreviousMasterKeys: c.previous, Signer: string(c.Signer),
		TrustedProxies: c.proxies, AddressHeader: string(c.AddressHeader),
		CertificateHeader: c.CertificateHeader.Name, CertificateForm: string(c.CertificateHeader.Form),
		Outbound: server.Outbound{Hosts: c.Outbound.Hosts, Private: c.Outbound.Private, RootCAs: c.rootCAs},
	}
}

func (c *plan) serverRealms() []server.Realm {
	all := make([]server.Realm, len(c.realms))
	for i := range c.realms {
		all[i] = c.realms[i].Realm
	}
	return all
}

func (c *plan) level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.Log.Level)) // it is one of logLevel's words
	return l
}

// logger writes to w in the plan's form, from its level on.
func (c *plan) logger(w io.Writer, level *slog.LevelVar) *slog.Logger {
	level.Set(c.level())
	options := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// print prints what is served where.
func (c *plan) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "REALM\tPROVIDER\tISSUER\tTOKEN URL")
	for i := range c.realms {
		r := &c.realms[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", r.Name, r.Provider.Name, oneLine(r.Issuer), oneLine(r.tokenURL()))
	}
	t.Flush()
}
