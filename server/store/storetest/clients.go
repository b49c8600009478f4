package storetest

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

func clientRoundTrip(t *testing.T, s store.Store) {
	c := store.Client{
		Realm: "räälm", ID: "Ω-client:1 😀", Settings: store.Settings{
			Name:   "A name\\ with \"quotes\", 漢字 and 'apostrophes'; DROP TABLE clients",
			Scopes: counterfoil.Scopes{"events:read", "EventsApi"}, Tenants: []string{"TENANT 123", "テナント", "a,b"},
		},
		Disabled: true, Created: at, Changed: at.Add(time.Hour),
		Secrets: []store.SecretHash{{Value: "sha256:new", Created: at}, {Value: "sha256:old", Created: at.Add(-time.Hour),
			Expires: at.Add(time.Hour)}},
		APIKeys: []store.SecretHash{{Value: "sha256:key", Created: at}},
		Version: 42,
	}
	got := create(t, s, c)
	c.Created, c.Changed, c.Version = micro(c.Created), micro(c.Changed), 1
	c.APIKeys[0].Created = micro(at)
	c.Secrets = []store.SecretHash{{Value: "sha256:new", Created: micro(at)},
		{Value: "sha256:old", Created: micro(at.Add(-time.Hour)), Expires: micro(at.Add(time.Hour))}}
	c.Revision, c.Newest = got.Revision, got.Newest
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got  %+v\nwant %+v", got, c)
	}
	if empty := create(t, s, newClient("bare")); empty.Scopes != nil || empty.Tenants != nil || empty.APIKeys != nil ||
		!empty.Secrets[0].Expires.IsZero() {
		t.Errorf("a client without scopes, tenants and API keys came back as %+v", empty)
	}
	events := Events(t, s)
	if len(events) != 2 || events[0].Type != counterfoil.EventClientCreated || events[0].Actor != "test" || events[0].ClientID != c.ID {
		t.Errorf("events after two clients: %+v", events)
	}
}

// clientSettings stores and reads every setting.
func clientSettings(t *testing.T, s store.Store) {
	c := newClient("c")
	c.NotBefore = micro(at.Truncate(time.Second))
	c.Secrets = []store.SecretHash{{ID: "0123abcd", Value: "pbkdf2$sha256$x=1,y=2$a b", Created: micro(at),
		Expires: micro(at.Add(time.Hour))}}
	c.Settings = store.Settings{
		Name: "name", Contact: "it's \x1f <a@example.com>\n漢字", Environment: store.EnvironmentSandbox,
		Scopes: counterfoil.Scopes{"a", "b"}, Tenants: []string{"T"},
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		Labels:    map[string]string{"team": "blue", "größe": "\"L\""}, Expires: micro(at.Add(24 * time.Hour)), ResourceServer: true,
		Tokens: store.TokenSettings{
			Lifetime: 5 * time.Minute, Algorithm: provider.AlgorithmES256, Policy: provider.PolicyReplace,
			Claims: map[string]string{"a": "b"}, CertificateBound: true, DPoPBound: true,
		},
		Authentication: store.Authentication{
			KeySet: `{"keys":[]}`, KeySetURL: "https://example.com/jwks",
			Certificate: store.CertificateRule{SubjectDN: "CN=x", DNS: "d", URI: "u", IP: "i", Email: "e"},
			Thumbprints: []string{"t"}, Federation: []store.FederationRule{{Issuer: "https://i", Claims: map[string]string{"sub": "s*"}}},
		},
	}
	got := create(t, s, c)
	c.Version, c.Revision, c.Newest = 1, got.Revision, got.Newest
	if !reflect.DeepEqual(got, c) {
		t.Errorf("got  %+v\nwant %+v", got, c)
	}
	if st, err := s.TokenStatus(t.Context(), "r", "c", "t"); err != nil || st.Policy != provider.PolicyReplace ||
		!st.NotBefore.Equal(c.NotBefore) {
		t.Errorf("standing %+v, %v", st, err)
	}
	bare := newClient("c")
	bare.Version = got.Version
	got = update(t, s, bare)
	bare.Version, bare.Revision, bare.MinIssuedAt, bare.Newest = 2, got.Revision, got.MinIssuedAt, got.Newest
	if !reflect.DeepEqual(got, bare) {
		t.Errorf("got  %+v\nwant %+v", got, bare)
	}
}

