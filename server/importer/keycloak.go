package importer

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/server/internal/sechash"
)

// keycloakScopes are the client scopes that Keycloak gives to every client:
// they select claims about people.
var keycloakScopes = []string{
	"acr", "basic", "microprofile-jwt", "organization", "role_list", "roles", "saml_organization", "service_account", "web-origins",
}

// keycloakAttributes are the attributes that are read.
var keycloakAttributes = []string{
	"access.token.lifespan", "client.secret.creation.time", "client.secret.expiration.time", "client.secret.rotated",
	"client.secret.rotated.creation.time",
	"client.secret.rotated.expiration.time", "jwks.string", "jwks.url", "use.jwks.url",
}

// readKeycloak reads a client of a Keycloak realm export.
func readKeycloak(raw []byte, row *Row) error {
	type who struct {
		ClientID string `json:"clientId"`
		Name     string `json:"name"`
	}
	type kind struct {
		Enabled    *flag `json:"enabled"`
		Machine    *flag `json:"serviceAccountsEnabled"`
		Public     flag  `json:"publicClient"`
		BearerOnly flag  `json:"bearerOnly"`
	}
	var c struct {
		who
		kind
		Authenticator string   `json:"clientAuthenticatorType"`
		Secret        string   `json:"secret"`
		Defaults      []string `json:"defaultClientScopes"`
		Optional      []string `json:"optionalClientScopes"`
		Attributes    scalars  `json:"attributes"`
		Credentials   []struct {
			SecretData     string `json:"secretData"`
			CredentialData string `json:"credentialData"`
			CreatedDate    number `json:"createdDate"` // milliseconds
		} `json:"credentials"`
	}
	known, err := decodeClient(raw, &c, &c.kind, &c.who)
	if row.Client.ID = c.ClientID; !strings.HasPrefix(c.Name, "${") {
		row.Client.Name = c.Name
	}
	row.Client.Disabled = c.Enabled != nil && !bool(*c.Enabled)
	if known && c.Machine == nil && !bool(c.Public || c.BearerOnly) {
		row.Skip = "serviceAccountsEnabled is missing: it must be true"
		return nil
	}
	if known && (c.Machine == nil || !bool(*c.Machine) || bool(c.Public || c.BearerOnly)) {
		row.Skip = "it has no service account: it is not for client credentials"
		return nil
	}
	if err != nil {
		return err
	}
	row.keycloakScopes(c.Defaults, c.Optional)
	for _, name := range c.Attributes.odd {
		if slices.Contains(keycloakAttributes, name) {
			return fmt.Errorf("attributes.%s must be one value", name)
		}
	}
	a := c.Attributes.values
	if text := a["access.token.lifespan"]; text != "" {
		seconds, ok := whole(text)
		if !ok {
			return errors.New("attributes.access.token.lifespan is not a whole number")
		}
		if err := row.lifetime("attributes.access.token.lifespan", float64(max(0, seconds))); err != nil { // -1 stands for the realm's
			return err
		}
	}
	for i, cred := range c.Credentials {
		h, err := sechash.FromKeycloak(cred.SecretData, cred.CredentialData)
		if err != nil {
			return fmt.Errorf("credentials: credential %d: %w", i+1, err)
		}
		s := Secret{Member: "credentials", Hash: h}
		if cred.CreatedDate > math.MaxInt32*8e3 {
			return fmt.Errorf("credentials: credential %d: createdDate is not a time", i+1)
		} else if cred.CreatedDate > 0 {
			s.Created = time.UnixMilli(int64(cred.CreatedDate)).UTC()
		}
		if err := add(&row.Secrets, s); err != nil {
			return err
		}
	}
	return row.keycloakSecrets(c.Authenticator, c.Secret, a)
}

// keycloakScopes imports the scopes of a client. One without any gets the
// realm's, as in Keycloak's own import.
func (r *Row) keycloakScopes(defaults, optional []string) {
	if defaults == nil && len(r.source.DefaultDefaultScopes) > 0 {
		defaults = r.source.DefaultDefaultScopes
		r.note("it has no defaultClientScopes: the realm's defaultDefaultClientScopes were taken")
	}
	r.allow(slices.Concat(defaults, optional), keycloakScopes...)
	own := slices.DeleteFunc(slices.Clone(optional), func(s string) bool {
		return !r.Client.Scopes.Contains(s) || slices.Contains(defaults, s)
	})
	if len(own) > 0 {
		r.note("its optional scopes are granted too when it asks for none")
	}
}

// keycloakSecrets reads how the client authenticates.
func (r *Row) keycloakSecrets(authenticator, secret string, a map[string]string) error {
	switch authenticator {
	case "", "client-secret":
	case "client-jwt":
		if a["use.jwks.url"] == "true" {
			r.Client.Authentication.KeySetURL = a["jwks.url"]
		} else {
			r.Client.Authentication.KeySet = a["jwks.string"]
		}
		return r.provable("attributes.jwks.string and attributes.jwks.url")
	default:
		return errors.New("its clientAuthenticatorType is neither client-secret nor client-jwt")
	}
	for _, s := range []struct{ member, value, created, ends string }{
		{"attributes.client.secret.rotated", a["client.secret.rotated"], "client.secret.rotated.creation.time",
			"client.secret.rotated.expiration.time"},
		{"secret", secret, "client.secret.creation.time", "client.secret.expiration.time"},
	} {
		if s.value == "" {
			continue
		}
		next, err := plainSecret(s.member, s.value)
		if strings.HasPrefix(s.value, "${vault.") {
			err = fmt.Errorf("%s is in a vault", s.member)
		}
		if err != nil {
			return fmt.Errorf("%w: export the realm on the server, with 'kc.sh export', or put it into the file", err)
		}
		if next.Created, err = seconds("attributes."+s.created, a[s.created]); err != nil {
			return err
		}
		if next.Ends, err = seconds("attributes."+s.ends, a[s.ends]); err != nil {
			return err
		}
		if err := add(&r.Secrets, next); err != nil {
			return err
		}
	}
	return r.provable("secret")
}

// seconds reads seconds since 1970; "" and 0 for none.
func seconds(member, text string) (time.Time, error) {
	if text == "" || text == "0" {
		return time.Time{}, nil
	}
	n, ok := whole(text)
	if !ok || n < 0 || n > math.MaxInt32*8 {
		return time.Time{}, fmt.Errorf("%s is not a whole number of seconds", member)
	}
	return time.Unix(n, 0).UTC(), nil
}
