// Package consumer opens the connections of a client configuration, a
// consumer.yaml as 'counterfoil up' writes it: for each a [client.Source] that is
// ready to call. Use it in a program whose operator says in a file which API it
// calls, as which client and where the secret is; the command line reads the
// same file in the same way, and shares its tokens. A program that decides this
// itself fills in a [client.Config].
//
//	token_cache: tokens                    # optional
//	age_identity: env:AGE_IDENTITY         # optional, for age: references
//	connections:
//	  wallets:
//	    provider: a55                      # of the catalog, or ./description.yaml
//	    token_url: https://id.example/a55/oauth2/token
//	    api_url: https://api.example/a55
//	    client_id: orders
//	    client_secret: file:secrets/orders
//
// A mistake is reported with the file, the line and the key. Secrets are given
// by reference only, as package resolver reads them. A reference runs a program
// (exec:) only if nobody but root and the user can have written the file. A file
// that anybody can write, or that a user other than root owns, is refused. A
// file that the group can write is accepted, as a umask of 002 makes files, and
// root accepts those of any user: [Config.Warnings] reports them.
package consumer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/strict"
)

// maxFile bounds a client configuration, in bytes.
const maxFile = 1 << 20

// Options says what a configuration may use beside its files. The zero value is
// for a service: it neither reads standard input nor prompts.
type Options struct {
	// Getenv reads the environment; default os.Getenv.
	Getenv func(string) string
	// Stdin is what stdin: references read; nil refuses them.
	Stdin io.Reader
	// Prompt asks a person, for prompt: references; nil refuses them.
	Prompt func(ctx context.Context, question string) (string, error)
	// NoExec, if set, says why no reference may run a program. Without it,
	// references of a file that only root and this user can write may.
	NoExec error
	// Clock is for tests; default the machine's.
	Clock counterfoil.Clock
}

// Config is a client configuration: the connections of one program, or of one
// person. Make one with [Load]. It is safe for concurrent use as long as its
// fields are not changed.
type Config struct {
	// TokenCache is the directory of the tokens that all programs with this
	// configuration share, relative to the file; default counterfoil/tokens in
	// the user's cache directory. The variable COUNTERFOIL_CACHE takes its place.
	TokenCache string `yaml:"token_cache,omitempty"`
	// AgeIdentity refers to the identity, or the passphrase, of age: files.
	AgeIdentity string `yaml:"age_identity,omitempty"`
	// Connections are the ways to call an API, by name.
	Connections map[string]Connection `yaml:"connections" check:"required"`

	options   Options
	file, dir string
	doc       *strict.Document
	info      fs.FileInfo

	mu         sync.Mutex
	references func(string) (client.SecretFunc, error)
	cache      client.Cache
}

// Connection is one way to call an API.
type Connection struct {
	// Provider is a name of the catalog, or a file with a description, relative to
	// the configuration: with a slash or a dot in it.
	Provider string `yaml:"provider" check:"required"`
	// API is the API's name in the description; default, the only one.
	API string `yaml:"api,omitempty"`
	// TokenURL and APIURL replace those of the description.
	TokenURL string `yaml:"token_url,omitempty"`
	APIURL   string `yaml:"api_url,omitempty"`
	// CAFile holds authorities to trust beside the system's, in PEM.
	CAFile string `yaml:"ca_file,omitempty"`
	// Pins are the public keys that the provider's servers may have: see
	// [client.Config].
	Pins     []string `yaml:"pins,omitempty"`
	ClientID string   `yaml:"client_id" check:"required"`
	// ClientSecret and APIKey are references: env:NAME, file:PATH and so on.
	ClientSecret string `yaml:"client_secret,omitempty"`
	APIKey       string `yaml:"api_key,omitempty"`
	// PrivateKey refers to the key of private_key_jwt, in place of ClientSecret: a
	// file that 'counterfoil key new' writes, or PEM.
	PrivateKey string `yaml:"private_key,omitempty"`
	// Scope is the scopes to request, separated by spaces.
	Scope  string `yaml:"scope,omitempty"`
	Tenant string `yaml:"tenant,omitempty"`
}

// Error is an error about a value of a configuration.
type Error struct {
	// Connection is the connection's name; empty for a key above all of them.
	Connection string
	// Key is the key in the file, such as client_secret, or connections if there
	// is no such connection; empty if the value comes from a function that was
	// passed to Source.
	Key string
	// Place is Key with file and line.
	Place string
	// Err is the cause. An error of [client.New] is a [*client.FieldError],
	// whose message already has the place.
	Err error
}

