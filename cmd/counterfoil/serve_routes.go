package main

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/serveconfig"
)

const (
	healthPath    = serveconfig.HealthPath
	oauthMetadata = "/.well-known/oauth-authorization-server"
	openidConfig  = "/.well-known/openid-configuration"
)

// routes finds the handler of a request by its host and path.
type routes struct {
	hosts map[string]mounts
}

// mounts are the places of one host, longest path first. Unlike a ServeMux they
// redirect nothing: a response that is sent before the body was read breaks
// clients, and a redirected token request would be sent twice.
type mounts []mount

// mount is a handler for a path and, unless it is exact, all below it.
type mount struct {
	path    string
	exact   bool
	handler http.Handler
}

func (m *mount) matches(path string) bool {
	if m.exact {
		return path == m.path
	}
	rest, ok := strings.CutPrefix(path, m.path)
	return ok && (rest == "" || rest[0] == '/')
}

// add mounts a handler; of two at the same place, the first stays.
func (all *mounts) add(m mount) {
	i, _ := slices.BinarySearchFunc(*all, m, func(a, b mount) int {
		switch {
		case len(a.path) != len(b.path):
			return len(b.path) - len(a.path)
		case a.exact == b.exact:
			return -1 // earlier mounts come first
		case a.exact:
			return -1
		}
		return 1
	})
	*all = slices.Insert(*all, i, m)
}

// ServeHTTP answers with the handler of the longest path.
func (all mounts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for i := range all {
		if all[i].matches(r.URL.Path) {
			all[i].handler.ServeHTTP(w, r)
			return
		}
	}
	http.NotFound(w, r)
}

// add mounts a handler on a host.
func (t *routes) add(host string, m mount) {
	all := t.hosts[host]
	all.add(m)
	t.hosts[host] = all
}

// realm mounts a realm at all its places, and the documents that are found from
// its issuer.
func (t *routes) realm(r *serveconfig.Realm, h http.Handler) {
	for _, host := range r.Hosts {
		t.add(host, mount{path: r.Path, handler: below(r.Path, h)})
	}
	t.metadata(r, r.BaseURL, h)
	if r.Issuer != r.BaseURL {
		t.metadata(r, r.Issuer, h)
	}
}

// metadata mounts the metadata documents of an issuer where RFC 8414 section 3.1
// and OpenID Connect Discovery 1.0 section 4 place them, if the issuer names a
// host of the realm.
func (t *routes) metadata(r *serveconfig.Realm, issuer string, h http.Handler) {
	u, err := url.Parse(issuer)
	if err != nil || !slices.Contains(r.Hosts, serveconfig.HostOf(u.Host)) {
		return
	}
	path := strings.TrimSuffix(u.Path, "/")
	for _, host := range r.Hosts {
		t.add(host, mount{path: oauthMetadata + path, exact: true, handler: at(oauthMetadata, h)})
		t.add(host, mount{path: path + openidConfig, exact: true, handler: at(openidConfig, h)})
	}
}

// ServeHTTP serves the host of a request. For an unknown host the response says
// no more than that (RFC 9110 section 15.5.20).
func (t *routes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	all, ok := t.hosts[serveconfig.HostOf(r.Host)]
	if !ok {
		http.Error(w, "misdirected request", http.StatusMisdirectedRequest)
		return
	}
	all.ServeHTTP(w, r)
}

// below serves a request as if its path were the part after prefix.
func below(prefix string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r2, u := *r, *r.URL
		u.Path = strings.TrimPrefix(u.Path, prefix)
		// If the prefix itself is escaped, the rest is used unescaped.
		raw, ok := strings.CutPrefix(u.RawPath, prefix)
		if u.RawPath = raw; !ok {
			u.RawPath = ""
		}
		r2.URL = &u
		h.ServeHTTP(w, &r2)
	})
}
