// Package gcpsecrets reads a credential from Google Secret Manager. Use it where
// the client secret of a program that runs on Google Cloud is kept and rotated
// there. It is a module of its own: it depends on Google's library for logging
// in. The service itself is called over plain HTTPS.
//
// A reference is a resource's name as Google writes it,
// projects/PROJECT/secrets/NAME for the latest version, followed by
// /versions/VERSION for another, and
// projects/PROJECT/locations/LOCATION/secrets/NAME for a regional secret.
//
// It has the properties of package credential; above all, a rotated secret is
// used without a restart. A value whose checksum is wrong is never used, and no
// error holds a token or the text of the service or the login server. It needs
// the role roles/secretmanager.secretAccessor.
package gcpsecrets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
)

// scope is the scope of tokens that the service requires.
const scope = "https://www.googleapis.com/auth/cloud-platform"

// Config says which identity reads the service, and how. Its zero value is
// Google's application default credentials: the file of
// GOOGLE_APPLICATION_CREDENTIALS, that of the gcloud command, or the machine's
// service account.
type Config struct {
	// Login provides tokens of the scope cloud-platform, and caches them, as an
	// *auth.Credentials does. Default: what credentials.DetectDefault finds.
	Login auth.TokenProvider
	// Endpoint is the service's https URL if it is not the public one of the
	// login's universe and of the secret's location: Private Service Connect,
	// for example.
	Endpoint string
	// HTTP carries the requests, also to the login server unless Login is set;
	// default a transport like http.DefaultTransport that requires TLS 1.2.
	HTTP http.RoundTripper
	// Keep says how long a value is kept, and bounds a fetch, including login
	// and retries; default 10 s.
	Keep credential.KeepOptions
}

// Open returns the named secret, cached by credential.Keep. It is fetched at the
// first call; the error is about the reference or c.
func Open(reference string, c Config) (client.SecretFunc, error) { return Opener(c)(reference) }

// Opener returns an opener of references that share one login. Use it in a
// credential.Schemes, as "gcpsm".
func Opener(c Config) credential.Opener {
	at := &service{cfg: c, http: &remote.Client{Base: c.HTTP}, clock: c.Keep.Clock, login: c.Login}
	if at.clock == nil {
		at.clock = clock.System
	}
	return func(reference string) (client.SecretFunc, error) {
		if _, ok := httpsurl.Base(c.Endpoint); c.Endpoint != "" && !ok {
			return nil, errors.New("gcpsecrets: Config.Endpoint is not an https URL without credentials and query")
		}
		s, err := parse(reference)
		if err != nil {
			return nil, err
		}
		if err := at.http.Check(); err != nil {
			return nil, fmt.Errorf("gcpsecrets: %w", err)
		}
		s.service = at
		return credential.Keep(s.fetch, c.Keep), nil
	}
}

// service is what the secrets of one Opener share.
type service struct {
	cfg   Config
	http  *remote.Client
	clock counterfoil.Clock

	mu    sync.Mutex
	login auth.TokenProvider
}

// who returns the token provider. The default is looked for until it is found: a
// machine's metadata service may start later than the program.
func (s *service) who() (auth.TokenProvider, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.login != nil {
		return s.login, nil
	}
	found, err := credentials.DetectDefault(&credentials.DetectOptions{
		Scopes: []string{scope},
		Client: &http.Client{
			Transport:     &remote.Client{Base: s.cfg.HTTP, Metadata: true},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		// Nothing keeps running, and nothing is logged because of
		// GOOGLE_SDK_GO_LOGGING_LEVEL.
		DisableAsyncRefresh: true,
		Logger:              slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, errors.New(
			"there is no login: set GOOGLE_APPLICATION_CREDENTIALS to a file of credentials, or run where a service account is attached",
		)
	}
	s.login = found
	return found, nil
}

// secret is a named secret.
type secret struct {
	name, location string
	service        *service
}

// reference is the name of a secret, its location, and its version.
var reference = regexp.MustCompile(
	`^(projects/[a-z0-9][a-z0-9.:-]{0,99}/(?:locations/([a-z0-9-]{1,40})/)?secrets/[A-Za-z0-9_-]{1,255})(/versions/[A-Za-z0-9_-]{1,63})?$`,
)

func parse(text string) (*secret, error) {
	found := reference.FindStringSubmatch(text)
	if found == nil {
		// The reference is not shown: it may be the secret itself.
		return nil, errors.New("gcpsecrets: the reference must be projects/PROJECT/secrets/NAME, optionally followed by /versions/VERSION")
	}
	s := &secret{name: text, location: found[2]}
	if found[3] == "" {
		s.name += "/versions/latest"
	}
	return s, nil
}

// domain matches the name of a universe.
var domain = regexp.MustCompile(`^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,8}$`)

// endpoint is the origin that the secret is read from.
func (s *secret) endpoint(ctx context.Context, login auth.TokenProvider) (string, error) {
	if s.service.cfg.Endpoint != "" {
		return strings.TrimRight(s.service.cfg.Endpoint, "/"), nil
	}
	universe := "googleapis.com"
	if c, ok := login.(interface {
		UniverseDomain(context.Context) (string, error)
	}); ok {
		var err error
		if universe, err = c.UniverseDomain(ctx); err != nil || !domain.MatchString(universe) {
			return "", errors.New("the login does not name its universe: set Config.Endpoint")
		}
	}
	if s.location != "" {
		return "https://secretmanager." + s.location + ".rep." + universe, nil
	}
	return "https://secretmanager." + universe, nil
}

// fetch gets the secret from the service.
func (s *secret) fetch(ctx context.Context) (counterfoil.Secret, error) {
	value, err := s.repeated(ctx)
	if err != nil {
		return "", fmt.Errorf("secret gcpsm:%s: %w", s.name, err)
	}
	return value, nil
}
