package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/lograte"
	"github.com/counterfoil/counterfoil/internal/mediatype"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/internal/origin"
)

// The scopes of the Admin API, as in the catalog's description counterfoil.
const (
	clientsRead  = "clients:read"
	clientsWrite = "clients:write"
	keysRead     = "keys:read"
	keysWrite    = "keys:write"
	tokensRevoke = "tokens:revoke"
	auditRead    = "audit:read"
)

var (
	readClients   = counterfoil.Scopes{clientsRead}
	writeClients  = counterfoil.Scopes{clientsWrite}
	changeClients = counterfoil.Scopes{clientsRead, clientsWrite}
	readAudit     = counterfoil.Scopes{auditRead}
	// Alerts are made from the record, and name clients.
	changeAlerts = counterfoil.Scopes{auditRead, clientsWrite}
)

// call is one request in progress.
type call struct {
	*http.Request
	w     http.ResponseWriter
	admin *Local
	query url.Values
}

// answer is the response to it; a nil body is no body.
type answer struct {
	status int
	body   any
	etag   string
}

// operation is one method at a path.
type operation struct {
	// id is the operationId of the document.
	id, method, path string
	// scopes are those that the token must have; none when any token of the realm
	// suffices. A write whose answer shows a client or a key, or says how it
	// differs from others, needs the scope to read those too.
	scopes counterfoil.Scopes
	// query lists the known query parameters.
	query []string
	// versioned says that If-Match is supported.
	versioned bool
	// once says that Idempotency-Key is supported.
	once  bool
	serve func(c *call) (answer, error)
}

const (
	realmPath  = "/v1/realms/{realm}"
	clientPath = realmPath + "/clients/{client}"
	secretPath = clientPath + "/secrets/{secret}"
)

var operations = []operation{
	{id: "root", method: "GET", path: "/{$}", serve: (*call).root},
	{id: "document", method: "GET", path: "/v1/openapi.json", serve: (*call).document},
	{id: "realms", method: "GET", path: "/v1/realms", serve: (*call).realms},
	{id: "clients", method: "GET", path: realmPath + "/clients", scopes: readClients,
		query: []string{"after", "limit", "search", "environment", "status", "idle_since", "ends_before"}, serve: (*call).clients},
	{id: "createClient", method: "POST", path: realmPath + "/clients", scopes: changeClients, once: true, serve: (*call).createClient},
	{id: "client", method: "GET", path: clientPath, scopes: readClients, serve: (*call).client},
	{id: "changeClient", method: "PATCH", path: clientPath, scopes: changeClients, versioned: true, serve: (*call).changeClient},
	{id: "deleteClient", method: "DELETE", path: clientPath, scopes: writeClients, serve: (*call).deleteClient},
	{id: "rotateSecret", method: "POST", path: clientPath + "/secrets", scopes: writeClients, versioned: true, once: true,
		serve: (*call).rotateSecret},
	{id: "rotateAPIKey", method: "POST", path: clientPath + "/api-keys", scopes: writeClients, versioned: true, once: true,
		serve: (*call).rotateAPIKey},
	{id: "endSecret", method: "PATCH", path: secretPath, scopes: writeClients, serve: (*call).endSecret},
	{id: "deleteSecret", method: "DELETE", path: secretPath, scopes: writeClients, serve: (*call).deleteSecret},
	{id: "disableClient", method: "POST", path: clientPath + "/disable", scopes: writeClients, serve: (*call).disableClient},
	{id: "enableClient", method: "POST", path: clientPath + "/enable", scopes: writeClients, serve: (*call).enableClient},
	{id: "revokeTokens", method: "POST", path: clientPath + "/revoke", scopes: counterfoil.Scopes{tokensRevoke}, serve: (*call).revokeTokens},
	{id: "importClients", method: "POST", path: realmPath + "/imports", scopes: changeClients,
		query: []string{"format", "dry_run", "replace", "partial", "literal_secrets", "cap_lifetime", "from_realm"},
		serve: (*call).importClients},
	{id: "blocks", method: "GET", path: "/v1/blocks", scopes: readClients, serve: (*call).blocks},
	{id: "liftBlocks", method: "POST", path: "/v1/blocks/lift", scopes: changeClients, serve: (*call).liftBlocks},
	{id: "alerts", method: "GET", path: "/v1/alerts", scopes: readAudit,
		query: []string{"kind", "realm", "client", "acknowledged", "before", "limit"}, serve: (*call).alerts},
	{id: "acknowledgeAlerts", method: "POST", path: "/v1/alerts/acknowledge", scopes: changeAlerts, serve: (*call).acknowledgeAlerts},
	{id: "silences", method: "GET", path: "/v1/silences", scopes: readAudit, serve: (*call).silences},
	{id: "createSilence", method: "POST", path: "/v1/silences", scopes: changeAlerts, serve: (*call).createSilence},
	{id: "deleteSilence", method: "DELETE", path: "/v1/silences/{silence}", scopes: changeAlerts, serve: (*call).deleteSilence},
	{id: "keys", method: "GET", path: realmPath + "/keys", scopes: counterfoil.Scopes{keysRead}, serve: (*call).keys},
	{id: "rotateKey", method: "POST", path: realmPath + "/keys", scopes: counterfoil.Scopes{keysRead, keysWrite}, serve: (*call).rotateKey},
	{id: "events", method: "GET", path: "/v1/events", scopes: readAudit, query: eventFilters, serve: (*call).events},
	{id: "auditLog", method: "GET", path: "/v1/log", scopes: readAudit, serve: (*call).auditLog},
	{id: "auditTile", method: "GET", path: "/v1/log/tile", scopes: readAudit, query: []string{"level", "n"}, serve: (*call).auditTile},
	{id: "auditCheckpoints", method: "GET", path: "/v1/log/checkpoints", scopes: readAudit,
		query: []string{"after", "limit"}, serve: (*call).auditCheckpoints},
}

