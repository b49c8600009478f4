package clients

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/internal/sechash"
	"github.com/counterfoil/counterfoil/server/store"
)

// Check returns why Create would refuse all but the settings of n, unless the
// client exists.
func (n *NewClient) Check() error {
	switch {
	case n.Realm == "":
		return errors.New("the realm is missing")
	case !event.Visible(n.ID, maxID):
		return fmt.Errorf("the client id must have from 1 to %d bytes of visible characters", maxID)
	case cfsecret.Masked(n.ID) != n.ID:
		return errors.New("the client id has a secret in it: client ids are no secrets, and are logged")
	case !event.Visible(n.ImportedFrom, maxName) && n.ImportedFrom != "":
		return errors.New("where a client is imported from must be visible characters")
	case n.WithoutSecret && len(n.Secrets) > 0:
		return errors.New("a client without a secret was given one: leave one of the two out")
	}
	if err := checkHashes("secret", n.Secrets); err != nil {
		return err
	}
	return checkHashes("API key", n.APIKeys)
}

// checkHashes validates imported hashes.
func checkHashes(what string, hashes []store.SecretHash) error {
	if len(hashes) > maxSecrets {
		return fmt.Errorf("a client can have at most %d of %s: the old one and the new", maxSecrets, what)
	}
	for i, h := range hashes {
		if _, err := sechash.Parse(h.Value); err != nil {
			return fmt.Errorf("%s %d: %w", what, i+1, err)
		}
		if id, err := hex.DecodeString(h.ID); h.ID != "" && (err != nil || len(id) != 4 || h.ID != strings.ToLower(h.ID)) {
			return fmt.Errorf("%s %d: its id must be 8 hexadecimal digits", what, i+1)
		}
	}
	return nil
}

// adopted returns hashes with missing fields filled in.
func adopted(hashes []store.SecretHash, now time.Time) []store.SecretHash {
	hashes = slices.Clone(hashes)
	for i := range hashes {
		if h := &hashes[i]; h.ID == "" {
			h.ID = sechash.NewID()
		}
		if h := &hashes[i]; h.Created.IsZero() {
			h.Created = now
		}
	}
	return hashes
}
