package admin

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// openAPI is the description of the HTTP interface.
//
//go:embed openapi.json
var openAPI []byte

// defaultOverlap is how long an old secret stays accepted by default.
const defaultOverlap = 24 * time.Hour

// importTime bounds an import: secrets in the clear are hashed slowly.
const importTime = 30 * time.Minute

func done() (answer, error) { return answer{status: http.StatusNoContent}, nil }

func good(body any) (answer, error) { return answer{status: http.StatusOK, body: body}, nil }

func withClient(status int, c *Client, body any) answer {
	return answer{status: status, body: body, etag: strconv.Quote(strconv.FormatInt(c.Version, 10))}
}

// Answers.
type (
	rootView struct {
		Name     string `json:"name"`
		Document string `json:"openapi"`
	}
	realmsView struct {
		Realms []Realm `json:"realms"`
	}
	keysView struct {
		Keys []signing.View `json:"keys"`
	}
	// credentialsView holds secrets in the clear: it is encoded for the caller
	// that made them and goes nowhere else.
	credentialsView struct {
		ClientID     string    `json:"client_id"`
		ClientSecret string    `json:"client_secret,omitempty"`
		APIKey       string    `json:"api_key,omitempty"`
		OldEnds      time.Time `json:"old_secret_ends,omitzero"`
		ID           string    `json:"secret_id,omitempty"`
		OldID        string    `json:"old_secret_id,omitempty"`
	}
	createdView struct {
		Client      Client          `json:"client"`
		Credentials credentialsView `json:"credentials"`
	}
)

func credentialsOf(c clients.Credentials) credentialsView {
	return credentialsView{c.ClientID, c.ClientSecret.Reveal(), c.APIKey.Reveal(), utc(c.PreviousExpires), c.ID, c.PreviousID}
}

// Request bodies.
type (
	rotationBody struct {
		Overlap *string   `json:"overlap,omitempty"`
		Ends    time.Time `json:"ends,omitzero"`
		Keep    bool      `json:"keep,omitempty"`
	}
	secretBody struct {
		Ends time.Time `json:"ends,omitzero"`
	}
	keyBody struct {
		Algorithm   provider.Algorithm `json:"algorithm,omitempty"`
		Ahead       *string            `json:"ahead,omitempty"`
		Now         bool               `json:"now,omitempty"`
		Compromised bool               `json:"compromised,omitempty"`
	}
)

// duration reads an optional member that is a duration.
func duration(pointer string, text *string, otherwise time.Duration) (time.Duration, error) {
	if text == nil {
		return otherwise, nil
	}
	d, err := time.ParseDuration(*text)
	if err != nil || d < 0 {
		return 0, invalid(wrongValues, []Fault{{pointer, "it must be a duration as 24h, and not negative"}})
	}
	return d, nil
}

func (c *call) realm() string    { return c.PathValue("realm") }
func (c *call) clientID() string { return c.PathValue("client") }

func (c *call) root() (answer, error) {
	return good(rootView{"Counterfoil Admin API", "v1/openapi.json"})
}

func (c *call) document() (answer, error) { return good(openAPI) }

func (c *call) realms() (answer, error) {
	realms, err := c.admin.Realms(c.Context())
	if err != nil {
		return answer{}, err
	}
	return good(realmsView{realms})
}

func (c *call) clients() (answer, error) {
	limit, err := c.number("limit")
	if err != nil {
		return answer{}, err
	}
	q := store.ClientQuery{
		Realm: c.realm(), After: c.query.Get("after"), Limit: int(min(limit, maxLimit)),
		Search: c.query.Get("search"), Environment: store.Environment(c.query.Get("environment")),
	}
	if status := c.query.Get("status"); status != "" {
		if err := SelectStatus(&q, status); err != nil {
			return answer{}, err
		}
	}
	for name, into := range map[string]*time.Time{"idle_since": &q.Idle, "ends_before": &q.Ends} {
		if text := c.query.Get(name); text != "" {
			if *into, err = parseTime(text); err != nil {
				return answer{}, problem(malformed, "the query parameter %s: %v", name, err)
			}
		}
	}
	page, err := c.admin.Clients(c.Context(), q)
	if err != nil {
		return answer{}, err
	}
	return good(page)
}

func (c *call) createClient() (answer, error) {
	var n NewClient
	if err := c.body(&n, false); err != nil {
		return answer{}, err
	}
	made, creds, err := c.admin.CreateClient(c.Context(), c.realm(), n)
	if err != nil {
		return answer{}, err
	}
	return withClient(http.StatusCreated, &made, createdView{made, credentialsOf(creds)}), nil
}

func (c *call) client() (answer, error) {
	v, err := c.admin.Client(c.Context(), c.realm(), c.clientID())
	if err != nil {
		return answer{}, err
	}
	return withClient(http.StatusOK, &v, v), nil
}

