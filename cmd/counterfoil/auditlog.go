package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// publishWithin is how long a receiver of checkpoints may take.
const publishWithin = 10 * time.Second

// startLog extends the audit log of a database in the background. The caller
// calls stop before it closes the database.
func startLog(
	ctx context.Context, db store.Store, c counterfoil.Clock, log *slog.Logger, config *server.Config, a serveconfig.Audit,
) (l *audit.Log, stop func(), err error) {
	sealer, err := signing.NewSealer(config.MasterKey, config.PreviousMasterKeys)
	if err != nil {
		return nil, nil, err
	}
	key, err := signing.LogKey(ctx, db, c, sealer)
	if err != nil {
		return nil, nil, err
	}
	settings := audit.Config{
		Store: db, Clock: c, Logger: log, Key: key, PublishEvery: a.PublishEvery, Keep: a.Keep, EraseAfter: a.EraseAfter,
	}
	if text, err := os.ReadFile(a.CheckpointFile); err == nil {
		settings.Published = string(text)
	}
	if a.CheckpointFile != "" || a.CheckpointURL != "" {
		settings.Publish = publisher(a, config.Outbound.RootCAs)
	}
	if l, err = audit.New(ctx, settings); err != nil {
		return nil, nil, err
	}
	log.Info("audit log", "key", l.VerifierKey())
	return l, inBackground(ctx, func(ctx context.Context) { l.Run(ctx, a.CheckpointEvery) }), nil
}

// inBackground runs f until stop is called, which waits for its end, whenever ctx
// ends.
func inBackground(ctx context.Context, f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// publisher gives checkpoints to a file and to a URL.
func publisher(a serveconfig.Audit, roots *x509.CertPool) func(context.Context, string) error {
	transport := client.NewHTTP()
	if roots != nil {
		transport.TLSClientConfig.RootCAs = roots
	}
	web := &http.Client{Transport: transport, Timeout: publishWithin, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return func(ctx context.Context, checkpoint string) error {
		if a.CheckpointFile != "" {
			if err := files.Write(a.CheckpointFile, []byte(checkpoint), 0o644); err != nil {
				return fmt.Errorf("audit.checkpoint_file: %w", err)
			}
		}
		if a.CheckpointURL == "" {
			return nil
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.CheckpointURL, strings.NewReader(checkpoint))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "text/plain; charset=utf-8")
		resp, err := web.Do(req)
		if err != nil {
			return fmt.Errorf("audit.checkpoint_url: %w", err)
		}
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("audit.checkpoint_url %s answered %s", a.CheckpointURL, resp.Status)
		}
		return nil
	}
}
