// Package httpsurl says what an https URL is in a configuration, for all that
// have one. It is internal and makes no compatibility promise.
package httpsurl

import (
	"net/netip"
	"net/url"
	"strings"
)

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

// Loopback returns an http URL of this machine, otherwise as Parse does: there is
// no network on the way to it.
func Loopback(s string) (*url.URL, bool) {
	rest, ok := strings.CutPrefix(s, "http://")
	if !ok {
		return nil, false
	}
	u, ok := Parse("https://" + rest)
	if !ok || !IsLoopback(u.Hostname()) {
		return nil, false
	}
	u.Scheme = "http"
	return u, true
}

// IsLoopback reports whether a host is this machine by its name or its address.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}
