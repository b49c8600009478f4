// Package audit makes the record of a server tamper-evident. It keeps a Merkle
// tree over the events in the form of C2SP tlog-tiles and signs checkpoints of it,
// so that whoever has kept a checkpoint can tell whether any event up to it was
// changed, removed, reordered or cut off since, even by those who run the server.
//
// Give the checkpoints away: a log can be rewritten as a whole by those who hold
// its key, unless somebody else has an earlier checkpoint.
//
// An event is in the database before its token leaves the server, and in the log
// at the next checkpoint: between the two, somebody who writes to the database is
// not noticed. Addresses and user agents are in the log as commitments only, so
// that they can be erased while the log stays verifiable.
//
// References: C2SP tlog-tiles, tlog-checkpoint, signed-note and tlog-proof;
// hashes are those of RFC 6962 section 2.1.
package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	// tileHeight is that of C2SP tlog-tiles: a tile has 256 hashes of one level.
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	// chunk is how many entries one write adds at most; a multiple of tileWidth.
	chunk = 32 << 10
	// readAtOnce is how many events are read at once.
	readAtOnce = 1024
)

// Config configures New.
type Config struct {
	Store store.Store
	Clock counterfoil.Clock
	// Logger receives what an operator must see; nil for slog.Default.
	Logger *slog.Logger
	// Key signs checkpoints; see signing.LogKey.
	Key ed25519.PrivateKey
	// Published, when set, is the checkpoint that was given away last: the log is not
	// extended unless it still has the entries of it.
	Published string
	// Publish, when set, gives the latest checkpoint away. It is called at the first
	// one and when PublishEvery has passed since, with a new one; an error is logged,
	// and Publish called again.
	Publish      func(ctx context.Context, checkpoint string) error
	PublishEvery time.Duration
	// Keep says which events are kept, EraseAfter when their addresses and user
	// agents are erased; 0 for never.
	Keep       store.Keep
	EraseAfter time.Duration
}

// Log extends the log of a store. It is safe for concurrent use, also by several
// processes on one database: of those that extend the log at the same time, one
// succeeds.
type Log struct {
	Config
	signer   signer
	trouble  lograte.Limiter
	verifier note.Verifier
	mu       sync.Mutex // held by Extend
	// seen is the largest checkpoint that this Log has signed, or found at its start:
	// who removes checkpoints from the database is noticed.
	seen Checkpoint
	// checked is the next tile to be compared with its events.
	checked   int64
	published int64     // entries of the checkpoint that was given away last
	last      time.Time // when that was

	stats atomic.Pointer[Stats]
}

// Stats is the state of a Log, for metrics.
type Stats struct {
	// Recorded is how many entries the record has, with those that were dropped,
	// and Signed how many of them the latest checkpoint covers.
	Recorded, Signed int64
	// Checked is when the log was last extended as far as the record reached, or
	// needed no extension; before that it is when the Log was made. It is old if the
	// log cannot be extended.
	Checked time.Time
	// Failures and PublishFailures count the attempts to extend the log and to give
	// a checkpoint away that failed.
	Failures, PublishFailures uint64
}

// Stats returns the state as of the last attempt to extend the log.
func (l *Log) Stats() Stats { return *l.stats.Load() }

// New returns the log of a store.
func New(ctx context.Context, c Config) (*Log, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	state, err := c.Store.Log(ctx)
	if err != nil {
		return nil, err
	}
	l := &Log{Config: c, signer: newSigner(Origin(state.ID), c.Key)}
	l.stats.Store(&Stats{Recorded: state.Recorded, Signed: state.Base + state.Checkpoint.Size, Checked: c.Clock.Now()})
	if l.verifier, err = note.NewVerifier(l.VerifierKey()); err != nil {
		return nil, err
	}
	for _, text := range []string{state.Checkpoint.Note, c.Published} {
		if text == "" {
			continue
		}
		found, err := ParseCheckpoint(text, l.verifier)
		if err != nil {
			c.Logger.WarnContext(ctx, "audit log: a checkpoint is not signed by this log's key",
				alerts.Trouble(alerts.KindCheckpoint), "error", err)
		} else if found.Size > l.seen.Size {
			l.seen = found
		}
	}
	return l, nil
}

// Origin returns the name of the log of a database in its checkpoints.
func Origin(id string) string { return "counterfoil-audit-log/" + id }

// VerifierKey returns the key that verifies the log's checkpoints, in the form of
// C2SP signed-note.
func (l *Log) VerifierKey() string {
	return VerifierKey(l.signer.name, l.Key.Public().(ed25519.PublicKey))
}

