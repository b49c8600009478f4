package client

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/queries"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
)

// repeats tells which calls of an API may be repeated.
type repeats struct {
	api *provider.API
	url *url.URL
	// mediaTypes has the media type that the description sets on calls without
	// one; empty if it sets none.
	mediaTypes []string
	clock      counterfoil.Clock
}

// allowed reports whether req may reach the API twice: by its
// Idempotency-Key, because the description says that it is safe, or by its
// method where that is decisive. A request that cannot be classified with
// certainty is not repeatable.
func (r *repeats) allowed(req *http.Request, body *replay) bool {
	if _, ok := req.Header["Idempotency-Key"]; ok {
		return true
	}
	if _, ok := req.Header["X-Idempotency-Key"]; ok {
		return true
	}
	types, plain, overridden := described(req.Header)
	switch {
	case overridden:
		return false
	case r.api.Kind == provider.KindGraphQL && !r.elsewhere(req.URL):
		return plain && r.toGraphQL(req.URL) && r.onlyReads(req, body, types)
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return plain && r.api.Kind == provider.KindREST && req.URL.Opaque == "" &&
		slices.ContainsFunc(r.api.SafeCalls, func(c provider.SafeCall) bool {
			return c.Method == req.Method && matches(trimmed(r.url.EscapedPath())+c.Path, req.URL.EscapedPath())
		})
}

// onlyReads reports whether every operation of a request to a GraphQL API is
// certain to be a query: of a body that is posted, or of the URL of a request
// without a body.
func (r *repeats) onlyReads(req *http.Request, body *replay, types []string) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return (req.Body == nil || req.Body == http.NoBody) && r.safeQuery(req.URL.RawQuery)
	case http.MethodPost:
	default:
		return false
	}
	if r.api.SafeDocuments != provider.DocumentsOfQueries ||
		req.URL.RawQuery != r.url.RawQuery { // some servers prefer its document to the body's
		return false
	}
	if len(types) == 0 {
		types = r.mediaTypes
	}
	if len(types) > 1 || len(types) == 1 && !isJSON(types[0]) {
		return false
	}
	text, ok := r.whole(req, body)
	return ok && holdsQueries(text)
}

// described returns the media types that a request names. plain is false if its
// body is encoded, and overridden is true if a header changes its method.
func described(h http.Header) (types []string, plain, overridden bool) {
	plain = true
	for name, values := range h {
		// Some servers treat an underscore as a hyphen.
		switch name = strings.ToLower(strings.ReplaceAll(name, "_", "-")); {
		case name == "content-type":
			types = append(types, values...)
		case name == "content-encoding":
			plain = false
		case name == "x-method", strings.Contains(name, "http-method"), strings.Contains(name, "method-override"):
			overridden = true
		}
	}
	return types, plain, overridden
}

