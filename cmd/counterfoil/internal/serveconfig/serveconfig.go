// Package serveconfig reads the configuration of 'counterfoil serve'. Use it to
// learn what a file asks for: [Read] changes nothing, and reads everything that
// the file names, so that a server that is wired from its [Config] can only fail
// where the world has changed since. docs/serve.md is the file's manual.
package serveconfig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential/resolver"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/certfiles"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/conns"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/strict"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/alerts/mail"
	"github.com/counterfoil/counterfoil/server/alerts/watch"
	"github.com/counterfoil/counterfoil/server/alerts/webhook"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// AdminAPI is the name of the Admin API in descriptions.
const AdminAPI = "admin"

// Config is a configuration that is checked, with everything that can be
// derived from it without changing anything.
type Config struct {
	// File is where it was read from, ListenLine the line there of Listen, the
	// address to listen on.
	File       string
	Listen     string
	ListenLine int
	// Metrics is the address to show metrics and health on, "" for none, and
	// MetricsLine its line.
	Metrics     string
	MetricsLine int
	// Certificate is the server's, which is reloaded when its files change.
	// ClientCertificates requests a certificate from callers.
	Certificate        *certfiles.Certificate
	ClientCertificates bool
	// Database is the file, DatabaseState describes it for people.
	Database      string
	DatabaseState string
	// Postgres says that Database is the URL of a PostgreSQL database, without its
	// password, which is DatabasePassword.
	Postgres         bool
	DatabasePassword counterfoil.Secret
	LogLevel         slog.Level
	LogJSON          bool
	// LogSample logs one of so many granted requests; 0 for none.
	LogSample int64
	// Connections bounds the open connections.
	Connections conns.Limits
	// Realms are those of Server with the places where they are reached.
	Realms []Realm
	// Audit is how the audit record is proven and kept.
	Audit Audit
	// Webhooks and Mail are where alerts go; Mail is nil for nowhere.
	Webhooks []webhook.Config
	Mail     *mail.Config
	// Alerts say what is an alert.
	Alerts watch.Settings
	// Server lacks its Store, Logger and OnEvent.
	Server server.Config
	// Warnings are about settings that are allowed but may not be intended.
	Warnings []string

	settings *settings
	dir      string
	state    string           // the directory for state that systemd names; empty without
	doc      *strict.Document // for problems found later
	admin    string           // the realm of the Admin API, or ""
}

// Realm is a realm and where it is reached.
type Realm struct {
	server.Realm
	Hosts []string // in lower case, without port and dot at the end
	Path  string   // "" or "/…"
}

// TokenURL is the URL of the realm's token endpoint.
func (r *Realm) TokenURL() string { return r.BaseURL + r.Provider.TokenEndpoint.Path }

// Admin returns the realm whose tokens the Admin API accepts, with the API's
// description, or nil if the Admin API is disabled.
func (c *Config) Admin() (*Realm, *provider.API) {
	for i := range c.Realms {
		if r := &c.Realms[i]; r.Name == c.admin {
			if api, ok := r.Provider.API(AdminAPI); ok {
				return r, api
			}
		}
	}
	return nil, nil
}

// Error is an error of a configuration with the next action.
type Error struct {
	Err  error
	Hint string
}

// Error returns what is wrong.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Options are what Read needs beside the file.
type Options struct {
	// Getenv reads the environment that references name. Required.
	Getenv func(string) string
	// Inspect inspects the database, which is not open: sqlite.Inspect. It is nil
	// for one that this process has open.
	Inspect func(context.Context, string) (sqlite.Inspection, error)
}

// planner derives a Config from settings and records problems, each with its
// place in the file.
type planner struct {
	*strict.Document
	*settings
	out     *Config
	dir     string
	secrets func(string) (client.SecretFunc, error)
	now     time.Time
	// malformed says that the form of the file is also wrong.
	malformed bool
}

// Read reads a configuration and everything that it names, and changes nothing.
// The error holds every problem; one that has a next action is an *Error.
func Read(ctx context.Context, file string, o Options) (*Config, error) {
	in, doc, err := readSettings(file)
	if err != nil {
		if others := openToAll(file); len(others) > 0 {
			return nil, &Error{errors.Join(append([]error{err}, others...)...), fixHint}
		}
		return nil, withFix(err)
	}
	dir, err := directory(file)
	if err != nil {
		return nil, err
	}
	pl := &planner{
		Document: doc, settings: in, dir: dir, now: clock.System.Now(), malformed: doc.Err() != nil,
		secrets: resolver.New(resolver.Config{Dir: dir, Loose: true, Getenv: o.Getenv, AgeIdentity: in.AgeIdentity}),
		out: &Config{
			File: file, Listen: in.Listen, ListenLine: doc.Line("listen"),
			Metrics: in.Metrics.Listen, MetricsLine: doc.Line("metrics", "listen"), ClientCertificates: in.TLS.ClientCertificates,
			settings: in, dir: dir, doc: doc, state: o.Getenv("STATE_DIRECTORY"), admin: in.Admin.Realm,
		},
	}
	pl.address(ctx, pl.Listen, "listen", "listen")
	pl.log()
	pl.metrics(ctx)
	pl.proxy()
	pl.outbound()
	pl.audit()
	pl.senders(ctx)
	pl.connections()
	for i := range in.Realms {
		pl.realm(i)
	}
	pl.checkAdmin()
	pl.places()
	pl.tls()
	pl.guesses()
	pl.alerts()
	pl.keys(ctx, o.Inspect)
	pl.out.Warnings = append(pl.out.Warnings, files.DoubtsOf(in.uses(file, dir)...)...)
	if err := doc.Err(); err != nil {
		return nil, withFix(err)
	}
	return pl.out.complete(), nil
}

