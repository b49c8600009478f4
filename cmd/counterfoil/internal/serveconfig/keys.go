package serveconfig

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/postgres"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// keys reads the master keys and checks whether they decrypt the keys in the
// database.
func (pl *planner) keys(ctx context.Context, look func(context.Context, string) (sqlite.Inspection, error)) {
	known := map[string]bool{}
	key := func(way []any, ref string) counterfoil.Secret {
		value, ok := pl.secret(ctx, way, ref)
		if !ok {
			return ""
		}
		k, err := seal.ParseKey(value)
		if err != nil {
			pl.fail(way, "%v", err)
			return ""
		}
		known[k.ID()] = true
		return value
	}
	pl.out.Server.MasterKey = key(to("master_key"), pl.MasterKey)
	for i, ref := range pl.PreviousMasterKeys {
		pl.out.Server.PreviousMasterKeys = append(pl.out.Server.PreviousMasterKeys, key(to("previous_master_keys", i), ref))
	}
	complete := pl.out.Server.MasterKey != "" && !slices.Contains(pl.out.Server.PreviousMasterKeys, "")
	stored, ok := pl.database(ctx, look)
	if !ok {
		return
	}
	for _, k := range stored {
		id, sealed := seal.Sealed([]byte(k.Private.Reveal()))
		if sealed && !known[id] && complete {
			pl.fail(
				to("master_key"),
				"the keys in the database are sealed under master key %s, and this is another: "+
					"give that one, or name it in previous_master_keys",
				id,
			)
			return
		}
	}
}

// database finds the database and, if look is set, inspects it: it returns the keys
// that are stored.
func (pl *planner) database(ctx context.Context, look func(context.Context, string) (sqlite.Inspection, error)) ([]store.SigningKey, bool) {
	out := pl.out
	out.Postgres = strings.HasPrefix(pl.Database, "postgres://") || strings.HasPrefix(pl.Database, "postgresql://")
	if !out.Postgres {
		if pl.Has(to("database_password")) {
			pl.fail(to("database_password"), "the database is a file, which has no password")
		}
		out.Database = within(pl.dir, pl.Database)
		if look == nil {
			return nil, false
		}
		stored, err := look(ctx, out.Database)
		if err != nil {
			pl.fail(to("database"), "%v", err)
			return nil, false
		}
		out.DatabaseState = describe(out.Database, &stored)
		if doubt := sqlite.Doubt(out.Database); doubt != "" {
			pl.warn("%s", doubt)
		}
		return stored.Keys, true
	}
	if err := postgres.CheckURL(pl.Database); err != nil {
		pl.fail(to("database"), "%v", err)
		return nil, false
	}
	out.Database = pl.Database
	if pl.DatabasePassword != "" {
		var ok bool
		if out.DatabasePassword, ok = pl.secret(ctx, to("database_password"), pl.DatabasePassword); !ok {
			return nil, false
		}
	}
	if look == nil {
		return nil, false
	}
	stored, err := postgres.Inspect(ctx, out.Database, out.DatabasePassword)
	if err != nil {
		pl.fail(to("database"), "%v", err)
		return nil, false
	}
	out.DatabaseState = describe(out.Database, &sqlite.Inspection{Exists: !stored.New, Migrations: stored.Migrations})
	return stored.Keys, true
}

func describe(path string, db *sqlite.Inspection) string {
	switch {
	case !db.Exists:
		return "a new database " + path
	case db.Migrations > 0:
		return fmt.Sprintf("the database %s, whose schema would be brought up to date", path)
	}
	return "the database " + path
}
