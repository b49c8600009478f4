package relational

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
)

// AlertState implements store.Store.
func (s *Store) AlertState(ctx context.Context) (store.AlertState, error) {
	var a store.AlertState
	err := s.queryRow(ctx, "SELECT version, sequence, data, dropped FROM alert_state", &a.Version, &a.Sequence, &a.Data, &a.Dropped)
	return a, err
}

// AdvanceAlerts implements store.Store.
func (s *Store) AdvanceAlerts(_ context.Context, step store.AlertStep) error {
	return s.submit(func(t *transaction) error {
		if step.From != 0 {
			n, err := t.Exec("UPDATE alert_state SET version = version + 1, sequence = ?, data = ? WHERE version = ?",
				step.Sequence, append([]byte{}, step.Data...), step.From)
			if err != nil {
				return err
			}
			if n == 0 {
				return store.ErrConflict
			}
			if err := t.remember(step.Memory); err != nil {
				return err
			}
		}
		for i := range step.Raise {
			if err := t.raise(&step, step.Raise[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// raise stores an alert, or adds it to the open one that it repeats.
func (t *transaction) raise(step *store.AlertStep, a alerts.Alert) error {
	id, err := t.openAlert(&a)
	if err != nil {
		return err
	}
	if id == 0 {
		open, err := t.numbers("SELECT count(*) FROM alerts WHERE acknowledged = 0 AND kind = ? AND realm = ?", string(a.Kind), a.Realm)
		if err != nil {
			return err
		}
		if open[0] >= store.MaxOpenAlerts {
			a.ClientID, a.Subject, a.Contact, a.Command = "", store.OtherAlerts, "", step.OthersCommand
			a.Summary = fmt.Sprintf("%d alerts of this kind are open, and there were others, which are counted here; the last: %s",
				store.MaxOpenAlerts, a.Summary)
			if id, err = t.openAlert(&a); err != nil {
				return err
			}
		}
	}
	if id == 0 {
		if _, err := t.Exec("UPDATE alert_state SET last = last + 1"); err != nil {
			return err
		}
		if _, err := t.Exec(`INSERT INTO alerts (id, kind, realm, client_id, subject, summary, command, contact, count, first, last,
			acknowledged, by) SELECT last, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '' FROM alert_state`, string(a.Kind), a.Realm, a.ClientID, a.Subject,
			a.Summary, a.Command, a.Contact, max(a.Count, 1), micros(a.First), micros(a.Last)); err != nil {
			return err
		}
		if id, err = t.openAlert(&a); err != nil {
			return err
		}
	} else if _, err := t.Exec(`UPDATE alerts SET summary = ?, command = ?, contact = ?, count = count + ?, first = least(first, ?),
		last = greatest(last, ?) WHERE id = ?`,
		a.Summary, a.Command, a.Contact, max(a.Count, 1), micros(a.First), micros(a.Last), id); err != nil {
		return err
	}
	for _, sender := range step.Senders {
		if err := t.deliver(step, sender, id); err != nil {
			return err
		}
	}
	return nil
}

// openAlert returns the ID of the open alert that a repeats, or 0.
func (t *transaction) openAlert(a *alerts.Alert) (id int64, err error) {
	_, err = t.Row("SELECT id FROM alerts WHERE acknowledged = 0 AND kind = ? AND realm = ? AND client_id = ? AND subject = ?",
		[]any{string(a.Kind), a.Realm, a.ClientID, a.Subject}, &id)
	return id, err
}

// deliver has an alert sent to a sender, unless it is to be sent already.
func (t *transaction) deliver(step *store.AlertStep, sender string, id int64) error {
	var pending bool
	var sent int64
	found, err := t.Row("SELECT pending, sent FROM alert_deliveries WHERE sender = ? AND alert = ?", []any{sender, id}, &pending, &sent)
	if err != nil || pending {
		return err
	}
	waiting, err := t.numbers("SELECT count(*) FROM alert_deliveries WHERE pending = 1 AND sender = ?", sender)
	if err != nil {
		return err
	}
	if waiting[0] >= store.MaxDeliveries {
		// The oldest is known best by now.
		if _, err := t.Exec(`UPDATE alert_deliveries SET pending = 0 WHERE sender = ?1 AND alert =
			(SELECT min(alert) FROM alert_deliveries WHERE pending = 1 AND sender = ?1)`, sender); err != nil {
			return err
		}
		if _, err := t.Exec("UPDATE alert_state SET dropped = dropped + 1"); err != nil {
			return err
		}
	}
	at := micros(step.At)
	next := at
	if found && sent != 0 && sent <= at+aheadOf {
		next = max(at, sent+step.Repeat.Microseconds())
	}
	_, err = t.Exec(`INSERT INTO alert_deliveries (sender, alert, pending, attempts, made, next, sent) VALUES (?, ?, 1, 0, ?, ?, ?)
		ON CONFLICT (sender, alert) DO UPDATE SET pending = 1, attempts = 0, made = excluded.made, next = excluded.next, sent = excluded.sent`,
		sender, id, at, next, sent)
	return err
}

// selectAlert selects the columns that scanAlert reads.
const selectAlert = "SELECT id, kind, realm, client_id, subject, summary, command, contact, count, first, last, acknowledged, by " +
	"FROM alerts "

// selected are the conditions of a query on alerts, one of which may name an ID.
const selected = "(?1 = '' OR kind = ?1) AND (?2 = '' OR realm = ?2) AND (?3 = '' OR client_id = ?3) AND " +
	"(?4 <> 0 OR acknowledged = 0) AND (id < ?5 OR ?5 = 0) AND (id = ?6 OR ?6 = 0) "

func selection(q *store.AlertQuery, id int64) []any {
	return []any{string(q.Kind), q.Realm, q.ClientID, integer(q.Acknowledged), q.Before, id}
}

// ids are the IDs that a query names; 0 alone when it names none.
func ids(q *store.AlertQuery) []int64 {
	if len(q.IDs) == 0 {
		return []int64{0}
	}
	sorted := slices.Clone(q.IDs)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// Alerts implements store.Store.
func (s *Store) Alerts(ctx context.Context, q store.AlertQuery) (all []alerts.Alert, err error) {
	for _, id := range slices.Backward(ids(&q)) {
		err = s.backend.Query(ctx, func(rows *sql.Rows) error {
			var a alerts.Alert
			var first, last, acknowledged int64
			err := rows.Scan(&a.ID, &a.Kind, &a.Realm, &a.ClientID, &a.Subject, &a.Summary, &a.Command, &a.Contact, &a.Count,
				&first, &last, &acknowledged, &a.AcknowledgedBy)
			a.First, a.Last, a.Acknowledged = moment(first), moment(last), moment(acknowledged)
			all = append(all, a)
			return err
		}, selectAlert+"WHERE "+selected+"ORDER BY id DESC LIMIT ?7", append(selection(&q, id), q.Limit-len(all))...)
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// AcknowledgeAlerts implements store.Store.
func (s *Store) AcknowledgeAlerts(_ context.Context, q store.AlertQuery, by string, e counterfoil.Event) (done []int64, err error) {
	q.Acknowledged = false
	most := q.Limit
	if most == 0 {
		most = math.MaxInt
	}
	err = s.submitAt(e.Time, func(t *transaction) error {
		done = nil
		for _, id := range ids(&q) {
			if err := t.Rows("SELECT id FROM alerts WHERE "+selected+"ORDER BY id LIMIT ?7", append(selection(&q, id), most-len(done)), 1,
				func(values []driver.Value) error {
					done = append(done, values[0].(int64))
					return nil
				}); err != nil {
				return err
			}
		}
		if len(done) == 0 {
			return nil
		}
		for _, id := range done {
			if _, err := t.Exec("UPDATE alerts SET acknowledged = ?, by = ? WHERE id = ?", micros(e.Time), by, id); err != nil {
				return err
			}
		}
		// Their deliveries are those of no open alert.
		if _, err := t.Exec("DELETE FROM alert_deliveries WHERE alert NOT IN (SELECT id FROM alerts WHERE acknowledged = 0)"); err != nil {
			return err
		}
		if _, err := t.Exec(`DELETE FROM alerts WHERE acknowledged > 0 AND id IN
			(SELECT id FROM alerts WHERE acknowledged > 0 ORDER BY id DESC LIMIT 9223372036854775807 OFFSET ?)`, store.MaxAcknowledged); err != nil {
			return err
		}
		t.record(&e)
		return nil
	})
	return done, err
}

// due selects the deliveries that are due for a sender: of a clock that was set back
// since nobody knows how long they have waited.
const due = "FROM alert_deliveries AS d JOIN alerts AS a ON a.id = d.alert " +
	"WHERE d.pending = 1 AND d.sender = ?1 AND (d.next <= ?2 OR d.made > ?3) "

// ClaimDelivery implements store.Store.
func (s *Store) ClaimDelivery(ctx context.Context, sender string, at time.Time, lease time.Duration) (d store.AlertDelivery, err error) {
	now := micros(at)
	args := []any{sender, now, now + aheadOf}
	var alert int64
	if found, err := s.backend.Row("SELECT d.alert "+due+"LIMIT 1", args, &alert); err != nil || !found {
		if err == nil {
			err = store.ErrNotFound
		}
		return d, err // without a write
	}
	silences, err := s.Silences(ctx, at)
	if err != nil {
		return d, err
	}
	err = s.submit(func(t *transaction) error {
		d = store.AlertDelivery{Sender: sender}
		found := false
		err := t.Rows("SELECT a.id, a.kind, a.realm, a.client_id, a.subject, a.summary, a.command, a.contact, a.count, a.first, "+
			"a.last, d.attempts "+due+"ORDER BY d.next, d.alert", args, 12, func(v []driver.Value) error {
			a := alerts.Alert{
				ID: v[0].(int64), Kind: alerts.Kind(v[1].(string)), Realm: v[2].(string), ClientID: v[3].(string), Subject: v[4].(string),
				Summary: v[5].(string), Command: v[6].(string), Contact: v[7].(string), Count: v[8].(int64),
				First: moment(v[9].(int64)), Last: moment(v[10].(int64)),
			}
			if !alerts.Silenced(&a, silences, at).IsZero() {
				return nil
			}
			d.Alert, d.Attempt, found = a, int(v[11].(int64))+1, true
			return io.EOF
		})
		if err != nil || !found {
			if err == nil {
				err = store.ErrNotFound
			}
			return err
		}
		_, err = t.Exec("UPDATE alert_deliveries SET attempts = ?, made = ?, next = ? WHERE sender = ? AND alert = ?",
			d.Attempt, now, now+lease.Microseconds(), sender, d.ID)
		return err
	})
	return d, err
}

// FinishDelivery implements store.Store.
func (s *Store) FinishDelivery(_ context.Context, d store.AlertDelivery, r store.DeliveryResult) error {
	at := micros(r.At)
	return s.submit(func(t *transaction) error {
		var count, sent int64
		found, err := t.Row("SELECT a.count, d.sent FROM alert_deliveries AS d JOIN alerts AS a ON a.id = d.alert "+
			"WHERE d.sender = ? AND d.alert = ? AND d.pending = 1 AND d.attempts = ?", []any{d.Sender, d.ID, d.Attempt}, &count, &sent)
		if err != nil || !found {
			return err
		}
		pending, attempts, next := 1, d.Attempt, micros(r.Next)
		switch {
		case r.Sent && count > d.Count:
			attempts, next, sent = 0, at+r.Repeat.Microseconds(), at
		case r.Sent:
			pending, attempts, next, sent = 0, 0, 0, at
		case r.Next.IsZero():
			pending, attempts, sent = 0, 0, at
			if _, err := t.Exec("UPDATE alert_state SET dropped = dropped + 1"); err != nil {
				return err
			}
		}
		_, err = t.Exec("UPDATE alert_deliveries SET pending = ?, attempts = ?, made = ?, next = ?, sent = ? WHERE sender = ? AND alert = ?",
			pending, attempts, at, next, sent, d.Sender, d.ID)
		return err
	})
}

// CreateSilence implements store.Store.
func (s *Store) CreateSilence(_ context.Context, n alerts.Silence, e counterfoil.Event) (alerts.Silence, error) {
	err := s.submitAt(e.Time, func(t *transaction) error {
		there, err := t.numbers("SELECT count(*) FROM alert_silences WHERE until > ?", micros(e.Time))
		if err != nil {
			return err
		}
		if there[0] >= store.MaxSilences {
			return store.ErrTooManySilences
		}
		id, err := t.numbers("SELECT coalesce(max(id), 0) + 1 FROM alert_silences")
		if err != nil {
			return err
		}
		n.ID = id[0]
		if _, err := t.Exec("INSERT INTO alert_silences (id, kind, realm, client_id, until, created, by) VALUES (?, ?, ?, ?, ?, ?, ?)",
			n.ID, string(n.Kind), n.Realm, n.ClientID, micros(n.Until), micros(n.Created), n.CreatedBy); err != nil {
			return err
		}
		if _, err := t.Exec("DELETE FROM alert_silences WHERE until <= ?", micros(e.Time)); err != nil {
			return err
		}
		t.record(&e)
		return nil
	})
	return n, err
}

// Silences implements store.Store.
func (s *Store) Silences(ctx context.Context, at time.Time) (all []alerts.Silence, err error) {
	err = s.backend.Query(ctx, func(rows *sql.Rows) error {
		var n alerts.Silence
		var until, created int64
		err := rows.Scan(&n.ID, &n.Kind, &n.Realm, &n.ClientID, &until, &created, &n.CreatedBy)
		n.Until, n.Created = moment(until), moment(created)
		all = append(all, n)
		return err
	}, "SELECT id, kind, realm, client_id, until, created, by FROM alert_silences WHERE until > ?1 AND created <= ?2 ORDER BY id",
		micros(at), micros(at)+aheadOf)
	return all, err
}

// DeleteSilence implements store.Store.
func (s *Store) DeleteSilence(_ context.Context, id int64, e counterfoil.Event) error {
	return s.submitAt(e.Time, func(t *transaction) error {
		n, err := t.Exec("DELETE FROM alert_silences WHERE id = ? AND until > ?", id, micros(e.Time))
		if err == nil && n == 0 {
			err = store.ErrNotFound
		}
		if err == nil {
			t.record(&e)
		}
		return err
	})
}
