package main

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential/resolver"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/strict"
	"github.com/counterfoil/counterfoil/provider"
	"golang.org/x/term"
)

// maxConfig bounds a client configuration, in bytes.
const maxConfig = 1 << 20

// consumerConfig is a client configuration: the connections of one program, or
// of one person.
type consumerConfig struct {
	// TokenCache is the directory of the tokens that runs share, relative to
	// the configuration; default, a directory of the user's cache.
	TokenCache string `yaml:"token_cache,omitempty"`
	// AgeIdentity refers to the identity, or the passphrase, of age: files.
	AgeIdentity string `yaml:"age_identity,omitempty"`
	// Connections are the ways to call an API, by name.
	Connections map[string]connection `yaml:"connections" check:"required"`

	doc  *strict.Document
	file string
}

// place is where a connection stands.
func (c *consumerConfig) place(connection string) *place {
	return &place{doc: c.doc, file: c.file, connection: connection, keyed: c.Connections[connection].PrivateKey != ""}
}

// connection is one way to call an API.
type connection struct {
	// Provider is a name of the catalog or a file, relative to the
	// configuration.
	Provider string `yaml:"provider" check:"required"`
	// API is the API's name in the description; default, the only one.
	API string `yaml:"api,omitempty"`
	// TokenURL and APIURL replace those of the description.
	TokenURL string `yaml:"token_url,omitempty"`
	APIURL   string `yaml:"api_url,omitempty"`
	// CAFile holds certificates to trust beside the system's, in PEM.
	CAFile string `yaml:"ca_file,omitempty"`
	// Pins are the public keys that the provider's servers may have: see
	// client.Config.
	Pins     []string `yaml:"pins,omitempty"`
	ClientID string   `yaml:"client_id" check:"required"`
	// ClientSecret and APIKey are references: env:NAME, file:PATH and so on.
	ClientSecret string `yaml:"client_secret,omitempty"`
	APIKey       string `yaml:"api_key,omitempty"`
	// PrivateKey refers to the key of private_key_jwt, in place of ClientSecret: a
	// file that 'key new' writes, or PEM.
	PrivateKey string `yaml:"private_key,omitempty"`
	Scope      string `yaml:"scope,omitempty"`
	Tenant     string `yaml:"tenant,omitempty"`
}

// readConsumer reads the client configuration and returns the directory that
// its relative paths start from.
func (p *program) readConsumer() (*consumerConfig, string, error) {
	path, err := p.configPath()
	if err != nil {
		return nil, "", err
	}
	f, err := files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", withHint(fmt.Errorf("no client configuration at %s", path), "name one with --config; 'counterfoil up' writes consumer.yaml to its directory")
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if p.consumer, err = f.Stat(); err != nil {
		return nil, "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > maxConfig {
		return nil, "", fmt.Errorf("%s is larger than %d bytes", path, maxConfig)
	}
	config := new(consumerConfig)
	doc, err := strict.Parse[consumerConfig](path, text)
	if err == nil {
		err = doc.Into(config)
	}
	if err != nil {
		return nil, "", withHint(err, "mend the configuration; the lines above name each mistake")
	}
	config.doc, config.file = doc, path
	dir, err := filepath.Abs(filepath.Dir(path))
	return config, dir, err
}

// link is an open connection.
type link struct {
	*client.Source
	name     string
	config   client.Config
	api      *provider.API
	tokenURL string
	apiURL   string
	// doubts are about the modes of the files that it is made of.
	doubts []string
	watching
}

// configPath is the client configuration that is named, or the user's own. It is
// never looked for in the working directory: a configuration says which secrets
// go to which address, and a directory may be a stranger's.
func (p *program) configPath() (string, error) {
	if path := cmp.Or(p.config, p.getenv("COUNTERFOIL_CONFIG")); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", withHint(errors.New("no client configuration is named"), "name one with --config; 'counterfoil up' writes consumer.yaml to its directory")
	}
	return filepath.Join(dir, "counterfoil", "consumer.yaml"), nil
}

