package server_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

const someKeys = `{"keys":[{"kty":"EC","kid":"a","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`

// last returns the newest record of a type.
func (h *house) last(kind string) store.RecordedEvent {
	h.t.Helper()
	for _, e := range slices.Backward(h.recorded()) {
		if e.Type == kind {
			return e
		}
	}
	h.t.Fatalf("no record of %s", kind)
	return store.RecordedEvent{}
}

func TestChange(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	ctx := t.Context()
	before, err := h.clients.Get(ctx, "oauth2", "good")
	if err != nil {
		t.Fatal(err)
	}
	h.clock.Turn(time.Hour)
	made, err := h.clients.Change(ctx, "root", "oauth2", "good", before.Version, func(s *store.Settings) error {
		s.Name, s.Contact, s.Environment = "Billing", "ops@example.com", store.EnvironmentProduction
		s.Scopes = counterfoil.Scopes{"read"}
		s.Addresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		s.Labels = map[string]string{"team": "blue", "cost": "42"}
		s.Expires = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
		s.Tokens.Lifetime = 10 * time.Minute
		s.Tokens.Claims = map[string]string{"plan": "gold"}
		s.Authentication.KeySet = someKeys
		return nil
	})
	if err != nil || made.Version != before.Version+1 {
		t.Fatalf("version %d, %v", made.Version, err)
	}
	got, err := h.clients.Get(ctx, "oauth2", "good")
	if err != nil || got.Name != "Billing" || got.Labels["team"] != "blue" || got.Tokens.Lifetime != 10*time.Minute || !got.Changed.Equal(h.clock.Now()) {
		t.Errorf("got %+v, %v", got, err)
	}
	e := h.last(counterfoil.EventClientChanged)
	const detail = `name: Billing; contact: ops@example.com; environment: production; scopes: read; addresses: 127.0.0.0/8; ` +
		`labels: "cost"="42" "team"="blue"; expires: 2027-01-01T00:00:00Z; lifetime: 10m0s; claims: "plan"="gold"; jwks: 1 keys`
	if e.Detail != detail || e.Actor != "root" || e.ClientID != "good" {
		t.Errorf("record %+v\nwant %s", e, detail)
	}
	if _, err := h.clients.Change(ctx, "root", "oauth2", "good", before.Version, func(s *store.Settings) error { s.Name = "x"; return nil }); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a change of what was looked at before: %v", err)
	}
	same, err := h.clients.Change(ctx, "root", "oauth2", "good", 0, func(s *store.Settings) error { s.Name = "Billing"; return nil })
	if err != nil || same.Version != made.Version || h.last(counterfoil.EventClientChanged).Sequence != e.Sequence {
		t.Errorf("what changes nothing was recorded, %v", err)
	}
	mine := errors.New("not today")
	if _, err := h.clients.Change(ctx, "root", "oauth2", "good", 0, func(*store.Settings) error { return mine }); !errors.Is(err, mine) {
		t.Errorf("an error of the caller's own became %v", err)
	}
	if _, err := h.clients.Change(ctx, "root", "oauth2", "nobody", 0, func(*store.Settings) error { return nil }); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown client: %v", err)
	}
	if _, err := h.clients.Change(ctx, "root", "oauth2", "good", 0, func(s *store.Settings) error {
		s.Labels = map[string]string{}
		for i := range 32 {
			s.Labels[fmt.Sprint(i)] = strings.Repeat("v", 200)
		}
		s.Scopes = nil
		for i := range 1000 {
			s.Scopes = append(s.Scopes, fmt.Sprint("scope", i))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := len(h.last(counterfoil.EventClientChanged).Detail); n > 1200 {
		t.Errorf("the record of a large change has %d bytes", n)
	}
}

// TestChangesAtOnce: each change without a version is made, whatever else
// changes the client meanwhile.
func TestChangesAtOnce(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := h.clients.Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error {
				labels := map[string]string{fmt.Sprint(i): "x"}
				for k, v := range s.Labels {
					labels[k] = v
				}
				s.Labels = labels
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if c, err := h.clients.Get(t.Context(), "oauth2", "good"); err != nil || len(c.Labels) != 8 || c.Version != 9 {
		t.Errorf("%d labels in version %d, %v", len(c.Labels), c.Version, err)
	}
}

func TestChangeRefuses(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	h.clients = h.freely("https://i")
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("n", i)] = "v"
		}
		return m
	}
	rule := func(claims map[string]string) func(*store.Settings) {
		return func(s *store.Settings) {
			s.Authentication.Federation = []store.FederationRule{{Issuer: "https://i", Claims: claims}}
		}
	}
	print := strings.Repeat("A", 43)
	longURL, largeSet := atTheEdge()
	for name, row := range map[string]struct {
		change func(*store.Settings)
		want   string
	}{
		"contact of two lines":   {func(s *store.Settings) { s.Contact = "a\nb" }, "one line"},
		"environment":            {func(s *store.Settings) { s.Environment = "test" }, "sandbox or production"},
		"scopes":                 {func(s *store.Settings) { s.Scopes = counterfoil.Scopes{"a b"} }, "RFC 6749"},
		"long scope":             {func(s *store.Settings) { s.Scopes = counterfoil.Scopes{strings.Repeat("s", 201)} }, "longer"},
		"address with host bits": {func(s *store.Settings) { s.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} }, "write 10.0.0.0/8"},
		"address of no value":    {func(s *store.Settings) { s.Addresses = make([]netip.Prefix, 1) }, "not a network"},
		"IPv4 in IPv6":           {func(s *store.Settings) { s.Addresses = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")} }, "as IPv4"},
		"1001 scopes":            {func(s *store.Settings) { s.Scopes = numbered(1001) }, "at most 1000 scopes"},
		"1001 tenants":           {func(s *store.Settings) { s.Tenants = numbered(1001) }, "at most 1000 tenants"},
		"address twice": {func(s *store.Settings) {
			s.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
		}, "twice"},
		"long name of a label":            {func(s *store.Settings) { s.Labels = map[string]string{strings.Repeat("l", 64): "x"} }, "1 to 63 bytes"},
		"long value of a label":           {func(s *store.Settings) { s.Labels = map[string]string{"x": strings.Repeat("v", 201)} }, "at most 200 bytes"},
		"lifetime of a second and a half": {func(s *store.Settings) { s.Tokens.Lifetime = 1500 * time.Millisecond }, "whole seconds"},
		"lifetime of a second too much":   {func(s *store.Settings) { s.Tokens.Lifetime = store.MaxLifetime + time.Second }, "whole seconds"},
		"long name of a claim":            {func(s *store.Settings) { s.Tokens.Claims = map[string]string{strings.Repeat("c", 101): "x"} }, "1 to 100 bytes"},
		"long value of a claim":           {func(s *store.Settings) { s.Tokens.Claims = map[string]string{"x": strings.Repeat("v", 501)} }, "1 to 500 bytes"},
		"jwks_uri with a fragment":        {func(s *store.Settings) { s.Authentication.KeySetURL = "https://a/jwks#x" }, "https"},
		"jwks_uri without a host":         {func(s *store.Settings) { s.Authentication.KeySetURL = "https:///jwks" }, "https"},
		"jwks_uri that is long":           {func(s *store.Settings) { s.Authentication.KeySetURL = longURL + "x" }, "at most 1000 bytes"},
		"jwks that is large":              {func(s *store.Settings) { s.Authentication.KeySet = largeSet + " " }, "at most 65536 bytes"},
		"11 keys":                         {func(s *store.Settings) { s.Authentication.KeySet = keysOf(11) }, "from 1 to 10"},
		"subject that is long":            {func(s *store.Settings) { s.Authentication.Certificate.DNS = strings.Repeat("d", 501) }, "at most 500 bytes"},
		"subject that is none":            {func(s *store.Settings) { s.Authentication.Certificate.SubjectDN = "job" }, "tls_client_auth_subject_dn: "},
		"short thumbprint":                {func(s *store.Settings) { s.Authentication.Thumbprints = []string{print[:42]} }, "43"},
		"long issuer": {func(s *store.Settings) {
			s.Authentication.Federation = []store.FederationRule{{Issuer: strings.Repeat("i", 501), Claims: map[string]string{"sub": "a"}}}
		}, "federation rule 1: the issuer must have from 1 to 500"},
		"the second rule": {func(s *store.Settings) {
			s.Authentication.Federation = []store.FederationRule{{Issuer: "https://i", Claims: map[string]string{"sub": "a"}}, {Issuer: "https://i"}}
		}, "federation rule 2: "},
		"star at the beginning":     {rule(map[string]string{"sub": "*:main"}), "end of a value"},
		"101 addresses":             {func(s *store.Settings) { s.Addresses = make([]netip.Prefix, 101) }, "at most 100"},
		"33 labels":                 {func(s *store.Settings) { s.Labels = many(33) }, "at most 32"},
		"label without a name":      {func(s *store.Settings) { s.Labels = map[string]string{"": "x"} }, "name"},
		"label with a line break":   {func(s *store.Settings) { s.Labels = map[string]string{"x": "a\nb"} }, "value"},
		"lifetime of half a second": {func(s *store.Settings) { s.Tokens.Lifetime = time.Second / 2 }, "whole seconds"},
		"lifetime, negative":        {func(s *store.Settings) { s.Tokens.Lifetime = -time.Hour }, "whole seconds"},
		"lifetime of 31 days":       {func(s *store.Settings) { s.Tokens.Lifetime = 31 * 24 * time.Hour }, "whole seconds"},
		"algorithm":                 {func(s *store.Settings) { s.Tokens.Algorithm = "HS256" }, "RS256"},
		"policy":                    {func(s *store.Settings) { s.Tokens.Policy = "keep" }, "independent"},
		"21 claims":                 {func(s *store.Settings) { s.Tokens.Claims = many(21) }, "at most 20"},
		"empty claim":               {func(s *store.Settings) { s.Tokens.Claims = map[string]string{"x": ""} }, "value"},
		"reserved claim":            {func(s *store.Settings) { s.Tokens.Claims = map[string]string{"tenants": "x"} }, "meaning"},
		"jwks and its URL": {func(s *store.Settings) {
			s.Authentication.KeySet, s.Authentication.KeySetURL = someKeys, "https://a/jwks"
		}, "not both"},
		"jwks that is none": {func(s *store.Settings) { s.Authentication.KeySet = `{"a":1}` }, "jwks"},
		"jwks without keys": {func(s *store.Settings) { s.Authentication.KeySet = `{"keys":[]}` }, "from 1 to 10"},
		"jwks with a private key": {func(s *store.Settings) {
			s.Authentication.KeySet = strings.Replace(someKeys, `"crv"`, `"d":"AQ","crv"`, 1)
		}, "public"},
		"jwks with a shared key":   {func(s *store.Settings) { s.Authentication.KeySet = `{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}` }, "public key for signatures, of a known kind and size, with a kid of its own if any; key 1:"},
		"jwks_uri without TLS":     {func(s *store.Settings) { s.Authentication.KeySetURL = "http://a/jwks" }, "https"},
		"jwks_uri with a user":     {func(s *store.Settings) { s.Authentication.KeySetURL = "https://u:p@a/jwks" }, "https"},
		"two certificate subjects": {func(s *store.Settings) { s.Authentication.Certificate = store.CertificateRule{DNS: "a", URI: "b"} }, "exactly one"},
		"IP of a certificate":      {func(s *store.Settings) { s.Authentication.Certificate = store.CertificateRule{IP: "a.example"} }, "IP"},
		"thumbprint in hex":        {func(s *store.Settings) { s.Authentication.Thumbprints = []string{strings.Repeat("ab", 32)} }, "43"},
		"thumbprint twice":         {func(s *store.Settings) { s.Authentication.Thumbprints = []string{print, print} }, "once"},
		"three thumbprints":        {func(s *store.Settings) { s.Authentication.Thumbprints = []string{"a", "b", "c"} }, "at most 2"},
		"11 rules":                 {func(s *store.Settings) { s.Authentication.Federation = make([]store.FederationRule, 11) }, "at most 10"},
		"rule without an issuer":   {func(s *store.Settings) { s.Authentication.Federation = make([]store.FederationRule, 1) }, "issuer"},
		"rule without a claim":     {rule(nil), "everyone"},
		"rule for any sub":         {rule(map[string]string{"sub": "*"}), "everyone"},
		"rule for any ref":         {rule(map[string]string{"ref": "*"}), "everyone"},
		"star in the middle":       {rule(map[string]string{"sub": "repo:*:main"}), "end of a value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.clients.Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error { row.change(s); return nil })
			if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, row.want)
			}
		})
	}
	rule(map[string]string{"sub": "repo:acme/app:*", "environment": "*"})
	if _, err := h.clients.Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error {
		rule(map[string]string{"sub": "repo:acme/app:*", "environment": "*"})(s)
		return nil
	}); err != nil {
		t.Errorf("a good rule: %v", err)
	}
}

