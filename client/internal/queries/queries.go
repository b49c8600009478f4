// Package queries distinguishes GraphQL documents that only read from others. It
// parses as much of the grammar as that requires, so that package client needs
// no parser.
package queries

import "strings"

// Only reports whether every operation of a document is a query, whichever is
// executed (the GraphQL specification, section 2). It is false if it is not
// certain. For a document that a parser refuses it may be true; for one that a
// parser accepts, it is never wrongly true.
func Only(document string) bool {
	operations := 0
	for rest := document; ; {
		word, after, ok := token(rest)
		if !ok || word == "" {
			return ok && operations > 0
		}
		names := 0 // that follow the keyword
		switch word {
		case "{":
			after = rest
			operations++
		case "query":
			names = 1
			operations++
		case "fragment":
			names = 3
		default:
			return false
		}
		if rest, ok = definition(after, names); !ok {
			return false
		}
	}
}

// definition skips names, at most as many, then variables and directives, then
// the selection set, and returns the rest.
func definition(document string, names int) (rest string, ok bool) {
	for directive := false; ; {
		word, after, ok := token(document)
		switch {
		case !ok:
			return "", false
		case word == "{":
			return group(document)
		case word == "(":
			names = 0
			after, ok = group(document)
		case word == "@":
			names = 0
		case directive:
			ok = isName(word)
		default:
			names--
			ok = names >= 0 && isName(word)
		}
		if !ok {
			return "", false
		}
		document, directive = after, word == "@"
	}
}

// group skips text in brackets, with the brackets.
func group(document string) (rest string, ok bool) {
	closing := map[string]string{"{": "}", "(": ")", "[": "]"}
	var open []string // what is to close them, the innermost last
	for {
		word, after, ok := token(document)
		if !ok || word == "" {
			return "", false
		}
		switch {
		case closing[word] != "":
			open = append(open, closing[word])
		case word == open[len(open)-1]:
			if open = open[:len(open)-1]; len(open) == 0 {
				return after, true
			}
		case word == "}" || word == ")" || word == "]":
			return "", false
		}
		document = after
	}
}

// token returns the first token of a document and the rest: a whole name, one
// character of anything else, a quotation mark for a string. It is empty at the
// document's end.
func token(document string) (word, rest string, ok bool) {
	document = strings.TrimLeft(document, " ,\t\r\n")
	for strings.HasPrefix(document, "#") {
		// Where older drafts of the specification end a comment is ambiguous.
		end := strings.IndexFunc(
			document,
			func(r rune) bool { return r < ' ' && r != '\t' || strings.ContainsRune("\u0085\u2028\u2029", r) },
		)
		if end < 0 {
			return "", "", true
		}
		document = strings.TrimLeft(document[end:], " ,\t\r\n")
	}
	switch {
	case document == "":
		return "", "", true
	case document[0] == '"':
		rest, ok = text(document)
		return `"`, rest, ok
	case isName(document[:1]):
		end := strings.IndexFunc(document, func(r rune) bool { return r > '~' || !isName("_"+string(r)) })
		if end < 0 {
			end = len(document)
		}
		return document[:end], document[end:], true
	}
	return document[:1], document[1:], strings.Contains("!$&().:=@[]{|}+-0123456789", document[:1])
}

// text skips a string or a block string.
func text(document string) (rest string, ok bool) {
	quotes, escaped := `"`, 2 // how long an escape is
	if strings.HasPrefix(document, `"""`) {
		quotes, escaped = `"""`, len(`\"""`)
	}
	for i := len(quotes); i < len(document); i++ {
		switch c := document[i]; {
		case strings.HasPrefix(document[i:], quotes):
			rest = document[i+len(quotes):]
			return rest, !strings.HasPrefix(rest, `"`) // a seventh quotation mark: parsers differ about what it belongs to
		case c == '\\' && (escaped == 2 || strings.HasPrefix(document[i+1:], quotes)):
			i += escaped - 1
		case c < ' ' && c != '\t' && (escaped == 2 || c != '\n' && c != '\r'):
			return "", false
		}
	}
	return "", false
}

// isName reports whether s is a name (section 2.1.9).
func isName(s string) bool {
	for i := range len(s) {
		c := s[i] | 0x20 // in lower case
		if s[i] != '_' && (c < 'a' || c > 'z') && (i == 0 || s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return s != ""
}
