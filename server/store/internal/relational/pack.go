package relational

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/store"
)

// packedClient is the row of a client in one column, which is read in half the
// time of many, with the revision and the state of its tokens. The name, which
// may hold any text, is its last part.
const (
	packedClient = `concat_ws(chr(31), version, disabled, created, changed, not_before, (SELECT changes FROM totals),
		coalesce((SELECT greatest(t.issued, t.not_before) FROM client_tokens AS t WHERE t.realm = c.realm 
		AND t.client_id = c.id), 0), (SELECT latest FROM totals),
		scopes, tenants, secrets, api_keys, rest, name)`
	packedParts = 14
)

// row is a client in the form of the table.
type row struct {
	realm, id                               string
	disabled                                bool
	created, changed, notBefore             int64
	scopes, tenants, secrets, apiKeys, rest string
	name                                    string
}

// values returns the columns in their order, without the version.
func (r *row) values() []any {
	return []any{r.realm, r.id, r.disabled, r.created, r.changed, r.notBefore, r.scopes, r.tenants, r.secrets, r.apiKeys, r.rest, r.name}
}

func clientRow(c *store.Client) (row, error) {
	rest, err := packRest(c)
	return row{
		realm: c.Realm, id: c.ID, disabled: c.Disabled, created: micros(c.Created), changed: micros(c.Changed),
		notBefore: micros(c.NotBefore),
		scopes:    c.Scopes.String(), tenants: strings.Join(c.Tenants, "\n"), secrets: joinHashes(c.Secrets),
		apiKeys: joinHashes(c.APIKeys),
		rest:    rest, name: c.Name,
	}, err
}

func unpackClient(realm, id, packed string) (store.Client, error) {
	parts := strings.SplitN(packed, "\x1f", packedParts)
	if len(parts) != packedParts {
		return store.Client{}, errDamaged
	}
	var numbers [8]int64
	for i := range numbers {
		n, err := strconv.ParseInt(parts[i], 10, 64)
		if err != nil {
			return store.Client{}, errDamaged
		}
		numbers[i] = n
	}
	c := store.Client{
		Realm: realm, ID: id, Version: numbers[0], Disabled: numbers[1] != 0, Created: moment(numbers[2]), Changed: moment(numbers[3]),
		NotBefore: moment(numbers[4]), Revision: numbers[5], MinIssuedAt: moment(numbers[6]), Newest: moment(numbers[7]),
	}
	if c.Disabled {
		c.Revision = 0 // older than any revision: the client is read before a token is issued
	}
	err := unpackRest(parts[12], &c)
	if err != nil {
		return store.Client{}, err
	}
	c.Name = parts[13]
	if parts[8] != "" {
		c.Scopes = strings.Split(parts[8], " ")
	}
	if parts[9] != "" {
		c.Tenants = strings.Split(parts[9], "\n")
	}
	if c.Secrets, err = splitHashes(parts[10]); err == nil {
		c.APIKeys, err = splitHashes(parts[11])
	}
	return c, err
}

// rest holds what few clients have. It and the types within it are
// the stored form: a field of package store can be renamed without regard to
// it, a name in a tag only by a migration. Unknown members, which a newer
// server has written, are ignored.
type rest struct {
	Contact        string            `json:"contact,omitempty"`
	Environment    store.Environment `json:"environment,omitempty"`
	Addresses      []netip.Prefix    `json:"addresses,omitempty"`
	Labels         map[string]string `json:"labels,omitempty"`
	Expires        int64             `json:"expires,omitempty"` // microseconds since 1970
	ResourceServer bool              `json:"resource_server,omitempty"`
	Tokens         tokenRow          `json:"tokens,omitzero"`
	Authentication authenticationRow `json:"authentication,omitzero"`
	Maker          string            `json:"maker,omitempty"`
	Makes          bool              `json:"makes,omitempty"`
}

type tokenRow struct {
	Lifetime         time.Duration      `json:"lifetime,omitempty"` // nanoseconds
	Algorithm        provider.Algorithm `json:"algorithm,omitempty"`
	Policy           provider.Policy    `json:"policy,omitempty"`
	Claims           map[string]string  `json:"claims,omitempty"`
	CertificateBound bool               `json:"certificate_bound,omitempty"`
	DPoPBound        bool               `json:"dpop_bound,omitempty"`
}

