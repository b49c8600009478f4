package sechash

import (
	"crypto/rand"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
)

// The parameters of FromPlain for a guessable secret: the minimum that OWASP
// recommends for Argon2id, some 30 ms of CPU time.
const (
	plainMemory = 19 << 10
	plainPasses = 2
	plainLanes  = 1
	plainKey    = 32
	plainSalt   = 16
)

// FromPlain hashes a secret of another server. One that looks generated, like
// those of Cognito, Keycloak and of this server, is hashed as Own does; any other may be
// guessable and is hashed with Argon2id and its own salt, so that a thief of
// the hash cannot guess it.
func FromPlain(secret counterfoil.Secret) Hash {
	if cfsecret.Is(secret) || generated(secret.Reveal()) {
		return Own(secret)
	}
	s := salted{salt: make([]byte, plainSalt)}
	_, _ = rand.Read(s.salt) // never fails
	s.key = argon2.IDKey([]byte(secret.Reveal()), s.salt, plainPasses, plainMemory, plainLanes, plainKey)
	h, err := newArgon2(argon2Key{s, plainMemory, plainPasses, plainLanes})
	if err != nil {
		panic(err) // the parameters are constants
	}
	return h
}

// generated reports whether a secret looks random: 32 bytes or more without a
// space, of ten different ones or more, with digits in three places or more. It
// errs towards no.
func generated(s string) bool {
	if len(s) < 32 || strings.ContainsAny(s, " \t") {
		return false
	}
	var seen [256]bool
	different, places, digit := 0, 0, false
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			different++
		}
		is := s[i] >= '0' && s[i] <= '9'
		if is && !digit {
			places++
		}
		digit = is
	}
	return different >= 10 && places >= 3
}
