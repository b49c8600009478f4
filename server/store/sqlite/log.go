package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// Log implements store.Store.
func (s *Store) Log(ctx context.Context) (store.LogState, error) {
	var l store.LogState
	var at int64
	err := s.queryRow(ctx, `SELECT t.feed, l.base, t.sequence, l.dropped, coalesce(c.size, 0), coalesce(c.time, 0), coalesce(c.note, '')
		FROM totals AS t, log AS l LEFT JOIN log_checkpoints AS c ON c.size = (SELECT max(size) FROM log_checkpoints)`,
		&l.ID, &l.Base, &l.Recorded, &l.Dropped, &l.Checkpoint.Size, &at, &l.Checkpoint.Note)
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

// retainAtOnce is how many runs of events one write erases or drops.
const retainAtOnce = 64

// EraseCallers implements store.Store.
func (s *Store) EraseCallers(_ context.Context, at time.Time, age time.Duration) (done bool, err error) {
	err = s.submitAt(at, func(t *transaction) error {
		done = false // of an earlier attempt
		runs, err := t.runsAfter("SELECT erased FROM log")
		if err != nil {
			return err
		}
		for i := range runs {
			data, old, err := erase(&runs[i], t.horizon-age.Microseconds())
			if err != nil {
				return err
			}
			if !old {
				done = true
				return nil
			}
			if _, err := t.exec("UPDATE records SET form = ?, data = ?, salt = x'' WHERE last = ?", formErased, data, runs[i].last); err != nil {
				return err
			}
			if _, err := t.exec("UPDATE log SET erased = ?", runs[i].last); err != nil {
				return err
			}
		}
		done = len(runs) < retainAtOnce
		return nil
	})
	return done, err
}

// erase returns the data of a run without addresses and user agents, and whether
// all of its events are from before a time.
func erase(r *run, before int64) (data []byte, old bool, err error) {
	old = true
	err = r.each(func(e *store.RecordedEvent) (bool, error) {
		old = old && micros(e.Time) < before
		e.Address, e.UserAgent = "", ""
		data = appendEvent(data, &e.Event)
		commitment := e.Commitment[:]
		if e.Commitment == (store.Commitment{}) {
			commitment = nil
		}
		data = append(binary.AppendUvarint(data, uint64(len(commitment))), commitment...)
		return old, nil
	})
	return data, old, err
}

// DropEvents implements store.Store.
func (s *Store) DropEvents(
	_ context.Context, e counterfoil.Event, k store.Keep, detail func(last int64) string,
) (done bool, err error) {
	err = s.submitAt(e.Time, func(t *transaction) error {
		done = false
		last, err := t.numbers("SELECT l.base + coalesce(max(t.n) + 1, 0) * 256 FROM log AS l LEFT JOIN log_tiles AS t ON t.level = 0")
		if err != nil {
			return err
		}
		runs, err := t.runsAfter("SELECT dropped FROM log")
		if err != nil {
			return err
		}
		dropped := int64(0)
		for i := range runs {
			age := store.MinKeep // of those beyond the number
			if k.Count == 0 || runs[i].last > t.sequence-k.Count {
				if age = max(age, k.Age); k.Age == 0 {
					done = true
					break
				}
			}
			_, old, err := erase(&runs[i], t.horizon-age.Microseconds())
			if err != nil {
				return err
			}
			if !old || runs[i].last > last[0] {
				done = true
				break
			}
			dropped = runs[i].last
			if _, err := t.exec("DELETE FROM records WHERE last = ?", dropped); err != nil {
				return err
			}
		}
		done = done || len(runs) < retainAtOnce
		if dropped == 0 {
			return nil
		}
		e.Detail = detail(dropped)
		t.record(&e)
		_, err = t.exec("UPDATE log SET dropped = ?1, erased = max(erased, ?1)", dropped)
		return err
	})
	return done, err
}

// runsAfter returns some runs after a sequence number that a query returns.
func (t *transaction) runsAfter(query string) (runs []run, err error) {
	err = t.rows("SELECT last, first, form, data, salt FROM records WHERE last > ("+query+") ORDER BY last LIMIT ?",
		[]any{retainAtOnce}, 5, func(v []driver.Value) error {
			runs = append(runs, run{
				last: v[0].(int64), first: v[1].(int64), form: v[2].(int64), data: bytes.Clone(v[3].([]byte)), salt: bytes.Clone(v[4].([]byte)),
			})
			return nil
		})
	return runs, err
}
