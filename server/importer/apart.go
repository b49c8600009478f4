package importer

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
)

// maxNames bounds the remembered names of a document's members.
const maxNames = 300

// marks are members that only clients of one format have; fileMarks are
// members that only the files of one format have.
var marks = map[string][]string{
	"identityserver": {
		"AllowedGrantTypes", "AllowedScopes", "ClientSecrets", "RequireClientSecret", "ProtocolType", "ClientClaimsPrefix",
	},
	"hydra": {"grant_types", "response_types", "token_endpoint_auth_method", "client_secret_expires_at", "redirect_uris", "subject_type"},
	"keycloak": {
		"serviceAccountsEnabled", "publicClient", "bearerOnly", "clientAuthenticatorType", "standardFlowEnabled", "protocolMappers",
		"directAccessGrantsEnabled", "defaultClientScopes", "surrogateAuthRequired",
	},
	"cognito": {
		"UserPoolClient", "UserPoolId", "AllowedOAuthFlows", "AllowedOAuthScopes", "ExplicitAuthFlows",
		"AllowedOAuthFlowsUserPoolClient", "TokenValidityUnits",
	},
	"plain": {"client_secret_hash", "api_key", "scopes", "tenants", "addresses", "labels", "lifetime", "environment", "expires"},
}

var fileMarks = map[string][]string{
	"identityserver": {"IdentityServer", "IdentityServerSettings", "IdentityServerData", "IdentityResources", "ApiScopes", "ApiResources"},
	"hydra":          {"items", "next_page_token", "is_last_page"},
	"keycloak":       {"realm", "clientScopes", "defaultDefaultClientScopes"},
	"cognito":        {"UserPoolClients"},
}

// tellApart returns the format that the members belong to when that is another
// one, and whether they certainly belong to a client of this one.
func (f *File) tellApart(names []string) (other string, sure bool) {
	count := func(format string, marks map[string][]string) (n int) {
		known := formats[format]
		for _, name := range names {
			if known.index(marks[format], name) >= 0 {
				n++
			}
		}
		return n
	}
	if count(f.name, marks) > 0 {
		return "", true
	}
	if count(f.name, fileMarks) > 0 {
		return "", false
	}
	most := 0
	for _, format := range Formats() {
		if n := count(format, marks) + count(format, fileMarks); n > most {
			other, most = format, n
		}
	}
	if other == "" && f.name != "plain" && slices.Contains(names, "client_id") && slices.Contains(names, "client_secret") &&
		!slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(columns, name) }) {
		other = "plain"
	}
	return other, false
}

// memberNames returns the names of an object's members.
func memberNames(raw []byte) []string {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return nil
	}
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	return names
}

const csvKind = "CSV: choose the format plain"

var yamlLine = regexp.MustCompile(`(?m)^(---|%YAML|- |[A-Za-z_][\w-]*:( |\r?$))`)

// otherKind says what a file that is not JSON looks like; "" for an unknown
// kind.
func (f *File) otherKind() (string, error) {
	head := make([]byte, 4<<10)
	n, err := io.ReadFull(f.spool.From(0), head)
	if err != nil && n == 0 && f.spool.Size() > 0 {
		return "", err
	}
	head = bytes.TrimSpace(head[:n])
	first, _, _ := strings.Cut(string(head), "\n")
	switch {
	case bytes.HasPrefix(head, []byte("<")):
		return "XML or HTML: export it as JSON", nil
	case strings.Contains(strings.ToLower(first), "client_id") && !strings.Contains(first, ": "),
		isSeparatorLine(strings.TrimPrefix(first, `"`)):
		return csvKind, nil
	case yamlLine.Match(head):
		return "YAML: export it as JSON", nil
	}
	return "", nil
}
