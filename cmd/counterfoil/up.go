package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/gofrs/flock"
	"github.com/spf13/cobra"
)

// Bounds of a connection. Handlers bound what a request may hold.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	drainTimeout  = 10 * time.Second
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

A provider description that is put into DIR/providers becomes one more realm,
with the reference API that it names: calendar, profiles, events or wallets.`,
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
	certificate, ca, err := developmentTLS(dir.tls(), time.Now())
	if err != nil {
		return err
	}
	providers, err := dir.providers()
	if err != nil {
		return err
	}
	store, err := dir.store(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	// 3. The realms, with a client and data for each.
	site := &site{dir: dir, base: baseURL(listener.Addr(), o.listen), ca: ca, store: store, log: log}
	if err := site.build(ctx, providers); err != nil {
		return err
	}
	// 4. Serve.
	p.welcome(site)
	return errors.Join(p.serve(ctx, listener, certificate, site.mux, log), site.server.Close())
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
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, withHint(fmt.Errorf("%s is in use", address), "stop what listens there, or choose another port with --listen 127.0.0.1:9443")
	case err != nil:
		return nil, withHint(fmt.Errorf("listen on %s: %w", address, err), "choose another address with --listen")
	}
	return l, nil
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

// serve accepts connections until ctx ends, then lets those under way finish.
func (p *program) serve(ctx context.Context, l net.Listener, cert tls.Certificate, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler:           drained(h),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.ServeTLS(l, "", "") }()
	fmt.Fprintln(p.Out, "ready")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Info("draining")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		return fmt.Errorf("drain: %w", errors.Join(err, srv.Close()))
	}
	return nil
}

// logEvent writes one decision as one line.
func logEvent(log *slog.Logger) func(context.Context, counterfoil.Event) {
	return func(ctx context.Context, e counterfoil.Event) {
		level := slog.LevelDebug
		if !e.Success {
			level = slog.LevelInfo
		}
		if !log.Enabled(ctx, level) {
			return
		}
		log.LogAttrs(ctx, level, e.Type, slog.String("realm", e.Realm), slog.String("client_id", e.ClientID),
			slog.String("reason", string(e.Reason)), slog.String("ip_address", e.Address), slog.String("user_agent", e.UserAgent))
	}
}
