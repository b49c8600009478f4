// Command counterfoil is machine-to-machine authentication for APIs, both ends
// of the wire: 'up' serves four providers with their protected APIs, 'token',
// 'call' and 'doctor' are a client of any provider, 'provider' reads provider
// descriptions, 'client' and 'data' manage what a server knows.
//
// This is the only package that joins the wings; nobody imports it.
package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// ballast is memory that is counted as in use and never touched. A server at
// work holds a few megabytes: without it, these would be searched for garbage
// all the time. With it the garbage between two searches is 32 MiB and what is
// in use, however little or much that is.
var ballast = make([]byte, 32<<20)

func main() {
	noCoreFiles()
	defer runtime.KeepAlive(ballast)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
