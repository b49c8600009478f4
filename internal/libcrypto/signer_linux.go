//go:build (amd64 || arm64) && !android && !faketime && !nolibcrypto

package libcrypto

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"unsafe"
)

// EVP_PKEY_RSA, RSA_PKCS1_PADDING and RSA_PKCS1_PSS_PADDING of openssl/evp.h and
// openssl/rsa.h.
const (
	kindRSA         = 6
	paddingPKCS1v15 = 1
	paddingPSS      = 6
)

// mode is a way to pad a digest.
type mode int

const (
	pkcs1v15 mode = iota
	pss
	modes
)

// Signer returns a signer for key that works in the library. It signs SHA-256
// digests in two ways (RFC 7518 sections 3.3 and 3.5) and refuses all other
// options: RS256 with crypto.SHA256, PS256 with *rsa.PSSOptions of SHA256 and a
// salt as long as the hash. Its random numbers are the library's own.
//
// The signer is safe for concurrent use; as many calls sign at once as there are
// processors, the others wait. It keeps its own copy of the key. It is an error if
// crypto/rsa finds the key invalid, or cannot verify a signature of the library.
func (l *Library) Signer(key *rsa.PrivateKey) (crypto.Signer, error) {
	if key == nil {
		return nil, errors.New("there is no RSA key to sign with")
	}
	if err := key.Validate(); err != nil {
		return nil, fmt.Errorf("the RSA key is not valid: %w", err)
	}
	loaded, err := l.load(key)
	if err != nil {
		return nil, fmt.Errorf("load an RSA key into %s: %w", l.version, err)
	}
	s := &signer{key: loaded, public: rsa.PublicKey{N: key.N, E: key.E}}
	runtime.AddCleanup(s, (*loadedKey).free, loaded)
	if err := check(s); err != nil {
		return nil, fmt.Errorf("%s cannot sign with this RSA key: %w", l.version, err)
	}
	return s, nil
}

// signer is what callers hold. Its key is freed when the signer is no longer
// reachable, so it must be reachable as long as the key is used.
type signer struct {
	key    *loadedKey
	public rsa.PublicKey
}

func (s *signer) Public() crypto.PublicKey { return &s.public }

func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	m, err := modeOf(opts)
	if err != nil {
		return nil, err
	}
	if len(digest) != sha256.Size {
		return nil, fmt.Errorf("a SHA-256 digest has %d bytes, this one %d", sha256.Size, len(digest))
	}
	defer runtime.KeepAlive(s)
	return s.key.sign(m, digest)
}

// modeOf reads the options as crypto/rsa does, and refuses all that are not for one
// of the two forms of RFC 7518.
func modeOf(opts crypto.SignerOpts) (mode, error) {
	if options, ok := opts.(*rsa.PSSOptions); ok {
		if options == nil || options.Hash != crypto.SHA256 {
			return 0, errors.New("this signer makes PSS signatures of SHA-256 digests only: set PSSOptions.Hash")
		}
		if options.SaltLength != rsa.PSSSaltLengthEqualsHash && options.SaltLength != sha256.Size {
			return 0, errors.New("this signer makes PSS signatures with a salt as long as the hash only: set PSSOptions.SaltLength")
		}
		return pss, nil
	}
	if opts == nil || opts.HashFunc() != crypto.SHA256 {
		return 0, errors.New("this signer makes PKCS #1 v1.5 signatures of SHA-256 digests only")
	}
	return pkcs1v15, nil
}

// check makes one signature of each kind and has crypto/rsa verify it.
func check(s crypto.Signer) error {
	public, ok := s.Public().(*rsa.PublicKey)
	if !ok {
		return errors.New("the signer has no RSA key")
	}
	digest := sha256.Sum256([]byte("the self-check of a signer"))
	signature, err := s.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature); err != nil {
		return fmt.Errorf("crypto/rsa refuses its PKCS #1 v1.5 signature: %w", err)
	}
	options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	if signature, err = s.Sign(nil, digest[:], options); err != nil {
		return err
	}
	if err := rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, options); err != nil {
		return fmt.Errorf("crypto/rsa refuses its PSS signature: %w", err)
	}
	return nil
}