// Run extends the log at each interval, by the configuration's clock, until ctx
// ends, and a last time then.
func (l *Log) Run(ctx context.Context, interval time.Duration) {
	for {
		err := l.Clock.Sleep(ctx, interval)
		if failed := l.Extend(context.WithoutCancel(ctx)); failed != nil {
			l.trouble.Error(ctx, l.Clock, l.Logger, "audit log not extended", alerts.Trouble(alerts.KindCheckpoint), "error", failed)
		}
		if failed := l.Retain(context.WithoutCancel(ctx)); failed != nil {
			l.trouble.Error(ctx, l.Clock, l.Logger, "old audit records not removed", alerts.Trouble(alerts.KindStore), "error", failed)
		}
		if err != nil {
			return
		}
	}
}

// Extend adds the events that were recorded since the latest checkpoint, and
// signs a checkpoint of them. It adds nothing when the entries before do not
// match that checkpoint any more: then somebody has altered the record.
func (l *Log) Extend(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	stats := l.Stats()
	err := l.reach(ctx, &stats)
	if errors.As(err, new(*publishError)) {
		stats.PublishFailures++
	} else if err != nil {
		stats.Failures++
	}
	l.stats.Store(&stats)
	return err
}

// publishError is that of Publish.
type publishError struct {
	size int64
	err  error
}

func (e *publishError) Error() string {
	return fmt.Sprintf("publish the checkpoint of %d entries: %v", e.size, e.err)
}
func (e *publishError) Unwrap() error { return e.err }

// reach extends the log up to the end of the record.
func (l *Log) reach(ctx context.Context, stats *Stats) error {
	for {
		state, err := l.Store.Log(ctx)
		if err != nil {
			return err
		}
		stats.Recorded, stats.Signed = state.Recorded, state.Base+state.Checkpoint.Size
		size := state.Recorded - state.Base
		if size < l.seen.Size || state.Checkpoint.Size < l.seen.Size {
			return fmt.Errorf("the audit record was altered: it has %d entries and checkpoints of %d, and there was one of %d; "+
				"nothing is signed any more: run counterfoil audit verify", size, state.Checkpoint.Size, l.seen.Size)
		}
		if size > state.Checkpoint.Size {
			more := min(size, state.Checkpoint.Size+chunk)
			err = l.extend(ctx, &state, more)
			if errors.Is(err, store.ErrConflict) {
				return nil // another process is at it
			}
			if err != nil {
				return err
			}
			continue
		}
		stats.Checked = l.Clock.Now()
		return l.publish(ctx, &state.Checkpoint)
	}
}

// Retain erases and drops what is older than the configuration says.
func (l *Log) Retain(ctx context.Context) error {
	for done := l.EraseAfter == 0; !done; {
		var err error
		if done, err = l.Store.EraseCallers(ctx, l.Clock.Now(), l.EraseAfter); err != nil {
			return fmt.Errorf("erase addresses: %w", err)
		}
	}
	for done := l.Keep == (store.Keep{}); !done; {
		e := counterfoil.Event{Type: counterfoil.EventAuditDropped, Time: l.Clock.Now(), Success: true, Actor: "counterfoil"}
		var err error
		if done, err = l.Store.DropEvents(ctx, e, l.Keep, l.dropDetail); err != nil {
			return fmt.Errorf("drop events: %w", err)
		}
	}
	return nil
}

// dropDetail says that the log's own server dropped the events up to one: its
// sequence number and a signature.
func (l *Log) dropDetail(last int64) string {
	signature, _ := l.signer.Sign(dropText(l.signer.name, last)) // never fails
	return strconv.FormatInt(last, 10) + " " + base64.StdEncoding.EncodeToString(signature)
}

func dropText(origin string, last int64) []byte {
	return fmt.Appendf(nil, "counterfoil audit dropped\n%s\n%d\n", origin, last)
}

// A Restore is what the record says of a database that was restored.
type Restore struct {
	// Kept is the last record of the backup, Lost the last one that the database had
	// before it was restored; 0 when that is not known. Made is when the backup was
	// made.
	Kept, Lost int64
	Made       time.Time
}

// RestoreDetail returns the Detail of the event of a restore: the fields of r and a
// signature. So Verify can tell a restore from a record that somebody has cut off.
func (l *Log) RestoreDetail(r Restore) string {
	signature, _ := l.signer.Sign(r.text(l.signer.name)) // never fails
	return fmt.Sprintf("%d %d %s %s", r.Kept, r.Lost, r.Made.UTC().Format(time.RFC3339), base64.StdEncoding.EncodeToString(signature))
}

func (r Restore) text(origin string) []byte {
	return fmt.Appendf(nil, "counterfoil database restored\n%s\n%d\n%d\n%s\n", origin, r.Kept, r.Lost, r.Made.UTC().Format(time.RFC3339))
}

