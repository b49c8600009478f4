package strict

import "bytes"

// Bounds of a file. The work of the YAML parser grows faster than the depth of its
// input and the length of its lines: a quarter of a megabyte of brackets would use
// all memory of a machine.
const (
	maxDepth = 64
	maxLine  = 8 << 10 // bytes
)

// tooLong returns the first line that is longer than maxLine, or 0.
func tooLong(text []byte) int {
	number := 0
	for line := range bytes.Lines(text) {
		if number++; len(line) > maxLine {
			return number
		}
	}
	return 0
}

// tooDeep returns the line on which text nests deeper than maxDepth, or 0. It
// looks at the characters that can nest (open brackets, indentation, and the
// indicators that may follow one another on a line) without parsing, and errs
// on the safe side.
func tooDeep(text []byte) int {
	open, number := 0, 0
	for line := range bytes.Lines(text) {
		number++
		content := bytes.TrimLeft(line, " \t-?:&!*|>")
		indent := line[:len(line)-len(content)]
		if len(indent) > 2*maxDepth && len(bytes.TrimSpace(content)) > 0 || bytes.Count(indent, []byte("-")) > maxDepth {
			return number
		}
		for _, c := range content {
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(open-1, 0)
			}
			if open > maxDepth {
				return number
			}
		}
	}
	return 0
}
