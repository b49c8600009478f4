package server

import (
	"crypto"
	"crypto/rsa"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/libcrypto"
)

// rsaSigner makes signers of RSA keys. Those of other kinds sign by themselves.
type rsaSigner struct {
	library *libcrypto.Library // nil for crypto/rsa
	words   string
}

// SigningBy says what Server.Signing of a server with that Config.Signer would
// say on this machine.
func SigningBy(signer string) (string, error) {
	s, err := newRSASigner(signer)
	return s.words, err
}

// newRSASigner chooses as Config.Signer says.
func newRSASigner(choice string) (rsaSigner, error) {
	const what = "RS256 and PS256 signatures by "
	switch choice {
	case "go":
		return rsaSigner{words: what + "crypto/rsa, as configured"}, nil
	case "", "auto":
		library, err := libcrypto.Open()
		if err != nil {
			return rsaSigner{words: what + "crypto/rsa: " + err.Error()}, nil
		}
		return rsaSigner{library: library, words: what + library.Version()}, nil
	}
	return rsaSigner{}, fmt.Errorf("the signer %q is none: choose auto or go", choice)
}

// of returns what signs with key. With an error it is key itself, which signs
// as well.
func (s *rsaSigner) of(key crypto.Signer) (crypto.Signer, error) {
	private, ok := key.(*rsa.PrivateKey)
	if !ok || s.library == nil {
		return key, nil
	}
	signer, err := s.library.Signer(private)
	if err != nil {
		return key, fmt.Errorf("%s signs no longer, crypto/rsa does: %w", s.library.Version(), err)
	}
	return signer, nil
}
