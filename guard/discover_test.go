package guard_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/guard"
)

const (
	oauthMetadata  = "/.well-known/oauth-authorization-server"
	openidMetadata = "/.well-known/openid-configuration"
)

func TestDiscover(t *testing.T) {
	const good = `{"issuer":"ISSUER","jwks_uri":"https://keys.example/jwks","introspection_endpoint":"https://auth.example/introspect","revocation_feed_endpoint":"https://auth.example/revocations","other":[1]}`
	for _, tt := range []struct {
		name, path string // of the issuer
		documents  map[string]string
		want       string // an error, "" for none
	}{
		{"RFC 8414", "", map[string]string{oauthMetadata: good}, ""},
		{"RFC 8414 with a path", "/a/b", map[string]string{oauthMetadata + "/a/b": good}, ""},
		{"RFC 8414 with a slash at the end", "/a/", map[string]string{oauthMetadata + "/a": good}, ""},
		{"OpenID", "", map[string]string{openidMetadata: good}, ""},
		{"OpenID with a path", "/a", map[string]string{"/a" + openidMetadata: good}, ""},
		{"OpenID where the other is broken", "", map[string]string{oauthMetadata: "<html>", openidMetadata: good}, ""},
		{"a byte order mark", "", map[string]string{oauthMetadata: "\ufeff" + good}, ""},
		{"the longest", "", map[string]string{oauthMetadata: good}, ""},
		{"nothing", "", nil, "the answer is 404, not 200"},
		{"another issuer", "", map[string]string{oauthMetadata: strings.Replace(good, "ISSUER", "https://other.example", 1)}, `of the issuer "https://other.example"`},
		{"a slash more", "", map[string]string{oauthMetadata: strings.Replace(good, "ISSUER", "ISSUER/", 1)}, "of the issuer"},
		{"the issuer of a path", "/a", map[string]string{oauthMetadata + "/a": strings.Replace(good, "ISSUER", "ROOT", 1)}, "of the issuer"},
		{"no issuer", "", map[string]string{oauthMetadata: `{"jwks_uri":"https://keys.example/jwks"}`}, `of the issuer ""`},
		{"issuer twice", "", map[string]string{oauthMetadata: strings.Replace(good, "{", `{"issuer":"https://other.example",`, 1)}, "twice"},
		{"no keys", "", map[string]string{oauthMetadata: `{"issuer":"ISSUER"}`}, `the member "jwks_uri" is missing`},
		{"keys by plain http", "", map[string]string{oauthMetadata: strings.Replace(good, "https://keys", "http://keys", 1)}, `"jwks_uri" is not an https URL`},
		{"introspection by plain http", "", map[string]string{oauthMetadata: strings.Replace(good, "https://auth", "http://auth", 1)}, `"introspection_endpoint" is not an https URL`},
		{"a feed by plain http", "", map[string]string{oauthMetadata: strings.Replace(good, "https://auth.example/rev", "http://auth.example/rev", 1)}, `"revocation_feed_endpoint" is not an https URL`},
		{"keys that are no text", "", map[string]string{oauthMetadata: `{"issuer":"ISSUER","jwks_uri":1}`}, `"jwks_uri" is not text`},
		{"a list", "", map[string]string{oauthMetadata: "[" + good + "]"}, "object"},
		{"too long", "", map[string]string{oauthMetadata: good + strings.Repeat(" ", 64<<10)}, "larger than 65536 bytes"},
		{"a redirect", "", map[string]string{oauthMetadata: "REDIRECT"}, "the answer is 302, not 200"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var mu sync.Mutex
			var elsewhere []string
			var s *httptest.Server
			s = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				document, ok := tt.documents[r.URL.Path]
				switch {
				case !ok:
					mu.Lock()
					defer mu.Unlock()
					elsewhere = append(elsewhere, r.URL.Path)
					http.NotFound(w, r)
				case document == "REDIRECT":
					http.Redirect(w, r, "/elsewhere", http.StatusFound)
				default:
					text := strings.NewReplacer("ISSUER", s.URL+tt.path, "ROOT", s.URL).Replace(document)
					if tt.name == "the longest" {
						text += strings.Repeat(" ", 64<<10-len(text))
					}
					_, _ = io.WriteString(w, text)
				}
			}))
			t.Cleanup(s.Close)
			got, err := guard.Discover(t.Context(), s.URL+tt.path, s.Client())
			if tt.want == "" {
				want := guard.Metadata{Issuer: s.URL + tt.path, JWKSURI: "https://keys.example/jwks",
					IntrospectionEndpoint: "https://auth.example/introspect", RevocationFeedEndpoint: "https://auth.example/revocations"}
				if err != nil || *got != want {
					t.Errorf("got %+v, %v, want %+v", got, err, want)
				}
				return
			}
			if err == nil || got != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, error %v, want %q in it", got, err, tt.want)
			}
			for _, path := range elsewhere {
				if path == "/elsewhere" {
					t.Error("the redirect was followed")
				}
			}
		})
	}
	for _, issuer := range []string{"", "auth.example", "http://auth.example", "https://", "https://a@auth.example", "https://auth.example?x", "https://auth.example#x", "https://auth.example/%zz"} {
		if _, err := guard.Discover(t.Context(), issuer, nil); err == nil || !strings.Contains(err.Error(), "must be an https URL") {
			t.Errorf("issuer %q: %v", issuer, err)
		}
	}
}

// The server of this repository is found by its issuer alone.
func TestDiscoverTheRealIssuer(t *testing.T) {
	i := newRealIssuer(t)
	m, err := guard.Discover(t.Context(), i.server.URL, i.server.Client())
	if err != nil || m.JWKSURI != i.server.URL+"/.well-known/jwks.json" || m.IntrospectionEndpoint != i.server.URL+"/introspect" ||
		m.RevocationFeedEndpoint != i.server.URL+"/revocations" {
		t.Errorf("got %+v, %v", m, err)
	}
}
