//go:build (amd64 || arm64) && !android && !faketime && !nolibcrypto

package libcrypto

import (
	"runtime"
	"unsafe"
)

// signCall is a call of EVP_PKEY_sign as entry, in assembly, reads it: the
// address of the function, its arguments, and room for what it returns.
type signCall struct {
	function, context, signature, length, digest, digestSize uintptr
	status                                                   uintptr
}

// entry is the address of code that C may call with a *signCall.
var entry uintptr

// asmcgocall runs C code on the stack of the system's thread without informing the
// scheduler. The usual way (runtime.cgocall, which purego.SyscallN uses) gives up
// the processor during the call. That is right for a call that waits. A call that
// computes needs a processor: if it is given up, another thread gets it and
// competes for the same core. Under load, the kernel then switched two to four
// times a signature, and the rate fell to between a fifth and a third.
//
// The cost is that a stop of the world waits for the signatures under way, a few
// hundred microseconds with 2,048 bits. If a later Go refuses to link this name,
// purego.SyscallN is the slower way to make the same call.
//
//go:noescape
//go:linkname asmcgocall runtime.asmcgocall
func asmcgocall(fn, arg unsafe.Pointer) int32

// run makes the call. Everything that it points to is on the heap or kept alive by
// the caller; nothing moves or is collected while C runs, because the goroutine
// cannot be preempted there.
func (c *signCall) run() {
	asmcgocall(*(*unsafe.Pointer)(unsafe.Pointer(&entry)), unsafe.Pointer(c))
	runtime.KeepAlive(c)
}
