package rest_test

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
	"github.com/counterfoil/counterfoil/internal/apis/rest/resttest"
)

// sample is the body of a request.
type sample struct {
	Number int64 `json:"number"`
}

// api serves every kind of route below /mount: a list of the numbers from 1 to
// 45, and a body that is answered with its number.
func api(t *testing.T) *httptest.Server {
	t.Helper()
	db := resttest.Open(t)
	selection := rest.Selection{Columns: "n", From: "numbers WHERE n <= ?", Order: "n", Args: []any{45}}
	if _, err := db.Exec("CREATE TABLE numbers AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n < 60) SELECT n FROM c"); err != nil {
		t.Fatal(err)
	}
	one := func(row func(...any) error) (n int, err error) { return n, row(&n) }
	handler := rest.Handler(slog.New(slog.DiscardHandler),
		rest.Route{Method: "GET", Path: "/{$}", Serve: func(r *http.Request, _ *counterfoil.Principal) (any, error) {
			_, err := rest.Query(r)
			return "index", err
		}},
		rest.Route{Method: "GET", Path: "/list", Serve: func(r *http.Request, _ *counterfoil.Principal) (any, error) {
			query, err := rest.Query(r, "page", "size")
			if err != nil {
				return nil, err
			}
			page, err := rest.ParsePage(query, "page", "size")
			if err != nil {
				return nil, err
			}
			return rest.Select(r.Context(), db, selection, page, one)
		}},
		rest.Route{Method: "POST", Path: "/list", Serve: func(r *http.Request, _ *counterfoil.Principal) (any, error) {
			var in sample
			err := rest.Body(r, &in)
			return in.Number, err
		}},
		rest.Route{Method: "GET", Path: "/broken", Serve: func(r *http.Request, _ *counterfoil.Principal) (any, error) {
			return rest.Select(r.Context(), db, rest.Selection{Columns: "n", From: "nothing", Order: "n"}, rest.Page{Number: 1, Size: 1}, one)
		}},
		rest.Route{Method: "GET", Path: "/unreadable", Serve: func(r *http.Request, _ *counterfoil.Principal) (any, error) {
			return rest.Select(r.Context(), db, rest.Selection{Columns: "'x'", From: "numbers", Order: "n"}, rest.Page{Number: 1, Size: 1}, one)
		}},
	)
	handler = http.StripPrefix("/mount", handler)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Stranger") == "" {
			r = r.WithContext(counterfoil.WithPrincipal(r.Context(), &counterfoil.Principal{ClientID: "client-one"}))
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	server.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return server
}

// send sends a request; a header is "Name: value".
func send(t *testing.T, server *httptest.Server, method, path, body string, headers ...string) resttest.Answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if name == "Unannounced" {
			req.ContentLength, req.Body = -1, io.NopCloser(strings.NewReader(body))
		}
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resttest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: got}
}

// numbers are a page of the list as it is answered.
func numbers(from, to int) string {
	var all []string
	for n := from; n <= to; n++ {
		all = append(all, fmt.Sprint(n))
	}
	return `{"totalCount":45,"data":[` + strings.Join(all, ",") + "]}"
}

// body returns a JSON object of that many bytes.
func body(size int) string { return `{"number":7` + strings.Repeat(" ", size-12) + "}" }

