package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/files"
)

// The development certificate is valid for 825 days, the most that Apple's
// systems accept, both ends included. A start in its last month makes a new one.
const (
	developmentLifetime = 825*24*time.Hour - time.Second
	renewBefore         = 30 * 24 * time.Hour
)

// certificateNames are the names that the certificate is for.
var certificateNames = []string{"localhost", "127.0.0.1", "::1"}

// developmentTLS returns the certificate for localhost and the path of the
// authority that signed it. Both are made on first use and kept in dir:
//
//	server.pem  the certificate, that of the authority, and the private key
//	ca.pem      the certificate of the authority, for those that trust it
//
// The authority's private key is never written and is discarded once it has
// signed one certificate, so that trusting the authority trusts nothing else.
// That is why it has no name constraints, which some clients cannot read, and
// why a new certificate has a new authority.
func developmentTLS(dir string, now time.Time, log *slog.Logger) (tls.Certificate, string, error) {
	if err := files.MkdirAllFor(dir, 0o700); err != nil {
		return tls.Certificate{}, "", err
	}
	path, ca := filepath.Join(dir, "server.pem"), filepath.Join(dir, "ca.pem")
	cert, err := openDevelopmentCertificate(path, now)
	if err == nil {
		// server.pem is written first and determines the authority: the next
		// start completes one that was killed before it wrote ca.pem.
		err = publishAuthority(ca, cert.Certificate[1], log)
	}
	if err == nil {
		err = forgetAuthorityKey(dir)
	}
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("development certificate: %w", err)
	}
	cert.Certificate = cert.Certificate[:1] // clients do not need the authority from the server
	return cert, ca, nil
}

// openDevelopmentCertificate returns the certificate in path, or writes a new
// one if it is missing or no longer valid.
func openDevelopmentCertificate(path string, now time.Time) (tls.Certificate, error) {
	text, err := readBounded(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, withHint(err, "let this user read the file and nobody else write it, or delete it to have a new one made")
	}
	if cert, err := tls.X509KeyPair(text, text); err == nil && serves(cert, now) {
		return cert, nil
	}
	if text, err = newDevelopmentCertificate(now); err != nil {
		return tls.Certificate{}, err
	}
	if err := files.Write(path, text, 0o600); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(text, text)
}

// serves reports whether clients that trust the authority of the certificate
// accept it, now and for another month.
func serves(cert tls.Certificate, now time.Time) bool {
	if len(cert.Certificate) != 2 {
		return false
	}
	ca, err := x509.ParseCertificate(cert.Certificate[1])
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	for _, name := range certificateNames {
		for _, at := range []time.Time{now, now.Add(renewBefore)} {
			if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, DNSName: name}); err != nil {
				return false
			}
		}
	}
	return true
}

// newDevelopmentCertificate returns a certificate for localhost, that of an
// authority made for it, and the private key of the former, in PEM.
func newDevelopmentCertificate(now time.Time) ([]byte, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// The date distinguishes the authorities of one machine where people trust
	// them.
	ca := certificate(
		pkix.Name{CommonName: "Counterfoil development CA " + now.UTC().Format(time.DateOnly), Organization: []string{"this machine only"}},
		now,
	)
	ca.IsCA, ca.BasicConstraintsValid, ca.MaxPathLenZero = true, true, true
	ca.KeyUsage = x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	if ca, err = x509.ParseCertificate(caDER); err != nil {
		return nil, err
	}
	leaf := certificate(pkix.Name{CommonName: "localhost"}, now)
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range certificateNames {
		if ip := net.ParseIP(name); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, name)
		}
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	keyPEM, err := privatePEM(key)
	return slices.Concat(certificatePEM(leafDER), certificatePEM(caDER), keyPEM), err
}

// certificate returns the common part of both kinds. They are valid from an hour
// ago, for clients whose clock is behind.
func certificate(subject pkix.Name, now time.Time) *x509.Certificate {
	start := now.Add(-time.Hour)
	return &x509.Certificate{Subject: subject, NotBefore: start, NotAfter: start.Add(developmentLifetime)}
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func privatePEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// publishAuthority makes the file hold the authority's certificate and keeps its
// other content. Users that trust another authority from the file must be told:
// the message comes before the write, so that a start that is killed in between
// is followed by one that repeats it.
func publishAuthority(file string, der []byte, log *slog.Logger) error {
	want := certificatePEM(der)
	switch had, err := readBounded(file); {
	case err == nil && bytes.Contains(had, want):
		return nil
	case err == nil:
		log.Warn("the development authority is new: trust it again, and remove the old one", "file", file)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return files.Write(file, want, 0o644)
}

// forgetAuthorityKey removes the private key that earlier versions kept: people
// trust the authority that it belongs to.
func forgetAuthorityKey(dir string) error {
	err := os.Remove(filepath.Join(dir, "ca-key.pem"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return withHint(err, "delete the file: no version of counterfoil needs it")
	}
	return files.SyncDir(dir)
}
