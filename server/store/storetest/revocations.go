package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// revocation revokes one token.
func revocation(id, token string) store.Revocation {
	return store.Revocation{Realm: "r", ClientID: id, TokenID: token, Expires: at.Add(time.Hour)}
}

func revoke(s store.Store, id, token string) error {
	return s.RevokeToken(context.Background(), revocation(id, token), change(counterfoil.EventTokenRevoked, id))
}

// follower is the state of a follower of a realm's revocations.
type follower struct {
	feed  string
	after int64
	ends  map[string]store.Revocation
}

// follow reads what is new, in pages of three.
func (f *follower) follow(t *testing.T, s store.Store) {
	t.Helper()
	for {
		page, err := s.Revocations(context.Background(), "r", f.after, 3)
		if err != nil {
			t.Error(err)
			return
		}
		if f.ends == nil {
			f.feed, f.ends = page.Feed, map[string]store.Revocation{}
		}
		if page.Feed != f.feed || page.Feed == "" {
			t.Errorf("the feed was %q and is %q", f.feed, page.Feed)
		}
		for _, r := range page.Revocations {
			if r.Sequence <= f.after || r.Sequence > page.Last {
				t.Errorf("revocation %d after %d on a page up to %d", r.Sequence, f.after, page.Last)
			}
			f.after = r.Sequence
			f.ends[r.ClientID+"\x00"+r.TokenID] = r
		}
		if page.Last < f.after {
			t.Errorf("a page after %d goes up to %d", f.after, page.Last)
		}
		f.after = page.Last
		if len(page.Revocations) < 3 {
			return
		}
	}
}

// accepts reports whether a follower accepts a token.
func (f *follower) accepts(id, token string, issued time.Time) bool {
	all := f.ends[id+"\x00"]
	_, one := f.ends[id+"\x00"+token]
	return !one && !all.Disabled && !issued.Before(all.NotBefore)
}

func revokeToken(t *testing.T, s store.Store) {
	create(t, s, newClient("c"))
	before := read(t, s, "r", "c")
	must(t, revoke(s, "c", "t"))
	var f follower
	f.follow(t, s)
	first, ok := f.ends["c\x00t"]
	want := store.Revocation{Sequence: first.Sequence, Realm: "r", ClientID: "c", TokenID: "t", Expires: micro(at.Add(time.Hour))}
	if !ok || first != want {
		t.Errorf("got  %+v\nwant %+v", first, want)
	}
	after := read(t, s, "r", "c")
	if after.Version != before.Version || after.Revision == before.Revision {
		t.Errorf("the client was %+v and is %+v", before, after)
	}
	must(t, revoke(s, "c", "t")) // changes nothing
	page, err := s.Revocations(t.Context(), "r", first.Sequence, 10)
	if err != nil || len(page.Revocations) != 0 {
		t.Errorf("revoked again: %+v, %v", page, err)
	}
	wantEvents(t, s, "created, revoked", 2)
	// In another realm and for another client, tokens may have the same ID.
	if st, err := s.TokenStatus(t.Context(), "r", "c", "t"); err != nil || !st.Revoked {
		t.Errorf("standing %+v, %v", st, err)
	}
	create(t, s, newClient("d"))
	if st, err := s.TokenStatus(t.Context(), "r", "d", "t"); err != nil || st.Revoked {
		t.Errorf("standing of another client %+v, %v", st, err)
	}
}

