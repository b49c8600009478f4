package wallets

import (
	"fmt"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
)

// Wallet is a wallet in a response.
type Wallet struct {
	// ID is a UUID, unique among all clients of all providers.
	ID string `json:"id"`
	// Name is for people.
	Name string `json:"name"`
	// Kind is "operational", "collateral", "escrow", "reserve", "settlement"
	// or "disbursement".
	Kind string `json:"kind"`
	// Currency is an ISO 4217 code, MinorUnits how many decimal digits its
	// amounts have: 2 for BRL, where 12345 is 123.45; 0 for JPY.
	Currency   string `json:"currency"`
	MinorUnits int    `json:"minorUnits"`
	// Balance is the sum of the movements. Available is the part of it that can
	// be spent, never less than 0.
	Balance   int64 `json:"balance"`
	Available int64 `json:"available"`
	// Status is "active", "blocked" or "closed"; a closed wallet is empty.
	Status string `json:"status"`
	// OpenedAt is when the wallet was made, UpdatedAt when its last movement
	// was booked.
	OpenedAt  time.Time `json:"openedAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// Movement is a change of a wallet's balance.
type Movement struct {
	// ID is a UUID, unique among all movements.
	ID string `json:"id"`
	// BookedAt is when the balance changed.
	BookedAt time.Time `json:"bookedAt"`
	// Amount is what came in (positive) or went out (negative), never 0, in
	// minor units. BalanceAfter is the sum of the amounts up to this one.
	Amount       int64 `json:"amount"`
	BalanceAfter int64 `json:"balanceAfter"`
	// Kind is one of the words in movementKinds.
	Kind string `json:"kind"`
	// Counterparty is the other party.
	Counterparty string `json:"counterparty"`
	// Description and Reference are for people and for reconciliation; they may
	// be empty.
	Description string `json:"description"`
	Reference   string `json:"reference"`
}

var (
	walletKinds    = []string{"operational", "collateral", "escrow", "reserve", "settlement", "disbursement"}
	walletStatuses = []string{"active", "blocked", "closed"}
	movementKinds  = []string{
		"opening_balance", "pix_in", "pix_out", "ted_in", "ted_out", "wire_in", "wire_out", "boleto", "card_settlement",
		"transfer", "disbursement", "repayment", "fee", "interest", "tax", "adjustment",
	}
)

// account is a wallet with its owner and its movements, earliest first.
type account struct {
	Owner apis.Owner
	Wallet
	Movements []Movement
}

// The columns of each table but the owner's, in the order of the scans.
const (
	walletColumns   = "id, name, kind, currency, balance, available, status, opened_at, updated_at"
	movementColumns = "id, booked_at, amount, balance_after, kind, counterparty, description, reference"
)

func scanWallet(row func(...any) error) (w Wallet, err error) {
	var opened, updated string
	if err := row(&w.ID, &w.Name, &w.Kind, &w.Currency, &w.Balance, &w.Available, &w.Status, &opened, &updated); err != nil {
		return w, err
	}
	w.MinorUnits, _ = minorUnits(w.Currency)
	if w.OpenedAt, err = time.Parse(layout, opened); err != nil {
		return w, fmt.Errorf("opened_at of wallet %s: %w", w.ID, err)
	}
	if w.UpdatedAt, err = time.Parse(layout, updated); err != nil {
		return w, fmt.Errorf("updated_at of wallet %s: %w", w.ID, err)
	}
	return w, nil
}

func scanMovement(row func(...any) error) (m Movement, err error) {
	var booked string
	if err := row(&m.ID, &booked, &m.Amount, &m.BalanceAfter, &m.Kind, &m.Counterparty, &m.Description, &m.Reference); err != nil {
		return m, err
	}
	if m.BookedAt, err = time.Parse(layout, booked); err != nil {
		return m, fmt.Errorf("booked_at of movement %s: %w", m.ID, err)
	}
	return m, nil
}

// layout is the format of times in the tables.
const layout = "2006-01-02T15:04:05Z"

func sortable(t time.Time) string { return t.UTC().Format(layout) }

// currencies are the codes of ISO 4217 that are in use, funds and metals left
// out, by how many digits their minor unit has.
var currencies = map[int]string{
	0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
	2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC " +
		"CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR " +
		"JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD " +
		"NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN " +
		"SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
	3: "BHD IQD JOD KWD LYD OMR TND",
}

// minorUnits returns how many digits a currency's minor unit has.
func minorUnits(code string) (int, bool) {
	if len(code) != 3 || strings.Contains(code, " ") {
		return 0, false
	}
	for digits, codes := range currencies {
		if strings.Contains(" "+codes+" ", " "+code+" ") {
			return digits, true
		}
	}
	return 0, false
}
