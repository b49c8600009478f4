package audit

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxFindings bounds the findings of a report; more are counted.
const maxFindings = 100

// Options say what Verify checks the log against.
type Options struct {
	// Verifier is the key of the log.
	Verifier note.Verifier
	// Kept are checkpoints that somebody has kept elsewhere.
	Kept []string
	// Progress, when set, is called with the number of entries that were read.
	Progress func(entries int64)
}

// Report is what Verify found.
type Report struct {
	// Origin is the name of the log.
	Origin string `json:"origin"`
	// Entries is the number of the log's entries. The events up to Dropped were
	// dropped because of their age: their hashes are left.
	Entries int64 `json:"entries"`
	Dropped int64 `json:"dropped,omitempty"`
	// Checkpoints is how many checkpoints were checked, kept ones included.
	Checkpoints int `json:"checkpoints"`
	// Signed is how many entries the latest checkpoint is about. The events after
	// it are in no checkpoint yet.
	Signed int64 `json:"signed"`
	// Findings are what is wrong; empty when the record is as it was signed.
	Findings []Finding `json:"findings"`
	// More is how many further findings there are.
	More int `json:"more,omitempty"`
}

// Finding is something wrong in the record.
type Finding struct {
	// Sequence is the event's sequence number; 0 when the finding is not about one.
	Sequence int64 `json:"sequence,omitempty"`
	// What says what is wrong.
	What string `json:"what"`
}

func (r *Report) add(sequence int64, what string, args ...any) {
	if len(r.Findings) == maxFindings {
		r.More++
		return
	}
	r.Findings = append(r.Findings, Finding{sequence, fmt.Sprintf(what, args...)})
}

// Verify reads the whole record of a database and checks it against the stored
// hashes, each checkpoint in it and those that were kept elsewhere. It writes
// nothing and needs no server.
//
// It names each event that was changed or is missing since the tile with its hash
// was stored, which is after at most 256 further events. Somebody who also
// changes the hashes is found by the checkpoints, which are signed: then the
// report names the events between the last checkpoint that matches and the first
// that does not.
func Verify(ctx context.Context, s Source, o Options) (Report, error) {
	state, err := s.Log(ctx)
	if err != nil {
		return Report{}, err
	}
	v := &verification{
		ctx: ctx, store: s, o: o, state: state, tree: newTree(ctx, s, state.Base),
		report: Report{Origin: Origin(state.ID), Entries: state.Recorded - state.Base, Dropped: state.Dropped, Findings: []Finding{}},
	}
	if err := v.readCheckpoints(); err != nil {
		return v.report, err
	}
	err = v.readEntries()
	return v.report, err
}

// verification is a call of Verify.
type verification struct {
	ctx    context.Context
	store  Source
	o      Options
	state  store.LogState
	tree   *tree
	report Report
	// checkpoints are to be checked, the smallest first.
	checkpoints []expected
	// events are the hashes of the entries as the events are now; stored are the
	// same where no tile has another hash.
	events, stored compact
	// matched is how many entries the last matching checkpoint is about.
	matched int64
	// matchedKept is the same of those that were kept elsewhere.
	matchedKept int64
	// dropped is the last event that the server has dropped, as an event says.
	dropped int64
	// restored are the restores of the database, as events say.
	restored []Restore
}

// expected is a checkpoint that the log must match.
type expected struct {
	Checkpoint
	kept bool
}

func (c expected) String() string {
	if c.kept {
		return fmt.Sprintf("the kept checkpoint of %d entries", c.Size)
	}
	return fmt.Sprintf("the checkpoint of %d entries", c.Size)
}

