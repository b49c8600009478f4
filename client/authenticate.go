package client

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// credentials are what one request proves itself with.
type credentials struct {
	id             string
	secret, apiKey counterfoil.Secret
	// print tells these credentials from others without holding them.
	print [sha256.Size]byte
}

// entry returns the place in the cache for what the Source asks for now.
func (s *Source) entry(context.Context) (*entry, *counterfoil.Error) {
	if e := s.place.Load(); e != nil {
		return e, nil
	}
	key := cacheKey(&s.cfg, s.tokenURL)
	s.place.CompareAndSwap(nil, &entry{key: key, changes: s.cfg.Cache.Changes(key), base: s.cfg.HTTP})
	return s.place.Load(), nil
}

func (s *Source) credentials(ctx context.Context) (credentials, *counterfoil.Error) {
	c := credentials{id: s.cfg.ClientID}
	var err *counterfoil.Error
	if c.secret, err = reveal(ctx, s.cfg.ClientSecret, "client secret", counterfoil.CredentialsMissing); err != nil {
		return c, err
	}
	if _, ok := s.cfg.Provider.TokenEndpoint.Header(provider.HeaderFromAPIKey); ok {
		if c.apiKey, err = reveal(ctx, s.cfg.APIKey, "API key", counterfoil.APIKeyMissing); err != nil {
			return c, err
		}
	}
	c.print = sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(c.secret), c.secret.Reveal(), c.apiKey.Reveal()))
	return c, nil
}

// reveal asks for one credential.
func reveal(ctx context.Context, f SecretFunc, name string, missing counterfoil.Reason) (counterfoil.Secret, *counterfoil.Error) {
	v, err := f(ctx)
	switch {
	case err != nil:
		return "", &counterfoil.Error{Reason: missing, Message: "the " + name + " cannot be had from where Config says", Err: err}
	case v == "":
		return "", &counterfoil.Error{Reason: missing, Message: "the " + name + " is empty: look where Config takes it from"}
	}
	return v, nil
}

// shownIn reports whether text gives away any of the credentials, as they are
// or as a request carries them.
func (c credentials) shownIn(text string) bool {
	basic := base64.StdEncoding.EncodeToString([]byte(c.id + ":" + c.secret.Reveal()))
	for _, v := range []string{c.secret.Reveal(), url.QueryEscape(c.secret.Reveal()), c.apiKey.Reveal(), basic} {
		if v != "" && strings.Contains(text, v) {
			return true
		}
	}
	return false
}

// tokenRequest builds what RFC 6749 section 4.4.2 asks for, in the provider's
// manner.
func (s *Source) tokenRequest(ctx context.Context, cred credentials) (*http.Request, error) {
	t, target, form := &s.cfg.Provider.TokenEndpoint, *s.tokenURL, url.Values{}
	if t.GrantTypeIn == provider.InQuery {
		q := target.Query()
		q.Set("grant_type", "client_credentials")
		target.RawQuery = q.Encode()
	} else {
		form.Set("grant_type", "client_credentials")
	}
	if len(s.cfg.Scopes) > 0 {
		form.Set("scope", s.cfg.Scopes.String())
	}
	if s.method() == provider.ClientSecretPost {
		form.Set("client_id", cred.id)
		form.Set("client_secret", cred.secret.Reveal())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "counterfoil")
	if s.method() == provider.ClientSecretBasic {
		id, secret := cred.id, cred.secret.Reveal()
		if t.BasicEncoding == provider.FormEncoding {
			id, secret = url.QueryEscape(id), url.QueryEscape(secret)
		}
		req.SetBasicAuth(id, secret)
	}
	for _, h := range t.Headers {
		if h.From == provider.HeaderFromAPIKey {
			req.Header.Set(h.Name, cred.apiKey.Reveal())
		} else {
			req.Header.Set(h.Name, h.Value)
		}
	}
	return req, nil
}
