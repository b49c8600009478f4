// Package agefile reads secrets from files that are encrypted with age
// (age-encryption.org/v1), so that a secret can be stored in a repository or an
// image, and only its identity has to be provided. Use it as the scheme "age" of
// [credential.Open]:
//
//	identity, err := credential.Open("file:/run/secrets/age-identity", nil)
//	secret, err := credential.Open("age:/etc/acme.env.age#CLIENT_SECRET", credential.Schemes{"age": agefile.Opener(identity, nil)})
//
// It has the properties of credential.Files: a changed file is decrypted at the
// next call, an unchanged one is not decrypted again. Nothing is written to
// disk, and no error holds anything of the identity or of the decrypted text.
package agefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/internal/content"
	"github.com/counterfoil/counterfoil/client/credential/internal/watch"
	"github.com/counterfoil/counterfoil/internal/clock"
)

const (
	// maxEncrypted bounds a file: armour is a third longer than what it holds.
	maxEncrypted = 2 * content.MaxFile
	// maxIdentities bounds the work for a file with many recipients.
	maxIdentities = 16
	// maxWorkFactor bounds the work for a passphrase file: 2^20 is about 4 s and
	// 1 GiB; age writes 2^18.
	maxWorkFactor = 20
)

// Opener opens PATH, a file that holds one secret, and PATH#KEY, a line of an
// environment file, both encrypted.
//
// Identity is read whenever the file has to be decrypted. It returns the output
// of age-keygen: lines AGE-SECRET-KEY-1… or AGE-SECRET-KEY-PQ-1…, one of which
// must match, at most 16. Text without such a line is the passphrase of a file
// made by age --passphrase. Decryption that failed is retried after 1 s, which
// doubles to 30 s, or when the file is changed; a change of the identity alone
// is noticed then. Clock is for tests; nil means the machine's.
//
// Files have at most 2 MiB, and 1 MiB decrypted; files that other users can
// write are refused, as by credential.Files.
func Opener(identity client.SecretFunc, clk counterfoil.Clock) credential.Opener {
	return OpenerIn(credential.Files{Clock: clk}, identity)
}

// OpenerIn is Opener for files with the options of f.
func OpenerIn(f credential.Files, identity client.SecretFunc) credential.Opener {
	clk := f.Clock
	if clk == nil {
		clk = clock.System
	}
	return func(reference string) (client.SecretFunc, error) {
		if identity == nil {
			return nil, errors.New("agefile.Opener was given no identity: open one with credential.Open")
		}
		place, err := content.ParsePlace(reference)
		if err != nil {
			return nil, err
		}
		if !filepath.IsAbs(place.Path) {
			place.Path = filepath.Join(f.Dir, place.Path)
		}
		file := watch.New(place.Path, maxEncrypted, f.Loose, clk, func(ctx context.Context, b []byte) (counterfoil.Secret, error) {
			text, err := decrypt(ctx, b, identity)
			defer clear(text)
			if err != nil {
				return "", err
			}
			return place.Secret(text)
		})
		return func(ctx context.Context) (counterfoil.Secret, error) {
			value, err := file.Get(ctx)
			if err != nil {
				return "", fmt.Errorf("secret age:%s: %w", reference, err)
			}
			return value, nil
		}, nil
	}
}

// decrypt returns errors in its own words: age's may quote the file.
func decrypt(ctx context.Context, b []byte, identity client.SecretFunc) ([]byte, error) {
	text, err := identity(ctx)
	if err != nil {
		return nil, fmt.Errorf("its identity cannot be read: %w", err)
	}
	identities, passphrase, err := parseIdentities(text)
	if err != nil {
		return nil, err
	}
	var in io.Reader = bytes.NewReader(b)
	if bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	out, err := age.Decrypt(in, identities...)
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		if passphrase {
			return nil, errors.New("it is not encrypted with this passphrase: give the right one, or the identity of a recipient")
		}
		return nil, errors.New(
			"it is not encrypted for any of the identities: encrypt it for the recipient of one, or give the identity of its recipient",
		)
	}
	if err != nil {
		return nil, errDamaged
	}
	plain, err := io.ReadAll(io.LimitReader(out, content.MaxFile+1))
	switch {
	case err != nil:
		clear(plain)
		return nil, errDamaged
	case len(plain) > content.MaxFile:
		clear(plain)
		return nil, fmt.Errorf("what it holds is longer than %d bytes", content.MaxFile)
	}
	return plain, nil
}

var errDamaged = errors.New("it is not a complete age file, or requires too much work: encrypt it again with age")

// parseIdentities reads identities, or makes one from a passphrase.
func parseIdentities(text counterfoil.Secret) (identities []age.Identity, passphrase bool, err error) {
	keys := 0
	for line := range strings.Lines(text.Reveal()) {
		if strings.HasPrefix(line, "AGE-PLUGIN-") {
			return nil, false, errors.New("its identity is a plugin's, which runs a program: give a key of age-keygen")
		}
		if strings.HasPrefix(line, "AGE-SECRET-KEY-") {
			keys++
		}
	}
	switch {
	case keys > maxIdentities:
		return nil, false, fmt.Errorf("there are more than %d identities: give the one that fits", maxIdentities)
	case keys > 0:
		identities, err = age.ParseIdentities(strings.NewReader(text.Reveal()))
		if err != nil {
			return nil, false, errors.New("its identity is damaged: give what age-keygen wrote, whole")
		}
		return identities, false, nil
	}
	id, err := age.NewScryptIdentity(strings.TrimRight(text.Reveal(), "\r\n"))
	if err != nil {
		return nil, true, errors.New("its passphrase is empty")
	}
	id.SetMaxWorkFactor(maxWorkFactor)
	return []age.Identity{id}, true, nil
}