// parseRestore reads what RestoreDetail wrote.
func parseRestore(detail, origin string, by note.Verifier) (r Restore, ok bool) {
	var made, text string
	if _, err := fmt.Sscanf(detail, "%d %d %s %s", &r.Kept, &r.Lost, &made, &text); err != nil {
		return r, false
	}
	var err error
	if r.Made, err = time.Parse(time.RFC3339, made); err != nil {
		return r, false
	}
	signature, err := base64.StdEncoding.DecodeString(text)
	return r, err == nil && by.Verify(r.text(origin), signature)
}

// publish gives the latest checkpoint away, unless that was done.
func (l *Log) publish(ctx context.Context, c *store.LogCheckpoint) error {
	now := l.Clock.Now()
	if l.Publish == nil || c.Size == 0 || l.published == c.Size || l.published > 0 && now.Sub(l.last) < l.PublishEvery {
		return nil
	}
	if err := l.Publish(ctx, c.Note); err != nil {
		return &publishError{c.Size, err}
	}
	l.published, l.last = c.Size, now
	return nil
}

// extend adds entries up to a size.
func (l *Log) extend(ctx context.Context, state *store.LogState, size int64) error {
	old := state.Checkpoint.Size
	t := newTree(ctx, l.Store, state.Base)
	if err := t.load(old-old%tileWidth, size); err != nil {
		return err
	}
	if old > 0 {
		if err := l.unaltered(t, &state.Checkpoint); err != nil {
			return err
		}
		if err := l.checkTile(ctx, state); err != nil {
			return err
		}
	}
	var tiles []store.LogTile
	for _, tile := range tlog.NewTiles(tileHeight, old, size) {
		if tile.W < tileWidth {
			continue // computed when it is needed
		}
		data, err := tlog.ReadTileData(tile, t)
		if err != nil {
			return err
		}
		t.tiles[tileID{tile.L, tile.N}] = data
		tiles = append(tiles, store.LogTile{Level: tile.L, N: tile.N, Data: data})
	}
	root, err := tlog.TreeHash(size, t)
	if err != nil {
		return err
	}
	signed, err := note.Sign(&note.Note{Text: checkpointText(l.signer.name, size, root)}, l.signer)
	if err != nil {
		return err
	}
	if err := l.Store.ExtendLog(ctx, old, tiles, store.LogCheckpoint{Size: size, Time: l.Clock.Now(), Note: string(signed)}); err != nil {
		return err
	}
	l.seen = Checkpoint{Origin: l.signer.name, Size: size, Root: root}
	return nil
}

// checkTile compares the events of one full tile with its hashes, another one
// each time.
func (l *Log) checkTile(ctx context.Context, state *store.LogState) error {
	full := state.Checkpoint.Size / tileWidth
	if l.checked = max(l.checked, (state.Dropped-state.Base+tileWidth-1)/tileWidth); l.checked >= full {
		l.checked = 0
		return nil
	}
	n := l.checked
	l.checked++
	data, err := l.Store.LogTile(ctx, 0, n)
	if err != nil {
		return fmt.Errorf("tile %d of the audit log: %w", n, err)
	}
	t := newTree(ctx, l.Store, state.Base)
	if err := t.load(n*tileWidth, (n+1)*tileWidth); err != nil {
		return err
	}
	for i, hash := range t.leaves {
		if !bytes.HasPrefix(data[min(len(data), i*tlog.HashSize):], hash[:]) {
			return fmt.Errorf("the audit record was altered: event %d is not the one that was recorded; run counterfoil audit verify",
				state.Base+1+n*tileWidth+int64(i))
		}
	}
	return nil
}

// unaltered returns an error when the tree does not match a checkpoint of it.
func (l *Log) unaltered(t *tree, c *store.LogCheckpoint) error {
	signed, err := ParseCheckpoint(c.Note, l.verifier)
	if err != nil {
		return fmt.Errorf("the latest checkpoint, of %d entries, is not signed by this log's key: %w", c.Size, err)
	}
	root, err := tlog.TreeHash(c.Size, t)
	if err != nil {
		return err
	}
	seen := root
	if l.seen.Size > 0 && l.seen.Size < c.Size { // another process has extended the log
		if seen, err = tlog.TreeHash(l.seen.Size, t); err != nil {
			return err
		}
	}
	if signed.Size != c.Size || signed.Root != root || l.seen.Size > 0 && seen != l.seen.Root {
		return fmt.Errorf("the audit record was altered: its first %d entries do not match their checkpoint; "+
			"run counterfoil audit verify", c.Size)
	}
	return nil
}

// Checkpoint is what a checkpoint says.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
}

// ParseCheckpoint verifies and reads a checkpoint.
func ParseCheckpoint(text string, by note.Verifier) (Checkpoint, error) {
	signed, err := note.Open([]byte(text), note.VerifierList(by))
	if err != nil {
		return Checkpoint{}, err
	}
	return parseCheckpoint(signed.Text)
}

func checkpointText(origin string, size int64, root tlog.Hash) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
}
