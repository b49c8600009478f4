package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/guard/trail"
	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/calendar"
	"github.com/counterfoil/counterfoil/internal/apis/events"
	"github.com/counterfoil/counterfoil/internal/apis/profiles"
	"github.com/counterfoil/counterfoil/internal/apis/wallets"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/watch"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// The tenants that development clients are granted, and one that also has rows
// but that they are not granted.
const (
	developmentTenant = "TENANT123"
	secondTenant      = events.CountiesTenant
	strangeTenant     = events.NursesTenant
)

// directory is altrata's second API in 'up'.
const directory = "directory"

// withDirectory returns p. For altrata, whose token opens several APIs that each
// have a URL of their own, it adds one API that the catalog does not describe: a
// copy of its first. It shows that a new token replaces the old one for every
// API.
func withDirectory(p *provider.Provider) *provider.Provider {
	if p.Name != "altrata" || !p.Source().Builtin {
		return p
	}
	second := p.APIs[0]
	second.Name, second.Title = directory, "Directory API"
	second.Path, second.URL, second.Explorer = "/"+directory+second.Path, "", ""
	second.BasePath = second.Path
	with := *p
	with.APIs = append(slices.Clone(p.APIs), second)
	return &with
}

// site joins server, guards and APIs at one base URL. Nothing else imports all
// three.
type site struct {
	dir   dataDir
	base  string // https://localhost:8443
	ca    string // path of the authority's certificate
	store *sqlite.Store
	// masterKey seals the signing keys.
	masterKey counterfoil.Secret
	// certificate is that of localhost.
	certificate *x509.Certificate
	// clock is the clock of the issuer and the guards.
	clock    counterfoil.Clock
	log      *slog.Logger
	troubles *alerts.Troubles

	server *server.Server
	// decisions records those of the guards.
	decisions *trail.Trail
	// meter counts; nil without metrics.
	meter *meter
	// requests logs them.
	requests *requestLog
	// auditLog is the log over the record.
	auditLog *audit.Log
	// stopLog ends the audit log, stopDecisions what writes decisions to it, and
	// stopAlerts what looks for alerts.
	stopLog, stopDecisions, stopAlerts func()
	// stopRequests ends the log of requests.
	stopRequests func()
	realms       []*realm
	mounts       mounts
}

// realm is one provider at its place on the site.
type realm struct {
	*provider.Provider
	base   string // https://localhost:8443/a55
	client settings
}

// referenceAPIs returns the APIs that a description may name.
func referenceAPIs(db *sql.DB, log *slog.Logger) map[string]apis.API {
	all := map[string]apis.API{}
	for _, api := range []apis.API{
		calendar.New(calendar.Config{DB: db, Log: log}),
		profiles.New(profiles.Config{DB: db, Log: log}),
		events.New(events.Config{DB: db, Log: log}),
		wallets.New(wallets.Config{DB: db, Log: log}),
	} {
		all[api.Name()] = api
	}
	return all
}

// standIn returns the described reference API, or one of the same kind in place
// of an API that only its owner has.
func standIn(reference map[string]apis.API, described *provider.API) apis.API {
	kinds := map[string]provider.Kind{
		"calendar": provider.KindGraphQL, "profiles": provider.KindGraphQL, "events": provider.KindREST,
		"wallets": provider.KindREST,
	}
	switch {
	case kinds[described.Name] == described.Kind:
		return reference[described.Name]
	case described.Kind == provider.KindGraphQL:
		return reference["profiles"]
	}
	return reference["wallets"]
}

// build makes the realms, their clients, their data and their handlers.
func (s *site) build(ctx context.Context, providers []*provider.Provider) error {
	if err := s.issue(ctx, providers); err != nil {
		return err
	}
	clients := s.server.Clients()
	for _, r := range s.realms {
		if err := s.settle(ctx, clients, r); err != nil {
			return fmt.Errorf("realm %s: %w", r.Name, err)
		}
	}
	if err := s.writeConsumer(); err != nil {
		return err
	}
	return s.mount(ctx)
}

