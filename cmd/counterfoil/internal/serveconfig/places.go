package serveconfig

import (
	"cmp"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/internal/httpsurl"
)

// place determines where the realm is reached.
func (pl *planner) place(way []any, c *realmSettings, r *Realm) {
	base, ok := httpsurl.Base(c.BaseURL)
	switch {
	case pl.Told(under(way, "hosts")), pl.Told(under(way, "base_url")), pl.Told(under(way, "path")):
		return // unknown, and the mistake is already reported
	case len(c.Hosts) == 0 && c.BaseURL == "":
		pl.fail(way, "the realm has no address: give it hosts, a base_url or both")
		return
	case c.BaseURL != "" && (!ok || base.RawPath != "" || strings.HasSuffix(c.BaseURL, "/")):
		pl.fail(under(way, "base_url"), "%q must be an https URL without query, fragment and slash at its end", c.BaseURL)
		return
	}
	for j, h := range c.Hosts {
		host := HostOf(h)
		if u, err := url.Parse("https://" + h); err != nil || u.Host != h || u.Port() != "" || host == "" || strings.Contains(h, "*") {
			pl.fail(under(way, "hosts", j), "%q is not the name of a host, without port", h)
		} else if slices.Contains(r.Hosts, host) {
			pl.fail(under(way, "hosts", j), "%q is named twice", h)
		}
		r.Hosts = append(r.Hosts, host)
	}
	r.Path = c.Path
	if len(c.Hosts) == 0 {
		r.Hosts = []string{HostOf(base.Host)}
	}
	if c.Path == "" && c.BaseURL != "" {
		r.Path = base.Path
	}
	if p := r.Path; p != "" && (!strings.HasPrefix(p, "/") || path.Clean(p) != p || strings.ContainsAny(p, "{}%?# ")) {
		pl.fail(under(way, "path"), "%q must be a plain path that starts with a slash and does not end with one", p)
	}
	r.Path = strings.TrimSuffix(r.Path, "/")
	if r.BaseURL = c.BaseURL; c.BaseURL == "" {
		r.BaseURL = "https://" + c.Hosts[0] + r.Path
	}
	r.OtherURLs = pl.otherURLs(r)
	r.Issuer = cmp.Or(c.Issuer, r.BaseURL)
	if reserved(r.Path) {
		pl.fail(under(way, "path"), "%q is taken: choose another path", r.Path)
	}
}

// otherURLs are those of the realm's hosts other than its base URL, with the
// port of that and with the port that the server listens on: the URLs of clients
// that connect to another host, or bypass the proxy.
func (pl *planner) otherURLs(r *Realm) []string {
	base, err := url.Parse(r.BaseURL)
	if err != nil {
		return nil // refused elsewhere
	}
	ports := []string{base.Port()}
	if _, port, err := net.SplitHostPort(pl.Listen); err == nil && port != "443" && port != "0" && port != base.Port() {
		ports = append(ports, port)
	}
	var all []string
	for _, host := range r.Hosts {
		for _, port := range ports {
			at := host
			if strings.Contains(host, ":") { // an IPv6 address
				at = "[" + host + "]"
			}
			if port != "" {
				at = net.JoinHostPort(host, port)
			}
			for _, path := range []string{r.Path, base.Path} {
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
	for i := range pl.out.Realms {
		for j := range pl.out.Realms[:i] {
			a, b := &pl.out.Realms[j], &pl.out.Realms[i]
			h := slices.IndexFunc(b.Hosts, func(h string) bool { return slices.Contains(a.Hosts, h) })
			if h < 0 {
				continue
			}
			if a.Path == b.Path {
				pl.fail(
					to("realms", i, "path"), "the realm %s is at %s%s already: give %s another host or path", a.Name,
					b.Hosts[h], a.Path, b.Name,
				)
			}
			if a.Issuer == b.Issuer || a.Issuer == b.BaseURL || a.BaseURL == b.Issuer {
				pl.fail(
					to("realms", i, "issuer"),
					"%s and %s would both publish metadata for one of their issuers at %s: give each an issuer of its own",
					a.Name, b.Name, b.Hosts[h],
				)
			}
			for _, pair := range [][2]*Realm{{a, b}, {b, a}} {
				if outer, inner := pair[0], pair[1]; outer.covered(inner.Path) {
					pl.fail(
						to("realms", i, "path"),
						"at %s, the realm %s would cover endpoints of the realm %s: choose another path", b.Hosts[h],
						inner.Name, outer.Name,
					)
				}
			}
		}
	}
}

// realmPaths are the paths that every realm has, with those below them, in
// addition to /.well-known.
var realmPaths = []string{"/introspect", "/revoke", "/revocations", "/status-lists", "/leaked"}

// covered reports whether a realm at the path would cover endpoints of r.
func (r *Realm) covered(other string) bool {
	if r.Provider == nil || other == r.Path {
		return false
	}
	below, ok := strings.CutPrefix(other, r.Path+"/")
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

// HealthPath is the same on every host: no realm may have it.
const HealthPath = "/healthz"

// reserved reports whether no realm may have the path.
func reserved(path string) bool {
	return slices.ContainsFunc([]string{HealthPath, "/.well-known"}, func(p string) bool {
		return path == p || strings.HasPrefix(path, p+"/")
	})
}

// HostOf returns the host of an authority as Realm has it: in lower case, without
// port and without the final dot of a fully qualified name.
func HostOf(authority string) string {
	host := authority
	if h, _, err := net.SplitHostPort(authority); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
