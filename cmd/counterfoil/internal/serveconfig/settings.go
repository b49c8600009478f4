package serveconfig

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/internal/strict"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/signing"
)

// settings is the configuration file of 'serve'. Paths in it are relative to
// the file, secrets are references. docs/serve.md is its manual.
type settings struct {
	// Listen is the address to listen on: HOST:PORT, or :PORT for all addresses.
	Listen string      `yaml:"listen" check:"required"`
	TLS    tlsSettings `yaml:"tls" check:"required"`
	// Database is the URL of a PostgreSQL database, or a SQLite file, made if it is missing. Several servers and
	// the command line may have it open at once.
	Database string `yaml:"database" check:"required"`
	// DatabasePassword refers to the password of a PostgreSQL database.
	DatabasePassword string `yaml:"database_password,omitempty"`
	// MasterKey refers to the key that private keys are sealed under: 32 random
	// bytes in base64. PreviousMasterKeys are those that it replaces.
	MasterKey          string   `yaml:"master_key" check:"required"`
	PreviousMasterKeys []string `yaml:"previous_master_keys,omitempty"`
	// AgeIdentity refers to the identity, or the passphrase, of age: files.
	AgeIdentity string `yaml:"age_identity,omitempty"`
	// Signer says what signs with RSA: "auto" is the system's OpenSSL if it can
	// be used, "go" is crypto/rsa.
	Signer signerChoice `yaml:"signer,omitempty"`
	// TrustedProxies are the networks (CIDR) of proxies that are trusted to set
	// a caller's address, in AddressHeader, and certificate, in
	// CertificateHeader.
	TrustedProxies    []string          `yaml:"trusted_proxies,omitempty"`
	AddressHeader     addressHeader     `yaml:"address_header,omitempty"`
	CertificateHeader certificateHeader `yaml:"certificate_header,omitempty"`
	// Outbound bounds what the server fetches.
	Outbound outboundSettings `yaml:"outbound,omitempty"`
	Log      logSettings      `yaml:"log,omitempty"`
	// Metrics is where metrics and health are shown; left out, nowhere.
	Metrics metricsSettings `yaml:"metrics,omitempty"`
	Limits  limitsSettings  `yaml:"limits,omitempty"`
	Realms  []realmSettings `yaml:"realms" check:"required"`
	// Audit is how the audit record is proven and kept.
	Audit auditSettings `yaml:"audit,omitempty"`
	// Webhooks and Mail are where alerts go.
	Webhooks []webhookSettings `yaml:"webhooks,omitempty"`
	Mail     mailSettings      `yaml:"mail,omitempty"`
	// Alerts say what is an alert.
	Alerts alertSettings `yaml:"alerts,omitempty"`
	// Admin enables the Admin API; left out, it is disabled.
	Admin adminSettings `yaml:"admin,omitempty"`
}

// tlsSettings is how the server authenticates itself.
type tlsSettings struct {
	// Certificate is the chain, leaf first, and Key its private key, in PEM.
	Certificate string `yaml:"certificate" check:"required"`
	Key         string `yaml:"key" check:"required"`
	// ClientCertificates requests a certificate from callers, which they need
	// not have.
	ClientCertificates bool `yaml:"client_certificates,omitempty"`
}

type certificateHeader struct {
	Name string          `yaml:"name" check:"required"`
	Form certificateForm `yaml:"form,omitempty"`
}

type outboundSettings struct {
	// Hosts may be fetched from, as HOST or HOST:PORT; no others.
	Hosts []string `yaml:"hosts,omitempty"`
	// Private allows their names to resolve to addresses that are not public.
	Private bool `yaml:"private,omitempty"`
	// CAFile holds certificates to trust beside the system's, in PEM.
	CAFile string `yaml:"ca_file,omitempty"`
}

type metricsSettings struct {
	// Listen is HOST:PORT, or :PORT for all addresses. Nobody has to authenticate
	// there.
	Listen string `yaml:"listen" check:"required"`
}

