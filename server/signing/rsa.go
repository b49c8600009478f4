package signing

import (
	"crypto"
	"crypto/rsa"
	"fmt"
	"io"

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

// TLSKey returns the private key of a certificate, for a TLS server, so that the
// backend makes the signatures of handshakes: those with SHA-256, which nearly all
// clients accept first. The key itself makes all others.
func (s *RSABackend) TLSKey(key crypto.PrivateKey) crypto.PrivateKey {
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return key
	}
	if signer, err := s.of(private); err == nil && signer != crypto.Signer(private) {
		return &tlsKey{private, signer}
	}
	return key
}

type tlsKey struct {
	*rsa.PrivateKey
	sha256 crypto.Signer
}

func (k *tlsKey) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if opts.HashFunc() == crypto.SHA256 {
		return k.sha256.Sign(random, digest, opts)
	}
	return k.PrivateKey.Sign(random, digest, opts)
}
