package main

import (
	"context"
	"fmt"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/clock"
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
	log := s.meter.events(s.requests.onEvent)
	g, err := guard.New(guard.Config{
		Provider: r.Provider, API: serveconfig.AdminAPI, Issuer: r.Issuer, Realm: r.Name,
		Keys: issuer, Liveness: issuer, Directory: issuer, Logger: s.log,
		// What the guard lets through is recorded by what is behind it.
		OnEvent: func(ctx context.Context, e counterfoil.Event) {
			if e.Success {
				return
			}
			e.Type = counterfoil.EventAdminRefused
			if err := s.server.RecordRepeated(ctx, e, false); err != nil {
				s.trouble.Error(ctx, clock.System, s.log, "admin request not recorded", "reason", e.Reason, "error", err)
			}
			log(ctx, e)
		},
		EncodedSlash: true, // a client ID may have any character
		// A certificate-bound token must be usable here, too.
		Proxies: next.Server.Proxies,
	})
	if err != nil {
		return fmt.Errorf("the Admin API: %w", err)
	}
	realms := next.Server.Realms
	service := admin.New(admin.Config{
		Store: s.store, Keys: s.server.Keys(), Keeper: s.server.Limits(), Outbound: &next.Server.Outbound,
		Realms: func() []server.Realm { return realms },
	})
	handler, err := admin.NewHandler(service, admin.HandlerConfig{
		Realm: r.Name, Proxies: next.Server.Proxies, OnEvent: log, Logger: s.log,
		Repeated: func(ctx context.Context, e counterfoil.Event) error { return s.server.RecordRepeated(ctx, e, true) },
	})
	if err != nil {
		return fmt.Errorf("the Admin API: %w", err)
	}
	path := r.Path + api.Path
	guarded := below(path, g.Handler(handler))
	for _, host := range r.Hosts {
		t.add(host, mount{path: path, handler: guarded})
	}
	return nil
}
