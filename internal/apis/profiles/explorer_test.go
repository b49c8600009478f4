package profiles_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis/profiles"
)

// explore serves the explorer alone: it needs neither database nor principal.
func explore(t *testing.T) *httptest.Server {
	t.Helper()
	srv := httptest.NewTLSServer(profiles.New(profiles.Config{}).Explorer())
	t.Cleanup(srv.Close)
	return srv
}

// fetch sends a request without the compression that net/http adds by itself.
func fetch(t *testing.T, srv *httptest.Server, method, path string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

// The page and all that it refers to is there, and comes from nowhere else.
func TestExplorerPage(t *testing.T) {
	srv := explore(t)
	res, page := fetch(t, srv, "GET", "/")
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("answer is %s %v", res.Status, res.Header)
	}
	refs := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(string(page), -1)
	if len(refs) < 6 {
		t.Fatalf("the page is %s", page)
	}
	for _, ref := range refs {
		if ref[1] == "data:," {
			continue
		}
		if strings.ContainsAny(ref[1], ":/") {
			t.Errorf("the page refers to %s", ref[1])
		}
		res, body := fetch(t, srv, "GET", "/"+ref[1])
		if res.StatusCode != 200 || len(body) == 0 || res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s answers %s %v", ref[1], res.Status, res.Header)
		}
		if regexp.MustCompile(`(?i)@import|url\(["']?(https?:)?//`).Match(body) && strings.HasSuffix(ref[1], ".css") {
			t.Errorf("%s refers to another host", ref[1])
		}
	}
	if _, body := fetch(t, srv, "GET", "/LICENSES.txt"); !strings.Contains(string(body), "graphiql 3.8.3 (MIT)") {
		t.Error("the licences are missing")
	}
	if _, body := fetch(t, srv, "GET", "/boot.js"); !strings.Contains(string(body), "url: window.location.pathname") {
		t.Errorf("the page does not post to its own address: %s", body)
	}
}

// Without a slash at its end, the address shows the same page, and what it refers
// to is found from there.
func TestExplorerPageWithoutSlash(t *testing.T) {
	srv := httptest.NewTLSServer(http.StripPrefix("/v1/graphiql", profiles.New(profiles.Config{}).Explorer()))
	defer srv.Close()
	res, page := fetch(t, srv, "GET", "/v1/graphiql?x=/y")
	refs := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(string(page), -1)
	if res.StatusCode != 200 || len(refs) < 6 {
		t.Fatalf("answer is %s: %s", res.Status, page)
	}
	for _, ref := range refs {
		if ref[1] == "data:," {
			continue
		}
		if res, body := fetch(t, srv, "GET", "/v1/"+ref[1]); res.StatusCode != 200 || len(body) == 0 {
			t.Errorf("%s answers %s", ref[1], res.Status)
		}
	}
	if other, _ := fetch(t, srv, "GET", "/v1/graphiql/"); other.Header.Get("ETag") == res.Header.Get("ETag") {
		t.Error("two pages have one ETag")
	}
}

func TestExplorerHeaders(t *testing.T) {
	srv := explore(t)
	for _, path := range []string{"/", "/graphiql.js", "/nothing"} {
		res, _ := fetch(t, srv, "GET", path)
		csp := res.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'; script-src 'self'; ") || strings.Contains(csp, "http") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s has the policy %q", path, csp)
		}
		if res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s has the headers %v", path, res.Header)
		}
	}
}

func TestExplorerRequests(t *testing.T) {
	srv := explore(t)
	for _, test := range []struct {
		name, method, path string
		headers            []string
		status             int
		encoding           string
	}{
		{"head", "HEAD", "/", nil, 200, ""},
		{"post", "POST", "/", nil, 405, ""},
		{"unknown", "GET", "/graphiql/assets/index.html", nil, 404, ""},
		{"outside", "GET", "/../explorer.go", nil, 404, ""},
		{"gzip", "GET", "/graphiql.js", []string{"Accept-Encoding", "br, gzip;q=0.8"}, 200, "gzip"},
		{"gzip refused", "GET", "/graphiql.js", []string{"Accept-Encoding", "gzip;q=0"}, 200, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, body := fetch(t, srv, test.method, test.path, test.headers...)
			if test.status == http.StatusNotFound && (res.Header.Get("Content-Type") != "application/json; charset=utf-8" || !strings.Contains(string(body), `{"errors":[{"message":"nothing here`)) {
				t.Errorf("answer is %v %s", res.Header, body)
			}
			if res.StatusCode != test.status || res.Header.Get("Content-Encoding") != test.encoding {
				t.Errorf("answer is %s %v", res.Status, res.Header)
			}
		})
	}
	res, packed := fetch(t, srv, "GET", "/react.js", "Accept-Encoding", "gzip")
	zr, err := gzip.NewReader(strings.NewReader(string(packed)))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	if _, plain := fetch(t, srv, "GET", "/react.js"); string(plain) != string(unpacked) {
		t.Error("plain and compressed differ")
	}
	if res, _ := fetch(t, srv, "GET", "/react.js", "Accept-Encoding", "gzip", "If-None-Match", res.Header.Get("ETag")); res.StatusCode != 304 {
		t.Errorf("asked again, the answer is %s", res.Status)
	}
}
