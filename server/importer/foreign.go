package importer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/server/internal/sechash"
)

// readIdentityServer reads a Client of IdentityServer4 or Duende
// IdentityServer, as in its configuration or in its configuration store. Names
// of members are case-insensitive.
func readIdentityServer(raw []byte, row *Row) error {
	type who struct {
		ClientID   text `json:"ClientId"`
		ClientName text
	}
	type kind struct {
		Enabled           *flag
		AllowedGrantTypes words
		GrantTypeRows     words `json:"ClientGrantTypes"` // the store's table
	}
	var c struct {
		who
		kind
		AllowedScopes       words
		ScopeRows           words `json:"ClientScopes"`
		AccessTokenLifetime number
		AccessTokenType     any
		ClientClaimsPrefix  *text
		Claims              list[identityServerClaim]
		ClaimRows           list[identityServerClaim] `json:"ClientClaims"`
		ClientSecrets       list[identityServerSecret]
	}
	known, err := decodeClient(raw, &c, &c.kind, &c.who)
	row.Client.ID, row.Client.Name = cmp.Or(string(c.ClientID), row.key), string(c.ClientName)
	row.Client.Disabled = c.Enabled != nil && !bool(*c.Enabled)
	switch grants := append(c.AllowedGrantTypes, c.GrantTypeRows...); {
	case known && grants == nil:
		row.Skip = "AllowedGrantTypes is missing: it must have client_credentials"
		return nil
	case known && !slices.Contains(grants, "client_credentials"):
		row.Skip = "its AllowedGrantTypes are without client_credentials"
		return nil
	case err != nil:
		return err
	}
	if err := row.lifetime("AccessTokenLifetime", float64(c.AccessTokenLifetime)); err != nil {
		return err
	}
	if c.AccessTokenType != nil && fmt.Sprint(c.AccessTokenType) != "0" && !strings.EqualFold(fmt.Sprint(c.AccessTokenType), "jwt") {
		row.note("had reference tokens; its tokens here are JWTs, which introspection answers for as well")
	}
	row.allow(append(c.AllowedScopes, c.ScopeRows...), row.source.IdentityResources...)
	if err := row.identityServerClaims(c.ClientClaimsPrefix, append(c.Claims, c.ClaimRows...)); err != nil {
		return err
	}
	return row.identityServerSecrets(c.ClientSecrets)
}

type identityServerClaim struct{ Type, Value text }

// identityServerClaims imports the claims of a client, under the prefix that
// IdentityServer gives them.
func (r *Row) identityServerClaims(prefix *text, claims []identityServerClaim) error {
	front := "client_"
	if prefix != nil {
		front = string(*prefix)
	}
	own := map[string]string{}
	for _, c := range claims {
		name := front + string(c.Type)
		if _, twice := own[name]; twice {
			return fmt.Errorf("the member Claims has several values of %q: here a client's claim has one", c.Type)
		}
		own[name] = string(c.Value)
	}
	if len(own) > 0 {
		r.Client.Tokens.Claims = own
	}
	return nil
}

type identityServerSecret struct {
	Value, Type, Expiration, Created text
	seed                             bool
}

// UnmarshalJSON also reads a secret that is a string, as in seed files.
func (s *identityServerSecret) UnmarshalJSON(raw []byte) error {
	type object identityServerSecret // without this method
	if raw[0] == '"' {
		s.seed = true
		return json.Unmarshal(raw, &s.Value)
	}
	return json.Unmarshal(raw, (*object)(s))
}

func (r *Row) identityServerSecrets(secrets []identityServerSecret) error {
	var keys []json.RawMessage
	for i, s := range secrets {
		member := fmt.Sprintf("ClientSecrets, secret %d", i+1)
		created, err := moment(member+": Created", string(s.Created))
		if err != nil {
			return err
		}
		ends, err := moment(member+": Expiration", string(s.Expiration))
		if err != nil {
			return err
		}
		switch s.Type {
		case "", "SharedSecret":
			next, err := identityServerValue(member, string(s.Value), s.seed || r.source.seed)
			if err != nil {
				return err
			}
			next.Created, next.Ends = created, ends
			if err := add(&r.Secrets, next); err != nil {
				return err
			}
		case "JWK":
			if !json.Valid([]byte(s.Value)) || !ends.IsZero() {
				return fmt.Errorf("%s: it must be a JWK without an expiration", member)
			}
			keys = append(keys, json.RawMessage(s.Value))
		default:
			r.note("left out secret %d: its type is neither SharedSecret nor JWK", i+1)
		}
	}
	if len(keys) > 0 {
		set, err := json.Marshal(map[string]any{"keys": keys})
		if err != nil {
			return errors.New("ClientSecrets: its keys are not JSON")
		}
		r.Client.Authentication.KeySet = string(set)
	}
	return r.provable("ClientSecrets")
}

// identityServerValue reads the value of a secret: a hash, or in a seed file the
// secret itself.
func identityServerValue(member, value string, seed bool) (Secret, error) {
	if seed {
		return plainSecret(member, value)
	}
	h, err := sechash.FromIdentityServer(value)
	if err != nil {
		return Secret{}, unhashed(member, value, err)
	}
	return Secret{Member: member, Hash: h}, nil
}

// provable refuses a client that could not authenticate. One without an id is
// refused elsewhere.
func (r *Row) provable(member string) error {
	a := &r.Client.Authentication
	if r.Client.ID != "" && len(r.Secrets) == 0 && a.KeySet == "" && a.KeySetURL == "" {
		return fmt.Errorf("%s: it has no secret and no key that could be taken over", member)
	}
	r.Client.WithoutSecret = len(r.Secrets) == 0
	return nil
}

