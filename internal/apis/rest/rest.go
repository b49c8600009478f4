// Package rest is the common part of the REST reference APIs. Use it in a
// package that implements apis.API over plain HTTP and JSON: it routes to
// functions that return a value or an error, reads requests strictly and within
// bounds, cuts lists into pages, and writes every response in one place.
//
// No request passes it without a Principal, each refusal has the shape
// {"error":{"code":…,"message":…}}, and an error that is not a [Problem] is
// logged in full and not shown to the caller. Its API may change.
package rest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil"
)

// The codes of refusals.
const (
	InvalidRequest       = "INVALID_REQUEST"        // 400
	NotFound             = "NOT_FOUND"              // 404
	unauthenticated      = "UNAUTHENTICATED"        // 401
	methodNotAllowed     = "METHOD_NOT_ALLOWED"     // 405
	requestTooLarge      = "REQUEST_TOO_LARGE"      // 413
	unsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE" // 415
	serverError          = "SERVER_ERROR"           // 500
)

// Problem is an error that is shown to the caller.
type Problem struct {
	// Status is the HTTP status.
	Status int `json:"-"`
	// Code is for machines, in upper snake case.
	Code string `json:"code"`
	// Message is for people: what is wrong and what is allowed.
	Message string `json:"message"`
}

// Error returns the message.
func (p *Problem) Error() string { return p.Message }

// Refuse returns a *Problem with a message made as by fmt.Sprintf.
func Refuse(status int, code, format string, args ...any) error {
	return &Problem{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Func answers a request of p: with a value, which is sent as JSON with status
// 200, or with an error. An error that is not a *Problem is logged and answered
// with status 500 and no detail.
type Func func(r *http.Request, p *counterfoil.Principal) (any, error)

// Route is one operation of an API.
type Route struct {
	// Method is the one HTTP method; GET answers HEAD as well.
	Method string
	// Path is a ServeMux pattern without method and host, such as
	// "/event/{id}" or "/{$}".
	Path string
	// Serve answers.
	Serve Func
}

// Handler serves routes below its mount point. An empty path is the same as "/",
// and a trailing slash is ignored: nothing is redirected. Failures are logged to
// log; nil means slog.Default().
func Handler(log *slog.Logger, routes ...Route) http.Handler {
	if log == nil {
		log = slog.Default()
	}
	h := &handler{log: log}
	byPath := map[string]map[string]Func{}
	for _, route := range routes {
		if byPath[route.Path] == nil {
			byPath[route.Path] = map[string]Func{}
			h.mux.Handle(route.Path, h.methods(byPath[route.Path]))
		}
		byPath[route.Path][route.Method] = route.Serve
		if route.Method == http.MethodGet {
			byPath[route.Path][http.MethodHead] = route.Serve
		}
	}
	return h
}

type handler struct {
	log *slog.Logger
	mux http.ServeMux
}

// ServeHTTP refuses unauthenticated requests, bounds the body and routes.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, ok := counterfoil.PrincipalFrom(r.Context()); !ok {
		h.refuse(w, r, Refuse(http.StatusUnauthorized, unauthenticated, "this API is for authenticated clients: send a valid access token"))
		return
	}
	r = unslashed(r)
	if !h.has(r) {
		h.refuse(w, r, Refuse(http.StatusNotFound, NotFound, "there is nothing at this path"))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
	h.mux.ServeHTTP(w, r)
}

// Serves reports whether a route has the path of a request.
func (h *handler) Serves(r *http.Request) bool { return h.has(unslashed(r)) }

// has is Serves for a path without a trailing slash. ServeMux redirects a path
// that is not clean to one that lacks the mount point: such paths do not exist.
func (h *handler) has(r *http.Request) bool {
	_, pattern := h.mux.Handler(r)
	return pattern != "" && path.Clean(r.URL.Path) == r.URL.Path
}

// unslashed returns the request without a trailing slash in its path.
func unslashed(r *http.Request) *http.Request {
	if p := r.URL.EscapedPath(); p == "" || p != "/" && strings.HasSuffix(p, "/") {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = cmp.Or(strings.TrimSuffix(r.URL.Path, "/"), "/"), strings.TrimSuffix(r.URL.RawPath, "/")
	}
	return r
}

func (h *handler) methods(byMethod map[string]Func) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		serve, ok := byMethod[r.Method]
		if !ok {
			allowed := make([]string, 0, len(byMethod))
			for method := range byMethod {
				allowed = append(allowed, method)
			}
			slices.Sort(allowed)
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			h.refuse(w, r, Refuse(http.StatusMethodNotAllowed, methodNotAllowed, "use %s here", strings.Join(allowed, " or ")))
			return
		}
		p, _ := counterfoil.PrincipalFrom(r.Context())
		answer, err := serve(r, p)
		if err != nil {
			h.refuse(w, r, err)
			return
		}
		h.write(w, r, http.StatusOK, answer)
	}
}

// refuse is the only place where an error becomes a response.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var problem *Problem
	if !errors.As(err, &problem) {
		if r.Context().Err() == nil {
			h.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "route", r.Pattern, "error", err)
		}
		problem = &Problem{http.StatusInternalServerError, serverError, "the request failed on our side: try again later"}
	}
	h.write(w, r, problem.Status, struct {
		Error *Problem `json:"error"`
	}{problem})
}

func (h *handler) write(w http.ResponseWriter, r *http.Request, status int, answer any) {
	body, err := json.Marshal(answer)
	if err != nil {
		h.refuse(w, r, fmt.Errorf("encode the answer: %w", err))
		return
	}
	body = append(body, '\n')
	header := w.Header()
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails only if the caller has disconnected
}
