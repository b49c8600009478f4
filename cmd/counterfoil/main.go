// Command counterfoil is machine-to-machine authentication for APIs, at both
// ends of the wire: 'up' serves four providers with their protected APIs,
// 'token', 'call' and 'doctor' are a client of any provider, 'provider' reads
// provider descriptions, 'client' and 'data' manage a server's data.
//
// This is the only package that imports packages client, guard and server
// together; no package imports it.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// ballast is memory that counts as in use and is never touched. A busy server
// holds a few megabytes: without ballast, the garbage collector would run all
// the time. With it, the garbage between two collections is 32 MiB plus the
// memory in use. debug.SetGCPercent cannot do that: it multiplies, and a percentage
// that helps a small heap makes a large one several times as large.
var ballast = make([]byte, 32<<20)

func main() {
	noCoreFiles()
	defer runtime.KeepAlive(ballast)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