// loadedKey is a key in the library's memory.
type loadedKey struct {
	library *Library
	handle  uintptr // EVP_PKEY
	size    int     // of a signature, in bytes
	// idle has the contexts that are not in use. It has room for as many as the
	// library has slots, which is the most there can be.
	idle [modes]chan *context
}

func (l *Library) load(key *rsa.PrivateKey) (*loadedKey, error) {
	k := &loadedKey{library: l, size: key.Size()}
	for m := range k.idle {
		k.idle[m] = make(chan *context, cap(l.slots))
	}
	der := x509.MarshalPKCS1PrivateKey(key)
	defer clear(der)
	var err error
	if k.handle, err = l.parse(der); err != nil {
		return nil, err
	}
	l.held.Add(1)
	return k, nil
}

// parse makes an EVP_PKEY of a key in the form of PKCS #1.
func (l *Library) parse(der []byte) (handle uintptr, err error) {
	// The library advances the pointer past what it has read, so it gets a copy
	// of the address that the collector does not treat as a pointer.
	at := uintptr(unsafe.Pointer(&der[0]))
	err = l.explained(func() bool {
		handle = l.calls.parseKey(kindRSA, 0, &at, int64(len(der)))
		return handle != 0
	})
	runtime.KeepAlive(der)
	return handle, err
}

// free frees everything that belongs to the key. No call may be signing.
func (k *loadedKey) free() {
	for m := range k.idle {
		for {
			select {
			case c := <-k.idle[m]:
				k.drop(c)
				continue
			default:
			}
			break
		}
	}
	k.library.calls.freeKey(k.handle)
	k.library.held.Add(-1)
}

// context is an EVP_PKEY_CTX that is ready to sign in one mode, with the memory
// that the library reads and writes: on the heap, where it does not move.
type context struct {
	handle uintptr
	digest [sha256.Size]byte
	length uintptr
	call   signCall
}

func (k *loadedKey) sign(m mode, digest []byte) ([]byte, error) {
	k.library.slots <- struct{}{}
	defer func() { <-k.library.slots }()
	var c *context
	select {
	case c = <-k.idle[m]:
	default:
		var err error
		if c, err = k.context(m); err != nil {
			return nil, fmt.Errorf("prepare to sign: %w", err)
		}
	}
	copy(c.digest[:], digest)
	signature := make([]byte, k.size)
	if !k.run(c, signature) {
		// The reason may be in the queue of another thread: repeat the call on
		// one thread.
		if err := k.library.explained(func() bool { return k.run(c, signature) }); err != nil {
			k.drop(c)
			return nil, fmt.Errorf("sign: %w", err)
		}
	}
	signature = signature[:c.length]
	k.idle[m] <- c
	return signature, nil
}

// run signs the digest in c.
func (k *loadedKey) run(c *context, signature []byte) bool {
	c.length = uintptr(len(signature))
	c.call.signature = uintptr(unsafe.Pointer(&signature[0]))
	c.call.run()
	runtime.KeepAlive(signature)
	return int32(c.call.status) == 1 && c.length == uintptr(k.size)
}

// context makes a context for m.
func (k *loadedKey) context(m mode) (*context, error) {
	calls := &k.library.calls
	c := &context{}
	err := k.library.explained(func() bool {
		if c.handle = calls.newContext(k.handle, 0); c.handle == 0 {
			return false
		}
		k.library.held.Add(1)
		ok := calls.signInit(c.handle) > 0
		if m == pss {
			ok = ok && calls.setPadding(c.handle, paddingPSS) > 0 && calls.setSalt(c.handle, sha256.Size) > 0
		} else {
			ok = ok && calls.setPadding(c.handle, paddingPKCS1v15) > 0
		}
		return ok && calls.setDigest(c.handle, calls.sha256()) > 0
	})
	if err != nil {
		if c.handle != 0 {
			k.drop(c)
		}
		return nil, err
	}
	c.call = signCall{
		function: calls.sign, context: c.handle, length: uintptr(unsafe.Pointer(&c.length)),
		digest: uintptr(unsafe.Pointer(&c.digest[0])), digestSize: sha256.Size,
	}
	return c, nil
}

func (k *loadedKey) drop(c *context) {
	k.library.calls.freeContext(c.handle)
	k.library.held.Add(-1)
}
