package provider

import (
	"net/http"
	"strings"

	"github.com/counterfoil/counterfoil"
)

// Refusal is the exact answer to a refused request.
type Refusal struct {
	// Status is the HTTP status, 400 to 599.
	Status int `yaml:"status" check:"required"`
	// Headers are set in addition to those that every answer has. The Content-Type
	// of a body is "application/json" if they do not name one.
	Headers map[string]string `yaml:"headers,omitempty"`
	// Body is sent exactly as written, except that {header} is replaced by the name
	// of the header in question, and {scope} by the scopes that are needed; both
	// are replaced in Headers, too.
	Body string `yaml:"body,omitempty"`
}

// RefusalParams are what the placeholders of a Refusal are replaced by. They come
// from a description or the code of an API, never from a request.
type RefusalParams struct {
	Header string
	Scopes counterfoil.Scopes
}

// Fill returns r with its placeholders replaced.
func (r Refusal) Fill(d RefusalParams) Refusal {
	fill := strings.NewReplacer("{header}", d.Header, "{scope}", d.Scopes.String())
	headers := make(map[string]string, len(r.Headers))
	for name, value := range r.Headers {
		headers[name] = fill.Replace(value)
	}
	return Refusal{Status: r.Status, Headers: headers, Body: fill.Replace(r.Body)}
}

// retryAfter is the time after which a caller may retry if the service is
// unavailable, in seconds (RFC 9110 section 10.2.3).
const retryAfter = "2"

// Write sends r. A 503 has a Retry-After header, by default of 2 seconds.
func (r Refusal) Write(w http.ResponseWriter) {
	h := w.Header()
	for name, value := range r.Headers {
		h.Set(name, value)
	}
	if r.Status == http.StatusServiceUnavailable && h.Get("Retry-After") == "" {
		h.Set("Retry-After", retryAfter)
	}
	switch {
	case r.Body == "":
		h.Del("Content-Type")
	case h.Get("Content-Type") == "":
		h.Set("Content-Type", "application/json")
	}
	w.WriteHeader(r.Status)
	if r.Body != "" {
		_, _ = w.Write([]byte(r.Body))
	}
}

// Refusal returns the shape of a refused token request: the one for reason, or
// for the nearest of its parents that the description has.
func (t *TokenEndpoint) Refusal(reason counterfoil.Reason) Refusal {
	return shape(t.Errors, reason, counterfoil.ReasonServerError)
}

// Refusal returns the shape of a refused call: the one for reason, or for the
// nearest of its parents that the description has; by default for
// ReasonRateLimited a bare 429, and for ReasonPathMalformed a bare 404.
func (a *API) Refusal(reason counterfoil.Reason) Refusal {
	if _, ok := a.Refusals[reason]; !ok && reason == counterfoil.ReasonRateLimited {
		return Refusal{Status: http.StatusTooManyRequests} // RFC 6585 section 4
	}
	if _, ok := a.Refusals[reason]; !ok && reason == counterfoil.ReasonPathMalformed {
		return Refusal{Status: http.StatusNotFound}
	}
	return shape(a.Refusals, reason, counterfoil.ReasonUnavailable)
}

func shape(shapes map[counterfoil.Reason]Refusal, reason, otherwise counterfoil.Reason) Refusal {
	for r := reason; r != ""; r = r.Parent() {
		if s, ok := shapes[r]; ok {
			return s
		}
	}
	return shapes[otherwise]
}

// Reason maps an answer to its reason: it returns the reason whose shape has that
// status and body, or "" if there is no such shape. Of several it returns one
// without a parent, the first by name. It tells a client what an answer of a
// dialect means.
func (t *TokenEndpoint) Reason(status int, body []byte) counterfoil.Reason {
	return reason(t.Errors, status, body)
}

// Reason returns the reason whose shape has that status and body, or "" if there is
// no such shape; of several, one without a parent, the first by name.
func (a *API) Reason(status int, body []byte) counterfoil.Reason {
	return reason(a.Refusals, status, body)
}

func reason(shapes map[counterfoil.Reason]Refusal, status int, body []byte) counterfoil.Reason {
	text := strings.TrimSpace(string(body))
	var found counterfoil.Reason
	for r, s := range shapes {
		if s.Status != status || s.Body == "" || strings.TrimSpace(s.Body) != text {
			continue
		}
		broader := (r.Parent() == "") != (found.Parent() == "")
		if found == "" || (broader && r.Parent() == "") || (!broader && r < found) {
			found = r
		}
	}
	return found
}
