// Package importer reads the clients of other authorization servers, so that
// their secrets keep working here unchanged. Use Open on a file that the other
// server has exported, inspect its Rows, then Apply it to a realm, first as a
// dry run.
//
// The package promises that every row of a file is accounted for, that Apply
// imports all rows or none unless told otherwise, that importing the same file
// again changes nothing, and that no secret and no hash of one appears in an
// error, a note or a report. Neither a file nor a report is held in memory,
// only some of its rows. Files come from an operator; they are nevertheless
// bounded, and a broken one is refused with the place of the error.
//
// The formats:
//
//	identityserver  IdentityServer4 and Duende: clients as in appsettings.json, in a section of any
//	                name, as entities of its configuration store, or as in the seed files of admin tools
//	hydra           Ory Hydra: 'hydra list clients --format json' or its admin API, with the hashed
//	                client_secret as its table hydra_client has it, or rows of that table as JSON
//	keycloak        Keycloak: an export of one realm or more, with secrets, or its clients
//	cognito         Amazon Cognito: 'aws cognito-idp describe-user-pool-client', one or many
//	plain           JSON Lines or CSV with client_id, client_secret and more
//
// Each may be one JSON document, an array, JSON Lines, or consecutive
// documents, as a loop over a command writes them; in UTF-8, or UTF-16 with a
// byte order mark. A file of another format than the named one is detected.
package importer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// Bounds of a file.
const (
	// MaxSize is the maximum size of a file, in bytes; MaxRows the maximum
	// number of its clients.
	MaxSize = 128 << 20
	MaxRows = 200_000
	// maxRow is the maximum size of one client.
	maxRow = 1 << 20
	// maxListed is the maximum number of secrets of one client that are read.
	maxListed = 50
)

// Row is one client of a file.
type Row struct {
	// Place is its place in the file: "client 3" of an array, or "line 12".
	Place string
	// Client has the ID, the settings and the state; the realm is Apply's.
	Client clients.NewClient
	// Secrets are all client secrets that the file has, newest first; APIKeys
	// all API keys.
	Secrets, APIKeys []Secret
	// Notes say what is left out of the row, or changed.
	Notes []string
	// Skip says why the row is not a machine client, such as an application that
	// people sign in to; empty for one that is.
	Skip string
	// Err says why the row is refused; nil when it is not.
	Err error

	// number is that of Place; size is the row's size in the file, in bytes.
	number, size int
	source       *source
	// key is the row's name in an object; empty in a list.
	key string
	// tooLong says that its token lifetime is longer than the maximum.
	tooLong error
}

// Secret is a client secret as it is in the file: in the clear, or hashed.
type Secret struct {
	// Member is its member in the file, for a refusal.
	Member string
	// Plain is empty for a hashed one.
	Plain   counterfoil.Secret
	Hash    sechash.Hash
	Created time.Time
	// Ends is its expiry; zero for never.
	Ends time.Time
}

// format describes the files of one format.
type format struct {
	// within names the members of an object that hold the clients, outermost
	// first; beside those that have data about all of these clients.
	within, beside []string
	// sections are those of within that hold others, and are not clients.
	sections []string
	// nests says that an array may hold such objects; relaxed says that the file
	// has the JSON of .NET's configuration: names in any case, comments,
	// trailing commas, lists that are objects, and sections of any name.
	nests, relaxed bool
	members        members
	read           func(raw []byte, row *Row) error
}

// members are a format's names of the values that a realm may refuse.
type members struct{ id, name, contact, scopes, labels, lifetime, claims, keys, keysURL, secret string }

// seeds are files that an admin tool fills its database from; it hashes their
// secrets.
var seeds = []string{"IdentityServerData", "InitialData", "SeedData"}

// clientsMember holds the clients of IdentityServer, in any section.
const clientsMember = "Clients"

var sections = append([]string{"IdentityServer", "IdentityServerSettings"}, seeds...)

var formats = map[string]format{
	"identityserver": {
		within:   append(sections, clientsMember, "$values"),
		beside:   []string{"IdentityResources"},
		sections: sections,
		relaxed:  true,
		members: members{
			id: "ClientId", name: "ClientName", scopes: "AllowedScopes", lifetime: "AccessTokenLifetime", claims: "Claims",
			keys: "ClientSecrets", secret: "ClientSecrets",
		},
		read: readIdentityServer,
	},
	"hydra": {
		within: []string{"items", "clients"},
		members: members{
			id: "client_id", name: "client_name", contact: "contacts", scopes: "scope", labels: "owner", keys: "jwks", keysURL: "jwks_uri",
			lifetime: "client_credentials_grant_access_token_lifespan", secret: "client_secret",
		},
		read: readHydra,
	},
	"keycloak": {
		within: []string{"clients"},
		beside: []string{"realm", "defaultDefaultClientScopes", "defaultOptionalClientScopes"},
		nests:  true,
		members: members{
			id: "clientId", name: "name", scopes: "defaultClientScopes and optionalClientScopes",
			lifetime: "attributes.access.token.lifespan",
			keys:     "attributes.jwks.string", keysURL: "attributes.jwks.url", secret: "secret",
		},
		read: readKeycloak,
	},
	"cognito": {
		within: []string{"UserPoolClients"},
		members: members{
			id: "ClientId", name: "ClientName", scopes: "AllowedOAuthScopes", lifetime: "AccessTokenValidity", secret: "ClientSecret",
		},
		read: readCognito,
	},
	"plain": {
		members: members{
			id: "client_id", name: "name", contact: "contact", scopes: "scopes", labels: "labels", lifetime: "lifetime",
			secret: "client_secret",
		},
		read: readPlain,
	},
}

