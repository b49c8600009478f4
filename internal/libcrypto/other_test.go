//go:build !linux || !(amd64 || arm64) || nolibcrypto

package libcrypto_test

import (
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/libcrypto"
)

// TestNoLibrary is for the builds that load nothing.
func TestNoLibrary(t *testing.T) {
	l, err := libcrypto.Open()
	if l != nil || err == nil || !strings.Contains(err.Error(), "without the tag nolibcrypto") {
		t.Errorf("Open returned %v, %v", l, err)
	}
	var none libcrypto.Library
	if s, err := none.Signer(&rsa.PrivateKey{}); s != nil || err == nil {
		t.Errorf("Signer returned %v, %v", s, err)
	}
}