// HandlerConfig configures NewHandler.
type HandlerConfig struct {
	// Realm is the one whose tokens the guard in front accepts. Required.
	Realm string
	// Proxies are those in front of the API, for the addresses in the record.
	Proxies counterfoil.Proxies
	// Repeated, when set, records calls that read the audit record, or counts
	// them: who follows the record would otherwise find only itself there.
	Repeated func(context.Context, counterfoil.Event) error
	// OnEvent, when set, is called with an event for each call, once it is recorded:
	// EventAdminCalled, also where the record has the change instead, or
	// EventAdminRefused.
	OnEvent func(context.Context, counterfoil.Event)
	// Logger gets failures; nil for slog.Default.
	Logger *slog.Logger
}

// handler serves the operations.
type handler struct {
	HandlerConfig
	local   *Local
	peers   *peer.Config
	trouble lograte.Limiter
	mux     http.ServeMux
	// byPath holds the operations of each path by method.
	byPath  map[string]map[string]*operation
	repeats *repeats
	// streams counts those of events.
	streams atomic.Int64
}

// NewHandler serves l over HTTP. It must be mounted behind a guard that has
// verified a token of the realm: a request without a Principal is answered with
// 500. Paths are relative to the mount point. Every call is recorded before it is
// answered. The error is that of wrong Proxies.
func NewHandler(l *Local, c HandlerConfig) (http.Handler, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	peers, err := peer.New(c.Proxies)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	h := &handler{HandlerConfig: c, local: l, peers: peers, byPath: map[string]map[string]*operation{}, repeats: newRepeats(l.Clock)}
	for i := range operations {
		o := &operations[i]
		if h.byPath[o.path] == nil {
			h.byPath[o.path] = map[string]*operation{}
			h.mux.HandleFunc(o.path, func(w http.ResponseWriter, r *http.Request) { h.dispatch(w, r, o.path) })
		}
		h.byPath[o.path][o.method] = o
	}
	return h, nil
}