func TestAnswers(t *testing.T) {
	server := api(t)
	const json = "Content-Type: application/json"
	for _, tt := range []struct {
		name, method, path, body string
		headers                  []string
		want                     string
	}{
		{"index", "GET", "/mount/", "", nil, `"index"`},
		{"index without a slash", "GET", "/mount", "", nil, `"index"`},
		{"list", "GET", "/mount/list", "", nil, numbers(1, 20)},
		{"list with a last slash", "GET", "/mount/list/", "", nil, numbers(1, 20)},
		{"one row", "GET", "/mount/list?size=1", "", nil, numbers(1, 1)},
		{"hundred rows", "GET", "/mount/list?size=100", "", nil, numbers(1, 45)},
		{"second page", "GET", "/mount/list?page=2&size=20", "", nil, numbers(21, 40)},
		{"third page", "GET", "/mount/list?page=3&size=20", "", nil, numbers(41, 45)},
		{"fourth page", "GET", "/mount/list?page=4&size=20", "", nil, numbers(1, 0)},
		{"the last page there is", "GET", "/mount/list?page=9223372036854775807&size=100", "", nil, numbers(1, 0)},
		{"head", "HEAD", "/mount/list", "", nil, ""},
		{"body", "POST", "/mount/list", `{"number":7}`, []string{json}, "7"},
		{"body in UTF-8", "POST", "/mount/list", `{"number":7}`, []string{json + "; charset=UTF-8"}, "7"},
		{"body in no coding", "POST", "/mount/list", `{"number":7}`, []string{json, "Content-Encoding: Identity"}, "7"},
		{"longest body", "POST", "/mount/list", body(rest.MaxBody), []string{json}, "7"},
		{"longest body, not announced", "POST", "/mount/list", body(rest.MaxBody), []string{json, "Unannounced: x"}, "7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := send(t, server, tt.method, tt.path, tt.body, tt.headers...)
			resttest.WantHeaders(t, got)
			if tt.want != "" {
				tt.want += "\n"
			}
			if got.Status != 200 || string(got.Body) != tt.want {
				t.Errorf("answer %d %q, want %q", got.Status, got.Body, tt.want)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	server := api(t)
	const json = "Content-Type: application/json"
	for _, tt := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		words                    string
	}{
		{"stranger", "GET", "/mount/list", "", []string{"Stranger: x"}, 401, "send a valid access token"},
		{"stranger at no path", "GET", "/mount/nothing", "", []string{"Stranger: x"}, 401, "send a valid access token"},
		{"no path", "GET", "/mount/nothing", "", nil, 404, "nothing at this path"},
		{"two slashes", "GET", "/mount//list", "", nil, 404, "nothing at this path"},
		{"path with dots", "GET", "/mount/x/../list", "", nil, 404, "nothing at this path"},
		{"wrong method", "DELETE", "/mount/list", "", nil, 405, "use GET or HEAD or POST here"},
		{"head is not for posts", "PUT", "/mount/", "", nil, 405, "use GET or HEAD here"},
		{"no parameters here", "GET", "/mount/?page=1", "", nil, 400, "no query parameters are allowed here"},
		{"unknown parameter", "GET", "/mount/list?x=1", "", nil, 400, `unknown query parameter "x": allowed are page, size`},
		{"parameter twice", "GET", "/mount/list?page=1&page=1", "", nil, 400, "page is given 2 times"},
		{"malformed query", "GET", "/mount/list?page=%zz", "", nil, 400, "malformed"},
		{"page 0", "GET", "/mount/list?page=0", "", nil, 400, "page must be 1 or more"},
		{"page in words", "GET", "/mount/list?page=one", "", nil, 400, "page must be a whole number"},
		{"page beyond 64 bits", "GET", "/mount/list?page=9223372036854775808", "", nil, 400, "page must be a whole number"},
		{"size 0", "GET", "/mount/list?size=0", "", nil, 400, "size must be a whole number from 1 to 100"},
		{"size 101", "GET", "/mount/list?size=101", "", nil, 400, "size must be a whole number from 1 to 100"},
		{"no media type", "POST", "/mount/list", `{}`, nil, 415, "send the header Content-Type: application/json"},
		{"another media type", "POST", "/mount/list", `{}`, []string{"Content-Type: text/plain"}, 415, "send the header Content-Type: application/json"},
		{"malformed media type", "POST", "/mount/list", `{}`, []string{"Content-Type: application/json; x"}, 415, "send the "},
		{"another charset", "POST", "/mount/list", `{}`, []string{json + "; charset=utf-16"}, 415, "send the body in UTF-8"},
		{"compressed", "POST", "/mount/list", `{}`, []string{json, "Content-Encoding: gzip"}, 415, "without a Content-Encoding"},
		{"no body", "POST", "/mount/list", ``, []string{json}, 400, "the body is empty"},
		{"no object", "POST", "/mount/list", `7`, []string{json}, 400, "not a JSON object"},
		{"null", "POST", "/mount/list", `null`, []string{json}, 400, "not a JSON object"},
		{"no UTF-8", "POST", "/mount/list", "{\"word\":\"\xff\"}", []string{json}, 400, "not UTF-8"},
		{"longer body", "POST", "/mount/list", body(rest.MaxBody + 1), []string{json}, 413, "longer than 65536 bytes"},
		{"longer body, not announced", "POST", "/mount/list", body(rest.MaxBody + 1), []string{json, "Unannounced: x"}, 413, "longer than 65536 bytes"},
		{"no such table", "GET", "/mount/broken", "", nil, 500, "try again later"},
		{"row that cannot be read", "GET", "/mount/unreadable", "", nil, 500, "try again later"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code := map[int]string{400: "INVALID_REQUEST", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED",
				413: "REQUEST_TOO_LARGE", 415: "UNSUPPORTED_MEDIA_TYPE", 500: "SERVER_ERROR"}[tt.status]
			resttest.WantProblem(t, send(t, server, tt.method, tt.path, tt.body, tt.headers...), tt.status, code, tt.words)
		})
	}
}

// TestBodyThatIsCutShort is told so, not that the server failed.
func TestBodyThatIsCutShort(t *testing.T) {
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader(`{"number":`), &failing{}))
	r.Header.Set("Content-Type", "application/json")
	if err := rest.Body(r, &sample{}); err == nil || err.Error() != "the body ended before its announced length" {
		t.Errorf("error %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestPages(t *testing.T) {
	n := func(v int64) *int64 { return &v }
	for _, tt := range []struct {
		name         string
		number, size *int64
		want         rest.Page // zero for an error
	}{
		{"nothing given", nil, nil, rest.Page{Number: 1, Size: 20}},
		{"both given", n(3), n(7), rest.Page{Number: 3, Size: 7}},
		{"first and smallest", n(1), n(1), rest.Page{Number: 1, Size: 1}},
		{"last and largest", n(math.MaxInt64), n(100), rest.Page{Number: math.MaxInt64, Size: 100}},
		{"before the first", n(0), nil, rest.Page{}},
		{"empty", nil, n(0), rest.Page{}},
		{"too large", nil, n(101), rest.Page{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := rest.NewPage(tt.number, tt.size, "page", "size")
			if ok := tt.want != (rest.Page{}); (err == nil) != ok || ok && got != tt.want {
				t.Errorf("%+v, error %v, want %+v", got, err, tt.want)
			}
		})
	}
	if page, err := rest.ParsePage(url.Values{"n": {"2"}, "s": {"3"}}, "n", "s"); err != nil || page != (rest.Page{Number: 2, Size: 3}) {
		t.Errorf("%+v, error %v", page, err)
	}
}

// TestSelectOfAClosedDatabase tells of it.
func TestSelectOfAClosedDatabase(t *testing.T) {
	db := resttest.Open(t)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := rest.Select(t.Context(), db, rest.Selection{Columns: "1", From: "(SELECT 1)", Order: "1"}, rest.Page{Number: 1, Size: 1},
		func(row func(...any) error) (n int, err error) { return n, row(&n) })
	if err == nil || list.Data == nil {
		t.Errorf("%+v, error %v, want sql: database is closed", list, err)
	}
}
