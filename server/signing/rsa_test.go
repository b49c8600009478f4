package signing_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"testing"

	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/server/signing"
)

// A TLS server can use the backend's key with each version of TLS and each hash,
// and clients verify its signatures.
func TestTLSKey(t *testing.T) {
	for _, choice := range []string{signing.SignerAuto, signing.SignerGo} {
		backend, err := signing.NewRSABackend(choice)
		if err != nil {
			t.Fatal(err)
		}
		private := testkeys.RSA().(*rsa.PrivateKey)
		key := backend.TLSKey(private)
		signer, ok := key.(crypto.Signer)
		if !ok || !private.PublicKey.Equal(signer.Public()) {
			t.Fatalf("%s: %T does not sign for the key", choice, key)
		}
		sum256, sum384 := sha256.Sum256([]byte("handshake")), sha512.Sum384([]byte("handshake"))
		for hash, digest := range map[crypto.Hash][]byte{crypto.SHA256: sum256[:], crypto.SHA384: sum384[:]} {
			options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
			signature, err := signer.Sign(rand.Reader, digest, options)
			if err == nil {
				err = rsa.VerifyPSS(&private.PublicKey, hash, digest, signature, options)
			}
			if err != nil {
				t.Errorf("%s: PSS with %v: %v", choice, hash, err)
			}
			if signature, err = signer.Sign(rand.Reader, digest, hash); err == nil {
				err = rsa.VerifyPKCS1v15(&private.PublicKey, hash, digest, signature)
			}
			if err != nil {
				t.Errorf("%s: PKCS #1 v1.5 with %v: %v", choice, hash, err)
			}
		}
		cert := testkeys.Certificate(private, x509.Certificate{
			Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
		}, nil)
		leaf := cert.Leaf
		cert.PrivateKey = key
		roots := x509.NewCertPool()
		roots.AddCert(leaf)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			there, here := net.Pipe()
			done := make(chan error, 1)
			server := tls.Server(there, &tls.Config{Certificates: []tls.Certificate{*cert}})
			go func() { done <- server.Handshake() }()
			client := tls.Client(here, &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: version, MaxVersion: version})
			if err := client.Handshake(); err != nil {
				t.Errorf("%s: %s: %v", choice, tls.VersionName(version), err)
			}
			if err := <-done; err != nil {
				t.Errorf("%s: %s at the server: %v", choice, tls.VersionName(version), err)
			}
			here.Close()
			there.Close()
		}
	}
}
