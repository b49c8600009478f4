package main

import (
	"fmt"

	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
)

// administer mounts the Admin API, behind its guard, in the realm whose tokens
// it accepts.
func (s *service) administer(t *routes, next *plan) error {
	r, api := next.adminRealm()
	if r == nil {
		return nil
	}
	issuer := s.server.Issuer(r.Name)
	g, err := guard.New(guard.Config{
		Provider: r.Provider, API: adminAPI, Issuer: r.Issuer,
		Keys: issuer, Liveness: issuer, Directory: issuer, Logger: s.log, OnEvent: logEvent(s.log),
		// A certificate-bound token must be usable here, too.
		TrustedProxies: next.proxies, CertificateHeader: next.CertificateHeader.Name, CertificateForm: string(next.CertificateHeader.Form),
	})
	if err != nil {
		return fmt.Errorf("the Admin API: %w", err)
	}
	realms := next.serverRealms()
	service := admin.New(admin.Config{Store: s.store, Keys: s.server.Keys(), Realms: func() []server.Realm { return realms }})
	path := r.path + api.Path
	guarded := below(path, g.Handler(admin.NewHandler(service, r.Name, s.log)))
	for _, host := range r.hosts {
		t.add(host, mount{path: path, handler: guarded})
	}
	return nil
}

// adminRealm returns the realm and the API of the Admin API, or nil if there is
// none.
func (c *plan) adminRealm() (*plannedRealm, *provider.API) {
	for i := range c.realms {
		r := &c.realms[i]
		if api, ok := r.Provider.API(adminAPI); ok && r.Name == c.Admin.Realm {
			return r, api
		}
	}
	return nil, nil
}
