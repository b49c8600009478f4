package counterfoil

import (
	"fmt"
	"slices"
	"strings"
)

// Scopes is a list of scope tokens (RFC 6749 section 3.3), without repeats, in
// the order in which they were given.
type Scopes []string

// ParseScopes splits a scope parameter at single spaces. The empty string has no
// scopes. It refuses characters that RFC 6749 section 3.3 does not allow in a
// scope token: control characters, double quotes, backslashes and anything
// outside ASCII.
func ParseScopes(s string) (Scopes, error) {
	if s == "" {
		return nil, nil
	}
	var scopes Scopes
	for part := range strings.SplitSeq(s, " ") {
		if part == "" {
			return nil, fmt.Errorf("scope has an empty element: separate scopes by one space")
		}
		for i := range len(part) {
			if c := part[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
				return nil, fmt.Errorf("scope has a character that RFC 6749 section 3.3 does not allow")
			}
		}
		if !scopes.Contains(part) {
			scopes = append(scopes, part)
		}
	}
	return scopes, nil
}

// String joins the scopes with spaces, as in a scope parameter.
func (s Scopes) String() string { return strings.Join(s, " ") }

// Contains reports whether scope is among s.
func (s Scopes) Contains(scope string) bool { return slices.Contains(s, scope) }

// ContainsAll reports whether each of want is among s; it does if want is empty.
func (s Scopes) ContainsAll(want Scopes) bool {
	for _, w := range want {
		if !s.Contains(w) {
			return false
		}
	}
	return true
}
