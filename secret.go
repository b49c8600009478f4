package counterfoil

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// redacted is what a Secret shows of itself.
const redacted = "[redacted]"

// Secret is a credential or a token. However it is printed, logged or encoded
// it shows as "[redacted]"; only Reveal gives the value.
type Secret string

// Reveal returns the value. Call it where the value goes on the wire or into a
// hash, nowhere else.
func (s Secret) Reveal() string { return string(s) }

// String returns "[redacted]", or "" when there is no value.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// Format writes the redacted form for every verb, %x, %q and %#v included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue keeps the value out of structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON encodes the redacted form: a Secret inside a larger value never
// leaves by accident. Encode Reveal's result where the value is wanted.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalText encodes the redacted form, as MarshalJSON does.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