func isJSON(mediaType string) bool {
	media, params, err := mime.ParseMediaType(mediaType)
	charset, named := params["charset"]
	return err == nil && media == "application/json" &&
		(!named || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8"))
}

// toGraphQL reports whether u is the URL of a GraphQL API, or that of its
// explorer, which may also receive calls. A trailing slash is ignored.
func (r *repeats) toGraphQL(u *url.URL) bool {
	return u.Opaque == "" && slices.Contains(r.graphQLPaths(), trimmed(u.EscapedPath()))
}

// graphQLPaths are the paths of a GraphQL API and of its explorer, as they are
// sent, without a trailing slash.
func (r *repeats) graphQLPaths() []string {
	at, base := trimmed(r.url.EscapedPath()), trimmed(r.api.BasePath)
	paths := []string{at + strings.TrimPrefix(trimmed(r.api.Path), base)}
	if root, ok := strings.CutSuffix(at, base); ok && r.api.Explorer != "" {
		paths = append(paths, root+trimmed(r.api.Explorer))
	}
	return paths
}

// elsewhere reports whether u is certain not to lead to a GraphQL API: however a
// server parses its path, it is neither that of the API nor one below it, where
// some servers accept the id of a document.
func (r *repeats) elsewhere(u *url.URL) bool {
	if u.Opaque != "" || strings.ContainsAny(u.Path, `;\%`) {
		return false
	}
	clean := func(p string) string { return trimmed(strings.ToLower(path.Clean("/" + p))) }
	return !slices.ContainsFunc(r.graphQLPaths(), func(of string) bool {
		plain, err := url.PathUnescape(of)
		return err != nil || strings.HasPrefix(clean(u.Path)+"/", clean(plain)+"/")
	})
}

// safeQuery reports whether the URL of a request without a body has no document,
// or a safe one. If a parameter may name another document, or appears twice, it
// is unknown what is executed.
func (r *repeats) safeQuery(raw string) bool {
	if raw == "" {
		return true
	}
	values, err := url.ParseQuery(raw)
	if err != nil || r.api.SafeDocuments != provider.DocumentsOfQueries {
		return false
	}
	own := r.url.Query()
	for name, all := range values {
		known := slices.Contains(requestMembers, name)
		if known && len(all) != 1 || !known && !slices.Equal(own[name], all) {
			return false
		}
	}
	var none map[string]json.RawMessage
	if values.Has("extensions") && (json.Unmarshal([]byte(values.Get("extensions")), &none) != nil || len(none) > 0) {
		return false
	}
	return values.Has("query") && queries.Only(values.Get("query"))
}

// requestMembers are the members of a GraphQL request (GraphQL over HTTP,
// section 5.1).
var requestMembers = []string{"query", "operationName", "variables", "extensions"}

func trimmed(path string) string { return strings.TrimSuffix(path, "/") }

// matches compares paths as they are sent, segment by segment. A segment of the
// pattern in braces matches any segment that a server can interpret in only one
// way.
func matches(pattern, path string) bool {
	return slices.EqualFunc(strings.Split(trimmed(pattern), "/"), strings.Split(trimmed(path), "/"), func(want, got string) bool {
		if !strings.HasPrefix(want, "{") {
			return want == got
		}
		plain, err := url.PathUnescape(got)
		return err == nil && plain != "" && plain != "." && plain != ".." && !strings.ContainsAny(plain, `/\;%`)
	})
}

// whole returns the body of req when it is no longer than maxReplay and comes
// within patience.
func (r *repeats) whole(req *http.Request, body *replay) ([]byte, bool) {
	again, err := body.again(req)
	if err != nil || again == nil {
		return nil, false
	}
	defer again.Close()
	ctx, cancel := clock.WithTimeout(req.Context(), r.clock, patience)
	defer cancel()
	read := make(chan []byte, 1)
	go func() {
		text, err := io.ReadAll(io.LimitReader(again, maxReplay+1))
		if err != nil || len(text) > maxReplay {
			text = nil
		}
		read <- text
	}()
	select {
	case text := <-read:
		return text, text != nil
	case <-ctx.Done():
		return nil, false
	}
}

// holdsQueries reports whether body is a GraphQL request, or a batch of them,
// that contains queries and nothing else (GraphQL over HTTP, section 5.1).
func holdsQueries(body []byte) bool {
	if !utf8.Valid(body) {
		return false
	}
	var batch []json.RawMessage
	if json.Unmarshal(body, &batch) != nil {
		return isQueryRequest(body)
	}
	return len(batch) > 0 && !slices.ContainsFunc(batch, func(one json.RawMessage) bool { return !isQueryRequest(one) })
}

// isQueryRequest reads one request. If a member appears twice, or may name
// another document (a persisted query, a documentId), it is unknown what is
// executed.
func isQueryRequest(body []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		t, err := dec.Token()
		name, _ := t.(string)
		var value json.RawMessage
		if err != nil || members[name] != nil || !slices.Contains(requestMembers, name) || dec.Decode(&value) != nil {
			return false
		}
		members[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return false
	}
	if _, err := dec.Token(); err != io.EOF {
		return false
	}
	var document *string
	var extensions map[string]json.RawMessage
	return members["query"] != nil && json.Unmarshal(members["query"], &document) == nil && document != nil &&
		(members["extensions"] == nil || json.Unmarshal(members["extensions"], &extensions) == nil && len(extensions) == 0) &&
		queries.Only(*document)
}