// ServeHTTP refuses unauthenticated requests and finds the path.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p, ok := counterfoil.PrincipalFrom(r.Context())
	if !ok {
		h.refuse(w, r, errors.New("a request did not pass a guard"))
		return
	}
	asked := r
	defer func() { asked.Pattern = r.Pattern }() // for handlers in front, as ServeMux sets it
	r = h.begin(r, p)
	if r.URL.Path == "" {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = "/", ""
	}
	// A trailing slash does not matter.
	if escaped := r.URL.EscapedPath(); escaped != "//" && escaped == path.Clean(escaped)+"/" {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = strings.TrimSuffix(r.URL.Path, "/"), strings.TrimSuffix(r.URL.RawPath, "/")
	}
	// ServeMux redirects a path that is not clean to one that lacks the mount
	// point: such paths are refused instead.
	if _, pattern := h.mux.Handler(r); pattern == "" || path.Clean(r.URL.EscapedPath()) != r.URL.EscapedPath() {
		h.refuse(w, r, problem(NotFound, "there is nothing at this path"))
		return
	}
	h.mux.ServeHTTP(w, r)
}

// dispatch performs the steps of a request.
func (h *handler) dispatch(w http.ResponseWriter, r *http.Request, path string) {
	// 1. The operation.
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	o, ok := h.byPath[path][method]
	if !ok {
		allowed := []string{}
		for method := range h.byPath[path] {
			allowed = append(allowed, method)
		}
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		h.refuse(w, r, problem(wrongMethod, "use %s here", strings.Join(allowed, " or ")))
		return
	}
	origin.From(r.Context()).Event.Detail = o.id
	// 2. The caller's permission.
	p, _ := counterfoil.PrincipalFrom(r.Context())
	if !p.Scopes.ContainsAll(o.scopes) {
		// RFC 6750 section 3.1
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+o.scopes.String()+`"`)
		h.refuse(w, r, problem(forbidden, "this needs a token with the scope %s", strings.Join(o.scopes, " and ")))
		return
	}
	// 3. The parameters.
	c := &call{Request: r, w: w, admin: h.local.as(h.actor(p), clients.Authority{Realm: h.Realm, ClientID: p.ClientID, Scopes: p.Scopes})}
	var err error
	if c.query, err = parameters(r.URL.RawQuery, o.query); err == nil && !o.versioned && r.Header.Get("If-Match") != "" {
		err = problem(malformed, "If-Match has no meaning here")
	}
	// 4. The answer.
	var a answer
	switch {
	case err != nil:
	case o.once && len(r.Header.Values(idempotencyKey)) > 0:
		a, err = h.repeats.serve(c, p.ClientID, o.serve)
	default:
		a, err = o.serve(c)
	}
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if err := h.record(r, nil); err != nil {
		h.fail(w, r, err)
		return
	}
	h.write(w, r, a, "application/json")
}

// actor returns the name of a request's sender for the audit record.
func (h *handler) actor(p *counterfoil.Principal) string {
	return "client " + h.Realm + "/" + event.Clean(p.ClientID, 60) + " (token " + event.Clean(p.TokenID, 40) + ")"
}

// parameters returns the query. It refuses repeated and unknown parameters.
func parameters(raw string, allowed []string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, problem(malformed, "the query is malformed: percent-encode its names and values")
	}
	for name, given := range values {
		switch {
		case !slices.Contains(allowed, name) && len(allowed) == 0:
			return nil, problem(malformed, "no query parameters are allowed here")
		case !slices.Contains(allowed, name):
			return nil, problem(malformed, "the query parameter %s is unknown: allowed are %s", show(name), strings.Join(allowed, ", "))
		case len(given) > 1:
			return nil, problem(malformed, "the query parameter %s is given %d times: give it once", name, len(given))
		}
	}
	return values, nil
}

// number returns a numeric parameter; 0 when it is omitted.
func (c *call) number(name string) (int64, error) {
	if !c.query.Has(name) {
		return 0, nil
	}
	n, err := strconv.ParseInt(c.query.Get(name), 10, 64)
	if err != nil || n < 0 {
		return 0, problem(malformed, "the query parameter %s must be a whole number, 0 or more", name)
	}
	return n, nil
}

// flag returns a parameter that is true or false.
func (c *call) flag(name string) (bool, error) {
	switch c.query.Get(name) {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	}
	return false, problem(malformed, "the query parameter %s must be true or false", name)
}

