// Package client calls an API that requires OAuth 2.0 client-credentials tokens
// (RFC 6749 section 4.4). Use it instead of a token manager of your own: make
// one [Source] per client from a provider description, then call the API
// through [Source.Client] or a [Transport], or use [Source.Token] where
// another library needs a token.
//
// It promises:
//
//   - A token is requested once, however many callers wait for it, in all
//     processes that share the [Cache]. A caller that stops waiting does not
//     affect the others.
//   - A token is renewed before it expires, while the old one is still in use:
//     300 s before, or a fifth of its lifetime if that is less. If renewal fails
//     the old token is used until it expires, and never after that.
//   - A 401 drops the rejected token and no other; the call is repeated once,
//     body included, with a new one.
//   - The token endpoint is never overloaded: transient failures are retried
//     with backoff and Retry-After, refusals are remembered for 1 s to 60 s, and
//     all Sources that share a cache drop at most about 5 tokens a minute.
//   - Token, API key and tenant are sent to the API's own origin only, and only
//     by https; a redirect of the token endpoint is not followed.
//   - No error, event or printed value holds a secret, a token or the body of a
//     response. Nothing is passed through arguments or the environment, and the
//     client secret is not kept beyond its request. The token stays in memory,
//     and so does a key that is not in hardware: disable core files
//     (RLIMIT_CORE) if they may be read by others.
//
// Behaviour comes from the description alone; the code names no providers. Errors are of type [*counterfoil.Error].
package client

import (
	"errors"
	"fmt"

	"github.com/counterfoil/counterfoil/client/internal/flight"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
)

// New returns a Source, or an error with a line for each part of c that has a
// problem, which names the first one of that part: API, TokenURL, APIURL, the
// credentials, scopes, resources and parameters, the tenant, and the rest. It is
// errors.Join of one [*FieldError] for each. Without a Provider nothing else is
// checked.
func New(c Config) (*Source, error) {
	if c.Provider == nil {
		return nil, prefixed([]error{c.wrong("Provider", "is missing: take one from provider.Open")})
	}
	if c.Clock == nil {
		c.Clock = clock.System
	}
	s := &Source{cfg: c}
	cfg, at := &s.cfg, &providerClock{machine: c.Clock}
	to, problems := cfg.addresses()
	proofs, failure := cfg.credentialsGiven(to.api, at)
	headers, wrong := cfg.callHeaders(to.api)
	for _, err := range []error{failure, cfg.scopesGiven(), cfg.targetsGiven(), wrong, cfg.foundations()} {
		if err != nil {
			problems = append(problems, err)
		}
	}
	if len(problems) > 0 {
		return nil, prefixed(problems)
	}
	scheme := ""
	for _, h := range headers {
		switch {
		case h.from != provider.HeaderFromToken:
		case proofs != nil:
			scheme = schemeDPoP
		default:
			scheme = h.scheme
		}
	}
	auth := newAuthenticator(cfg, to.tokenURL, at)
	s.tokens = newTokens(cfg.Cache, cfg.Clock, scheme)
	s.renewal = &renewal{
		cfg: cfg, auth: auth, tokens: s.tokens, changed: newLimiter(changesPerMinute),
		exchange: &exchange{cfg: cfg, url: to.tokenURL, auth: auth, proofs: proofs, clock: at},
		flight:   flight.Flight[*held]{Clock: cfg.Clock, Limit: cfg.Timeout},
	}
	s.calls = newCalls(cfg, to.api, to.apiURL, headers, proofs)
	s.health = newHealth(cfg, s.check)
	return s, nil
}

// prefixed joins errors of fields, each with the name of the package.
func prefixed(problems []error) error {
	for i, err := range problems {
		problems[i] = fmt.Errorf("client: %w", err)
	}
	return errors.Join(problems...)
}
