package relational

import (
	"database/sql/driver"
	"slices"
)

// The tables whose rows expire. Each row that is written causes a check of
// some old ones, in the order of their keys and cyclically: so a table holds
// little more than the unexpired rows, without an index on the time that would
// slow every write.
const (
	ofOnce = iota
	ofStatus
	ofTokens
	ofReplaced
	ofClients
	swept // how many they are
)

const (
	// sweepEvery is after how many rows written a table is swept, at the end of the
	// transaction that wrote the last of them.
	sweepEvery = 32
	// sweepEach is how many rows are checked for each that was written. With one
	// or less a table would grow without bound, as unexpired rows are checked
	// too.
	sweepEach = 4
)

// sweep is how far a table has been swept.
type sweep struct {
	// due counts the rows that were written since.
	due int
	// behind is the key that was checked last; nil before the first.
	behind []any
}

// sweeper says how a table is swept.
type sweeper struct {
	// look selects the keys after one, and whether their rows have expired.
	look string
	// first comes before all keys.
	first []any
	// remove removes a row.
	remove func(t *transaction, key []any) error
}

var sweepers = [...]sweeper{
	ofOnce: {
		"SELECT until <= ?, key FROM once WHERE key > ? ORDER BY key LIMIT ?",
		[]any{[]byte{}}, removal("DELETE FROM once WHERE key = ?"),
	},
	ofStatus: {
		"SELECT expires <= ?, realm, idx FROM status WHERE (realm, idx) > (?, ?) ORDER BY realm, idx LIMIT ?",
		[]any{"", int64(-1)}, removal("DELETE FROM status WHERE realm = ? AND idx = ?"),
	},
	ofTokens: {
		"SELECT ends <= ?, realm, client_id, token_id FROM revoked_tokens " +
			"WHERE (realm, client_id, token_id) > (?, ?, ?) ORDER BY realm, client_id, token_id LIMIT ?",
		[]any{"", "", ""}, func(t *transaction, key []any) error {
			if _, err := t.Exec("DELETE FROM revoked_tokens WHERE realm = ? AND client_id = ? AND token_id = ?", key...); err != nil {
				return err
			}
			_, err := t.Exec("UPDATE client_tokens SET revoked = revoked - 1 WHERE realm = ? AND client_id = ?", key[:2]...)
			return err
		},
	},
	ofReplaced: {
		"SELECT ends <= ?, realm, client_id, issued, token_id FROM replaced_tokens " +
			"WHERE (realm, client_id, issued, token_id) > (?, ?, ?, ?) ORDER BY realm, client_id, issued, token_id LIMIT ?",
		[]any{"", "", int64(-1), ""},
		removal("DELETE FROM replaced_tokens WHERE realm = ? AND client_id = ? AND issued = ? AND token_id = ?"),
	},
	ofClients: {
		// The last revoked token leaves a row that has neither a live token nor a
		// revocation.
		"SELECT ends <= ? AND (sequence > 0 OR live = '' AND revoked = 0), realm, client_id FROM client_tokens " +
			"WHERE (realm, client_id) > (?, ?) ORDER BY realm, client_id LIMIT ?",
		[]any{"", ""}, func(t *transaction, key []any) error {
			n, err := t.Exec("DELETE FROM client_tokens WHERE realm = ? AND client_id = ? AND live = '' AND revoked = 0", key...)
			if err != nil || n > 0 {
				return err
			}
			_, err = t.Exec("UPDATE client_tokens SET sequence = 0, not_before = 0, disabled = 0, ends = 0, "+
				"unnamed = least(unnamed, 0) WHERE realm = ? AND client_id = ?", key...)
			return err
		},
	},
}

func removal(query string) func(*transaction, []any) error {
	return func(t *transaction, key []any) error {
		_, err := t.Exec(query, key...)
		return err
	}
}

// sweep removes some expired rows from the tables that were written to.
func (t *transaction) sweep() error {
	for i := range sweepers {
		if s := &t.sweeps[i]; s.due >= sweepEvery {
			most := s.due * sweepEach
			s.due = 0
			if err := t.sweepTable(&sweepers[i], s, most); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweepTable checks at most a number of rows.
func (t *transaction) sweepTable(of *sweeper, s *sweep, most int) error {
	if s.behind == nil {
		s.behind = of.first
	}
	var expired [][]any
	rows, last := 0, make([]any, len(of.first))
	err := t.Rows(of.look, slices.Concat([]any{t.horizon}, s.behind, []any{most}), len(of.first)+1, func(values []driver.Value) error {
		rows++
		for i, v := range values[1:] {
			last[i] = v
		}
		if values[0] != int64(0) && values[0] != false {
			expired = append(expired, slices.Clone(last))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if s.behind = last; rows < most {
		s.behind = nil
	}
	for _, key := range expired {
		if err := of.remove(t, key); err != nil {
			return err
		}
	}
	return nil
}
