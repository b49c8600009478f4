// Package httpsurl says what an https URL is in a configuration, for all that
// have one. It is internal and makes no compatibility promise.
package httpsurl

import "net/url"

// Parse returns an absolute https URL with a host and without credentials and
// fragment, and whether s is one.
func Parse(s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, false
	}
	return u, true
}

// Base returns an https URL without a query, as Parse does.
func Base(s string) (*url.URL, bool) {
	u, ok := Parse(s)
	return u, ok && u.RawQuery == ""
}