// readCheckpoints reads those of the database, and merges in those that were
// kept.
func (v *verification) readCheckpoints() error {
	for after := int64(0); ; {
		page, err := v.store.LogCheckpoints(v.ctx, after, readAtOnce)
		if err != nil {
			return err
		}
		for _, stored := range page {
			after = stored.Size
			c, err := ParseCheckpoint(stored.Note, v.o.Verifier)
			switch {
			case err != nil:
				v.report.add(0, "the checkpoint of %d entries is not signed by this log's key: %v", stored.Size, err)
			case c.Size != stored.Size:
				v.report.add(0, "the checkpoint of %d entries is one of %d", stored.Size, c.Size)
			default:
				v.checkpoints = append(v.checkpoints, expected{c, false})
			}
		}
		if len(page) < readAtOnce {
			break
		}
	}
	for i, text := range v.o.Kept {
		c, err := ParseCheckpoint(strings.TrimRight(text, "\r\n")+"\n", v.o.Verifier)
		if err != nil {
			return fmt.Errorf("kept checkpoint %d was not signed by this log's key (if the log was replaced, give the key "+
				"that was kept with it): %w", i+1, err)
		}
		at := len(v.checkpoints)
		for at > 0 && v.checkpoints[at-1].Size > c.Size {
			at--
		}
		v.checkpoints = append(v.checkpoints[:at:at], append([]expected{{c, true}}, v.checkpoints[at:]...)...)
	}
	if v.report.Checkpoints = len(v.checkpoints); v.report.Checkpoints > 0 {
		v.report.Signed = min(v.checkpoints[v.report.Checkpoints-1].Size, v.report.Entries)
	}
	return nil
}

// readEntries reads the events and checks each checkpoint when the entries that
// it is about were read.
func (v *verification) readEntries() error {
	v.check(0)
	var block []tlog.Hash
	end := func(n int64) error { // of a block, which is whole except the last
		hashes, err := v.tile(n-int64(len(block)), block)
		for i, hash := range block {
			v.events.add(hash)
			v.stored.add(hashes[i])
			v.check(n - int64(len(block)) + int64(i) + 1)
		}
		block = block[:0]
		return err
	}
	last := v.state.Base
	err := eachEntry(v.ctx, v.store, v.state.Base, 0, v.report.Entries, func(n int64, e *store.RecordedEvent) error {
		switch {
		case e != nil:
			block = append(block, tlog.RecordHash(Entry(e)))
			last = e.Sequence
			switch e.Type {
			case counterfoil.EventAuditDropped:
				v.dropped = max(v.dropped, v.signedDrop(e))
			case counterfoil.EventDatabaseRestored:
				if r, ok := parseRestore(e.Detail, v.report.Origin, v.o.Verifier); ok && r.Kept < e.Sequence && len(v.restored) < maxFindings {
					v.restored = append(v.restored, r)
				}
			}
		case v.sequence(n) <= v.state.Dropped:
			block = append(block, tlog.Hash{})
		default:
			v.report.add(v.sequence(n), "the event is missing, or cannot be read")
			block = append(block, tlog.Hash{})
		}
		if len(block) < tileWidth {
			return nil
		}
		if v.o.Progress != nil {
			v.o.Progress(n + 1)
		}
		return end(n + 1)
	})
	if err == nil {
		err = end(v.report.Entries)
	}
	if err != nil {
		return err
	}
	if v.dropped < v.state.Dropped {
		v.report.add(0, "the events up to %d are missing, and no event that the log's key has signed says that the server "+
			"has dropped them", v.state.Dropped)
	}
	for _, c := range v.checkpoints { // those that are left are about more
		if v.lost(c) {
			continue
		}
		v.report.add(0, "%v is about more than there are: the events after %d were cut off", c, last)
	}
	return v.checkTiles()
}

// tile compares a block of entries, as the events are now, with the stored tile
// of it, and returns the stored hashes.
func (v *verification) tile(first int64, block []tlog.Hash) ([]tlog.Hash, error) {
	if len(block) < tileWidth {
		return block, nil
	}
	data, err := v.store.LogTile(v.ctx, 0, first/tileWidth)
	if errors.Is(err, store.ErrNotFound) {
		if first+tileWidth <= v.report.Signed {
			v.report.add(0, "the hashes of the events %d to %d are missing", v.sequence(first), v.sequence(first+tileWidth-1))
		}
		return block, nil
	}
	if err != nil {
		return nil, err
	}
	if len(data) != tileWidth*tlog.HashSize {
		v.report.add(0, "the hashes of the events %d to %d are damaged", v.sequence(first), v.sequence(first+tileWidth-1))
		return block, nil
	}
	hashes := make([]tlog.Hash, tileWidth)
	for i := range hashes {
		hashes[i] = tlog.Hash(data[i*tlog.HashSize:])
		switch {
		case block[i] == tlog.Hash{}: // missing, and said
			block[i] = hashes[i]
		case hashes[i] != block[i]:
			v.report.add(v.sequence(first+int64(i)), "the event is not the one that was recorded")
		}
	}
	return hashes, nil
}

