// Package libcrypto signs with RSA through the system's OpenSSL, which takes
// less than half of the time that crypto/rsa takes. Use it where tokens are
// signed with RS256 or PS256 at a rate that matters, and crypto/rsa where Open
// says that there is no library to use: the signatures are the same.
//
// The library is loaded at run time, without cgo, when Open is called for the
// first time, and stays loaded. Its configuration (openssl.cnf) is the
// system's: where that demands the FIPS provider, it signs.
//
// A signer is handed out only after crypto/rsa has verified what it signs. A
// key that a signer holds is in the memory of the library, which overwrites it
// when the signer is no longer reachable. Blinding, the library's guard against
// timing, is on. No error of this package tells anything of a key.
//
// The library needs the system's dynamic loader, and so does a program that
// imports this package on Linux. Built with the tag nolibcrypto, and on systems
// other than Linux on amd64 and arm64, the package is there, Open says why it
// has nothing to offer, and a program without cgo is static.
package libcrypto

import "sync"

// names are the files that the system's loader is asked for, best first. The
// second is what the development package leaves, of any version; the third is
// looked for to say what is wrong with it.
var names = []string{"libcrypto.so.3", "libcrypto.so", "libcrypto.so.1.1"}

var opened = sync.OnceValues(func() (*Library, error) { return open(names) })

// Open loads the system's libcrypto, once in the life of a process: later calls
// return what the first one did. The error says in words why there is none to
// use: it is not there, it is older than 3.0, or this build cannot load it.
func Open() (*Library, error) { return opened() }
