package main

import (
	"regexp"
	"sync/atomic"

	"github.com/counterfoil/counterfoil/client/consumer"
)

// place is where a connection is defined: what messages about it name.
type place struct {
	config     *consumer.Config
	connection string
	keyed      bool   // it has a private key in place of a secret
	proxy      string // its host and port, where connections go through one
	// damaged is a secret or an API key of a server like this one that was read and
	// is not whole; nil for none.
	damaged atomic.Pointer[damage]
}

// damage says what is wrong with the value that a key of a connection leads to.
type damage struct{ key, says string }

// key names a key of the connection with its file and line.
func (pl *place) key(key string) string {
	if pl == nil {
		return key
	}
	return pl.config.Place(pl.connection, key)
}

// remedyInBetween is the next action if the response that comes through the
// proxy makes no sense.
func remedyInBetween(proxy string) string {
	return "connections go through the proxy " + proxy +
		": check that HTTPS_PROXY names an HTTP proxy, or except the provider's host by NO_PROXY"
}

var inBraces = regexp.MustCompile(`\{[a-z_]+\}`)

// words replaces the keys in braces in a hint by the keys with their places.
func (pl *place) words(hint string) string {
	return inBraces.ReplaceAllStringFunc(hint, func(in string) string {
		key := in[1 : len(in)-1]
		if key == "client_secret" && pl != nil && pl.keyed {
			key = "private_key"
		}
		return pl.key(key)
	})
}
