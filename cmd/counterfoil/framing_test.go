package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A request with both Content-Length and Transfer-Encoding ends its connection
// (RFC 9112 section 6.1): what comes after it may be a request to one reader and a
// body to another.
func TestTwoLengthsEndTheConnection(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	next := "GET /healthz/live HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"
	for _, place := range []struct{ name, address, host, path string }{
		{"up", strings.TrimPrefix(shared.base, "https://"), strings.TrimPrefix(shared.base, "https://"), "/a55/oauth2/token"},
		{"up, an API", strings.TrimPrefix(shared.base, "https://"), strings.TrimPrefix(shared.base, "https://"), "/ahotu/graphql"},
		{"serve", "127.0.0.1:" + s.port, "auth.acme.example", "/token"},
		{"serve, the Admin API", "127.0.0.1:" + s.port, "ops.acme.example", "/admin/clients"},
		{"serve, nowhere", "127.0.0.1:" + s.port, "auth.acme.example", "/nothing"},
		{"serve, no such host", "127.0.0.1:" + s.port, "other.example", "/"},
		{"serve, health", "127.0.0.1:" + s.port, "auth.acme.example", "/healthz/live"},
	} {
		for _, row := range []struct {
			name, head, body string
			answers          int
		}{
			{"both, chunks first", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n", 1},
			{"both, length first", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", 1},
			{"both, the length of the chunks and more", "Content-Length: 105\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", 1},
			{"both, in other letters", "content-length: 5\r\ntransfer-encoding: CHUNKED\r\n", "0\r\n\r\n", 1},
			{"both, kept alive", "Connection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n", 1},
			{"both, chunks of another kind", "Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n", 1},
			{"both, chunks twice", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n", 1},
			{"two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "0\r\n\r\n", 1},
			{"one length", "Content-Length: 5\r\n", "0\r\n\r\n", 2},
		} {
			t.Run(place.name+"/"+row.name, func(t *testing.T) {
				got := exchange(t, place.address, strings.ReplaceAll("POST "+place.path+" HTTP/1.1\r\nHost: HOST\r\n"+row.head+"\r\n"+row.body+next, "HOST", place.host))
				if n := strings.Count(got, "HTTP/1.1 "); n != row.answers {
					t.Errorf("%d answers, want %d: %s", n, row.answers, got)
				}
			})
		}
		t.Run(place.name+"/both, by HTTP 1.0", func(t *testing.T) {
			got := exchange(t, place.address, strings.ReplaceAll("POST "+place.path+" HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+next, "HOST", place.host))
			if n := strings.Count(got, "HTTP/1."); n != 1 {
				t.Errorf("%d answers: %s", n, got)
			}
		})
	}
}

// exchange sends a text over TLS and returns all that comes back until the other
// end closes.
func exchange(t *testing.T, address, text string) string {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}}).DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, text); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		t.Fatalf("the connection stays open after %q", got)
	}
	return string(got) // a reset is an end, too
}