func clientExists(t *testing.T, s store.Store) {
	first := create(t, s, newClient("c"))
	first.Revision = 0
	other := newClient("c")
	other.Name = "other"
	wantErr(t, "second client", s.CreateClient(t.Context(), other, change(counterfoil.EventClientCreated, "c")), store.ErrExists)
	got := read(t, s, "r", "c")
	if got.Revision = 0; !reflect.DeepEqual(got, first) {
		t.Errorf("the first client became %+v", got)
	}
	other.Realm = "r2"
	create(t, s, other) // another realm may have the same ID
	if events := Events(t, s); len(events) != 2 {
		t.Errorf("a refused creation left an event: %+v", events)
	}
}

func clientConflict(t *testing.T, s store.Store) {
	c := create(t, s, newClient("c"))
	c.Name = "first"
	if err := s.UpdateClient(t.Context(), c, change(counterfoil.EventClientRotated, "c")); err != nil {
		t.Fatal(err)
	}
	c.Name = "second, on what was read before the first"
	wantErr(t, "stale update", s.UpdateClient(t.Context(), c, change(counterfoil.EventClientRotated, "c")), store.ErrConflict)
	if got := read(t, s, "r", "c"); got.Name != "first" || got.Version != 2 {
		t.Errorf("after a conflict the client is %+v", got)
	}
	if events := Events(t, s); len(events) != 2 {
		t.Errorf("a conflict left an event: %+v", events)
	}
}

func clientMissing(t *testing.T, s store.Store) {
	_, err := s.Client(t.Context(), "r", "none")
	wantErr(t, "Client", err, store.ErrNotFound)
	wantErr(t, "UpdateClient", s.UpdateClient(t.Context(), newClient("none"), change(counterfoil.EventClientRotated,
		"none")), store.ErrNotFound)
	wantErr(t, "DeleteClient", s.DeleteClient(t.Context(), "r", "none", change(counterfoil.EventClientDeleted, "none")), store.ErrNotFound)
	_, err = live(s, "r", "none")
	wantErr(t, "Standing", err, store.ErrNotFound)
	create(t, s, newClient("c"))
	_, err = s.Client(t.Context(), "other", "c")
	wantErr(t, "Client of another realm", err, store.ErrNotFound)
	_, err = s.Client(t.Context(), "r", "C")
	wantErr(t, "Client in another case", err, store.ErrNotFound)
}

