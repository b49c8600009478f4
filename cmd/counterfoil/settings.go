package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/consumer"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/goccy/go-yaml"
)

// developmentClient is the name of the clients that 'up' makes.
const developmentClient = "development"

// settings are those of a realm's development client.
type settings struct {
	id     string
	secret counterfoil.Secret
	apiKey counterfoil.Secret
	scope  string
	// tenants are those that the client is granted; tenant is the one in its
	// environment file.
	tenants []string
	tenant  string
}

// The variables of every environment file. The last four are the names under
// which curl, Python, Node and Go read the authority's certificate.
const (
	varTokenURL     = "AUTH_URL"
	varAPIURL       = "API_BASE_URL"
	varClientID     = "API_CLIENT_ID"
	varClientSecret = "API_CLIENT_SECRET"
	varScope        = "API_SCOPE"
	varAPIKey       = "API_KEY"
	varTenant       = "API_TENANT"
)

var varsCA = []string{"CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"}

// settle finds or makes the realm's development client, and writes its
// environment file. That file is the only place that stores the secrets: if it
// is lost, or its secrets are no longer accepted, new ones are made.
func (s *site) settle(ctx context.Context, clients *clients.Service, r *realm) error {
	file := s.dir.env(r.Name)
	env, err := files.ReadEnv(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return withHint(err, "fix or delete the file: a new one is made, with new secrets")
	}
	c := &r.client
	c.id, c.secret, c.apiKey = env.Get(
		varClientID,
	), counterfoil.Secret(
		env.Get(varClientSecret),
	), counterfoil.Secret(
		env.Get(variable(r.Provider, provider.SettingAPIKey, varAPIKey)),
	)
	if err := s.authenticate(ctx, clients, r); err != nil {
		return err
	}
	if len(r.APIs) > 0 {
		c.scope = cmp.Or(r.APIs[0].Scopes.String(), r.TokenEndpoint.Scope.MustInclude.String())
	}
	if needsTenant(r.Provider) {
		c.tenant = developmentTenant
		if len(c.tenants) > 0 && !slices.Contains(c.tenants, c.tenant) {
			c.tenant = c.tenants[0]
		}
	}
	ca, err := filepath.Abs(s.ca)
	if err != nil {
		return err
	}
	return files.Write(file, r.env(ca).Bytes(), 0o600)
}

