package wallets_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis/rest"
	"github.com/counterfoil/counterfoil/internal/apis/rest/resttest"
	"github.com/counterfoil/counterfoil/internal/apis/wallets"
)

// TestImportBounds: what stands at a limit is taken, and one more is not.
func TestImportBounds(t *testing.T) {
	for _, row := range []struct {
		name     string
		old, new string
		ok       bool
	}{
		{"nothing available", "60000", "0", true},
		{"all available", "60000", "70000", true},
		{"one more than all", "60000", "70001", false},
		{"name of 200", "Operations", strings.Repeat("ä", 200), true},
		{"name of 201", "Operations", strings.Repeat("ä", 201), false},
		{"description of 500", "Invoice 17", strings.Repeat("ä", 500), true},
		{"description of 501", "Invoice 17", strings.Repeat("ä", 501), false},
		{"reference of 100", "INV-17", strings.Repeat("ä", 100), true},
		{"reference of 101", "INV-17", strings.Repeat("ä", 101), false},
		{"currency of two letters", "BRL", "BR", false},
		{"no currency", "BRL", "", false},
		{"currency of three digits", "BRL", "KWD", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := line(1, row.old, row.new)
			if text == line(1) {
				t.Fatal("the row changes nothing")
			}
			if _, _, err := importInto(t, text); (err == nil) != row.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestAvailableOfWallets that owe, or are empty and closed.
func TestAvailableOfWallets(t *testing.T) {
	for _, row := range []struct {
		name, text string
		ok         bool
	}{
		{"nothing of a debt", strings.Replace(plain("-5", "-5"), `"balance"`, `"available":0,"balance"`, 1), true},
		{"more than a debt", strings.Replace(plain("-5", "-5"), `"balance"`, `"available":1,"balance"`, 1), false},
		{"closed and empty", strings.Replace(plain("0", "5", "-5"), "active", "closed", 1), true},
		{"closed with a debt", strings.Replace(plain("-5", "-5"), "active", "closed", 1), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, _, err := importInto(t, row.text); (err == nil) != row.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestDamagedRows are a failure of the server's, which tells nothing of them.
func TestDamagedRows(t *testing.T) {
	id := rest.ID("wallets/0")
	for _, row := range []struct{ statement, path string }{
		{"UPDATE wallets_wallet SET opened_at = 'never'", list},
		{"UPDATE wallets_wallet SET updated_at = 'never'", list + "/" + id},
		{"UPDATE wallets_wallet SET balance = 'much'", list + "/" + id},
		{"UPDATE wallets_movement SET booked_at = 'never'", list + "/" + id + "/movements"},
		{"UPDATE wallets_movement SET amount = 'much'", list + "/" + id + "/movements"},
	} {
		t.Run(row.statement, func(t *testing.T) {
			db := resttest.Open(t)
			server := resttest.Serve(t, db, wallets.New(wallets.Config{DB: db, Log: slog.New(slog.DiscardHandler)}), mount)
			if _, err := db.Exec(row.statement); err != nil {
				t.Fatal(err)
			}
			resttest.WantProblem(t, server.Do(t, resttest.Request{Path: row.path}), 500, "SERVER_ERROR", "try again later")
		})
	}
}

// TestYearsOfAWallet are from 1980 to 2999.
func TestYearsOfAWallet(t *testing.T) {
	const opened = "2025-01-06T09:00:00-03:00"
	for at, ok := range map[string]bool{
		"1980-01-01T00:00:00Z": true, "1979-12-31T23:59:59Z": false,
		"1980-01-01T00:00:00+01:00": false, "1979-12-31T23:00:00-01:00": true,
	} {
		if _, _, err := importInto(t, line(1, opened, at)); (err == nil) != ok {
			t.Errorf("opened at %s: error %v", at, err)
		}
	}
	const booked = "2026-01-05T14:00:00Z" // of the last movement
	for at, ok := range map[string]bool{"2999-12-31T23:59:59Z": true, "3000-01-01T00:00:00Z": false} {
		if line(1, booked, at) == line(1) {
			t.Fatal("the row changes nothing")
		}
		if _, _, err := importInto(t, line(1, booked, at)); (err == nil) != ok {
			t.Errorf("booked at %s: error %v", at, err)
		}
	}
}
