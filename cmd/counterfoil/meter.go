package main

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/certfiles"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/conns"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/health"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/metrics"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
)

// meter counts what a server does, and shows that and its health on a listener of
// its own. A nil meter does nothing.
type meter struct {
	*metrics.Metrics
	listener net.Listener
}

// otherMetricsPort is what a hint offers in place of an address in use.
const otherMetricsPort = "127.0.0.1:9091"

// newMeter listens on an address, which flag names; without one there is no meter.
func newMeter(ctx context.Context, address, flag string) (*meter, error) {
	if address == "" {
		return nil, nil
	}
	l, err := listenOn(ctx, address, flag, otherMetricsPort)
	if err != nil {
		return nil, err
	}
	return &meter{metrics.New(), l}, nil
}

// close closes the listener.
func (m *meter) close() {
	if m != nil {
		_ = m.listener.Close()
	}
}

// note writes the address into a file, for 'counterfoil top', or removes one that an
// earlier process has left.
func (m *meter) note(file string) error {
	if m == nil {
		if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	return files.Write(file, []byte(m.listener.Addr().String()+"\n"), 0o600)
}

// events returns what is called with decisions: next, after they are counted.
func (m *meter) events(next func(context.Context, counterfoil.Event)) func(context.Context, counterfoil.Event) {
	if m == nil {
		return next
	}
	return func(ctx context.Context, e counterfoil.Event) {
		m.OnEvent(ctx, e)
		next(ctx, e)
	}
}

// raised returns what counts alerts by their kind.
func (m *meter) raised() func(alerts.Kind) {
	if m == nil {
		return nil
	}
	return m.Alert
}

// Bounds of the metrics' listener.
const (
	meterConnections = 128
	meterTimeout     = 10 * time.Second
	meterHeaders     = 8 << 10
)

// serve shows the state of the sources until stop is called.
func (m *meter) serve(s metrics.Sources, db database, logger *slog.Logger) (stop func()) {
	if m == nil {
		return func() {}
	}
	db.OnCommit(m.OnCommit)
	m.Watch(s)
	mux := http.NewServeMux()
	mux.Handle("/metrics", m.Handler(s.Clock))
	srv := &http.Server{
		Handler:           s.Health.Handler(healthPath, true, mux),
		ReadHeaderTimeout: meterTimeout, ReadTimeout: meterTimeout, WriteTimeout: meterTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: meterHeaders, ErrorLog: log.New(serverLog{logger}, "", 0),
	}
	limiter := conns.New(conns.Config{
		Limits: conns.Limits{Total: meterConnections, PerPrefix: meterConnections}, Clock: s.Clock, Logger: logger,
	})
	limiter.Bind(srv)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := srv.Serve(limiter.Listener(m.listener)); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("the metrics are not served any more", "error", err)
		}
	}()
	logger.Info("metrics and health", "address", m.listener.Addr().String())
	return func() {
		_ = srv.Close()
		<-ended
	}
}

// watchCertificate warns of the end of the server's certificate, which leaf returns,
// until ctx ends.
func watchCertificate(ctx context.Context, c counterfoil.Clock, log *slog.Logger, leaf func() *x509.Certificate) {
	var expiry certfiles.Expiry
	for {
		of := leaf()
		left, due := expiry.Due(of, c.Now())
		end := of.NotAfter.UTC().Format(time.RFC3339)
		switch {
		case due && left <= 0:
			log.Error("the certificate has expired, and no client accepts it: renew it", "expired", end)
		case due:
			log.Warn("the certificate expires soon: renew it", "expires", end, "days", int(left.Hours()/24))
		}
		if c.Sleep(ctx, certfiles.LookEvery) != nil {
			return
		}
	}
}

// How long the answers of checks are reused.
const (
	checkStore = time.Second
	checkKeys  = 10 * time.Second // it signs
)

// checksOf returns the checks of a server.
func checksOf(
	ctx context.Context, c counterfoil.Clock, db store.Store, s *server.Server, certificateEnds func() time.Time,
) (*health.Health, error) {
	newest, err := newestRecord(ctx, db)
	if err != nil {
		return nil, err
	}
	return health.New(
		c,
		health.Check{Name: "database", Word: "unwritable", Every: checkStore, Ask: db.Ready},
		health.Check{Name: "keys", Word: "unusable", Every: checkKeys, Ask: s.TrySigning},
		health.Clock(c, newest, s.LongestLifetime),
		health.Certificate(c, certificateEnds),
	), nil
}

// newestRecord returns the time of the last event; zero without one.
func newestRecord(ctx context.Context, db store.Store) (time.Time, error) {
	state, err := db.Log(ctx)
	if err != nil || state.Recorded == 0 {
		return time.Time{}, err
	}
	last, err := db.Events(ctx, state.Recorded-1, 1)
	if err != nil || len(last) == 0 {
		return time.Time{}, err
	}
	return last[0].Time, nil
}