// clientVersion tells a client from an earlier state of it, and from another one
// of its ID.
func clientVersion(t *testing.T, s store.Store) {
	same := func(c store.Client) {
		t.Helper()
		version, created, err := s.ClientVersion(t.Context(), c.Realm, c.ID)
		if err != nil || version != c.Version || !created.Equal(c.Created) {
			t.Errorf("got %d, %v, %v, want those of %+v", version, created, err, c)
		}
	}
	c := create(t, s, newClient("c"))
	same(c)
	update(t, s, c)
	c.Version++
	same(c)
	must(t, s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")))
	for _, name := range [][2]string{{"r", "c"}, {"r", "none"}} {
		_, _, err := s.ClientVersion(t.Context(), name[0], name[1])
		wantErr(t, "ClientVersion", err, store.ErrNotFound)
	}
	again := newClient("c")
	again.Created = again.Created.Add(time.Second)
	same(create(t, s, again))
	_, _, err := s.ClientVersion(t.Context(), "other", "c")
	wantErr(t, "ClientVersion in another realm", err, store.ErrNotFound)
}

// concurrentUpdates: of several changes of one version, one succeeds.
func concurrentUpdates(t *testing.T, s [2]store.Store) {
	c := create(t, s[0], newClient("c"))
	var wg sync.WaitGroup
	results := make([]error, 20)
	for i := range results {
		wg.Go(func() {
			mine := c
			mine.Name = fmt.Sprint(i)
			results[i] = s[i%2].UpdateClient(context.Background(), mine, change(counterfoil.EventClientRotated, "c"))
		})
	}
	wg.Wait()
	won := slices.Index(results, nil)
	if won < 0 || slices.Index(results[won+1:], nil) >= 0 {
		t.Fatalf("want one update to succeed, got %v", results)
	}
	for i, err := range results {
		if i != won {
			wantErr(t, "the others", err, store.ErrConflict)
		}
	}
	if got := read(t, s[0], "r", "c"); got.Name != fmt.Sprint(won) || got.Version != 2 {
		t.Errorf("the client is %+v, want the change of %d", got, won)
	}
}

func paging(t *testing.T, s store.Store) {
	// In the order of bytes; "é" is more than one.
	ids := []string{"A", "B", "Z", "a", "a-1", "a1", "b", "z", "é", "漢"}
	for _, id := range []string{"z", "é", "a1", "B", "A", "漢", "a", "b", "a-1", "Z"} {
		create(t, s, newClient(id))
	}
	other := newClient("other")
	other.Realm = "q"
	create(t, s, other)
	var got []string
	for after := ""; ; after = got[len(got)-1] {
		page, err := s.Clients(t.Context(), store.ClientQuery{Realm: "r", After: after, Limit: 3})
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, c := range page {
			got = append(got, c.ID)
		}
	}
	if !slices.Equal(got, ids) {
		t.Errorf("pages of three give %q, want %q", got, ids)
	}
	if page, err := s.Clients(t.Context(), store.ClientQuery{Realm: "nowhere", Limit: 3}); err != nil || len(page) != 0 {
		t.Errorf("clients of an unknown realm: %v, %v", page, err)
	}
}

// concurrentCreation: of several clients of one ID, one is created.
func concurrentCreation(t *testing.T, s [2]store.Store) {
	results := make([]error, 20)
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() {
			c := newClient("c")
			c.Name = fmt.Sprint(i)
			results[i] = s[i%2].CreateClient(context.Background(), c, change(counterfoil.EventClientCreated, "c"))
		})
	}
	wg.Wait()
	name := read(t, s[0], "r", "c").Name
	for i, err := range results {
		if fmt.Sprint(i) == name {
			wantErr(t, "the winner", err, nil)
		} else {
			wantErr(t, "another", err, store.ErrExists)
		}
	}
	wantEvents(t, s[1], "after 20 creations", 1)
}

func search(t *testing.T, s store.Store) {
	yes, no := true, false
	for _, c := range []store.Client{
		{ID: "Alpha_1", Settings: store.Settings{Name: "Ledger 100%"}},
		{ID: "beta", Settings: store.Settings{Contact: "Ops@Example.com", Environment: store.EnvironmentSandbox}},
		{ID: "gamma", Settings: store.Settings{Labels: map[string]string{"Team": "Bluebird"}, Environment: store.EnvironmentProduction}},
		{ID: "delta", Settings: store.Settings{Name: "ÄPFEL"}, Disabled: true},
		// "labels" and "sandbox" are at most internal words of the store.
		{ID: "epsilon", Settings: store.Settings{Labels: map[string]string{"k": "v"},
			Tokens: store.TokenSettings{Claims: map[string]string{"k": "hidden"}}}},
	} {
		c.Realm = "r"
		create(t, s, c)
	}
	for name, row := range map[string]struct {
		q    store.ClientQuery
		want []string
	}{
		"nothing asked":        {store.ClientQuery{}, []string{"Alpha_1", "beta", "delta", "epsilon", "gamma"}},
		"ID in another case":   {store.ClientQuery{Search: "aLPHA"}, []string{"Alpha_1"}},
		"name":                 {store.ClientQuery{Search: "ledger"}, []string{"Alpha_1"}},
		"contact":              {store.ClientQuery{Search: "@EXAMPLE"}, []string{"beta"}},
		"label":                {store.ClientQuery{Search: "team"}, []string{"gamma"}},
		"value of a label":     {store.ClientQuery{Search: "bird"}, []string{"gamma"}},
		"label as it is given": {store.ClientQuery{Search: "team=blue"}, []string{"gamma"}},
		"percent is a percent": {store.ClientQuery{Search: "0%"}, []string{"Alpha_1"}},
		"score is a score":     {store.ClientQuery{Search: "a_1"}, []string{"Alpha_1"}},
		"no wildcard":          {store.ClientQuery{Search: "a%a"}, nil},
		"no other character":   {store.ClientQuery{Search: "a_a"}, nil},
		"beyond ASCII as is":   {store.ClientQuery{Search: "Äpf"}, []string{"delta"}},
		"and no other case":    {store.ClientQuery{Search: "äpf"}, nil},
		"no word of the store": {store.ClientQuery{Search: "labels"}, nil},
		"no other setting":     {store.ClientQuery{Search: "hidden"}, nil},
		"environment":          {store.ClientQuery{Environment: store.EnvironmentSandbox}, []string{"beta"}},
		"disabled":             {store.ClientQuery{Disabled: &yes}, []string{"delta"}},
		"enabled":              {store.ClientQuery{Disabled: &no}, []string{"Alpha_1", "beta", "epsilon", "gamma"}},
		"all at once": {store.ClientQuery{Search: "a", Disabled: &no, Environment: store.EnvironmentProduction, After: "b"},
			[]string{"gamma"}},
		"behind an ID":     {store.ClientQuery{Search: "a", After: "beta"}, []string{"delta", "gamma"}},
		"a negative limit": {store.ClientQuery{Limit: -1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			row.q.Realm = "r"
			if row.q.Limit == 0 {
				row.q.Limit = 10
			}
			page, err := s.Clients(t.Context(), row.q)
			var ids []string
			for _, c := range page {
				ids = append(ids, c.ID)
			}
			if err != nil || !slices.Equal(ids, row.want) {
				t.Errorf("found %q, %v; want %q", ids, err, row.want)
			}
		})
	}
}

