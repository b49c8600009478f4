package importer

import (
	"cmp"
	"encoding/json"
	"errors"
	"iter"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// words is a list of strings: a JSON array, or a string that separates them by
// bars, commas or spaces, as databases store them. An element may be a row of
// IdentityServer's configuration store.
type words []string

// UnmarshalJSON reads any of the forms.
func (w *words) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if !strings.HasPrefix(text, "[") || w.list([]byte(text)) != nil {
			*w = strings.FieldsFunc(text, func(r rune) bool { return r == '|' || r == ',' || r == ' ' })
		}
		return nil
	}
	if err := w.list(raw); err != nil {
		return ofKind[words](raw)
	}
	return nil
}

func (w *words) list(raw []byte) error {
	var elements list[json.RawMessage]
	if err := json.Unmarshal(raw, &elements); err != nil {
		return err
	}
	list := make(words, 0, len(elements))
	for _, e := range elements {
		var element text
		if err := json.Unmarshal(e, &element); err != nil {
			var row struct{ GrantType, Scope string }
			if json.Unmarshal(e, &row) != nil || (row.GrantType == "") == (row.Scope == "") {
				return errors.New("an element is not a string")
			}
			element = text(row.GrantType + row.Scope)
		}
		list = append(list, string(element))
	}
	if elements != nil {
		*w = list
	}
	return nil
}

// text is a string, also one that a file writes as a number, true or false,
// which .NET's configuration binds as a string.
type text string

// UnmarshalJSON reads any of them.
func (t *text) UnmarshalJSON(raw []byte) error {
	switch c := raw[0]; {
	case c == '"':
		return json.Unmarshal(raw, (*string)(t))
	case c == 't':
		*t = "True" // as .NET writes it
	case c == 'f':
		*t = "False"
	case c == '-' || isDigit(int(c)):
		*t = text(raw)
	case c != 'n':
		return ofKind[text](raw)
	}
	return nil
}

// list is an array, also as System.Text.Json writes one when it preserves
// references, and as .NET's configuration may have one: an object whose names
// are the numbers of the elements.
type list[T any] []T

// UnmarshalJSON reads any of the forms.
func (l *list[T]) UnmarshalJSON(raw []byte) error {
	var preserved struct {
		Values []T `json:"$values"`
	}
	if raw[0] == '{' {
		if err := json.Unmarshal(raw, &preserved); err != nil || preserved.Values != nil {
			*l = preserved.Values
			return err
		}
		var numbered map[string]json.RawMessage
		if json.Unmarshal(raw, &numbered) == nil && len(numbered) > 0 && allIndexes(maps.Keys(numbered)) {
			raw = []byte("[")
			for i, name := range slices.SortedFunc(maps.Keys(numbered), byIndex) {
				if i > 0 {
					raw = append(raw, ',')
				}
				raw = append(raw, numbered[name]...)
			}
			raw = append(raw, ']')
		}
	}
	var elements []T
	err := json.Unmarshal(raw, &elements)
	*l = elements
	return err
}

// isIndex reports whether a name is the number of an element.
func isIndex(name string) bool {
	return name != "" && len(name) <= 9 && strings.Trim(name, "0123456789") == ""
}

func allIndexes(names iter.Seq[string]) bool {
	for name := range names {
		if !isIndex(name) {
			return false
		}
	}
	return true
}

// byIndex compares numbers of elements.
func byIndex(a, b string) int {
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return cmp.Compare(x, y)
}

// names are the names in a list of objects with a Name, or of strings. Other
// elements are left out: no client is refused for data next to it.
type names []string

// UnmarshalJSON reads either form.
func (n *names) UnmarshalJSON(raw []byte) error {
	var elements list[json.RawMessage]
	_ = json.Unmarshal(raw, &elements)
	for _, e := range elements {
		var text string
		var object struct{ Name string }
		if json.Unmarshal(e, &text) == nil || json.Unmarshal(e, &object) == nil {
			*n = append(*n, text+object.Name)
		}
	}
	return nil
}

// flag is true or false, also as databases and templates write it.
type flag bool

// UnmarshalJSON reads a boolean, a string that has one, or 0 and 1.
func (f *flag) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "null" {
		return nil
	}
	b, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return ofKind[flag](raw)
	}
	*f = flag(b)
	return nil
}

// number is a number, also in a string, as .NET's configuration reads it.
type number float64

// UnmarshalJSON reads either form.
func (n *number) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "null" || text == "" {
		return nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return ofKind[number](raw)
	}
	*n = number(v)
	return nil
}

// scalars are members whose values are text, numbers, booleans or null, or a list
// of one such value.
type scalars struct {
	values map[string]string
	// odd are the names of members with other values.
	odd []string
}

// UnmarshalJSON reads an object.
func (s *scalars) UnmarshalJSON(raw []byte) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return ofKind[scalars](raw)
	}
	*s = scalars{values: map[string]string{}}
	for name, value := range members {
		var several []json.RawMessage
		if json.Unmarshal(value, &several) == nil && len(several) == 1 {
			value = several[0]
		}
		var text string
		switch c := value[0]; {
		case c == '"' && json.Unmarshal(value, &text) == nil:
			s.values[name] = text
		case c == 't' || c == 'f' || c == '-' || isDigit(int(c)):
			s.values[name] = string(value)
		case c == '{' || c == '[' && string(value) != "[]":
			s.odd = append(s.odd, name)
		}
	}
	slices.Sort(s.odd)
	return nil
}

// whole reads a whole number as JSON writes one, which may have a point or an
// exponent: 300, 300.0, 3e2.
func whole(text string) (int64, bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	if text == "" || text[0] != '-' && !isDigit(int(text[0])) || !json.Valid([]byte(text)) {
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v != math.Trunc(v) || math.Abs(v) > 1<<53 {
		return 0, false
	}
	return int64(v), true
}

// ofKind is the error for a value of another kind than T, to which encoding/json
// adds the name of the member.
func ofKind[T any](raw []byte) error {
	kind := "number"
	switch raw[0] {
	case '"':
		kind = "string"
	case '[':
		kind = "array"
	case '{':
		kind = "object"
	case 't', 'f':
		kind = "bool"
	}
	return &json.UnmarshalTypeError{Value: kind, Type: reflect.TypeFor[T]()}
}
