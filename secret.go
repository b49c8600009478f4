package counterfoil

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// redacted is the text that stands for the value of a Secret.
const redacted = "[redacted]"

// Secret is a credential or a token. It prints, logs and encodes as "[redacted]";
// only Reveal returns the value.
type Secret string

// Reveal returns the value. Call it where the value goes on the wire or into a
// hash, nowhere else.
func (s Secret) Reveal() string { return string(s) }

// String returns "[redacted]", or "" if there is no value.
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

// MarshalJSON encodes the redacted form, so that a Secret inside a larger value
// never leaks by accident. To encode the value, encode the result of Reveal.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalText encodes the redacted form, as MarshalJSON does.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
