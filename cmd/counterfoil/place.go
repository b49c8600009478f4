package main

import (
	"regexp"

	"github.com/counterfoil/counterfoil/client/consumer"
)

// place is where a connection stands: what messages about it name.
type place struct {
	config     *consumer.Config
	connection string
	keyed      bool // it has a private key in place of a secret
}

// key names a key of the connection with its file and line.
func (pl *place) key(key string) string {
	if pl == nil {
		return key
	}
	return pl.config.Place(pl.connection, key)
}

var inBraces = regexp.MustCompile(`\{[a-z_]+\}`)

// words puts the keys with their places into a hint, where it names them in
// braces.
func (pl *place) words(hint string) string {
	return inBraces.ReplaceAllStringFunc(hint, func(in string) string {
		key := in[1 : len(in)-1]
		if key == "client_secret" && pl != nil && pl.keyed {
			key = "private_key"
		}
		return pl.key(key)
	})
}
