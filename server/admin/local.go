package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// Config configures New.
type Config struct {
	// Store may be that of a running server, in this process or in another.
	Store store.Store
	// Keys rotates signing keys: a running server's own, or one of
	// signing.NewKeys. With nil, keys cannot be managed.
	Keys *signing.Keys
	// Keeper has the blocks; nil for none.
	Keeper Keeper
	// Realms returns the current realms.
	Realms func() []server.Realm
	// Outbound is that of the server: a client's jwks_uri that it can never fetch
	// is refused. With nil, only the form is checked.
	Outbound *server.Outbound
	// Actor is the actor of the changes, for the record.
	Actor string
	// Clock tells the time; nil for the system's.
	Clock counterfoil.Clock
}

// Local is a Service on a Store.
type Local struct {
	Config
	clients *clients.Service
	// within is the caller that it acts for when that is not the operator of the
	// machine.
	within *clients.Authority
}

// New returns a Service on a Store.
func New(c Config) *Local {
	if c.Clock == nil {
		c.Clock = clock.System
	}
	l := &Local{Config: c}
	l.clients = clients.New(c.Store, c.Clock, func(name string) (clients.Rules, bool) {
		r, err := l.realm(name)
		if err != nil {
			return clients.Rules{}, false
		}
		return l.rules(r), true
	})
	return l
}

// rules are what a realm demands of the settings of its clients.
func (l *Local) rules(r *server.Realm) clients.Rules {
	rules := r.Rules()
	if l.Outbound != nil {
		rules.Fetchable = l.Outbound.Fetchable
	}
	return rules
}

// as returns a Service that acts for another caller.
func (l *Local) as(actor string, a clients.Authority) *Local {
	other := *l
	other.Actor, other.within, other.clients = actor, &a, l.clients.As(a)
	return &other
}

// realm returns the realm of that name.
func (l *Local) realm(name string) (*server.Realm, error) {
	for _, r := range l.Config.Realms() {
		if r.Name == name {
			return &r, nil
		}
	}
	return nil, problem(NoSuchRealm, "there is no realm %s", show(event.Clean(name, maxShown)))
}

// Realms returns the realms.
func (l *Local) Realms(context.Context) ([]Realm, error) {
	realms := l.Config.Realms()
	views := make([]Realm, len(realms))
	for i, r := range realms {
		t := &r.Provider.TokenEndpoint
		views[i] = Realm{
			Name: r.Name, Provider: r.Provider.Name, Issuer: cmp.Or(r.Issuer, r.BaseURL),
			Scopes: some(r.Provider.ScopeNames()), Tenants: some(r.Tenants),
			APIKeys: r.Provider.Needs(provider.HeaderFromAPIKey), Algorithms: r.Provider.AccessToken.Algorithms(), Policy: t.Policy,
			Lifetime: t.Lifetime.String(),
		}
		if r.BaseURL != "" {
			views[i].TokenURL = r.BaseURL + t.Path
		}
	}
	return views, nil
}

// CreateClient adds a client.
func (l *Local) CreateClient(ctx context.Context, realm string, n NewClient) (Client, clients.Credentials, error) {
	none := clients.Credentials{}
	r, err := l.realm(realm)
	if err != nil {
		return Client{}, none, err
	}
	rules := l.rules(r)
	if err := rules.Check(&n.Settings); err != nil {
		return Client{}, none, of(err, realm, n.ID, 0)
	}
	made := clients.NewClient{
		Realm: realm, ID: n.ID, Settings: n.Settings, Disabled: n.Disabled, WithoutSecret: n.WithoutSecret,
		WithAPIKey: r.Provider.Needs(provider.HeaderFromAPIKey),
	}
	if n.APIKey != nil {
		made.WithAPIKey = *n.APIKey
	}
	limit := r.Provider.TokenEndpoint.Limits.ClientID
	switch check := made; {
	case n.ID == "." || n.ID == "..":
		err = errors.New("it must not be . or .., which cannot be a segment of a URL")
	case len(n.ID) > limit:
		err = fmt.Errorf("it must have at most %d bytes, which is the realm's limit", limit)
	case n.ID != "":
		err = check.Check()
	}
	if err != nil {
		return Client{}, none, invalid(wrongValues, []Fault{{"/client_id", err.Error()}})
	}
	c, creds, err := l.clients.Create(ctx, l.Actor, made)
	if err != nil {
		return Client{}, none, of(err, realm, n.ID, 0)
	}
	return viewOf(&c, nil, l.Clock.Now()), creds, nil
}