// revokeTooMany: a client has room for MaxRevoked, and for others when those
// have expired.
func revokeTooMany(t *testing.T, s store.Store) {
	create(t, s, newClient("c"))
	create(t, s, newClient("d"))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for n := next.Add(1); n <= store.MaxRevoked; n = next.Add(1) {
				if err := revoke(s, "c", fmt.Sprint(n)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	before := read(t, s, "r", "c")
	wantErr(t, "one more", revoke(s, "c", "more"), store.ErrTooManyRevocations)
	if after := read(t, s, "r", "c"); after.Revision != before.Revision {
		t.Error("a refused revocation left a mark")
	}
	wantErr(t, "one of them again", revoke(s, "c", "1"), nil)
	wantErr(t, "of another client", revoke(s, "d", "more"), nil)
	e := change(counterfoil.EventTokenRevoked, "c")
	e.Time = at.Add(time.Hour) // when all of them have expired
	wantErr(t, "an hour later", s.RevokeToken(t.Context(), revocation("c", "more"), e), nil)
}

// clientRevocations: a change of a client becomes a revocation of its tokens,
// in its latest state.
func clientRevocations(t *testing.T, s store.Store) {
	c := create(t, s, newClient("c"))
	var f follower
	want := func(when string, n int, want store.Revocation) {
		t.Helper()
		before := f.ends["c\x00"].Sequence
		f.follow(t, s)
		got := f.ends["c\x00"]
		if len(f.ends) != n || n > 0 && got.Sequence <= before {
			t.Errorf("%s: %+v", when, f.ends)
		}
		if n > 0 && got.Expires.Before(at.Add(store.MaxLifetime)) {
			t.Errorf("%s: can be forgotten at %v, when tokens of %v have not expired", when, got.Expires, at)
		}
		want.Sequence, want.Expires = got.Sequence, got.Expires
		if n > 0 {
			want.Realm, want.ClientID = "r", "c"
		}
		if got != want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", when, got, want)
		}
	}
	want("created", 0, store.Revocation{})
	c.Name = "changed"
	c = update(t, s, c)
	want("changed", 0, store.Revocation{})
	c.NotBefore = micro(at.Truncate(time.Second))
	c = update(t, s, c)
	want("all revoked", 1, store.Revocation{NotBefore: c.NotBefore})
	c.Disabled = true
	c = update(t, s, c)
	want("disabled", 1, store.Revocation{NotBefore: c.NotBefore, Disabled: true})
	c.Disabled = false
	update(t, s, c)
	want("enabled", 1, store.Revocation{NotBefore: c.NotBefore})
	must(t, s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")))
	deleted := c.NotBefore.Add(time.Second)
	want("deleted", 1, store.Revocation{NotBefore: deleted, Disabled: true})
	create(t, s, newClient("c"))
	want("created again", 1, store.Revocation{NotBefore: deleted})
	passes(t, s, f.ends["c\x00"].Expires.Add(24*time.Hour))
	page, err := s.Revocations(t.Context(), "r", 0, 10)
	if err != nil || len(page.Revocations) != 0 || page.Last < f.ends["c\x00"].Sequence {
		t.Errorf("when it matters no more: %+v, %v", page, err)
	}
	page, err = s.Revocations(t.Context(), "q", 0, 10)
	if err != nil || len(page.Revocations) != 0 || page.Feed != f.feed {
		t.Errorf("another realm: %+v, %v", page, err)
	}
}

func revocationPages(t *testing.T, s store.Store) {
	for _, id := range []string{"a", "b"} {
		create(t, s, newClient(id))
	}
	must(t, revoke(s, "a", "1"))
	for _, id := range []string{"a", "b"} {
		c := read(t, s, "r", id)
		c.Disabled = true
		update(t, s, c)
	}
	must(t, revoke(s, "b", "2"))
	c := read(t, s, "r", "a")
	c.Disabled = false
	update(t, s, c)
	for _, limit := range []int{1, 2, 3, 4, 10} {
		var got []string
		var after int64
		for {
			page, err := s.Revocations(t.Context(), "r", after, limit)
			must(t, err)
			for _, r := range page.Revocations {
				got = append(got, r.ClientID+r.TokenID)
			}
			if after = page.Last; len(page.Revocations) < limit {
				break
			}
		}
		if want := []string{"a1", "b", "b2", "a"}; !slices.Equal(got, want) {
			t.Errorf("pages of %d: %q, want %q", limit, got, want)
		}
	}
	for _, limit := range []int{0, -1} {
		if page, err := s.Revocations(t.Context(), "r", 1, limit); err != nil || len(page.Revocations) != 0 ||
			page.Last != 1 || page.Feed == "" {
			t.Errorf("a page of %d: %+v, %v", limit, page, err)
		}
	}
}

// concurrentRevocation: a token that is revoked concurrently is revoked once.
func concurrentRevocation(t *testing.T, s [2]store.Store) {
	create(t, s[0], newClient("c"))
	var wg sync.WaitGroup
	for n := range 24 {
		wg.Go(func() {
			for j := range 5 {
				if err := revoke(s[n%2], "c", fmt.Sprint(j)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantEvents(t, s[0], "five tokens", 1+5)
	var f follower
	f.follow(t, s[1])
	if len(f.ends) != 5 {
		t.Errorf("%d revocations: %+v", len(f.ends), f.ends)
	}
}

// followedWhileWriting: a follower misses nothing while others write.
func followedWhileWriting(t *testing.T, s [2]store.Store) {
	const writers, each = 20, 10
	for n := range writers {
		create(t, s[0], newClient(fmt.Sprint(n)))
	}
	var wg sync.WaitGroup
	for n := range writers {
		id := fmt.Sprint(n)
		wg.Go(func() {
			for j := range each {
				if err := revoke(s[n%2], id, fmt.Sprint(j)); err != nil {
					t.Error(err)
				}
				c, err := s[n%2].Client(context.Background(), "r", id)
				if err == nil {
					c.Disabled = !c.Disabled
					err = s[n%2].UpdateClient(context.Background(), c, change(counterfoil.EventClientDisabled, id))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { wg.Wait(); close(written) }()
	var f, late follower
	for over := false; !over; {
		select {
		case <-written:
			over = true
		default:
		}
		f.follow(t, s[0])
	}
	late.follow(t, s[1])
	if len(late.ends) != writers*(each+1) {
		t.Errorf("%d revocations, want %d", len(late.ends), writers*(each+1))
	}
	for key, r := range late.ends {
		if f.ends[key] != r {
			t.Errorf("who followed has %+v, who came late %+v", f.ends[key], r)
		}
	}
}

// revokedIndexes checks a token for each way of revoking it, and one valid
// token.
func revokedIndexes(t *testing.T, s store.Store) {
	for _, id := range []string{"serves", "revoked", "disabled", "before", "deleted", "again", "replaced", "ended", "independent"} {
		create(t, s, newClient(id))
	}
	index := int64(0)
	add := func(id, token string, replace bool) {
		t.Helper()
		i := issue(s, issued(id, token), replace)
		i.StatusIndex = index
		index++
		_, err := s.RecordIssued(t.Context(), i)
		must(t, err)
	}
	disable := func(id string, disabled bool) {
		c := read(t, s, "r", id)
		c.Disabled = disabled
		update(t, s, c)
	}
	for _, id := range []string{"serves", "revoked", "disabled", "before", "deleted", "again"} {
		add(id, "t", false) // indexes 0 to 5
	}
	add("replaced", "old", true) // 6
	add("replaced", "new", true) // 7
	add("ended", "t", true)      // 8
	add("independent", "a", false)
	add("independent", "b", false)                          // 10
	must(t, record(s, issued("serves", "no index"), false)) // in no list
	must(t, revoke(s, "revoked", "t"))
	must(t, revoke(s, "serves", "another"))
	disable("disabled", true)
	c := read(t, s, "r", "before")
	c.NotBefore = at.Truncate(time.Second).Add(time.Second)
	update(t, s, c)
	for _, id := range []string{"deleted", "again"} {
		must(t, s.DeleteClient(t.Context(), "r", id, change(counterfoil.EventClientDeleted, id)))
	}
	create(t, s, newClient("again"))
	disable("ended", true)
	disable("ended", false)
	for _, row := range []struct {
		name        string
		realm       string
		first, last int64
		want        []int64
	}{
		{"all", "r", 0, 100, []int64{1, 2, 3, 4, 5, 6, 8}},
		{"a part", "r", 2, 5, []int64{2, 3, 4}},
		{"nothing", "r", 9, 11, nil},
		{"another realm", "q", 0, 100, nil},
		{"expired", "r", 0, 100, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.name == "expired" {
				passes(t, s, at.Add(26*time.Hour))
			}
			got, err := s.RevokedIndexes(t.Context(), row.realm, row.first, row.last)
			if slices.Sort(got); err != nil || !slices.Equal(got, row.want) {
				t.Errorf("got %v, %v; want %v", got, err, row.want)
			}
		})
	}
}

// passes advances the clock to a time.
func passes(t *testing.T, s store.Store, until time.Time) {
	t.Helper()
	e := counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: until, Realm: "r"}
	must(t, s.RecordEvents(t.Context(), e))
}

// concurrentIndexes: no index is given twice, in any process.
func concurrentIndexes(t *testing.T, s [2]store.Store) {
	var mu sync.Mutex
	given := map[int64]int{}
	var wg sync.WaitGroup
	for n := range 24 {
		wg.Go(func() {
			for j := range int64(10) {
				first, err := s[n%2].StatusIndexes(context.Background(), "r", j+1)
				if err != nil || first < 0 {
					t.Errorf("first index %d, %v", first, err)
					return
				}
				mu.Lock()
				for i := range j + 1 {
					given[first+i]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(given) != 24*55 {
		t.Errorf("%d indexes were given once or more often, want %d given once", len(given), 24*55)
	}
	if first, err := s[0].StatusIndexes(t.Context(), "another", 1); err != nil || first != 0 {
		t.Errorf("the first index of another realm is %d, %v", first, err)
	}
}
