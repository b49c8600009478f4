// Package ending is the header with which a token endpoint tells a client that its
// credentials end soon:
//
//	Credential-Expires: @1767225600;kind=secret
//
// It is an item of RFC 9651: a date (section 3.3.7), and as its parameter kind a token
// that says what ends. It is internal and makes no compatibility promise.
package ending

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Header is the name of the header.
const Header = "Credential-Expires"

// Kind is what ends.
type Kind string

// The kinds.
const (
	Secret Kind = "secret"
	APIKey Kind = "api_key"
	Client Kind = "client"
)

// Format returns the value of the header.
func Format(at time.Time, k Kind) string {
	return "@" + strconv.FormatInt(at.Unix(), 10) + ";kind=" + string(k)
}

// maxDate is the largest date, in seconds since 1970: the end of year 9999.
const maxDate = 253402300799

// Parse reads the header of an answer; ok is false when it has none that can be
// read. A kind that is not known is "".
func Parse(h http.Header) (at time.Time, k Kind, ok bool) {
	given := h[Header]
	if len(given) != 1 {
		return at, "", false
	}
	date, parameters, _ := strings.Cut(given[0], ";")
	digits, ok := strings.CutPrefix(strings.Trim(date, " "), "@")
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || strings.HasPrefix(digits, "+") || seconds < 0 || seconds > maxDate {
		return at, "", false
	}
	for parameter := range strings.SplitSeq(parameters, ";") {
		switch kind, is := strings.CutPrefix(strings.TrimLeft(parameter, " "), "kind="); Kind(kind) {
		case Secret, APIKey, Client:
			if is {
				k = Kind(kind)
			}
		}
	}
	return time.Unix(seconds, 0).UTC(), k, true
}
