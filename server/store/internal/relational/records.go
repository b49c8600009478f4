package relational

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// The forms of a run of events in the table records.
const (
	formJSON   = 0 // one event, as a JSON array
	formShort  = 1 // the first texts only
	formFull   = 2
	formErased = 3 // without addresses and user agents, but with commitments to them
)

// RecordEvents implements store.Store.
func (s *Store) RecordEvents(_ context.Context, events ...counterfoil.Event) error {
	if len(events) == 0 {
		return nil
	}
	return s.submitAt(events[len(events)-1].Time, func(t *transaction) error {
		for i := range events {
			t.record(&events[i])
		}
		return nil
	})
}

// record adds an event to the run of the transaction.
func (t *transaction) record(e *counterfoil.Event) {
	t.run = AppendEvent(t.run, e)
	t.count++
}

// flush writes the run and numbers its events.
func (t *transaction) flush() error {
	if t.count == 0 {
		return nil
	}
	first := t.sequence + 1
	t.sequence += t.count
	var salt [16]byte
	_, _ = rand.Read(salt[:]) // never fails
	_, err := t.Exec("INSERT INTO records (last, first, data, form, salt, horizon) VALUES (?, ?, ?, ?, ?, ?)",
		t.sequence, first, t.run, formFull, salt[:], t.horizon)
	t.run, t.count = t.run[:0], 0
	return err
}

// shortTexts are how many texts the events of earlier programs have.
const shortTexts = 9

// texts are an event's strings in the order of their encoding.
func texts(e *counterfoil.Event) [15]*string {
	return [...]*string{
		&e.Type, &e.Realm, &e.ClientID, (*string)(&e.Reason), &e.Actor, &e.TokenID, &e.Address, &e.UserAgent, &e.Detail,
		&e.Method, &e.Credential, &e.Scope, &e.Resource, &e.RequestID, &e.Changes,
	}
}

// AppendEvent appends an event in the form of a run.
func AppendEvent(b []byte, e *counterfoil.Event) []byte {
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
	b = binary.AppendVarint(b, e.Count)
	return binary.AppendVarint(b, micros(e.First))
}

// cutEvent takes the event at the beginning of b, which has one of the binary
// forms.
func cutEvent(b []byte, form int64) (r store.RecordedEvent, rest []byte, err error) {
	us, n := binary.Varint(b)
	if n <= 0 || n == len(b) {
		return r, nil, errDamaged
	}
	r.Time, r.Success, b = moment(us), b[n] != 0, b[n+1:]
	all := texts(&r.Event)
	known := all[:]
	if form == formShort {
		known = all[:shortTexts]
	}
	for _, s := range known {
		text, rest, ok := cutText(b)
		if !ok {
			return r, nil, errDamaged
		}
		*s, b = string(text), rest
	}
	if form == formShort {
		return r, b, nil
	}
	for i := range 2 {
		v, n := binary.Varint(b)
		if n <= 0 {
			return r, nil, errDamaged
		}
		if b = b[n:]; i == 0 {
			r.Count = v
		} else {
			r.First = moment(v)
		}
	}
	if form == formErased {
		commitment, rest, ok := cutText(b)
		if !ok || len(commitment) != 0 && len(commitment) != len(r.Commitment) {
			return r, nil, errDamaged
		}
		copy(r.Commitment[:], commitment)
		b = rest
	}
	return r, b, nil
}

// cutText takes a text after its length.
func cutText(b []byte) (text, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(size)], b[n+int(size):], true
}

// eventOf reads the only event of a run in JSON, an array of its time, its
// success and its texts.
func eventOf(data []byte) (r store.RecordedEvent, err error) {
	var us, success int64
	row := []any{&us, &success}
	all := texts(&r.Event)
	for _, s := range all[:shortTexts] {
		row = append(row, s)
	}
	if err := json.Unmarshal(data, &row); err != nil || len(row) != 2+shortTexts {
		return r, errDamaged
	}
	r.Time, r.Success = moment(us), success != 0
	return r, nil
}

// run is a row of the table records.
type run struct {
	last, first, form, horizon int64
	data, salt                 []byte
}

// each calls do with the events of the run in their order, until it returns
// false or an error.
func (r *run) each(do func(*store.RecordedEvent) (bool, error)) error {
	if r.form == formJSON {
		e, err := eventOf(r.data)
		if err != nil {
			return err
		}
		e.Sequence = r.first
		_, err = do(&e)
		return err
	}
	if r.form < formShort || r.form > formErased {
		return errDamaged
	}
	for sequence, data := r.first, r.data; len(data) > 0; sequence++ {
		e, rest, err := cutEvent(data, r.form)
		if err != nil {
			return err
		}
		data, e.Sequence = rest, sequence
		if r.form == formFull {
			e.Opening, e.Commitment = commit(r.salt, &e)
		}
		if more, err := do(&e); err != nil || !more {
			return err
		}
	}
	return nil
}

// commit returns the commitment to an event's address and user agent, and what
// opens it: none when it has neither.
func commit(salt []byte, e *store.RecordedEvent) (opening []byte, commitment store.Commitment) {
	if e.Address == "" && e.UserAgent == "" {
		return nil, commitment
	}
	mac := hmac.New(sha256.New, salt)
	_ = binary.Write(mac, binary.BigEndian, e.Sequence) // never fails
	opening = mac.Sum(nil)[:16]
	return opening, store.Commit(opening, e.Address, e.UserAgent)
}

// Events implements store.Store.
func (s *Store) Events(ctx context.Context, after int64, limit int) ([]store.RecordedEvent, error) {
	if limit <= 0 {
		return nil, nil
	}
	var page []store.RecordedEvent
	err := s.backend.Query(ctx, func(rows *sql.Rows) error {
		var r run
		if err := rows.Scan(&r.last, &r.first, &r.form, &r.data, &r.salt); err != nil {
			return err
		}
		before := len(page)
		if err := r.each(func(e *store.RecordedEvent) (bool, error) {
			if e.Sequence > after {
				page = append(page, *e)
			}
			return len(page) < limit, nil
		}); err != nil {
			if page = page[:before]; before > 0 {
				return errEnough // the next page begins with it
			}
			return &store.UnreadableError{First: max(r.first, after+1), Last: r.last, Err: err}
		}
		if len(page) == limit {
			return errEnough
		}
		return nil
	}, "SELECT last, first, form, data, salt FROM records WHERE last > ? ORDER BY last LIMIT ?", after, limit)
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return page, nil
}

var errEnough = errors.New("the page is full")
