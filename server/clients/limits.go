package clients

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

// limits are what no client gives that it does not have.
var limits = []struct {
	member  string
	exceeds func(w *warrant, c *store.Client) string
}{
	{"scopes", func(w *warrant, c *store.Client) string {
		if w.scopes.ContainsAll(c.Scopes) {
			return ""
		}
		return "they must be among those of the token, which has " + brief(w.scopes.String())
	}},
	{"tenants", func(w *warrant, c *store.Client) string {
		return among(c.Tenants, w.caller.Tenants, "they must be among those of the client that gives them")
	}},
	{"addresses", func(w *warrant, c *store.Client) string {
		own := w.caller.Addresses
		outside := func(p netip.Prefix) bool {
			return !slices.ContainsFunc(own, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) })
		}
		if len(own) > 0 && (len(c.Addresses) == 0 || slices.ContainsFunc(c.Addresses, outside)) {
			return fmt.Sprintf("they must be within those of the client that gives them, %v", own)
		}
		return ""
	}},
	{"expires", func(w *warrant, c *store.Client) string {
		if later(c.Expires, w.caller.Expires) {
			return "it ends at " + instant(w.caller.Expires) + " at the latest, as the client that gives it"
		}
		return ""
	}},
	{"resource_server", func(w *warrant, c *store.Client) string {
		return unless(!c.ResourceServer || w.caller.ResourceServer, "only a resource server makes one")
	}},
	{"tokens/lifetime", func(w *warrant, c *store.Client) string {
		longest := cmp.Or(w.caller.Tokens.Lifetime, w.rules.Provider.TokenEndpoint.Lifetime)
		if cmp.Or(c.Tokens.Lifetime, w.rules.Provider.TokenEndpoint.Lifetime) > longest {
			return fmt.Sprintf("it is %v at the most, as that of the client that gives it", longest)
		}
		return ""
	}},
	{"tokens/policy", func(w *warrant, c *store.Client) string {
		realms := w.rules.Provider.TokenEndpoint.Policy
		given, own := cmp.Or(c.Tokens.Policy, realms), cmp.Or(w.caller.Tokens.Policy, realms)
		return unless(given == own || given == provider.PolicyReplace,
			fmt.Sprintf("it must be %s, as that of the client that gives it", own))
	}},
	{"tokens/claims", func(w *warrant, c *store.Client) string {
		for _, name := range slices.Sorted(maps.Keys(c.Tokens.Claims)) {
			if own, ok := w.caller.Tokens.Claims[name]; !ok || own != c.Tokens.Claims[name] {
				return "they must be among those of the client that gives them"
			}
		}
		return ""
	}},
	{"tokens/certificate_bound", func(w *warrant, c *store.Client) string {
		return unless(c.Tokens.CertificateBound || !w.caller.Tokens.CertificateBound, "it must be true, as for the client that gives it")
	}},
	{"tokens/dpop_bound", func(w *warrant, c *store.Client) string {
		return unless(c.Tokens.DPoPBound || !w.caller.Tokens.DPoPBound, "it must be true, as for the client that gives it")
	}},
	// A registered public key is the strongest method: anyone may demand it.
	{"authentication/jwks_uri", func(w *warrant, c *store.Client) string {
		return unless(c.Authentication.KeySetURL == "" || w.caller.Authentication.KeySetURL != "", otherMethod)
	}},
	{"authentication/certificate", func(w *warrant, c *store.Client) string {
		none := store.CertificateRule{}
		return unless(c.Authentication.Certificate == none || w.caller.Authentication.Certificate != none, otherMethod)
	}},
	{"authentication/federation", func(w *warrant, c *store.Client) string {
		for _, f := range c.Authentication.Federation {
			if !slices.ContainsFunc(w.caller.Authentication.Federation, func(own store.FederationRule) bool {
				return own.Issuer == f.Issuer && maps.Equal(own.Claims, f.Claims)
			}) {
				return "its rules must be among those of the client that gives them"
			}
		}
		return ""
	}},
	{"secrets", func(w *warrant, c *store.Client) string {
		own, any := lastEnd(w.caller.Secrets, w.now)
		given, some := lastEnd(c.Secrets, w.now)
		switch {
		case some && !any:
			return "it must have no client secret (without_secret), as the client that gives it"
		case some && later(given, own):
			return "they end at " + instant(own) + " at the latest, as those of the client that gives them"
		}
		return ""
	}},
}

const otherMethod = "it must be a method of the client that gives it, or a key in jwks"

func unless(ok bool, why string) string {
	if ok {
		return ""
	}
	return why
}

func among(given, own []string, why string) string {
	return unless(!slices.ContainsFunc(given, func(s string) bool { return !slices.Contains(own, s) }), why)
}

// later reports whether an end is after another; zero is never.
func later(end, limit time.Time) bool { return !limit.IsZero() && (end.IsZero() || end.After(limit)) }

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// lastEnd returns when the last of the accepted secrets ends, zero for never, and
// whether there is one.
func lastEnd(hashes []store.SecretHash, now time.Time) (last time.Time, any bool) {
	for _, h := range hashes {
		if !h.AcceptedAt(now) {
			continue
		}
		if !any || later(h.Expires, last) {
			last = h.Expires
		}
		any = true
	}
	return last, any
}
