package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// Bounds of what is read of a body only to discard it: no more bytes than any
// body here may have, except an import, and no longer than this. This limits
// what a slow or endless sender can occupy.
const (
	maxDrain  = 16 << 20
	drainTime = time.Second
)

// drained reads the rest of a body that a handler has left before the response
// is sent, whatever its status. A client that is answered while it sends may
// never see the response: an HTTP/2 stream is reset then, which makes widespread
// clients, such as Debian 12's curl, drop it; and an HTTP/1.1 connection is
// closed if much is left, which resets it.
func drained(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		body := &watchedBody{ReadCloser: r.Body}
		d := &drainWriter{ResponseWriter: w, body: body}
		// Reading the body would tell a client that waits for 100 Continue (RFC
		// 9110 section 10.1.1) to send it: a refusal must come instead.
		d.awaits = r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Expect"), "100-continue")
		r2 := *r
		r2.Body = body
		next.ServeHTTP(d, &r2)
		d.drain() // also for a response that nothing was written of
	})
}

// watchedBody records whether reading it has begun, and reached its end.
type watchedBody struct {
	io.ReadCloser
	begun, ended bool
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.begun = true
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || errors.Is(err, io.EOF)
	return n, err
}

type drainWriter struct {
	http.ResponseWriter
	body   *watchedBody
	awaits bool
	done   bool
}

func (w *drainWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.drain()
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *drainWriter) Write(b []byte) (int, error) {
	w.drain()
	return w.ResponseWriter.Write(b)
}

// drain reads what is left, once.
func (w *drainWriter) drain() {
	skip := w.done || w.body.ended || w.awaits && !w.body.begun
	if w.done = true; skip {
		return
	}
	control := http.NewResponseController(w.ResponseWriter)
	if control.SetReadDeadline(time.Now().Add(drainTime)) != nil {
		return // a body without an end is not read at all
	}
	_, _ = io.CopyN(io.Discard, w.body, maxDrain)
	if w.body.ended {
		// The connection continues, and watches for the client to disconnect.
		_ = control.SetReadDeadline(time.Time{})
		return
	}
	_ = control.SetReadDeadline(time.Now()) // net/http reads no more of it either
}

// Unwrap is for http.ResponseController.
func (w *drainWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
