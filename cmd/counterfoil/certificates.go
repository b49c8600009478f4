package main

import (
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
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/files"
)

// How long the development certificates last. A server certificate is made
// anew at a start in its last month.
const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	serverLifetime    = 365 * 24 * time.Hour
	renewBefore       = 30 * 24 * time.Hour
)

// authority is the development certificate authority of one directory. It may
// sign for this machine's own names only, so that whoever trusts it, trusts it
// for nothing else.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // the certificate, in PEM
}

// developmentTLS returns the certificate for localhost and the path of the
// authority that signed it. Both are made on first use and kept in dir.
func developmentTLS(dir string, now time.Time) (tls.Certificate, string, error) {
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return tls.Certificate{}, "", err
	}
	ca, err := openAuthority(dir, now)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("development certificate authority: %w", err)
	}
	path := filepath.Join(dir, "server.pem")
	cert, err := tls.LoadX509KeyPair(path, path)
	if err == nil && now.Before(cert.Leaf.NotAfter.Add(-renewBefore)) && cert.Leaf.CheckSignatureFrom(ca.cert) == nil {
		return cert, ca.file, nil
	}
	if err := ca.sign(path, now); err != nil {
		return tls.Certificate{}, "", fmt.Errorf("development certificate: %w", err)
	}
	cert, err = tls.LoadX509KeyPair(path, path)
	return cert, ca.file, err
}

func openAuthority(dir string, now time.Time) (*authority, error) {
	ca := &authority{file: filepath.Join(dir, "ca.pem")}
	keyFile := filepath.Join(dir, "ca-key.pem")
	pair, err := tls.LoadX509KeyPair(ca.file, keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return ca, ca.create(keyFile, now)
	case err != nil:
		return nil, fmt.Errorf("%w (delete %s and %s to have new ones made)", err, ca.file, keyFile)
	case now.After(pair.Leaf.NotAfter.Add(-serverLifetime)):
		return ca, ca.create(keyFile, now)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s is not an authority that counterfoil made (delete it and %s to have new ones made)", ca.file, keyFile)
	}
	ca.cert, ca.key = pair.Leaf, key
	return ca, nil
}

// create makes the authority: the key first, so that a crash in between leaves
// no certificate without one.
func (ca *authority) create(keyFile string, now time.Time) (err error) {
	if ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	subject := pkix.Name{CommonName: "Counterfoil development CA", Organization: []string{"this machine only"}}
	template := certificate(subject, now, authorityLifetime)
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign
	template.PermittedDNSDomainsCritical = true
	template.PermittedDNSDomains = []string{"localhost"}
	template.PermittedIPRanges = []*net.IPNet{
		{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)},
		{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key)
	if err != nil {
		return err
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	keyPEM, err := privatePEM(ca.key)
	if err != nil {
		return err
	}
	if err := files.Write(keyFile, keyPEM, 0o600); err != nil {
		return err
	}
	return files.Write(ca.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

// sign makes a server certificate and writes it, with its key, to path.
func (ca *authority) sign(path string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := certificate(pkix.Name{CommonName: "localhost"}, now, serverLifetime)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.DNSNames = []string{"localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		return err
	}
	keyPEM, err := privatePEM(key)
	if err != nil {
		return err
	}
	return files.Write(path, slices.Concat(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM), 0o600)
}

// certificate returns what both kinds have in common. They start an hour early,
// for clients whose clock is behind.
func certificate(subject pkix.Name, now time.Time, lifetime time.Duration) *x509.Certificate {
	return &x509.Certificate{Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime)}
}

func privatePEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
