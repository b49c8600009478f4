package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// eventColumns are the columns of an event except its sequence number.
const eventColumns = "time, type, realm, client_id, success, reason, actor, token_id, address, user_agent, detail"

// RecordRefused implements store.Store.
func (s *Store) RecordRefused(_ context.Context, e counterfoil.Event, stranger bool) error {
	return s.submitAt(e.Time, func(t *transaction) error {
		// The pending run is concurrent with this: either order is right, and the
		// run need not end.
		return t.insert(e, stranger)
	})
}

// record appends an event.
func (t *transaction) record(e counterfoil.Event, stranger bool) error {
	if err := t.flush(); err != nil {
		return err
	}
	return t.insert(e, stranger)
}

func (t *transaction) insert(e counterfoil.Event, stranger bool) error {
	if stranger {
		t.strangers++
	}
	t.sequence++
	_, err := t.exec("INSERT INTO events (sequence, "+eventColumns+", stranger) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		t.sequence, micros(e.Time), e.Type, e.Realm, e.ClientID, e.Success, string(e.Reason), e.Actor, e.TokenID, e.Address,
		e.UserAgent, e.Detail, stranger)
	return err
}

// issue adds the event of a token to the run of such events, which costs a
// fraction of a row.
func (t *transaction) issue(e *counterfoil.Event) {
	t.run = appendEvent(t.run, e)
	t.count++
}

// flush writes the run and numbers its events.
func (t *transaction) flush() error {
	if t.count == 0 {
		return nil
	}
	first := t.sequence + 1
	t.sequence += t.count
	_, err := t.exec("INSERT INTO issued (last, first, data) VALUES (?, ?, ?)", t.sequence, first, t.run)
	t.run, t.count = t.run[:0], 0
	return err
}

// texts are an event's strings in the order of their encoding.
func texts(e *counterfoil.Event) [9]*string {
	return [...]*string{&e.Type, &e.Realm, &e.ClientID, (*string)(&e.Reason), &e.Actor, &e.TokenID, &e.Address, &e.UserAgent, &e.Detail}
}

func appendEvent(b []byte, e *counterfoil.Event) []byte {
	b = binary.AppendVarint(b, micros(e.Time))
	success := byte(0)
	if e.Success {
		success = 1
	}
	b = append(b, success)
	for _, s := range texts(e) {
		b = binary.AppendUvarint(b, uint64(len(*s)))
		b = append(b, *s...)
	}
	return b
}

// cutEvent takes the event at the beginning of b.
func cutEvent(b []byte) (e counterfoil.Event, rest []byte, err error) {
	us, n := binary.Varint(b)
	if n <= 0 || n == len(b) {
		return e, nil, errDamaged
	}
	e.Time, e.Success, b = moment(us), b[n] != 0, b[n+1:]
	for _, s := range texts(&e) {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return e, nil, errDamaged
		}
		*s, b = string(b[n:n+int(size)]), b[n+int(size):]
	}
	return e, b, nil
}

// Events implements store.Store. One statement reads both tables: a second one
// would see writes made after the first.
func (s *Store) Events(ctx context.Context, after int64, limit int) (store.EventPage, error) {
	var page store.EventPage
	if err := s.queryRow(ctx, "SELECT evicted FROM totals", &page.Evicted); err != nil {
		return page, err
	}
	if limit <= 0 {
		return page, nil
	}
	err := s.query(ctx, func(rows *sql.Rows) error {
		var last, first, at int64
		var data []byte
		var e counterfoil.Event
		if err := rows.Scan(&last, &first, &data, &at, &e.Type, &e.Realm, &e.ClientID, &e.Success, &e.Reason, &e.Actor,
			&e.TokenID, &e.Address, &e.UserAgent, &e.Detail); err != nil {
			return err
		}
		if first == 0 {
			e.Time = moment(at)
			page.Events = append(page.Events, store.RecordedEvent{Sequence: last, Event: e})
		} else if err := appendRun(&page, first, data, after, limit); err != nil {
			return err
		}
		if len(page.Events) == limit {
			return errEnough
		}
		return nil
	}, "SELECT sequence, 0, NULL, "+eventColumns+" FROM events WHERE sequence > ?1 UNION ALL "+
		"SELECT last, first, data, 0, '', '', '', 0, '', '', '', '', '', '' FROM issued WHERE last > ?1 ORDER BY 1 LIMIT ?2", after, limit)
	if err != nil && !errors.Is(err, errEnough) {
		return store.EventPage{}, err
	}
	return page, nil
}

var errEnough = errors.New("the page is full")

// appendRun adds the events of a run after a sequence number, up to limit in
// the page.
func appendRun(page *store.EventPage, first int64, data []byte, after int64, limit int) error {
	for n := first; len(data) > 0 && len(page.Events) < limit; n++ {
		e, rest, err := cutEvent(data)
		if err != nil {
			return err
		}
		if data = rest; n > after {
			page.Events = append(page.Events, store.RecordedEvent{Sequence: n, Event: e})
		}
	}
	return nil
}
