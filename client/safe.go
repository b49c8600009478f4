package client

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/client/internal/queries"
	"github.com/counterfoil/counterfoil/provider"
)

// repeatable reports whether req may reach the API twice: by its method, by its
// Idempotency-Key, or because the description says that it is safe. What cannot be
// told for certain is not repeatable.
func (s *Source) repeatable(req *http.Request, body *replay) bool {
	if _, ok := req.Header["Idempotency-Key"]; ok {
		return true
	}
	if _, ok := req.Header["X-Idempotency-Key"]; ok {
		return true
	}
	switch req.Method {
	case "", http.MethodGet, http.MethodHead:
		return !s.toGraphQL(req.URL) || s.safeQuery(req.URL.RawQuery)
	case http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	types, ok := described(req.Header)
	switch {
	case !ok || req.URL.Opaque != "":
		return false
	case s.api.Kind == provider.REST:
		return slices.ContainsFunc(s.api.SafeCalls, func(c provider.SafeCall) bool {
			return c.Method == req.Method && matches(trimmed(s.apiURL.EscapedPath())+c.Path, req.URL.EscapedPath())
		})
	case req.Method != http.MethodPost || !s.toGraphQL(req.URL) || s.api.SafeDocuments != provider.DocumentsOfQueries:
		return false
	case req.URL.RawQuery != s.apiURL.RawQuery: // some servers prefer its document to the body's
		return false
	}
	if len(types) == 0 {
		types = s.fixedTypes()
	}
	if len(types) > 1 || len(types) == 1 && !isJSON(types[0]) {
		return false
	}
	text, ok := s.whole(req, body)
	return ok && holdsQueries(text)
}

// described returns the media types that a request names. It is false when a
// header says that the request is not what it looks like.
func described(h http.Header) (types []string, ok bool) {
	for name, values := range h {
		switch textproto.CanonicalMIMEHeaderKey(name) {
		case "Content-Type":
			types = append(types, values...)
		case "Content-Encoding", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override":
			return nil, false
		}
	}
	return types, true
}

// fixedTypes returns the media type that the description gives to calls that name
// none.
func (s *Source) fixedTypes() []string {
	for _, h := range s.headers {
		if h.name == "Content-Type" {
			return []string{h.value}
		}
	}
	return nil
}

func isJSON(mediaType string) bool {
	media, params, err := mime.ParseMediaType(mediaType)
	charset, named := params["charset"]
	return err == nil && media == "application/json" && (!named || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8"))
}

// toGraphQL reports whether u is the URL of a GraphQL API, or that of its explorer,
// where calls may be posted too. The last slash does not matter.
func (s *Source) toGraphQL(u *url.URL) bool {
	if s.api.Kind != provider.GraphQL {
		return false
	}
	path, at, base := trimmed(u.EscapedPath()), trimmed(s.apiURL.EscapedPath()), trimmed(s.api.BasePath)
	if path == at+strings.TrimPrefix(trimmed(s.api.Path), base) {
		return true
	}
	root, ok := strings.CutSuffix(at, base)
	return ok && s.api.Explorer != "" && path == root+trimmed(s.api.Explorer)
}

// safeQuery reports whether a GET of a GraphQL API holds no document, or one that
// is safe.
func (s *Source) safeQuery(raw string) bool {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return false
	}
	documents, given := values["query"]
	return !given || len(documents) == 1 && s.api.SafeDocuments == provider.DocumentsOfQueries && queries.Only(documents[0])
}

func trimmed(path string) string { return strings.TrimSuffix(path, "/") }

// matches compares paths as they are sent, segment by segment. A segment of the
// pattern in braces is any one segment that a server can take for nothing else.
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
func (s *Source) whole(req *http.Request, body *replay) ([]byte, bool) {
	again, err := body.again(req)
	if err != nil || again == nil {
		return nil, false
	}
	defer again.Close()
	ctx, cancel := withTimeout(req.Context(), s.cfg.Clock, patience)
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

// holdsQueries reports whether body is a GraphQL request, or a batch of them, that
// asks for queries and for nothing else (GraphQL over HTTP, section 5.1).
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

// isQueryRequest reads one request. A member twice, or one that may name another
// document (a persisted query, a documentId), leaves open what is executed.
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
		if err != nil || members[name] != nil || !slices.Contains([]string{"query", "operationName", "variables", "extensions"}, name) || dec.Decode(&value) != nil {
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
