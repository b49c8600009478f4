package requestid_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/internal/requestid"
)

// ask sends a request with these lines of the header, and returns the ID in the
// answer and the one in the context.
func ask(t *testing.T, proxies *peer.Config, from string, lines ...string) (answered, known string) {
	t.Helper()
	h := requestid.Handler(proxies, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { known = requestid.From(r.Context()) }))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.RemoteAddr = from
	r.Header["X-Request-Id"] = lines
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Header().Get("X-Request-Id"), known
}

// Who is not a trusted proxy chooses no ID, and a proxy none that is long or
// that would break a line.
func TestWhoChoosesTheID(t *testing.T) {
	proxies, err := peer.New(counterfoil.Proxies{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	const proxy, stranger = "10.0.0.1:4000", "198.51.100.7:4000"
	for _, row := range []struct {
		name    string
		proxies *peer.Config
		from    string
		lines   []string
		kept    bool
	}{
		{"of a proxy", proxies, proxy, []string{"7b1f-4!~"}, true},
		{"as long as it may be", proxies, proxy, []string{strings.Repeat("x", 64)}, true},
		{"one character", proxies, proxy, []string{"x"}, true},
		{"too long", proxies, proxy, []string{strings.Repeat("x", 65)}, false},
		{"empty", proxies, proxy, []string{""}, false},
		{"none", proxies, proxy, nil, false},
		{"two", proxies, proxy, []string{"a", "b"}, false},
		{"with a space", proxies, proxy, []string{"a b"}, false},
		{"with a line break", proxies, proxy, []string{"a\nb"}, false},
		{"with DEL", proxies, proxy, []string{"a\x7f"}, false},
		{"beyond ASCII", proxies, proxy, []string{"é"}, false},
		{"of a stranger", proxies, stranger, []string{"mine"}, false},
		{"without proxies", nil, proxy, []string{"mine"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			answered, known := ask(t, row.proxies, row.from, row.lines...)
			if answered != known {
				t.Errorf("the answer says %q, the context %q", answered, known)
			}
			if row.kept != (len(row.lines) > 0 && known == row.lines[0]) {
				t.Errorf("got %q", known)
			}
			if !row.kept && !regexp.MustCompile(`^[A-Z2-7]{26}$`).MatchString(known) {
				t.Errorf("%q is not 130 bits in base32", known)
			}
		})
	}
	seen := map[string]bool{}
	for range 1000 {
		id, _ := ask(t, nil, stranger)
		seen[id] = true
	}
	if len(seen) != 1000 {
		t.Errorf("1000 requests have %d IDs", len(seen))
	}
}

func TestLogging(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(requestid.Logging(slog.NewTextHandler(&out, nil)))
	var id string
	h := requestid.Handler(nil, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		id = requestid.From(r.Context())
		log.InfoContext(r.Context(), "one", "a", 1)
		log.With("realm", "acme").InfoContext(r.Context(), "two")
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	log.InfoContext(t.Context(), "three")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{"msg=one a=1 request_id=" + id, "msg=two realm=acme request_id=" + id, "msg=three"} {
		if !strings.HasSuffix(lines[i], want) {
			t.Errorf("%s\ndoes not end with %s", lines[i], want)
		}
	}
	if requestid.From(t.Context()) != "" {
		t.Error("a context of no request has an ID")
	}
}
