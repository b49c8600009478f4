package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/server/store"
	"golang.org/x/mod/sumdb/tlog"
)

// Export writes the log up to its latest checkpoint into a directory, as the
// files of C2SP tlog-tiles: checkpoint, tile/LEVEL/N and tile/entries/N. Other
// programs verify these. Files that are there are replaced. Entries of events that
// were dropped are not written (tlog-tiles, section Pruning).
func Export(ctx context.Context, s Source, directory string) error {
	state, err := s.Log(ctx)
	if err != nil {
		return err
	}
	size := state.Checkpoint.Size
	if size == 0 {
		return errors.New("the audit log has no checkpoint yet: a running server signs one every few seconds")
	}
	t := newTree(ctx, s, state.Base)
	for _, tile := range tlog.NewTiles(tileHeight, 0, size) {
		if tile.L == 0 && state.Base+1+tile.N*tileWidth > state.Dropped {
			if err := exportEntries(t, tile, directory); err != nil {
				return err
			}
		}
		data, err := tlog.ReadTileData(tile, t)
		if err != nil {
			return err
		}
		if err := export(directory, tilePath(tile), data); err != nil {
			return err
		}
	}
	// Last, so that what it refers to is there.
	return export(directory, "checkpoint", []byte(state.Checkpoint.Note))
}

// exportEntries writes the entries of a tile, each after its length, and leaves
// their hashes in the tree.
func exportEntries(t *tree, tile tlog.Tile, directory string) error {
	var bundle []byte
	t.first, t.leaves = tile.N*tileWidth, t.leaves[:0]
	err := eachEntry(t.ctx, t.store, t.base, t.first, t.first+int64(tile.W), func(n int64, e *store.RecordedEvent) error {
		if e == nil {
			return fmt.Errorf("event %d is missing: run counterfoil audit verify", t.base+1+n)
		}
		entry := Entry(e)
		bundle = append(binary.BigEndian.AppendUint16(bundle, uint16(len(entry))), entry...)
		t.leaves = append(t.leaves, tlog.RecordHash(entry))
		return nil
	})
	if err != nil {
		return err
	}
	tile.L = -1
	return export(directory, tilePath(tile), bundle)
}

// tilePath is the path of a tile; its level is -1 for entries.
func tilePath(t tlog.Tile) string {
	level := fmt.Sprint(t.L)
	if t.L < 0 {
		level = "entries"
	}
	n := t.N
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if t.W < tileWidth {
		path += fmt.Sprintf(".p/%d", t.W)
	}
	return "tile/" + level + "/" + path
}

func export(directory, path string, data []byte) error {
	path = filepath.Join(directory, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return files.Write(path, data, 0o600)
}
