package audit

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// signer signs notes (C2SP signed-note) with an Ed25519 key.
type signer struct {
	name string
	key  ed25519.PrivateKey
}

var _ note.Signer = signer{}

func newSigner(name string, key ed25519.PrivateKey) signer { return signer{name, key} }

func (s signer) Name() string { return s.name }

func (s signer) Sign(text []byte) ([]byte, error) { return ed25519.Sign(s.key, text), nil }

// KeyHash identifies the key: the first bytes of the hash of its name, the
// algorithm 1 and the public key.
func (s signer) KeyHash() uint32 {
	h := sha256.New()
	h.Write([]byte(s.name + "\n\x01"))
	h.Write(s.key.Public().(ed25519.PublicKey))
	return binary.BigEndian.Uint32(h.Sum(nil))
}

// VerifierKey returns a public key in the form of C2SP signed-note, for the log
// of that name.
func VerifierKey(origin string, key ed25519.PublicKey) string {
	text, _ := note.NewEd25519VerifierKey(origin, key) // fails for keys of another length only
	return text
}

// parseCheckpoint reads a checkpoint without its signatures. It may have further
// lines, which are ignored (C2SP tlog-checkpoint).
func parseCheckpoint(text string) (c Checkpoint, err error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) < 4 {
		return c, errors.New("a checkpoint has at least three lines: a name, a number of entries and a hash")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return c, errors.New("the second line of a checkpoint is a number of entries")
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return c, errors.New("the third line of a checkpoint is a hash in base64")
	}
	return Checkpoint{Origin: lines[0], Size: size, Root: tlog.Hash(root)}, nil
}
