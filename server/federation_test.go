package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/store"
)

// The issuers of these tests.
const (
	cluster = "https://kubernetes.example"
	actions = "https://actions.example"
	domain  = "spiffe://trust.example"
)

// platforms lets a realm federate with a Kubernetes cluster whose keys are
// given, with GitHub Actions, which publishes them, and with a trust domain of
// SPIFFE, whose keys come as a bundle has them.
func platforms(place *source) func(*server.Config) {
	return func(c *server.Config) {
		c.Outbound = server.Outbound{Hosts: []string{place.host()}, Private: true, RootCAs: place.pool()}
		c.Realms[0].Federation = []server.FederatedIssuer{
			{Issuer: cluster, KeySet: jwks("sa", rsKey()), MaxLifetime: 2 * time.Hour},
			{Issuer: actions, KeySetURL: place.URL + "/.well-known/jwks", Audience: "counterfoil"},
			{Issuer: domain, KeySet: strings.ReplaceAll(jwks("svid", ecKey()), `"kty"`, `"use":"jwt-svid","kty"`)},
		}
	}
}

// What the platforms send, as their documentation has it.
func (h *house) pod() claims {
	now := h.clock.Now().Unix()
	return claims{
		"iss": cluster, "aud": []string{"https://issuer.example"}, "exp": now + 3600, "iat": now, "nbf": now, "jti": "aed34954",
		"sub": "system:serviceaccount:billing:worker",
		"kubernetes.io": claims{
			"namespace": "billing", "serviceaccount": claims{"name": "worker", "uid": "14ee3fa4"},
			"node": claims{"name": "node-1", "uid": "646e7c5e"}, "pod": claims{"name": "worker-7d", "uid": "61d3cbfe"},
		},
	}
}

func (h *house) workflow() claims {
	now := h.clock.Now().Unix()
	return claims{
		"iss": actions, "aud": "counterfoil", "exp": now + 300, "iat": now, "nbf": now - 600, "jti": "6b25a3d8",
		"sub": "repo:acme/billing:environment:prod", "repository": "acme/billing", "repository_id": "74", "run_attempt": "2",
		"ref": "refs/heads/main", "runner_environment": "github-hosted", "groups": []string{"a", "b"}, "n": 7, "private": true, "empty": nil,
	}
}

func (h *house) svid() claims {
	return claims{"sub": domain + "/ns/billing/sa/worker", "aud": []string{"https://issuer.example"}, "exp": h.clock.Now().Unix() + 300}
}

