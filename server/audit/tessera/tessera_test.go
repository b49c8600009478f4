package tessera

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	proofs "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"

	checkpoints "github.com/transparency-dev/formats/log"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// record is the record of a server, whose log is exported and served.
type record struct {
	t         *testing.T
	store     *sqlite.Store
	log       *audit.Log
	origin    string
	verifier  note.Verifier
	directory string
	fetcher   *client.HTTPFetcher
}

func newRecord(t *testing.T) *record {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "c.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	now := clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	sealer, err := signing.NewSealer("", nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signing.LogKey(t.Context(), db, now, sealer)
	if err != nil {
		t.Fatal(err)
	}
	l, err := audit.New(t.Context(), audit.Config{Store: db, Clock: now, Key: key, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(l.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	r := &record{t: t, store: db, log: l, origin: verifier.Name(), verifier: verifier, directory: t.TempDir()}
	served := httptest.NewServer(http.FileServer(http.Dir(r.directory)))
	t.Cleanup(served.Close)
	at, err := url.Parse(served.URL)
	if err != nil {
		t.Fatal(err)
	}
	if r.fetcher, err = client.NewHTTPFetcher(at, served.Client()); err != nil {
		t.Fatal(err)
	}
	return r
}

// grow records events until the log has so many entries, and exports it.
func (r *record) grow(size int64) {
	r.t.Helper()
	for {
		state, err := r.store.Log(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		missing := size - (state.Recorded - state.Base)
		if missing < 0 {
			r.t.Fatalf("the log has more than %d entries", size)
		}
		if missing == 0 {
			break
		}
		events := make([]counterfoil.Event, min(missing, 1000))
		for i := range events {
			events[i] = counterfoil.Event{
				Type: counterfoil.EventTokenIssued, Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Realm: "r",
				ClientID: fmt.Sprint("client-", size, "-", i), Success: true, Address: "192.0.2.1", UserAgent: "agent/1",
			}
		}
		if err := r.store.RecordEvents(r.t.Context(), events...); err != nil {
			r.t.Fatal(err)
		}
	}
	r.extend()
}

func (r *record) extend() {
	r.t.Helper()
	if err := r.log.Extend(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	if err := audit.Export(r.t.Context(), r.store, r.directory); err != nil {
		r.t.Fatal(err)
	}
}

// leaves are the hashes of the entries of a bundle, as in the command fsck.
func leaves(bundle []byte) ([][]byte, error) {
	var b api.EntryBundle
	if err := b.UnmarshalText(bundle); err != nil {
		return nil, err
	}
	hashes := make([][]byte, len(b.Entries))
	for i, entry := range b.Entries {
		hashes[i] = rfc6962.DefaultHasher.HashLeaf(entry)
	}
	return hashes, nil
}

// fsck runs Tessera's check of everything. It has several workers, since a worker
// that finds a fault ends and leaves the rest to the others.
func (r *record) fsck() error {
	return fsck.New(r.origin, r.verifier, r.fetcher, leaves, fsck.Opts{N: 8}).Check(r.t.Context())
}

// checkpoint is the one that was exported, as Tessera reads it.
func (r *record) checkpoint() (*checkpoints.Checkpoint, []byte) {
	r.t.Helper()
	c, raw, _, err := client.FetchCheckpoint(r.t.Context(), r.fetcher.ReadCheckpoint, r.verifier, r.origin)
	if err != nil {
		r.t.Fatal(err)
	}
	return c, raw
}

// follow follows the log from a checkpoint, or from its present one for nil.
func (r *record) follow(from []byte) *client.LogStateTracker {
	r.t.Helper()
	tracker, err := client.NewLogStateTracker(r.t.Context(), r.fetcher.ReadTile, from, r.verifier, r.origin,
		client.UnilateralConsensus(r.fetcher.ReadCheckpoint))
	if err != nil {
		r.t.Fatal(err)
	}
	return tracker
}

// TestTesseraAgrees: an export of any size is a log to Tessera, each is
// consistent with those before, and has the entries that it proves.
func TestTesseraAgrees(t *testing.T) {
	r := newRecord(t)
	var tracker *client.LogStateTracker
	for _, size := range []int64{1, 2, 70, 255, 256, 257, 512, 70_000} {
		r.grow(size)
		if err := r.fsck(); err != nil {
			t.Fatalf("%d entries: %v", size, err)
		}
		c, _ := r.checkpoint()
		if c.Size != uint64(size) {
			t.Fatalf("the checkpoint of %d entries is one of %d", size, c.Size)
		}
		if tracker == nil {
			tracker = r.follow(nil)
		}
		if _, _, _, err := tracker.Update(t.Context()); err != nil || tracker.Latest().Size != c.Size {
			t.Errorf("the checkpoint of %d entries does not follow the one before: %v", size, err)
		}
		builder, err := client.NewProofBuilder(t.Context(), c.Size, r.fetcher.ReadTile)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int64{0, 1, 254, 255, 256, 65_535, 65_536, size - 1} {
			if n >= size {
				continue
			}
			if err := r.proven(c, builder, n); err != nil {
				t.Errorf("entry %d of %d: %v", n, size, err)
			}
		}
	}
}

// proven compares the proof of an entry that the server gives with the one that
// Tessera makes from the tiles, and verifies it.
func (r *record) proven(c *checkpoints.Checkpoint, builder *client.ProofBuilder, n int64) error {
	ours, err := audit.Prove(r.t.Context(), r.store, n+1)
	if err != nil {
		return err
	}
	bundle, err := client.GetEntryBundle(r.t.Context(), r.fetcher.ReadEntryBundle, uint64(n/256), c.Size)
	if err != nil {
		return err
	}
	if entry := bundle.Entries[n%256]; !bytes.Equal(entry, ours.Entry) || !bytes.Contains(entry, fmt.Appendf(nil, `{"sequence":%d,`, n+1)) {
		return fmt.Errorf("its bundle has %s", entry)
	}
	theirs, err := builder.InclusionProof(r.t.Context(), uint64(n))
	if err != nil {
		return err
	}
	got, err := read(ours.Text, r)
	if err != nil {
		return err
	}
	if got.Index != uint64(n) || len(got.Hashes) != len(theirs) || !bytes.Equal(got.ExtraData, ours.Entry) {
		return fmt.Errorf("the proof is of entry %d, %s, with %d hashes", got.Index, got.ExtraData, len(got.Hashes))
	}
	for i := range theirs {
		if !bytes.Equal(theirs[i], got.Hashes[i][:]) {
			return fmt.Errorf("hash %d of the proof is %x, not %x", i, got.Hashes[i], theirs[i])
		}
	}
	return nil
}

// read reads and verifies a tlog-proof without our code.
func read(text string, r *record) (proofs.TLogProof, error) {
	var p proofs.TLogProof
	if err := p.Unmarshal([]byte(text)); err != nil {
		return p, err
	}
	c, _, _, err := checkpoints.ParseCheckpoint(p.Checkpoint, r.origin, r.verifier)
	if err != nil {
		return p, err
	}
	hashes := make([][]byte, len(p.Hashes))
	for i := range p.Hashes {
		hashes[i] = p.Hashes[i][:]
	}
	return p, proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, c.Size, rfc6962.DefaultHasher.HashLeaf(p.ExtraData), hashes, c.Hash)
}

// TestTesseraFindsChanges: whatever is changed in an export, Tessera finds it.
func TestTesseraFindsChanges(t *testing.T) {
	r := newRecord(t)
	r.grow(700) // two tiles and 188 entries
	if err := r.fsck(); err != nil {
		t.Fatal(err)
	}
	replaced := func(old, now string) func([]byte) []byte {
		return func(data []byte) []byte { return bytes.Replace(data, []byte(old), []byte(now), 1) }
	}
	flipped := func(data []byte) []byte { data[len(data)/2] ^= 1; return data }
	for name, row := range map[string]struct {
		path   string
		change func([]byte) []byte // nil removes
		want   string              // in the error
	}{
		"an entry":               {"tile/entries/001", replaced(`"success":true`, `"success":null`), ": log has"},
		"an entry of the last":   {"tile/entries/002.p/188", replaced(`"client-700-6`, `"client-700-7`), "tile/0/002.p/188: log has"},
		"the order of entries":   {"tile/entries/001", exchange, ": log has"},
		"a tile of hashes":       {"tile/0/001", flipped, "tile/0/001: log has"},
		"the last tile":          {"tile/0/002.p/188", flipped, "tile/0/002.p/188: log has"},
		"the tile above":         {"tile/1/000.p/2", flipped, "tile/1/000.p/2: log has"},
		"no bundle":              {"tile/entries/001", nil, "file does not exist"},
		"no last bundle":         {"tile/entries/002.p/188", nil, "file does not exist"},
		"no tile":                {"tile/0/001", nil, "file does not exist"},
		"no tile above":          {"tile/1/000.p/2", nil, "file does not exist"},
		"no checkpoint":          {"checkpoint", nil, "file does not exist"},
		"the checkpoint's size":  {"checkpoint", replaced("\n700\n", "\n699\n"), "failed to verify signatures"},
		"the checkpoint's name":  {"checkpoint", replaced(r.origin+"\n", "another\n"), "failed to verify signatures"},
		"the checkpoint's proof": {"checkpoint", func(c []byte) []byte { return append(c[:len(c)-9], "AAAAAAA=\n"...) }, "failed to verify signatures"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(r.directory, filepath.FromSlash(row.path))
			was, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if row.change == nil {
				err = os.Remove(path)
			} else if now := row.change(bytes.Clone(was)); !bytes.Equal(now, was) {
				err = os.WriteFile(path, now, 0o600)
			} else {
				t.Fatalf("nothing is changed in %q", was)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := r.fsck(); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %.300v, want %s", err, row.want)
			}
			if err := os.WriteFile(path, was, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
	if err := r.fsck(); err != nil {
		t.Errorf("after all was put back: %v", err)
	}
}

// exchange exchanges the first two entries of a bundle.
func exchange(data []byte) []byte {
	length := func(at int) int { return 2 + int(data[at])<<8 + int(data[at+1]) }
	first := length(0)
	second := length(first)
	return bytes.Join([][]byte{data[first : first+second], data[:first], data[first+second:]}, nil)
}

// TestTesseraFindsALogMadeAnew: whoever has the key makes a whole log that is as
// good as the first, except to those who kept a checkpoint.
func TestTesseraFindsALogMadeAnew(t *testing.T) {
	r := newRecord(t)
	r.grow(300)
	_, kept := r.checkpoint()
	for _, query := range []string{
		"DELETE FROM log_tiles", "DELETE FROM log_checkpoints",
		"UPDATE records SET data = CAST(replace(CAST(data AS TEXT), 'client-300-17', 'client-300-71') AS BLOB)",
	} {
		if _, err := r.store.DB().ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	fresh, err := audit.New(t.Context(), r.log.Config) // the one that signed does not sign anew
	if err != nil {
		t.Fatal(err)
	}
	r.log = fresh
	r.grow(400)
	if err := r.fsck(); err != nil {
		t.Errorf("the log that was made anew is not whole: %v", err)
	}
	_, _, _, err = r.follow(kept).Update(t.Context())
	var inconsistent client.ErrInconsistency
	if !errors.As(err, &inconsistent) || !bytes.Equal(inconsistent.SmallerRaw, kept) {
		t.Errorf("a checkpoint that was kept: %v", err)
	}
}

// TestProofsOfOthersAreRefused: what is changed in a proof is noticed without our
// code, and a proof that another program writes is one to ours.
func TestProofsOfOthersAreRefused(t *testing.T) {
	r := newRecord(t)
	r.grow(1000)
	ours, err := audit.Prove(t.Context(), r.store, 700)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := read(ours.Text, r)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(theirs.Marshal()); text != ours.Text {
		t.Errorf("they write the proof as\n%s\nand not as\n%s", text, ours.Text)
	}
	for i := range len(ours.Text) {
		forged := ours.Text[:i] + string(ours.Text[i]^1) + ours.Text[i+1:]
		got, err := read(forged, r)
		same := got.Index == theirs.Index && bytes.Equal(got.ExtraData, theirs.ExtraData)
		if err == nil && !same {
			t.Fatalf("accepted with another byte %d: %s", i, hex.Dump([]byte(forged)))
		}
		if _, n, mine := audit.CheckProof(forged, r.verifier); mine == nil && err != nil {
			t.Errorf("ours accepts byte %d changed, for entry %d, theirs does not: %v", i, n, err)
		}
	}
}

// TestExportIsPrivate: an export has what the record has.
func TestExportIsPrivate(t *testing.T) {
	r := newRecord(t)
	r.grow(300)
	err := filepath.WalkDir(r.directory, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has the mode %v", path, info.Mode())
		}
		data, readErr := os.ReadFile(path)
		if bytes.Contains(data, []byte("192.0.2.1")) || bytes.Contains(data, []byte("agent/1")) {
			t.Errorf("%s has an address or a user agent", path)
		}
		return errors.Join(err, readErr)
	})
	if err != nil {
		t.Fatal(err)
	}
}
