package vault

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
)

const (
	// serviceAccount is where Kubernetes writes the token of a pod's account.
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	// minAge is how old a token of a login must be before a refusal counts as
	// its end: a policy that forbids a path must not cause a loop of logins.
	minAge = time.Minute
	// lastMoment is what a token must have left to be worth a renewal.
	lastMoment = 10 * time.Second
)

// session is a token and what is known of its lifetime.
type session struct {
	token     counterfoil.Secret
	got       time.Time
	ends      time.Time // zero for never, or not known
	renewAt   time.Time // zero for never
	renewable bool
	unlooked  bool // its lifetime has not been looked up yet
}

// login is how a session begins; the zero value is for an agent that has its own
// token.
type login struct {
	// given returns the token that another program obtains; nil for a login.
	given client.SecretFunc
	// path is that of the login below /v1/.
	path string
	// fields are what the login sends.
	fields func(context.Context) (map[string]string, error)
}

// login determines which of the methods it is.
func (c *Config) login(local bool) (login, error) {
	var all []login
	var problems []error
	add := func(l login, missing string) {
		all = append(all, l)
		if missing != "" {
			problems = append(problems, errors.New("vault: "+missing))
		}
	}
	if c.Token != nil {
		add(login{given: c.Token}, "")
	}
	if a := c.AppRole; a != nil {
		add(a.login())
	}
	if k := c.Kubernetes; k != nil {
		jwt, missing := k.JWT, ""
		if jwt == nil {
			jwt, _ = credential.Files{Clock: c.Keep.Clock}.Open(serviceAccount)
		}
		if k.Role == "" {
			missing = "Kubernetes.Role is missing"
		}
		add(k.login("kubernetes", jwt), missing)
	}
	if j := c.JWT; j != nil {
		missing := ""
		if j.JWT == nil {
			missing = "JWT.JWT is missing: open it with credential.Open"
		}
		add(j.login("jwt", j.JWT), missing)
	}
	for _, l := range all {
		if l.given == nil && l.path == "" {
			problems = append(problems, errors.New(`vault: the Mount of a login must be a path, such as "approle"`))
		}
	}
	switch {
	case len(all) > 1:
		problems = append(problems, errors.New("vault: set only one of Config.Token, AppRole, Kubernetes and JWT"))
	case len(all) == 0 && !local:
		problems = append(
			problems,
			errors.New("vault: set one of Config.Token, AppRole, Kubernetes and JWT: only an agent on this machine needs none"),
		)
	}
	if len(problems) > 0 || len(all) == 0 {
		return login{}, errors.Join(problems...)
	}
	return all[0], nil
}

func (a *AppRole) login() (l login, missing string) {
	if a.RoleID == nil {
		missing = "AppRole.RoleID is missing: open it with credential.Open"
	}
	return login{path: loginPath(a.Mount, "approle"), fields: func(ctx context.Context) (map[string]string, error) {
		return ask(ctx, map[string]string{}, map[string]client.SecretFunc{"role_id": a.RoleID, "secret_id": a.SecretID})
	}}, missing
}

func (j *JWTLogin) login(mount string, jwt client.SecretFunc) login {
	return login{path: loginPath(j.Mount, mount), fields: func(ctx context.Context) (map[string]string, error) {
		fields := map[string]string{}
		if j.Role != "" {
			fields["role"] = j.Role
		}
		return ask(ctx, fields, map[string]client.SecretFunc{"jwt": jwt})
	}}
}

// loginPath returns "" for an invalid mount.
func loginPath(mount, usual string) string {
	if mount == "" {
		mount = usual
	}
	if !isPath(mount) {
		return ""
	}
	return "auth/" + mount + "/login"
}

// ask adds the values of the functions to fields.
func ask(ctx context.Context, fields map[string]string, functions map[string]client.SecretFunc) (map[string]string, error) {
	for name, f := range functions {
		if f == nil {
			continue
		}
		value, err := f(ctx)
		if err != nil {
			return nil, fmt.Errorf("the %s of the login cannot be read: %w", name, err)
		}
		fields[name] = value.Reveal()
	}
	return fields, nil
}

