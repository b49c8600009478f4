package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"syscall"
	"testing"
)

// draining serves a handler behind drained by the HTTP version of that number,
// without any timeout of its own.
func draining(t *testing.T, version int, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(drained(h))
	srv.EnableHTTP2 = version == 2
	srv.StartTLS()
	t.Cleanup(srv.Close)

	return srv
}

// early notes how much of a body was read when its answer began.
type early struct {
	http.ResponseWriter
	body      io.ReadCloser
	n, before int
	answered  bool
}

func (e *early) Read(p []byte) (int, error) {
	n, err := e.body.Read(p)
	e.n += n
	return n, err
}

func (e *early) Close() error { return e.body.Close() }

func (e *early) WriteHeader(status int) {
	e.begin()
	e.ResponseWriter.WriteHeader(status)
}

func (e *early) Write(p []byte) (int, error) {
	e.begin()
	return e.ResponseWriter.Write(p)
}

func (e *early) begin() {
	if !e.answered {
		e.before, e.answered = e.n, true
	}
}

func (e *early) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// An answer that is ready before the body has arrived waits for the body,
// whatever its status: or clients lose it.
func TestEarlyAnswerWaitsForTheBody(t *testing.T) {
	const size = 512 << 10
	answers := map[string]http.HandlerFunc{
		"nothing written": func(http.ResponseWriter, *http.Request) {},
		"200 by writing":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") },
		"some was read": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			w.WriteHeader(http.StatusOK)
		},
		"over a limit": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(http.MaxBytesReader(w, r.Body, 1000))
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		},
	}
	for _, status := range []int{204, 307, 401} {
		answers[fmt.Sprint(status)] = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	for _, version := range []int{1, 2} {
		for name, answer := range answers {
			for _, length := range []int64{size, -1} {
				t.Run(fmt.Sprintf("HTTP/%d, %s, length %d", version, name, length), func(t *testing.T) {
					seen := make(chan int, 1)
					srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						e := &early{ResponseWriter: w, body: r.Body}
						r.Body = e
						drained(answer).ServeHTTP(e, r)
						e.begin()
						seen <- e.before
					}))
					srv.EnableHTTP2 = version == 2
					srv.StartTLS()
					defer srv.Close()
					req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader(strings.Repeat("x", size)))
					if err != nil {
						t.Fatal(err)
					}
					req.ContentLength = length
					resp, err := srv.Client().Transport.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					if n := <-seen; resp.ProtoMajor != version || n != size {
						t.Errorf("%s %s after %d of %d bytes", resp.Proto, resp.Status, n, size)
					}
				})
			}
		}
	}
}

// The connection of a drained request serves the next one.
func TestConnectionGoesOnAfterADrain(t *testing.T) {
	srv := draining(t, 1, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	var conn httptrace.GotConnInfo
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { conn = i }})
	for range 3 {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, strings.NewReader(strings.Repeat("x", 512<<10)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if !conn.Reused {
		t.Error("each request needs a connection")
	}
}

// Whoever sends a body slowly is answered all the same, and so is who never ends it,
// unless it goes on to send by HTTP/1 after it was cut off: TCP then drops what is on
// its way.
func TestSlowSenderIsAnswered(t *testing.T) {
	for _, version := range []int{1, 2} {
		for name, send := range map[string]func(w *io.PipeWriter, stop <-chan struct{}){
			"a few bytes and no more": func(w *io.PipeWriter, stop <-chan struct{}) {
				_, _ = w.Write([]byte("0123456789"))
				<-stop
			},
			"no end": func(w *io.PipeWriter, _ <-chan struct{}) {
				for block := make([]byte, 1<<16); ; {
					if _, err := w.Write(block); err != nil {
						return
					}
				}
			},
		} {
			for _, length := range []int64{1 << 40, -1} {
				t.Run(fmt.Sprintf("HTTP/%d, %s, length %d", version, name, length), func(t *testing.T) {
					srv := draining(t, version, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					body, w := io.Pipe()
					stop := make(chan struct{})
					defer func() { close(stop); body.Close() }()
					go send(w, stop)
					req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, body)
					if err != nil {
						t.Fatal(err)
					}
					req.ContentLength = length
					resp, err := srv.Client().Do(req)
					if version == 1 && name == "no end" && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					defer resp.Body.Close()
					if resp.StatusCode != http.StatusUnauthorized {
						t.Errorf("answered %s", resp.Status)
					}
				})
			}
		}
	}
}

// A client that asks first is told no, not to go on (RFC 9110 section 10.1.1).
func TestRefusalComesBeforeContinue(t *testing.T) {
	srv := draining(t, 1, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	conn, err := tls.Dial("tcp", srv.Listener.Addr().String(), srv.Client().Transport.(*http.Transport).TLSClientConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 10\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 401") {
		t.Errorf("answered %q, %v", line, err)
	}
}
