package clients

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/store"
)

// field is a setting with the name that operators use.
type field struct{ name, value, shown string }

// fieldsOf returns the settings as the record shows them.
func fieldsOf(s *store.Settings) []field {
	expires := "never"
	if !s.Expires.IsZero() {
		expires = s.Expires.UTC().Format(time.RFC3339)
	}
	addresses := make([]string, len(s.Addresses))
	for i, a := range s.Addresses {
		addresses[i] = a.String()
	}
	t, a := &s.Tokens, &s.Authentication
	keys := "none"
	if a.KeySet != "" {
		n, _, _ := jose.ParseSet([]byte(a.KeySet))
		keys = fmt.Sprintf("%d keys", len(n))
	}
	rules := make([]string, len(a.Federation))
	for i, r := range a.Federation {
		rules[i] = r.Issuer + " " + pairs(r.Claims)
	}
	c := &a.Certificate
	subject := pairs(map[string]string{"dn": c.SubjectDN, "dns": c.DNS, "uri": c.URI, "ip": c.IP, "email": c.Email})
	list := []field{
		{name: "name", value: s.Name}, {name: "contact", value: s.Contact}, {name: "environment", value: string(s.Environment)},
		{name: "scopes", value: s.Scopes.String()}, {name: "tenants", value: quoted(s.Tenants)},
		{name: "addresses", value: strings.Join(addresses, " ")}, {name: "labels", value: pairs(s.Labels)},
		{name: "expires", value: expires},
		{name: "resource_server", value: strconv.FormatBool(s.ResourceServer)},
		{name: "lifetime", value: t.Lifetime.String()}, {name: "algorithm", value: string(t.Algorithm)},
		{name: "policy", value: string(t.Policy)},
		{name: "claims", value: pairs(t.Claims)},
		{name: "certificate_bound", value: strconv.FormatBool(t.CertificateBound)},
		{name: "dpop_bound", value: strconv.FormatBool(t.DPoPBound)},
		{name: "jwks", value: a.KeySet, shown: keys}, {name: "jwks_uri", value: a.KeySetURL}, {name: "certificate", value: subject},
		{name: "thumbprints", value: strings.Join(a.Thumbprints, " ")}, {name: "federation", value: quoted(rules)},
	}
	return list
}

// quoted quotes each string, so that spaces in them are unambiguous.
func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, " ")
}

// pairs formats the non-empty entries of a map in sorted order.
func pairs(m map[string]string) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if m[name] != "" {
			out = append(out, strconv.Quote(name)+"="+strconv.Quote(m[name]))
		}
	}
	return strings.Join(out, " ")
}

// Bounds of the description of a change in a record, in bytes.
const (
	maxShown  = 160
	maxDetail = 1000
)

// Changes describes in one line which settings differ, with their values in
// to; "" when none differs. It returns at most about 1,000 bytes.
func Changes(from, to *store.Settings) string { return changes(fieldsOf(from), fieldsOf(to)) }

// changes describes which settings changed, with their new values.
func changes(before, after []field) string {
	var b strings.Builder
	for i, f := range after {
		if f.value == before[i].value {
			continue
		}
		if b.Len() > maxDetail-maxShown-50 {
			return b.String() + "; …"
		}
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		if f.shown == "" {
			f.shown = f.value
		}
		b.WriteString(f.name + ": " + brief(f.shown))
	}
	return b.String()
}

// brief returns s, truncated if it is long.
func brief(s string) string {
	if s == "" {
		return "none"
	}
	if len(s) <= maxShown {
		return s
	}
	return event.Escape(s[:whole(s, maxShown)]) + "…"
}

// whole returns where s can be cut so that at most n bytes stay and no character
// is divided.
func whole(s string, n int) int {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

// shown quotes a value, truncated to a length that fits a line.
func shown(s string) string {
	if len(s) > maxShown {
		s = s[:whole(s, maxShown)] + "…"
	}
	return strconv.Quote(s)
}
