package relational

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/store"
)

// maxBatch bounds the writes of one transaction.
const maxBatch = 512

// write is one caller's write. It runs in a transaction with others and must
// be repeatable: when another write fails unexpectedly, all run again, each in
// its own transaction.
type write struct {
	do   func(t *transaction) error
	done chan error
}

// expected are the errors that the interface documents. A write that returns
// one of them wrote nothing.
var expected = []error{
	store.ErrNotFound, store.ErrExists, store.ErrConflict, store.ErrReplayed, store.ErrTooManyRevocations, store.ErrTooManySilences,
}

// submitAt is submit for a write with a time.
func (s *Store) submitAt(at time.Time, do func(*transaction) error) error {
	return s.submit(func(t *transaction) error {
		if err := t.arrive(at); err != nil {
			return err
		}
		return do(t)
	})
}

// submit passes a write to the writer and waits until it is synced to the
// disk.
func (s *Store) submit(do func(*transaction) error) error {
	w := write{do: do, done: make(chan error, 1)}
	select {
	case s.writes <- w:
		return <-w.done
	case <-s.closing:
		return ErrClosed
	}
}

// ErrClosed is the error of calls after Stop.
var ErrClosed = errors.New("the database is closed")

// Run writes until Stop is called, on a connection that the backend's
// transactions are on. It is called once: it takes all pending writes, commits
// them together and returns to each caller its own result. Writes that arrive in
// the meantime form the next batch.
func (s *Store) Run(conn *Conn) {
	t := newTransaction(conn)
	batch := make([]write, 0, maxBatch)
	for {
		select {
		case w := <-s.writes:
			batch = append(batch[:0], w)
		case <-s.closing:
			return
		}
		began := clock.System.Now()
		// Requests that run now will soon write as well: yield to them until that
		// adds nothing twice. Without any it costs nothing.
		batch = s.gather(batch)
		for idle := 0; idle < 2 && len(batch) < maxBatch; {
			before := len(batch)
			runtime.Gosched()
			if batch = s.gather(batch); len(batch) == before {
				idle++
			}
		}
		failed := s.commit(t, batch)
		if told := s.onCommit.Load(); told != nil {
			(*told)(Commit{Writes: len(batch), Failed: failed, Duration: clock.System.Now().Sub(began)})
		}
	}
}

// ErrUnknown says that the connection broke while a transaction was committed, so
// that it may be committed or not.
var ErrUnknown = errors.New("the connection broke, and what was written may be written or not")

// Commit is a transaction that the writes of several callers shared.
type Commit struct {
	// Writes is their number, Failed how many of them could not be written.
	Writes, Failed int
	// Duration is from when the first of them was taken until they were synced to
	// the disk.
	Duration time.Duration
}

// OnCommit has f called after each transaction with writes, by the goroutine
// that writes: it must return at once. It replaces the previous one.
func (s *Store) OnCommit(f func(Commit)) { s.onCommit.Store(&f) }

// gather adds the pending writes.
func (s *Store) gather(batch []write) []write {
	for len(batch) < maxBatch {
		select {
		case w := <-s.writes:
			batch = append(batch, w)
		default:
			return batch
		}
	}
	return batch
}

// commit writes a batch and tells the callers. It returns how many writes
// failed.
func (s *Store) commit(t *transaction, batch []write) (failed int) {
	results, err := s.try(t, batch)
	if err != nil && len(batch) > 1 {
		for i := range batch {
			failed += s.commit(t, batch[i:i+1])
		}
		return failed
	}
	for i, w := range batch {
		result := err
		if err == nil {
			result = results[i]
		}
		if result != nil && !slices.Contains(expected, result) {
			failed++
		}
		w.done <- result
	}
	return failed
}

// try runs a batch in one transaction. An error means that nothing of it was
// written. The results are nil or one of those expected.
func (s *Store) try(t *transaction, batch []write) (results []error, err error) {
	results = make([]error, len(batch))
	if err := s.backend.Begin(); err != nil {
		for i := range results { // waiting again for each would add up
			results[i] = fmt.Errorf("begin: %w", s.backend.Explain(err))
		}
		return results, nil
	}
	defer func() {
		if err != nil {
			t.failing = true
			s.backend.Rollback()
		}
	}()
	if err := t.begin(); err != nil {
		return nil, s.backend.Explain(err)
	}
	for i, w := range batch {
		err := w.do(t)
		if err != nil && !slices.Contains(expected, err) {
			return nil, s.backend.Explain(err)
		}
		results[i] = err
	}
	if err := t.finish(); err != nil {
		return nil, s.backend.Explain(err)
	}
	if err := s.backend.Commit(); errors.Is(err, ErrUnknown) {
		s.backend.Rollback()
		for i := range results { // it may be written: not again
			results[i] = fmt.Errorf("commit: %w", s.backend.Explain(err))
		}
		return results, nil
	} else if err != nil {
		return nil, fmt.Errorf("commit: %w", s.backend.Explain(err))
	}
	t.failing = t.failing && !t.probed && t.totals == t.before
	// Only now is it certain that the next reader sees the commit.
	if err := s.backend.Check(); err != nil {
		for i := range results {
			results[i] = err
		}
	}
	return results, nil
}

// totals is the row of the table totals.
type totals struct {
	sequence, changes, revocations int64
	// latest is the time of the newest event since the clock was set back; rows
	// that expired before horizon may be swept. moved is the clock's time when
	// horizon was last moved.
	latest, horizon, moved int64
}

// transaction is the transaction of a write.
type transaction struct {
	*Conn
	totals
	// before are the totals as they are in the database.
	before totals
	// run are the pending events, and their number.
	run   []byte
	count int64
	pace  pace
	// kept counts the stored IDs of replaced tokens.
	kept int64
	// sweeps are the sweeps that are due.
	sweeps [swept]sweep
	// failing is set from a write that failed, as on a full disk, until one succeeds;
	// probed says that this transaction writes a page in any case.
	failing, probed bool
}

func newTransaction(conn *Conn) *transaction {
	t := &transaction{Conn: conn}
	for i := range t.sweeps {
		t.sweeps[i].due = sweepEvery // so that a process with few writes sweeps as well
	}
	return t
}

func (t *transaction) begin() error {
	t.run, t.count, t.probed = t.run[:0], 0, false
	_, err := t.Row("SELECT sequence, changes, revocations, latest, horizon, moved FROM totals", nil,
		&t.sequence, &t.changes, &t.revocations, &t.latest, &t.horizon, &t.moved)
	t.before = t.totals
	return err
}

// finish writes what the writes have deferred.
func (t *transaction) finish() error {
	if err := t.flush(); err != nil {
		return fmt.Errorf("record events: %w", err)
	}
	if err := t.sweep(); err != nil {
		return fmt.Errorf("remove what has expired: %w", err)
	}
	if t.totals == t.before {
		return nil
	}
	_, err := t.Exec("UPDATE totals SET sequence = ?, changes = ?, revocations = ?, latest = ?, horizon = ?, moved = ?",
		t.sequence, t.changes, t.revocations, t.latest, t.horizon, t.moved)
	return err
}

// probe writes a page when the last write failed: whether one can be written is
// not known otherwise.
func (t *transaction) probe() error {
	if !t.failing {
		return nil
	}
	t.probed = true
	// A value that stays the same may not be written; this one has no meaning.
	_, err := t.Exec("UPDATE totals SET evicted = (evicted + 1) & 1")
	return err
}

// last returns the sequence number of the last event, including the run.
func (t *transaction) last() int64 { return t.sequence + t.count }
