package store

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/counterfoil/counterfoil"
)

// LogStore keeps the hashes and the checkpoints of the tamper-evident log over
// the events (package audit). Its entries are the events after a base, one each,
// in the order of their sequence numbers.
type LogStore interface {
	// Log returns the state of the log.
	Log(ctx context.Context) (LogState, error)
	// LogTile returns the 256 hashes of a full tile; ErrNotFound when it is not
	// stored.
	LogTile(ctx context.Context, level int, n int64) ([]byte, error)
	// LogCheckpoints returns up to limit checkpoints of more than after entries,
	// the smallest first.
	LogCheckpoints(ctx context.Context, after int64, limit int) ([]LogCheckpoint, error)
	// ExtendLog stores tiles that are full now and a checkpoint. It returns
	// ErrConflict when the latest checkpoint is not of from entries: another
	// process has extended the log.
	ExtendLog(ctx context.Context, from int64, tiles []LogTile, c LogCheckpoint) error
	// EraseCallers erases the addresses and user agents of events that are older
	// than age at a time, DropEvents the events that k does not keep: some of them at
	// each call, the oldest first, and done says that no others are left. DropEvents
	// leaves events whose hashes are in no full tile yet, and records e, whose Detail
	// is what detail returns for the last event that is dropped. Both measure
	// age by the time that has passed, which a clock that is set does not change.
	EraseCallers(ctx context.Context, at time.Time, age time.Duration) (done bool, err error)
	DropEvents(ctx context.Context, e counterfoil.Event, k Keep, detail func(last int64) string) (done bool, err error)
}

// MinKeep is how long events are kept in any case: a Store finds the tokens in
// them that become valid again when the clock is set back.
const MinKeep = 25 * time.Hour

// UnreadableError says that the events from First to Last are damaged.
type UnreadableError struct {
	First, Last int64
	Err         error
}

// Error says which events are damaged.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("the events %d to %d cannot be read: %v", e.First, e.Last, e.Err)
}

// Unwrap returns the cause.
func (e *UnreadableError) Unwrap() error { return e.Err }

// Keep says which events are kept: those that are younger than Age, and of these
// the last Count; 0 for no bound. Those younger than MinKeep always are.
type Keep struct {
	Age   time.Duration
	Count int64
}

// LogState is the state of the log.
type LogState struct {
	// ID is a random identifier of the database, which it keeps when it is restored
	// from a backup.
	ID string
	// Base is the sequence number before the first entry's: entry n is the event
	// Base + 1 + n.
	Base int64
	// Recorded is the sequence number of the last event; those up to Dropped were
	// dropped.
	Recorded, Dropped int64
	// Checkpoint is the latest one; its Size is 0 before the first.
	Checkpoint LogCheckpoint
}

// LogTile is a full tile of hashes, as in C2SP tlog-tiles.
type LogTile struct {
	Level int
	N     int64
	// Data are 256 hashes of 32 bytes.
	Data []byte
}

// LogCheckpoint is a signed checkpoint.
type LogCheckpoint struct {
	// Size is how many entries it is about.
	Size int64
	Time time.Time
	// Note is the signed note, as in C2SP tlog-checkpoint.
	Note string
}

// Commitment stands for an address and a user agent. In JSON it is base64url.
type Commitment [32]byte

// MarshalText implements encoding.TextMarshaler.
func (c Commitment) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, c[:]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Commitment) UnmarshalText(text []byte) error {
	b, err := base64.RawURLEncoding.AppendDecode(nil, text)
	if err != nil || len(b) != len(c) {
		return errors.New("a commitment has 32 bytes in base64url")
	}
	*c = Commitment(b)
	return nil
}

// Commit returns the commitment to an address and a user agent: the SHA-256 of
// the opening, the address, a zero byte and the user agent.
func Commit(opening []byte, address, userAgent string) Commitment {
	h := sha256.New()
	h.Write(opening)
	h.Write([]byte(address))
	h.Write([]byte{0})
	h.Write([]byte(userAgent))
	return Commitment(h.Sum(nil))
}
