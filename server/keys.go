package server

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// signingKey is a key that a realm signs with, beside the protected header of
// its tokens.
type signingKey struct {
	signer    crypto.Signer
	algorithm string
	activates time.Time
	protected []byte
}

type publicKey = jose.PublicKey

// keyring is a realm's keys as they were last read.
type keyring struct {
	// signing are the keys that sign now or will, newest first.
	signing []signingKey
	public  map[string]publicKey
}

// active returns the key that signs with the algorithm at the given time, or
// nil.
func (k *keyring) active(algorithm string, at time.Time) *signingKey {
	for i := range k.signing {
		s := &k.signing[i]
		if s.algorithm == algorithm && !at.Before(s.activates) {
			return s
		}
	}
	return nil
}

// loadKeys reads the realm's keys, after making those that its description asks
// for if they are not there.
func (rl *realm) loadKeys(ctx context.Context) error {
	stored, err := rl.Store.SigningKeys(ctx, rl.Name)
	if err != nil {
		return fmt.Errorf("read signing keys: %w", err)
	}
	made := false
	for _, algorithm := range rl.Provider.AccessToken.SigningAlgorithms {
		if !slices.ContainsFunc(stored, func(k SigningKey) bool { return k.Algorithm == string(algorithm) }) {
			if err := rl.makeKey(ctx, string(algorithm)); err != nil {
				return fmt.Errorf("make signing key: %w", err)
			}
			made = true
		}
	}
	if made {
		if stored, err = rl.Store.SigningKeys(ctx, rl.Name); err != nil {
			return fmt.Errorf("read signing keys: %w", err)
		}
	}
	ring := &keyring{public: make(map[string]publicKey, len(stored))}
	for _, k := range slices.Backward(stored) {
		parsed, err := x509.ParsePKCS8PrivateKey([]byte(k.Private.Reveal()))
		signer, ok := parsed.(crypto.Signer)
		if err != nil || !ok {
			return fmt.Errorf("signing key %q in the store is damaged", k.ID)
		}
		ring.public[k.ID] = publicKey{ID: k.ID, Algorithm: k.Algorithm, Key: signer.Public()}
		ring.signing = append(ring.signing, signingKey{signer: signer, algorithm: k.Algorithm, activates: k.Activates, protected: rl.protected(k.ID, k.Algorithm)})
	}
	rl.ring = ring
	return nil
}

// makeKey adds a key to the store, unless another server was faster.
func (rl *realm) makeKey(ctx context.Context, algorithm string) error {
	signer, err := jose.Generate(algorithm)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return err
	}
	id, err := keyID(rl.Provider.AccessToken.KeyID, signer.Public())
	if err != nil {
		return err
	}
	now := rl.Clock.Now()
	err = rl.Store.AddSigningKey(ctx, SigningKey{
		Realm: rl.Name, ID: id, Algorithm: algorithm, Created: now, Activates: now, Lifetime: rl.endpoint.Lifetime,
		Public: public, Private: counterfoil.Secret(private),
	}, "", counterfoil.Event{Type: counterfoil.EventKeyCreated, Time: now, Realm: rl.Name, Success: true, Actor: "counterfoil", Detail: algorithm + " " + id})
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

func keyID(form provider.KeyIDForm, key crypto.PublicKey) (string, error) {
	switch form {
	case provider.KeyIDBase64:
		return base64.StdEncoding.EncodeToString(random(32)), nil
	case provider.KeyIDHex:
		return strings.ToUpper(hex.EncodeToString(random(16))), nil
	}
	return jose.Thumbprint(key)
}

// protected returns the protected header of the realm's tokens (RFC 7515
// section 4), its members in the described order.
func (rl *realm) protected(kid, algorithm string) []byte {
	values := map[provider.HeaderMember]string{
		provider.HeaderAlg: algorithm,
		provider.HeaderKid: kid,
		provider.HeaderTyp: rl.Provider.AccessToken.Type,
	}
	var t template
	for _, m := range rl.Provider.AccessToken.Header {
		t = t.fixed(string(m), appendString(nil, values[m]))
	}
	return t.append(nil, nil)
}
