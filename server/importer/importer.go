// Package importer reads the clients of other authorization servers, so that
// their secrets keep working here unchanged. Use Parse on a file that the other
// server has exported, look at the rows, then Apply them to a realm: a dry run
// first.
//
// The package promises that every row of a file is accounted for, that Apply
// imports all rows or none unless told otherwise, that importing the same file
// again changes nothing, and that no secret and no hash of one comes back in an
// error, a note or a report. Files come from an operator; still they are
// bounded and a broken one is refused with its place.
//
// The formats:
//
//	identityserver  IdentityServer4 and Duende: clients as in appsettings.json or as JSON of its
//	                configuration store, with AllowedScopes and ClientSecrets inside each
//	hydra           Ory Hydra: 'hydra list clients --format json' or its admin API, with the hashed
//	                client_secret as its table hydra_client has it, or rows of that table as JSON
//	keycloak        Keycloak: a realm export with secrets, or its clients
//	cognito         Amazon Cognito: 'aws cognito-idp describe-user-pool-client', one or many
//	plain           JSON Lines or CSV with client_id, client_secret and more
//
// Each may be one JSON document, an array, JSON Lines, or documents one after
// the other, as a loop over a command writes them.
package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/sechash"
	"github.com/counterfoil/counterfoil/server"
)

// Bounds of a file.
const (
	// MaxSize is how large a file may be, in bytes; MaxRows how many clients it
	// may have.
	MaxSize = 128 << 20
	MaxRows = 200_000
	// maxRow is how large one client may be.
	maxRow = 1 << 20
	// maxListed is how many secrets of one client are looked at.
	maxListed = 50
)

// Row is one client of a file.
type Row struct {
	// Place says where it stands: "client 3" of an array, or "line 12".
	Place string
	// Client has the ID, the settings and the state; the realm is Apply's.
	Client server.NewClient
	// Secrets are all client secrets that the file has, newest first; APIKeys
	// all API keys.
	Secrets, APIKeys []Secret
	// Notes say what of the row is not taken over, or becomes something else.
	Notes []string
	// Skip says why the row is no client for machines, such as an application
	// that people sign in to; empty for one that is.
	Skip string
	// Err says why the row cannot be taken; nil when it can.
	Err error
}

// Secret is a client secret as it came: in the clear, or hashed.
type Secret struct {
	// Plain is empty for a hashed one.
	Plain   counterfoil.Secret
	Hash    sechash.Hash
	Created time.Time
	// Ends is when it stops being accepted; zero for never.
	Ends time.Time
}

// format reads clients of one kind of file.
type format struct {
	// within names the members of an object that hold the clients, outermost
	// first.
	within []string
	read   func(raw []byte, row *Row) error
}

var formats = map[string]format{
	"identityserver": {[]string{"IdentityServer", "IdentityServerSettings", "Clients"}, readIdentityServer},
	"hydra":          {[]string{"items", "clients"}, readHydra},
	"keycloak":       {[]string{"clients"}, readKeycloak},
	"cognito":        {nil, readCognito},
	"plain":          {nil, readPlain},
}

// Formats returns the names of the formats.
func Formats() []string { return []string{"identityserver", "hydra", "keycloak", "cognito", "plain"} }

// Parse reads a file of one of the Formats. The error is about the file as a
// whole; what is wrong with a row is in the row.
func Parse(name string, r io.Reader) ([]Row, error) {
	f, ok := formats[name]
	if !ok {
		return nil, fmt.Errorf("import: no format is called %q: the formats are %s", name, strings.Join(Formats(), ", "))
	}
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("import: %w", err)
	case len(data) > MaxSize:
		return nil, fmt.Errorf("import: the file is larger than %d MiB: divide it", MaxSize>>20)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if name == "plain" && !startsJSON(data) {
		return parseCSV(data)
	}
	rows, err := documents(data, f)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	if len(rows) == 0 {
		return nil, errors.New("import: the file has no clients: look whether it has the format that was named")
	}
	return rows, nil
}

func startsJSON(data []byte) bool {
	text := bytes.TrimSpace(data)
	return len(text) > 0 && (text[0] == '{' || text[0] == '[')
}

// documents reads one JSON document, one a line, or one after the other.
func documents(data []byte, f format) ([]Row, error) {
	if json.Valid(data) {
		list, err := f.clients(data)
		if err != nil {
			return nil, err
		}
		return f.rows(list, "client")
	}
	// Where the first line is no document, the file is none of JSON Lines.
	first, _, _ := bytes.Cut(bytes.TrimSpace(data), []byte("\n"))
	if !json.Valid(first) {
		list, err := f.sequence(data)
		if err != nil {
			return nil, err
		}
		return f.rows(list, "client")
	}
	var list [][]byte
	for line := range bytes.Lines(data) {
		if len(list) > MaxRows {
			break
		}
		list = append(list, bytes.TrimSpace(line))
	}
	return f.rows(list, "line")
}

