package server

import (
	"encoding/json"
	"net/http"
	"path"
	"strings"

	"github.com/counterfoil/counterfoil/internal/plainpath"
	"github.com/counterfoil/counterfoil/provider"
)

// Handler serves the realm: the token endpoint, /introspect (RFC 7662),
// /revoke (RFC 7009), the revocation feed at /revocations, the status lists
// below /status-lists, /leaked, which ends the secret that it is sent, and the
// public documents at /.well-known/jwks.json (RFC
// 7517), /.well-known/oauth-authorization-server (RFC 8414) and
// /.well-known/openid-configuration. A path that differs from one of these in
// slashes or escapes only is not found, and the answer names the right URL. Followers of
// the feed stay connected until Drain or Close: call Drain before
// http.Server.Shutdown, which waits for them. Paths are those below the
// realm's base URL: mount it behind http.StripPrefix where that has a path.
// Every other path is not found, and neither is any path of a realm that the
// server does not have at the time of the request.
func (s *Server) Handler(realm string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rl := s.realm(realm)
		if rl == nil {
			http.NotFound(w, r)
			return
		}
		if serve := rl.route(r.URL.Path); serve != nil && (plainpath.Options{}).OK(r) {
			serve(w, r)
			return
		}
		if meant := rl.intended(r.URL.Path); meant != "" {
			rl.elsewhere(w, meant)
			return
		}
		http.NotFound(w, r)
	})
}

// Serves reports whether a path below the base URL of a realm belongs to the
// realm itself: to one of its endpoints, as Handler serves them, or to
// /.well-known, where anyone may look for published documents.
func (s *Server) Serves(realm, path string) bool {
	rl := s.realm(realm)
	return rl != nil && (strings.HasPrefix(path, "/.well-known/") || rl.route(path) != nil || rl.intended(path) != "")
}

// route returns the handler of one of the realm's paths, or nil.
func (rl *realm) route(path string) http.HandlerFunc {
	switch path {
	case rl.endpoint.Path:
		return rl.serveToken
	case keySetPath:
		return func(w http.ResponseWriter, r *http.Request) { serveDocument(w, r, rl.keys.Document(r.Context())) }
	case introspectPath:
		return rl.serveIntrospect
	case revokePath:
		if rl.revocable() {
			return rl.serveRevoke
		}
	case revocationsPath:
		return rl.serveFeed
	case leakedPath:
		return rl.serveLeaked
	}
	if strings.HasPrefix(path, statusPath) && rl.status != nil {
		return rl.status.serve
	}
	if doc, ok := rl.documents[path]; ok {
		return func(w http.ResponseWriter, r *http.Request) { serveDocument(w, r, doc) }
	}
	return nil
}

// intended returns the path of the endpoint that differs from wrong in slashes
// only, or "".
func (rl *realm) intended(wrong string) string {
	clean := path.Clean("/" + wrong)
	for _, p := range []string{clean, clean + "/"} {
		if rl.route(p) != nil && !strings.HasPrefix(p, statusPath) {
			return p
		}
	}
	return ""
}

// elsewhere answers a request that was meant for another path. It does not
// redirect: a client must not send its credentials to a URL that it was not
// configured with.
func (rl *realm) elsewhere(w http.ResponseWriter, meant string) {
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{"invalid_request", "there is nothing at this URL: " + rl.BaseURL + meant + " is meant"})
	if err != nil {
		panic(err) // two strings
	}
	w.Header().Set("Cache-Control", "no-store")
	provider.Refusal{Status: http.StatusNotFound, Body: string(body)}.Write(w)
}