// open opens the connection of that name.
func (p *program) open(name string) (*link, error) {
	config, dir, err := p.readConsumer()
	if err != nil {
		return nil, err
	}
	c, ok := config.Connections[name]
	if !ok {
		names := slices.Sorted(maps.Keys(config.Connections))
		return nil, chooseFrom(names, fmt.Errorf("no connection %q%s", name, didYouMean(name, names)))
	}
	p.place = config.place(name)
	setup, err := p.setup(c, dir, p.references(dir, config.AgeIdentity))
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", name, err)
	}
	setup.FieldName, setup.Permanent = p.place.field, refusedHere
	if setup.Cache, err = p.tokenCache(config, dir); err != nil {
		return nil, err
	}
	l := &link{name: name, tokenURL: cmp.Or(c.TokenURL, setup.Provider.TokenEndpoint.URL)}
	p.watch(l, setup, c)
	l.config = *setup
	if l.Source, err = client.New(*setup); err != nil {
		mistakes := strings.Split(err.Error(), "\n")
		for i, mistake := range mistakes {
			mistakes[i] = "connection " + name + ": " + strings.TrimPrefix(mistake, "client: ")
		}
		return nil, errors.New(strings.Join(mistakes, "\n"))
	}
	if l.api, ok = setup.Provider.API(c.API); !ok {
		return nil, fmt.Errorf("connection %s: %s leads to a description without an API", name, p.place.key("provider"))
	}
	l.apiURL = cmp.Or(c.APIURL, l.api.URL)
	path, err := p.configPath()
	if err != nil {
		return nil, err
	}
	uses := append(referred(dir, c.ClientSecret, c.PrivateKey, c.APIKey, config.AgeIdentity), fileUse{path: path})
	if c.CAFile != "" {
		uses = append(uses, fileUse{path: within(dir, c.CAFile)})
	}
	if strings.ContainsAny(c.Provider, `./\`) {
		uses = append(uses, fileUse{path: within(dir, c.Provider)})
	}
	l.doubts = doubts(uses...)
	return l, nil
}

// setup turns a connection into what the client package asks for.
func (p *program) setup(c connection, dir string, references func(string) (client.SecretFunc, error)) (*client.Config, error) {
	described := c.Provider
	if strings.ContainsAny(described, `./\`) {
		described = within(dir, described)
	}
	d, err := openProvider(described)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.place.key("provider"), err)
	}
	scopes, err := counterfoil.ParseScopes(c.Scope)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.place.key("scope"), err)
	}
	base := client.NewHTTP()
	if c.CAFile != "" {
		if base.TLSClientConfig.RootCAs, err = trust(within(dir, c.CAFile)); err != nil {
			return nil, fmt.Errorf("%s: %w", p.place.key("ca_file"), err)
		}
	}
	var secrets [3]client.SecretFunc
	for i, of := range []struct{ key, reference string }{{"client_secret", c.ClientSecret}, {"api_key", c.APIKey}, {"private_key", c.PrivateKey}} {
		if of.reference == "" {
			continue
		}
		if secrets[i], err = references(of.reference); err != nil {
			return nil, withHint(fmt.Errorf("%s: %w", p.place.key(of.key), err), "mend the reference")
		}
	}
	var key client.KeyFunc
	if secrets[2] != nil {
		key = client.PrivateKey(secrets[2])
	}
	return &client.Config{
		Provider: d, API: c.API, TokenURL: c.TokenURL, APIURL: c.APIURL,
		ClientID: c.ClientID, ClientSecret: secrets[0], APIKey: secrets[1], Key: key,
		Scopes: scopes, Tenant: c.Tenant, HTTP: base, Pins: c.Pins,
	}, nil
}

// references opens the references of a client configuration: prompts go to the
// terminal, and programs run where nobody else can have written them.
func (p *program) references(dir, ageIdentity string) func(string) (client.SecretFunc, error) {
	c := resolver.Config{
		Dir: dir, Loose: true, Getenv: p.getenv, Stdin: p.In, AgeIdentity: ageIdentity,
		Exec: func() error {
			if p.noExec {
				return errors.New("exec: is forbidden by --no-exec")
			}
			return resolver.MayExec(p.consumer)
		},
	}
	if in, ok := p.In.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		c.Prompt = func(_ context.Context, question string) (string, error) {
			return ask(in, p.Err, cmp.Or(question, "Secret"))
		}
	}
	return resolver.New(c)
}

// ask reads a line from a terminal that shows nothing of it, not even what is
// typed ahead: the echo is off before the question is asked.
func ask(in *os.File, out io.Writer, question string) (string, error) {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return "", err
	}
	defer term.Restore(int(in.Fd()), state)
	answer, err := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "").ReadPassword(question + ": ")
	if errors.Is(err, io.EOF) { // Ctrl-C and Ctrl-D arrive as that
		return "", &failure{code: exitInterrupted, err: errors.New("interrupted")}
	}
	return answer, err
}

// tokenCache opens the directory of the tokens that runs share.
func (p *program) tokenCache(config *consumerConfig, dir string) (client.Cache, error) {
	path, from := p.getenv("COUNTERFOIL_CACHE"), "token cache"
	if path == "" && config.TokenCache != "" {
		path, from = within(dir, config.TokenCache), fmt.Sprintf("token_cache (%s:%d)", config.file, config.doc.Line("token_cache"))
		if rootsGuest(path) {
			path, from = "", "token cache" // root's tokens there would lock its owner out
		}
	}
	if path == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, withHint(fmt.Errorf("no place for the token cache: %w", err), "set COUNTERFOIL_CACHE to a directory of your own")
		}
		path = filepath.Join(user, "counterfoil", "tokens")
	}
	cache, err := client.Dir(path)
	if err != nil {
		return nil, withHint(fmt.Errorf("%s: %s", from, strings.TrimPrefix(err.Error(), "client: ")), "set COUNTERFOIL_CACHE to a directory that only you can read")
	}
	return cache, nil
}

// within returns path, relative to dir unless it is absolute.
func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// trust returns the system's certificates and those of a file.
func trust(file string) (*x509.CertPool, error) {
	pem, err := files.Read(file, maxKeySet)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return pool, nil
}
