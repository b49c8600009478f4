package wallets_test

import (
	"fmt"
	"math"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
	"github.com/counterfoil/counterfoil/internal/apis/rest/resttest"
	"github.com/counterfoil/counterfoil/internal/apis/wallets"
)

// mount is where the provider has the API.
const mount = "/api/v1"

const list = mount + "/wallets"

type (
	walletPage   = wallets.Page[wallets.Wallet]
	movementPage = wallets.Page[wallets.Movement]
)

var owners = []string{resttest.Owner.ClientID, wallets.FintechClient, wallets.RetailClient}

func serve(t testing.TB) *resttest.Server {
	db := resttest.Open(t)
	return resttest.Serve(t, db, wallets.New(wallets.Config{DB: db}), mount)
}

// all returns every wallet of a client.
func all(t testing.TB, server *resttest.Server, client string) []wallets.Wallet {
	t.Helper()
	var got walletPage
	server.Into(t, &got, resttest.Request{Path: list + "?size=100", Client: client})
	if int(got.TotalCount) != len(got.Data) {
		t.Fatalf("%d of %d wallets", len(got.Data), got.TotalCount)
	}
	return got.Data
}

// ledger returns every movement of a wallet, latest first.
func ledger(t testing.TB, server *resttest.Server, client, id string) []wallets.Movement {
	t.Helper()
	var movements []wallets.Movement
	for number := 1; ; number++ {
		var got movementPage
		server.Into(t, &got, resttest.Request{Path: fmt.Sprintf("%s/%s/movements?page=%d&size=7", list, id, number), Client: client})
		if movements = append(movements, got.Data...); len(got.Data) == 0 {
			if len(movements) != int(got.TotalCount) {
				t.Fatalf("pages have %d movements of %d", len(movements), got.TotalCount)
			}
			return movements
		}
	}
}

func TestIndex(t *testing.T) {
	server := serve(t)
	want := wallets.Index{Name: "wallets", Resources: []wallets.Resource{
		{Name: "wallets", Path: "wallets"}, {Name: "wallet", Path: "wallets/{id}"}, {Name: "movements", Path: "wallets/{id}/movements"},
	}}
	for _, path := range []string{mount + "/", mount} {
		var got wallets.Index
		server.Into(t, &got, resttest.Request{Path: path})
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v", path, got)
		}
	}
	resttest.WantHeaders(t, server.Do(t, resttest.Request{Path: mount + "/"}))
}

func TestListPages(t *testing.T) {
	server := serve(t)
	tests := []struct {
		name, query      string
		page, size, rows int64
	}{
		{"nothing asked", "", 1, 20, 12},
		{"first", "?size=5", 1, 5, 5},
		{"last", "?page=3&size=5", 3, 5, 2},
		{"past the end", "?page=4&size=5", 4, 5, 0},
		{"largest page number", "?page=9223372036854775807&size=100", math.MaxInt64, 100, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got walletPage
			server.Into(t, &got, resttest.Request{Path: list + tt.query})
			if got.Page != tt.page || got.Size != tt.size || int64(len(got.Data)) != tt.rows || got.TotalCount != 12 || got.Data == nil {
				t.Errorf("page %d, size %d, %d of %d rows", got.Page, got.Size, len(got.Data), got.TotalCount)
			}
		})
	}
}