// session returns a token to use now: the current one, renewed when it is due,
// or that of a new login.
func (v *Vault) session(ctx context.Context) (session, error) {
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return session{}, fmt.Errorf("gave up waiting for a login: %w", context.Cause(ctx))
	}
	now := v.clock.Now()
	switch {
	case v.login.given != nil:
		if err := v.given(ctx, now); err != nil {
			return session{}, err
		}
	case v.login.path == "":
		return session{}, nil
	case v.held.token == "", !v.held.ends.IsZero() && !clocks.Before(now.Add(time.Second), v.held.ends):
		if err := v.begin(ctx, now); err != nil {
			return session{}, err
		}
	}
	// Renewal is due when the first of both clocks says so, and useful until the
	// second says that the token has expired: there may be no other token.
	if s := &v.held; s.renewable && !clocks.Before(now, s.renewAt) && now.Add(lastMoment).Before(s.ends) {
		v.renew(ctx, now)
	}
	return v.held, nil
}

// begin logs in.
func (v *Vault) begin(ctx context.Context, now time.Time) error {
	fields, err := v.login.fields(ctx)
	if err != nil {
		return err
	}
	body, err := v.call(ctx, http.MethodPost, v.login.path, "", fields, "the login at "+v.login.path)
	if err != nil {
		return err
	}
	token, life, renewable, err := parseAuth(body)
	if err != nil {
		return err
	}
	v.held = session{token: token, got: now}
	v.held.lives(now, life, renewable)
	return nil
}

// given adopts the token that another program obtains, if it is new. Vault's
// answer about its lifetime is for renewing it; it is requested once, and again
// at each fetch while there is no answer, but not if Vault forbids the request.
// Whether the token has expired is for Vault to say.
func (v *Vault) given(ctx context.Context, now time.Time) error {
	token, err := v.login.given(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("the token cannot be read: %w", err)
	case !isToken(token):
		return errors.New("Config.Token does not return a token: it is too long, or has spaces or control characters")
	case token != v.held.token:
		v.held = session{token: token, got: now, unlooked: true}
	}
	if !v.held.unlooked {
		return nil
	}
	body, err := v.call(ctx, http.MethodGet, "auth/token/lookup-self", token, nil, "the token")
	if err != nil {
		refused, ok := errors.AsType[*statusError](err)
		v.held.unlooked = !ok || refused.status != http.StatusForbidden
		return nil // the secret may still be readable
	}
	if life, renewable, err := parseLookup(body); err == nil {
		v.held.unlooked = false
		v.held.lives(now, life, renewable)
	}
	return nil
}

// lives records that the token has life left from now; 0 is forever. A third of
// it is the margin for renewing.
func (s *session) lives(now time.Time, life time.Duration, renewable bool) {
	s.renewable, s.ends, s.renewAt = false, time.Time{}, time.Time{}
	if life > 0 {
		s.renewable, s.ends, s.renewAt = renewable, now.Add(life), now.Add(life-life/3)
	}
}

// renew extends the current token. If that fails the token is used until it
// expires, and renewal is tried once more halfway there.
func (v *Vault) renew(ctx context.Context, now time.Time) {
	s := &v.held
	body, err := v.call(ctx, http.MethodPost, "auth/token/renew-self", s.token, map[string]string{}, "the renewal of the token")
	if err == nil {
		if token, life, renewable, err := parseAuth(body); err == nil && token == s.token && life > 0 {
			s.lives(now, life, renewable)
			return
		}
	}
	s.renewAt = now.Add(s.ends.Sub(now) / 2)
}

// drop discards the token that Vault has refused, and reports whether there may
// be a better one now.
func (v *Vault) drop(ctx context.Context, rejected session) bool {
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return false
	}
	switch {
	case v.login.path == "":
		return false // it is read at each fetch, or is the agent's
	case v.held.token != rejected.token:
		return true // replaced meanwhile
	case clocks.Within(v.clock.Now(), v.held.got, minAge):
		return false
	}
	v.held = session{}
	return true
}
