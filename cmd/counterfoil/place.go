package main

import (
	"fmt"
	"strings"

	"github.com/counterfoil/counterfoil/internal/strict"
)

// place is where a connection stands: what messages about it name.
type place struct {
	doc              *strict.Document
	file, connection string
	keyed            bool // it has a private key in place of a secret
}

// key names a key of the connection with its file and line. A key that is not
// there has the line of the connection.
func (pl *place) key(key string) string {
	if pl == nil {
		return key
	}
	return fmt.Sprintf("%s (%s:%d)", key, pl.file, pl.doc.Line("connections", pl.connection, key))
}

// keys are the keys of a connection by the fields of client.Config that they
// make.
var keys = map[string]string{
	"Provider": "provider", "API": "api", "TokenURL": "token_url", "APIURL": "api_url", "ClientID": "client_id",
	"ClientSecret": "client_secret", "Key": "private_key", "APIKey": "api_key", "Scopes": "scope", "Tenant": "tenant",
	"HTTP": "ca_file", "Pins": "pins",
}

// notHere says what to do in place of setting a field that no key makes.
var notHere = map[string]string{
	"FetchAlone":        "COUNTERFOIL_CACHE to a directory on another disk",
	"AssertionAudience": "the audience that the provider expects",
	"Assertion":         "an assertion, which takes a program with package client",
	"Certificate":       "a certificate, which takes a program with package client",
}

// field is client.Config.FieldName.
func (pl *place) field(name string) string {
	if key, ok := keys[name]; ok {
		return pl.key(key)
	}
	if words, ok := notHere[name]; ok {
		return words
	}
	return strings.ToLower(name)
}

// words puts the keys with their places into a hint, where it names them in
// braces.
func (pl *place) words(hint string) string {
	for _, key := range keys {
		in := "{" + key + "}"
		if key == "client_secret" && pl != nil && pl.keyed {
			key = "private_key"
		}
		if strings.Contains(hint, in) {
			hint = strings.ReplaceAll(hint, in, pl.key(key))
		}
	}
	return hint
}
