package main

import (
	"io"
	"net/http"
)

// maxDrain bounds what is read of a refused request only to throw it away, in
// bytes.
const maxDrain = 16 << 20

// drained reads what is left of a refused HTTP/2 request before it is answered.
// A stream that is answered and reset while its body is still on the way makes
// widespread clients, Debian 12's curl among them, drop the answer; HTTP/1 has
// no such trouble, the standard library keeps those connections open for long
// enough.
func drained(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && r.ContentLength != 0 {
			w = &drainWriter{ResponseWriter: w, body: r.Body}
		}
		next.ServeHTTP(w, r)
	})
}

type drainWriter struct {
	http.ResponseWriter
	body io.Reader
}

func (w *drainWriter) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		_, _ = io.CopyN(io.Discard, w.body, maxDrain)
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *drainWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
