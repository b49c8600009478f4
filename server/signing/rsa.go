package signing

import (
	"crypto"
	"crypto/rsa"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/libcrypto"
)

// The choices of NewRSABackend. The signatures are the same; OpenSSL takes less
// than half the time.
const (
	SignerAuto = "auto" // the system's OpenSSL where it can be used
	SignerGo   = "go"   // crypto/rsa
)

// RSABackend makes signers for RSA keys. Keys of other kinds sign by
// themselves.
type RSABackend struct {
	library *libcrypto.Library // nil for crypto/rsa
	words   string
}

// String describes the implementation that signs.
func (s *RSABackend) String() string { return s.words }

// NewRSABackend returns the backend of SignerAuto, the default, or SignerGo.
func NewRSABackend(choice string) (*RSABackend, error) {
	const what = "RS256 and PS256 signatures by "
	switch choice {
	case SignerGo:
		return &RSABackend{words: what + "crypto/rsa, as configured"}, nil
	case "", SignerAuto:
		library, err := libcrypto.Open()
		if err != nil {
			return &RSABackend{words: what + "crypto/rsa: " + err.Error()}, nil
		}
		return &RSABackend{library: library, words: what + library.Version()}, nil
	}
	return nil, fmt.Errorf("unknown signer %q: choose auto or go", choice)
}

// of returns a signer for key. On an error it returns key itself, which can
// sign too.
func (s *RSABackend) of(key crypto.Signer) (crypto.Signer, error) {
	private, ok := key.(*rsa.PrivateKey)
	if !ok || s.library == nil {
		return key, nil
	}
	signer, err := s.library.Signer(private)
	if err != nil {
		return key, fmt.Errorf("%s can no longer sign, crypto/rsa is used instead: %w", s.library.Version(), err)
	}
	return signer, nil
}
