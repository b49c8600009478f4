package server

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/mediatype"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/internal/form"
)

// maxOwnBody bounds the body of a request with a token and possibly an
// assertion: each is at most jose.MaxToken.
const maxOwnBody = 32 << 10

const formType = "application/x-www-form-urlencoded"

// tokenRequest is a well-formed token request.
type tokenRequest struct {
	body      form.Form
	grantType string
	// resources are the values of resource, the one parameter that may be
	// repeated (RFC 8707 section 2).
	resources []string
}

// parseTokenRequest reads a token request strictly and within the described limits.
func parseTokenRequest(e *provider.TokenEndpoint, r *http.Request) (tokenRequest, *clientauth.Refusal) {
	if r.Method != http.MethodPost {
		return tokenRequest{}, clientauth.Refused(counterfoil.ReasonMethodNotAllowed, "")
	}
	if !acceptable(e, r.Header) && !untyped(e, r) {
		return tokenRequest{}, clientauth.Refused(counterfoil.ReasonUnsupportedMediaType, "")
	}
	body, refusal := readForm(r, int64(e.Limits.Body))
	if refusal != nil {
		return tokenRequest{}, refusal
	}
	query, refusal := parseForm(r.URL.RawQuery)
	if refusal != nil {
		return tokenRequest{}, refusal
	}
	for _, p := range query {
		if misplaced(e, p.Name) {
			return tokenRequest{}, clientauth.Refused(counterfoil.ReasonMisplacedParameter, "a parameter in the query")
		}
	}
	req := tokenRequest{body: body, grantType: body.Get("grant_type"), resources: body.All("resource")}
	if e.GrantTypeIn == provider.PlaceQuery {
		// Libraries put it into the body whatever the URL says, so an equal value
		// there is accepted.
		inBody := req.grantType
		if req.grantType = query.Get("grant_type"); inBody != "" && inBody != req.grantType {
			return tokenRequest{}, clientauth.Refused(counterfoil.ReasonMisplacedParameter, "grant_type belongs into the query")
		}
	}
	return req, nil
}

// misplaced reports whether a parameter of that name must not be in the query.
// Unknown ones are ignored (RFC 6749 section 3.2).
func misplaced(e *provider.TokenEndpoint, name string) bool {
	switch name {
	case "client_id", "client_secret", "scope", "client_assertion", "client_assertion_type":
		return true
	case "grant_type":
		return e.GrantTypeIn != provider.PlaceQuery
	}
	return false
}

// acceptable reports whether the body is declared to be an uncompressed form.
func acceptable(e *provider.TokenEndpoint, h http.Header) bool {
	given := h["Content-Type"]
	switch {
	case h.Get("Content-Encoding") != "", len(given) > 1:
		return false
	case noType(h):
		return e.MediaType == provider.PresenceOptional
	}
	return mediatype.Is(given[0], formType)
}

// noType reports whether a body's media type is not given: some libraries send
// the header with an empty value.
func noType(h http.Header) bool {
	return !slices.ContainsFunc(h["Content-Type"], func(given string) bool { return strings.TrimSpace(given) != "" })
}

// untyped reports whether the body is empty and therefore needs no media type:
// some libraries set one on every request. At most the first byte of the body
// is read.
func untyped(e *provider.TokenEndpoint, r *http.Request) bool {
	if e.MediaType != provider.PresenceOptional || len(r.Header["Content-Type"]) > 1 || r.Header.Get("Content-Encoding") != "" {
		return false
	}
	if r.ContentLength >= 0 {
		return r.ContentLength == 0
	}
	n, err := io.ReadFull(r.Body, make([]byte, 1))
	return n == 0 && errors.Is(err, io.EOF)
}

// readForm reads an acceptable body. The media type has no parameters (WHATWG
// URL section 5); a charset that clients add nevertheless does not matter for
// ASCII, and browsers and libraries write forms in ASCII. Anything else must
// be UTF-8 (RFC 6749 appendix B).
func readForm(r *http.Request, limit int64) (form.Form, *clientauth.Refusal) {
	text, refusal := readBody(r, limit)
	if refusal != nil {
		return nil, refusal
	}
	if strings.ContainsFunc(text, func(c rune) bool { return c >= utf8.RuneSelf }) && !mediatype.UTF8(r.Header.Get("Content-Type")) {
		return nil, clientauth.Refused(counterfoil.ReasonUnsupportedMediaType, "the charset is not UTF-8")
	}
	return parseForm(text)
}

// readBody reads the body at once, up to the limit. The rest is left to
// net/http, which skips a small rest and closes the connection on a large one.
func readBody(r *http.Request, limit int64) (string, *clientauth.Refusal) {
	if r.ContentLength > limit {
		return "", clientauth.Refused(counterfoil.ReasonRequestTooLarge, "")
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return "", clientauth.Refused(counterfoil.ReasonMalformedRequest, "the body ends early")
	}
	if int64(len(text)) > limit {
		return "", clientauth.Refused(counterfoil.ReasonRequestTooLarge, "")
	}
	return string(text), nil
}

// parseForm reads a body or a query.
func parseForm(text string) (form.Form, *clientauth.Refusal) {
	f, err := form.Parse(text)
	switch {
	case errors.Is(err, form.ErrRepeated):
		return nil, clientauth.Refused(counterfoil.ReasonRepeatedParameter, "")
	case err != nil:
		return nil, clientauth.Refused(counterfoil.ReasonMalformedRequest, err.Error())
	}
	return f, nil
}

// parseAbout reads a request about a token or a secret, a parameter of that name,
// strictly: it must be a POST of a form, with no parameter in the query that belongs
// into the body.
func parseAbout(e *provider.TokenEndpoint, r *http.Request, name string) (form.Form, *clientauth.Refusal) {
	if r.Method != http.MethodPost {
		return nil, clientauth.Refused(counterfoil.ReasonMethodNotAllowed, "")
	}
	if noType(r.Header) || !acceptable(e, r.Header) {
		return nil, clientauth.Refused(counterfoil.ReasonUnsupportedMediaType, "")
	}
	body, refusal := readForm(r, maxOwnBody)
	if refusal != nil {
		return nil, refusal
	}
	query, refusal := parseForm(r.URL.RawQuery)
	if refusal != nil {
		return nil, refusal
	}
	for _, p := range query {
		if p.Name == name || misplaced(e, p.Name) {
			return nil, clientauth.Refused(counterfoil.ReasonMisplacedParameter, "a parameter in the query")
		}
	}
	return body, nil
}
