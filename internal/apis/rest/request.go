package rest

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/mediatype"
)

// MaxBody bounds the body of a request, in bytes. A longer one is refused with
// status 413.
const MaxBody = 64 << 10

// Body decodes the JSON object that r carries into the struct at v, as
// [apis.Decode] does. Its error is a *Problem: 413 for a body over MaxBody, 415 for
// anything but application/json in UTF-8, 400 for what it refuses and for
// no body.
func Body(r *http.Request, v any) error {
	if r.ContentLength > MaxBody {
		return tooLarge()
	}
	if r.ContentLength == 0 {
		return empty()
	}
	media := r.Header.Get("Content-Type")
	if !mediatype.Is(media, "application/json") {
		return Refuse(http.StatusUnsupportedMediaType, unsupportedMediaType, "send the header Content-Type: application/json")
	}
	if !mediatype.UTF8(media) {
		return Refuse(
			http.StatusUnsupportedMediaType, unsupportedMediaType,
			"send the body in UTF-8: JSON has no other charset (RFC 8259 section 8.1)",
		)
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return Refuse(http.StatusUnsupportedMediaType, unsupportedMediaType, "send the body without a Content-Encoding")
	}
	data, err := io.ReadAll(r.Body)
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return tooLarge()
	case err != nil:
		return Refuse(http.StatusBadRequest, InvalidRequest, "the body ended before its announced length")
	case len(data) == 0:
		return empty()
	}
	if err := apis.Decode(data, v); err != nil {
		return Refuse(http.StatusBadRequest, InvalidRequest, "%v", err)
	}
	return nil
}

func empty() error {
	return Refuse(http.StatusBadRequest, InvalidRequest, "the body is empty: send a JSON object, at least {}")
}

func tooLarge() error {
	return Refuse(http.StatusRequestEntityTooLarge, requestTooLarge, "the body is longer than %d bytes", MaxBody)
}

// Query returns the query parameters of r. Its error is a *Problem for a
// parameter that is not among allowed, is given twice, or is not encoded as a
// URL's query must be.
func Query(r *http.Request, allowed ...string) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, Refuse(http.StatusBadRequest, InvalidRequest, "the query string is malformed: percent-encode its names and values")
	}
	for name, given := range values {
		if !slices.Contains(allowed, name) {
			if len(allowed) == 0 {
				return nil, Refuse(http.StatusBadRequest, InvalidRequest, "no query parameters are allowed here")
			}
			return nil, Refuse(
				http.StatusBadRequest, InvalidRequest, "unknown query parameter %s: allowed are %s", apis.Quote(name),
				strings.Join(allowed, ", "),
			)
		}
		if len(given) > 1 {
			return nil, Refuse(
				http.StatusBadRequest, InvalidRequest, "query parameter %s is given %d times: give it once", name,
				len(given),
			)
		}
	}
	return values, nil
}