// Formats returns the names of the formats.
func Formats() []string { return []string{"identityserver", "hydra", "keycloak", "cognito", "plain"} }

// order puts the newest secret first: by the time of its creation, if the file
// has that, or else the last one in the file.
func (r *Row) order() {
	for _, list := range [][]Secret{r.Secrets, r.APIKeys} {
		slices.Reverse(list)
		slices.SortStableFunc(list, func(a, b Secret) int { return b.Created.Compare(a.Created) })
	}
}

func (r *Row) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// decode reads a client leniently: exports have many irrelevant members. The
// error names the member and repeats no value.
func decode(raw []byte, into any) error {
	err := json.Unmarshal(raw, into)
	var typed *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &typed) && typed.Field == "":
		return errors.New("it is not an object")
	case errors.As(err, &typed):
		kind, _, _ := strings.Cut(typed.Value, " ") // the rest is the value
		// encoding/json counts embedded structs as members.
		field := strings.TrimPrefix(strings.TrimPrefix(typed.Field, "who."), "kind.")
		return fmt.Errorf("the member %s must be %s and is %s", field, wanted(typed.Type), cmp.Or(kinds[kind], kind))
	}
	return errors.New("a member has a value that it should not have")
}

var kinds = map[string]string{"number": "a number", "string": "text", "bool": "true or false", "array": "a list", "object": "an object"}

// wanted describes a member of that type.
func wanted(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[words]():
		return "a list, or text"
	case reflect.TypeFor[text]():
		return "text"
	case reflect.TypeFor[number]():
		return "a number"
	case reflect.TypeFor[flag]():
		return "true or false"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Bool:
		return "true or false"
	}
	return "a number"
}

// decodeClient reads a client into all. Where a member is wrong, the members
// that identify the client are read separately, and so are those that say
// whether it is a machine client: with known, a row that is skipped is skipped
// whatever else it has.
func decodeClient(raw []byte, all, kind, who any) (known bool, err error) {
	if err = decode(raw, all); err == nil {
		return true, nil
	}
	known = decode(raw, kind) == nil
	_ = decode(raw, who) // as far as possible
	return known, err
}

// add notes a secret, up to a bound.
func add(list *[]Secret, s Secret) error {
	if len(*list) >= maxListed {
		return fmt.Errorf("it has more than %d secrets", maxListed)
	}
	*list = append(*list, s)
	return nil
}

// userScopes are scopes about people who sign in: those of OpenID Connect Core
// 1.0 sections 3.1.2.1, 5.4 and 11, and Hydra's word for the last.
var userScopes = []string{"openid", "profile", "email", "address", "phone", "offline", "offline_access"}

// allow imports scopes, without those for people, those that are left out and
// duplicates.
func (r *Row) allow(scopes []string, left ...string) {
	var gone []string
	for _, s := range scopes {
		switch {
		case slices.Contains(userScopes, s), slices.Contains(left, s):
			if !slices.Contains(gone, s) {
				gone = append(gone, s)
			}
		case !r.Client.Scopes.Contains(s):
			r.Client.Scopes = append(r.Client.Scopes, s)
		}
	}
	if len(gone) > 0 {
		r.note("left out the scopes %s: they are for people who sign in", strings.Join(gone, " "))
	}
}

// lifetime imports a token lifetime in seconds.
func (r *Row) lifetime(member string, seconds float64) error {
	most := store.MaxLifetime.Seconds()
	if seconds < 0 || seconds != math.Trunc(seconds) {
		return fmt.Errorf("%s: the lifetime of its tokens is not whole seconds", member)
	}
	if seconds > most {
		r.tooLong = &longLifetime{fmt.Sprintf("%s: the lifetime of its tokens is longer than the longest, which "+
			"is %v: take longer ones down to the realm's with --cap-lifetime", member, store.MaxLifetime)}
	}
	r.Client.Tokens.Lifetime = time.Duration(min(seconds, most)) * time.Second
	return nil
}

// longLifetime says that a token lifetime is longer than the maximum.
type longLifetime struct{ text string }

func (e *longLifetime) Error() string { return e.text }

// moment reads a time as other servers write it: RFC 3339, or without a zone,
// which means UTC.
func moment(member, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s: the time is not written as 2006-01-02T15:04:05Z", member)
}
