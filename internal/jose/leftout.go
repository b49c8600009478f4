package jose

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// How often LeftOutLog logs, and how many keys.
const (
	repeatedAfter = time.Hour   // of the same keys
	changedAfter  = time.Minute // of others
	maxTold       = 10
	maxShownID    = 100 // bytes of a kid
)

// LeftOutLog logs the keys that were left out of the sets of one source. The zero
// value is ready, and it is safe for concurrent use.
type LeftOutLog struct {
	mu   sync.Mutex
	last [sha256.Size]byte
	at   time.Time
}

// Warn logs each key that is left out of the set at url, with its kid and why, and
// how many keys are used. It logs the same keys once an hour, and changed ones at
// most once a minute.
func (l *LeftOutLog) Warn(log *slog.Logger, now time.Time, url string, used int, left []LeftOut) {
	if len(left) == 0 || !l.due(now, left) {
		return
	}
	for _, k := range left[:min(len(left), maxTold)] {
		log.Warn("key set: a key is left out", "url", url, "kid", k.ID[:min(len(k.ID), maxShownID)], "position", k.Index+1, "why", k.Why)
	}
	log.Warn("key set: keys left out", "url", url, "used", used, "left_out", len(left))
}

func (l *LeftOutLog) due(now time.Time, left []LeftOut) bool {
	sum := sha256.Sum256(fmt.Append(nil, left))
	l.mu.Lock()
	defer l.mu.Unlock()
	wait := changedAfter
	if sum == l.last {
		wait = repeatedAfter
	}
	// A clock that was set back lets lines through.
	if since := now.Sub(l.at); !l.at.IsZero() && since >= 0 && since < wait {
		return false
	}
	l.last, l.at = sum, now
	return true
}
