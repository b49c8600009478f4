package wallets

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
)

// The clients of reference wallets in addition to those of the Reference, at
// each of its providers. No client is created with these ids: their rows show
// that others cannot read them.
const (
	FintechClient = "reference-client-fintech"
	RetailClient  = "reference-client-retail"
)

// referenceDays is how far back reference movements go.
const referenceDays = 180

// Reference replaces all wallets with invented ones: twelve of each client of
// ref, and at each of their providers some of FintechClient and RetailClient;
// none if ref has no client. Their movements are of the 180 days before the day.
// The number that it returns counts wallets and movements.
func (a *API) Reference(ctx context.Context, tx *sql.Tx, ref apis.Reference) (int, error) {
	add, err := replaceAll(ctx, tx)
	if err != nil {
		return 0, err
	}
	rows := 0
	strangers := map[string]bool{} // the providers whose other clients have theirs
	for k, client := range ref.Clients() {
		for i, m := range models {
			owner := client
			if m.owner != "" {
				if strangers[client.Provider] {
					continue
				}
				owner.ClientID = m.owner
			}
			account := invent(i+k*len(models), m, ref.Day)
			account.Owner = owner
			if err := add(account); err != nil {
				return 0, fmt.Errorf("wallets: %w", err)
			}
			rows += 1 + len(account.Movements)
		}
		strangers[client.Provider] = true
	}
	return rows, nil
}

// invent makes wallet i. Only its dates depend on the day: chance is drawn from
// a source that starts at i.
func invent(i int, m model, day time.Time) *account {
	chance := rand.New(rand.NewPCG(uint64(i), 0x3a11e7))
	units, _ := minorUnits(m.currency)
	a := &account{Wallet: Wallet{
		ID: rest.ID(fmt.Sprintf("wallets/%d", i)), Name: m.name, Kind: m.kind, Currency: m.currency, MinorUnits: units, Status: m.status,
		OpenedAt: day.AddDate(0, 0, -referenceDays-20-chance.IntN(900)).Add(13 * time.Hour),
	}}
	times := bookings(chance, day, 18+chance.IntN(25))
	a.move(
		times[0],
		flow{kind: "opening_balance", parties: []string{"Opening balance"}, text: "Balance brought forward"},
		m.scale*int64(60+chance.IntN(80))/100, chance,
	)
	last := len(times) - 1
	for _, at := range times[1:last] {
		flow := pick(chance, flows[m.flows])
		amount := m.scale * int64(flow.share) * int64(500+chance.IntN(1000)) / 1_000_000
		if flow.out {
			// At most half of the balance goes out, so that it stays positive.
			amount = -min(amount, a.Balance/2)
		}
		a.move(at, flow, amount, chance)
	}
	if m.status == "closed" {
		a.move(times[last], flow{kind: "transfer", parties: []string{"Operations"}, text: "Closing transfer"}, -a.Balance, chance)
	}
	if m.status == "active" {
		a.Available = a.Balance - a.Balance/100*int64(100-m.free)
	}
	return a
}

// bookings returns n different moments, earliest first: the first on the
// earliest day, the others in business hours of São Paulo until the day before.
func bookings(chance *rand.Rand, day time.Time, n int) []time.Time {
	first := day.AddDate(0, 0, -referenceDays)
	times := []time.Time{first.Add(11 * time.Hour)}
	for len(times) < n {
		at := first.AddDate(0, 0, 1+chance.IntN(referenceDays-1)).Add(12*time.Hour + time.Duration(chance.IntN(9*60*60))*time.Second)
		if !slices.Contains(times, at) {
			times = append(times, at)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	return times
}

// move adds a movement.
func (a *account) move(at time.Time, f flow, amount int64, chance *rand.Rand) {
	reference := fmt.Sprintf("%s-%06d", a.Currency, chance.IntN(1_000_000))
	party := pick(chance, f.parties)
	if amount == 0 {
		return
	}
	a.Balance += amount
	a.UpdatedAt = at
	a.Movements = append(a.Movements, Movement{
		ID: rest.ID(fmt.Sprintf("%s/movements/%d", a.ID, len(a.Movements))), BookedAt: at, Amount: amount, BalanceAfter: a.Balance,
		Kind: f.kind, Counterparty: party, Description: f.text, Reference: reference,
	})
}

func pick[T any](chance *rand.Rand, from []T) T { return from[chance.IntN(len(from))] }
