// Package document reads the documents that servers publish about themselves:
// key sets and metadata. It is internal and makes no compatibility promise.
package document

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Document is a fetched document.
type Document struct {
	Body   []byte
	Header http.Header
	// MaxAge is how long the answer may be kept (RFC 9111 section 5.2.2), less
	// the time that it already was in caches; -1 when the answer does not say.
	MaxAge time.Duration
	// ContentType is the media type in lower case, without parameters; "" when
	// the answer names none.
	ContentType string
}

// BodyError says that the body of an answer could not be read to its end.
type BodyError struct{ Err error }

// Error returns the message.
func (e *BodyError) Error() string { return "the answer breaks off: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *BodyError) Unwrap() error { return e.Err }

// Read returns the document of an answer, which has at most so many bytes. Every
// answer but 200 is an error, also a redirect. The error shows only the
// status of the answer, or is a *BodyError.
func Read(resp *http.Response, most int64) (*Document, error) {
	tooLarge := fmt.Errorf("the document is larger than %d bytes", most)
	switch coding := resp.Header.Get("Content-Encoding"); {
	case resp.StatusCode >= 300 && resp.StatusCode <= 399:
		return nil, fmt.Errorf("the answer is %d, a redirect, which is not followed: name the address that it leads to", resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the answer is %d, not 200", resp.StatusCode)
	case coding != "" && !strings.EqualFold(coding, "identity"):
		return nil, errors.New("the answer is compressed, which was not asked for")
	case resp.ContentLength > most:
		return nil, tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err == nil {
		// A host that notices the cancellation can end its answer before the
		// connection is closed, and a truncated answer would look complete.
		err = resp.Request.Context().Err()
	}
	if err != nil {
		return nil, &BodyError{err}
	}
	if int64(len(body)) > most {
		return nil, tooLarge
	}
	contentType, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		contentType = ""
	}
	return &Document{Body: body, Header: resp.Header, MaxAge: maxAge(resp.Header), ContentType: contentType}, nil
}

// maxAge returns the MaxAge of a Document. Of several, the first max-age
// counts.
func maxAge(h http.Header) time.Duration {
	age := time.Duration(-1)
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch name = strings.ToLower(name); {
		case name == "no-store", name == "no-cache":
			return 0
		case name == "max-age" && age < 0:
			// An invalid value is stale (RFC 9111 section 4.2.1): zero less the age.
			seconds, _ := strconv.ParseInt(strings.Trim(value, `"`), 10, 32)
			passed, _ := strconv.ParseInt(h.Get("Age"), 10, 32)
			age = time.Duration(max(seconds-max(passed, 0), 0)) * time.Second
		}
	}
	return age
}
