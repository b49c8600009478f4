// Package azurevault takes a credential from Azure Key Vault. Use it where the
// client secret of a program that runs on Azure is kept and rotated there. It is
// a module of its own: Azure's library for logging in comes with it.
//
// A reference is HOST/NAME: the vault's host in full, such as
// acme.vault.azure.net, and the name of the secret, whose current version is
// taken; HOST/NAME/VERSION is that version for ever.
//
// It has the properties of package credential; above all, a rotated secret is
// used without a restart. A login's token is sent only to vaults in its domain,
// and no error holds a token or the text of the vault or the login server. It
// needs the role Key Vault Secrets User, or the access policy that allows get.
package azurevault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote"
)

// Config says which identity reads vaults, and how. Its zero value is the SDK's
// default chain in the public cloud: environment, workload identity, managed
// identity, and the command-line tools of a developer.
type Config struct {
	// Login provides tokens; default azidentity.NewDefaultAzureCredential with
	// Options. Set it if the method is known: the chain tries one after another.
	Login azcore.TokenCredential
	// Options are the SDK's: Cloud for a sovereign one, Transport for a private
	// certificate authority, Retry for the retries. Bodies are never logged,
	// whatever Logging says.
	Options azcore.ClientOptions
	// Keep says how long a value is kept, and bounds a fetch, including login
	// and retries; default 10 s.
	Keep credential.KeepOptions
}

// Open returns the named secret, cached by credential.Keep. It is fetched at the
// first call; the error is about the reference or c.
func Open(reference string, c Config) (client.SecretFunc, error) { return Opener(c)(reference) }

// Opener returns an opener of references that share one login, which is made
// with the first of them. Use it in a credential.Schemes, as "azurekv".
func Opener(c Config) credential.Opener {
	login := sync.OnceValues(c.login)
	return func(reference string) (client.SecretFunc, error) {
		s, err := parse(reference)
		if err != nil {
			return nil, err
		}
		who, err := login()
		if err != nil {
			return nil, err
		}
		options, transport := c.Options, remote.Of(c.Options.Transport)
		if err := transport.Check(); err != nil {
			return nil, fmt.Errorf("azurevault: %w", err)
		}
		options.Transport = vault{transport}
		options.Logging.IncludeBody = false
		s.vault, err = azsecrets.NewClient("https://"+s.host, who, &azsecrets.ClientOptions{ClientOptions: options})
		if err != nil {
			return nil, errors.New("azurevault: Config.Options are not accepted by the SDK")
		}
		return credential.Keep(s.fetch, c.Keep), nil
	}
}

// login returns the token provider.
func (c Config) login() (azcore.TokenCredential, error) {
	if c.Login != nil {
		return login{c.Login}, nil
	}
	options := c.Options
	transport := remote.Of(c.Options.Transport)
	transport.Metadata = true
	options.Transport = transport
	options.Logging.IncludeBody = false
	chain, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options})
	if err != nil {
		return nil, errors.New(
			"azurevault: the default chain of logins cannot be made: check AZURE_TOKEN_CREDENTIALS, or set Config.Login",
		)
	}
	return login{chain}, nil
}

// vault sends requests to a vault.
type vault struct{ *remote.Client }

// tenant matches a vault's statement of where to log in.
var tenant = regexp.MustCompile(`authorization="?https://[^/\s"]+/`)

// Do sends one request. It removes a challenge without a tenant, because the SDK
// would panic on it.
func (v vault) Do(req *http.Request) (*http.Response, error) {
	resp, err := v.Client.Do(req)
	if err != nil {
		return nil, err
	}
	text := strings.Join(resp.Header.Values("WWW-Authenticate"), " ")
	if strings.Count(text, "authorization=") != len(tenant.FindAllString(text, -1)) {
		resp.Header.Del("WWW-Authenticate")
	}
	return resp, nil
}

// secret is a named secret.
type secret struct {
	reference, host, name, version string
	vault                          *azsecrets.Client
}

// reference is a host of at least two labels with an optional port, the name of
// a secret, and an optional version.
var reference = regexp.MustCompile(
	`^([0-9A-Za-z-]{1,63}(?:\.[0-9A-Za-z-]{1,63}){1,8}(?::[0-9]{1,5})?)/([0-9A-Za-z-]{1,127})(?:/([0-9A-Za-z]{1,64}))?$`,
)

func parse(text string) (*secret, error) {
	found := reference.FindStringSubmatch(text)
	if found == nil {
		// The reference is not shown: it may be the secret itself.
		return nil, errors.New(
			"azurevault: the reference must be HOST/NAME or HOST/NAME/VERSION, such as acme.vault.azure.net/client-secret",
		)
	}
	return &secret{reference: text, host: found[1], name: found[2], version: found[3]}, nil
}

// fetch gets the secret from its vault.
func (s *secret) fetch(ctx context.Context) (counterfoil.Secret, error) {
	out, err := s.vault.GetSecret(ctx, s.name, s.version, nil)
	if err != nil {
		return "", fmt.Errorf("secret azurekv:%s: %w", s.reference, reason(ctx, err))
	}
	text := ""
	if out.Value != nil {
		text = *out.Value
	}
	value, err := remote.Value(text)
	if err != nil {
		return "", fmt.Errorf("secret azurekv:%s: %w", s.reference, err)
	}
	return value, nil
}
