package clientauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/store"
)

// defaultFederatedLife is the default MaxLifetime of a FederatedIssuer.
const defaultFederatedLife = time.Hour

// spiffe starts the issuer of a SPIFFE trust domain, and every SPIFFE ID.
const spiffe = "spiffe://"

// FederatedIssuer is an issuer of tokens that workloads have, as package server
// describes it.
type FederatedIssuer struct {
	Issuer, KeySetURL, KeySet, Audience string
	MaxLifetime                         time.Duration
}

// federatedIssuer is a FederatedIssuer with the keys that were given with it.
type federatedIssuer struct {
	FederatedIssuer
	keys []jose.PublicKey
}

// federation holds the issuers that a realm federates with, by name.
type federation map[string]*federatedIssuer

// federate checks the issuers that a realm federates with. It logs the keys
// that it leaves out.
func federate(issuers []FederatedIssuer, log *slog.Logger) (federation, error) {
	all := make(federation, len(issuers))
	for _, f := range issuers {
		switch {
		case f.Issuer == "":
			return nil, errors.New("a federated issuer has no Issuer: write its iss, or spiffe:// and the trust domain")
		case all[f.Issuer] != nil:
			return nil, fmt.Errorf("the federated issuer %q is listed twice", f.Issuer)
		case (f.KeySet == "") == (f.KeySetURL == ""):
			return nil, fmt.Errorf("the federated issuer %q needs either a key set or the URL of one", f.Issuer)
		case f.MaxLifetime < 0:
			return nil, fmt.Errorf("the federated issuer %q has a negative MaxLifetime", f.Issuer)
		}
		f.MaxLifetime = cmp.Or(f.MaxLifetime, defaultFederatedLife)
		issuer := &federatedIssuer{FederatedIssuer: f}
		if f.KeySet != "" {
			keys, left, err := jose.ParseSet([]byte(f.KeySet))
			if err != nil {
				return nil, fmt.Errorf("the federated issuer %q: %w", f.Issuer, err)
			}
			issuer.keys = keys
			new(jose.LeftOutLog).Warn(log, time.Time{}, f.Issuer, len(keys), left)
			if len(issuer.keys) == 0 {
				return nil, fmt.Errorf("the key set of the federated issuer %q has no key of RS256, PS256, ES256 or EdDSA", f.Issuer)
			}
		}
		all[f.Issuer] = issuer
	}
	return all, nil
}

// issuerOf returns the issuer whose keys must verify an assertion; nil when
// that is the client itself. It is found by iss. A JWT-SVID of SPIFFE needs no
// iss, and verifiers ignore it (JWT-SVID section 3): it belongs to the trust
// domain of its sub, whose issuer is named spiffe:// and the domain here.
func (all federation) issuerOf(unverified map[string]any) *federatedIssuer {
	iss, _ := unverified["iss"].(string)
	if f := all[iss]; f != nil {
		return f
	}
	sub, _ := unverified["sub"].(string)
	id, ok := strings.CutPrefix(sub, spiffe)
	if !ok || iss == sub {
		return nil
	}
	domain, _, _ := strings.Cut(id, "/")
	return all[spiffe+domain]
}

// proveFederated verifies a token that a platform has issued to a workload. It
// is not single-use: a workload reads the same token from its platform until
// that renews it, so it is accepted until it expires, as by every other
// service. MaxLifetime bounds that. Without an audience of the issuer's, own are
// those that it may be for.
func (f *federatedIssuer) proveFederated(
	ctx context.Context, now time.Time, token *jose.Token, client *store.Client, k *keys, own []string,
) *Refusal {
	rules := slices.DeleteFunc(slices.Clone(client.Authentication.Federation),
		func(r store.FederationRule) bool { return r.Issuer != f.Issuer })
	if len(rules) == 0 {
		return keyless(token, Refused(counterfoil.ReasonAssertionIssuer, "the client has no rule for the issuer"))
	}
	set := named(f.keys, token.KeyID)
	if f.KeySetURL != "" {
		var refusal *Refusal
		if set, refusal = k.fetched(ctx, f.KeySetURL, token.KeyID); refusal != nil {
			return refusal
		}
	}
	claims, refusal := verifyAssertion(token, set)
	if refusal != nil {
		return refusal
	}
	if f.Audience != "" {
		own = []string{f.Audience}
	}
	if !slices.ContainsFunc(own, func(one string) bool { return hasAudience(claims["aud"], one) }) {
		return Refused(counterfoil.ReasonAssertionAudience, "")
	}
	expires, refusal := checkTimes(claims, now)
	if refusal != nil {
		return refusal
	}
	from, ok := jose.NumericDate(claims["iat"])
	if !ok {
		from = now
	}
	if expires.Sub(from) > f.MaxLifetime {
		return Refused(counterfoil.ReasonAssertionLifetime, "it lives longer than "+f.MaxLifetime.String())
	}
	if !slices.ContainsFunc(rules, func(r store.FederationRule) bool { return claimsMatch(&r, claims) }) {
		return Refused(counterfoil.ReasonAssertionClaims, "no rule of the client matches")
	}
	return nil
}

// claimsMatch reports whether the claims match the rule. A rule without claims
// never matches: it would accept every workload of the issuer as the client.
func claimsMatch(r *store.FederationRule, claims map[string]any) bool {
	for path, want := range r.Claims {
		if !claimIs(claimAt(claims, path), want) {
			return false
		}
	}
	return len(r.Claims) > 0
}

// claimAt returns the claim of that name. A name that starts with a slash is a
// JSON pointer (RFC 6901) through objects, because names of claims contain
// dots: /kubernetes.io/serviceaccount/name.
func claimAt(claims map[string]any, path string) any {
	rest, nested := strings.CutPrefix(path, "/")
	if !nested {
		return claims[path]
	}
	var at any = claims
	for name := range strings.SplitSeq(rest, "/") {
		object, _ := at.(map[string]any)
		at = object[strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")]
	}
	return at
}

// claimIs reports whether a claim has the value want, or the prefix before a
// "*" at the end of want. Numbers and booleans are compared by their JSON
// text; of an array one matching element is enough; null and objects never
// match.
func claimIs(claim any, want string) bool {
	text := ""
	switch v := claim.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case bool:
		text = fmt.Sprint(v)
	case []any:
		return slices.ContainsFunc(v, func(element any) bool {
			_, nested := element.([]any)
			return !nested && claimIs(element, want)
		})
	default:
		return false
	}
	if start, open := strings.CutSuffix(want, "*"); open {
		return strings.HasPrefix(text, start)
	}
	return text == want
}
