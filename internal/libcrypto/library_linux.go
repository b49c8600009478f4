//go:build (amd64 || arm64) && !android && !faketime && !nolibcrypto

package libcrypto

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/ebitengine/purego"
)

// oldest is OpenSSL_version_num of the first version that is used, 3.0.0. Older
// versions no longer get security fixes, and other libraries with the same file
// name (LibreSSL, BoringSSL) have lower numbers.
const oldest = 0x30000000

// Library is a loaded libcrypto. It is made by Open, and safe for use by many
// goroutines.
type Library struct {
	version string
	calls   calls
	// slots has room for as many signatures as there are processors. More
	// concurrent ones would only make each of them slower.
	slots chan struct{}
	// held counts the C objects that belong to signers, for the tests.
	held atomic.Int64
}

// calls are the functions of libcrypto that are used, with the types that C
// gives them. A pointer into C is a uintptr here: the collector must not follow it.
type calls struct {
	versionNum  func() uint64                                                   // OpenSSL_version_num
	versionText func(kind int32) string                                         // OpenSSL_version
	clearErrors func()                                                          // ERR_clear_error
	takeError   func() uint64                                                   // ERR_get_error
	errorText   func(code uint64, text *byte, size uint64)                      // ERR_error_string_n
	sha256      func() uintptr                                                  // EVP_sha256
	parseKey    func(kind int32, key uintptr, der *uintptr, size int64) uintptr // d2i_PrivateKey
	freeKey     func(key uintptr)                                               // EVP_PKEY_free
	newContext  func(key, engine uintptr) uintptr                               // EVP_PKEY_CTX_new
	freeContext func(context uintptr)                                           // EVP_PKEY_CTX_free
	signInit    func(context uintptr) int32                                     // EVP_PKEY_sign_init
	setPadding  func(context uintptr, padding int32) int32                      // EVP_PKEY_CTX_set_rsa_padding
	setDigest   func(context, digest uintptr) int32                             // EVP_PKEY_CTX_set_signature_md
	setSalt     func(context uintptr, length int32) int32                       // EVP_PKEY_CTX_set_rsa_pss_saltlen

	// sign is the address of EVP_PKEY_sign, for signCall.
	sign uintptr
}

// open loads the first library that can be used. If there is no such library, the
// error is about the first that exists.
func open(names []string) (*Library, error) {
	var unusable error
	for _, name := range names {
		handle, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			continue // missing, or not a library for this machine: the loader does not say which
		}
		l, err := bind(handle)
		if err == nil {
			return l, nil
		}
		_ = purego.Dlclose(handle)
		if unusable == nil {
			unusable = fmt.Errorf("%s cannot be used: %w", name, err)
		}
	}
	if unusable != nil {
		return nil, unusable
	}
	return nil, fmt.Errorf("%s is not there: install OpenSSL 3 (Debian: libssl3)", names[0])
}

// bind finds the functions. It checks the version first: an older library lacks
// some of them, and an error about its version is more useful.
func bind(handle uintptr) (*Library, error) {
	l := &Library{slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	c := &l.calls
	version := []function{{"OpenSSL_version_num", &c.versionNum}, {"OpenSSL_version", &c.versionText}}
	if err := find(handle, version); err != nil {
		return nil, err
	}
	l.version = c.versionText(0)
	if c.versionNum() < oldest {
		return nil, fmt.Errorf("it is %s: version 3.0 or newer is needed", l.version)
	}
	rest := []function{
		{"ERR_clear_error", &c.clearErrors},
		{"ERR_get_error", &c.takeError},
		{"ERR_error_string_n", &c.errorText},
		{"EVP_sha256", &c.sha256},
		{"d2i_PrivateKey", &c.parseKey},
		{"EVP_PKEY_free", &c.freeKey},
		{"EVP_PKEY_CTX_new", &c.newContext},
		{"EVP_PKEY_CTX_free", &c.freeContext},
		{"EVP_PKEY_sign_init", &c.signInit},
		{"EVP_PKEY_CTX_set_rsa_padding", &c.setPadding},
		{"EVP_PKEY_CTX_set_signature_md", &c.setDigest},
		{"EVP_PKEY_CTX_set_rsa_pss_saltlen", &c.setSalt},
		{"EVP_PKEY_sign", &c.sign},
	}
	if err := find(handle, rest); err != nil {
		return nil, err
	}
	return l, nil
}

// function is a symbol and its target: a pointer to a func, or to a uintptr for the
// address.
type function struct {
	symbol string
	target any
}

func find(handle uintptr, functions []function) error {
	for _, f := range functions {
		address, err := purego.Dlsym(handle, f.symbol)
		if err != nil {
			return fmt.Errorf("it has no function %s", f.symbol)
		}
		if raw, ok := f.target.(*uintptr); ok {
			*raw = address
		} else {
			purego.RegisterFunc(f.target, address)
		}
	}
	return nil
}

// Version returns the version text of the library, such as "OpenSSL 3.0.17 1 Jul
// 2025".
func (l *Library) Version() string { return l.version }

// explained runs f, which reports whether it succeeded. If it did not, the error
// has the content of the library's error queue. Each thread of the system has its
// own queue, so f runs on one thread, and the queue is emptied before and after.
func (l *Library) explained(f func() bool) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l.calls.clearErrors()
	if f() {
		return nil
	}
	var reasons []string
	for code := l.calls.takeError(); code != 0 && len(reasons) < 16; code = l.calls.takeError() {
		text := make([]byte, 256)
		l.calls.errorText(code, &text[0], uint64(len(text)))
		text, _, _ = bytes.Cut(text, []byte{0})
		reasons = append(reasons, string(text))
	}
	l.calls.clearErrors()
	if len(reasons) == 0 {
		return errors.New("libcrypto gave no reason")
	}
	return errors.New("libcrypto: " + strings.Join(reasons, "; "))
}
