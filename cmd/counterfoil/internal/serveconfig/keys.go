package serveconfig

import (
	"context"
	"fmt"
	"slices"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/seal"
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
	pl.out.Database = within(pl.dir, pl.Database)
	if look == nil {
		return
	}
	stored, err := look(ctx, pl.out.Database)
	if err != nil {
		pl.fail(to("database"), "%v", err)
		return
	}
	pl.out.DatabaseState = describe(pl.out.Database, &stored)
	if doubt := sqlite.Doubt(pl.out.Database); doubt != "" {
		pl.warn("%s", doubt)
	}
	for _, k := range stored.Keys {
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

func describe(path string, db *sqlite.Inspection) string {
	switch {
	case !db.Exists:
		return "a new database " + path
	case db.Migrations > 0:
		return fmt.Sprintf("the database %s, whose schema would be brought up to date", path)
	}
	return "the database " + path
}
