package sechash

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// maxCredential bounds the JSON of a Keycloak credential, in bytes.
const maxCredential = 4 << 10

// FromIdentityServer reads the Value of an IdentityServer ClientSecret of the
// type SharedSecret: base64 (standard alphabet, padded) of the SHA-256 or of
// the SHA-512 of the secret's UTF-8. Its length says which.
func FromIdentityServer(value string) (Hash, error) {
	if len(value) > maxText {
		return Hash{}, errors.New("a hashed secret of IdentityServer: it is too long for SHA-512")
	}
	return parseDigest(base64.StdEncoding, value, sha256.Size, sha512.Size)
}

// FromHydra reads the hash that Hydra stores of a client secret: bcrypt,
// PBKDF2 or Argon2id in the forms of this package.
func FromHydra(text string) (Hash, error) {
	if !strings.HasPrefix(text, "$") {
		return Hash{}, errors.New("a hashed secret of Hydra: it must begin with $2a$ (bcrypt) or $pbkdf2-sha256$")
	}
	return Parse(text)
}

// FromKeycloak reads the two members of a Keycloak credential of the type
// password, each JSON inside a string: PBKDF2 with SHA-1, SHA-256 or SHA-512,
// or Argon2id, Keycloak's default since version 25. The result has the same
// salt, key and cost in the form of this package.
//
// Keycloak lengthens a short secret with NUL bytes before PBKDF2. That changes
// nothing: HMAC does the same to a short key (RFC 2104 section 2).
func FromKeycloak(secretData, credentialData string) (Hash, error) {
	var secret struct {
		Value []byte `json:"value"`
		Salt  []byte `json:"salt"`
	}
	var credential struct {
		Algorithm  string              `json:"algorithm"`
		Iterations int                 `json:"hashIterations"`
		Parameters map[string][]string `json:"additionalParameters"`
	}
	if len(secretData) > maxCredential || json.Unmarshal([]byte(secretData), &secret) != nil {
		return Hash{}, errors.New("a Keycloak credential: secretData must be a JSON object with value and salt in base64")
	}
	if len(credentialData) > maxCredential || json.Unmarshal([]byte(credentialData), &credential) != nil {
		return Hash{}, errors.New("a Keycloak credential: credentialData must be a JSON object with hashIterations and algorithm")
	}
	s := salted{salt: secret.Salt, key: secret.Value}
	if err := s.check(); err != nil {
		return Hash{}, fmt.Errorf("a Keycloak credential: %w", err)
	}
	switch credential.Algorithm {
	case "pbkdf2":
		return newPBKDF2("sha1", credential.Iterations, s)
	case "pbkdf2-sha256", "pbkdf2-sha512":
		return newPBKDF2(strings.TrimPrefix(credential.Algorithm, "pbkdf2-"), credential.Iterations, s)
	case "argon2":
		return fromKeycloakArgon2(credential.Iterations, credential.Parameters, s)
	}
	return Hash{}, errors.New("a Keycloak credential: the algorithm must be pbkdf2, pbkdf2-sha256, pbkdf2-sha512 or argon2")
}

func fromKeycloakArgon2(passes int, parameters map[string][]string, s salted) (Hash, error) {
	get := func(name string) string { return strings.Join(parameters[name], ",") }
	if get("type") != "id" || get("version") != "1.3" {
		return Hash{}, errors.New("a Keycloak credential: of Argon2, only type id and version 1.3 are known")
	}
	// The parameters are numbers in strings; written in this package's form
	// they are checked as such.
	text := fmt.Sprintf("m=%s,t=%d,p=%s", get("memory"), passes, get("parallelism"))
	if !argon2Form.MatchString(text) {
		return Hash{}, errors.New("a Keycloak credential: Argon2 needs hashIterations, memory and parallelism")
	}
	encoded := strings.Split(s.text(), "$")
	return parseArgon2([]string{"v=19", text, encoded[0], encoded[1]})
}
