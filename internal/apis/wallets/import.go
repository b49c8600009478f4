package wallets

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
)

// line is a line of a file to import.
type line struct {
	Provider  string    `json:"provider"`
	ClientID  string    `json:"clientId"`
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`
	Currency  string    `json:"currency"`
	Balance   *int64    `json:"balance"`
	Available *int64    `json:"available"`
	Status    string    `json:"status"`
	OpenedAt  time.Time `json:"openedAt"`
	Movements []entry   `json:"movements"`
}

// entry is a movement in a line.
type entry struct {
	ID           string    `json:"id"`
	BookedAt     time.Time `json:"bookedAt"`
	Amount       *int64    `json:"amount"`
	BalanceAfter *int64    `json:"balanceAfter"`
	Kind         string    `json:"kind"`
	Counterparty string    `json:"counterparty"`
	Description  string    `json:"description"`
	Reference    string    `json:"reference"`
}

// Import replaces all wallets, of all clients, with those of a JSON Lines file.
// A line is a wallet with its owner, the client that provider and clientId
// identify together, and all its movements, earliest first:
//
//	{"provider":"a55","clientId":"3n4b5urk1ft4fl3mg5e62d9ado",
//	 "id":"6f1c2f2e-55a4-4d0e-9b1a-0c7a4de0a001","name":"Operations","kind":"operational","currency":"BRL","balance":70000,
//	 "available":60000,"status":"active","openedAt":"2025-01-06T12:00:00Z","movements":[
//	  {"id":"6f1c2f2e-55a4-4d0e-9b1a-0c7a4de0b001","bookedAt":"2026-01-05T14:00:00Z",
//	   "amount":100000,"balanceAfter":100000,"kind":"pix_in","counterparty":"Mercado Azul",
//	   "description":"Invoice 17","reference":"INV-17"},
//	  {"id":"6f1c2f2e-55a4-4d0e-9b1a-0c7a4de0b002","bookedAt":"2026-01-06T14:00:00Z",
//	   "amount":-30000,"kind":"pix_out","counterparty":"Folha"}]}
//
// (on one line). The balance must be the sum of the amounts, and a balanceAfter
// the sum so far. Movements may be left out of a wallet whose balance is 0, and
// from a movement balanceAfter, description and reference; available is then
// the balance of an active wallet, and 0 otherwise. The number that Import
// returns counts wallets and movements.
func (a *API) Import(ctx context.Context, tx *sql.Tx, r io.Reader) (int, error) {
	add, err := replaceAll(ctx, tx)
	if err != nil {
		return 0, err
	}
	wallets, movements := apis.IDs{}, apis.IDs{}
	err = apis.ReadRows(r, func(number int, in *line) (func() error, error) {
		account, err := in.account()
		if err != nil {
			return nil, err
		}
		if err := wallets.Claim(number, "id", account.ID); err != nil {
			return nil, err
		}
		for i, m := range account.Movements {
			if err := movements.Claim(number, fmt.Sprintf("movements[%d].id", i), m.ID); err != nil {
				return nil, err
			}
		}
		return func() error { return add(account) }, nil
	})
	return len(wallets) + len(movements), err
}

// account checks a line and derives what it omits.
func (in *line) account() (*account, error) {
	id, err := rest.ParseID(in.ID)
	if err != nil {
		return nil, fmt.Errorf("id is %w", err)
	}
	if err := cmp.Or(
		apis.CheckText("provider", in.Provider, 200, false),
		apis.CheckText("clientId", in.ClientID, 200, false),
		apis.CheckText("name", in.Name, 200, false),
		oneOf("kind", in.Kind, walletKinds),
		oneOf("status", in.Status, walletStatuses),
		inYears("openedAt", in.OpenedAt),
	); err != nil {
		return nil, err
	}
	units, ok := minorUnits(in.Currency)
	if !ok {
		return nil, errors.New("currency must be an ISO 4217 code in use, such as BRL")
	}
	a := &account{Owner: apis.Owner{Provider: in.Provider, ClientID: in.ClientID}, Wallet: Wallet{
		ID: id, Name: in.Name, Kind: in.Kind, Currency: in.Currency, MinorUnits: units, Status: in.Status,
		OpenedAt: in.OpenedAt.Truncate(time.Second), UpdatedAt: in.OpenedAt.Truncate(time.Second),
	}}
	for i := range in.Movements {
		if err := a.book(&in.Movements[i]); err != nil {
			return nil, fmt.Errorf("movements[%d].%w", i, err)
		}
	}
	return a, in.settle(a)
}

// book adds a movement from a file to the account.
func (a *account) book(in *entry) error {
	id, err := rest.ParseID(in.ID)
	if err != nil {
		return fmt.Errorf("id is %w", err)
	}
	if err := cmp.Or(
		inYears("bookedAt", in.BookedAt),
		oneOf("kind", in.Kind, movementKinds),
		apis.CheckText("counterparty", in.Counterparty, 200, false),
		apis.CheckText("description", in.Description, 500, true),
		apis.CheckText("reference", in.Reference, 100, true),
	); err != nil {
		return err
	}
	at := in.BookedAt.Truncate(time.Second)
	switch {
	case at.Before(a.UpdatedAt):
		return errors.New("bookedAt is before the movement ahead of it, or before openedAt: write the earliest first")
	case in.Amount == nil || *in.Amount == 0:
		return errors.New("amount must be a whole number of minor units other than 0")
	case *in.Amount > 0 && a.Balance > math.MaxInt64-*in.Amount, *in.Amount < 0 && a.Balance < math.MinInt64-*in.Amount:
		return errors.New("amount takes the balance out of 64 bits")
	}
	a.Balance += *in.Amount
	if in.BalanceAfter != nil && *in.BalanceAfter != a.Balance {
		return fmt.Errorf("balanceAfter is %d, but the amounts so far add up to %d", *in.BalanceAfter, a.Balance)
	}
	a.UpdatedAt = at
	a.Movements = append(a.Movements, Movement{
		ID: id, BookedAt: at, Amount: *in.Amount, BalanceAfter: a.Balance, Kind: in.Kind,
		Counterparty: in.Counterparty, Description: in.Description, Reference: in.Reference,
	})
	return nil
}

// settle checks the line's statements about the balance after its movements.
func (in *line) settle(a *account) error {
	switch {
	case in.Balance == nil:
		return errors.New("balance is missing: give the sum of the movements' amounts")
	case *in.Balance != a.Balance:
		return fmt.Errorf("balance is %d, but the movements' amounts add up to %d", *in.Balance, a.Balance)
	case in.Status == "closed" && a.Balance != 0:
		return errors.New("balance of a closed wallet must be 0")
	case in.Available != nil && (*in.Available < 0 || *in.Available > max(a.Balance, 0)):
		return errors.New("available must be from 0 to the balance")
	case in.Available != nil:
		a.Available = *in.Available
	case in.Status == "active":
		a.Available = max(a.Balance, 0)
	}
	return nil
}

func oneOf(name, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s must be one of %s", name, strings.Join(allowed, ", "))
}

func inYears(name string, t time.Time) error {
	if y := t.UTC().Year(); y < 1980 || y > 2999 {
		return fmt.Errorf("%s is required, in a year from 1980 to 2999", name)
	}
	return nil
}
