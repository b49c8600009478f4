package wallets_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/rest/resttest"
	"github.com/counterfoil/counterfoil/internal/apis/wallets"
)

// line returns a good line of an import, with parts replaced.
func line(n int, oldnew ...string) string {
	good := fmt.Sprintf(`{"provider":"provider-one","clientId":"client-one","id":"6F1C2F2E-55A4-4D0E-9B1A-0000000000%02d","name":"Operations","kind":"operational",`, n) +
		`"currency":"BRL","balance":70000,"available":60000,"status":"active","openedAt":"2025-01-06T09:00:00-03:00","movements":[` +
		fmt.Sprintf(`{"id":"6f1c2f2e-55a4-4d0e-9b1a-1000000000%02d","bookedAt":"2026-01-05T14:00:00Z",`, n) +
		`"amount":100000,"balanceAfter":100000,"kind":"pix_in","counterparty":"Mercado Azul","description":"Invoice 17","reference":"INV-17"},` +
		fmt.Sprintf(`{"id":"6f1c2f2e-55a4-4d0e-9b1a-2000000000%02d","bookedAt":"2026-01-05T14:00:00Z",`, n) +
		`"amount":-30000,"kind":"pix_out","counterparty":"Folha"}]}`
	return strings.NewReplacer(oldnew...).Replace(good)
}

// plain returns a line with movements of the given amounts.
func plain(balance string, amounts ...string) string {
	var movements []string
	for i, amount := range amounts {
		movements = append(movements, fmt.Sprintf(`{"id":"6f1c2f2e-55a4-4d0e-9b1a-3000000000%02d","bookedAt":"2026-01-05T14:00:00Z","amount":%s,"kind":"adjustment","counterparty":"X"}`, i, amount))
	}
	return `{"provider":"provider-one","clientId":"client-one","id":"6f1c2f2e-55a4-4d0e-9b1a-400000000000","name":"Plain","kind":"reserve","currency":"JPY","status":"active",` +
		`"openedAt":"2025-01-06T09:00:00Z","balance":` + balance + `,"movements":[` + strings.Join(movements, ",") + `]}`
}

func importInto(t testing.TB, text string) (*resttest.Server, int, error) {
	db := resttest.Open(t)
	api := wallets.New(wallets.Config{DB: db})
	server := resttest.Serve(t, db, api, mount)
	n, err := apis.Import(t.Context(), db, api, strings.NewReader(text))
	return server, n, err
}

