//go:build !linux || !(amd64 || arm64) || android || faketime || nolibcrypto

package libcrypto

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"runtime"
)

// Library is a loaded libcrypto, which this build never has.
type Library struct{}

// errBuild is why Open fails in this build.
var errBuild = errors.New("libcrypto is loaded on Linux on amd64 and arm64 only, in builds without the tag nolibcrypto: " +
	"this build is for " + runtime.GOOS + " on " + runtime.GOARCH)

func open([]string) (*Library, error) { return nil, errBuild }

// Version is empty in this build.
func (*Library) Version() string { return "" }

// Signer is an error in this build.
func (*Library) Signer(*rsa.PrivateKey) (crypto.Signer, error) { return nil, errBuild }
