package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/sechash"
)

// readIdentityServer reads a Client of IdentityServer4 or Duende IdentityServer.
// Names of members have any case there, as they have here.
func readIdentityServer(raw []byte, row *Row) error {
	var c struct {
		ClientID, ClientName string
		Enabled              *bool
		AllowedGrantTypes    words
		AllowedScopes        words
		AccessTokenLifetime  float64
		AccessTokenType      any
		ClientClaimsPrefix   *string
		Claims               []identityServerClaim
		ClientSecrets        []identityServerSecret
	}
	err := decode(raw, &c)
	row.Client.ID, row.Client.Name = c.ClientID, c.ClientName
	if err != nil {
		return err
	}
	row.Client.Disabled = c.Enabled != nil && !*c.Enabled
	if !slices.Contains(c.AllowedGrantTypes, "client_credentials") {
		row.Skip = "its AllowedGrantTypes are without client_credentials"
		return nil
	}
	if err := row.lifetime(c.AccessTokenLifetime); err != nil {
		return err
	}
	if c.AccessTokenType != nil && fmt.Sprint(c.AccessTokenType) != "0" && !strings.EqualFold(fmt.Sprint(c.AccessTokenType), "jwt") {
		row.note("had reference tokens; its tokens here are JWTs, which introspection answers for as well")
	}
	row.allow(c.AllowedScopes, userScopes...)
	if err := row.identityServerClaims(c.ClientClaimsPrefix, c.Claims); err != nil {
		return err
	}
	return row.identityServerSecrets(c.ClientSecrets)
}

type identityServerClaim struct{ Type, Value string }

// identityServerClaims takes the claims of a client over, under the prefix that
// IdentityServer gives them.
func (r *Row) identityServerClaims(prefix *string, claims []identityServerClaim) error {
	front := "client_"
	if prefix != nil {
		front = *prefix
	}
	own := map[string]string{}
	for _, c := range claims {
		if _, twice := own[front+c.Type]; twice {
			return errors.New("a claim has several values: here a client's claim has one")
		}
		own[front+c.Type] = c.Value
	}
	if len(own) > 0 {
		r.Client.Tokens.Claims = own
	}
	return nil
}

type identityServerSecret struct{ Value, Type, Expiration, Created string }

func (r *Row) identityServerSecrets(secrets []identityServerSecret) error {
	var keys []json.RawMessage
	for i, s := range secrets {
		created, err := moment(s.Created)
		if err != nil {
			return err
		}
		ends, err := moment(s.Expiration)
		if err != nil {
			return err
		}
		switch s.Type {
		case "", "SharedSecret":
			h, err := sechash.FromIdentityServer(s.Value)
			if err != nil {
				return fmt.Errorf("secret %d: %w", i+1, err)
			}
			if err := add(&r.Secrets, Secret{Hash: h, Created: created, Ends: ends}); err != nil {
				return err
			}
		case "JWK":
			if !json.Valid([]byte(s.Value)) || !ends.IsZero() {
				return fmt.Errorf("secret %d: it must be a JWK without an expiration", i+1)
			}
			keys = append(keys, json.RawMessage(s.Value))
		default:
			r.note("left out secret %d: its type is none of SharedSecret and JWK", i+1)
		}
	}
	if len(keys) > 0 {
		set, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			return errors.New("its keys are not JSON")
		}
		r.Client.Authentication.KeySet = string(set)
	}
	return r.provable()
}

// provable refuses a client that nothing could prove to be itself.
func (r *Row) provable() error {
	a := &r.Client.Authentication
	if len(r.Secrets) == 0 && a.KeySet == "" && a.KeySetURL == "" {
		return errors.New("it has no secret and no key that could be taken over")
	}
	r.Client.WithoutSecret = len(r.Secrets) == 0
	return nil
}

