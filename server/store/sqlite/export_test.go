package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"net/url"
	"time"

	"github.com/counterfoil/counterfoil/server/store/internal/relational"
)

// SetPatience sets how long the writer waits for a lock whose holder commits
// nothing, and for one that others take in turn.
func (s *Store) SetPatience(stuck, crowded time.Duration) {
	s.access.stuckAfter.Store(int64(stuck))
	s.access.crowdedAfter.Store(int64(crowded))
}

// LookedLongAgo makes the last look at the files one of an hour ago.
func (s *Store) LookedLongAgo() { s.access.files.looked.Add(-int64(time.Hour)) }

// Rows returns how many rows a table has.
func (s *Store) Rows(table string) (n int, err error) {
	err = s.db.QueryRow("SELECT count(*) FROM " + table).Scan(&n)
	return n, err
}

// Make makes a file as a program did that knew the first n migrations only.
func Make(ctx context.Context, path string, n int) error {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath())
	if err != nil {
		return err
	}
	defer db.Close()
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	for _, name := range names[:n] {
		text, err := migrations.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := db.ExecContext(ctx, string(text)); err != nil {
			return err
		}
	}
	seen, err := stamp(names[:n])
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, seen))
	return err
}

// Alone calls do while no other process can open the database.
func Alone(ctx context.Context, path string, do func() error) error { return alone(ctx, path, do) }

// EarlyThird is earlyThird.
const EarlyThird = earlyThird

// Explain is explain.
func Explain(err error) error { return explain(err) }

// PlanOfHash is how SQLite finds clients by a hash.
func (s *Store) PlanOfHash(ctx context.Context) (plan string, err error) {
	err = s.access.Query(ctx, func(rows *sql.Rows) error {
		var id, parent, unused int
		var detail string
		err := rows.Scan(&id, &parent, &unused, &detail)
		plan += detail + "\n"
		return err
	}, "EXPLAIN QUERY PLAN "+relational.WithHash+" ORDER BY id LIMIT ?3", "r", "h", 1)
	return plan, err
}