// Error returns the message on one line for each mistake.
func (e *Error) Error() string {
	if e.Key == keyConnections {
		return e.Err.Error()
	}
	text := fmt.Sprintf("%s: %v", e.Place, e.Err)
	if field, ok := e.Err.(*client.FieldError); ok {
		text = field.Error()
	}
	if e.Connection == "" {
		return text
	}
	return "connection " + e.Connection + ": " + text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Load reads a client configuration of at most 1 MiB. An empty path is
// $COUNTERFOIL_CONFIG, else counterfoil/consumer.yaml in the user's
// configuration directory; the working directory is never searched, because it
// may be another user's. Its error wraps [fs.ErrNotExist] if there is no such
// file; mistakes in it are [provider.Problems], one for each, with its line.
// Secrets are not read before they are needed, and values are checked by Source.
func Load(path string, o Options) (*Config, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if path == "" {
		path = o.Getenv("COUNTERFOIL_CONFIG")
	}
	if path == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("no client configuration is named: %w", fs.ErrNotExist)
		}
		path = filepath.Join(dir, "counterfoil", "consumer.yaml")
	}
	c := &Config{options: o, file: path}
	text, err := c.read()
	if err != nil {
		return nil, err
	}
	if c.doc, err = strict.Parse[Config](path, text); err != nil {
		return nil, err
	}
	if err := c.doc.Into(c); err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(path)
	c.dir = filepath.Dir(abs)
	return c, err
}

func (c *Config) read() ([]byte, error) {
	f, err := files.Open(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no client configuration at %s%w", c.file, silent{fs.ErrNotExist})
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if c.info, err = f.Stat(); err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", c.file, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", c.file, maxFile)
	}
	return text, nil
}

// silent is an error that errors.Is finds and that prints nothing.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

// Names returns the names of the connections, sorted.
func (c *Config) Names() []string { return slices.Sorted(maps.Keys(c.Connections)) }

// File returns the path of the file that was read.
func (c *Config) File() string { return c.file }

// Path returns a path that the configuration names, such as a CAFile: relative
// ones start from the directory of the file.
func (c *Config) Path(named string) string {
	if filepath.IsAbs(named) {
		return named
	}
	return filepath.Join(c.dir, named)
}

// Place names a key of a connection with its file and line, as messages do:
// "client_secret (consumer.yaml:12)". A missing key has the line of the
// connection, and an empty one is the connection itself.
func (c *Config) Place(connection, key string) string {
	way := []any{"connections", connection, key}
	switch {
	case connection == "":
		way = []any{key}
	case key == "":
		way, key = way[:2], connection
	}
	return fmt.Sprintf("%s (%s:%d)", key, c.file, c.doc.Line(way...))
}

// Warnings are about modes and owners of the files of a connection that an
// operator may not have intended: files that are accepted, but that others may
// write, or that others may read although they hold secrets. Log them when the
// program starts.
func (c *Config) Warnings(connection string) []string {
	from, ok := c.Connections[connection]
	if !ok {
		return nil
	}
	uses := append(files.Referred(c.dir, from.ClientSecret, from.PrivateKey, from.APIKey, c.AgeIdentity), files.Use{Path: c.file})
	if from.CAFile != "" {
		uses = append(uses, files.Use{Path: c.Path(from.CAFile)})
	}
	if IsFile(from.Provider) {
		uses = append(uses, files.Use{Path: c.Path(from.Provider)})
	}
	return files.DoubtsOf(uses...)
}

// Source opens a connection: it reads the provider's description and the CA
// file, and makes the token cache. Errors of values are an [*Error], or an
// errors.Join of several, one for each that [client.New] finds. Functions in
// change modify the Config before the Source is made, to set what the file
// cannot express, such as OnEvent. All Sources of a Config share one cache,
// unless one of these functions sets another, so that connections of one client
// share their token.
func (c *Config) Source(connection string, change ...func(*client.Config)) (*client.Source, error) {
	setup, err := c.setup(connection)
	if err != nil {
		return nil, err
	}
	for _, f := range change {
		f(setup)
	}
	if setup.Cache == nil {
		if setup.Cache, err = c.Cache(); err != nil {
			return nil, err
		}
	}
	source, err := client.New(*setup)
	if err != nil {
		return nil, c.mistakes(connection, err)
	}
	return source, nil
}

// mistakes makes an Error of each that client.New found.
func (c *Config) mistakes(connection string, err error) error {
	all := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		all = slices.Clone(joined.Unwrap())
	}
	for i, mistake := range all {
		field, ok := errors.AsType[*client.FieldError](mistake)
		if !ok {
			all[i] = fmt.Errorf("connection %s: %w", connection, unprefixed{mistake})
			continue
		}
		all[i] = &Error{Connection: connection, Key: keys[field.Field], Place: c.field(connection, field.Field), Err: field}
	}
	return errors.Join(all...)
}
