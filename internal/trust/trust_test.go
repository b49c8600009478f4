package trust_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/internal/trust"
)

// The authorities of a file are trusted beside the system's, never alone.
func TestFile(t *testing.T) {
	own := testkeys.Certificate(testkeys.EC(), x509.Certificate{IsCA: true, BasicConstraintsValid: true}, nil)
	file, empty := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "none.pem")
	for name, text := range map[string][]byte{file: testkeys.PEM(own), empty: []byte("none")} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := x509.SystemCertPool()
	if err != nil {
		want = x509.NewCertPool()
	}
	want.AddCert(own.Leaf)
	if got, err := trust.File(file); err != nil || !got.Equal(want) {
		t.Errorf("got another pool, or %v", err)
	}
	for _, name := range []string{empty, file + ".missing"} {
		if got, err := trust.File(name); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
