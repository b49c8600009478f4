package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/store"
)

// settingsOf returns settings as an operator sees them: no list or map is
// null, so that a program need not distinguish null from empty.
func settingsOf(s *store.Settings) Settings {
	v := Settings{
		Name: s.Name, Contact: s.Contact, Environment: s.Environment, Scopes: some(s.Scopes), Tenants: some(s.Tenants),
		Addresses: make([]string, len(s.Addresses)), Labels: pairs(s.Labels), Expires: utc(s.Expires), ResourceServer: s.ResourceServer,
	}
	for i, a := range s.Addresses {
		v.Addresses[i] = a.String()
	}
	t, a := &s.Tokens, &s.Authentication
	v.Tokens = tokens{
		Algorithm: t.Algorithm, Policy: t.Policy, Claims: pairs(t.Claims), CertificateBound: t.CertificateBound, DPoPBound: t.DPoPBound,
	}
	if t.Lifetime != 0 {
		v.Tokens.Lifetime = t.Lifetime.String()
	}
	v.Authentication = authentication{
		KeySetURL: a.KeySetURL, Certificate: a.Certificate, Thumbprints: some(a.Thumbprints),
		Federation: append([]store.FederationRule{}, a.Federation...),
	}
	if a.KeySet != "" {
		v.Authentication.KeySet = json.RawMessage(a.KeySet)
	}
	return v
}

func some(list []string) []string { return append([]string{}, list...) }

func pairs(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// utc returns the time in UTC.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}

// server returns the settings as package store has them, and the faults in
// their form.
func (s *Settings) server() (store.Settings, []fault) {
	var b binder
	v := store.Settings{
		Name: s.Name, Contact: s.Contact, Environment: s.Environment, Scopes: none(s.Scopes), Tenants: none(s.Tenants),
		Labels: s.Labels, Expires: utc(s.Expires), ResourceServer: s.ResourceServer,
	}
	for i, text := range s.Addresses {
		network, err := netip.ParsePrefix(text)
		if ip, bad := netip.ParseAddr(text); err != nil && bad == nil && ip.Zone() == "" {
			network, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			b.fault("/addresses/"+strconv.Itoa(i), "it must be a network or an address such as 192.0.2.0/24")
			continue
		}
		v.Addresses = append(v.Addresses, network)
	}
	t := &s.Tokens
	v.Tokens = store.TokenSettings{
		Algorithm: t.Algorithm, Policy: t.Policy, Claims: t.Claims, CertificateBound: t.CertificateBound, DPoPBound: t.DPoPBound,
	}
	if t.Lifetime != "" {
		var err error
		if v.Tokens.Lifetime, err = time.ParseDuration(t.Lifetime); err != nil {
			b.fault("/tokens/lifetime", "it must be a duration as 15m")
		}
	}
	a := &s.Authentication
	v.Authentication = store.Authentication{
		KeySet: string(a.KeySet), KeySetURL: a.KeySetURL, Certificate: a.Certificate, Thumbprints: none(a.Thumbprints),
		Federation: a.Federation,
	}
	return v, b.faults
}

// none returns nil for an empty list: they mean the same and are stored alike.
func none(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// check returns the settings as package store has them, if they are valid for
// the realm.
func (s *Settings) check(r *server.Realm) (store.Settings, error) {
	v, faults := s.server()
	if len(faults) > 0 {
		return v, invalid(wrongValues, faults)
	}
	rules := r.Rules()
	return v, of(rules.Check(&v), r.Name, "", 0)
}

// patched returns settings with a merge patch applied, still unchecked.
func patched(s *store.Settings, patch any) (Settings, error) {
	if _, ok := patch.(map[string]any); !ok {
		return Settings{}, problem(malformed, "the merge patch must be a JSON object (RFC 7396)")
	}
	text, err := json.Marshal(settingsOf(s))
	if err != nil {
		return Settings{}, fmt.Errorf("encode settings: %w", err)
	}
	before, err := parse(text)
	if err != nil {
		return Settings{}, errors.New("the settings of the client cannot be read")
	}
	var after Settings
	faults := bind(merge(before, patch), &after)
	return after, invalid(wrongValues, faults)
}

// viewOf returns a client as an operator sees it.
func viewOf(c *store.Client, uses []store.LastUse) Client {
	v := Client{
		Realm: c.Realm, ID: c.ID, Status: statusEnabled, Settings: settingsOf(&c.Settings), Created: utc(c.Created),
		Changed:   utc(c.Changed),
		NotBefore: utc(c.NotBefore), Secrets: secretsOf(c.Secrets, uses), APIKeys: secretsOf(c.APIKeys, uses), Version: c.Version,
	}
	if c.Disabled {
		v.Status = statusDisabled
	}
	return v
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
