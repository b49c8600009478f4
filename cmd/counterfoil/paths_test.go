package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/trust"
)

// Second spellings of a path reach neither a token endpoint nor an API.
func TestPathsOfASecondSpelling(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	up := strings.TrimPrefix(shared.base, "https://")
	token := strings.TrimSpace(execute(t, "", nil, binary, "--config", shared.dir+"/consumer.yaml", "token", "a55").good(t).out)
	send := func(address, host, method, path string) string {
		t.Helper()
		got := exchange(t, address, method+" "+path+" HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\nContent-Type: application/json\r\nAuthorization: Bearer "+token+
			"\r\nContent-Length: 0\r\n\r\n")
		status, _, _ := strings.Cut(strings.TrimPrefix(got, "HTTP/1.1 "), " ")
		return status
	}
	// Each path is changed in one place.
	spellings := func(path string) (all []string) {
		last := strings.LastIndex(path, "/")
		return []string{
			"/" + path, path[:last] + "/" + path[last:], path[:last] + "%2F" + path[last+1:], path[:last] + "%2f" + path[last+1:],
			path[:last] + "%5C" + path[last+1:], path[:last] + `\` + path[last+1:], path[:last] + "/." + path[last:], path[:last] + "/x/.." + path[last:],
			path[:last] + "/x/%2e%2e" + path[last:], path + ";a=b", path[:last] + ";a=b" + path[last:], path[:last+1] + "%" + hexOf(path[last+1]) + path[last+2:],
			"/%" + hexOf(path[1]) + path[2:], path[:last] + "%252F" + path[last+1:], path + "%00",
		}
	}
	for _, row := range []struct{ what, address, host, method, path, right, wrong string }{
		{"a token endpoint of up", up, up, "POST", "/a55/oauth2/token", "400", "404"},
		{"an API of up", up, up, "GET", "/a55/api/v1/wallets", "200", "400"},
		{"the keys of up", up, up, "GET", "/a55/.well-known/jwks.json", "200", "404"},
		{"a token endpoint of serve", "127.0.0.1:" + s.port, "auth.acme.example", "POST", "/partners/oauth2/token", "400", "404"},
		{"introspection", "127.0.0.1:" + s.port, "auth.acme.example", "POST", "/partners/introspect", "400", "404"},
		{"the Admin API", "127.0.0.1:" + s.port, "ops.acme.example", "GET", "/admin/v1/realms", "401", "400"},
	} {
		if got := send(row.address, row.host, row.method, row.path); got != row.right {
			t.Errorf("%s: %s is answered %s, want %s", row.what, row.path, got, row.right)
		}
		for _, path := range spellings(row.path) {
			if got := send(row.address, row.host, row.method, path); got != row.wrong && got != "404" && !(mayEncode(path) && row.what == "the Admin API" && got == "401") {
				t.Errorf("%s: %s is answered %s, want %s", row.what, path, got, row.wrong)
			}
		}
	}
}

// mayEncode reports whether the Admin API, whose paths have client IDs, may look at
// the credentials that come with a path.
func mayEncode(path string) bool {
	return strings.Contains(strings.ToUpper(path), "%2F") || strings.Contains(path, "%5C") || strings.Contains(path, "%25")
}

func hexOf(c byte) string { return string("0123456789ABCDEF"[c>>4]) + string("0123456789ABCDEF"[c&15]) }

// A client whose ID has slashes can be managed by the Admin API.
func TestClientIDWithSlashes(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	creds := s.client(t, "ops", "clients:read", "clients:write")
	c := s.http(t)
	token := s.token(t, c, "https://ops.acme.example/token", creds)
	pool, err := trust.File(s.dir + "/tls/certificate.pem")
	if err != nil || pool == nil {
		t.Fatal(err)
	}
	for _, id := range []string{"team/orders", "https://team.example/orders", `DOMAIN\team`, "100%2Fhalf", "a;b"} {
		s.manage(t, "client", "create", "acme", "--id", id).good(t)
		for path, want := range map[string]int{
			url.PathEscape(id): http.StatusOK, "x/../" + url.PathEscape(id): http.StatusBadRequest, strings.Replace(url.PathEscape(id), "a", "%61", 1): http.StatusBadRequest,
		} {
			if strings.Contains(path, "%61") && path == url.PathEscape(id) {
				continue
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://ops.acme.example/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.URL.Opaque = "/admin/v1/realms/acme/clients/" + path
			req.Header.Set("Authorization", "Bearer "+token.Reveal())
			if got := do(t, c, req); got.status != want {
				t.Errorf("%s: answered %+v", req.URL.Opaque, got)
			}
		}
	}
}
