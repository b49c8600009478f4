package provider_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/provider"
)

func builtin(t *testing.T, name string) *provider.Provider {
	t.Helper()
	p, err := provider.Builtin(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOverride(t *testing.T) {
	base := builtin(t, "oauth2")
	before := *base
	d, err := base.Override(provider.Overrides{
		Scopes:               []provider.Scope{{Name: "orders:read", Description: "Read orders"}},
		Lifetime:             5 * time.Minute,
		Policy:               provider.PolicyReuse,
		ReusePercent:         70,
		AssertionAudience:    provider.AssertionAudienceTokenURL,
		SigningAlgorithms:    []provider.Algorithm{provider.AlgorithmRS256, provider.AlgorithmEdDSA},
		ClientAuthentication: []provider.Method{provider.MethodPrivateKeyJWT},
		Resources:            []string{"https://orders.example"},
		Audience:             []string{"https://api.example"},
		Claims:               []provider.Claim{{Name: "client_id", Value: "hidden"}, {Name: "env", Value: "live"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	te, at := d.TokenEndpoint, d.AccessToken
	if te.Lifetime != 5*time.Minute || te.Policy != provider.PolicyReuse || te.ReusePercent != 70 || te.AssertionAudience != provider.AssertionAudienceTokenURL || te.Resources[0] != "https://orders.example" ||
		len(te.ClientAuthentication) != 1 || d.ScopeNames().String() != "orders:read" || at.SigningAlgorithm != provider.AlgorithmRS256 ||
		len(at.SigningAlgorithms) != 2 || at.Audience[0] != "https://api.example" {
		t.Errorf("got %+v", d)
	}
	if n := len(before.AccessToken.Claims); len(at.Claims) != n+1 || at.Claims[4].Value != "hidden" || at.Claims[n].Name != "env" {
		t.Errorf("claims are %+v", at.Claims)
	}
	if !reflect.DeepEqual(*base, before) || base.AccessToken.Claims[4].Value != nil {
		t.Error("the description itself was changed")
	}
	same, err := base.Override(provider.Overrides{})
	if err != nil || !reflect.DeepEqual(same, base) {
		t.Errorf("nothing overridden: %v, and the copy differs", err)
	}
}

// Each mistake leads to the override that makes it, so that a configuration can
// say where it stands.
func TestOverrideProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		of   string
		o    provider.Overrides
		way  []any
		says string
	}{
		"lifetime":             {"oauth2", provider.Overrides{Lifetime: 1000 * time.Hour}, []any{"lifetime"}, "lifetime must be whole seconds, from 1s to 720h"},
		"part of a second":     {"oauth2", provider.Overrides{Lifetime: 1500 * time.Millisecond}, []any{"lifetime"}, "whole seconds"},
		"share":                {"oauth2", provider.Overrides{ReusePercent: 91}, []any{"reuse_percent"}, "from 1 to 90"},
		"scope of two words":   {"oauth2", provider.Overrides{Scopes: []provider.Scope{{Name: "a b", Description: "x"}}}, []any{"scopes", 0, "name"}, "one scope token"},
		"scope that is needed": {"a55", provider.Overrides{Scopes: []provider.Scope{{Name: "other", Description: "x"}}}, []any{"scopes"}, ""},
		"resource":             {"oauth2", provider.Overrides{Resources: []string{"https://a", "orders"}}, []any{"resources", 1}, "absolute URI"},
		"claim twice":          {"oauth2", provider.Overrides{Claims: []provider.Claim{{Name: "a", Value: 1}, {Name: "a", Value: 2}}}, []any{"claims", 1}, "a second claim"},
		"claim of two kinds":   {"oauth2", provider.Overrides{Claims: []provider.Claim{{Name: "a", Value: 1, From: provider.FromScope}}}, []any{"claims"}, "either from or value"},
		"replace without jti":  {"oauth2", provider.Overrides{Policy: provider.PolicyReplace, Claims: []provider.Claim{{Name: "jti", Value: 1}}}, []any{"policy"}, "needs a claim whose source is token_id"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := builtin(t, tt.of).Override(tt.o)
			var problems provider.Problems
			if !errors.As(err, &problems) {
				t.Fatalf("got %v", err)
			}
			if got := problems[0]; !reflect.DeepEqual(got.Way, tt.way) || !strings.Contains(got.Error(), tt.says) || strings.Contains(got.Error(), ":0:0") {
				t.Errorf("got way %v, %q", got.Way, got)
			}
		})
	}
}
