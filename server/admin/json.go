package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/files"
)

// Bounds of a JSON text.
const (
	maxDepth  = 16
	maxFaults = 20
	// maxShown bounds the untrusted text that is shown, in bytes.
	maxShown = 40
)

// parse reads one JSON value into maps, slices, strings, json.Numbers,
// booleans and nil. Unlike encoding/json it refuses duplicate names, deep
// nesting and anything but UTF-8.
func parse(data []byte) (any, error) {
	data, err := files.Text(data)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := parseValue(dec, 0)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("it has more than one JSON value")
		}
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("it is not JSON, from byte %d on", dec.InputOffset())
	}
	return v, err
}

func parseValue(dec *json.Decoder, depth int) (any, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	open, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if depth >= maxDepth {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	object, list := map[string]any{}, []any{}
	for dec.More() {
		if open == '[' {
			v, err := parseValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
			continue
		}
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("the member %s appears twice", show(name))
		}
		if object[name], err = parseValue(dec, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if open == '[' {
		return list, nil
	}
	return object, nil
}

// merge applies a merge patch (RFC 7396 section 2).
func merge(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range changes {
		if value == nil {
			delete(object, name)
		} else {
			object[name] = merge(object[name], value)
		}
	}
	return object
}

var (
	timeType = reflect.TypeFor[time.Time]()
	rawType  = reflect.TypeFor[json.RawMessage]()
)

// binder stores the result of parse in a struct, more strictly than
// encoding/json, and notes each fault with its pointer.
type binder struct{ faults []fault }

func (b *binder) fault(at, format string, args ...any) {
	if len(b.faults) < maxFaults {
		b.faults = append(b.faults, fault{at, fmt.Sprintf(format, args...)})
	}
}

// bind stores v in the struct that into points to. A null is the same as an
// omitted member.
func bind(v, into any) []fault {
	var b binder
	b.value("", v, reflect.ValueOf(into).Elem())
	return b.faults
}

func (b *binder) value(at string, v any, into reflect.Value) {
	if v == nil && at != "" {
		return
	}
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.New(into.Type().Elem()))
		into = into.Elem()
	}
	switch {
	case into.Type() == timeType:
		text, _ := v.(string)
		t, err := time.Parse(time.RFC3339, text)
		if t = t.UTC(); err != nil || t.Year() < 1 || t.Year() > 9999 {
			b.fault(at, "it must be a time as 2027-01-31T09:00:00Z (RFC 3339)")
			return
		}
		into.Set(reflect.ValueOf(t))
	case into.Type() == rawType:
		raw, err := json.Marshal(v)
		if _, ok := v.(map[string]any); !ok || err != nil {
			b.fault(at, "it must be a JSON object")
			return
		}
		into.SetBytes(raw)
	case into.Kind() == reflect.String:
		text, ok := v.(string)
		if !ok {
			b.fault(at, "it must be a string")
			return
		}
		into.SetString(text)
	case into.Kind() == reflect.Bool:
		yes, ok := v.(bool)
		if !ok {
			b.fault(at, "it must be true or false")
			return
		}
		into.SetBool(yes)
	case into.Kind() == reflect.Slice:
		b.list(at, v, into)
	case into.Kind() == reflect.Map:
		b.strings(at, v, into)
	default:
		b.object(at, v, into)
	}
}

func (b *binder) list(at string, v any, into reflect.Value) {
	list, ok := v.([]any)
	if !ok {
		b.fault(at, "it must be a list")
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(list), len(list)))
	for i, item := range list {
		here := at + "/" + strconv.Itoa(i)
		if item == nil {
			b.fault(here, "it must not be null")
			continue
		}
		b.value(here, item, into.Index(i))
	}
}

func (b *binder) strings(at string, v any, into reflect.Value) {
	object, ok := v.(map[string]any)
	if !ok {
		b.fault(at, "it must be an object of strings")
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		text, ok := object[name].(string)
		if !ok {
			b.fault(below(at, name), "it must be a string")
			continue
		}
		into.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf(text))
	}
}

func (b *binder) object(at string, v any, into reflect.Value) {
	object, ok := v.(map[string]any)
	if !ok {
		b.fault(at, "it must be an object")
		return
	}
	fields, names := map[string]reflect.Value{}, []string{}
	for _, f := range reflect.VisibleFields(into.Type()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			fields[name] = into.FieldByIndex(f.Index)
			names = append(names, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		field, ok := fields[name]
		if !ok {
			b.fault(below(at, name), "unknown member: allowed are %s", strings.Join(names, ", "))
			continue
		}
		b.value(below(at, name), object[name], field)
	}
}

// below returns the pointer to a member (RFC 6901 section 3). The name is
// untrusted: it is cleaned, so that a problem stays on one line.
func below(at, name string) string {
	return at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(event.Clean(short(name), 2*maxShown))
}

// show quotes untrusted text, truncated.
func show(s string) string { return strconv.Quote(short(s)) }

func short(s string) string {
	if len(s) > maxShown {
		return strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return s
}
