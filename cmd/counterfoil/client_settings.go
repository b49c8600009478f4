package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/spf13/cobra"
)

// settingsFlags are the settings of a client on the command line. Each adds to a
// merge patch.
type settingsFlags struct {
	name, contact, environment, expires, algorithm, policy string
	scopes, tenants, addresses, labels, claims, prints     []string
	resourceServer, certificateBound, dpopBound            bool
	lifetime                                               time.Duration
	keySet, keySetURL, settings                            string
}

func (s *settingsFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.name, "name", "", "name for people")
	f.StringVar(&s.contact, "contact", "", "how to reach the operators of the client")
	f.StringVar(&s.environment, "environment", "", "sandbox or production")
	f.StringArrayVar(&s.scopes, "scope", nil, "scope that the client is allowed; repeat for several")
	f.StringArrayVar(&s.tenants, "tenant", nil, "tenant that the client is granted; repeat for several")
	f.StringArrayVar(&s.addresses, "address", nil, "network that it may send requests from, as 192.0.2.0/24; repeat for several")
	f.StringArrayVar(&s.labels, "label", nil, "label, as NAME=VALUE; NAME alone removes it; repeat for several")
	f.StringVar(&s.expires, "expires", "", "when it expires, as 2027-01-31 or 2027-01-31T09:00:00Z, or never")
	f.BoolVar(&s.resourceServer, "resource-server", false, "let it introspect every token of the realm and follow revocations")
	f.DurationVar(&s.lifetime, "lifetime", 0, "lifetime of its tokens; 0 for the realm's")
	f.StringVar(&s.algorithm, "algorithm", "", "algorithm that its tokens are signed with")
	f.StringVar(&s.policy, "policy", "", "token policy: independent, replace or reuse")
	f.StringArrayVar(&s.claims, "claim", nil, "further claim of its tokens, as NAME=VALUE; NAME alone removes it; repeat for several")
	f.BoolVar(&s.certificateBound, "certificate-bound", false, "bind its tokens to its certificate (RFC 8705)")
	f.BoolVar(&s.dpopBound, "dpop-bound", false, "bind its tokens to its key (RFC 9449)")
	f.StringVar(&s.keySet, "jwks", "", "file with the JWK Set of its public keys")
	f.StringVar(&s.keySetURL, "jwks-uri", "", "URL of its JWK Set")
	f.StringArrayVar(&s.prints, "thumbprint", nil, "thumbprint of its self-signed certificate; repeat for the next one")
	f.StringVar(&s.settings, "settings", "", "settings without a flag: a JSON merge patch on the settings, or @FILE")
}

// patch returns the merge patch that the flags describe.
func (s *settingsFlags) patch(cmd *cobra.Command) (map[string]any, error) {
	patch := map[string]any{}
	if s.settings != "" {
		if err := s.read(&patch); err != nil {
			return nil, err
		}
	}
	set := func(flag string, value any, way ...string) {
		if !cmd.Flags().Changed(flag) {
			return
		}
		at := patch
		for _, name := range way[:len(way)-1] {
			inner, ok := at[name].(map[string]any)
			if !ok {
				inner = map[string]any{}
				at[name] = inner
			}
			at = inner
		}
		at[way[len(way)-1]] = value
	}
	set("name", s.name, "name")
	set("contact", s.contact, "contact")
	set("environment", s.environment, "environment")
	set("scope", given(s.scopes), "scopes")
	set("tenant", given(s.tenants), "tenants")
	set("address", given(s.addresses), "addresses")
	set("resource-server", s.resourceServer, "resource_server")
	set("lifetime", s.lifetime.String(), "tokens", "lifetime")
	set("algorithm", s.algorithm, "tokens", "algorithm")
	set("policy", s.policy, "tokens", "policy")
	set("certificate-bound", s.certificateBound, "tokens", "certificate_bound")
	set("dpop-bound", s.dpopBound, "tokens", "dpop_bound")
	set("jwks-uri", s.keySetURL, "authentication", "jwks_uri")
	set("thumbprint", given(s.prints), "authentication", "thumbprints")
	for _, pair := range s.labels {
		set("label", valueOf(pair), "labels", nameOf(pair))
	}
	for _, pair := range s.claims {
		set("claim", valueOf(pair), "tokens", "claims", nameOf(pair))
	}
	if s.lifetime == 0 {
		set("lifetime", nil, "tokens", "lifetime")
	}
	if cmd.Flags().Changed("expires") {
		set("expires", nil, "expires")
		if s.expires != "never" {
			end, err := moment("expires", s.expires)
			if err != nil {
				return nil, err
			}
			set("expires", end.Format(time.RFC3339), "expires")
		}
	}
	if s.keySet != "" {
		text, err := readBounded(s.keySet)
		if err != nil {
			return nil, fmt.Errorf("--jwks: %w", err)
		}
		var keys map[string]any
		if err := json.Unmarshal(text, &keys); err != nil {
			return nil, usagef("--jwks: %s is not a JSON object", s.keySet)
		}
		set("jwks", keys, "authentication", "jwks")
	}
	return patch, nil
}

// read parses the merge patch of --settings.
func (s *settingsFlags) read(patch *map[string]any) error {
	text := []byte(s.settings)
	if file, ok := strings.CutPrefix(s.settings, "@"); ok {
		var err error
		if text, err = files.Read(file, maxConfig); err != nil {
			return fmt.Errorf("--settings: %w", err)
		}
	}
	if err := json.Unmarshal(text, patch); err != nil || *patch == nil {
		return usagef("--settings is not a JSON object")
	}
	return nil
}

// given returns a repeated flag as a list; one empty value means an empty list.
func given(list []string) []string {
	if len(list) == 1 && list[0] == "" {
		return []string{}
	}
	return list
}

func nameOf(pair string) string {
	name, _, _ := strings.Cut(pair, "=")
	return name
}

// valueOf is what follows the name; nil removes it.
func valueOf(pair string) any {
	_, value, ok := strings.Cut(pair, "=")
	if !ok {
		return nil
	}
	return value
}

func encode(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return text, nil
}

// settingsOf returns the settings of a new client that a patch describes.
func settingsOf(patch map[string]any) (store.Settings, error) {
	text, err := encode(patch)
	if err != nil {
		return store.Settings{}, err
	}
	s, err := admin.NewSettings(text)
	if err != nil {
		return s, usagef("the settings are invalid: %s", oneLine(err.Error()))
	}
	return s, nil
}
