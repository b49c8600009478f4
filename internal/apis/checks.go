package apis

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds that all APIs have in common.
const (
	maxID    = 200 // bytes
	maxProse = 10_000
	maxURL   = 2000 // bytes
)

// CheckText checks a one-line text from a file: at most max characters, none of them
// a control character, and not blank unless it is optional and left out. Its
// error starts with the field's name.
func CheckText(name, value string, max int, optional bool) error {
	if strings.TrimSpace(value) == "" && (!optional || value != "") {
		return fmt.Errorf("%s is missing: from 1 to %d characters are required", name, max)
	}
	if n := utf8.RuneCountInString(value); n > max {
		return fmt.Errorf("%s has %d characters: at most %d are allowed", name, n, max)
	}
	if strings.ContainsFunc(value, unicode.IsControl) {
		return fmt.Errorf("%s has a control character: write it on one line", name)
	}
	return nil
}

// CheckLine checks an optional text of one line, which has from 1 to max
// characters.
func CheckLine(name string, text *string, max int) error {
	if text == nil {
		return nil
	}
	if n := utf8.RuneCountInString(*text); n < 1 || n > max || strings.ContainsFunc(*text, unicode.IsControl) {
		return fmt.Errorf("%s has to be 1 to %d characters on one line", name, max)
	}
	return nil
}

// CheckProse checks an optional text of any number of lines.
func CheckProse(name string, text *string) error {
	if text == nil {
		return nil
	}
	if n := utf8.RuneCountInString(*text); n < 1 || n > maxProse {
		return fmt.Errorf("%s has %d characters: it has to have from 1 to %d", name, n, maxProse)
	}
	return nil
}

// CheckPage checks the optional address of a web page.
func CheckPage(name string, address *string) error {
	if address == nil {
		return nil
	}
	u, err := url.Parse(*address)
	if err != nil || len(*address) > maxURL || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%s has to be an http or https URL of at most %d bytes", name, maxURL)
	}
	return nil
}

// CheckID checks an id that is not a UUID.
func CheckID(id string) error {
	if id == "" || len(id) > maxID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("id has to be 1 to %d printable ASCII characters without spaces", maxID)
	}
	return nil
}

// HashID makes an id from the identifying values of a row: the same values
// always give the same id.
func HashID(prefix, identity string) string {
	sum := sha256.Sum256([]byte(identity))
	return prefix + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:15]))
}
