package outbound_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/server/internal/outbound"
)

// TestPost: an answer is returned whatever it is, and errors do not show the path.
func TestPost(t *testing.T) {
	var got string
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Method + " " + r.RequestURI + " " + r.Header.Get("A") + " " + string(body)
		answer(307, "OTHER", "Location", "/OTHER", "Retry-After", "7")(w, r)
	})
	f := s.fetcher(t, nil)
	status, header, err := f.Post(t.Context(), s.URL+"/pw?a=b", http.Header{"A": {"b"}}, []byte("body"))
	if err != nil || status != 307 || header.Get("Retry-After") != "7" || got != "POST /pw?a=b b body" {
		t.Errorf("%q: %d, %v, error %v", got, status, header, err)
	}
	s.Close()
	for _, url := range []string{s.URL + "/pw", "https://other.example/pw"} {
		if _, _, err := f.Post(t.Context(), url, http.Header{}, nil); err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestPlainLoopback: without TLS this machine is reached, if that is allowed, and
// never another.
func TestPlainLoopback(t *testing.T) {
	s := httptest.NewServer(answer(204, ""))
	defer s.Close()
	host := s.Listener.Addr().String()
	for _, allowed := range []bool{true, false} {
		f := build(t, outbound.Config{AllowedHosts: []string{host, "192.0.2.1:80"}, AllowPrivate: true, PlainLoopback: allowed})
		if status, _, err := f.Post(t.Context(), s.URL, http.Header{}, nil); (err == nil && status == 204) != allowed {
			t.Errorf("allowed %v: %d, error %v", allowed, status, err)
		}
		if _, _, err := f.Post(t.Context(), "http://192.0.2.1", http.Header{}, nil); err == nil {
			t.Error("another machine")
		}
	}
	if err := build(t, outbound.Config{}).DialPlain(t.Context(), "192.0.2.1:80"); !errors.Is(err, outbound.ErrNotLoopback) {
		t.Error(err)
	}
	for address, want := range map[string]error{
		"127.0.0.1:80": nil, "127.9.9.9:80": nil, "[::1]:80": nil, "[::ffff:127.0.0.1]:80": nil,
		"192.0.2.1:80": outbound.ErrNotLoopback, "0.0.0.0:80": outbound.ErrNotLoopback, "[::]:80": outbound.ErrNotLoopback,
		"[fe80::1%lo]:80": outbound.ErrNotLoopback, "localhost:80": outbound.ErrNotLoopback,
	} {
		if err := outbound.LoopbackOnly("tcp", address, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
