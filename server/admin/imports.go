package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/importer"
)

// ImportClients creates the clients of a file.
func (l *Local) ImportClients(ctx context.Context, realm string, i Import) (Report, error) {
	r, err := l.realm(realm)
	if err != nil {
		return Report{}, err
	}
	if l.within != nil && l.within.realm == realm {
		// Rows may replace clients whatever their scopes: it takes all.
		if err := l.reach(realm, r.Provider.ScopeNames()); err != nil {
			return Report{}, err
		}
	}
	rows, err := importer.Parse(i.Format, i.File)
	if err != nil {
		if ctx.Err() != nil {
			return Report{}, ctx.Err()
		}
		var over *http.MaxBytesError
		if errors.As(err, &over) {
			return Report{}, problem(tooLarge, "the file is larger than %d MiB: divide it, or import it on the server's machine", over.Limit>>20)
		}
		return Report{}, problem(wrongValues, "%s", event.Clean(err.Error(), 500))
	}
	report, err := importer.Apply(ctx, l.clients, rows, importer.Options{
		Realm: realm, Provider: r.Provider, Tenants: r.Tenants, Format: i.Format, Actor: l.Actor, Now: l.Clock.Now(),
		DryRun: i.DryRun, Replace: i.Replace, Partial: i.Partial,
	})
	v := Report{Applied: report.Applied, Counts: map[string]int{}, Rows: make([]row, len(report.Rows))}
	for i, r := range report.Rows {
		v.Rows[i] = row{r.Place, r.ClientID, string(r.Outcome), r.Detail, r.Notes}
		v.Counts[string(r.Outcome)]++
	}
	if err != nil && report.Applied {
		// What was imported stays: the caller has to see the rows.
		v.Failed = event.Clean(err.Error(), 500)
		return v, nil
	}
	return v, err
}