// TestFederation takes tokens of platforms as they are.
func TestFederation(t *testing.T) {
	place := newSource(t, serving(jwks("gh", ecKey())))
	h := newGate(t, platforms(place))
	rule := func(issuer string, pairs ...string) store.FederationRule {
		r := store.FederationRule{Issuer: issuer, Claims: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			r.Claims[pairs[i]] = pairs[i+1]
		}
		return r
	}
	for i, row := range []struct {
		name  string
		rule  store.FederationRule
		token string
		ok    bool
	}{
		{"service account by sub", rule(cluster, "sub", "system:serviceaccount:billing:worker"), signed(rsKey(), "sa", h.pod()), true},
		{"service account by its name", rule(cluster, "/kubernetes.io/serviceaccount/name", "worker", "/kubernetes.io/namespace", "billing"), signed(rsKey(), "sa", h.pod()), true},
		{"for as long as may be", rule(cluster, "sub", "system:*"), signed(rsKey(), "sa", h.pod().but(claims{"exp": h.clock.Now().Unix() + 7200})), true},
		{"another service account", rule(cluster, "sub", "system:serviceaccount:billing:other"), signed(rsKey(), "sa", h.pod()), false},
		{"name with dots is not a path", rule(cluster, "kubernetes.io.namespace", "billing"), signed(rsKey(), "sa", h.pod()), false},
		{"path that ends at an object", rule(cluster, "/kubernetes.io/serviceaccount", "*", "sub", "system*"), signed(rsKey(), "sa", h.pod()), false},
		{"path beyond the end", rule(cluster, "/sub/x", "*", "sub", "system*"), signed(rsKey(), "sa", h.pod()), false},
		{"one claim of two", rule(cluster, "sub", "system:*", "/kubernetes.io/namespace", "other"), signed(rsKey(), "sa", h.pod()), false},
		{"workflow by sub", rule(actions, "sub", "repo:acme/billing:environment:prod"), signed(ecKey(), "gh", h.workflow()), true},
		{"workflow by the start of its sub", rule(actions, "sub", "repo:acme/billing:*"), signed(ecKey(), "gh", h.workflow()), true},
		{"start of another", rule(actions, "sub", "repo:acme/billing-:*"), signed(ecKey(), "gh", h.workflow()), false},
		{"a start is not enough without *", rule(actions, "sub", "repo:acme/billing:"), signed(ecKey(), "gh", h.workflow()), false},
		{"number, boolean and an element", rule(actions, "n", "7", "private", "true", "groups", "b"), signed(ecKey(), "gh", h.workflow()), true},
		{"no such element", rule(actions, "groups", "c"), signed(ecKey(), "gh", h.workflow()), false},
		{"null", rule(actions, "empty", "*", "n", "7"), signed(ecKey(), "gh", h.workflow()), false},
		{"SPIFFE without iss", rule(domain, "sub", domain+"/ns/billing/sa/worker"), signed(ecKey(), "svid", h.svid()), true},
		{"SPIFFE with the iss of a discovery provider", rule(domain, "sub", domain+"/ns/billing/*"), signed(ecKey(), "svid", h.svid().but(claims{"iss": "https://oidc.trust.example"})), true},
		{"another SPIFFE ID", rule(domain, "sub", domain+"/ns/billing/sa/other"), signed(ecKey(), "svid", h.svid()), false},
		{"a rule of another issuer", rule(actions, "sub", "system:*"), signed(rsKey(), "sa", h.pod()), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			id := fmt.Sprint("w", i)
			h.workload(id, store.Authentication{Federation: []store.FederationRule{rule(cluster, "sub", "nobody"), row.rule}})
			a := h.asserting(row.token, "client_id", id)
			if row.ok {
				h.wantToken(t, a)
				h.wantToken(t, a) // a platform gives the same token again until it renews it
				return
			}
			reason := counterfoil.ReasonAssertionClaims
			h.wantInvalid(t, a, reason)
		})
	}
	t.Run("the typ of the token", func(t *testing.T) {
		h.workload("typed", store.Authentication{Federation: []store.FederationRule{rule(domain, "sub", domain+"/*")}})
		for typ, good := range map[string]bool{"JWT": true, "JOSE": true, "client-authentication+jwt": true, "at+jwt": false, "dpop+jwt": false, "secevent+jwt": false} {
			token := josetest.Token(ecKey(), `{"alg":"ES256","kid":"svid","typ":"`+typ+`"}`, h.svid().String())
			if a := h.asserting(token, "client_id", "typed"); good {
				h.wantToken(t, a)
			} else {
				h.wantInvalid(t, a, counterfoil.ReasonAssertionMalformed)
			}
		}
	})
	t.Run("the type of JWT-SVIDs", func(t *testing.T) {
		const kind = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
		h.workload("svid", store.Authentication{Federation: []store.FederationRule{rule(domain, "sub", domain+"/*"), rule(cluster, "sub", "system:*")}})
		h.wantToken(t, h.asserting(signed(ecKey(), "svid", h.svid()), "client_id", "svid", "client_assertion_type", kind))
		h.wantInvalid(t, h.asserting(signed(rsKey(), "sa", h.pod()), "client_id", "svid", "client_assertion_type", kind), counterfoil.ReasonAssertionIssuer)
	})
}

