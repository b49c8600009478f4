package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/files"
)

const (
	maxToken = 8 << 10 // bytes
	// maxLife bounds the accepted lifetime of a lease.
	maxLife = 10 * 365 * 24 * time.Hour
)

var errNoJSON = errors.New("the answer is not the JSON of a Vault: check Config.Address")

// parse decodes an answer. The decoder's errors may quote it.
func parse(body []byte, into any) error {
	body, err := files.Text(body)
	if err != nil || json.Unmarshal(body, into) != nil {
		return errNoJSON
	}
	return nil
}

// parseAuth reads the answer of a login or a renewal.
func parseAuth(body []byte) (token counterfoil.Secret, life time.Duration, renewable bool, err error) {
	var answer struct {
		Auth *struct {
			Token     string `json:"client_token"`
			Lease     int64  `json:"lease_duration"`
			Renewable bool   `json:"renewable"`
		} `json:"auth"`
	}
	if err := parse(body, &answer); err != nil {
		return "", 0, false, err
	}
	if answer.Auth == nil || !isToken(counterfoil.Secret(answer.Auth.Token)) {
		return "", 0, false, errors.New(
			"Vault answered the login without a usable token: methods that ask for a second factor are not for programs",
		)
	}
	if life, err = lasts(answer.Auth.Lease); err != nil {
		return "", 0, false, err
	}
	return counterfoil.Secret(answer.Auth.Token), life, answer.Auth.Renewable, nil
}

// parseLookup reads what Vault says about a token.
func parseLookup(body []byte) (life time.Duration, renewable bool, err error) {
	var answer struct {
		Data *struct {
			TTL       int64 `json:"ttl"`
			Renewable bool  `json:"renewable"`
		} `json:"data"`
	}
	if err := parse(body, &answer); err != nil {
		return 0, false, err
	}
	if answer.Data == nil {
		return 0, false, errNoJSON
	}
	life, err = lasts(answer.Data.TTL)
	return life, answer.Data.Renewable, err
}

func lasts(seconds int64) (time.Duration, error) {
	if seconds < 0 {
		return 0, errNoJSON
	}
	return time.Duration(min(seconds, int64(maxLife/time.Second))) * time.Second, nil
}

// isToken reports whether s can be sent in a header.
func isToken(s counterfoil.Secret) bool {
	return s != "" && len(s) <= maxToken && !strings.ContainsFunc(s.Reveal(), func(r rune) bool { return r <= 0x20 || r > 0x7e })
}

// parseMount reads where the mount of path ends and which version it has.
func parseMount(body []byte, path string) (*place, error) {
	var answer struct {
		Data *struct {
			Path    string            `json:"path"`
			Type    string            `json:"type"`
			Options map[string]string `json:"options"`
		} `json:"data"`
	}
	if err := parse(body, &answer); err != nil {
		return nil, err
	}
	if answer.Data == nil {
		return nil, errNoJSON
	}
	mount := strings.Trim(answer.Data.Path, "/")
	rest, ok := strings.CutPrefix(path, mount+"/")
	switch {
	case !ok || !isPath(mount) || !isPath(rest):
		return nil, errors.New("the path is that of a mount, not of a secret in it: write vault:MOUNT/PATH#FIELD")
	case answer.Data.Type != "kv" && answer.Data.Type != "generic":
		return nil, errors.New("the mount is not that of a KV store")
	}
	switch answer.Data.Options["version"] {
	case "", "1":
		return &place{mount, rest, 1}, nil
	case "2":
		return &place{mount, rest, 2}, nil
	}
	return nil, errors.New("the KV store has an unknown version")
}

// parseField reads a field of a secret.
func parseField(body []byte, version int, field string) (string, error) {
	var answer struct {
		Data json.RawMessage `json:"data"`
	}
	if err := parse(body, &answer); err != nil {
		return "", err
	}
	data := answer.Data
	if version == 2 {
		var versioned struct {
			Data json.RawMessage `json:"data"`
		}
		if err := parse(data, &versioned); err != nil {
			return "", err
		}
		data = versioned.Data
	}
	var fields map[string]json.RawMessage
	if err := parse(data, &fields); err != nil {
		return "", err
	}
	raw, ok := fields[field]
	if !ok {
		return "", fmt.Errorf("the secret has no field %s", field)
	}
	var text string
	if raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return "", fmt.Errorf("the field %s is not a string: write it as one", field)
	}
	return text, nil
}
