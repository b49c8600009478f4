//go:build unix

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// freshConnections compares tokens over kept TLS connections with those that each
// have a connection of their own: of the floor, of the binary with its whole
// configuration, and of oidc-provider.
func freshConnections(data string) error {
	binary := filepath.Join(data, "counterfoil")
	if out, err := exec.Command("go", "build", "-o", binary, "./cmd/counterfoil").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	signer := signersOf("RS256")[0]
	for _, kind := range []string{"P-256", "RSA-2048"} {
		file, err := newCertificate(data, kind)
		if err != nil {
			return err
		}
		for _, how := range []connecting{kept, fresh, resumed} {
			fmt.Printf("RS256 tokens over TLS 1.3, certificate %s, %s\n", kind, how)
			floor := floorSide(plan{Algorithm: "RS256", Signer: signer, TLS: file})
			server, err := binarySide(data, binary, file)
			if err != nil {
				return err
			}
			if *profile != "" { // the binary writes none
				server = serverSide(data, plan{Algorithm: "RS256", Signer: signer, Clients: *few, TLS: file})
			}
			sides := []*side{floor, server, oidcSide("RS256", 2, file)}
			for _, s := range sides {
				s.connecting = how
			}
			if err := compare("TLS", sides); err != nil {
				return err
			}
		}
	}
	return nil
}

// newCertificate makes a certificate for localhost and writes it with its key.
func newCertificate(data, kind string) (string, error) {
	var key crypto.Signer
	var err error
	if kind == "P-256" {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return "", err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return "", err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	text := append(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...,
	)
	file, err := filepath.Abs(filepath.Join(data, kind+".pem"))
	if err != nil {
		return "", err
	}
	return file, os.WriteFile(file, text, 0o600)
}

// overTLS is the listener with the certificate of the plan.
func overTLS(l net.Listener, p plan) (net.Listener, error) {
	cert, err := tls.LoadX509KeyPair(p.TLS, p.TLS)
	if err != nil {
		return nil, err
	}
	if key, ok := cert.PrivateKey.(*rsa.PrivateKey); ok && p.Signer == "libcrypto" {
		if cert.PrivateKey, err = byLibcrypto(key); err != nil {
			return nil, err
		}
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}), nil
}

// binarySide is 'counterfoil serve' with RS256, on the few clients.
func binarySide(data, binary, certificate string) (*side, error) {
	dir, err := os.MkdirTemp(data, "serve-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"master.key":    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"provider.yaml": "extends: oauth2\nname: bench\naccess_token: {signing_algorithm: RS256}\n",
		"serve.yaml": fmt.Sprintf(`listen: %s
tls: {certificate: %[2]s, key: %[2]s}
database: counterfoil.db
master_key: file:master.key
log: {level: error}
limits: {token_requests: {client: 1000000, tenant: 1000000, realm: 1000000, address: 1000000}}
realms: [{name: bench, provider: provider.yaml, hosts: [localhost], base_url: 'https://localhost:%s'}]
`, address, certificate, port),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if err := populateFile(filepath.Join(dir, "counterfoil.db"), *few); err != nil {
		return nil, err
	}
	return &side{
		name: "counterfoil serve", clients: *few, host: "localhost:" + port,
		command: []string{binary, "serve", "--config", filepath.Join(dir, "serve.yaml")},
		url:     &url.URL{Scheme: "https", Host: address, Path: "/token"},
	}, nil
}