// selected: clients are found by whether they have expired, by what ends and by what
// is not used, a part at a time.
func selected(t *testing.T, s store.Store) {
	const day = 24 * time.Hour
	yes, no := true, false
	secret := func(id string, age time.Duration, ends time.Time) store.SecretHash {
		return store.SecretHash{ID: id, Value: "x", Created: at.Add(-age), Expires: ends}
	}
	never := time.Time{}
	for _, c := range []store.Client{
		{ID: "busy", Secrets: []store.SecretHash{secret("s", 400*day, never)}},
		{ID: "busykey", Secrets: []store.SecretHash{secret("s", 400*day, never)}, APIKeys: []store.SecretHash{secret("k", 400*day, never)}},
		{ID: "ended", Settings: store.Settings{Expires: at}, Secrets: []store.SecretHash{secret("s", 400*day, never)}},
		{ID: "ending", Settings: store.Settings{Expires: at.Add(5 * day)}, Secrets: []store.SecretHash{secret("s", 400*day, never)}},
		{ID: "endslate", Settings: store.Settings{Expires: at.Add(90 * day)}, Secrets: []store.SecretHash{secret("s", day, never)}},
		{ID: "keyless"},
		{ID: "lost", Secrets: []store.SecretHash{secret("s", 400*day, at)}}, // ended, so that it is not accepted
		{ID: "never", Secrets: []store.SecretHash{secret("s", 400*day, never)}},
		{ID: "new", Secrets: []store.SecretHash{secret("s", day, never)}},
		{ID: "off", Disabled: true, Secrets: []store.SecretHash{secret("s", 400*day, never)}},
		{ID: "rotated", Secrets: []store.SecretHash{secret("n", day, never), secret("s", 400*day, at.Add(6*day))}},
		{ID: "unused", APIKeys: []store.SecretHash{secret("k", 400*day, at.Add(7*day))}},
	} {
		c.Realm, c.Created = "r", at.Add(-400*day)
		if c.ID == "new" {
			c.Created = at.Add(-day)
		}
		create(t, s, c)
	}
	use := func(client, secret string, age time.Duration) store.LastUse {
		return store.LastUse{Realm: "r", ClientID: client, SecretID: secret, Time: at.Add(-age)}
	}
	must(t, s.RecordLastUses(t.Context(), []store.LastUse{
		use("busy", "s", day), use("busykey", "k", day), use("unused", "k", 91*day), use("ending", "s", 90*day),
	}))
	create(t, s, store.Client{Realm: "other", ID: "never", Secrets: []store.SecretHash{secret("s", 400*day, never)}})
	must(t, s.RecordLastUses(t.Context(), []store.LastUse{{Realm: "other", ClientID: "never", SecretID: "s", Time: at}}))
	idle, week := at.Add(-90*day), micro(at.Add(7*day))
	for name, row := range map[string]struct {
		q    store.ClientQuery
		want string
	}{
		"expired": {store.ClientQuery{Expired: &yes}, "ended"},
		"not expired": {store.ClientQuery{Expired: &no, Disabled: &no},
			"busy busykey ending endslate keyless lost never new rotated unused"},
		"expired and disabled": {store.ClientQuery{Expired: &yes, Disabled: &yes}, ""},
		"idle":                 {store.ClientQuery{Idle: idle}, "ended never off unused"},
		"idle and enabled":     {store.ClientQuery{Idle: idle, Disabled: &no, Expired: &no}, "never unused"},
		"ends in a week":       {store.ClientQuery{Ends: week}, "ending rotated"},
		"ends in eight days":   {store.ClientQuery{Ends: week.Add(day)}, "ending rotated unused"},
		"idle and ends":        {store.ClientQuery{Idle: idle, Ends: week.Add(day)}, "unused"},
		"idle by a search":     {store.ClientQuery{Idle: idle, Search: "VE"}, "never"},
	} {
		for _, limit := range []int{1, 2, 100} {
			row.q.Realm, row.q.Now, row.q.Limit, row.q.After = "r", at, limit, ""
			var ids []string
			for {
				page, err := s.Clients(t.Context(), row.q)
				if err != nil || len(page) > limit {
					t.Fatalf("%s: %d clients, %v", name, len(page), err)
				}
				for _, c := range page {
					ids = append(ids, c.ID)
				}
				if len(page) < limit {
					break
				}
				row.q.After = page[len(page)-1].ID
			}
			if got := strings.Join(ids, " "); got != row.want {
				t.Errorf("%s, %d at a time: found %q, want %q", name, limit, got, row.want)
			}
		}
	}
	all, err := s.LastUses(t.Context(), "r", "busy", "none", "unused", "busykey")
	if err != nil || len(all) != 3 || all[0].ClientID != "busy" || all[1].ClientID != "busykey" ||
		all[2].ClientID != "unused" || all[2].SecretID != "k" {
		t.Errorf("the uses of several clients are %+v, %v", all, err)
	}
}

