//go:build linux && (amd64 || arm64) && !nolibcrypto

package libcrypto

import "crypto"

// OpenNames is Open with another list of files, and without its memory.
func OpenNames(names ...string) (*Library, error) { return open(names) }

// Held is how many objects of the library signers hold.
func Held(l *Library) int64 { return l.held.Load() }

// Check is the self-check that a new signer must pass.
func Check(s crypto.Signer) error { return check(s) }

// Parse hands the library bytes that need not be a key.
func Parse(l *Library, der []byte) error {
	handle, err := l.parse(der)
	if err == nil {
		l.calls.freeKey(handle)
	}
	return err
}