// What a wallet says must follow from its movements, for every wallet.
func TestBalancesAreTheSumOfMovements(t *testing.T) {
	server := serve(t)
	total := 0
	for _, owner := range owners {
		for _, w := range all(t, server, owner) {
			movements := ledger(t, server, owner, w.ID)
			slices.Reverse(movements)
			total += len(movements)
			var balance int64
			at := w.OpenedAt
			for _, m := range movements {
				balance += m.Amount
				if m.BalanceAfter != balance || balance < 0 || m.Amount == 0 {
					t.Errorf("%s: %d after %d, the sum is %d", m.ID, m.BalanceAfter, m.Amount, balance)
				}
				if m.BookedAt.Before(at) || !m.BookedAt.Before(resttest.Day) || m.BookedAt.Before(resttest.Day.AddDate(0, 0, -180)) {
					t.Errorf("%s is booked at %s", m.ID, m.BookedAt)
				}
				at = m.BookedAt
			}
			if w.Balance != balance || w.Available < 0 || w.Available > balance || !w.UpdatedAt.Equal(at) {
				t.Errorf("%s (%s): balance %d, available %d, updated %s; the sum is %d, the last movement at %s", w.ID, w.Name, w.Balance, w.Available, w.UpdatedAt, balance, at)
			}
			if w.Status == "closed" && balance != 0 || w.Status != "active" && w.Available != 0 {
				t.Errorf("%s is %s with %d, of which %d available", w.ID, w.Status, balance, w.Available)
			}
		}
	}
	if total < 400 {
		t.Errorf("%d movements in all, want several hundred", total)
	}
}

func TestMinorUnits(t *testing.T) {
	server := serve(t)
	found := map[string]int{}
	for _, w := range all(t, server, resttest.Owner.ClientID) {
		found[w.Currency] = w.MinorUnits
	}
	if want := map[string]int{"BRL": 2, "USD": 2, "EUR": 2, "JPY": 0}; !reflect.DeepEqual(found, want) {
		t.Errorf("minor units %v, want %v", found, want)
	}
}

func TestMovementsByDay(t *testing.T) {
	server := serve(t)
	id := rest.ID("wallets/0")
	every := ledger(t, server, resttest.Owner.ClientID, id)
	day := every[len(every)/2].BookedAt.Format(time.DateOnly)
	on := func(m wallets.Movement) string { return m.BookedAt.Format(time.DateOnly) }
	tests := []struct {
		name, query string
		keep        func(wallets.Movement) bool
	}{
		{"everything", "size=100", func(wallets.Movement) bool { return true }},
		{"from a day", "size=100&from=" + day, func(m wallets.Movement) bool { return on(m) >= day }},
		{"to a day", "size=100&to=" + day, func(m wallets.Movement) bool { return on(m) <= day }},
		{"on one day", "size=100&from=" + day + "&to=" + day, func(m wallets.Movement) bool { return on(m) == day }},
		{"the calendar's ends", "size=100&from=0001-01-01&to=9999-12-31", func(wallets.Movement) bool { return true }},
		{"in the future", "size=100&from=9999-12-31", func(wallets.Movement) bool { return false }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var want []wallets.Movement
			for _, m := range every {
				if tt.keep(m) {
					want = append(want, m)
				}
			}
			var got movementPage
			server.Into(t, &got, resttest.Request{Path: list + "/" + id + "/movements?" + tt.query})
			if int(got.TotalCount) != len(want) || len(want) > 0 && !reflect.DeepEqual(got.Data, want) {
				t.Errorf("%d movements, want %d", got.TotalCount, len(want))
			}
		})
	}
}

