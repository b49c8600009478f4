package signing

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store"
)

// logKeyID is the ID of the key of the audit log, which belongs to no realm.
const logKeyID = "audit-log"

// LogKey returns the key that signs the checkpoints of a database's audit log
// (package audit), and makes the first one. It is sealed like the signing
// keys of realms. Of several processes that make it at once, one succeeds and the
// others return its key.
func LogKey(ctx context.Context, s store.KeyStore, c counterfoil.Clock, sealer *Sealer) (ed25519.PrivateKey, error) {
	for {
		k, err := logKey(ctx, s)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err == nil {
			return openLogKey(ctx, s, c, sealer, k)
		}
		if err := makeLogKey(ctx, s, c, sealer); err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) {
			return nil, err
		}
	}
}

// PublicLogKey returns the public key of the audit log; store.ErrNotFound when no
// server has made it yet.
func PublicLogKey(ctx context.Context, s store.KeyStore) (ed25519.PublicKey, error) {
	k, err := logKey(ctx, s)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKIXPublicKey(k.Public)
	public, ok := key.(ed25519.PublicKey)
	if err != nil || !ok {
		return nil, errDamagedKey(k)
	}
	return public, nil
}

func logKey(ctx context.Context, s store.KeyStore) (*store.SigningKey, error) {
	keys, err := s.SigningKeys(ctx, "")
	if err != nil {
		return nil, err
	}
	for i := range keys {
		if keys[i].ID == logKeyID {
			return &keys[i], nil
		}
	}
	return nil, fmt.Errorf("the key of the audit log: %w", store.ErrNotFound)
}

func openLogKey(
	ctx context.Context, s store.KeyStore, c counterfoil.Clock, sealer *Sealer, k *store.SigningKey,
) (ed25519.PrivateKey, error) {
	opened, private, err := sealer.open(k)
	if err != nil {
		return nil, err
	}
	key, ok := opened.(ed25519.PrivateKey)
	if !ok {
		return nil, errDamagedKey(k)
	}
	if !sealer.upToDate(k) {
		k.Private = sealer.seal(k, private)
		if err := s.UpdateSigningKeys(ctx, []store.SigningKey{*k}, counterfoil.Event{
			Type: counterfoil.EventKeysResealed, Time: c.Now(), Success: true, Actor: "counterfoil", Detail: logKeyID,
		}); err != nil {
			return nil, err
		}
	}
	return key, nil
}

func makeLogKey(ctx context.Context, s store.KeyStore, c counterfoil.Clock, sealer *Sealer) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	k := store.SigningKey{ID: logKeyID, Algorithm: "EdDSA", Created: c.Now(), Activates: c.Now()}
	if k.Public, err = x509.MarshalPKIXPublicKey(public); err != nil {
		return err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	k.Private = sealer.seal(&k, encoded)
	return s.AddSigningKey(ctx, k, "", counterfoil.Event{
		Type: counterfoil.EventKeyCreated, Time: c.Now(), Success: true, Actor: "counterfoil", Detail: logKeyID,
	})
}
