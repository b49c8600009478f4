// Package libcrypto signs with RSA through the system's OpenSSL, which takes less
// than half of the time of crypto/rsa. Use it to sign tokens with RS256 or PS256 at
// a high rate, and crypto/rsa if Open finds no usable library: the signatures are
// equally valid.
//
// The library is loaded at run time, without cgo, when Open is called for the
// first time, and stays loaded. Its configuration (openssl.cnf) is the
// system's: if that requires the FIPS provider, the FIPS provider signs.
//
// A signer is returned only after crypto/rsa has verified a signature of it. The
// key of a signer is in the memory of the library, which overwrites it when the
// signer is no longer reachable. Blinding, the library's protection against timing
// attacks, is on. No error of this package reveals anything about a key.
//
// The library needs the system's dynamic loader, and so does a program that
// imports this package on Linux. With the build tag nolibcrypto, and on systems
// other than Linux on amd64 and arm64, Open always fails, and a program without
// cgo is static.
package libcrypto

import "sync"

// names are the files that the system's loader looks for, best first. The second
// is that of the development package, of any version; the third is there to report
// that it is too old.
var names = []string{"libcrypto.so.3", "libcrypto.so", "libcrypto.so.1.1"}

var opened = sync.OnceValues(func() (*Library, error) { return open(names) })

// Open loads the system's libcrypto once in a process: later calls return the
// result of the first. The error says why the library cannot be used: it is not
// installed, it is older than 3.0, or this build cannot load it.
func Open() (*Library, error) { return opened() }