func TestRequestsRefused(t *testing.T) {
	server := serve(t)
	movements := list + "/" + rest.ID("wallets/0") + "/movements"
	tests := []struct {
		name, path string
		status     int
		code       string
		words      string
	}{
		{"page 0", list + "?page=0", 400, "INVALID_REQUEST", "page must be 1 or more"},
		{"page -1", list + "?page=-1", 400, "INVALID_REQUEST", "page must be 1 or more"},
		{"page beyond 64 bits", list + "?page=9223372036854775808", 400, "INVALID_REQUEST", "page must be a whole number"},
		{"page in words", list + "?page=one", 400, "INVALID_REQUEST", "page must be a whole number"},
		{"page without value", list + "?page=", 400, "INVALID_REQUEST", "page must be a whole number"},
		{"size 0", list + "?size=0", 400, "INVALID_REQUEST", "size must be a whole number from 1 to 100"},
		{"size 101", list + "?size=101", 400, "INVALID_REQUEST", "size must be a whole number from 1 to 100"},
		{"size of a billion", movements + "?size=1000000000", 400, "INVALID_REQUEST", "size must be"},
		{"size as float", movements + "?size=1e400", 400, "INVALID_REQUEST", "size must be"},
		{"unknown parameter", list + "?limit=5", 400, "INVALID_REQUEST", `unknown query parameter "limit": allowed are page, size`},
		{"parameter on one wallet", list + "/" + rest.ID("wallets/0") + "?page=1", 400, "INVALID_REQUEST", "no query parameters are allowed here"},
		{"parameter on the index", mount + "/?page=1", 400, "INVALID_REQUEST", "no query parameters are allowed here"},
		{"repeated parameter", list + "?page=1&page=2", 400, "INVALID_REQUEST", "is given 2 times"},
		{"malformed query", list + "?page=%zz", 400, "INVALID_REQUEST", "malformed"},
		{"semicolons", list + "?page=1;size=2", 400, "INVALID_REQUEST", "malformed"},
		{"from is no day", movements + "?from=2026-02-30", 400, "INVALID_REQUEST", "from must be a day"},
		{"to with a time", movements + "?to=2026-02-03T00:00:00Z", 400, "INVALID_REQUEST", "to must be a day"},
		{"to without value", movements + "?to=", 400, "INVALID_REQUEST", "to must be a day"},
		{"from after to", movements + "?from=2026-02-02&to=2026-02-01", 400, "INVALID_REQUEST", "from must not be after to"},
		{"id is no UUID", list + "/7", 400, "INVALID_REQUEST", "not a UUID"},
		{"id is no UUID, movements", list + "/7/movements", 400, "INVALID_REQUEST", "not a UUID"},
		{"unknown id", list + "/" + rest.ID("none"), 404, "NOT_FOUND", "no wallet with this id"},
		{"unknown id, movements", list + "/" + rest.ID("none") + "/movements", 404, "NOT_FOUND", "no wallet with this id"},
		{"unknown path", mount + "/accounts", 404, "NOT_FOUND", "nothing at this path"},
		{"two slashes at the end", list + "//", 404, "NOT_FOUND", "nothing at this path"},
		{"below movements", movements + "/1", 404, "NOT_FOUND", "nothing at this path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resttest.WantProblem(t, server.Do(t, resttest.Request{Path: tt.path}), tt.status, tt.code, tt.words)
		})
	}
}

