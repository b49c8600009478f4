package apis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Decode reads the one JSON object in data into the struct that v points to,
// more strictly than encoding/json: a name matches a field's json tag in any
// case, as ASP.NET binds it, occurs once, whatever its case, and is refused if
// there is no such field; the text is UTF-8 and nothing follows the object. A
// null is the same as leaving the field out. The error names the field and what
// is allowed, and is one line.
//
// Fields may be strings, numbers, booleans, time.Time (RFC 3339), types with an
// UnmarshalJSON of their own, structs of these, and pointers to and slices of
// these.
func Decode(data []byte, v any) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8: encode the JSON in UTF-8")
	}
	// One pass finds every syntax error, so the rest need not check for any.
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		return fmt.Errorf("not one JSON object: %w", err)
	}
	return decodeValue(data, reflect.ValueOf(v).Elem(), "")
}

var timeType = reflect.TypeFor[time.Time]()

func decodeValue(raw json.RawMessage, into reflect.Value, at string) error {
	raw = bytes.TrimSpace(raw)
	if at != "" && string(raw) == "null" {
		return nil
	}
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		into = into.Elem()
	}
	if into.Type() == timeType {
		return decodeTime(raw, into, at)
	}
	if own, ok := into.Addr().Interface().(json.Unmarshaler); ok {
		err := own.UnmarshalJSON(raw)
		if err != nil && at != "" {
			err = fmt.Errorf("%s: %w", at, err)
		}
		return err
	}
	switch {
	case into.Kind() == reflect.Struct:
		return decodeObject(raw, into, at)
	case into.Kind() == reflect.Slice:
		return decodeArray(raw, into, at)
	}
	if err := json.Unmarshal(raw, into.Addr().Interface()); err != nil {
		return fmt.Errorf("%s must be %s", at, kindName(into.Type()))
	}
	return nil
}

func decodeTime(raw json.RawMessage, into reflect.Value, at string) error {
	var text string
	err := json.Unmarshal(raw, &text)
	var t time.Time
	if err == nil {
		t, err = time.Parse(time.RFC3339, text)
	}
	if err != nil {
		return fmt.Errorf("%s must be a date-time with an offset (RFC 3339), such as 2026-10-14T09:00:00-04:00", at)
	}
	into.Set(reflect.ValueOf(t))
	return nil
}

func decodeObject(raw json.RawMessage, into reflect.Value, at string) error {
	if raw[0] != '{' {
		if at == "" {
			return errors.New("not a JSON object: write it in {}")
		}
		return fmt.Errorf("%s must be a JSON object", at)
	}
	fields := tagged(into.Type())
	seen := make([]bool, len(fields))
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // the brace
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		written, _ := token.(string)
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		i := slices.IndexFunc(fields, func(f field) bool { return strings.EqualFold(f.name, written) })
		if i < 0 {
			return fmt.Errorf("unknown field %s%s: allowed are %s", Quote(written), inside(at), allowed(fields))
		}
		name := fields[i].name
		if seen[i] {
			return fmt.Errorf("field %s stands twice%s: its case makes no difference", name, inside(at))
		}
		seen[i] = true
		if err := decodeValue(value, into.FieldByIndex(fields[i].index), join(at, name)); err != nil {
			return err
		}
	}
	return nil
}

func decodeArray(raw json.RawMessage, into reflect.Value, at string) error {
	if raw[0] != '[' {
		return fmt.Errorf("%s must be an array", at)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // the bracket
	for i := 0; dec.More(); i++ {
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		here := at + "[" + strconv.Itoa(i) + "]"
		if string(value) == "null" {
			return fmt.Errorf("%s must not be null", here)
		}
		into.Set(reflect.Append(into, reflect.Zero(into.Type().Elem())))
		if err := decodeValue(value, into.Index(i), here); err != nil {
			return err
		}
	}
	return nil
}

// field is a field of a struct by the name in its json tag.
type field struct {
	name  string
	index []int
}

// known has the fields of each struct that was decoded, by its type.
var known sync.Map

// tagged returns the fields of a struct that have a json tag, in order, those of
// embedded structs included.
func tagged(t reflect.Type) []field {
	if fields, ok := known.Load(t); ok {
		return fields.([]field)
	}
	var fields []field
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields = append(fields, field{name, f.Index})
		}
	}
	known.Store(t, fields)
	return fields
}

// allowed lists the names of fields.
func allowed(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return strings.Join(names, ", ")
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64:
		return "a number"
	default:
		return fmt.Sprintf("a whole number of at most %d bits, without fraction or exponent", t.Bits())
	}
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func inside(at string) string {
	if at == "" {
		return ""
	}
	return " in " + at
}

// Quote shows an untrusted name, cut at 40 characters.
func Quote(name string) string {
	runes := []rune(name)
	if len(runes) > 40 {
		return strconv.Quote(string(runes[:40]) + "…")
	}
	return strconv.Quote(name)
}
