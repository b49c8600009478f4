// Package trust reads the authorities that a TLS client trusts in addition to the
// system's. It is internal and makes no compatibility promise.
package trust

import (
	"crypto/x509"
	"fmt"

	"github.com/counterfoil/counterfoil/internal/files"
)

// maxFile bounds a file of certificates, in bytes.
const maxFile = 1 << 20

// File returns the system's authorities and those of a file in PEM.
func File(path string) (*x509.CertPool, error) {
	pem, err := files.Read(path, maxFile)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return pool, nil
}