// numbered returns so many words.
func numbered(n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprint("w", i)
	}
	return words
}

// keysOf returns a JWK Set of so many keys.
func keysOf(n int) string {
	key := strings.TrimSuffix(strings.TrimPrefix(someKeys, `{"keys":[`), `]}`)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = strings.Replace(key, `"kid":"a"`, fmt.Sprintf(`"kid":"%d"`, i), 1)
	}
	return `{"keys":[` + strings.Join(keys, ",") + `]}`
}

// atTheEdge returns the longest URL and the largest key set that a client can have.
func atTheEdge() (url, set string) {
	const host = "https://a/"
	return host + strings.Repeat("u", 1000-len(host)), someKeys + strings.Repeat(" ", 64<<10-len(someKeys))
}

// TestMostOfASetting: as much as there may be of each setting is taken.
func TestMostOfASetting(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	longURL, largeSet := atTheEdge()
	rule := store.FederationRule{Issuer: strings.Repeat("i", 500), Claims: map[string]string{"sub": "a*", "ref": "*"}}
	h.clients = h.freely(rule.Issuer)
	for name, change := range map[string]func(*store.Settings){
		"name and contact": func(s *store.Settings) { s.Name, s.Contact = strings.Repeat("n", 200), strings.Repeat("c", 200) },
		"scopes":           func(s *store.Settings) { s.Scopes = append(numbered(999), strings.Repeat("s", 200)) },
		"tenants":          func(s *store.Settings) { s.Tenants = append(numbered(999), strings.Repeat("t", 200)) },
		"addresses": func(s *store.Settings) {
			for i := range 100 {
				s.Addresses = append(s.Addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32))
			}
		},
		"labels": func(s *store.Settings) {
			s.Labels = map[string]string{strings.Repeat("l", 63): strings.Repeat("v", 200)}
			for _, name := range numbered(31) {
				s.Labels[name] = ""
			}
		},
		"the shortest lifetime": func(s *store.Settings) { s.Tokens.Lifetime = time.Second },
		"the longest lifetime":  func(s *store.Settings) { s.Tokens.Lifetime = store.MaxLifetime },
		"claims": func(s *store.Settings) {
			s.Tokens.Claims = map[string]string{strings.Repeat("c", 100): strings.Repeat("v", 500)}
			for _, name := range numbered(19) {
				s.Tokens.Claims[name] = "x"
			}
		},
		"jwks_uri": func(s *store.Settings) { s.Authentication.KeySetURL = longURL },
		"jwks":     func(s *store.Settings) { s.Authentication.KeySet = largeSet },
		"keys":     func(s *store.Settings) { s.Authentication.KeySet = keysOf(10) },
		"subject":  func(s *store.Settings) { s.Authentication.Certificate.DNS = strings.Repeat("d", 500) },
		"DN":       func(s *store.Settings) { s.Authentication.Certificate.SubjectDN = "CN=job,O=Acme" },
		"IP":       func(s *store.Settings) { s.Authentication.Certificate.IP = "192.0.2.7" },
		"thumbprints": func(s *store.Settings) {
			s.Authentication.Thumbprints = []string{strings.Repeat("A", 43), strings.Repeat("B", 42) + "A"}
		},
		"rules": func(s *store.Settings) {
			s.Authentication.Federation = slices.Repeat([]store.FederationRule{rule}, 10)
		},
	} {
		if _, err := h.clients.Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error {
			*s = store.Settings{}
			change(s)
			return nil
		}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLongValuesInTheRecord: a value is recorded whole up to 160 bytes, and cut
// beyond.
func TestLongValuesInTheRecord(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	long := strings.Repeat("n", 160)
	for value, want := range map[string]string{long: "name: " + long, long + "n": "name: " + long + "…"} {
		if _, err := h.clients.Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error { s.Name = value; return nil }); err != nil {
			t.Fatal(err)
		}
		if got := h.last(counterfoil.EventClientChanged).Detail; got != want {
			t.Errorf("a name of %d bytes is recorded as %q, want %q", len(value), got, want)
		}
		_, err := h.clients.Change(t.Context(), "test", "oauth2", "good", 0, func(s *store.Settings) error {
			s.Labels = map[string]string{value: "x"}
			return nil
		})
		if shown := `"` + strings.TrimPrefix(want, "name: ") + `"`; err == nil || !strings.Contains(err.Error(), "the label "+shown+" must") {
			t.Errorf("a label of %d bytes: %v, want %s", len(value), err, shown)
		}
	}
}

