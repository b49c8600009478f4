package sqlite

import (
	"sync/atomic"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/store/internal/relational"
)

// lock is the lock that a write needs, as the writer sees it.
type lock struct {
	conn *relational.Conn // the writer's
	// stuckAfter and crowdedAfter are the constants, except in tests.
	stuckAfter, crowdedAfter atomic.Int64
	// stuck is set while another process holds the lock and commits nothing;
	// version is the database's at the last check.
	stuck   bool
	version int64
	// crowded is set once others that commit have left no gap for too long.
	crowded bool
}

func newLock() *lock {
	l := new(lock)
	l.stuckAfter.Store(int64(stuckAfter))
	l.crowdedAfter.Store(int64(crowdedAfter))
	return l
}

// Begin implements relational.Backend.
func (d *access) Begin() error {
	if err := d.files.check(); err != nil {
		return err
	}
	return d.lock.begin()
}

// Commit implements relational.Backend.
func (d *access) Commit() error {
	_, err := d.conn.Exec("COMMIT")
	return err
}

// Rollback implements relational.Backend.
func (d *access) Rollback() { _, _ = d.conn.Exec("ROLLBACK") }

// Check implements relational.Backend.
func (d *access) Check() error { return d.files.check() }

// Explain implements relational.Backend.
func (d *access) Explain(err error) error { return explain(err) }

// begin begins a transaction. It waits while other processes commit one after
// the other, but not for one that holds the lock and commits nothing: after
// the first write has waited for that one, later writes only check whether it
// still holds the lock.
func (l *lock) begin() error {
	began, most := clock.System.Now(), l.crowdedAfter.Load()
	if l.crowded { // who came meanwhile has waited for as long
		most = min(most, l.stuckAfter.Load())
	}
	for progress := began; ; {
		_, err := l.conn.Exec("BEGIN IMMEDIATE")
		if !busy(err) {
			l.stuck, l.crowded = false, false
			return err
		}
		var version int64
		if _, err := l.conn.Row("PRAGMA data_version", nil, &version); err != nil {
			return err
		}
		now := clock.System.Now()
		if version != l.version {
			l.version, l.stuck, progress = version, false, now
		}
		l.stuck = l.stuck || int64(now.Sub(progress)) >= l.stuckAfter.Load()
		if l.crowded = int64(now.Sub(began)) >= most; l.crowded || l.stuck {
			return err
		}
	}
}
