package server

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// signingKey is the key that a realm signs with, beside the protected header of
// its tokens.
type signingKey struct {
	signer    crypto.Signer
	algorithm string
	protected []byte
}

type publicKey = jose.PublicKey

// loadKeys reads the realm's keys, after making the one that its description
// asks for if it is not there.
func (rl *realm) loadKeys(ctx context.Context) error {
	algorithm := string(rl.Provider.AccessToken.SigningAlgorithm)
	stored, err := rl.Store.SigningKeys(ctx, rl.Name)
	if err != nil {
		return fmt.Errorf("read signing keys: %w", err)
	}
	if !hasKey(stored, algorithm) {
		if err := rl.makeKey(ctx, algorithm); err != nil {
			return fmt.Errorf("make signing key: %w", err)
		}
		if stored, err = rl.Store.SigningKeys(ctx, rl.Name); err != nil {
			return fmt.Errorf("read signing keys: %w", err)
		}
	}
	rl.keys = make(map[string]publicKey, len(stored))
	for _, k := range stored {
		parsed, err := x509.ParsePKCS8PrivateKey([]byte(k.PKCS8.Reveal()))
		signer, ok := parsed.(crypto.Signer)
		if err != nil || !ok {
			return fmt.Errorf("signing key %q in the store is damaged", k.ID)
		}
		rl.keys[k.ID] = publicKey{ID: k.ID, Algorithm: k.Algorithm, Key: signer.Public()}
		if k.Algorithm == algorithm {
			rl.key = signingKey{signer: signer, algorithm: algorithm, protected: rl.protected(k.ID)}
		}
	}
	return nil
}

func hasKey(keys []SigningKey, algorithm string) bool {
	for _, k := range keys {
		if k.Algorithm == algorithm {
			return true
		}
	}
	return false
}

// makeKey adds a key to the store, unless another server was faster.
func (rl *realm) makeKey(ctx context.Context, algorithm string) error {
	signer, err := jose.Generate(algorithm)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return err
	}
	id, err := keyID(rl.Provider.AccessToken.KeyID, signer.Public())
	if err != nil {
		return err
	}
	err = rl.Store.AddSigningKey(ctx, SigningKey{
		Realm: rl.Name, ID: id, Algorithm: algorithm, Created: rl.Clock.Now(), PKCS8: counterfoil.Secret(der),
	})
	if errors.Is(err, ErrExists) {
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
func (rl *realm) protected(kid string) []byte {
	values := map[provider.HeaderMember]string{
		provider.HeaderAlg: string(rl.Provider.AccessToken.SigningAlgorithm),
		provider.HeaderKid: kid,
		provider.HeaderTyp: rl.Provider.AccessToken.Type,
	}
	var t template
	for _, m := range rl.Provider.AccessToken.Header {
		t = t.fixed(string(m), appendString(nil, values[m]))
	}
	return t.append(nil, nil)
}
