package guard

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/mediatype"
	"github.com/counterfoil/counterfoil/provider"
)

// maxCredential bounds an API key and a tenant, in bytes; no longer one exists.
const maxCredential = 1 << 10

// header is a header that the description demands, with the reasons for refusing
// a request in which it is missing, repeated or invalid.
type header struct {
	provider.Header
	key                        string // in http.Header
	missing, repeated, invalid counterfoil.Reason
}

func headersOf(api *provider.API) []header {
	headers := make([]header, len(api.Headers))
	for i, h := range api.Headers {
		headers[i] = header{Header: h, key: textproto.CanonicalMIMEHeaderKey(h.Name)}
		d := &headers[i]
		switch h.From {
		case provider.HeaderFromToken:
			d.missing, d.repeated = counterfoil.ReasonTokenMissing, counterfoil.ReasonTokenRepeated
			d.invalid = counterfoil.ReasonTokenMalformed
		case provider.HeaderFromAPIKey:
			d.missing, d.repeated = counterfoil.ReasonAPIKeyMissing, counterfoil.ReasonAPIKeyInvalid
			d.invalid = counterfoil.ReasonAPIKeyInvalid
		case provider.HeaderFromTenant:
			d.missing, d.repeated = counterfoil.ReasonTenantMissing, counterfoil.ReasonHeaderInvalid
			d.invalid = counterfoil.ReasonTenantDenied
			if !describes(api, d.repeated) {
				d.repeated = counterfoil.ReasonTenantMissing
			}
		default:
			d.missing, d.repeated = counterfoil.ReasonHeaderMissing, counterfoil.ReasonHeaderInvalid
			d.invalid = counterfoil.ReasonHeaderInvalid
		}
	}
	return headers
}

// describes reports whether api has a shape for reason or one of its parents.
func describes(api *provider.API, reason counterfoil.Reason) bool {
	for ; reason != ""; reason = reason.Parent() {
		if _, ok := api.Refusals[reason]; ok {
			return true
		}
	}
	return false
}

// sent is what a request carries in the headers of the description.
type sent struct {
	want                  *header // the one whose source is token
	authorization, tenant string
	apiKey                counterfoil.Secret
	// token is the access token; proved is true if it came with the scheme DPoP.
	token  string
	proved bool
}

// demand reads the headers in the description's order. It refuses the request for
// the first that is missing, repeated or invalid. It does not check credentials.
// A Content-Type describes the content, so without content it is ignored (RFC
// 9110 section 8.3).
func (g *Guard) demand(r *http.Request) (sent, *Refusal) {
	var s sent
	for i := range g.headers {
		want := &g.headers[i]
		values := r.Header[want.key]
		fits := len(values) == 1 && want.takes(values[0])
		switch {
		case want.key == contentType && !fits && empty(r):
			continue
		case len(values) > 1:
			return s, &Refusal{Reason: want.repeated, header: want.Name, detail: "the header is repeated"}
		case len(values) == 0 || values[0] == "":
			if want.Presence == provider.PresenceOptional {
				continue
			}
			return s, &Refusal{Reason: want.missing, header: want.Name}
		case !fits:
			return s, &Refusal{Reason: want.invalid, header: want.Name}
		}
		switch want.From {
		case provider.HeaderFromToken:
			s.want, s.authorization = want, values[0]
		case provider.HeaderFromAPIKey:
			s.apiKey = counterfoil.Secret(values[0])
		case provider.HeaderFromTenant:
			s.tenant = values[0]
		}
	}
	return s, nil
}

const contentType = "Content-Type"

// empty reports whether a request has no content. If the framing does not tell, as
// when a proxy forwards a GET in chunks, it waits for one byte.
func empty(r *http.Request) bool {
	if r.ContentLength >= 0 || r.Body == nil {
		return r.ContentLength <= 0
	}
	body := bufio.NewReaderSize(r.Body, 16)
	_, err := body.Peek(1)
	r.Body = struct {
		io.Reader
		io.Closer
	}{body, r.Body}
	return errors.Is(err, io.EOF)
}

// takes reports whether the header may have that value.
func (h *header) takes(value string) bool {
	switch {
	case h.From == provider.HeaderFromToken:
		return true // credential checks it
	case h.Value == "":
		return len(value) <= maxCredential
	case h.key == contentType:
		return mediatype.Is(value, h.Value)
	}
	return value == h.Value
}

// credential reads the token from the header whose source is token (RFC 6750
// section 2.1), never from a parameter of the query or body. With another scheme,
// the request counts as one without a token (RFC 6750 section 3.1), except that
// DPoP is accepted with every description. The parser of tokens checks their
// characters; it accepts fewer than b64token allows.
func (s *sent) credential() *Refusal {
	want := s.want
	scheme, token, spaced := strings.Cut(s.authorization, " ")
	switch {
	case want.Scheme != "" && strings.EqualFold(scheme, want.Scheme):
		token = strings.TrimLeft(token, " ")
		s.proved = strings.EqualFold(want.Scheme, schemeDPoP)
	case spaced && strings.EqualFold(scheme, schemeDPoP):
		token = strings.TrimLeft(token, " ")
		s.proved = true
	case want.Scheme == "", want.Bare && !spaced:
		token = s.authorization
	default:
		return &Refusal{Reason: counterfoil.ReasonTokenMissing, header: want.Name, detail: "another scheme"}
	}
	if token == "" || len(token) > jose.MaxToken {
		return &Refusal{Reason: counterfoil.ReasonTokenMalformed, header: want.Name, detail: "empty or too long"}
	}
	s.token = token
	return nil
}