type logSettings struct {
	Level  logLevel  `yaml:"level,omitempty"`
	Format logFormat `yaml:"format,omitempty"`
	// Sample logs one of so many granted requests at the level info; left out, none.
	Sample int64 `yaml:"sample,omitempty"`
}

// realmSettings is one realm. It can override the description of its provider.
type realmSettings struct {
	Name string `yaml:"name" check:"required"`
	// Provider is a name of the catalog or a file.
	Provider string `yaml:"provider" check:"required"`
	// Hosts and Path are where requests for the realm arrive; default, those of
	// BaseURL. BaseURL is what clients use; default, the first host and the
	// path.
	Hosts   []string `yaml:"hosts,omitempty"`
	Path    string   `yaml:"path,omitempty"`
	BaseURL string   `yaml:"base_url,omitempty"`
	// Issuer is the iss claim; default BaseURL.
	Issuer  string   `yaml:"issuer,omitempty"`
	Tenants []string `yaml:"tenants,omitempty"`

	provider.Overrides `yaml:",inline"`

	Keys       keysSettings         `yaml:"keys,omitempty"`
	Federation []federationSettings `yaml:"federation,omitempty"`
	// CertificateAuthorities is a PEM file with those that sign the certificates
	// of tls_client_auth.
	CertificateAuthorities string `yaml:"certificate_authorities,omitempty"`
	DPoPNonce              bool   `yaml:"dpop_nonce,omitempty"`
}

type keysSettings struct {
	// Age is how old a signing key becomes before the next one signs; left out,
	// the maximum. Ahead is how long a key is published before it signs.
	Age   time.Duration `yaml:"age,omitempty"`
	Ahead time.Duration `yaml:"ahead,omitempty"`
}

type federationSettings struct {
	Issuer string `yaml:"issuer" check:"required"`
	// KeySetURL is the issuer's JWK Set, KeySetFile a copy of it: one of them.
	KeySetURL   string        `yaml:"jwks_uri,omitempty"`
	KeySetFile  string        `yaml:"jwks_file,omitempty"`
	Audience    string        `yaml:"audience,omitempty"`
	MaxLifetime time.Duration `yaml:"max_lifetime,omitempty"`
}

type adminSettings struct {
	// Realm is the realm whose tokens the Admin API accepts. The API is below
	// the realm's base URL, at the path of the API called admin of its
	// description.
	Realm string `yaml:"realm" check:"required"`
}

type addressHeader string

func (addressHeader) Words() []string { return []string{"X-Forwarded-For", "Forwarded"} }

type certificateForm string

func (certificateForm) Words() []string { return []string{"client-cert", "pem-escaped", "der-base64"} }

type signerChoice string

func (signerChoice) Words() []string { return []string{signing.SignerAuto, signing.SignerGo} }

type logLevel string

func (logLevel) Words() []string { return []string{"debug", "info", "warn", "error"} }

type logFormat string

func (logFormat) Words() []string { return []string{"text", "json"} }

// maxConfig bounds a configuration, in bytes.
const maxConfig = 1 << 20

// readSettings reads a configuration, and checks its form. Errors of the form
// are recorded in the document, unless nothing can be read.
func readSettings(path string) (*settings, *strict.Document, error) {
	f, err := files.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, &Error{fmt.Errorf("no configuration at %s", path), "name the server's with --config; docs/serve.md has an example"}
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil, &Error{err, "make the file readable for this user"}
	}
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(text) > maxConfig {
		return nil, nil, fmt.Errorf("%s is larger than %d bytes", path, maxConfig)
	}
	doc, err := strict.Parse[settings](path, text)
	if doc == nil {
		return nil, nil, err
	}
	config := new(settings)
	if failed := doc.Into(config); failed != nil {
		return nil, nil, cmp.Or(err, failed)
	}
	return config, doc, nil
}

// directory is the directory that relative paths of a configuration start from.
func directory(path string) (string, error) { return filepath.Abs(filepath.Dir(path)) }
