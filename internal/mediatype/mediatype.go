// Package mediatype reads the media types of requests and of JWTs as their
// senders mean them.
package mediatype

import (
	"mime"
	"strings"
)

// Is reports whether a Content-Type names a media type, whatever its parameters
// and however they are written.
func Is(contentType, mediaType string) bool {
	name, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(name), mediaType)
}

// UTF8 reports whether a Content-Type, or an element of Accept, allows text in
// UTF-8: it names no charset, or UTF-8 under its name or the common "utf8", or
// US-ASCII, which is a part of UTF-8 (RFC 3629 section 1). It reports false for a
// malformed one.
func UTF8(contentType string) bool {
	if contentType == "" {
		return true
	}
	_, params, err := mime.ParseMediaType(contentType)
	charset, named := params["charset"]
	if err != nil || !named {
		return err == nil
	}
	switch strings.ToLower(charset) {
	case "utf-8", "utf8", "us-ascii":
		return true
	}
	return false
}

// OfJWT returns the typ of a JWT without the prefix that RFC 7515 section 4.1.9
// makes optional.
func OfJWT(typ string) string {
	const prefix = "application/"
	if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
		return typ[len(prefix):]
	}
	return typ
}
