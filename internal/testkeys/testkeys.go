// Package testkeys makes keys and certificates for tests. It panics if that fails,
// which it does only for a template that is wrong.
package testkeys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"
)

// EC returns a new key of P-256.
func EC() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// P384 returns a new key of P-384, which nothing accepts.
func P384() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) }

// RSA returns a new key of 2048 bits.
func RSA() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) }

// Ed25519 returns a new key.
func Ed25519() crypto.Signer {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return must(key, err)
}

// Certificate returns a certificate of key, with its Leaf, as template says. It is
// signed by issuer, or by itself if that is nil. Without a serial number it has a
// random one, and without an end it is valid from an hour ago, by the system's
// clock, for a day.
func Certificate(key crypto.Signer, template x509.Certificate, issuer *tls.Certificate) *tls.Certificate {
	if template.SerialNumber == nil {
		template.SerialNumber = new(big.Int).SetBytes([]byte(rand.Text()[:16]))
	}
	if template.NotAfter.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
		template.NotAfter = template.NotBefore.Add(24 * time.Hour)
	}
	by := &tls.Certificate{Leaf: &template, PrivateKey: key}
	if issuer != nil {
		by = issuer
	}
	der := must(x509.CreateCertificate(rand.Reader, &template, by.Leaf, key.Public(), by.PrivateKey))
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: must(x509.ParseCertificate(der))}
}

// PEM returns a certificate in PEM.
func PEM(c *tls.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
