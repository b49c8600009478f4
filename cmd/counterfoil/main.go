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
	"runtime/debug"
	"syscall"
)

// gcPercent is how much the heap may grow before garbage is collected. A server
// at work holds a few megabytes: at the runtime's 100 it collects all the time.
const gcPercent = 400

func main() {
	noCoreFiles()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
