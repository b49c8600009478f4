package relational

import (
	"context"
	"database/sql"
	"encoding/binary"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// Log implements store.Store.
func (s *Store) Log(ctx context.Context) (store.LogState, error) {
	var l store.LogState
	var at int64
	err := s.queryRow(ctx, `SELECT substr(t.feed, 1, 32), l.base, t.sequence, l.dropped,
		coalesce(c.size, 0), coalesce(c.time, 0), coalesce(c.note, '')
		FROM totals AS t, log AS l LEFT JOIN log_checkpoints AS c ON c.size = (SELECT max(size) FROM log_checkpoints)`,
		&l.ID, &l.Base, &l.Recorded, &l.Dropped, &l.Checkpoint.Size, &at, &l.Checkpoint.Note)
	l.Checkpoint.Time = moment(at)
	return l, err
}

// LogTile implements store.Store.
func (s *Store) LogTile(ctx context.Context, level int, n int64) ([]byte, error) {
	var data []byte
	found := false
	err := s.backend.Query(ctx, func(rows *sql.Rows) error {
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
	err = s.backend.Query(ctx, func(rows *sql.Rows) error {
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
			if _, err := t.Exec("INSERT INTO log_tiles (level, n, data) VALUES (?, ?, ?)", tile.Level, tile.N, tile.Data); err != nil {
				return err
			}
		}
		if _, err := t.Exec("INSERT INTO log_checkpoints (size, time, note) VALUES (?, ?, ?)", c.Size, micros(c.Time), c.Note); err != nil {
			return err
		}
		// Of those that are older than a day, the last of each hour stays.
		_, err = t.Exec(`DELETE FROM log_checkpoints WHERE size IN (SELECT c.size FROM log_checkpoints AS c
			WHERE c.time < ?1 AND c.time / ?2 = (SELECT n.time FROM log_checkpoints AS n
				WHERE n.size > c.size ORDER BY n.size LIMIT 1) / ?2 LIMIT 64)`, micros(c.Time)-24*time.Hour.Microseconds(), time.Hour.Microseconds())
		return err
	})
}

// retainAtOnce is how many runs of events one write erases or drops.
const retainAtOnce = 64

// EraseCallers implements store.Store.
func (s *Store) EraseCallers(_ context.Context, at time.Time, age time.Duration) (done bool, err error) {
	err = s.submitAt(at, func(t *transaction) (err error) {
		done, err = t.eachRun("SELECT erased FROM log", func(r *run) (bool, error) {
			if r.horizon >= t.horizon-age.Microseconds() {
				return false, nil
			}
			data, err := erased(r)
			if err != nil {
				return false, err
			}
			if _, err := t.Exec("UPDATE records SET form = ?, data = ?, salt = ? WHERE last = ?", formErased, data, []byte{}, r.last); err != nil {
				return false, err
			}
			_, err = t.Exec("UPDATE log SET erased = ?", r.last)
			return true, err
		})
		return err
	})
	return done, err
}

// erased returns the data of a run without addresses and user agents.
func erased(r *run) (data []byte, err error) {
	err = r.each(func(e *store.RecordedEvent) (bool, error) {
		e.Address, e.UserAgent = "", ""
		data = AppendEvent(data, &e.Event)
		commitment := e.Commitment[:]
		if e.Commitment == (store.Commitment{}) {
			commitment = nil
		}
		data = append(binary.AppendUvarint(data, uint64(len(commitment))), commitment...)
		return true, nil
	})
	return data, err
}

// DropEvents implements store.Store.
func (s *Store) DropEvents(
	_ context.Context, e counterfoil.Event, k store.Keep, detail func(last int64) string,
) (done bool, err error) {
	err = s.submitAt(e.Time, func(t *transaction) error {
		hashed, err := t.numbers("SELECT l.base + coalesce(max(t.n) + 1, 0) * 256 FROM log AS l LEFT JOIN log_tiles AS t ON t.level = 0")
		if err != nil {
			return err
		}
		dropped := int64(0)
		done, err = t.eachRun("SELECT dropped FROM log", func(r *run) (bool, error) {
			age := store.MinKeep // of those beyond the number
			if k.Count == 0 || r.last > t.sequence-k.Count {
				if age = max(age, k.Age); k.Age == 0 {
					return false, nil
				}
			}
			if r.horizon >= t.horizon-age.Microseconds() || r.last > hashed[0] {
				return false, nil
			}
			if _, err := t.Exec("DELETE FROM records WHERE last = ?", r.last); err != nil {
				return false, err
			}
			dropped = r.last
			_, err := t.Exec("UPDATE log SET dropped = ?1, erased = greatest(erased, ?1)", dropped)
			return true, err
		})
		if err == nil && dropped > 0 {
			e.Detail = detail(dropped)
			t.record(&e)
		}
		return err
	})
	return done, err
}

// eachRun calls do with the first run after the sequence number that a query
// returns, which do moves on, and so forth; done says that do has returned false or
// there are no more.
func (t *transaction) eachRun(after string, do func(*run) (more bool, err error)) (done bool, err error) {
	for range retainAtOnce {
		var r run
		found, err := t.Row("SELECT last, first, form, data, salt, horizon FROM records WHERE last > ("+after+") ORDER BY last LIMIT 1", nil,
			&r.last, &r.first, &r.form, &r.data, &r.salt, &r.horizon)
		if err != nil || !found {
			return true, err
		}
		if more, err := do(&r); err != nil || !more {
			return true, err
		}
	}
	return false, nil
}
