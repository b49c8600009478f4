package postgres

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schemaTable says which migrations were applied, with the SHA-256 of each, so that
// one that was changed later is noticed.
const schemaTable = "CREATE TABLE IF NOT EXISTS counterfoil_schema (version BIGINT NOT NULL PRIMARY KEY, sum TEXT NOT NULL)"

// migrationLock is the advisory lock of those who migrate, until the end of their
// transaction.
const migrationLock = 0x43464f4c // "CFOL"

// prepare checks that the database keeps what it acknowledges, and makes or
// upgrades its tables; of several servers that start at the same time one does.
func prepare(ctx context.Context, db *sql.DB) error {
	if err := keepsWrites(ctx, db); err != nil {
		return err
	}
	names, err := known()
	if err != nil {
		return err
	}
	return migrate(ctx, db, names)
}

// keepsWrites refuses a database that could lose what it has acknowledged.
func keepsWrites(ctx context.Context, db *sql.DB) error {
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		var value string
		if err := db.QueryRowContext(ctx, "SELECT current_setting($1)", setting).Scan(&value); err != nil {
			return err
		}
		if value == "off" {
			return fmt.Errorf("it has %s = off, and could lose what it has acknowledged: turn it on", setting)
		}
	}
	return nil
}

// known are the names of the migrations that there are.
func known() ([]string, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	slices.Sort(names)
	return names, err
}

func migrate(ctx context.Context, db *sql.DB, names []string) error {
	version, err := applied(ctx, db, names)
	if err != nil || version == len(names) {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if _, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", migrationLock); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, schemaTable); err != nil {
		return err
	}
	if version, err = applied(ctx, tx, names); err != nil {
		return err
	}
	for i, name := range names[version:] {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		if err := script(ctx, tx, string(text)); err != nil {
			return fmt.Errorf("migration %s: %w", name, err)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO counterfoil_schema VALUES ($1, $2)", version+i+1, sum(text)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// script runs several statements.
func script(ctx context.Context, tx *sql.Tx, text string) error {
	for _, statement := range statements(text) {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func sum(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// applied returns how many of the migrations were applied. It refuses tables of a
// newer version, and those that another program has made.
func applied(ctx context.Context, db querier, names []string) (version int, err error) {
	rows, err := db.QueryContext(ctx, "SELECT version, sum FROM counterfoil_schema ORDER BY version")
	if err == nil {
		defer rows.Close()
		for rows.Next() {
			var n int
			var have string
			if err := rows.Scan(&n, &have); err != nil {
				return 0, err
			}
			if version++; n != version {
				return 0, errOtherSchema
			}
			if version > len(names) {
				continue
			}
			text, err := migrations.ReadFile(names[version-1])
			if err != nil {
				return 0, err
			}
			if sum(text) != have {
				return 0, errOtherSchema
			}
		}
		err = rows.Err()
	}
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && refused.Code == undefinedTable:
		return 0, nil
	case err == nil && version > len(names):
		return 0, fmt.Errorf("its schema has version %d and this program knows versions up to %d: use the newer program that wrote it",
			version, len(names))
	}
	return version, err
}

var errOtherSchema = errors.New(
	"its schema is not the one that this program makes: use the program that wrote it, or name another database")