// issue starts the authorization server.
func (s *site) issue(ctx context.Context, providers []*provider.Provider) (err error) {
	var realms []server.Realm
	for _, p := range providers {
		p = withDirectory(p)
		r := &realm{Provider: p, base: s.base + "/" + p.Name}
		s.realms = append(s.realms, r)
		realms = append(realms, server.Realm{Name: p.Name, Provider: p, BaseURL: r.base, OtherURLs: otherNames(r.base)})
	}
	s.requests = newRequestLog(s.log, s.clock, s.meter)
	s.stopRequests = inBackground(ctx, s.requests.run)
	config := server.Config{
		Store: s.store, Realms: realms, Logger: s.log, OnEvent: s.meter.events(s.requests.onEvent), MasterKey: s.masterKey, Clock: s.clock,
		Limits: limits.Config{File: s.dir.database() + serveconfig.Suffix},
	}
	if s.server, err = server.New(ctx, config); err != nil {
		return err
	}
	s.decisions = trail.New(trail.Config{Sink: s.store, Clock: s.clock, Logger: s.log})
	s.stopDecisions = inBackground(ctx, s.decisions.Run)
	if s.auditLog, s.stopLog, err = startLog(ctx, s.store, s.clock, s.log, &config, serveconfig.DefaultAudit()); err != nil {
		return err
	}
	senders, err := alertSenders(s.log, nil)
	if err != nil {
		return err
	}
	var names []string
	for _, r := range realms {
		names = append(names, r.Name)
	}
	s.stopAlerts = startAlerts(ctx, watch.Config{
		Store: s.store, Clock: s.clock, Logger: s.log, Realms: func() []string { return names }, Certificates: s.certificates,
		Troubles: s.troubles, OnRaise: s.meter.raised(), Senders: senders, Where: whereFlag("--dir", string(s.dir)),
	})
	return nil
}

// decided returns what guards report their decisions to: the log and the record.
func (s *site) decided() func(context.Context, counterfoil.Event) {
	log := s.meter.events(s.requests.onEvent)
	return func(ctx context.Context, e counterfoil.Event) {
		s.decisions.OnEvent(ctx, e)
		log(ctx, e)
	}
}

// close ends the server, and then the log, so that every record is in a
// checkpoint.
func (s *site) close() error {
	err := s.server.Close()
	if s.stopDecisions != nil {
		s.stopDecisions()
	}
	if s.stopAlerts != nil {
		s.stopAlerts()
	}
	if s.stopLog != nil {
		s.stopLog()
	}
	s.stopRequests()
	return err
}

// otherNames are the other URLs by which this machine is reached at base.
func otherNames(base string) []string {
	u, err := url.Parse(base)
	if err != nil {
		return nil
	}
	var all []string
	for _, host := range []string{"localhost", "127.0.0.1", "::1"} {
		other := "https://" + net.JoinHostPort(host, cmp.Or(u.Port(), "443")) + u.Path
		if other != base {
			all = append(all, other)
		}
	}
	return all
}

// mount puts every realm's endpoints and guarded APIs at their paths.
func (s *site) mount(ctx context.Context) error {
	reference := referenceAPIs(s.store.DB(), s.log)
	owners := apis.Reference{Day: s.clock.Now().UTC().Truncate(24 * time.Hour)}
	for _, r := range s.realms {
		owners.Owners = append(owners.Owners, apis.Owner{Provider: r.Name, ClientID: r.client.id, Tenant: r.client.tenant})
	}
	prepared := map[string]bool{}
	for _, r := range s.realms {
		for i := range r.APIs {
			described := &r.APIs[i]
			api := standIn(reference, described)
			if api.Name() != described.Name && !(r.Source().Builtin && described.Name == directory) {
				s.log.Info(
					"no reference API has this name and kind: another answers", "realm", r.Name, "api",
					described.Name, "kind", described.Kind, "answers", api.Name(),
				)
			}
			if !prepared[api.Name()] {
				if err := apis.Prepare(ctx, s.store.DB(), api, owners); err != nil {
					return fmt.Errorf("reference data: %w", err)
				}
				prepared[api.Name()] = true
			}
			if err := s.protect(r, described, api); err != nil {
				return err
			}
		}
		own := s.server.Handler(r.Name)
		s.mounts.add(mount{path: "/" + r.Name, handler: below("/"+r.Name, own)})
		// RFC 8414 section 3.1 puts the well-known path before the issuer's.
		s.mounts.add(mount{path: oauthMetadata + "/" + r.Name, exact: true, handler: at(oauthMetadata, own)})
	}
	return nil
}

