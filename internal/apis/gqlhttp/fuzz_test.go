package gqlhttp_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp"
	"github.com/counterfoil/counterfoil/internal/apis/gqlhttp/internal/probe"
)

// FuzzRequest sends any Accept header, Content-Type and body: the answer is
// always JSON in one of the two media types, and never an internal error
// unless the probe was told to fail.
func FuzzRequest(f *testing.F) {
	h := authenticated(gqlhttp.New(gqlhttp.Config{
		Schema: probe.NewExecutableSchema(probe.Schema()),
		Log:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	}))
	f.Add("", "application/json", `{"query":"{ echo }"}`)
	f.Add("application/graphql-response+json;q=0.3, */*;q=0.2", "application/json;charset=UTF-8", `{"query":"query q($n:Int!){nodes(n:$n){id child{id}}}","variables":{"n":2},"operationName":"q"}`)
	f.Add("*/*", "application/json", `{"query":"{...a} fragment a on Query{...b} fragment b on Query{...a}"}`)
	f.Add("a/b;q=1.5,,;", "application/json", `{"query":"{ echo(n: [[[[{a: \"\"\"x\"\"\"}]]]]) @skip(if: $x) }","variables":{"x":[null]}}`)
	f.Add("application/json", "application/json", `{"query":"query($a:[[Int!]]=[[1]]){__type(name:\"Node\"){fields{args{type{ofType{name}}}}}}"}`)
	f.Fuzz(func(t *testing.T, accept, contentType, body string) {
		r := httptest.NewRequest(http.MethodPost, "https://api.test/", strings.NewReader(body))
		r.Header["Accept"], r.Header["Content-Type"] = []string{accept}, []string{contentType}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		media, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
		if media != "application/json" && media != "application/graphql-response+json" {
			t.Errorf("media type is %q", media)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Errorf("answer is %q", w.Body)
		}
		told := strings.Contains(body, "fail") || strings.Contains(body, "panic") || strings.Contains(body, `\u`)
		if !told && strings.Contains(w.Body.String(), gqlhttp.Internal) {
			t.Errorf("internal error: %s", w.Body)
		}
	})
}
