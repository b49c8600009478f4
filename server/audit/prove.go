package audit

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil/server/store"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Proof proves that an event is in the log.
type Proof struct {
	// Entry is the log's entry for the event.
	Entry []byte
	// Opening opens the commitment to the event's address and user agent, which are
	// Event.Address and Event.UserAgent; empty where these were erased or are none.
	Opening []byte
	Event   store.RecordedEvent
	// Text is the proof in the form of C2SP tlog-proof; its extra data is the entry.
	Text string
}

// Prove returns the proof for the event of a sequence number, against the latest
// checkpoint. It returns store.ErrNotFound when there is no such event, or when
// it is in no checkpoint yet.
func Prove(ctx context.Context, s Source, sequence int64) (Proof, error) {
	state, err := s.Log(ctx)
	if err != nil {
		return Proof{}, err
	}
	n, size := sequence-state.Base-1, state.Checkpoint.Size
	switch {
	case sequence > state.Recorded || sequence < 1:
		return Proof{}, fmt.Errorf("event %d: %w", sequence, store.ErrNotFound)
	case n < 0:
		return Proof{}, fmt.Errorf("event %d was recorded before the log began, at event %d: %w", sequence, state.Base+1, store.ErrNotFound)
	case n >= size:
		return Proof{}, fmt.Errorf("event %d is in no checkpoint yet, the latest ends with event %d: %w",
			sequence, state.Base+size, store.ErrNotFound)
	}
	events, err := s.Events(ctx, sequence-1, 1)
	if err != nil {
		return Proof{}, err
	}
	if len(events) == 0 || events[0].Sequence != sequence {
		return Proof{}, fmt.Errorf("event %d: %w", sequence, store.ErrNotFound)
	}
	p := Proof{Entry: Entry(&events[0]), Opening: events[0].Opening, Event: events[0]}
	t := newTree(ctx, s, state.Base)
	hashes, err := tlog.ProveRecord(size, n, t)
	if err != nil {
		return Proof{}, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "c2sp.org/tlog-proof@v1\nextra %s\nindex %d\n", base64.StdEncoding.EncodeToString(p.Entry), n)
	for _, h := range hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	p.Text = b.String() + "\n" + state.Checkpoint.Note
	return p, nil
}

// CheckProof verifies a proof in the form of C2SP tlog-proof, and returns the
// entry that it proves, which is its extra data, and the entry's index.
func CheckProof(text string, by note.Verifier) (entry []byte, index int64, err error) {
	head, checkpoint, found := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return nil, 0, errors.New("this is no proof: its first line must be c2sp.org/tlog-proof@v1")
	}
	extra, isExtra := strings.CutPrefix(lines[1], "extra ")
	number, isIndex := strings.CutPrefix(lines[2], "index ")
	if entry, err = base64.StdEncoding.DecodeString(extra); err != nil || !isExtra {
		return nil, 0, errors.New("the proof's second line must be extra and the entry in base64")
	}
	if index, err = strconv.ParseInt(number, 10, 64); err != nil || !isIndex {
		return nil, 0, errors.New("the proof's third line must be index and a number")
	}
	var proof tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(hash) != tlog.HashSize {
			return nil, 0, errors.New("the proof has a line that is no hash in base64")
		}
		proof = append(proof, tlog.Hash(hash))
	}
	c, err := ParseCheckpoint(checkpoint, by)
	if err != nil {
		return nil, 0, fmt.Errorf("the proof's checkpoint: %w", err)
	}
	if err := tlog.CheckRecord(proof, c.Size, c.Root, index, tlog.RecordHash(entry)); err != nil {
		return nil, 0, fmt.Errorf("the proof does not lead from the entry to the checkpoint: %w", err)
	}
	return entry, index, nil
}
