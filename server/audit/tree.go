package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
	"golang.org/x/mod/sumdb/tlog"
)

// maxEntry is the size of the longest entry that an entry bundle can hold.
const maxEntry = 1<<16 - 1

// Entry returns the entry of the log for an event: a JSON object with the event's
// members, but instead of ip_address and user_agent the commitment to them, in
// base64url (see store.Commit). An event that is too long for an entry, 65,535
// bytes, has the SHA-256 of its detail and its changes there instead of both.
//
// Entries are never stored and must always come out the same: members may be
// added to events when they are omitted where they are empty, and nothing else
// may change.
func Entry(r *store.RecordedEvent) []byte {
	entry := struct {
		Sequence int64 `json:"sequence"`
		counterfoil.Event
		Address    *struct{}        `json:"ip_address,omitempty"`
		UserAgent  *struct{}        `json:"user_agent,omitempty"`
		Commitment store.Commitment `json:"commitment,omitzero"`
		Digest     string           `json:"digest,omitempty"`
	}{Sequence: r.Sequence, Event: r.Event, Commitment: r.Commitment}
	text, err := json.Marshal(&entry)
	if err == nil && len(text) > maxEntry {
		sum := sha256.Sum256([]byte(r.Detail + "\x00" + r.Changes))
		entry.Detail, entry.Changes, entry.Digest = "", "", hex.EncodeToString(sum[:])
		text, err = json.Marshal(&entry)
	}
	if err != nil || len(text) > maxEntry {
		// Unreachable: JSON can express every time that a store returns, and all other
		// texts of an event are bounded.
		return []byte(fmt.Sprintf(`{"sequence":%d}`, r.Sequence))
	}
	return text
}

// tileID identifies a tile by its level and number.
type tileID struct {
	level int
	n     int64
}

// tree reads the hashes of the log: from stored tiles, and where these are not
// full yet, from the events. It is a tlog.HashReader.
type tree struct {
	ctx   context.Context
	store Source
	base  int64
	// leaves are the hashes of the entries from first on.
	first  int64
	leaves []tlog.Hash
	// tiles are those that were read; nil for one that is not stored.
	tiles map[tileID][]byte
}

func newTree(ctx context.Context, s Source, base int64) *tree {
	return &tree{ctx: ctx, store: s, base: base, tiles: map[tileID][]byte{}}
}

// load reads the events of the entries from one to before another.
func (t *tree) load(from, to int64) error {
	t.first, t.leaves = from, make([]tlog.Hash, 0, to-from)
	err := eachEntry(t.ctx, t.store, t.base, from, to, func(n int64, e *store.RecordedEvent) error {
		if e == nil {
			return fmt.Errorf("the audit record was altered: event %d is missing; run counterfoil audit verify", t.base+1+n)
		}
		t.leaves = append(t.leaves, tlog.RecordHash(Entry(e)))
		return nil
	})
	return err
}

// eachEntry calls do with the events of entries, and with nil for one that is not
// there.
func eachEntry(
	ctx context.Context, s Source, base, from, to int64, do func(n int64, e *store.RecordedEvent) error,
) error {
	n := from
	for n < to {
		events, err := s.Events(ctx, base+n, int(min(readAtOnce, to-n)))
		if broken, ok := errors.AsType[*store.UnreadableError](err); ok {
			for last := min(broken.Last-base, to); n < last; n++ { // as if they were missing
				if err := do(n, nil); err != nil {
					return err
				}
			}
			continue
		}
		if err != nil {
			return err
		}
		if len(events) == 0 {
			break
		}
		for i := range events {
			e := &events[i]
			for ; n < to && base+1+n < e.Sequence; n++ {
				if err := do(n, nil); err != nil {
					return err
				}
			}
			if n == to {
				break
			}
			if err := do(n, e); err != nil {
				return err
			}
			n++
		}
	}
	for ; n < to; n++ {
		if err := do(n, nil); err != nil {
			return err
		}
	}
	return nil
}

// ReadHashes implements tlog.HashReader.
func (t *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		var err error
		if hashes[i], err = t.node(level, n); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// node returns the hash of node n of a level, which stands for 1<<level entries.
func (t *tree) node(level int, n int64) (tlog.Hash, error) {
	if level == 0 && n >= t.first && n-t.first < int64(len(t.leaves)) {
		return t.leaves[n-t.first], nil
	}
	within := level % tileHeight
	id := tileID{level / tileHeight, n >> (tileHeight - within)}
	data, err := t.tile(id)
	if err != nil {
		return tlog.Hash{}, err
	}
	if data != nil {
		return tlog.HashFromTile(tlog.Tile{H: tileHeight, L: id.level, N: id.n, W: tileWidth}, data, tlog.StoredHashIndex(level, n))
	}
	if level == 0 {
		var hash tlog.Hash
		err := eachEntry(t.ctx, t.store, t.base, n, n+1, func(_ int64, e *store.RecordedEvent) error {
			if e == nil {
				return fmt.Errorf("event %d is missing: run counterfoil audit verify", t.base+1+n)
			}
			hash = tlog.RecordHash(Entry(e))
			return nil
		})
		return hash, err
	}
	left, err := t.node(level-1, 2*n)
	if err != nil {
		return tlog.Hash{}, err
	}
	right, err := t.node(level-1, 2*n+1)
	if err != nil {
		return tlog.Hash{}, err
	}
	return tlog.NodeHash(left, right), nil
}

// tile returns a stored tile, or nil.
func (t *tree) tile(id tileID) ([]byte, error) {
	if data, known := t.tiles[id]; known {
		return data, nil
	}
	data, err := t.store.LogTile(t.ctx, id.level, id.n)
	if errors.Is(err, store.ErrNotFound) {
		data, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(data) != 0 && len(data) != tileWidth*tlog.HashSize {
		return nil, fmt.Errorf("tile %d/%d of the audit log is damaged: run counterfoil audit verify", id.level, id.n)
	}
	t.tiles[id] = data
	return data, nil
}