type authenticationRow struct {
	KeySet      string          `json:"jwks,omitempty"`
	KeySetURL   string          `json:"jwks_uri,omitempty"`
	Certificate certificateRow  `json:"certificate,omitzero"`
	Thumbprints []string        `json:"thumbprints,omitempty"`
	Federation  []federationRow `json:"federation,omitempty"`
}

type certificateRow struct {
	SubjectDN string `json:"tls_client_auth_subject_dn,omitempty"`
	DNS       string `json:"tls_client_auth_san_dns,omitempty"`
	URI       string `json:"tls_client_auth_san_uri,omitempty"`
	IP        string `json:"tls_client_auth_san_ip,omitempty"`
	Email     string `json:"tls_client_auth_san_email,omitempty"`
}

type federationRow struct {
	Issuer string            `json:"issuer"`
	Claims map[string]string `json:"claims"`
}

// packRest returns the empty string when all are at their zero value.
func packRest(c *store.Client) (string, error) {
	s, a := &c.Settings, &c.Authentication
	r := rest{
		Contact: s.Contact, Environment: s.Environment, Addresses: s.Addresses, Labels: s.Labels, Expires: micros(s.Expires),
		ResourceServer: s.ResourceServer, Tokens: tokenRow(s.Tokens),
		Authentication: authenticationRow{
			KeySet: a.KeySet, KeySetURL: a.KeySetURL, Certificate: certificateRow(a.Certificate), Thumbprints: a.Thumbprints,
		},
		Maker: c.Maker, Makes: c.Makes,
	}
	for _, f := range a.Federation {
		r.Authentication.Federation = append(r.Authentication.Federation, federationRow(f))
	}
	text, err := json.Marshal(r)
	if err != nil || string(text) == "{}" {
		return "", err
	}
	return string(text), nil
}

func unpackRest(text string, c *store.Client) error {
	s := &c.Settings
	if text == "" {
		return nil
	}
	var r rest
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return errDamaged
	}
	s.Contact, s.Environment, s.Addresses, s.Labels, s.Expires = r.Contact, r.Environment, r.Addresses, r.Labels, moment(r.Expires)
	s.ResourceServer, s.Tokens = r.ResourceServer, store.TokenSettings(r.Tokens)
	c.Maker, c.Makes = r.Maker, r.Makes
	a := &r.Authentication
	s.Authentication = store.Authentication{
		KeySet: a.KeySet, KeySetURL: a.KeySetURL, Certificate: store.CertificateRule(a.Certificate), Thumbprints: a.Thumbprints,
	}
	for _, f := range a.Federation {
		s.Authentication.Federation = append(s.Authentication.Federation, store.FederationRule(f))
	}
	return nil
}

func joinHashes(hashes []store.SecretHash) string {
	var lines []byte
	for _, h := range hashes {
		lines = fmt.Appendf(lines, "%s %s %d %d\n", h.ID, h.Value, micros(h.Created), micros(h.Expires))
	}
	return string(lines)
}

func splitHashes(lines string) ([]store.SecretHash, error) {
	var hashes []store.SecretHash
	for lines != "" {
		var line string
		line, lines, _ = strings.Cut(lines, "\n")
		var h store.SecretHash
		var err, err2 error
		h.ID, line, _ = strings.Cut(line, " ")
		line, h.Expires, err = cutMoment(line)
		h.Value, h.Created, err2 = cutMoment(line)
		if err != nil || err2 != nil {
			return nil, errDamaged
		}
		hashes = append(hashes, h)
	}
	return hashes, nil
}

// cutMoment takes the time at the end of a line.
func cutMoment(line string) (before string, at time.Time, err error) {
	i := strings.LastIndexByte(line, ' ')
	if i < 0 {
		return "", at, errDamaged
	}
	us, err := strconv.ParseInt(line[i+1:], 10, 64)
	return line[:i], moment(us), err
}
