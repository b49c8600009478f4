// Package importer reads the clients of other authorization servers, so that
// their secrets keep working here unchanged. Use Open on a file that the other
// server has exported, look at its Rows, then Apply it to a realm: a dry run
// first.
//
// The package promises that every row of a file is accounted for, that Apply
// imports all rows or none unless told otherwise, that importing the same file
// again changes nothing, and that no secret and no hash of one comes back in an
// error, a note or a report. Neither a file nor a report is held in memory, only
// some of its rows. Files come from an operator; still they are bounded and a
// broken one is refused with its place.
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
	"encoding/json"
	"errors"
	"fmt"
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

	// number is that of Place, size how many bytes the row has in the file.
	number, size int
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