func uses(t *testing.T, s store.Store) {
	c := newClient("c")
	c.Secrets = []store.SecretHash{{ID: "s1", Value: "x"}, {ID: "s2", Value: "y"}}
	c.APIKeys = []store.SecretHash{{ID: "k1", Value: "z"}}
	c = create(t, s, c)
	use := func(client, secret string, last time.Time) store.LastUse {
		return store.LastUse{Realm: "r", ClientID: client, SecretID: secret, Time: last}
	}
	want := func(when string, want ...store.LastUse) {
		t.Helper()
		got, err := s.LastUses(t.Context(), "r", "c")
		slices.SortFunc(got, func(a, b store.LastUse) int { return strings.Compare(a.SecretID, b.SecretID) })
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", when, got, err, want)
		}
	}
	want("before any")
	must(t, s.RecordLastUses(t.Context(), nil))
	must(t, s.RecordLastUses(t.Context(), []store.LastUse{use("c", "s1", at), use("gone", "s1", at), use("c", "k1", at)}))
	must(t, s.RecordLastUses(t.Context(), []store.LastUse{use("c", "s1", at.Add(-time.Hour)), use("c", "k1", at.Add(time.Hour))}))
	want("the later ones", use("c", "k1", micro(at.Add(time.Hour))), use("c", "s1", micro(at)))
	if again := read(t, s, "r", "c"); again.Revision != c.Revision || again.Version != c.Version {
		t.Errorf("a use changed the client: %+v", again)
	}
	c.APIKeys = append(c.APIKeys, store.SecretHash{ID: "k2", Value: "z"})
	c = update(t, s, c)
	must(t, s.RecordLastUses(t.Context(), []store.LastUse{use("c", "s2", at), use("c", "k2", at)}))
	c.Name = "another"
	c = update(t, s, c)
	want("changed otherwise", use("c", "k1", micro(at.Add(time.Hour))), use("c", "k2", micro(at)), use("c", "s1", micro(at)),
		use("c", "s2", micro(at)))
	c.Secrets, c.APIKeys = c.Secrets[1:], c.APIKeys[1:]
	update(t, s, c)
	want("those that are left", use("c", "k2", micro(at)), use("c", "s2", micro(at)))
	must(t, s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")))
	want("deleted")
	create(t, s, newClient("c"))
	want("created again")
}

