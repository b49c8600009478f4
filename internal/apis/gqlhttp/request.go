package gqlhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"

	"github.com/counterfoil/counterfoil/internal/mediatype"
)

// The media types of an answer.
const (
	typeJSON     = "application/json"
	typeResponse = "application/graphql-response+json"
)

// refusal is a request that is refused before its document is read.
type refusal struct {
	status  int
	code    string
	message string
}

var nothing = &refusal{http.StatusNotFound, "NOT_FOUND", "nothing here: the GraphQL endpoint is the only path"}

// NotFound answers a request outside the endpoint, in the same form.
func NotFound(w http.ResponseWriter, _ *http.Request) {
	(&writer{w: w, json: true}).refuse(nothing)
}

// Serves reports whether the path of a request is that of the endpoint.
func (h *Handler) Serves(r *http.Request) bool { return r.URL.Path == "/" || r.URL.Path == "" }

func badRequest(format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, "BAD_REQUEST", fmt.Sprintf(format, args...)}
}

// place checks the path and the method, and determines the media type of the
// response.
func (h *Handler) place(answer *writer, r *http.Request) *refusal {
	accepts := strings.Join(r.Header.Values("Accept"), ",")
	media, acceptable := negotiate(accepts)
	answer.json = media != typeResponse
	if !h.Serves(r) {
		return nothing
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	default:
		answer.w.Header().Set("Allow", "GET, HEAD, POST")
		return &refusal{http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "use POST with a JSON body, or GET with a query parameter"}
	}
	if !acceptable {
		return &refusal{
			http.StatusNotAcceptable, "NOT_ACCEPTABLE",
			"the answer is " + typeResponse + " or " + typeJSON + ": accept one of them",
		}
	}
	return nil
}

// negotiate picks the media type of the response for an Accept header (RFC 9110
// section 12.5.1). Only callers that name application/graphql-response+json get
// it: its status codes would surprise others.
func negotiate(accept string) (media string, acceptable bool) {
	if strings.TrimSpace(accept) == "" {
		return typeJSON, true
	}
	weights := map[string]float64{}
	for part := range strings.SplitSeq(accept, ",") {
		name, params, err := mime.ParseMediaType(part)
		if err != nil || !mediatype.UTF8(part) {
			continue
		}
		q := 1.0
		if text, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil || !(q >= 0 && q <= 1) {
				continue
			}
		}
		weights[name] = max(weights[name], q)
	}
	weight := func(names ...string) float64 {
		for _, name := range names {
			if q, ok := weights[name]; ok {
				return q
			}
		}
		return 0
	}
	plain := weight(typeJSON, "application/*", "*/*")
	switch named := weights[typeResponse]; {
	case named > 0 && named >= plain:
		return typeResponse, true
	case plain > 0:
		return typeJSON, true
	}
	return typeJSON, false
}

// parameters reads what a request asks for (GraphQL over HTTP, "Request").
func (h *Handler) parameters(w http.ResponseWriter, r *http.Request) (*graphql.RawParams, *refusal) {
	if r.Method != http.MethodPost {
		if len(r.URL.RawQuery) > h.cfg.Limits.Body {
			return nil, &refusal{
				http.StatusRequestURITooLong, "URI_TOO_LONG",
				fmt.Sprintf("the URL's query is limited to %d bytes: use POST", h.cfg.Limits.Body),
			}
		}
		return fromURL(r.URL.RawQuery)
	}
	readable, form := mayBeJSON(r.Header)
	if !readable && r.ContentLength != 0 {
		return nil, unsupported(w)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(h.cfg.Limits.Body)))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &refusal{
			http.StatusRequestEntityTooLarge, "PAYLOAD_TOO_LARGE",
			fmt.Sprintf("the body is limited to %d bytes", tooLarge.Limit),
		}
	case err != nil:
		return nil, badRequest("the body could not be read to its end")
	}
	body = bytes.TrimSpace(body)
	if len(body) > 0 && (!readable || form && body[0] != '{') {
		return nil, unsupported(w)
	}
	return fromJSON(body)
}

// mayBeJSON reports whether a body is read as JSON: if it has that media type,
// in UTF-8 and not compressed, or has none. Many clients send JSON as a form, as
// curl does by default; a body that really is a form is still not a request.
func mayBeJSON(h http.Header) (readable, form bool) {
	given, media := h["Content-Type"], h.Get("Content-Type")
	if h.Get("Content-Encoding") != "" || len(given) > 1 || !mediatype.UTF8(media) {
		return false, false
	}
	form = mediatype.Is(media, "application/x-www-form-urlencoded")
	return media == "" || form || mediatype.Is(media, typeJSON), form
}

