package admin

import (
	"bytes"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/counterfoil/counterfoil/server/store"
)

// NewSettings returns the settings that a JSON merge patch (RFC 7396) makes of
// the default ones. The error is a *Problem.
func NewSettings(patch []byte) (store.Settings, error) {
	changes, err := parsePatch(patch)
	if err != nil {
		return store.Settings{}, err
	}
	return patched(&store.Settings{}, changes)
}

func parsePatch(text []byte) (jsontext.Value, error) {
	patch, err := parse(text)
	if err != nil {
		return nil, problem(malformed, "the merge patch cannot be read: %v", err)
	}
	if patch.Kind() != '{' {
		return nil, problem(malformed, "the merge patch must be a JSON object (RFC 7396)")
	}
	return patch, nil
}

// patched returns settings with a merge patch applied, still unchecked.
func patched(s *store.Settings, patch jsontext.Value) (store.Settings, error) {
	var after store.Settings
	before, err := json.Marshal(s, asStored)
	if err == nil {
		before, err = merge(before, patch)
	}
	if err != nil {
		return after, fmt.Errorf("apply the merge patch: %w", err)
	}
	faults := decode(before, &after)
	if same(after.Authentication.KeySet, s.Authentication.KeySet) {
		after.Authentication.KeySet = s.Authentication.KeySet
	}
	return after, invalid(wrongValues, faults)
}

// same reports whether two JSON texts are equivalent.
func same(a, b string) bool {
	x, y := jsontext.Value(a), jsontext.Value(b)
	return x.Canonicalize() == nil && y.Canonicalize() == nil && bytes.Equal(x, y)
}

// some returns a list that is not nil, so that a program need not distinguish
// null from empty.
func some[List ~[]E, E any](list List) List { return append(List{}, list...) }

// utc returns the time in UTC.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// viewOf returns a client as an operator sees it at a time.
func viewOf(c *store.Client, uses []store.LastUse, now time.Time) Client {
	v := Client{
		Realm: c.Realm, ID: c.ID, Status: statusEnabled, Maker: c.Maker, Settings: c.Settings, Created: utc(c.Created),
		Changed:   utc(c.Changed),
		NotBefore: utc(c.NotBefore), Secrets: secretsOf(c.Secrets, uses), APIKeys: secretsOf(c.APIKeys, uses), Version: c.Version,
	}
	v.Scopes, v.Tenants, v.Addresses, v.Expires = some(v.Scopes), some(v.Tenants), some(v.Addresses), utc(v.Expires)
	if v.Labels == nil {
		v.Labels = map[string]string{}
	}
	switch {
	case c.Disabled:
		v.Status = statusDisabled
	case !c.Expires.IsZero() && !now.Before(c.Expires):
		v.Status = statusExpired
	}
	return v
}

// SelectStatus makes a query select the clients that have a Status.
func SelectStatus(q *store.ClientQuery, status string) error {
	disabled, expired := status == statusDisabled, status == statusExpired
	switch status {
	case statusDisabled:
		q.Disabled = &disabled
	case statusEnabled, statusExpired:
		q.Disabled, q.Expired = &disabled, &expired
	default:
		return problem(malformed, "the status must be %s, %s or %s", statusEnabled, statusDisabled, statusExpired)
	}
	return nil
}

// statusOf returns the status that a query selects; "" for any.
func statusOf(q *store.ClientQuery) string {
	switch {
	case q.Disabled != nil && *q.Disabled:
		return statusDisabled
	case q.Expired != nil && *q.Expired:
		return statusExpired
	case q.Disabled != nil:
		return statusEnabled
	}
	return ""
}

func secretsOf(hashes []store.SecretHash, uses []store.LastUse) []Secret {
	views := make([]Secret, len(hashes))
	for i, h := range hashes {
		views[i] = Secret{ID: h.ID, Created: utc(h.Created), Ends: utc(h.Expires)}
		for _, u := range uses {
			if u.SecretID == h.ID {
				views[i].LastUsed = utc(u.Time)
			}
		}
	}
	return views
}