func TestWrongMethods(t *testing.T) {
	server := serve(t)
	id := rest.ID("wallets/0")
	for _, path := range []string{mount + "/", list, list + "/" + id, list + "/" + id + "/movements"} {
		for _, method := range []string{"POST", "PUT", "DELETE"} {
			got := server.Do(t, resttest.Request{Method: method, Path: path})
			resttest.WantProblem(t, got, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "use GET or HEAD")
			if allow := got.Header.Get("Allow"); allow != "GET, HEAD" {
				t.Errorf("%s %s: Allow %q", method, path, allow)
			}
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	server := serve(t)
	id := rest.ID("wallets/0")
	for _, path := range []string{list, list + "/" + id, list + "/" + id + "/movements"} {
		for _, in := range []resttest.Request{{Path: path, Client: "-"}, {Path: path, Provider: "-"}} {
			resttest.WantProblem(t, server.Do(t, in), http.StatusForbidden, "MISSING_CLIENT", "without one")
		}
	}
	server.Anonymous = true
	for _, path := range []string{mount + "/", list, list + "/" + id, list + "/" + id + "/movements", mount + "/nothing"} {
		resttest.WantProblem(t, server.Do(t, resttest.Request{Path: path}), http.StatusUnauthorized, "UNAUTHENTICATED", "")
	}
}

// A client must not learn from any answer that a wallet of another exists.
func TestClientsSeeTheirOwn(t *testing.T) {
	server := serve(t)
	seen := map[string]bool{}
	for _, owner := range owners {
		for _, w := range all(t, server, owner) {
			if seen[w.ID] {
				t.Errorf("%s is seen by two clients", w.ID)
			}
			seen[w.ID] = true
			for _, other := range owners {
				for _, rest := range []string{"", "/movements"} {
					got := server.Do(t, resttest.Request{Path: list + "/" + w.ID + rest, Client: other})
					if other == owner {
						if got.Status != http.StatusOK {
							t.Errorf("%s cannot read its own %s%s", owner, w.ID, rest)
						}
						continue
					}
					resttest.WantProblem(t, got, http.StatusNotFound, "NOT_FOUND", "there is no wallet with this id")
				}
			}
		}
	}
	if n := len(all(t, server, resttest.Owner.ClientID)); n != 12 {
		t.Errorf("the client has %d wallets, want 12", n)
	}
	if n := len(all(t, server, "somebody else")); n != 0 {
		t.Errorf("a stranger has %d wallets", n)
	}
}

func TestReferenceFollowsTheDay(t *testing.T) {
	db := resttest.Open(t)
	api := wallets.New(wallets.Config{DB: db})
	server := resttest.Serve(t, db, api, mount)
	client := resttest.Owner.ClientID
	before := all(t, server, client)
	ref := resttest.Reference
	ref.Day = ref.Day.AddDate(0, 0, 10)
	if err := apis.Prepare(t.Context(), db, api, ref); err != nil {
		t.Fatal(err)
	}
	after := all(t, server, client)
	for i, w := range after {
		w.OpenedAt, w.UpdatedAt = w.OpenedAt.AddDate(0, 0, -10), w.UpdatedAt.AddDate(0, 0, -10)
		if w != before[i] {
			t.Errorf("ten days later:\n%+v\nwant\n%+v", w, before[i])
		}
	}
}

// Realms without clients must start too.
func TestReferenceWithoutClients(t *testing.T) {
	db := resttest.Open(t)
	api := wallets.New(wallets.Config{DB: db})
	server := resttest.Serve(t, db, api, mount)
	ref := resttest.Reference
	ref.Owners = []apis.Owner{{Provider: resttest.Owner.Provider, Tenant: "T"}}
	if err := apis.Prepare(t.Context(), db, api, ref); err != nil {
		t.Fatal(err)
	}
	if n := len(all(t, server, resttest.Owner.ClientID)); n != 0 {
		t.Errorf("%d wallets, want none", n)
	}
}

// A client id is unique at its provider only: rows were once joined by it
// alone, and clients of two realms saw each other's wallets.
func TestEqualClientIDsOfTwoProviders(t *testing.T) {
	db := resttest.Open(t)
	api := wallets.New(wallets.Config{DB: db})
	server := resttest.Serve(t, db, api, mount)
	single := map[string]bool{}
	for _, owner := range owners {
		for _, w := range all(t, server, owner) {
			single[w.ID] = true
		}
	}
	ref := resttest.Reference
	providers := []string{resttest.Owner.Provider, "provider-two"}
	ref.Owners = []apis.Owner{resttest.Owner, {Provider: providers[1], ClientID: resttest.Owner.ClientID}, {Provider: providers[1], ClientID: "client-two"}}
	if err := apis.Prepare(t.Context(), db, api, ref); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, provider := range providers {
		for client, want := range map[string]int{resttest.Owner.ClientID: 12, wallets.FintechClient: 4, wallets.RetailClient: 4, "client-two": 12 * i} {
			var got walletPage
			server.Into(t, &got, resttest.Request{Path: list + "?size=100", Provider: provider, Client: client})
			if len(got.Data) != want || int(got.TotalCount) != want {
				t.Errorf("%s at %s has %d wallets, want %d", client, provider, len(got.Data), want)
			}
			for _, w := range got.Data {
				if seen[w.ID] || single[w.ID] != (i == 0) {
					t.Errorf("%s at %s has %s: seen before, or not as for one owner", client, provider, w.ID)
				}
				seen[w.ID] = true
				for _, rest := range []string{"", "/movements"} {
					foreign := server.Do(t, resttest.Request{Path: list + "/" + w.ID + rest, Provider: providers[1-i], Client: client})
					resttest.WantProblem(t, foreign, http.StatusNotFound, "NOT_FOUND", "there is no wallet with this id")
				}
			}
		}
	}
}
