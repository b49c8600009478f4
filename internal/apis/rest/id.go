package rest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// ParseID returns a UUID in the form that rows have: 36 characters in lower
// case (RFC 9562 section 4). Upper case is accepted, braces and other forms are
// not.
func ParseID(s string) (string, error) {
	bad := fmt.Errorf("not a UUID: write 32 hexadecimal digits as 8-4-4-4-12")
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return "", bad
	}
	digits := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.DecodeString(digits); err != nil {
		return "", bad
	}
	return strings.ToLower(s), nil
}

// ID makes the UUID of a reference row from a unique name for it: always the
// same for the same name (version 8, RFC 9562 section 5.8).
func ID(name string) string {
	sum := sha256.Sum256([]byte("counterfoil reference row\x00" + name))
	b := sum[:16]
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