// readHydra reads a client of Ory Hydra, as its API or its table has it.
func readHydra(raw []byte, row *Row) error {
	var c struct {
		ID         string          `json:"id"` // of the table
		ClientID   string          `json:"client_id"`
		Name       string          `json:"client_name"`
		Secret     string          `json:"client_secret"`
		Expires    float64         `json:"client_secret_expires_at"`
		Grants     words           `json:"grant_types"`
		Scope      string          `json:"scope"`
		Audience   words           `json:"audience"`
		Contacts   words           `json:"contacts"`
		Owner      string          `json:"owner"`
		Method     string          `json:"token_endpoint_auth_method"`
		KeySet     json.RawMessage `json:"jwks"`
		KeySetURL  string          `json:"jwks_uri"`
		Lifespan   json.RawMessage `json:"client_credentials_grant_access_token_lifespan"`
		Metadata   json.RawMessage `json:"metadata"`
		Registered string          `json:"created_at"`
	}
	err := decode(raw, &c)
	if row.Client.ID = c.ClientID; c.ClientID == "" {
		row.Client.ID = c.ID
	}
	row.Client.Name = c.Name
	if err != nil {
		return err
	}
	if !slices.Contains(c.Grants, "client_credentials") {
		row.Skip = "its grant_types are without client_credentials"
		return nil
	}
	if c.Method == "none" {
		row.Skip = "it is a public client: its token_endpoint_auth_method is none"
		return nil
	}
	row.allow(strings.Fields(c.Scope), userScopes...)
	row.Client.Contact = strings.Join(c.Contacts, ", ")
	if c.Owner != "" {
		row.Client.Labels = map[string]string{"owner": c.Owner}
	}
	if len(c.Audience) > 0 {
		row.note("left out its audience: the resources of the realm's description say what may be asked for")
	}
	if m := strings.TrimSpace(string(c.Metadata)); m != "" && m != "null" && m != "{}" && m != `"{}"` {
		row.note("left out its metadata")
	}
	if err := row.hydraLifespan(c.Lifespan); err != nil {
		return err
	}
	if err := row.hydraKeys(c.KeySet, c.KeySetURL); err != nil {
		return err
	}
	if c.Secret != "" {
		h, err := sechash.FromHydra(c.Secret)
		if err != nil {
			return err
		}
		s := Secret{Hash: h}
		if c.Expires < 0 || c.Expires > math.MaxInt32*8 {
			return errors.New("client_secret_expires_at is not a time")
		} else if c.Expires > 0 {
			s.Ends = time.Unix(int64(c.Expires), 0).UTC()
		}
		row.Secrets = []Secret{s}
	}
	if err := row.provable(); err != nil {
		return fmt.Errorf("%w: Hydra's API does not show client_secret, add it from the table hydra_client", err)
	}
	return nil
}

// hydraLifespan reads the API's "1h0m0s" or the table's nanoseconds.
func (r *Row) hydraLifespan(raw json.RawMessage) error {
	text := strings.Trim(string(raw), `"`)
	if text == "" || text == "null" {
		return nil
	}
	if ns, err := strconv.ParseInt(text, 10, 64); err == nil {
		return r.lifetime(time.Duration(ns).Seconds())
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("client_credentials_grant_access_token_lifespan is not a duration")
	}
	return r.lifetime(d.Seconds())
}

func (r *Row) hydraKeys(set json.RawMessage, address string) error {
	var text string
	if json.Unmarshal(set, &text) != nil { // the table has the set inside a string
		text = string(set)
	}
	var keys struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if text != "" && text != "null" && json.Unmarshal([]byte(text), &keys) != nil {
		return errors.New("jwks is not a JWK Set")
	}
	if len(keys.Keys) > 0 {
		r.Client.Authentication.KeySet = text
	}
	r.Client.Authentication.KeySetURL = address
	return nil
}

// keycloakScopes are the client scopes that Keycloak gives to every client:
// they choose claims about people.
var keycloakScopes = []string{
	"acr", "address", "basic", "email", "microprofile-jwt", "offline_access", "openid", "organization", "phone",
	"profile", "roles", "service_account", "web-origins",
}

// readKeycloak reads a client of a Keycloak realm export.
func readKeycloak(raw []byte, row *Row) error {
	var c struct {
		ClientID      string            `json:"clientId"`
		Name          string            `json:"name"`
		Enabled       *bool             `json:"enabled"`
		Machine       bool              `json:"serviceAccountsEnabled"`
		Public        bool              `json:"publicClient"`
		BearerOnly    bool              `json:"bearerOnly"`
		Authenticator string            `json:"clientAuthenticatorType"`
		Secret        string            `json:"secret"`
		Defaults      []string          `json:"defaultClientScopes"`
		Optional      []string          `json:"optionalClientScopes"`
		Attributes    map[string]string `json:"attributes"`
		Credentials   []struct {
			SecretData     string `json:"secretData"`
			CredentialData string `json:"credentialData"`
			CreatedDate    int64  `json:"createdDate"` // milliseconds
		} `json:"credentials"`
	}
	err := decode(raw, &c)
	if row.Client.ID = c.ClientID; !strings.HasPrefix(c.Name, "${") {
		row.Client.Name = c.Name
	}
	if err != nil {
		return err
	}
	row.Client.Disabled = c.Enabled != nil && !*c.Enabled
	if !c.Machine || c.Public || c.BearerOnly {
		row.Skip = "it has no service account: it is not for client credentials"
		return nil
	}
	row.allow(c.Defaults, keycloakScopes...)
	before := len(row.Client.Scopes)
	row.allow(c.Optional, keycloakScopes...)
	if len(row.Client.Scopes) > before {
		row.note("its optional scopes are granted too when it asks for none")
	}
	a := c.Attributes
	if text := a["access.token.lifespan"]; text != "" {
		seconds, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return errors.New("access.token.lifespan is not a number")
		}
		if err := row.lifetime(float64(max(0, seconds))); err != nil { // -1 stands for the realm's
			return err
		}
	}
	for i, cred := range c.Credentials {
		h, err := sechash.FromKeycloak(cred.SecretData, cred.CredentialData)
		if err != nil {
			return fmt.Errorf("credential %d: %w", i+1, err)
		}
		s := Secret{Hash: h}
		if cred.CreatedDate > 0 {
			s.Created = time.UnixMilli(cred.CreatedDate).UTC()
		}
		if err := add(&row.Secrets, s); err != nil {
			return err
		}
	}
	return row.keycloakSecrets(c.Authenticator, c.Secret, a)
}

