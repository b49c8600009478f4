// Package subject parses distinguished names in their string form (RFC 4514)
// and compares them with those of certificates.
package subject

import (
	"cmp"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Name is a distinguished name, the most specific part first. The attributes of a
// part are sorted.
type Name [][]attribute

// attribute is one attribute of a distinguished name: its type as a dotted OID,
// and its value.
type attribute struct{ oid, value string }

func byType(a, b attribute) int {
	return cmp.Or(strings.Compare(a.oid, b.oid), strings.Compare(a.value, b.value))
}

// attributeTypes are the names of attribute types: those of RFC 4514 section
// 3, and the others that openssl x509 -nameopt RFC2253 prints.
var attributeTypes = map[string]string{
	"CN": "2.5.4.3", "SN": "2.5.4.4", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8",
	"STREET": "2.5.4.9", "O": "2.5.4.10", "OU": "2.5.4.11", "TITLE": "2.5.4.12", "POSTALCODE": "2.5.4.17",
	"GN": "2.5.4.42", "ORGANIZATIONIDENTIFIER": "2.5.4.97",
	"UID": "0.9.2342.19200300.100.1.1", "DC": "0.9.2342.19200300.100.1.25", "EMAILADDRESS": "1.2.840.113549.1.9.1",
}

var dottedOID = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+$`)

// maxSubject bounds a distinguished name in a rule, in bytes.
const maxSubject = 1024

// Parse reads a distinguished name in its string form (RFC 4514), which
// begins with the most specific part: CN=client,O=Example,C=DE. Spaces around
// the separators do not matter. The parts of a part with several are sorted.
func Parse(s string) (Name, error) {
	if len(s) > maxSubject || !utf8.ValidString(s) {
		return nil, fmt.Errorf("the subject must be UTF-8 of %d bytes at most", maxSubject)
	}
	var name Name
	var part []attribute
	for {
		word, rest, ok := strings.Cut(s, "=")
		word = strings.Trim(word, " ")
		oid := attributeTypes[strings.ToUpper(word)]
		if dottedOID.MatchString(word) {
			oid = word
		}
		if !ok || oid == "" {
			return nil, errors.New("the subject must be attributes such as CN=client,O=Example,C=DE (RFC 4514), " +
				"of known types or dotted OIDs")
		}
		value, rest, err := parseValue(strings.TrimLeft(rest, " "))
		if err != nil {
			return nil, err
		}
		part = append(part, attribute{oid, value})
		if !strings.HasPrefix(rest, "+") {
			slices.SortFunc(part, byType)
			name, part = append(name, part), nil
		}
		if rest == "" {
			return name, nil
		}
		s = rest[1:]
	}
}

// parseValue reads a value up to the separator that ends it, which begins what
// it returns as the rest.
func parseValue(s string) (value, rest string, err error) {
	end := len(s)
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++ // an escaped character never ends the value
		} else if s[i] == ',' || s[i] == '+' {
			end = i
			break
		}
	}
	raw, rest := s[:end], s[end:]
	if digits, ok := strings.CutPrefix(raw, "#"); ok {
		der, err := hex.DecodeString(strings.TrimRight(digits, " "))
		var v any
		if err == nil {
			var more []byte
			if more, err = asn1.Unmarshal(der, &v); len(more) > 0 {
				err = errors.New("more than one value")
			}
		}
		if text, ok := v.(string); ok && err == nil {
			return text, rest, nil
		}
		return "", "", errors.New("a value of the subject that starts with # must be a string in BER, in " +
			"hexadecimal (RFC 4514 section 2.4)")
	}
	b, kept := make([]byte, 0, len(raw)), 0 // kept is b without the spaces at its end
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '\\':
			var n int
			if c, n = unescaped(raw[i+1:]); n == 0 {
				return "", "", errors.New(`a backslash in the subject must stand before a special character or two hexadecimal digits`)
			}
			i += n
			b = append(b, c)
			kept = len(b)
			continue
		case strings.IndexByte("\"<>;\x00", c) >= 0:
			return "", "", errors.New(`the characters " < > ; in the subject must stand behind a backslash (RFC 4514 section 2.4)`)
		}
		if b = append(b, c); c != ' ' {
			kept = len(b)
		}
	}
	if b = b[:kept]; len(b) == 0 || !utf8.Valid(b) {
		return "", "", errors.New("a value of the subject is empty or not UTF-8")
	}
	return string(b), rest, nil
}

// unescaped returns the byte that a backslash before s stands for, and how many
// of s it takes; 0 for none.
func unescaped(s string) (byte, int) {
	if len(s) >= 2 {
		if b, err := hex.DecodeString(s[:2]); err == nil {
			return b[0], 2
		}
	}
	if s != "" && strings.IndexByte(`\"+,;<>#= `, s[0]) >= 0 {
		return s[0], 1
	}
	return 0, 0
}

// Matches reports whether a certificate's subject, in DER, has exactly the
// attributes of the name, types and values, in the same order.
func (n Name) Matches(der []byte) bool {
	var sequence pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &sequence); err != nil || len(rest) > 0 || len(sequence) != len(n) {
		return false
	}
	slices.Reverse(sequence) // the string form begins at the end
	for i, set := range sequence {
		part := make([]attribute, 0, len(set))
		for _, a := range set {
			value, ok := a.Value.(string)
			if !ok {
				return false
			}
			part = append(part, attribute{a.Type.String(), value})
		}
		slices.SortFunc(part, byType)
		if !slices.Equal(part, n[i]) {
			return false
		}
	}
	return true
}
