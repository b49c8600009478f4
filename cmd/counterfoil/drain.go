package main

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// What is read of a body only to throw it away: no more bytes than any body here
// may have, but for an import, and for no longer than this. It is as much as
// whoever sends a body slowly, or without an end, can have of it.
const (
	maxDrain  = 16 << 20
	drainTime = time.Second
)

// drained reads what a handler has left of a body before the answer leaves,
// whatever its status. A client that is answered while it sends may never see
// the answer: an HTTP/2 stream is reset then, which makes widespread clients,
// Debian 12's curl among them, drop it; and an HTTP/1.1 connection is closed
// when much is left, which resets it.
func drained(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		body := &watchedBody{ReadCloser: r.Body}
		d := &drainWriter{ResponseWriter: w, body: body}
		// Who waits to be told to send the body (RFC 9110 section 10.1.1) is told
		// by reading it: a refusal must come instead.
		d.awaits = r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Expect"), "100-continue")
		r2 := *r
		r2.Body = body
		next.ServeHTTP(d, &r2)
		d.drain() // an answer that nothing was written of is one, too
	})
}

// watchedBody notes whether reading it has begun, and reached its end.
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
		return // without an end to it, it is not begun
	}
	_, _ = io.CopyN(io.Discard, w.body, maxDrain)
	if w.body.ended {
		// The connection goes on, and watches for the client to leave.
		_ = control.SetReadDeadline(time.Time{})
		return
	}
	_ = control.SetReadDeadline(time.Now()) // net/http reads no more of it either
}

// Unwrap is for http.ResponseController.
func (w *drainWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
