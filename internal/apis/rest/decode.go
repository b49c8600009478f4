package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Decode reads the one JSON object in data into the struct that v points to,
// more strictly than encoding/json: a name matches a field's json tag in any
// case, as ASP.NET binds it, occurs once, whatever its case, and is refused if
// there is no such field; the text is UTF-8 and nothing follows the object. A
// null is the same as leaving the field out. The error names the field and what
// is allowed, and is one line.
//
// Fields may be strings, integers, booleans, time.Time (RFC 3339), structs of
// these, and pointers to and slices of these.
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
	switch {
	case into.Type() == timeType:
		return decodeTime(raw, into, at)
	case into.Kind() == reflect.Struct:
		return decodeObject(raw, into, at)
	case into.Kind() == reflect.Slice:
		return decodeArray(raw, into, at)
	}
	if err := json.Unmarshal(raw, into.Addr().Interface()); err != nil {
		return fmt.Errorf("%s must be %s", at, kindName(into.Kind()))
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
	fields, names := tagged(into)
	seen := map[string]bool{}
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
		i := slices.IndexFunc(names, func(name string) bool { return strings.EqualFold(name, written) })
		if i < 0 {
			return fmt.Errorf("unknown field %s%s: allowed are %s", quote(written), inside(at), strings.Join(names, ", "))
		}
		name := names[i]
		if seen[name] {
			return fmt.Errorf("field %s stands twice%s: its case makes no difference", name, inside(at))
		}
		seen[name] = true
		if err := decodeValue(value, fields[name], join(at, name)); err != nil {
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

// tagged returns the fields of a struct by the name in their json tag, those of
// embedded structs included, and the names in order.
func tagged(v reflect.Value) (map[string]reflect.Value, []string) {
	fields, names := map[string]reflect.Value{}, []string{}
	for _, f := range reflect.VisibleFields(v.Type()) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		fields[name] = v.FieldByIndex(f.Index)
		names = append(names, name)
	}
	return fields, names
}

func kindName(k reflect.Kind) string {
	switch k {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	default:
		return "a whole number of at most 64 bits, without fraction or exponent"
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

// quote shows an untrusted name, cut at 40 characters.
func quote(name string) string {
	runes := []rune(name)
	if len(runes) > 40 {
		return strconv.Quote(string(runes[:40]) + "…")
	}
	return strconv.Quote(name)
}

// Text checks a one-line text from a file: at most max characters, none of them
// a control character, and not blank unless it is optional and left out. Its
// error starts with the field's name.
func Text(name, value string, max int, optional bool) error {
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
