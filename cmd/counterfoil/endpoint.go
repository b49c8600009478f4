package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/conns"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/internal/requestid"
)

// Bounds of a connection. Handlers bound what a request may hold.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = time.Minute
	idleTimeout   = 2 * time.Minute
	drainTimeout  = 10 * time.Second
)

// endpoint is where 'up' and 'serve' are reached: always over TLS.
type endpoint struct {
	listeners []net.Listener
	// certificate is called at each handshake.
	certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// clientCertificates requests a certificate from callers.
	clientCertificates bool
	// connections bounds those of all listeners.
	connections *conns.Limiter
	// proxies are those whose request IDs are kept.
	proxies counterfoil.Proxies
	handler http.Handler
	log     *slog.Logger
	// end closes long-lived requests when the endpoint is to close; nil if there
	// are none.
	end func()
	// notify, when set, is told the states of the endpoint, as of sd_notify(3).
	notify func(state string)
}

// listenOn listens on HOST:PORT; flag is the name of the setting, and other an
// alternative value for it.
func listenOn(ctx context.Context, address, flag, other string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	return l, unavailable(err, address, flag, other)
}

// unavailable says why there is no listener on an address; nil for no error.
func unavailable(err error, address, flag, other string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return withHint(fmt.Errorf("%s is in use", address), "stop what listens there, or choose another port with %s %s", flag, other)
	case err != nil:
		return withHint(fmt.Errorf("listen on %s: %w", address, err), "choose another address with %s", flag)
	}
	return nil
}

// serve accepts connections until ctx ends, then lets those under way finish.
func (p *program) serve(ctx context.Context, e endpoint) error {
	config := &tls.Config{GetCertificate: e.certificate, MinVersion: tls.VersionTLS12}
	if e.clientCertificates {
		config.ClientAuth = tls.RequestClientCert
	}
	proxies, err := peer.New(e.proxies)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:           requestid.Handler(proxies, framed(drained(e.handler))),
		TLSConfig:         config,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          log.New(serverLog{e.log}, "", 0),
	}
	e.connections.Bind(srv)
	if e.end != nil {
		srv.RegisterOnShutdown(e.end)
	}
	failed := make(chan error, len(e.listeners))
	for _, l := range e.listeners {
		go func() { failed <- srv.ServeTLS(e.connections.Listener(l), "", "") }()
	}
	p.held.release()
	if e.notify == nil {
		e.notify = func(string) {}
	}
	e.notify(daemon.SdNotifyReady)
	if _, err := fmt.Fprintln(p.Out, "ready"); err != nil {
		e.log.Error("the output of this server cannot be written: it keeps serving, and exits with this error", "error", err)
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	e.notify(daemon.SdNotifyStopping)
	e.log.Info("draining")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := srv.Shutdown(drain); err != nil {
		return fmt.Errorf("drain: %w", errors.Join(err, srv.Close()))
	}
	return nil
}

// serverLog logs what net/http says. Most of it is about what callers send, and is
// for debugging; that a handler has panicked is an error. Errors of Accept are
// logged by conns.
type serverLog struct{ log *slog.Logger }

func (s serverLog) Write(line []byte) (int, error) {
	level, text := slog.LevelDebug, strings.TrimSuffix(string(line), "\n")
	if strings.HasPrefix(text, "http: panic serving") || strings.HasPrefix(text, "http2: panic serving") {
		level = slog.LevelError
	}
	s.log.Log(context.Background(), level, text)
	return len(line), nil
}

// framed closes the connection after a request that may have a Content-Length
// together with a Transfer-Encoding: an intermediary may have used the other one
// and taken what follows for another request (RFC 9112 section 6.1). The
// standard library has dropped the losing header when a handler sees the
// request: the length of a chunked request, or the Transfer-Encoding of an
// HTTP/1.0 request. So the connection of every such request is closed.
func framed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 && (r.ProtoMinor == 0 || len(r.TransferEncoding) > 0) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// always is for a certificate that never changes.
func always(c tls.Certificate) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &c, nil }
}
