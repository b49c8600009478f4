package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/watch"
)

// alertSenders are those that a server sends its alerts by; config is nil for 'up'.
func alertSenders(log *slog.Logger, config *serveconfig.Config) ([]alerts.Sender, error) {
	all := []alerts.Sender{alerts.LogSender(log)}
	if config == nil {
		return all, nil
	}
	configured, err := configuredSenders(config, clock.System)
	return append(all, configured...), err
}

// alerting returns a log whose lines about trouble are alerts, and these.
func alerting(c counterfoil.Clock, log *slog.Logger) (*slog.Logger, *alerts.Troubles) {
	troubles := alerts.NewTroubles(c)
	return slog.New(troubles.Handler(log.Handler())), troubles
}

// startAlerts looks for alerts in the background, and sends them. The caller calls
// stop before it closes the database.
func startAlerts(ctx context.Context, c watch.Config) (stop func()) {
	return inBackground(ctx, watch.New(c).Run)
}

// whereFlag says in the commands of alerts which server they are for.
func whereFlag(flag, path string) string {
	if full, err := filepath.Abs(path); err == nil {
		path = full
	}
	return flag + " " + watch.Quote(path)
}

// certificates are those that the server has now.
func (s *service) certificates() []watch.Certificate {
	config := s.watched.Load()
	check := "counterfoil serve --check --config " + strings.TrimPrefix(whereFlag("", config.File), " ")
	all := []watch.Certificate{{Name: config.Certificate.File(), Expires: s.certificate.Load().Leaf().NotAfter, Command: check}}
	for _, file := range config.AuthorityFiles() {
		text, err := os.ReadFile(file.Path)
		if err != nil {
			continue // a reload, or the next start, says so
		}
		if first := firstToEnd(text); first != nil {
			all = append(all, watch.Certificate{Name: file.Path, Realm: file.Realm, Expires: first.NotAfter, Command: check})
		}
	}
	return all
}

// certificates are those of the site: a restart replaces one that ends within a month.
func (s *site) certificates() []watch.Certificate {
	return []watch.Certificate{{
		Name: filepath.Join(s.dir.tls(), "server.pem"), Expires: s.certificate.NotAfter,
		Command: "counterfoil up " + whereFlag("--dir", string(s.dir)),
	}}
}

// firstToEnd is the certificate in a PEM file that ends first, or nil.
func firstToEnd(text []byte) (first *x509.Certificate) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return first
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err == nil && (first == nil || c.NotAfter.Before(first.NotAfter)) {
			first = c
		}
	}
}

// realmNames are those of the realms that are served.
func (s *service) realmNames() []string {
	config := s.watched.Load()
	names := make([]string, len(config.Realms))
	for i := range config.Realms {
		names[i] = config.Realms[i].Name
	}
	return names
}