// signedDrop returns the last event that was dropped, as an event says; 0 when
// the log's key has not signed that.
func (v *verification) signedDrop(e *store.RecordedEvent) int64 {
	number, text, _ := strings.Cut(e.Detail, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	signature, failed := base64.StdEncoding.DecodeString(text)
	if err != nil || failed != nil || n >= e.Sequence || !v.o.Verifier.Verify(dropText(v.report.Origin, n), signature) {
		return 0
	}
	return n
}

// sequence is the sequence number of an entry's event.
func (v *verification) sequence(n int64) int64 { return v.state.Base + 1 + n }

// check checks the checkpoints of that many entries.
func (v *verification) check(size int64) {
	for len(v.checkpoints) > 0 && v.checkpoints[0].Size == size {
		c := v.checkpoints[0]
		v.checkpoints = v.checkpoints[1:]
		matched := &v.matched
		if c.kept { // those of the database may have been made anew
			matched = &v.matchedKept
		}
		switch {
		case c.Size == 0:
		case v.events.root() == c.Root:
			*matched = size
		case v.stored.root() == c.Root && len(v.report.Findings) > 0: // the findings say which events
			*matched = size
		case v.lost(c):
		default:
			v.report.add(0, "the events %d to %d do not match %v", v.sequence(*matched), v.sequence(size-1), c)
		}
	}
}

// lost reports whether a kept checkpoint that does not match is from before a
// restore, which has lost records that it is about, and adds that. It is a finding
// nevertheless: what these records said is not known.
func (v *verification) lost(c expected) bool {
	for _, r := range v.restored {
		if last := v.sequence(c.Size - 1); c.kept && last > r.Kept && (r.Lost == 0 || last <= r.Lost) {
			v.report.add(0, "%v is about events after %d, which were lost when the database was restored from the backup of %s: "+
				"nobody can tell any more what they were", c, r.Kept, r.Made.Format(time.RFC3339))
			return true
		}
	}
	return false
}

// checkTiles compares the stored tiles of the upper levels with those below.
func (v *verification) checkTiles() error {
	for level, count := 1, v.report.Signed>>(2*tileHeight); count > 0; level, count = level+1, count>>tileHeight {
		for n := range count {
			data, err := v.store.LogTile(v.ctx, level, n)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			below, failed := v.rootsBelow(level, n)
			if err != nil || failed != nil || !bytes.Equal(data, below) {
				v.report.add(0, "tile %d of level %d is missing or does not match those below it", n, level)
			}
		}
	}
	return nil
}

// rootsBelow computes a tile from the tiles of the level below.
func (v *verification) rootsBelow(level int, n int64) ([]byte, error) {
	below := newTree(v.ctx, v.store, v.state.Base)
	below.tiles[tileID{level, n}] = nil
	return tlog.ReadTileData(tlog.Tile{H: tileHeight, L: level, N: n, W: tileWidth}, below)
}

// compact is a Merkle tree that grows: the roots of its complete subtrees, the
// largest first.
type compact struct {
	size  int64
	roots []tlog.Hash
}

func (c *compact) add(leaf tlog.Hash) {
	for n := c.size; n&1 == 1; n >>= 1 {
		last := len(c.roots) - 1
		leaf = tlog.NodeHash(c.roots[last], leaf)
		c.roots = c.roots[:last]
	}
	c.roots = append(c.roots, leaf)
	c.size++
}

func (c *compact) root() tlog.Hash {
	last := len(c.roots) - 1
	root := c.roots[last]
	for i := last - 1; i >= 0; i-- {
		root = tlog.NodeHash(c.roots[i], root)
	}
	return root
}