// keycloakSecrets reads how the client proves itself.
func (r *Row) keycloakSecrets(authenticator, secret string, a map[string]string) error {
	switch authenticator {
	case "", "client-secret":
	case "client-jwt":
		if a["use.jwks.url"] == "true" {
			r.Client.Authentication.KeySetURL = a["jwks.url"]
		} else {
			r.Client.Authentication.KeySet = a["jwks.string"]
		}
		return r.provable()
	default:
		return errors.New("its clientAuthenticatorType is none of client-secret and client-jwt")
	}
	for _, s := range []struct{ value, created, ends string }{
		{a["client.secret.rotated"], a["client.secret.rotated.creation.time"], a["client.secret.rotated.expiration.time"]},
		{secret, a["client.secret.creation.time"], a["client.secret.expiration.time"]},
	} {
		if s.value == "" {
			continue
		}
		if strings.Trim(s.value, "*") == "" || strings.HasPrefix(s.value, "${vault.") {
			return errors.New("its secret is masked or in a vault: export the realm on the server, with 'kc.sh export', or put it into the file")
		}
		created, err := seconds(s.created)
		if err != nil {
			return err
		}
		ends, err := seconds(s.ends)
		if err != nil {
			return err
		}
		if err := add(&r.Secrets, Secret{Plain: counterfoil.Secret(s.value), Created: created, Ends: ends}); err != nil {
			return err
		}
	}
	return r.provable()
}

// seconds reads seconds since 1970; "" and 0 for none.
func seconds(text string) (time.Time, error) {
	if text == "" || text == "0" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32*8 {
		return time.Time{}, errors.New("a time of its secrets is not a number of seconds")
	}
	return time.Unix(n, 0).UTC(), nil
}

// cognitoUnits are the units of AccessTokenValidity, in seconds; hours when
// nothing is said.
var cognitoUnits = map[string]float64{"": 3600, "seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}

// readCognito reads an app client of a Cognito user pool.
func readCognito(raw []byte, row *Row) error {
	type client struct {
		ClientID            string `json:"ClientId"`
		ClientName          string
		ClientSecret        string
		AllowedOAuthFlows   []string
		AllowedOAuthScopes  []string
		AccessTokenValidity float64
		TokenValidityUnits  struct{ AccessToken string }
		EnableFlows         *bool `json:"AllowedOAuthFlowsUserPoolClient"`
	}
	var c struct {
		UserPoolClient *client
		client
	}
	err := decode(raw, &c)
	if c.UserPoolClient != nil {
		c.client = *c.UserPoolClient
	}
	row.Client.ID, row.Client.Name = c.ClientID, c.ClientName
	if err != nil {
		return err
	}
	if !slices.Contains(c.AllowedOAuthFlows, "client_credentials") || c.EnableFlows != nil && !*c.EnableFlows {
		row.Skip = "its AllowedOAuthFlows are without client_credentials"
		return nil
	}
	unit, ok := cognitoUnits[c.TokenValidityUnits.AccessToken]
	if !ok {
		return fmt.Errorf("TokenValidityUnits.AccessToken is none of %s", strings.Join(slices.Sorted(maps.Keys(cognitoUnits))[1:], ", "))
	}
	if err := row.lifetime(c.AccessTokenValidity * unit); err != nil {
		return err
	}
	row.allow(c.AllowedOAuthScopes, append([]string{"aws.cognito.signin.user.admin", "email", "phone", "profile"}, userScopes...)...)
	if c.ClientSecret != "" {
		row.Secrets = []Secret{{Plain: counterfoil.Secret(c.ClientSecret)}}
	}
	return row.provable()
}

// words is a list of strings: a JSON array, or a string that has them between
// bars, commas or spaces, as databases keep them.
type words []string

// UnmarshalJSON reads either form.
func (w *words) UnmarshalJSON(raw []byte) error {
	var list []string
	if err := json.Unmarshal(raw, &list); err == nil {
		*w = list
		return nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return errors.New("neither a list nor a string")
	}
	if strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &list) == nil {
		*w = list
		return nil
	}
	*w = strings.FieldsFunc(text, func(r rune) bool { return r == '|' || r == ',' || r == ' ' })
	return nil
}
