package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

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

// parse returns one JSON value that has no duplicate names, is not nested
// deeply and is in UTF-8.
func parse(data []byte) (jsontext.Value, error) {
	data, err := files.Text(data)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	dec := jsontext.NewDecoder(bytes.NewReader(data))
	for n := 0; ; n++ {
		ended := n > 0 && dec.StackDepth() == 0
		_, err := dec.ReadToken()
		var wrong *jsontext.SyntacticError
		switch {
		case ended && errors.Is(err, io.EOF):
			return data, nil
		case ended:
			return nil, errors.New("it has more than one JSON value")
		case errors.As(err, &wrong) && errors.Is(err, jsontext.ErrDuplicateName):
			return nil, fmt.Errorf("the member %s appears twice", show(wrong.JSONPointer.LastToken()))
		case err != nil:
			return nil, fmt.Errorf("it is not JSON, from byte %d on", dec.InputOffset())
		case dec.StackDepth() > maxDepth:
			return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
		}
	}
}

// asStored is for JSON that parse has passed or that a database has: that of a
// stored key set is as its writer left it.
var asStored = json.JoinOptions(json.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// merge applies a merge patch (RFC 7396 section 2).
func merge(target, patch jsontext.Value) (jsontext.Value, error) {
	if patch.Kind() != '{' {
		return patch, nil
	}
	object, changes := map[string]jsontext.Value{}, map[string]jsontext.Value{}
	err := json.Unmarshal(patch, &changes, asStored)
	if err == nil && target.Kind() == '{' {
		err = json.Unmarshal(target, &object, asStored)
	}
	for name, change := range changes {
		if change.Kind() == 'n' {
			delete(object, name)
		} else if err == nil {
			object[name], err = merge(object[name], change)
		}
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(object, asStored)
}

// decode stores a JSON object in the struct that into points to, and returns
// the first fault of each of its members. A null is the same as an omitted
// member.
func decode(text jsontext.Value, into any) []Fault {
	if text.Kind() != '{' {
		return []Fault{{"", "it must be an object"}}
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(text, &members, asStored); err != nil {
		return []Fault{faultOf(err)}
	}
	var faults []Fault
	for _, name := range slices.Sorted(maps.Keys(members)) {
		one, err := json.Marshal(map[string]jsontext.Value{name: members[name]}, asStored)
		if err == nil {
			err = json.Unmarshal(one, into, asStored, json.RejectUnknownMembers(true), ownForms)
		}
		if err == nil {
			continue
		}
		if faults = append(faults, faultOf(err)); len(faults) == maxFaults {
			break
		}
	}
	return faults
}

// ownForms are the forms that the API gives values of some types. The last one
// is for every type: it refuses null in a list.
var ownForms = json.WithUnmarshalers(json.JoinUnmarshalers(
	ofText(parseTime), ofText(parseNetwork), json.UnmarshalFromFunc(decodeStrings),
	json.UnmarshalFromFunc(func(dec *jsontext.Decoder, _ any) error {
		if within, _ := dec.StackIndex(dec.StackDepth()); within == '[' && dec.PeekKind() == 'n' {
			return errors.New("it must not be null")
		}
		return json.SkipFunc
	}),
))

// ofText decodes a string by parse, which gets "" for any other value.
func ofText[T any](parse func(string) (T, error)) *json.Unmarshalers {
	return json.UnmarshalFromFunc(func(dec *jsontext.Decoder, into *T) error {
		if dec.PeekKind() == 'n' {
			return json.SkipFunc
		}
		v, err := dec.ReadValue()
		if err != nil {
			return err
		}
		text, _ := jsontext.AppendUnquote(nil, v)
		*into, err = parse(string(text))
		return err
	})
}

func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if t = t.UTC(); err != nil || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, errors.New("it must be a time as 2027-01-31T09:00:00Z (RFC 3339)")
	}
	return t, nil
}

// parseNetwork takes an address for the network that has only it.
func parseNetwork(text string) (netip.Prefix, error) {
	if network, err := netip.ParsePrefix(text); err == nil {
		return network, nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Zone() != "" {
		return netip.Prefix{}, errors.New("it must be a network or an address such as 192.0.2.0/24")
	}
	return netip.PrefixFrom(ip, ip.BitLen()), nil
}

// decodeStrings refuses null in a map.
func decodeStrings(dec *jsontext.Decoder, into *map[string]string) error {
	var all map[string]*string
	if err := json.UnmarshalDecode(dec, &all); err != nil || all == nil {
		return err
	}
	*into = make(map[string]string, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] == nil {
			return &json.SemanticError{JSONPointer: dec.StackPointer().AppendToken(name), Err: errors.New("it must be a string")}
		}
		(*into)[name] = *all[name]
	}
	return nil
}

// faultOf returns the fault that made the decoder stop.
func faultOf(err error) Fault {
	var e *json.SemanticError
	if !errors.As(err, &e) {
		return Fault{"", "it cannot be read"}
	}
	f := Fault{Pointer: pointer(e.JSONPointer)}
	switch kind := e.GoType.Kind(); {
	case e.Err == json.ErrUnknownName:
		f.Detail = "unknown member: allowed are " + strings.Join(names(e.GoType), ", ")
	case e.Err != nil && (e.JSONKind == 0 || e.JSONKind == '"'):
		f.Detail = e.Err.Error() // of one of the types here or in package store
	case kind == reflect.Bool:
		f.Detail = "it must be true or false"
	case kind == reflect.Slice:
		f.Detail = "it must be a list"
	case kind == reflect.Map:
		f.Detail = "it must be an object of strings"
	case kind == reflect.Struct:
		f.Detail = "it must be an object"
	default:
		f.Detail = "it must be a string"
	}
	return f
}

// names returns the names of the members of a struct.
func names(t reflect.Type) (all []string) {
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			all = append(all, name)
		}
	}
	return all
}

// pointer returns a pointer (RFC 6901) with the names, which are untrusted,
// cleaned, so that a problem stays on one line.
func pointer(p jsontext.Pointer) string {
	var clean jsontext.Pointer
	for name := range p.Tokens() {
		clean = clean.AppendToken(event.Clean(short(name), 2*maxShown))
	}
	return string(clean)
}

// show quotes untrusted text, truncated.
func show(s string) string { return strconv.Quote(short(s)) }

func short(s string) string {
	if len(s) > maxShown {
		return strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return s
}
