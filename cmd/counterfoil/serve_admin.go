package main

import (
	"fmt"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
)

// administer mounts the Admin API, behind its guard, in the realm whose tokens
// it accepts.
func (s *service) administer(t *routes, next *serveconfig.Config) error {
	r, api := next.Admin()
	if r == nil {
		return nil
	}
	issuer := s.server.Issuer(r.Name)
	g, err := guard.New(guard.Config{
		Provider: r.Provider, API: serveconfig.AdminAPI, Issuer: r.Issuer,
		Keys: issuer, Liveness: issuer, Directory: issuer, Logger: s.log, OnEvent: logEvent(s.log),
		// A certificate-bound token must be usable here, too.
		Proxies: next.Server.Proxies,
	})
	if err != nil {
		return fmt.Errorf("the Admin API: %w", err)
	}
	realms := next.Server.Realms
	service := admin.New(admin.Config{Store: s.store, Keys: s.server.Keys(), Realms: func() []server.Realm { return realms }})
	path := r.Path + api.Path
	guarded := below(path, g.Handler(admin.NewHandler(service, r.Name, s.log)))
	for _, host := range r.Hosts {
		t.add(host, mount{path: path, handler: guarded})
	}
	return nil
}
