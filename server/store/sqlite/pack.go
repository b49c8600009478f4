package sqlite

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil/server/store"
)

// packedClient is the row of a client in one column, which is read in half the
// time of many, with the revision and the state of its tokens. The name, which
// may hold any text, is its last part.
const (
	packedClient = `concat_ws(char(31), version, disabled, created, changed, not_before, (SELECT changes FROM totals),
		coalesce((SELECT max(t.issued, t.not_before) FROM client_tokens AS t WHERE t.realm = c.realm 
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
	rest, err := packRest(&c.Settings)
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
	err := unpackRest(parts[12], &c.Settings)
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

// rest holds the settings that few clients have.
type rest struct {
	Contact        string               `json:"contact,omitempty"`
	Environment    store.Environment    `json:"environment,omitempty"`
	Addresses      []netip.Prefix       `json:"addresses,omitempty"`
	Labels         map[string]string    `json:"labels,omitempty"`
	Expires        int64                `json:"expires,omitempty"` // microseconds since 1970
	ResourceServer bool                 `json:"resource_server,omitempty"`
	Tokens         store.TokenSettings  `json:"tokens,omitzero"`
	Authentication store.Authentication `json:"authentication,omitzero"`
}

// packRest returns the empty string when all are at their zero value.
func packRest(s *store.Settings) (string, error) {
	text, err := json.Marshal(rest{
		Contact: s.Contact, Environment: s.Environment, Addresses: s.Addresses, Labels: s.Labels, Expires: micros(s.Expires),
		ResourceServer: s.ResourceServer, Tokens: s.Tokens, Authentication: s.Authentication,
	})
	if err != nil || string(text) == "{}" {
		return "", err
	}
	return string(text), nil
}

func unpackRest(text string, s *store.Settings) error {
	if text == "" {
		return nil
	}
	var r rest
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return errDamaged
	}
	s.Contact, s.Environment, s.Addresses, s.Labels, s.Expires = r.Contact, r.Environment, r.Addresses, r.Labels, moment(r.Expires)
	s.ResourceServer, s.Tokens, s.Authentication = r.ResourceServer, r.Tokens, r.Authentication
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