func unsupported(w http.ResponseWriter) *refusal {
	w.Header().Set("Accept-Post", typeJSON)
	return &refusal{
		http.StatusUnsupportedMediaType, "UNSUPPORTED_MEDIA_TYPE",
		"send the request as Content-Type: " + typeJSON + ", in UTF-8 and not compressed",
	}
}

// wire is a request's parameters as JSON has them; null is the same as absent.
type wire struct {
	Query         *string        `json:"query"`
	OperationName *string        `json:"operationName"`
	Variables     map[string]any `json:"variables"`
	Extensions    map[string]any `json:"extensions"`
}

// shapes describes the type of each parameter.
var shapes = map[string]string{
	"query": "a string", "operationName": "a string or null",
	"variables": "an object or null", "extensions": "an object or null",
}

// fromJSON decodes the body of a POST, without surrounding space. Unknown
// members are ignored, as the specification requires.
func fromJSON(body []byte) (*graphql.RawParams, *refusal) {
	switch {
	case len(body) == 0:
		return nil, badRequest(`"query" is missing, for the body is empty: send {"query": "..."}`)
	case !utf8.Valid(body):
		return nil, badRequest("the body is not UTF-8")
	case body[0] != '{' && json.Valid(body):
		return nil, badRequest("the body has to be one JSON object; batches are not supported")
	}
	var in wire
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	err := dec.Decode(&in)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		name, _, _ := strings.Cut(wrong.Field, ".")
		return nil, badRequest("%q has to be %s", name, shapes[name])
	}
	if err == nil && dec.InputOffset() != int64(len(body)) {
		err = errors.New("text after the object")
	}
	if err != nil {
		return nil, badRequest("the body is not well-formed JSON")
	}
	return in.params()
}

// fromURL decodes the parameters of a GET.
func fromURL(raw string) (*graphql.RawParams, *refusal) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("the URL's query is not well-formed")
	}
	var in wire
	for name, shape := range shapes {
		switch got := values[name]; {
		case len(got) > 1:
			return nil, badRequest("%q is given %d times: give it once", name, len(got))
		case len(got) == 0:
			continue
		case !utf8.ValidString(got[0]):
			return nil, badRequest("%q is not UTF-8", name)
		case name == "query":
			in.Query = &got[0]
		case name == "operationName":
			in.OperationName = &got[0]
		default:
			target := &in.Variables
			if name == "extensions" {
				target = &in.Extensions
			}
			dec := json.NewDecoder(strings.NewReader(got[0]))
			dec.UseNumber()
			if got[0] != "" && (dec.Decode(target) != nil || dec.InputOffset() != int64(len(strings.TrimRight(got[0], " \t\r\n")))) {
				return nil, badRequest("%q has to be %s, in JSON", name, shape)
			}
		}
	}
	return in.params()
}

func (in *wire) params() (*graphql.RawParams, *refusal) {
	if in.Query == nil || strings.TrimSpace(*in.Query) == "" {
		return nil, badRequest(`"query" is missing: it has to be a string with a GraphQL document`)
	}
	out := &graphql.RawParams{Query: *in.Query, Variables: in.Variables, Extensions: in.Extensions}
	if in.OperationName != nil {
		out.OperationName = *in.OperationName
	}
	return out, nil
}

// writer writes the one response to a request.
type writer struct {
	w    http.ResponseWriter
	json bool // application/json; otherwise application/graphql-response+json
}

// refuse answers a request that has no document.
func (a *writer) refuse(refusal *refusal) {
	a.write(refusal.status, &response{Errors: []*errorOnWire{coded(refusal.code, "%s", refusal.message)}})
}

// result answers a request that has a document. In application/json every such
// response is a 200; in the other media type a document that was not executed is
// a 400, or a 500 if only the server is at fault.
func (a *writer) result(res *response) {
	status := http.StatusOK
	switch {
	case res.status != 0:
		a.w.Header().Set("Allow", "POST")
		status = res.status
	case !a.json && len(res.Data) == 0 && slices.ContainsFunc(res.Errors, isInternal):
		status = http.StatusInternalServerError
	case !a.json && len(res.Data) == 0:
		status = http.StatusBadRequest
	}
	a.write(status, res)
}

func (a *writer) write(status int, res *response) {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(res); err != nil {
		panic(err)
	}
	media := typeResponse
	if a.json {
		media = typeJSON
	}
	header := a.w.Header()
	header.Set("Content-Type", media+"; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	header.Set("Vary", "Accept")
	a.w.WriteHeader(status)
	_, _ = a.w.Write(body.Bytes())
}