// Client returns a client.
func (l *Local) Client(ctx context.Context, realm, id string) (Client, error) {
	if _, err := l.realm(realm); err != nil {
		return Client{}, err
	}
	c, err := l.clients.Get(ctx, realm, id)
	if err != nil {
		return Client{}, of(err, realm, id, 0)
	}
	uses, err := l.clients.LastUses(ctx, realm, id)
	if err != nil {
		return Client{}, of(err, realm, id, 0)
	}
	return viewOf(&c, uses, l.Clock.Now()), nil
}

// Clients returns a part of a realm's clients.
func (l *Local) Clients(ctx context.Context, q store.ClientQuery) (ClientPage, error) {
	if _, err := l.realm(q.Realm); err != nil {
		return ClientPage{}, err
	}
	switch q.Environment {
	case "", store.EnvironmentSandbox, store.EnvironmentProduction:
	default:
		return ClientPage{}, problem(malformed, "the environment must be %s or %s", store.EnvironmentSandbox, store.EnvironmentProduction)
	}
	limit := bounded(q.Limit)
	q.Limit, q.Now = limit+1, l.Clock.Now() // one more, to know whether there are more
	list, err := l.clients.List(ctx, q)
	if err != nil {
		return ClientPage{}, err
	}
	page := ClientPage{Clients: []Client{}}
	if len(list) > limit {
		page.Next, list = list[limit-1].ID, list[:limit]
	}
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	uses, err := l.Store.LastUses(ctx, q.Realm, ids...)
	if err != nil {
		return ClientPage{}, err
	}
	// Uses are in the order of the clients.
	for i, c := range list {
		n := 0
		for n < len(uses) && uses[n].ClientID == c.ID {
			n++
		}
		page.Clients = append(page.Clients, viewOf(&list[i], uses[:n], q.Now))
		uses = uses[n:]
	}
	return page, nil
}

// bounded returns the number of results for a requested limit.
func bounded(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, maxLimit)
}

// ChangeClient applies a merge patch to the settings of a client.
func (l *Local) ChangeClient(ctx context.Context, realm, id string, version int64, patch []byte) (Client, error) {
	if _, err := l.realm(realm); err != nil {
		return Client{}, err
	}
	changes, err := parsePatch(patch)
	if err != nil {
		return Client{}, err
	}
	c, err := l.clients.Change(ctx, l.Actor, realm, id, version, func(s *store.Settings) error {
		*s, err = patched(s, changes)
		return err
	})
	if err != nil {
		return Client{}, of(err, realm, id, version)
	}
	return viewOf(&c, nil, l.Clock.Now()), nil
}

// RotateSecret gives a client a new secret.
func (l *Local) RotateSecret(ctx context.Context, realm, id string, r clients.Rotation) (clients.Credentials, error) {
	return l.rotate(ctx, realm, id, r, l.clients.RotateSecret)
}

// RotateAPIKey gives a client a new API key.
func (l *Local) RotateAPIKey(ctx context.Context, realm, id string, r clients.Rotation) (clients.Credentials, error) {
	return l.rotate(ctx, realm, id, r, l.clients.RotateAPIKey)
}

type rotation func(ctx context.Context, actor, realm, id string, r clients.Rotation) (clients.Credentials, error)

