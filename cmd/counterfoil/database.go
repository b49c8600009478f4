package main

import (
	"context"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/postgres"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// database is what 'serve' keeps its data in.
type database interface {
	store.Store
	OnCommit(func(sqlite.Commit))
}

// openDatabase opens the database of a configuration, a file by open.
func openDatabase(
	ctx context.Context, config *serveconfig.Config, open func(context.Context, string) (*sqlite.Store, error),
) (database, error) {
	if config.Postgres {
		return asDatabase(postgres.Open(ctx, config.Database, config.DatabasePassword))
	}
	return asDatabase(open(ctx, config.Database))
}

// asDatabase is a database, or nil with an error.
func asDatabase[T database](db T, err error) (database, error) {
	if err != nil {
		return nil, err
	}
	return db, nil
}