func (c *call) changeClient() (answer, error) {
	version, err := c.version()
	if err != nil {
		return answer{}, err
	}
	patch, err := c.read("application/merge-patch+json")
	if err != nil {
		return answer{}, err
	}
	v, err := c.admin.ChangeClient(c.Context(), c.realm(), c.clientID(), version, patch)
	if err != nil {
		return answer{}, err
	}
	return withClient(http.StatusOK, &v, v), nil
}

func (c *call) rotateSecret() (answer, error) { return c.rotate(c.admin.RotateSecret) }
func (c *call) rotateAPIKey() (answer, error) { return c.rotate(c.admin.RotateAPIKey) }

func (c *call) rotate(do func(ctx context.Context, realm, id string, r clients.Rotation) (clients.Credentials, error)) (answer, error) {
	version, err := c.version()
	if err != nil {
		return answer{}, err
	}
	var b rotationBody
	if err := c.body(&b, true); err != nil {
		return answer{}, err
	}
	r := clients.Rotation{At: b.Ends, Keep: b.Keep, Version: version}
	if b.Overlap != nil || b.Ends.IsZero() && !b.Keep {
		if r.Overlap, err = duration("/overlap", b.Overlap, defaultOverlap); err != nil {
			return answer{}, err
		}
	}
	creds, err := do(c.Context(), c.realm(), c.clientID(), r)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: credentialsOf(creds)}, nil
}

func (c *call) endSecret() (answer, error) {
	var b secretBody
	if err := c.body(&b, false); err != nil {
		return answer{}, err
	}
	if b.Ends.IsZero() {
		return answer{}, invalid(wrongValues, []Fault{{"/ends", "it is missing: say when, or DELETE the secret to end it now"}})
	}
	return c.end(b.Ends)
}

func (c *call) deleteSecret() (answer, error) { return c.end(time.Time{}) }

func (c *call) end(at time.Time) (answer, error) {
	if err := c.admin.EndSecret(c.Context(), c.realm(), c.clientID(), c.PathValue("secret"), at); err != nil {
		return answer{}, err
	}
	return done()
}

func (c *call) disableClient() (answer, error) { return c.simple(c.admin.DisableClient) }
func (c *call) enableClient() (answer, error)  { return c.simple(c.admin.EnableClient) }
func (c *call) deleteClient() (answer, error)  { return c.simple(c.admin.DeleteClient) }
func (c *call) revokeTokens() (answer, error)  { return c.simple(c.admin.RevokeTokens) }

func (c *call) simple(do func(ctx context.Context, realm, id string) error) (answer, error) {
	if err := do(c.Context(), c.realm(), c.clientID()); err != nil {
		return answer{}, err
	}
	return done()
}

func (c *call) importClients() (answer, error) {
	if err := c.media("application/octet-stream", "application/json", "application/x-ndjson", "text/csv"); err != nil {
		return answer{}, err
	}
	i := Import{Format: c.query.Get("format"), FromRealm: c.query.Get("from_realm")}
	for name, into := range i.flags() {
		var err error
		if *into, err = c.flag(name); err != nil {
			return answer{}, err
		}
	}
	// The server's own limits are for short requests.
	control, until := http.NewResponseController(c.w), time.Now().Add(importTime)
	if err := control.SetReadDeadline(until); err != nil {
		return answer{}, fmt.Errorf("extend the deadline of the import: %w", err)
	}
	if err := control.SetWriteDeadline(until); err != nil {
		return answer{}, fmt.Errorf("extend the deadline of the import: %w", err)
	}
	body := &bodyReader{r: http.MaxBytesReader(c.w, c.Body, maxImport)}
	i.File = body
	report, err := c.admin.ImportClients(c.Context(), c.realm(), i)
	if errors.Is(err, errBody) {
		return answer{}, problem(malformed, "the body ended before its announced length")
	}
	if err != nil {
		return answer{}, err
	}
	return good(&report)
}

// bodyReader marks the errors of a body.
type bodyReader struct{ r io.Reader }

var errBody = errors.New("admin: the body cannot be read")

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	var over *http.MaxBytesError
	if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, &over) {
		err = errors.Join(errBody, err)
	}
	return n, err
}

func (c *call) keys() (answer, error) {
	keys, err := c.admin.Keys(c.Context(), c.realm())
	if err != nil {
		return answer{}, err
	}
	return good(keysView{append([]signing.View{}, keys...)})
}

func (c *call) rotateKey() (answer, error) {
	var b keyBody
	if err := c.body(&b, true); err != nil {
		return answer{}, err
	}
	ahead, err := duration("/ahead", b.Ahead, 0)
	if err != nil {
		return answer{}, err
	}
	k, err := c.admin.RotateKey(c.Context(), c.realm(), provider.Algorithm(event.Clean(string(b.Algorithm), maxShown)),
		signing.Rotation{Prepublish: ahead, Immediately: b.Now, Compromised: b.Compromised})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusCreated, body: k}, nil
}
