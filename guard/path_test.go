package guard_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/provider"
)

// A path with a second spelling reaches no API, whatever token comes with it, and
// is refused in the dialect's shape.
func TestPathsOfASecondSpelling(t *testing.T) {
	bodies := map[string]string{
		"a55":       `{"error":{"code":"BAD_REQUEST","message":"The path is not spelled as it should be"}}`,
		"ahotu":     `{"errors":[{"message":"Bad request","extensions":{"code":"BAD_REQUEST"}}]}`,
		"altrata":   `{"message":"Bad Request"}`,
		"engagifii": `{"error":{"code":"INVALID_REQUEST","message":"The path is not spelled as it should be"}}`,
		"oauth2":    `{"error":"invalid_request"}`,
	}
	for name, d := range dialects() {
		t.Run(name, func(t *testing.T) {
			for _, slashes := range []bool{false, true} {
				reached := 0
				r := newRigFor(t, must(provider.Builtin(name)), d, func(c *guard.Config) { c.EncodedSlash = slashes })
				h := r.guard.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
				for path, good := range map[string]bool{
					"/open/wallets": true, "/open/wallets/": true, "/open/a%20b": true, "/open/a%2Fb": slashes, "/open/a%252Fb": slashes, `/open/a%5Cb`: slashes,
					"/open//wallets": false, "/open/./wallets": false, "/open/../secret": false, "/open/%2e%2e/secret": false, "/open/..;/secret": false,
					"/open/wallets;v=1": false, `/open\secret`: false, "/open/w%61llets": false, "/open/a%00b": false, "/open/%c0%af": false,
				} {
					req := r.call(r.token(nil))
					req.RequestURI = path + "?a=//../"
					req.URL.Path, req.URL.RawPath = "/wallets", "" // as a middleware in front has it
					before := reached
					w := httptest.NewRecorder()
					h.ServeHTTP(w, req)
					if (reached == before+1) != good {
						t.Errorf("%s with slashes %v: answered %d", path, slashes, w.Code)
					}
					if good {
						continue
					}
					if want, ok := bodies[name]; w.Code != 400 || ok && strings.TrimSpace(w.Body.String()) != want {
						t.Errorf("%s: answered %d %s", path, w.Code, w.Body)
					}
					if e := r.events[len(r.events)-1]; e.Reason != counterfoil.ReasonPathMalformed || e.Type != counterfoil.EventCallRefused {
						t.Errorf("%s: event %+v", path, e)
					}
				}
			}
		})
	}
}