// deletedID: what a client of that ID was issued stays revoked.
func deletedID(t *testing.T, s store.Store) {
	c := newClient("c")
	c.NotBefore = micro(at.Truncate(time.Second).Add(time.Hour)) // its tokens are dated so
	create(t, s, c)
	must(t, record(s, issued("c", "t"), false))
	must(t, s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")))
	again := create(t, s, newClient("c"))
	if !again.NotBefore.After(c.NotBefore) || again.NotBefore.Nanosecond() != 0 || again.Version != 1 {
		t.Errorf("created again: %+v, want NotBefore after %v", again, c.NotBefore)
	}
	if st, err := s.TokenStatus(t.Context(), "r", "c", "t"); err != nil || !st.NotBefore.Equal(again.NotBefore) || st.Disabled {
		t.Errorf("standing %+v, %v", st, err)
	}
	must(t, s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")))
	later := newClient("c")
	later.NotBefore = again.NotBefore.Add(48 * time.Hour)
	if got := create(t, s, later); !got.NotBefore.Equal(later.NotBefore) {
		t.Errorf("created with a later NotBefore: %+v", got)
	}
	fresh := create(t, s, newClient("other"))
	if !fresh.NotBefore.IsZero() {
		t.Errorf("another ID: %+v", fresh)
	}
	wantEvents(t, s, "of deleted clients stay", 7)
}

// clientsWithHash finds clients by any of their hashes, by the whole of it, as long as
// they have it.
func clientsWithHash(t *testing.T, s store.Store) {
	hash := func(digit string) string { return "sha256:" + strings.Repeat("A", 42) + digit }
	with := func(realm, id string, secrets, keys []string) store.Client {
		c := newClient(id)
		c.Realm, c.Secrets = realm, nil
		for _, v := range secrets {
			c.Secrets = append(c.Secrets, store.SecretHash{ID: "0123abcd", Value: v, Created: micro(at)})
		}
		for i, v := range keys {
			c.APIKeys = append(c.APIKeys, store.SecretHash{ID: fmt.Sprint("key", i), Value: v, Created: micro(at)})
		}
		return create(t, s, c)
	}
	const slow = "$2b$10$abcdefghijklmnopqrstuv sha256:"
	with("r", "first", []string{hash("1")}, nil)
	second := with("r", "second", []string{"sha512:" + hash("x")[7:], hash("2")}, nil)
	with("r", "keys", []string{slow, hash("9")}, []string{hash("3"), hash("4")})
	with("r", "shares", []string{hash("4")}, []string{hash("1")})
	with("other", "elsewhere", []string{hash("1")}, []string{hash("2")})
	with("r", "none", nil, nil)
	want := func(value string, ids ...string) {
		t.Helper()
		got, err := s.ClientsWithHash(t.Context(), "r", value, 10)
		var found []string
		for i := range got {
			found = append(found, got[i].ID)
			if whole, err := s.Client(t.Context(), "r", got[i].ID); err != nil || !reflect.DeepEqual(got[i], whole) {
				t.Errorf("found %+v, which is %+v, %v", got[i], whole, err)
			}
		}
		if err != nil || !slices.Equal(found, ids) {
			t.Errorf("%s: %v, want %v, error %v", value, found, ids, err)
		}
	}
	want(hash("1"), "first", "shares")
	want(hash("2"), "second")
	want(hash("3"), "keys")
	want(hash("4"), "keys", "shares")
	want(hash("9"), "keys")
	for _, value := range []string{
		hash("5"), hash("1")[:len(hash("1"))-1], hash("1") + "A", "", "sha256:", "sha512:" + hash("x")[7:], slow, "sha256:%", "'",
	} {
		want(value)
	}
	if got, err := s.ClientsWithHash(t.Context(), "r", hash("1"), 1); err != nil || len(got) != 1 || got[0].ID != "first" {
		t.Errorf("of two the first: %+v, %v", got, err)
	}
	second.Secrets = []store.SecretHash{{ID: "0123abcd", Value: hash("6"), Created: micro(at)}, second.Secrets[0]}
	if err := s.UpdateClient(t.Context(), second, change(counterfoil.EventClientRotated, "second")); err != nil {
		t.Fatal(err)
	}
	want(hash("2"))
	want(hash("6"), "second")
	if err := s.DeleteClient(t.Context(), "r", "first", change(counterfoil.EventClientDeleted, "first")); err != nil {
		t.Fatal(err)
	}
	want(hash("1"), "shares")
}
