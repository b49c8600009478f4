package events

import (
	"cmp"
	"context"
	"database/sql"
	"io"

	"github.com/counterfoil/counterfoil/internal/apis"
)

// row is a line of a file to import: an Event and its owner.
type row struct {
	Provider string `json:"provider"`
	Tenant   string `json:"tenant"`
	Event
}

// Import replaces all events, of all tenants, with those of a JSON Lines file. A
// line is an [Event] with two more fields, "provider" and "tenant", that
// identify its owner together:
//
//	{"provider":"engagifii","tenant":"TENANT123","id":"6f1c2f2e-55a4-4d0e-9b1a-0c7a4de0a001",
//	 "name":"Legislative Day","description":"Meet your representatives.",
//	 "start":"2026-10-14T09:00:00-04:00","end":"2026-10-14T16:00:00-04:00",
//	 "timeZone":"America/New_York","status":"scheduled",
//	 "categories":["Legislative"],
//	 "venue":{"name":"Capitol Annex","city":"Harrisburg","region":"PA","country":"US"},
//	 "onlineUrl":"https://live.example/legislative-day",
//	 "registration":{"opens":"2026-08-01T09:00:00-04:00","closes":"2026-10-10T17:00:00-04:00","capacity":300,"registered":120},
//	 "contact":{"name":"Ana Ruiz","email":"events@association.example","phone":"+1 717 555 0100"}}
//
// (on one line). All fields are required but description, registration, its
// capacity, venue.region, contact.phone, and one of venue and onlineUrl.
func (a *API) Import(ctx context.Context, tx *sql.Tx, r io.Reader) (int, error) {
	add, err := replaceAll(ctx, tx)
	if err != nil {
		return 0, err
	}
	ids := apis.IDs{}
	err = apis.ReadRows(r, func(line int, in *row) (func() error, error) {
		if err := cmp.Or(
			apis.CheckText("provider", in.Provider, maxText, false),
			apis.CheckText("tenant", in.Tenant, maxText, false),
		); err != nil {
			return nil, err
		}
		if err := in.normalize(); err != nil {
			return nil, err
		}
		store := func() error { return add(apis.Owner{Provider: in.Provider, Tenant: in.Tenant}, &in.Event) }
		return store, ids.Claim(line, "id", in.ID)
	})
	return len(ids), err
}