// readHydra reads a client of Ory Hydra, in the form of its API or of its
// table.
func readHydra(raw []byte, row *Row) error {
	type who struct {
		ID       string `json:"id"` // of the table
		ClientID string `json:"client_id"`
		Name     string `json:"client_name"`
	}
	type kind struct {
		Grants words  `json:"grant_types"`
		Method string `json:"token_endpoint_auth_method"`
	}
	var c struct {
		who
		kind
		Secret    string          `json:"client_secret"`
		Expires   number          `json:"client_secret_expires_at"`
		Scope     string          `json:"scope"`
		Audience  words           `json:"audience"`
		Contacts  words           `json:"contacts"`
		Owner     string          `json:"owner"`
		KeySet    json.RawMessage `json:"jwks"`
		KeySetURL string          `json:"jwks_uri"`
		Lifespan  json.RawMessage `json:"client_credentials_grant_access_token_lifespan"`
		Metadata  json.RawMessage `json:"metadata"`
	}
	known, err := decodeClient(raw, &c, &c.kind, &c.who)
	row.Client.ID, row.Client.Name = cmp.Or(c.ClientID, c.ID), c.Name
	switch {
	case known && c.Grants == nil:
		row.Skip = "grant_types is missing: it must have client_credentials"
		return nil
	case known && !slices.Contains(c.Grants, "client_credentials"):
		row.Skip = "its grant_types are without client_credentials"
		return nil
	case known && c.Method == "none":
		row.Skip = `it is a public client: its token_endpoint_auth_method is "none"`
		return nil
	case err != nil:
		return err
	}
	row.allow(strings.Fields(c.Scope))
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
			return unhashed("client_secret", c.Secret, err)
		}
		s := Secret{Member: "client_secret", Hash: h}
		if c.Expires < 0 || c.Expires > math.MaxInt32*8 {
			return errors.New("client_secret_expires_at is not a time")
		} else if c.Expires > 0 {
			s.Ends = time.Unix(int64(c.Expires), 0).UTC()
		}
		row.Secrets = []Secret{s}
	}
	if err := row.provable("client_secret"); err != nil {
		return fmt.Errorf("%w: Hydra's API does not show client_secret, add it from the table hydra_client", err)
	}
	return nil
}

// hydraLifespan reads the API's "1h0m0s" or the table's nanoseconds.
func (r *Row) hydraLifespan(raw json.RawMessage) error {
	const member = "client_credentials_grant_access_token_lifespan"
	text := strings.Trim(string(raw), `"`)
	if text == "" || text == "null" {
		return nil
	}
	if ns, ok := whole(text); ok {
		return r.lifetime(member, time.Duration(ns).Seconds())
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return errors.New(member + " is not a duration")
	}
	return r.lifetime(member, d.Seconds())
}

func (r *Row) hydraKeys(set json.RawMessage, address string) error {
	var text string
	if json.Unmarshal(set, &text) != nil { // the table stores the set as a string
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

// cognitoUnits are the units of AccessTokenValidity, in seconds; hours by
// default.
var cognitoUnits = map[string]float64{"": 3600, "seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}

// readCognito reads an app client of a Cognito user pool.
func readCognito(raw []byte, row *Row) error {
	type who struct {
		ClientID   string `json:"ClientId"`
		ClientName string
	}
	type kind struct {
		AllowedOAuthFlows []string
		EnableFlows       *flag `json:"AllowedOAuthFlowsUserPoolClient"`
	}
	type client struct {
		who
		kind
		ClientSecret        string
		AllowedOAuthScopes  []string
		AccessTokenValidity number
		TokenValidityUnits  struct{ AccessToken string }
		UserPoolID          string `json:"UserPoolId"`
	}
	var outer struct{ UserPoolClient json.RawMessage }
	if decode(raw, &outer) == nil && len(outer.UserPoolClient) > 0 && string(outer.UserPoolClient) != "null" {
		raw = outer.UserPoolClient
	}
	var c client
	known, err := decodeClient(raw, &c, &c.kind, &c.who)
	row.Client.ID, row.Client.Name = c.ClientID, c.ClientName
	switch {
	case known && c.AllowedOAuthFlows == nil && c.EnableFlows == nil && c.ClientSecret == "" && c.UserPoolID != "":
		return errors.New("AllowedOAuthFlows and ClientSecret are missing: the answer of list-user-pool-clients " +
			"is without them, ask 'aws cognito-idp describe-user-pool-client' for each client")
	case known && c.AllowedOAuthFlows == nil:
		row.Skip = "AllowedOAuthFlows is missing: it must have client_credentials"
		return nil
	case known && !slices.Contains(c.AllowedOAuthFlows, "client_credentials"):
		row.Skip = "its AllowedOAuthFlows are without client_credentials"
		return nil
	case known && c.EnableFlows != nil && !bool(*c.EnableFlows):
		row.Skip = "its AllowedOAuthFlowsUserPoolClient is false"
		return nil
	case err != nil:
		return err
	}
	unit, ok := cognitoUnits[c.TokenValidityUnits.AccessToken]
	if !ok {
		return fmt.Errorf("TokenValidityUnits.AccessToken is not one of %s", strings.Join(slices.Sorted(maps.Keys(cognitoUnits))[1:], ", "))
	}
	if err := row.lifetime("AccessTokenValidity", float64(c.AccessTokenValidity)*unit); err != nil {
		return err
	}
	row.allow(c.AllowedOAuthScopes, "aws.cognito.signin.user.admin")
	if c.ClientSecret != "" {
		s, err := plainSecret("ClientSecret", c.ClientSecret)
		if err != nil {
			return err
		}
		row.Secrets = []Secret{s}
	}
	return row.provable("ClientSecret")
}