// protect puts one API behind its guard.
func (s *site) protect(r *realm, described *provider.API, api apis.API) error {
	issuer := s.server.Issuer(r.Name)
	answers := api.Handler()
	var guards [2]http.Handler
	for i, p := range []*provider.Provider{r.Provider, credentialsOnly(r.Provider)} {
		g, err := guard.New(guard.Config{
			Provider: p, API: described.Name, Issuer: r.base, Realm: r.Name,
			Keys: issuer, Liveness: issuer, Directory: issuer, Logger: s.log, OnEvent: s.decided(), Clock: s.clock, SameClock: true,
		})
		if err != nil {
			return fmt.Errorf("realm %s: %w", r.Name, err)
		}
		guards[i] = g.Handler(answers)
	}
	// Where the API has no resource, it answers so to any authenticated caller,
	// before any other check of the call.
	guarded := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if apis.Serves(answers, req) {
			guards[0].ServeHTTP(w, req)
			return
		}
		guards[1].ServeHTTP(w, req)
	})
	place := func(path string, h http.Handler) {
		s.mounts.add(mount{path: strings.TrimSuffix("/"+r.Name+path, "/"), handler: h})
	}
	place(described.Path, below(strings.TrimSuffix("/"+r.Name+described.Path, "/"), guarded))
	if explorer := api.Explorer(); explorer != nil && described.Explorer != "" {
		place(
			described.Explorer,
			below(strings.TrimSuffix("/"+r.Name+described.Explorer, "/"), http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				if req.Method == http.MethodGet || req.Method == http.MethodHead {
					explorer.ServeHTTP(w, req)
					return
				}
				guarded.ServeHTTP(w, req)
			})),
		)
	}
	if described.BasePath != described.Path {
		// Clients may take the parent of the API's path for the API: there, too,
		// the API answers them, except where the realm has its own endpoints.
		own, unknown := s.server.Handler(r.Name), at(nowhere, guarded)
		place(described.BasePath, below("/"+r.Name, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if s.server.Serves(r.Name, req.URL.Path) {
				own.ServeHTTP(w, req)
				return
			}
			unknown.ServeHTTP(w, req)
		})))
	}
	return nil
}

// credentialsOnly is a description whose APIs require credentials and no other
// header.
func credentialsOnly(p *provider.Provider) *provider.Provider {
	with := *p
	with.APIs = slices.Clone(p.APIs)
	for i := range with.APIs {
		with.APIs[i].Headers = slices.DeleteFunc(slices.Clone(with.APIs[i].Headers), func(h provider.Header) bool {
			return h.From != provider.HeaderFromToken && h.From != provider.HeaderFromAPIKey
		})
	}
	return &with
}

// nowhere is a path at which no API has a resource.
const nowhere = "/.."

// at serves every request as if it were for path.
func at(path string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r2 := *r
		u := *r.URL
		u.Path, u.RawPath = path, ""
		r2.URL = &u
		h.ServeHTTP(w, &r2)
	})
}

// needsTenant reports whether clients of the provider are granted tenants.
func needsTenant(p *provider.Provider) bool {
	return p.Needs(provider.HeaderFromTenant) || p.AccessToken.Claim(provider.FromTenants) != ""
}
