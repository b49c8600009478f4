package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/spf13/cobra"
)

func (o *operator) showClient() *cobra.Command {
	return &cobra.Command{
		Use: "show REALM CLIENT", Short: "Show a client, and when its secrets were last used", Args: cobra.ExactArgs(2),
		Example: "  counterfoil client show a55 4cf5…",
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.reading(cmd, func(ctx context.Context, service admin.Service) error {
				c, err := service.Client(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				return o.print(c, func(w io.Writer) { showClient(w, &c) })
			})
		},
	}
}

// showClient prints the settings of a client for a person.
func showClient(w io.Writer, c *admin.Client) {
	t, a := &c.Tokens, &c.Authentication
	rules := make([]string, len(a.Federation))
	for i, r := range a.Federation {
		rules[i] = r.Issuer + " (" + pairs(r.Claims) + ")"
	}
	addresses := make([]string, len(c.Addresses))
	for i, network := range c.Addresses {
		addresses[i] = network.String()
	}
	lifetime := ""
	if t.Lifetime != 0 {
		lifetime = t.Lifetime.String()
	}
	subject := a.Certificate.SubjectDN + a.Certificate.DNS + a.Certificate.URI + a.Certificate.IP + a.Certificate.Email
	for _, line := range []struct {
		name, value string
		always      bool
	}{
		{"client_id", c.ID, true}, {"name", c.Name, true}, {"status", c.Status, true}, {"made by", c.Maker, false},
		{"contact", c.Contact, false}, {"environment", string(c.Environment), false},
		{"scopes", strings.Join(c.Scopes, " "), true}, {"tenants", strings.Join(c.Tenants, " "), true},
		{"addresses", strings.Join(addresses, " "), false}, {"labels", pairs(c.Labels), false},
		{"expires", stamp(c.Expires), false}, {"resource server", yes(c.ResourceServer), false},
		{"lifetime", lifetime, false}, {"algorithm", string(t.Algorithm), false}, {"policy", string(t.Policy), false},
		{"claims", pairs(t.Claims), false}, {"bound to certificate", yes(t.CertificateBound), false},
		{"bound by DPoP", yes(t.DPoPBound), false},
		{"jwks", yes(len(a.KeySet) > 0), false}, {"jwks_uri", a.KeySetURL, false}, {"certificate", subject, false},
		{"thumbprints", strings.Join(a.Thumbprints, " "), false}, {"federation", strings.Join(rules, ", "), false},
		{"created", stamp(c.Created), true}, {"changed", stamp(c.Changed), true},
		{"tokens count from", stamp(c.NotBefore), false}, {"version", fmt.Sprint(c.Version), true},
	} {
		if line.always || line.value != "" {
			fmt.Fprintf(w, "%-20s  %s\n", line.name, oneLine(line.value))
		}
	}
	showSecrets(w, "secret", c.Secrets)
	showSecrets(w, "api key", c.APIKeys)
}

func showSecrets(w io.Writer, kind string, secrets []admin.Secret) {
	for _, s := range secrets {
		ends, used := "valid until it is rotated", "never used"
		if !s.Ends.IsZero() {
			ends = "ends " + stamp(s.Ends)
		}
		if !s.LastUsed.IsZero() {
			used = "last used " + stamp(s.LastUsed)
		}
		fmt.Fprintf(w, "%-20s  %s, created %s, %s, %s\n", kind, s.ID, stamp(s.Created), ends, used)
	}
}

// stamp writes a time; "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// pairs writes a map in one order.
func pairs(m map[string]string) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, name+"="+m[name])
	}
	return strings.Join(list, " ")
}
