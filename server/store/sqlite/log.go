package sqlite

import (
	"context"
	"database/sql"

	"github.com/counterfoil/counterfoil/server/store"
)

// Log implements store.Store.
func (s *Store) Log(ctx context.Context) (store.LogState, error) {
	var l store.LogState
	var at int64
	err := s.queryRow(ctx, `SELECT t.feed, l.base, t.sequence, coalesce(c.size, 0), coalesce(c.time, 0), coalesce(c.note, '')
		FROM totals AS t, log AS l LEFT JOIN log_checkpoints AS c ON c.size = (SELECT max(size) FROM log_checkpoints)`,
		&l.ID, &l.Base, &l.Recorded, &l.Checkpoint.Size, &at, &l.Checkpoint.Note)
	l.Checkpoint.Time = moment(at)
	return l, err
}

// LogTile implements store.Store.
func (s *Store) LogTile(ctx context.Context, level int, n int64) ([]byte, error) {
	var data []byte
	found := false
	err := s.query(ctx, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(&data)
	}, "SELECT data FROM log_tiles WHERE level = ? AND n = ?", level, n)
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return data, err
}

// LogCheckpoints implements store.Store.
func (s *Store) LogCheckpoints(ctx context.Context, after int64, limit int) (all []store.LogCheckpoint, err error) {
	err = s.query(ctx, func(rows *sql.Rows) error {
		var c store.LogCheckpoint
		var at int64
		err := rows.Scan(&c.Size, &at, &c.Note)
		c.Time = moment(at)
		all = append(all, c)
		return err
	}, "SELECT size, time, note FROM log_checkpoints WHERE size > ? ORDER BY size LIMIT ?", after, limit)
	return all, err
}

// ExtendLog implements store.Store.
func (s *Store) ExtendLog(_ context.Context, from int64, tiles []store.LogTile, c store.LogCheckpoint) error {
	return s.submit(func(t *transaction) error {
		size, err := t.numbers("SELECT coalesce(max(size), 0) FROM log_checkpoints")
		if err != nil {
			return err
		}
		if size[0] != from {
			return store.ErrConflict
		}
		for _, tile := range tiles {
			if _, err := t.exec("INSERT INTO log_tiles (level, n, data) VALUES (?, ?, ?)", tile.Level, tile.N, tile.Data); err != nil {
				return err
			}
		}
		_, err = t.exec("INSERT INTO log_checkpoints (size, time, note) VALUES (?, ?, ?)", c.Size, micros(c.Time), c.Note)
		return err
	})
}