func (l *Local) rotate(ctx context.Context, realm, id string, r clients.Rotation, do rotation) (clients.Credentials, error) {
	_, err := l.realm(realm)
	switch {
	case err != nil:
	case r.Overlap < 0:
		err = problem(wrongValues, "the overlap must not be negative")
	case r.Overlap != 0 && !r.At.IsZero():
		err = problem(wrongValues, "give an overlap or an end, not both")
	case r.Keep && (r.Overlap != 0 || !r.At.IsZero()):
		err = problem(wrongValues, "the old value cannot both keep its end and get another: leave one of them out")
	case !r.At.IsZero() && r.At.Before(l.Clock.Now()):
		err = problem(wrongValues, "the end at %s has passed: an overlap of 0 ends the old value at once", r.At.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return clients.Credentials{}, err
	}
	creds, err := do(ctx, l.Actor, realm, id, r)
	return creds, of(err, realm, id, r.Version)
}

// EndSecret makes a secret or an API key expire.
func (l *Local) EndSecret(ctx context.Context, realm, id, secretID string, at time.Time) error {
	if _, err := l.realm(realm); err != nil {
		return err
	}
	err := l.clients.ExpireSecret(ctx, l.Actor, realm, id, secretID, at)
	if errors.Is(err, store.ErrNotFound) {
		// The client or the secret may be gone.
		if _, err := l.clients.Get(ctx, realm, id); err == nil {
			return problem(noSuchSecret, "the client has no secret or API key %s that is accepted", show(event.Clean(secretID, maxShown)))
		}
	}
	return of(err, realm, id, 0)
}

// DisableClient disables a client.
func (l *Local) DisableClient(ctx context.Context, realm, id string) error {
	return l.setDisabled(ctx, realm, id, true)
}

// EnableClient enables a client again.
func (l *Local) EnableClient(ctx context.Context, realm, id string) error {
	return l.setDisabled(ctx, realm, id, false)
}

func (l *Local) setDisabled(ctx context.Context, realm, id string, disabled bool) error {
	if _, err := l.realm(realm); err != nil {
		return err
	}
	return of(l.clients.SetDisabled(ctx, l.Actor, realm, id, disabled), realm, id, 0)
}

// DeleteClient removes a client.
func (l *Local) DeleteClient(ctx context.Context, realm, id string) error {
	if _, err := l.realm(realm); err != nil {
		return err
	}
	return of(l.clients.Delete(ctx, l.Actor, realm, id), realm, id, 0)
}

// RevokeTokens revokes all tokens of a client.
func (l *Local) RevokeTokens(ctx context.Context, realm, id string) error {
	if _, err := l.realm(realm); err != nil {
		return err
	}
	return of(l.clients.RevokeTokens(ctx, l.Actor, realm, id), realm, id, 0)
}

// Keys returns the signing keys of a realm.
func (l *Local) Keys(ctx context.Context, realm string) ([]signing.View, error) {
	if _, err := l.realm(realm); err != nil {
		return nil, err
	}
	if l.Config.Keys == nil {
		return nil, errors.New("admin: Config.Keys is missing")
	}
	keys, err := l.Config.Keys.List(ctx, realm)
	for i := range keys {
		k := &keys[i]
		k.Created, k.Activates, k.Expires = utc(k.Created), utc(k.Activates), utc(k.Expires)
	}
	return keys, err
}

// minAhead is the shortest time that package signing publishes a key before it
// signs.
const minAhead = 6 * time.Minute

// RotateKey makes the next signing key.
func (l *Local) RotateKey(ctx context.Context, realm string, algorithm provider.Algorithm, o signing.Rotation) (signing.View, error) {
	r, err := l.realm(realm)
	if err != nil {
		return signing.View{}, err
	}
	if l.Config.Keys == nil {
		return signing.View{}, errors.New("admin: Config.Keys is missing")
	}
	switch all := r.Provider.AccessToken.Algorithms(); {
	case algorithm != "" && !slices.Contains(all, algorithm):
		err = problem(wrongValues, "the realm does not sign with %s: its algorithms are %s", show(string(algorithm)), words(all))
	case o.Prepublish != 0 && (o.Immediately || o.Compromised):
		err = problem(wrongValues, "a key that signs at once is not published ahead: leave one of the two out")
	case o.Prepublish != 0 && (o.Prepublish < minAhead || o.Prepublish > store.MaxLifetime):
		err = problem(wrongValues, "a key must be published from %v to %v before it signs, because verifiers keep key sets",
			minAhead, store.MaxLifetime)
	}
	if err != nil {
		return signing.View{}, err
	}
	k, err := l.Config.Keys.Rotate(ctx, l.Actor, r.Signing(), algorithm, o)
	if errors.Is(err, store.ErrConflict) {
		return k, problem(Conflict, "%s", strings.TrimPrefix(err.Error(), fmt.Sprintf("rotate the key of realm %q: ", realm)))
	}
	k.Created, k.Activates, k.Expires = utc(k.Created), utc(k.Activates), utc(k.Expires)
	return k, err
}

func words(all []provider.Algorithm) string {
	list := make([]string, len(all))
	for i, a := range all {
		list[i] = string(a)
	}
	return strings.Join(list, ", ")
}