// sequence finds the clients in documents that stand one after the other. A
// broken one breaks the file: nothing says where the next begins.
func (f *format) sequence(data []byte) ([][]byte, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	var list [][]byte
	for len(list) <= MaxRows {
		var raw json.RawMessage
		err := d.Decode(&raw)
		if errors.Is(err, io.EOF) && len(list) > 0 {
			break
		}
		if err != nil {
			at := len(data)
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				at = min(int(syntax.Offset), len(data))
			}
			return nil, fmt.Errorf("the file is not JSON: line %d is broken", 1+bytes.Count(data[:at], []byte("\n")))
		}
		clients, err := f.clients(raw)
		if err != nil {
			return nil, err
		}
		list = append(list, clients...)
	}
	return list, nil
}

// clients finds the clients in a document that is valid.
func (f *format) clients(data []byte) ([][]byte, error) {
	data = bytes.TrimSpace(data)
	for range 3 { // as deep as any of the formats has them
		if data[0] != '{' {
			break
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(data, &members); err != nil {
			return nil, errors.New("the file is not a JSON object")
		}
		inner, found := []byte(nil), false
		for _, name := range f.within {
			if raw, there := members[name]; there && (raw[0] == '[' || raw[0] == '{') {
				inner, found = raw, true
				break
			}
		}
		if !found {
			return [][]byte{data}, nil
		}
		data = inner
	}
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, errors.New("the file has no list of clients where the format has one")
	}
	out := make([][]byte, len(list))
	for i := range list {
		out[i] = list[i]
	}
	return out, nil
}

// rows reads each client; those of empty lines are left out.
func (f *format) rows(list [][]byte, unit string) ([]Row, error) {
	if len(list) > MaxRows {
		return nil, fmt.Errorf("the file has more than %d clients: divide it", MaxRows)
	}
	var rows []Row
	for i, raw := range list {
		if len(raw) == 0 {
			continue
		}
		row := Row{Place: fmt.Sprintf("%s %d", unit, i+1)}
		switch {
		case len(raw) > maxRow:
			row.Err = fmt.Errorf("it is larger than %d KiB", maxRow>>10)
		case !json.Valid(raw):
			row.Err = errors.New("it is not JSON")
		default:
			row.Err = f.read(raw, &row)
			if row.Err == nil && row.Client.ID == "" {
				row.Err = errors.New("it has no client id")
			}
		}
		row.order()
		rows = append(rows, row)
	}
	return rows, nil
}

// order puts the newest secret first: by the time at which they were made, where
// the file says, or else the last one that it names.
func (r *Row) order() {
	for _, list := range [][]Secret{r.Secrets, r.APIKeys} {
		slices.Reverse(list)
		slices.SortStableFunc(list, func(a, b Secret) int { return b.Created.Compare(a.Created) })
	}
}

func (r *Row) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// decode reads a client leniently: exports have far more members than matter
// here. The error names the member and repeats no value.
func decode(raw []byte, into any) error {
	err := json.Unmarshal(raw, into)
	var typed *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &typed) && typed.Field == "":
		return errors.New("it is not an object")
	case errors.As(err, &typed):
		return fmt.Errorf("the member %s is of a kind that it should not be", typed.Field)
	}
	return errors.New("a member has a value that it should not have")
}

// add notes a secret, up to a bound.
func add(list *[]Secret, s Secret) error {
	if len(*list) >= maxListed {
		return fmt.Errorf("it has more than %d secrets", maxListed)
	}
	*list = append(*list, s)
	return nil
}

// userScopes are about people who sign in, which no machine does.
var userScopes = []string{"openid", "offline", "offline_access"}

// allow takes scopes over, without those that are left out and without repeats.
func (r *Row) allow(scopes []string, left ...string) {
	var gone []string
	for _, s := range scopes {
		switch {
		case slices.Contains(left, s):
			gone = append(gone, s)
		case !r.Client.Scopes.Contain(s):
			r.Client.Scopes = append(r.Client.Scopes, s)
		}
	}
	if len(gone) > 0 {
		r.note("left out the scopes %s: they are for people who sign in", strings.Join(gone, " "))
	}
}

// lifetime takes a token lifetime in seconds over.
func (r *Row) lifetime(seconds float64) error {
	if seconds < 0 || seconds > server.MaxLifetime.Seconds() || seconds != float64(int64(seconds)) {
		return fmt.Errorf("the lifetime of its tokens is not whole seconds up to %v", server.MaxLifetime)
	}
	r.Client.Tokens.Lifetime = time.Duration(seconds) * time.Second
	return nil
}

// moment reads a time as other servers write it: RFC 3339, or that without a
// zone, which is UTC.
func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("a time in it is not written as 2006-01-02T15:04:05Z")
}