// complete sets what is derived from settings that are right.
func (c *Config) complete() *Config {
	in := c.settings
	c.LogJSON, c.LogSample = in.Log.Format == "json", in.Log.Sample
	_ = c.LogLevel.UnmarshalText([]byte(in.Log.Level)) // it is one of logLevel's words
	c.Server.Signer = string(in.Signer)
	c.Server.Limits.File = c.Database + Suffix
	if c.Postgres { // a node's own
		c.Server.Limits.File = within(cmp.Or(c.state, c.dir), "counterfoil"+Suffix)
	}
	c.Server.Proxies.AddressHeader = string(in.AddressHeader)
	c.Server.Proxies.CertificateHeader = in.CertificateHeader.Name
	c.Server.Proxies.CertificateForm = counterfoil.CertificateForm(in.CertificateHeader.Form)
	c.Server.Outbound.Hosts, c.Server.Outbound.Private = in.Outbound.Hosts, in.Outbound.Private
	for i := range c.Realms {
		c.Server.Realms = append(c.Server.Realms, c.Realms[i].Realm)
	}
	return c
}

// CheckReload refuses a next configuration that differs in a setting that cannot
// change while serving. The places are those of the new file.
func (c *Config) CheckReload(next *Config) error {
	was, now := c.settings, next.settings
	for _, f := range []struct {
		key, setting string
		same         bool
	}{
		{"listen", "listen", c.Listen == next.Listen},
		{"metrics", "metrics.listen", c.Metrics == next.Metrics},
		{"database", "database", c.Database == next.Database},
		{"database_password", "database_password", c.DatabasePassword == next.DatabasePassword},
		{"master_key", "master_key", c.Server.MasterKey == next.Server.MasterKey},
		{"previous_master_keys", "previous_master_keys", slices.Equal(c.Server.PreviousMasterKeys, next.Server.PreviousMasterKeys)},
		{"signer", "signer", was.Signer == now.Signer},
		{"trusted_proxies", "trusted_proxies", slices.Equal(c.Server.Proxies.Networks, next.Server.Proxies.Networks)},
		{"address_header", "address_header", was.AddressHeader == now.AddressHeader},
		{"certificate_header", "certificate_header", was.CertificateHeader == now.CertificateHeader},
		{"outbound", "outbound", slices.Equal(was.Outbound.Hosts, now.Outbound.Hosts) && was.Outbound.Private == now.Outbound.Private &&
			was.Outbound.CAFile == now.Outbound.CAFile},
		{"tls", "tls.client_certificates", was.TLS.ClientCertificates == now.TLS.ClientCertificates},
		{"audit", "audit", was.Audit == now.Audit},
		{"alerts", "alerts", was.Alerts.same(&now.Alerts)},
		{"limits", "limits.guesses, limits.token_requests and limits.direct", was.Limits.Guesses == now.Limits.Guesses &&
			was.Limits.Requests == now.Limits.Requests && was.Limits.Direct == now.Limits.Direct},
		{"webhooks", "webhooks", reflect.DeepEqual(was.Webhooks, now.Webhooks)},
		{"mail", "mail", reflect.DeepEqual(was.Mail, now.Mail)},
		{"log", "log.format", was.Log.Format == now.Log.Format},
	} {
		if !f.same {
			next.doc.Fail(to(f.key), nil, "%s cannot change while the server runs: restart it", f.setting)
		}
	}
	return next.doc.Err()
}

// uses are the configuration, which is a file in dir, and the files that it names.
func (c *settings) uses(file, dir string) []files.Use {
	uses := []files.Use{{Path: file}, {Path: within(dir, c.TLS.Certificate)}, {Path: within(dir, c.TLS.Key), Secret: true}}
	references := append(slices.Clip(c.PreviousMasterKeys), c.MasterKey, c.AgeIdentity, c.Mail.Password, c.DatabasePassword)
	for i := range c.Webhooks {
		references = append(references, c.Webhooks[i].Secret, c.Webhooks[i].PreviousSecret)
	}
	uses = append(uses, files.Referred(dir, references...)...)
	name := func(other string) {
		if other != "" {
			uses = append(uses, files.Use{Path: within(dir, other)})
		}
	}
	name(c.Outbound.CAFile)
	for i := range c.Realms {
		r := &c.Realms[i]
		if strings.ContainsAny(r.Provider, `./\`) {
			name(r.Provider)
		}
		name(r.CertificateAuthorities)
		for _, f := range r.Federation {
			name(f.KeySetFile)
		}
	}
	return uses
}

// openToAll returns the problems with the modes of the files that a
// configuration names which anybody can write. Nothing else of the configuration
// is evaluated: its author would choose what is read.
func openToAll(file string) (problems []error) {
	info, err := os.Stat(file)
	if err != nil || files.Writable(info) == nil {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig))
	dir, errDir := directory(file)
	if err != nil || errDir != nil {
		return nil
	}
	doc, _ := strict.Parse[settings](file, text)
	config := new(settings)
	if doc == nil || doc.Into(config) != nil {
		return nil
	}
	seen := map[string]bool{file: true}
	for _, use := range config.uses(file, dir) {
		if info, err := os.Stat(use.Path); err == nil && !seen[use.Path] {
			seen[use.Path] = true
			if err := files.Writable(info); err != nil {
				problems = append(problems, fmt.Errorf("%s: %w", use.Path, err))
			}
		}
	}
	return problems
}

const fixHint = "fix the configuration; the lines above name each mistake"

// withFix adds the next action to the problems of a configuration.
func withFix(err error) error {
	var problems strict.Problems
	if errors.As(err, &problems) {
		return &Error{err, fixHint}
	}
	return err
}