// TestFederationRefused: each thing that is wrong has its reason.
func TestFederationRefused(t *testing.T) {
	place := newSource(t, serving(jwks("gh", ecKey())))
	h := newGate(t, platforms(place))
	h.workload("job", store.Authentication{
		KeySet:     jwks("own", edKey()),
		Federation: []store.FederationRule{{Issuer: cluster, Claims: map[string]string{"sub": "system:serviceaccount:billing:*"}}, {Issuer: domain, Claims: map[string]string{"sub": domain + "/*"}}},
	})
	h.workload("plain", store.Authentication{KeySet: jwks("own", edKey())})
	now := h.clock.Now().Unix()
	pod := func(changes claims) string { return signed(rsKey(), "sa", h.pod().but(changes)) }
	for _, row := range []struct {
		name, token, id string
		reason          counterfoil.Reason
	}{
		{"no client_id", pod(nil), "", counterfoil.ReasonCredentialsMissing},
		{"unknown client", pod(nil), "nobody", counterfoil.ReasonUnknownClient},
		{"client without a rule", pod(nil), "plain", counterfoil.ReasonAssertionIssuer},
		{"issuer that nobody knows", pod(claims{"iss": "https://other.example"}), "job", counterfoil.ReasonAssertionKey},
		{"issuer with another slash", pod(claims{"iss": cluster + "/"}), "job", counterfoil.ReasonAssertionKey},
		{"issuer without a rule", signed(ecKey(), "gh", h.workflow()), "job", counterfoil.ReasonAssertionIssuer},
		{"wrong audience", pod(claims{"aud": []string{"https://kubernetes.default.svc"}}), "job", counterfoil.ReasonAssertionAudience},
		{"expired", pod(claims{"exp": now - 31}), "job", counterfoil.ReasonAssertionExpired},
		{"no exp", pod(claims{"exp": nil}), "job", counterfoil.ReasonAssertionClaims},
		{"a year", pod(claims{"exp": now + 31536000}), "job", counterfoil.ReasonAssertionLifetime},
		{"a second too long", pod(claims{"iat": now, "exp": now + 7201}), "job", counterfoil.ReasonAssertionLifetime},
		{"a year without iat", pod(claims{"exp": now + 31536000, "iat": nil}), "job", counterfoil.ReasonAssertionLifetime},
		{"from the future", pod(claims{"iat": now + 60}), "job", counterfoil.ReasonAssertionClaims},
		{"signed by another key", signed(ecKey(), "sa", h.pod()), "job", counterfoil.ReasonAssertionKey},
		{"signed by the client's own key", signed(edKey(), "own", h.pod()), "job", counterfoil.ReasonAssertionKey},
		{"SVID signed by another trust domain", signed(strangeKey(), "svid", h.svid()), "job", counterfoil.ReasonAssertionSignature},
		{"SVID of another trust domain", signed(ecKey(), "svid", h.svid().but(claims{"sub": domain + ".evil/ns/x"})), "job", counterfoil.ReasonAssertionKey},
		{"no rule holds", pod(claims{"sub": "system:serviceaccount:other:worker"}), "job", counterfoil.ReasonAssertionClaims},
	} {
		t.Run(row.name, func(t *testing.T) {
			h.wantInvalid(t, h.asserting(row.token, "client_id", row.id), row.reason)
		})
	}
	if place.times() != 0 {
		t.Errorf("%d fetches for tokens that no rule is about", place.times())
	}
}

// TestFederationConfiguration: what cannot be meant is refused at the start.
func TestFederationConfiguration(t *testing.T) {
	h := newGate(t, nil)
	for name, issuers := range map[string][]server.FederatedIssuer{
		"no issuer":        {{KeySet: jwks("k", ecKey())}},
		"twice":            {{Issuer: cluster, KeySet: jwks("k", ecKey())}, {Issuer: cluster, KeySet: jwks("k", ecKey())}},
		"no keys":          {{Issuer: cluster}},
		"two sets":         {{Issuer: cluster, KeySet: jwks("k", ecKey()), KeySetURL: "https://kubernetes.example/jwks"}},
		"broken set":       {{Issuer: cluster, KeySet: "{"}},
		"empty set":        {{Issuer: cluster, KeySet: `{"keys":[]}`}},
		"negative maximum": {{Issuer: cluster, KeySet: jwks("k", ecKey()), MaxLifetime: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			r := server.Realm{Name: "oauth2", Provider: must(builtin("oauth2")), BaseURL: h.url + "/oauth2", Federation: issuers}
			if err := h.server.Reload(t.Context(), []server.Realm{r}); err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
