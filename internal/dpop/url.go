package dpop

import (
	"net/url"
	"strings"
)

// normal returns the normal form of an absolute http or https URL (RFC 9449 section
// 4.3 by RFC 3986 sections 6.2.2 and 6.2.3), which is the same text for equal URLs:
// without query and fragment, scheme and host in lower case, no default port, no
// needless percent-encoding, no dot segments, at least the path /. It is not ok for
// any other URL, or one with a user. Only the case of ASCII letters is changed: a
// resolver distinguishes all others.
func normal(raw string) (text string, ok bool) {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Hostname() == "" {
		return "", false
	}
	port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	if port == "" {
		return "", false
	}
	host := []byte(u.Host)
	for i, c := range host {
		if 'A' <= c && c <= 'Z' {
			host[i] = c + 'a' - 'A'
		}
	}
	authority := strings.TrimSuffix(string(host), port)
	if u.Port() == "" {
		authority = strings.TrimSuffix(string(host), ":")
	}
	return u.Scheme + "://" + authority + undotted(unescaped(u.EscapedPath())), true
}

// unescaped decodes the escapes of unreserved characters, which no path needs, and
// writes the others in upper case. Each escape is complete, as package url returns
// them.
func unescaped(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			out = append(out, path[i])
			continue
		}
		one, err := url.PathUnescape(path[i : i+3])
		if c := one; err == nil && len(c) == 1 && unreserved(c[0]) {
			out = append(out, c[0])
		} else {
			out = append(out, strings.ToUpper(path[i:i+3])...)
		}
		i += 2
	}
	return string(out)
}

// unreserved is RFC 3986 section 2.3.
func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// undotted removes the segments . and .. from an absolute path (RFC 3986 section
// 5.2.4).
func undotted(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	out := segments[:0]
	for i, s := range segments {
		if s == ".." && len(out) > 0 {
			out = out[:len(out)-1]
		}
		if s != "." && s != ".." {
			out = append(out, s)
		} else if i == len(segments)-1 {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}
