package signing

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/server/store"
)

// Sealer keeps private keys encrypted at rest.
type Sealer struct {
	// current seals; nil leaves them unsealed.
	current *seal.Key
	// previous are keys that may have sealed keys in the store.
	previous []*seal.Key
}

// NewSealer returns a sealer under the master key; an empty one leaves private
// keys unsealed. Keys that were sealed under one of the previous master keys
// are sealed again.
func NewSealer(master counterfoil.Secret, previous []counterfoil.Secret) (*Sealer, error) {
	s := &Sealer{}
	if master == "" {
		if len(previous) > 0 {
			return nil, errors.New("previous master keys are given and no master key: give the one to seal with from now on")
		}
		return s, nil
	}
	var err error
	if s.current, err = seal.ParseKey(master); err != nil {
		return nil, err
	}
	for i, text := range previous {
		k, err := seal.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("previous master key %d: %w", i+1, err)
		}
		s.previous = append(s.previous, k)
	}
	return s, nil
}

// keyContext is the context that a sealed private key is bound to.
func keyContext(k *store.SigningKey) string { return "signing key\x00" + k.Realm + "\x00" + k.ID }

// seal returns k's private key in the form that is stored.
func (s *Sealer) seal(k *store.SigningKey, private []byte) counterfoil.Secret {
	if s.current == nil {
		return counterfoil.Secret(private)
	}
	return counterfoil.Secret(s.current.Seal(private, keyContext(k)))
}

// open returns k's private key, also in PKCS #8 form. It checks that the key
// matches the public one.
func (s *Sealer) open(k *store.SigningKey) (crypto.Signer, []byte, error) {
	private, err := s.unseal(k)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(private)
	key, ok := parsed.(crypto.Signer)
	if err != nil || !ok {
		return nil, nil, errDamagedKey(k)
	}
	if public, err := x509.MarshalPKIXPublicKey(key.Public()); err != nil || !bytes.Equal(public, k.Public) {
		return nil, nil, errDamagedKey(k)
	}
	return key, private, nil
}

func (s *Sealer) unseal(k *store.SigningKey) ([]byte, error) {
	if err := s.checkMasterKey(k); err != nil {
		return nil, err
	}
	kept := []byte(k.Private.Reveal())
	id, sealed := seal.Sealed(kept)
	if !sealed {
		return kept, nil
	}
	for _, master := range append([]*seal.Key{s.current}, s.previous...) {
		if master.ID() != id {
			continue
		}
		if private, err := master.Open(kept, keyContext(k)); err == nil {
			return private, nil
		}
	}
	return nil, errDamagedKey(k)
}

// errDamagedKey gives no details: they could reveal a part of the key.
func errDamagedKey(k *store.SigningKey) error {
	return fmt.Errorf("signing key %q of realm %q in the store is damaged: restore it from a backup, or delete "+
		"it to have a new one made", k.ID, k.Realm)
}

// checkMasterKey returns an error that names the master key that k is sealed
// under, unless it is one of those given.
func (s *Sealer) checkMasterKey(k *store.SigningKey) error {
	id, sealed := seal.Sealed([]byte(k.Private.Reveal()))
	if !sealed {
		return nil
	}
	if s.current == nil {
		return fmt.Errorf("signing key %q of realm %q is sealed under master key %s and none is given: give that one", k.ID, k.Realm, id)
	}
	for _, master := range append([]*seal.Key{s.current}, s.previous...) {
		if master.ID() == id {
			return nil
		}
	}
	return fmt.Errorf("signing key %q of realm %q is sealed under master key %s and the given one is %s: give %s "+
		"as the master key, or as a previous one to change it",
		k.ID, k.Realm, id, s.current.ID(), id)
}

// upToDate reports whether k's private key is stored as seal would store it
// now.
func (s *Sealer) upToDate(k *store.SigningKey) bool {
	id, sealed := seal.Sealed([]byte(k.Private.Reveal()))
	switch {
	case k.Private == "":
		return true
	case s.current == nil:
		return !sealed
	}
	return sealed && id == s.current.ID()
}

// Derive returns a key for another purpose that all servers with this master key
// share; nil without one.
func (s *Sealer) Derive(purpose string) []byte {
	if s.current == nil {
		return nil
	}
	return s.current.Derive(purpose)
}