// version returns the version that If-Match names; 0 when it names none (RFC
// 9110 section 13.1.1).
func (c *call) version() (int64, error) {
	given := c.Header.Values("If-Match")
	if len(given) == 0 || len(given) == 1 && given[0] == "*" {
		return 0, nil
	}
	text, ok := strings.CutPrefix(given[0], `"`)
	text, closed := strings.CutSuffix(text, `"`)
	n, err := strconv.ParseInt(text, 10, 64)
	if len(given) > 1 || !ok || !closed || err != nil || n < 1 {
		return 0, problem(malformed, `If-Match must be one ETag of the client, as "3"`)
	}
	return n, nil
}

// read returns the body, of at most maxBody bytes.
func (c *call) read(media string) ([]byte, error) {
	if err := c.media(media); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, maxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, problem(tooLarge, "the body is longer than %d bytes", maxBody)
	case err != nil:
		return nil, problem(malformed, "the body ended before its announced length")
	}
	return data, nil
}

// media refuses a body of another media type.
func (c *call) media(allowed ...string) error {
	media := c.Header.Get("Content-Type")
	coding := c.Header.Get("Content-Encoding")
	switch {
	case !slices.ContainsFunc(allowed, func(a string) bool { return mediatype.Is(media, a) }):
		return problem(wrongMedia, "send the header Content-Type: %s", allowed[0])
	case !mediatype.UTF8(media):
		return problem(wrongMedia, "send the body in UTF-8: JSON has no other charset (RFC 8259 section 8.1)")
	case coding != "" && !strings.EqualFold(coding, "identity"):
		return problem(wrongMedia, "send the body without a Content-Encoding")
	}
	return nil
}

// body decodes the JSON object of the body into the struct that into points
// to. Where the body is optional, no body is an empty object.
func (c *call) body(into any, optional bool) error {
	if optional && c.ContentLength == 0 {
		return nil
	}
	data, err := c.read("application/json")
	if err != nil {
		return err
	}
	v, err := parse(data)
	if err != nil {
		return problem(malformed, "the body cannot be read: %v", err)
	}
	return invalid(wrongValues, decode(v, into))
}

// refuse is the one place where an error becomes an answer, once it is recorded.
// An error that the caller cannot fix is logged in full and not shown to the
// caller.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var p *Problem
	if !errors.As(err, &p) {
		h.fail(w, r, err)
		return
	}
	if err := h.record(r, p); err != nil {
		h.fail(w, r, err)
		return
	}
	h.write(w, r, answer{status: p.Status, body: p}, "application/problem+json")
}

// fail answers a call that failed on this side.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problem(serverError, "the request failed on the server's side: see its log")
	if r.Context().Err() == nil || !errors.Is(err, context.Canceled) {
		h.trouble.Error(r.Context(), h.local.Clock, h.Logger, "admin request failed", "method", r.Method, "route", r.Pattern, "error", err)
	}
	_ = h.record(r, p) // the log has the first failure
	h.write(w, r, answer{status: p.Status, body: p}, "application/problem+json")
}

func (h *handler) write(w http.ResponseWriter, r *http.Request, a answer, media string) {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	if a.etag != "" {
		header.Set("ETag", a.etag)
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	if stream, ok := a.body.(*eventStream); ok {
		stream.handler = h
		stream.write(w)
		return
	}
	if report, ok := a.body.(*Report); ok {
		header.Set("Content-Type", media)
		w.WriteHeader(a.status)
		if err := errors.Join(report.WriteJSON(w), report.Close()); err != nil {
			// The status is already sent: abort the answer, so that the caller
			// notices.
			h.Logger.ErrorContext(r.Context(), "admin answer cut off", "route", r.Pattern, "error", err)
			panic(http.ErrAbortHandler)
		}
		return
	}
	body, ok := a.body.([]byte)
	if !ok {
		var err error
		if body, err = json.Marshal(a.body); err != nil {
			h.Logger.ErrorContext(r.Context(), "admin answer not encoded", "route", r.Pattern, "error", err)
			http.Error(w, "server error", http.StatusInternalServerError)
			return
		}
		body = append(body, '\n')
	}
	header.Set("Content-Type", media)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // fails only when the caller has disconnected
}