// authenticate gives r.client credentials that are accepted.
func (s *site) authenticate(ctx context.Context, service *clients.Service, r *realm) error {
	const actor = "counterfoil up"
	c := &r.client
	found, err := service.Get(ctx, r.Name, c.id)
	if c.id == "" || errors.Is(err, store.ErrNotFound) {
		if found, err = findDevelopmentClient(ctx, service, r.Name); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	c.id, c.tenants = found.ID, found.Tenants
	if c.id == "" {
		development := clients.NewClient{
			Realm:      r.Name,
			Settings:   store.Settings{Name: developmentClient, Scopes: r.ScopeNames()},
			WithAPIKey: r.Needs(provider.HeaderFromAPIKey),
		}
		if needsTenant(r.Provider) {
			development.Tenants = []string{developmentTenant, secondTenant}
		}
		_, creds, err := service.Create(ctx, actor, development)
		c.id, c.secret, c.apiKey, c.tenants = creds.ClientID, creds.ClientSecret, creds.APIKey, development.Tenants
		return err
	}
	if found.Disabled {
		s.log.Warn("the development client is disabled: 'counterfoil client enable' accepts it again", "realm", r.Name, "client_id", c.id)
		return nil
	}
	if good, err := service.VerifySecret(ctx, r.Name, c.id, c.secret); err != nil {
		return err
	} else if !good {
		creds, err := service.RotateSecret(ctx, actor, r.Name, c.id, clients.Rotation{})
		if err != nil {
			return err
		}
		c.secret = creds.ClientSecret
		s.log.Info("made a new secret: the one in the environment file was lost or is no longer accepted",
			"realm", r.Name, "client_id", c.id)
	}
	if !r.Needs(provider.HeaderFromAPIKey) {
		return nil
	}
	if good, err := s.server.Issuer(r.Name).APIKey(ctx, c.id, c.apiKey); err != nil || good {
		return err
	}
	creds, err := service.RotateAPIKey(ctx, actor, r.Name, c.id, clients.Rotation{})
	c.apiKey = creds.APIKey
	return err
}

// findDevelopmentClient returns the client that an earlier start made and whose
// environment file is lost, or the zero Client.
func findDevelopmentClient(ctx context.Context, clients *clients.Service, realm string) (store.Client, error) {
	for after := ""; ; {
		page, err := clients.List(ctx, store.ClientQuery{Realm: realm, After: after, Limit: 100})
		if err != nil || len(page) == 0 {
			return store.Client{}, err
		}
		i := slices.IndexFunc(page, func(c store.Client) bool { return c.Name == developmentClient && !c.Disabled })
		if i >= 0 {
			return page[i], nil
		}
		after = page[len(page)-1].ID
	}
}

// variable returns the provider's name for a setting, or otherwise.
func variable(p *provider.Provider, setting provider.Setting, otherwise string) string {
	for _, v := range p.Variables {
		if v.From == setting {
			return v.Name
		}
	}
	return otherwise
}

func (r *realm) tokenURL() string { return r.base + r.TokenEndpoint.Path }

// apiURL is the API's base URL for clients.
func (r *realm) apiURL(api *provider.API) string {
	return strings.TrimSuffix(r.base+api.BasePath, "/")
}

// env is the realm's environment file.
func (r *realm) env(ca string) files.Env {
	values := map[provider.Setting]string{
		provider.SettingBaseURL: r.base, provider.SettingTokenURL: r.tokenURL(),
		provider.SettingClientID: r.client.id, provider.SettingClientSecret: r.client.secret.Reveal(),
		provider.SettingScope: r.client.scope, provider.SettingAPIKey: r.client.apiKey.Reveal(), provider.SettingTenant: r.client.tenant,
	}
	if len(r.APIs) > 0 {
		values[provider.SettingAPIURL] = r.apiURL(&r.APIs[0])
	}
	var env files.Env
	set := func(key, value string) { env = append(env, files.Setting{Key: key, Value: value}) }
	set(varTokenURL, values[provider.SettingTokenURL])
	set(varAPIURL, values[provider.SettingAPIURL])
	set(varClientID, values[provider.SettingClientID])
	set(varClientSecret, values[provider.SettingClientSecret])
	set(varScope, values[provider.SettingScope])
	named := map[provider.Setting]bool{}
	for _, v := range r.Variables {
		named[v.From] = true
		set(v.Name, cmp.Or(v.Value, values[v.From]))
	}
	if r.client.apiKey != "" && !named[provider.SettingAPIKey] {
		set(varAPIKey, r.client.apiKey.Reveal())
	}
	if r.client.tenant != "" && !named[provider.SettingTenant] {
		set(varTenant, r.client.tenant)
	}
	for _, key := range varsCA {
		set(key, ca)
	}
	return env
}

// writeConsumer writes the client configuration with a connection for each API.
func (s *site) writeConsumer() error {
	ca, err := filepath.Rel(string(s.dir), s.ca)
	if err != nil {
		return err
	}
	config := &consumer.Config{TokenCache: "tokens", Connections: map[string]consumer.Connection{}}
	for _, r := range s.realms {
		for i := range r.APIs {
			api := &r.APIs[i]
			name := r.Name
			if i > 0 {
				name += "-" + api.Name
			}
			described := api.Name
			if r.Source().Builtin && described == directory {
				described = r.APIs[0].Name // the API that it is a copy of; the catalog has no other
			}
			c := consumer.Connection{
				Provider: r.Name, API: described, TokenURL: r.tokenURL(), APIURL: r.apiURL(api), CAFile: ca,
				ClientID: r.client.id, ClientSecret: "file:env/" + r.Name + ".env#" + varClientSecret,
				Tenant: r.client.tenant,
			}
			if !r.Source().Builtin {
				if c.Provider, err = filepath.Rel(string(s.dir), r.Source().File); err != nil {
					return err
				}
			}
			if r.TokenEndpoint.Scope.Parameter == provider.PresenceRequired {
				c.Scope = r.client.scope
			}
			if r.client.apiKey != "" {
				c.APIKey = "file:env/" + r.Name + ".env#" + variable(r.Provider, provider.SettingAPIKey, varAPIKey)
			}
			config.Connections[name] = c
		}
	}
	body, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	head := fmt.Sprintf(
		"# Written by 'counterfoil up' at each start. Try: counterfoil --config %s call a55 GET /wallets\n",
		s.dir.consumer(),
	)
	return files.Write(s.dir.consumer(), append([]byte(head), body...), 0o600)
}
