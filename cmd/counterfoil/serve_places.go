package main

import (
	"cmp"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"
)

// place determines where the realm is reached.
func (pl *planner) place(way []any, c *realmConfig, r *plannedRealm) {
	base, err := url.Parse(c.BaseURL)
	switch {
	case pl.Told(under(way, "hosts")), pl.Told(under(way, "base_url")), pl.Told(under(way, "path")):
		return // unknown, and the mistake is already reported
	case len(c.Hosts) == 0 && c.BaseURL == "":
		pl.fail(way, "the realm has no address: give it hosts, a base_url or both")
		return
	case c.BaseURL != "" && (err != nil || base.Scheme != "https" || base.Hostname() == "" || base.User != nil || base.RawQuery != "" ||
		base.Fragment != "" || base.RawPath != "" || strings.HasSuffix(c.BaseURL, "/")):
		pl.fail(under(way, "base_url"), "%q must be an https URL without query, fragment and slash at its end", c.BaseURL)
		return
	}
	for j, h := range c.Hosts {
		host := hostOf(h)
		if u, err := url.Parse("https://" + h); err != nil || u.Host != h || u.Port() != "" || host == "" || strings.Contains(h, "*") {
			pl.fail(under(way, "hosts", j), "%q is not the name of a host, without port", h)
		} else if slices.Contains(r.hosts, host) {
			pl.fail(under(way, "hosts", j), "%q is named twice", h)
		}
		r.hosts = append(r.hosts, host)
	}
	r.path = c.Path
	if len(c.Hosts) == 0 {
		r.hosts = []string{hostOf(base.Host)}
	}
	if c.Path == "" && c.BaseURL != "" {
		r.path = base.Path
	}
	if p := r.path; p != "" && (!strings.HasPrefix(p, "/") || path.Clean(p) != p || strings.ContainsAny(p, "{}%?# ")) {
		pl.fail(under(way, "path"), "%q must be a plain path that starts with a slash and does not end with one", p)
	}
	r.path = strings.TrimSuffix(r.path, "/")
	if r.BaseURL = c.BaseURL; c.BaseURL == "" {
		r.BaseURL = "https://" + c.Hosts[0] + r.path
	}
	r.OtherURLs = pl.otherURLs(r)
	r.Issuer = cmp.Or(c.Issuer, r.BaseURL)
	if reserved(r.path) {
		pl.fail(under(way, "path"), "%q is taken: choose another path", r.path)
	}
}

// otherURLs are those of the realm's hosts other than its base URL, with the
// port of that and with the port that the server listens on: the URLs of clients
// that connect to another host, or bypass the proxy.
func (pl *planner) otherURLs(r *plannedRealm) []string {
	base, err := url.Parse(r.BaseURL)
	if err != nil {
		return nil // refused elsewhere
	}
	ports := []string{base.Port()}
	if _, port, err := net.SplitHostPort(pl.Listen); err == nil && port != "443" && port != "0" && port != base.Port() {
		ports = append(ports, port)
	}
	var all []string
	for _, host := range r.hosts {
		for _, port := range ports {
			at := host
			if strings.Contains(host, ":") { // an IPv6 address
				at = "[" + host + "]"
			}
			if port != "" {
				at = net.JoinHostPort(host, port)
			}
			for _, path := range []string{r.path, base.Path} {
				if u := "https://" + at + path; u != r.BaseURL && !slices.Contains(all, u) {
					all = append(all, u)
				}
			}
		}
	}
	return all
}

// places refuses realms whose places conflict.
func (pl *planner) places() {
	for i := range pl.realms {
		for j := range pl.realms[:i] {
			a, b := &pl.realms[j], &pl.realms[i]
			h := slices.IndexFunc(b.hosts, func(h string) bool { return slices.Contains(a.hosts, h) })
			if h < 0 {
				continue
			}
			if a.path == b.path {
				pl.fail(
					to("realms", i, "path"), "the realm %s is at %s%s already: give %s another host or path", a.Name,
					b.hosts[h], a.path, b.Name,
				)
			}
			if a.Issuer == b.Issuer || a.Issuer == b.BaseURL || a.BaseURL == b.Issuer {
				pl.fail(
					to("realms", i, "issuer"),
					"%s and %s would both publish metadata for one of their issuers at %s: give each an issuer of its own",
					a.Name, b.Name, b.hosts[h],
				)
			}
			for _, pair := range [][2]*plannedRealm{{a, b}, {b, a}} {
				if outer, inner := pair[0], pair[1]; outer.covered(inner.path) {
					pl.fail(
						to("realms", i, "path"),
						"at %s, the realm %s would cover endpoints of the realm %s: choose another path", b.hosts[h],
						inner.Name, outer.Name,
					)
				}
			}
		}
	}
}

// realmPaths are the paths that every realm has, with those below them, in
// addition to /.well-known.
var realmPaths = []string{"/introspect", "/revoke", "/revocations", "/status-lists"}

// covered reports whether a realm at the path would cover endpoints of r.
func (r *plannedRealm) covered(other string) bool {
	if r.Provider == nil || other == r.path {
		return false
	}
	below, ok := strings.CutPrefix(other, r.path+"/")
	if !ok {
		return false
	}
	own := append([]string{r.Provider.TokenEndpoint.Path}, realmPaths...)
	for i := range r.Provider.APIs {
		own = append(own, r.Provider.APIs[i].Path)
	}
	return slices.ContainsFunc(own, func(p string) bool {
		return strings.HasPrefix(p+"/", "/"+below+"/")
	})
}