func TestCheckSettings(t *testing.T) {
	p, err := provider.Builtin("engagifii")
	if err != nil {
		t.Fatal(err)
	}
	good := func() store.Settings {
		return store.Settings{Scopes: p.ScopeNames(), Tenants: []string{"A"}, Tokens: store.TokenSettings{Lifetime: p.TokenEndpoint.Lifetime, Algorithm: p.AccessToken.SigningAlgorithm}}
	}
	for name, row := range map[string]struct {
		change func(*store.Settings)
		want   string
	}{
		"good":                      {func(*store.Settings) {}, ""},
		"bad form":                  {func(s *store.Settings) { s.Name = "\n" }, "name"},
		"unknown scope":             {func(s *store.Settings) { s.Scopes = append(s.Scopes, "unknown") }, "no scope"},
		"unknown tenant":            {func(s *store.Settings) { s.Tenants = []string{"C"} }, "no tenant"},
		"algorithm of another":      {func(s *store.Settings) { s.Tokens.Algorithm = provider.AlgorithmEdDSA }, "does not sign"},
		"longer than the realm's":   {func(s *store.Settings) { s.Tokens.Lifetime += time.Second }, "longer"},
		"a claim that tokens have":  {func(s *store.Settings) { s.Tokens.Claims = map[string]string{p.AccessToken.Claims[0].Name: "x"} }, "claim"},
		"a claim that is reserved":  {func(s *store.Settings) { s.Tokens.Claims = map[string]string{"cnf": "x"} }, "claim"},
		"a claim of the client own": {func(s *store.Settings) { s.Tokens.Claims = map[string]string{"plan": "x"} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			row.change(&s)
			err := (&clients.Rules{Provider: p, Tenants: []string{"A", "B"}}).Check(&s)
			if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	bare := *p
	bare.AccessToken.Claims = nil
	replacing := good()
	replacing.Tokens.Policy = provider.PolicyReplace
	if err := (&clients.Rules{Provider: p}).Check(&replacing); err != nil {
		t.Errorf("a policy of the client's own: %v", err)
	}
	if err := (&clients.Rules{Provider: &bare}).Check(&replacing); err == nil || !strings.Contains(err.Error(), "token_id") {
		t.Errorf("replace where tokens have no id: %v", err)
	}
	bare = *p
	bare.Scopes = nil
	if err := (&clients.Rules{Provider: &bare}).Check(&store.Settings{Scopes: counterfoil.Scopes{"any"}}); err != nil {
		t.Errorf("a realm without scopes of its own: %v", err)
	}
	free := good()
	free.Tenants = []string{"any"}
	if err := (&clients.Rules{Provider: p}).Check(&free); err != nil {
		t.Errorf("a realm without tenants of its own: %v", err)
	}
}

// TestEndSecret: one of two secrets is ended at a time, or at once with the
// tokens that it brought.
func TestEndSecret(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	ctx, old := t.Context(), h.creds["oauth2"].ClientSecret
	creds, err := h.clients.RotateSecret(ctx, "test", "oauth2", "good", clients.Rotation{At: h.clock.Now().Add(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	h.keep(creds.ClientSecret.Reveal())
	c, err := h.clients.Get(ctx, "oauth2", "good")
	if err != nil {
		t.Fatal(err)
	}
	newest, oldest := c.Secrets[0].ID, c.Secrets[1].ID
	end := func(id string, at time.Time, detail string) {
		t.Helper()
		if err := h.clients.ExpireSecret(ctx, "root", "oauth2", "good", id, at); err != nil {
			t.Fatal(err)
		}
		if e := h.last(counterfoil.EventSecretEnded); e.Detail != detail || e.Actor != "root" {
			t.Errorf("record %+v, want %q", e, detail)
		}
	}
	want := func(when string, oldStatus, newStatus int) {
		t.Helper()
		if got := [2]int{h.try("good", old), h.try("good", creds.ClientSecret)}; got != [2]int{oldStatus, newStatus} {
			t.Errorf("%s: got %v", when, got)
		}
	}
	end(oldest, h.clock.Now().Add(time.Hour), "client secret "+oldest+" ends at 2026-07-01T13:00:00Z")
	h.clock.Turn(time.Hour - time.Second)
	want("before its end", 200, 200)
	h.clock.Turn(time.Second)
	want("after its end", 401, 200)
	if err := h.clients.ExpireSecret(ctx, "root", "oauth2", "good", oldest, h.clock.Now().Add(time.Hour)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("one that has ended came back: %v", err)
	}
	end(newest, time.Time{}, "client secret "+newest+" ended")
	want("ended at once", 401, 401)
	if c, err := h.clients.Get(ctx, "oauth2", "good"); err != nil || len(c.Secrets) != 1 {
		t.Errorf("%d secrets, %v", len(c.Secrets), err)
	}
	if err := h.clients.ExpireSecret(ctx, "root", "oauth2", "good", "ffffffff", time.Time{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unknown secret: %v", err)
	}
	again, err := h.clients.RotateSecret(ctx, "root", "oauth2", "good", clients.Rotation{})
	if err != nil {
		t.Fatal(err)
	}
	h.keep(again.ClientSecret.Reveal())
	if got := h.try("good", again.ClientSecret); got != 200 {
		t.Errorf("a new secret for a client that had none got %d", got)
	}
}

func TestRotationRefuses(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	for name, r := range map[string]clients.Rotation{
		"negative overlap":      {Overlap: -1},
		"an end in the past":    {At: h.clock.Now().Add(-time.Second)},
		"an overlap and an end": {Overlap: time.Hour, At: h.clock.Now().Add(time.Hour)},
		"kept and an overlap":   {Keep: true, Overlap: time.Hour},
		"kept and an end":       {Keep: true, At: h.clock.Now().Add(time.Hour)},
		"another version":       {Version: 7},
	} {
		if _, err := h.clients.RotateSecret(t.Context(), "test", "oauth2", "good", r); err == nil || errors.Is(err, store.ErrConflict) != (name == "another version") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDatesAfterRevocation: a token that is got in the second of a revocation is dated
// behind it, and good at once: nbf is the time, unless it is the only date.
func TestDatesAfterRevocation(t *testing.T) {
	now := int64(1782907200)
	for realm, want := range map[string]dates{
		"engagifii": {Issued: now + 1, NotBefore: now, Expires: now + 3600},
		"undated":   {NotBefore: now + 1, Expires: now + 3600},
	} {
		h := newHouseOf(t, nil, realm)
		h.token(realm)
		if err := h.clients.RevokeTokens(t.Context(), "test", realm, "good"); err != nil {
			t.Fatal(err)
		}
		if got := datesOf(t, h.token(realm)); got != want || h.clock.Now().Unix() != now {
			t.Errorf("%s: at %d got %+v, want %+v", realm, h.clock.Now().Unix(), got, want)
		}
	}
}

// TestRevokeTokens: what was issued before is refused, what is issued from then
// on serves, also within the same second and for several times.
func TestRevokeTokens(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	var tokens []string
	for round := range 4 {
		tokens = append(tokens, h.token("oauth2"))
		for i, token := range tokens {
			p := principal(t, token)
			if live := h.live("oauth2", p); live != (i == round) {
				t.Errorf("round %d: token %d is live: %v", round, i, live)
			}
		}
		if err := h.clients.RevokeTokens(t.Context(), "root", "oauth2", "good"); err != nil {
			t.Fatal(err)
		}
	}
	if e := h.last(counterfoil.EventTokensRevoked); e.Actor != "root" || e.Detail != "issued before 2026-07-01T12:00:04Z" {
		t.Errorf("record %+v", e)
	}
	var err error
	for range 20 {
		err = errors.Join(err, h.clients.RevokeTokens(t.Context(), "root", "oauth2", "good"))
	}
	if err == nil {
		t.Error("the time of issue runs ahead without a bound")
	}
	h.clock.Turn(time.Minute)
	if err := h.clients.RevokeTokens(t.Context(), "root", "oauth2", "good"); err != nil {
		t.Error(err)
	}
}

func TestCreateWithoutSecret(t *testing.T) {
	h := newHouseOf(t, nil, "oauth2")
	n := clients.NewClient{Realm: "oauth2", ID: "keys", WithoutSecret: true, Settings: store.Settings{Authentication: store.Authentication{KeySet: someKeys}}}
	c, creds, err := h.clients.Create(t.Context(), "test", n)
	if err != nil || len(c.Secrets) != 0 || creds.ClientSecret != "" {
		t.Errorf("%+v, %v", c, err)
	}
	if got := h.try("keys", "x"); got != 401 {
		t.Errorf("got %d", got)
	}
	for name, n := range map[string]clients.NewClient{
		"a secret and none": {Realm: "oauth2", WithoutSecret: true, Secrets: []store.SecretHash{{Value: sha256Hash}}},
		"three secrets":     {Realm: "oauth2", Secrets: make([]store.SecretHash, 3)},
		"no form":           {Realm: "oauth2", Secrets: []store.SecretHash{{Value: "secret"}}},
		"no id":             {Realm: "oauth2", APIKeys: []store.SecretHash{{Value: sha256Hash, ID: "X"}}},
	} {
		if _, _, err := h.clients.Create(t.Context(), "test", n); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
