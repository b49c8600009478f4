package consumer

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential/resolver"
	"github.com/counterfoil/counterfoil/client/dircache"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/provider"
)

// keyConnections is the Key of an Error about a connection that does not exist.
const keyConnections = "connections"

// setup converts a connection for package client.
func (c *Config) setup(name string) (*client.Config, error) {
	from, ok := c.Connections[name]
	if !ok {
		return nil, &Error{Connection: name, Key: keyConnections, Place: c.Place("", keyConnections),
			Err: fmt.Errorf("%s has no connection %q: there are %s", c.file, name, cmp.Or(strings.Join(c.Names(), ", "), "none"))}
	}
	setup := &client.Config{
		API: from.API, TokenURL: from.TokenURL, APIURL: from.APIURL, ClientID: from.ClientID, Tenant: from.Tenant, Pins: from.Pins,
		FieldName: func(field string) string { return c.field(name, field) }, Clock: c.options.Clock,
	}
	transport := client.NewHTTP()
	setup.HTTP = transport
	var key client.SecretFunc
	for _, of := range []struct {
		key  string
		open func() error
	}{
		{"provider", func() (err error) { setup.Provider, err = c.description(from.Provider); return }},
		{"scope", func() (err error) { setup.Scopes, err = counterfoil.ParseScopes(from.Scope); return }},
		{"ca_file", func() (err error) {
			if from.CAFile != "" {
				transport.TLSClientConfig.RootCAs, err = trust.File(c.Path(from.CAFile))
			}
			return
		}},
		{"client_secret", func() (err error) { setup.ClientSecret, err = c.secret(from.ClientSecret); return }},
		{"api_key", func() (err error) { setup.APIKey, err = c.secret(from.APIKey); return }},
		{"private_key", func() (err error) { key, err = c.secret(from.PrivateKey); return }},
	} {
		if err := of.open(); err != nil {
			return nil, &Error{Connection: name, Key: of.key, Place: c.Place(name, of.key), Err: err}
		}
	}
	if key != nil {
		setup.Key = client.PrivateKey(key)
	}
	return setup, nil
}

// description opens a name of the catalog or a file.
func (c *Config) description(named string) (*provider.Provider, error) {
	if IsFile(named) {
		named = c.Path(named)
	}
	return provider.Open(named)
}

// IsFile reports whether the provider that a connection names is a file.
func IsFile(provider string) bool { return strings.ContainsAny(provider, `./\`) }

// secret opens a reference; an empty one means no secret.
func (c *Config) secret(reference string) (client.SecretFunc, error) {
	if reference == "" {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.references == nil {
		c.references = resolver.New(resolver.Config{
			Dir: c.dir, Loose: true, Getenv: c.options.Getenv, Stdin: c.options.Stdin, Prompt: c.options.Prompt,
			AgeIdentity: c.AgeIdentity, Exec: c.mayExec, Clock: c.options.Clock,
		})
	}
	return c.references(reference)
}

func (c *Config) mayExec() error {
	if c.options.NoExec != nil {
		return c.options.NoExec
	}
	return resolver.MayExec(c.info)
}

// Cache opens the cache of tokens that all Sources of the Config share.
func (c *Config) Cache() (client.Cache, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cache != nil {
		return c.cache, nil
	}
	path, from := c.options.Getenv("COUNTERFOIL_CACHE"), "the token cache"
	if path == "" && c.TokenCache != "" {
		path, from = c.Path(c.TokenCache), c.Place("", "token_cache")
		if rootsGuest(path) {
			path, from = "", "the token cache" // root's tokens there would be unreadable for its owner
		}
	}
	failed := func(err error) error { return &Error{Key: "token_cache", Place: from, Err: err} }
	if path == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, failed(err)
		}
		path = filepath.Join(user, "counterfoil", "tokens")
	}
	cache, err := dircache.Open(path)
	if err != nil {
		return nil, failed(err)
	}
	c.cache = cache
	return cache, nil
}

// unprefixed is an error without the name of a package, for the author of a
// file.
type unprefixed struct{ error }

func (e unprefixed) Error() string { return strings.TrimPrefix(e.error.Error(), "client: ") }
func (e unprefixed) Unwrap() error { return e.error }

// rootsGuest reports whether root works in the directory of another user, or in
// one that would be created there.
func rootsGuest(path string) bool {
	for ; os.Geteuid() == 0; path = filepath.Dir(path) {
		if info, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return err == nil && files.Anothers(info)
		}
	}
	return false
}

// keys are the keys of a connection by the fields of client.Config that they
// set.
var keys = map[string]string{
	"Provider": "provider", "API": "api", "TokenURL": "token_url", "APIURL": "api_url", "ClientID": "client_id",
	"ClientSecret": "client_secret", "Key": "private_key", "APIKey": "api_key", "Scopes": "scope", "Tenant": "tenant",
	"HTTP": "ca_file", "Pins": "pins",
}

// notHere says what to set in place of a field that has no key.
var notHere = map[string]string{
	"FetchWithoutCache": "COUNTERFOIL_CACHE to a directory on another disk",
	"AssertionAudience": "the audience that the provider expects",
	"Assertion":         "an assertion, which takes a program with package client",
	"Certificate":       "a certificate, which takes a program with package client",
}

// field is client.Config.FieldName.
func (c *Config) field(connection, name string) string {
	if key, ok := keys[name]; ok {
		return c.Place(connection, key)
	}
	if words, ok := notHere[name]; ok {
		return words
	}
	return strings.ToLower(name)
}
