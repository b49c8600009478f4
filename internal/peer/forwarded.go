package peer

import "strings"

// cutLast cuts list at its last separator; more reports whether there is one. If
// quotes is true, a separator inside quotes does not count.
//
// It reads from the right because only the end of the text is from a proxy: a quote
// that a client opened further left and never closed must not hide what proxies
// appended.
func cutLast(list string, separator byte, quotes bool) (rest, last string, more bool) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case quotes && list[i] == '"':
			// In quotes, an odd number of backslashes before a quote makes it a
			// character (RFC 9110 section 5.6.4).
			before := len(list[:i]) - len(strings.TrimRight(list[:i], `\`))
			if !quoted || before%2 == 0 {
				quoted = !quoted
			}
		case list[i] == separator && !quoted:
			return list[:i], list[i+1:], true
		}
	}
	return "", list, false
}

// forNode returns the node in the parameter "for" of one element of Forwarded (RFC
// 7239 section 4); empty if the element does not have exactly one.
func forNode(element string) string {
	node := ""
	for more := true; more; {
		var pair string
		element, pair, more = cutLast(element, ';', true)
		name, value, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if node != "" || value == "" {
			return ""
		}
		// No address has a character that needs a backslash.
		if inner, ok := strings.CutPrefix(value, `"`); ok {
			if value, ok = strings.CutSuffix(inner, `"`); !ok {
				return ""
			}
		}
		node = value
	}
	return node
}