func TestImport(t *testing.T) {
	server, n, err := importInto(t, line(1)+"\n\n"+line(2, "client-one", "other")+"\n"+line(3, "provider-one", "other"))
	if err != nil || n != 9 {
		t.Fatalf("imported %d rows, error %v", n, err)
	}
	tests := []struct{ name, path, want string }{
		{"wallet", "", `{"id":"6f1c2f2e-55a4-4d0e-9b1a-000000000001","name":"Operations","kind":"operational","currency":"BRL","minorUnits":2,` +
			`"balance":70000,"available":60000,"status":"active","openedAt":"2025-01-06T12:00:00Z","updatedAt":"2026-01-05T14:00:00Z"}`},
		{"movements", "/movements", `{"page":1,"size":20,"totalCount":2,"data":[` +
			`{"id":"6f1c2f2e-55a4-4d0e-9b1a-200000000001","bookedAt":"2026-01-05T14:00:00Z","amount":-30000,"balanceAfter":70000,` +
			`"kind":"pix_out","counterparty":"Folha","description":"","reference":""},` +
			`{"id":"6f1c2f2e-55a4-4d0e-9b1a-100000000001","bookedAt":"2026-01-05T14:00:00Z","amount":100000,"balanceAfter":100000,` +
			`"kind":"pix_in","counterparty":"Mercado Azul","description":"Invoice 17","reference":"INV-17"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := server.Do(t, resttest.Request{Path: list + "/6f1c2f2e-55a4-4d0e-9b1a-000000000001" + tt.path})
			if string(got.Body) != tt.want+"\n" {
				t.Errorf("answer\n%s\nwant\n%s", got.Body, tt.want)
			}
		})
	}
	if n := len(all(t, server, "client-one")); n != 1 {
		t.Errorf("the client has %d wallets, want the one that is its own", n)
	}
}

func TestImportKeepsAmountsExactly(t *testing.T) {
	tests := []struct {
		name               string
		balance            int64
		amounts            []string
		available          int64
		withoutAvailableIn string
	}{
		{"largest", math.MaxInt64, []string{"9223372036854775807"}, math.MaxInt64, "active"},
		{"beyond a float's 53 bits", 9007199254740993, []string{"9007199254740993"}, 9007199254740993, "active"},
		{"least", math.MinInt64, []string{"-9223372036854775808"}, 0, "active"},
		{"there and back", 0, []string{"9223372036854775807", "-9223372036854775807"}, 0, "active"},
		{"no movements", 0, nil, 0, "active"},
		{"blocked", 500, []string{"500"}, 0, "blocked"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(plain(fmt.Sprint(tt.balance), tt.amounts...), `"active"`, `"`+tt.withoutAvailableIn+`"`, 1)
			server, _, err := importInto(t, text)
			if err != nil {
				t.Fatal(err)
			}
			got := all(t, server, "client-one")
			if len(got) != 1 || got[0].Balance != tt.balance || got[0].Available != tt.available || got[0].MinorUnits != 0 {
				t.Errorf("wallets %+v", got)
			}
		})
	}
}

func TestImportRefusesRows(t *testing.T) {
	tests := []struct{ name, row, words string }{
		{"no object", `7`, "not a JSON object"},
		{"truncated", line(2)[:200], "not one JSON object"},
		{"unknown field", line(2, `"name"`, `"title"`), `unknown field "title": allowed are provider, clientId, id, name,`},
		{"unknown movement field", line(2, `"reference"`, `"ref"`), `unknown field "ref" in movements[0]: allowed are id, bookedAt,`},
		{"repeated wallet", line(1, "b1a-1", "b1a-5", "b1a-2", "b1a-6"), "is on line 1 already"},
		{"repeated wallet of another client", line(1, "client-one", "other", "b1a-1", "b1a-5", "b1a-2", "b1a-6"), "is on line 1 already"},
		{"repeated wallet of another provider", line(1, "provider-one", "other", "b1a-1", "b1a-5", "b1a-2", "b1a-6"), "is on line 1 already"},
		{"repeated movement", line(2, "b1a-200000000002", "B1A-200000000001"), "movements[1].id 6f1c2f2e-55a4-4d0e-9b1a-200000000001 is on line 1 already"},
		{"repeated movement in the wallet", line(2, "b1a-2", "b1a-1"), "is on line 3 already"},
		{"no provider", line(2, `"provider":"provider-one",`, ""), "provider is missing"},
		{"blank provider", line(2, "provider-one", " "), "provider is missing"},
		{"no client", line(2, `"clientId":"client-one",`, ""), "clientId is missing"},
		{"no name", line(2, "Operations", ""), "name is missing"},
		{"id is no UUID", line(2, "6F1C2F2E", "6F1C2F2X"), "id is not a UUID"},
		{"movement id is no UUID", line(2, "6f1c2f2e", "6f1c2f2x"), "movements[0].id is not a UUID"},
		{"unknown kind", line(2, `"operational"`, `"savings"`), "kind must be one of operational, collateral,"},
		{"unknown status", line(2, `"active"`, `"open"`), "status must be one of active, blocked, closed"},
		{"unknown movement kind", line(2, `"pix_in"`, `"cheque"`), "movements[0].kind must be one of opening_balance,"},
		{"unknown currency", line(2, `"BRL"`, `"BRZ"`), "currency must be an ISO 4217 code"},
		{"currency in lower case", line(2, `"BRL"`, `"brl"`), "currency must be an ISO 4217 code"},
		{"two halves of codes", line(2, `"BRL"`, `"D A"`), "currency must be an ISO 4217 code"},
		{"no day of opening", line(2, `"openedAt":"2025-01-06T09:00:00-03:00",`, ""), "openedAt is required"},
		{"booked before opening", line(2, "2025-01-06", "2026-01-06"), "movements[0].bookedAt is before"},
		{"latest first", line(2, `02","bookedAt":"2026-01-05T14:00:00Z","amount":-30000`, `02","bookedAt":"2026-01-05T13:59:59Z","amount":-30000`), "movements[1].bookedAt is before"},
		{"amount as float", line(2, "-30000", "-30000.0"), "movements[1].amount must be a whole number of at most 64 bits"},
		{"amount with exponent", line(2, "100000,", "1e5,"), "movements[0].amount must be a whole number"},
		{"amount as string", line(2, "-30000", `"-30000"`), "movements[1].amount must be a whole number"},
		{"amount beyond 64 bits", line(2, "-30000", "-9223372036854775809"), "movements[1].amount must be a whole number"},
		{"amount 0", line(2, "-30000", "0"), "movements[1].amount must be a whole number of minor units other than 0"},
		{"no amount", line(2, `"amount":-30000,`, ""), "movements[1].amount must be"},
		{"balance beyond 64 bits", line(2, "70000", "9223372036854775808"), "balance must be a whole number"},
		{"balance is not the sum", line(2, "70000", "70001"), "balance is 70001, but the movements' amounts add up to 70000"},
		{"balance after is not the sum", line(2, `"balanceAfter":100000`, `"balanceAfter":100001`), "movements[0].balanceAfter is 100001, but the amounts so far add up to 100000"},
		{"no balance", line(2, `"balance":70000,`, ""), "balance is missing"},
		{"balance without movements", plain("1"), "balance is 1, but the movements' amounts add up to 0"},
		{"sum above 64 bits", plain("0", "9223372036854775807", "1"), "movements[1].amount takes the balance out of 64 bits"},
		{"sum below 64 bits", plain("0", "-1", "-9223372036854775808"), "movements[1].amount takes the balance out of 64 bits"},
		{"more available than there is", line(2, "60000", "70001"), "available must be from 0 to the balance"},
		{"available below 0", line(2, "60000", "-1"), "available must be from 0 to the balance"},
		{"closed with money", line(2, `"active"`, `"closed"`), "balance of a closed wallet must be 0"},
		{"null movement", line(2, `"movements":[`, `"movements":[null,`), "movements[0] must not be null"},
		{"movements as object", line(2, `"movements":[`, `"movements":{},"x":[`), "movements must be an array"},
		{"control character", line(2, "Folha", `Fol\nha`), "movements[1].counterparty has a control character"},
	}
	db := resttest.Open(t)
	api := wallets.New(wallets.Config{DB: db})
	server := resttest.Serve(t, db, api, mount)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := line(1) + "\n\n" + tt.row + "\n" + line(9)
			_, err := apis.Import(t.Context(), db, api, strings.NewReader(text))
			var row *apis.RowError
			if !errors.As(err, &row) || row.Line != 3 || !strings.Contains(err.Error(), tt.words) {
				t.Fatalf("error %v, want line 3 and %q", err, tt.words)
			}
			if n := len(all(t, server, resttest.Owner.ClientID)); n != 12 {
				t.Errorf("%d wallets after a refused import, want the 12 from before", n)
			}
		})
	}
}

// FuzzImport looks for a file that is accepted although its money does not add
// up.
func FuzzImport(f *testing.F) {
	db := resttest.Open(f)
	api := wallets.New(wallets.Config{DB: db})
	resttest.Serve(f, db, api, mount)
	for _, seed := range []string{"", line(1), line(1) + "\n" + line(2), line(1) + "\n" + line(1), plain("9223372036854775807", "9223372036854775807"), "{}", "[[", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := apis.Import(t.Context(), db, api, strings.NewReader(text))
		var row *apis.RowError
		if err != nil {
			if !errors.Is(err, apis.ErrEmpty) && (!errors.As(err, &row) || row.Line < 1) {
				t.Fatalf("an error without a line: %v", err)
			}
			return
		}
		var wrong int
		err = db.QueryRow(`SELECT COUNT(*) FROM wallets_wallet w WHERE balance <>
			(SELECT COALESCE(SUM(amount), 0) FROM wallets_movement m WHERE m.wallet_id = w.id)`).Scan(&wrong)
		if err != nil || wrong != 0 {
			t.Fatalf("%d wallets do not add up, error %v", wrong, err)
		}
	})
}
