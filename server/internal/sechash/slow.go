package sechash

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"strconv"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// bcryptSize is how many bytes of a secret bcrypt uses.
const bcryptSize = 72

// bcryptText is a hash in bcrypt's own form.
type bcryptText string

var bcryptForm = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

func parseBcrypt(text string) (Hash, error) {
	if !bcryptForm.MatchString(text) {
		return Hash{}, errors.New("a bcrypt hash: it must be $2a$, $2b$ or $2y$, two digits of cost, $, and 53 letters of salt and hash")
	}
	cost, err := bcrypt.Cost([]byte(text))
	if err != nil || cost > maxBcryptCost {
		return Hash{}, fmt.Errorf("a bcrypt hash: the cost must be %d to %d", bcrypt.MinCost, maxBcryptCost)
	}
	return Hash{text: text, form: bcryptText(text)}, nil
}

func (bcryptText) name() string { return "bcrypt" }

// matches compares the first 72 bytes, as bcrypt does and as Hydra did before
// it refused longer secrets: a longer one that was hashed then keeps working,
// and one that a newer Hydra hashed has no more than 72. A caller must know 72
// bytes of the secret in any case.
func (b bcryptText) matches(secret string) bool {
	return bcrypt.CompareHashAndPassword([]byte(b), []byte(secret[:min(len(secret), bcryptSize)])) == nil
}

// salted is what PBKDF2 and Argon2id have in common.
type salted struct{ salt, key []byte }

func parseSalted(salt, key string) (salted, error) {
	s, err := decode(base64.RawStdEncoding, salt)
	if err != nil {
		return salted{}, errors.New("a hashed secret: the salt is not base64 without padding")
	}
	k, err := decode(base64.RawStdEncoding, key)
	if err != nil {
		return salted{}, errors.New("a hashed secret: the key is not base64 without padding")
	}
	return salted{s, k}, salted{s, k}.check()
}

func (s salted) check() error {
	if len(s.salt) < minSalt || len(s.salt) > maxSalt {
		return fmt.Errorf("a hashed secret: the salt must be %d to %d bytes, it is %d", minSalt, maxSalt, len(s.salt))
	}
	if len(s.key) < minKey || len(s.key) > maxKey {
		return fmt.Errorf("a hashed secret: the key must be %d to %d bytes, it is %d", minKey, maxKey, len(s.key))
	}
	return nil
}

// text returns "SALT$KEY".
func (s salted) text() string {
	return base64.RawStdEncoding.EncodeToString(s.salt) + "$" + base64.RawStdEncoding.EncodeToString(s.key)
}

// pbkdf2Key is a key that PBKDF2 derived.
type pbkdf2Key struct {
	salted
	digest     string
	new        func() hash.Hash
	iterations int
}

var pbkdf2Digests = map[string]func() hash.Hash{"sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New}

var pbkdf2Form = regexp.MustCompile(`^i=([0-9]{1,9}),l=([0-9]{1,9})$`)

// parsePBKDF2 reads the fields after "$pbkdf2-DIGEST$". It accepts any l, as
// Hydra does, and writes the right one.
func parsePBKDF2(digest string, fields []string) (Hash, error) {
	if len(fields) != 3 {
		return Hash{}, errors.New("a PBKDF2 hash: it must be $pbkdf2-DIGEST$i=ITERATIONS,l=LENGTH$SALT$KEY")
	}
	parameters := pbkdf2Form.FindStringSubmatch(fields[0])
	if parameters == nil {
		return Hash{}, errors.New("a PBKDF2 hash: the parameters must be i=ITERATIONS,l=LENGTH")
	}
	s, err := parseSalted(fields[1], fields[2])
	if err != nil {
		return Hash{}, err
	}
	return newPBKDF2(digest, number(parameters[1]), s)
}

func newPBKDF2(digest string, iterations int, s salted) (Hash, error) {
	p := pbkdf2Key{s, digest, pbkdf2Digests[digest], iterations}
	if p.new == nil {
		// Hydra reads sha224 and sha384 too, as SHA-3, but never writes them.
		return Hash{}, errors.New("a PBKDF2 hash: the digest must be sha1, sha256 or sha512")
	}
	if iterations < 1 || iterations > maxIterations {
		return Hash{}, fmt.Errorf("a PBKDF2 hash: the iterations must be 1 to %d, they are %d", maxIterations, iterations)
	}
	return Hash{text: fmt.Sprintf("$pbkdf2-%s$i=%d,l=%d$%s", digest, iterations, len(s.key), s.text()), form: p}, nil
}

func (p pbkdf2Key) name() string { return "pbkdf2-" + p.digest }

func (p pbkdf2Key) matches(secret string) bool {
	key, err := pbkdf2.Key(p.new, secret, p.salt, p.iterations, len(p.key))
	return err == nil && subtle.ConstantTimeCompare(key, p.key) == 1
}

// argon2Key is a key that Argon2id derived.
type argon2Key struct {
	salted
	memory, passes, lanes int // memory in KiB
}

var argon2Form = regexp.MustCompile(`^m=([0-9]{1,9}),t=([0-9]{1,9}),p=([0-9]{1,9})$`)

// parseArgon2 reads the fields after "$argon2id$".
func parseArgon2(fields []string) (Hash, error) {
	if len(fields) != 4 || fields[0] != fmt.Sprintf("v=%d", argon2.Version) {
		return Hash{}, errors.New("an Argon2id hash: it must be $argon2id$v=19$m=KIB,t=PASSES,p=LANES$SALT$KEY")
	}
	parameters := argon2Form.FindStringSubmatch(fields[1])
	if parameters == nil {
		return Hash{}, errors.New("an Argon2id hash: the parameters must be m=KIB,t=PASSES,p=LANES")
	}
	s, err := parseSalted(fields[2], fields[3])
	if err != nil {
		return Hash{}, err
	}
	return newArgon2(argon2Key{s, number(parameters[1]), number(parameters[2]), number(parameters[3])})
}

func newArgon2(a argon2Key) (Hash, error) {
	switch {
	case a.lanes < 1 || a.lanes > maxLanes:
		return Hash{}, fmt.Errorf("an Argon2id hash: the lanes must be 1 to %d, they are %d", maxLanes, a.lanes)
	case a.memory < 8*a.lanes || a.memory > maxMemory:
		return Hash{}, fmt.Errorf("an Argon2id hash: the memory must be %d to %d KiB, it is %d", 8*a.lanes, maxMemory, a.memory)
	case a.passes < 1 || a.passes > maxPasses || a.memory*a.passes > maxWork:
		return Hash{}, fmt.Errorf("an Argon2id hash: the passes must be 1 to %d, and at most %d KiB when "+
			"multiplied by the memory; they are %d", maxPasses, maxWork, a.passes)
	}
	return Hash{text: fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s", argon2.Version, a.memory, a.passes, a.lanes, a.text()), form: a}, nil
}

func (argon2Key) name() string { return "argon2id" }

func (a argon2Key) matches(secret string) bool {
	key := argon2.IDKey([]byte(secret), a.salt, uint32(a.passes), uint32(a.memory), uint8(a.lanes), uint32(len(a.key)))
	return subtle.ConstantTimeCompare(key, a.key) == 1
}

// number parses up to nine digits that matched a pattern.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}
