package admin

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
)

// Remote is a Service that calls the Admin API of a server.
type Remote struct {
	// URL is where the API is mounted, without a trailing slash.
	URL string
	// HTTP sends requests with a token of the API's realm.
	HTTP *http.Client
}

// maxAnswer bounds an answer, in bytes: a page of 1,000 clients of the largest
// size, or the rows of an import, which are not kept in memory.
const maxAnswer = 256 << 20

// query is a request to the API.
type query struct {
	method string
	// path are the segments below /v1, unescaped.
	path    []string
	values  url.Values
	media   string
	body    io.Reader
	version int64
	// key identifies a repeated request.
	key string
}

// realmOf and clientOf return paths below a realm and a client.
func realmOf(realm string, more ...string) []string {
	return append([]string{"realms", realm}, more...)
}
func clientOf(realm, id string, more ...string) []string {
	return append([]string{"realms", realm, "clients", id}, more...)
}

// do sends a request and decodes the answer into the value that into points
// to, unless that is nil.
func (r *Remote) do(ctx context.Context, q query, into any) error {
	return r.send(ctx, q, func(answer io.Reader) error {
		body, err := io.ReadAll(answer)
		if err != nil || into == nil {
			return err
		}
		if err := json.Unmarshal(body, into); err != nil {
			return errStranger
		}
		return nil
	})
}

// attempts is how often a request is sent when its answer does not arrive.
const attempts = 3

// once is do for requests whose answer has a new secret. It repeats the
// request when the answer is interrupted, and the server executes it once.
func (r *Remote) once(ctx context.Context, q query, into any) error {
	q.key = rand.Text()
	body := q.body.(io.Seeker)
	for n := 1; ; n++ {
		err := r.do(ctx, q, into)
		var p *Problem
		var refused *counterfoil.Error
		if err == nil || n == attempts || ctx.Err() != nil || errors.As(err, &p) || errors.As(err, &refused) ||
			errors.Is(err, errStranger) || errors.Is(err, errAnswer) {
			return err
		}
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return fmt.Errorf("admin: %w", err)
		}
	}
}

var (
	errStranger = errors.New("admin: the answer is not that of a Counterfoil server: check the API's URL")
	errAnswer   = errors.New("admin: the answer is too large")
)

// send sends a request and calls read with a successful answer.
func (r *Remote) send(ctx context.Context, q query, read func(io.Reader) error) error {
	u := strings.TrimSuffix(r.URL, "/") + "/v1"
	for _, segment := range q.path {
		if segment == "." || segment == ".." || segment == "" {
			return problem(NotFound, "nothing is named %s", show(segment))
		}
		u += "/" + url.PathEscape(segment)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, u, q.body)
	if err != nil {
		return fmt.Errorf("admin: %w", err)
	}
	req.URL.RawQuery = q.values.Encode()
	req.Header.Set("Accept", "application/json, application/problem+json")
	if q.media != "" {
		req.Header.Set("Content-Type", q.media)
	}
	if q.version != 0 {
		req.Header.Set("If-Match", strconv.Quote(strconv.FormatInt(q.version, 10)))
	}
	if q.key != "" {
		req.Header.Set(idempotencyKey, strconv.Quote(q.key))
	}
	resp, err := r.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := &bounding{r: resp.Body, left: maxAnswer}
	if resp.StatusCode/100 != 2 {
		body, err := io.ReadAll(answer)
		if err != nil {
			return fmt.Errorf("admin: read the answer: %w", err)
		}
		return refusal(resp, body)
	}
	err = read(answer)
	switch {
	case errors.Is(answer.err, errAnswer):
		return errAnswer
	case answer.err != nil:
		return fmt.Errorf("admin: read the answer: %w", answer.err)
	}
	return err
}

// bounding reads a number of bytes, then fails; err is the error.
type bounding struct {
	r    io.Reader
	left int64
	err  error
}

func (b *bounding) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		err = errAnswer
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// refusal returns the problem in an answer, or an error that says that
// something else refused: the guard in front of the API, or another server.
func refusal(resp *http.Response, body []byte) error {
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	var p Problem
	if media == "application/problem+json" && json.Unmarshal(body, &p) == nil && p.Code != "" {
		p.Status = resp.StatusCode
		return &p
	}
	return &counterfoil.Error{Status: resp.StatusCode, Message: fmt.Sprintf("the Admin API answers %d", resp.StatusCode)}
}

func get(path []string) query { return query{method: http.MethodGet, path: path} }

// withBody returns a request with a JSON body.
func withBody(method string, path []string, body any) (query, error) {
	text, err := json.Marshal(body)
	return query{method: method, path: path, media: "application/json", body: bytes.NewReader(text)}, err
}

// Realms returns the realms.
func (r *Remote) Realms(ctx context.Context) ([]Realm, error) {
	var v realmsView
	err := r.do(ctx, get([]string{"realms"}), &v)
	return v.Realms, err
}

// CreateClient adds a client.
func (r *Remote) CreateClient(ctx context.Context, realm string, n NewClient) (Client, clients.Credentials, error) {
	q, err := withBody(http.MethodPost, realmOf(realm, "clients"), n)
	if err != nil {
		return Client{}, clients.Credentials{}, err
	}
	var v createdView
	err = r.once(ctx, q, &v)
	return v.Client, v.Credentials.secret(), err
}

func (v *credentialsView) secret() clients.Credentials {
	return clients.Credentials{ClientID: v.ClientID, ClientSecret: counterfoil.Secret(v.ClientSecret),
		APIKey: counterfoil.Secret(v.APIKey), PreviousExpires: v.OldEnds, ID: v.ID, PreviousID: v.OldID}
}

// Client returns a client.
func (r *Remote) Client(ctx context.Context, realm, id string) (Client, error) {
	var v Client
	err := r.do(ctx, get(clientOf(realm, id)), &v)
	return v, err
}

// Clients returns a part of a realm's clients.
func (r *Remote) Clients(ctx context.Context, q store.ClientQuery) (ClientPage, error) {
	request := get(realmOf(q.Realm, "clients"))
	request.values = url.Values{"limit": {strconv.Itoa(bounded(q.Limit))}}
	for name, value := range map[string]string{
		"after": q.After, "search": q.Search, "environment": string(q.Environment), "status": statusOf(&q),
		"idle_since": rfc3339(q.Idle), "ends_before": rfc3339(q.Ends),
	} {
		if value != "" {
			request.values.Set(name, value)
		}
	}
	var v ClientPage
	err := r.do(ctx, request, &v)
	return v, err
}

// rfc3339 writes a time for a query; "" for none.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// ChangeClient applies a merge patch to the settings of a client.
func (r *Remote) ChangeClient(ctx context.Context, realm, id string, version int64, patch []byte) (Client, error) {
	var v Client
	err := r.do(ctx, query{
		method: http.MethodPatch, path: clientOf(realm, id), media: "application/merge-patch+json",
		body: bytes.NewReader(patch), version: version,
	}, &v)
	return v, err
}

// RotateSecret gives a client a new secret.
func (r *Remote) RotateSecret(ctx context.Context, realm, id string, o clients.Rotation) (clients.Credentials, error) {
	return r.rotate(ctx, clientOf(realm, id, "secrets"), o)
}

// RotateAPIKey gives a client a new API key.
func (r *Remote) RotateAPIKey(ctx context.Context, realm, id string, o clients.Rotation) (clients.Credentials, error) {
	return r.rotate(ctx, clientOf(realm, id, "api-keys"), o)
}

func (r *Remote) rotate(ctx context.Context, path []string, o clients.Rotation) (clients.Credentials, error) {
	b := rotationBody{Ends: o.At, Keep: o.Keep}
	if o.Overlap != 0 || o.At.IsZero() && !o.Keep {
		overlap := o.Overlap.String()
		b.Overlap = &overlap
	}
	q, err := withBody(http.MethodPost, path, b)
	if err != nil {
		return clients.Credentials{}, err
	}
	q.version = o.Version
	var v credentialsView
	err = r.once(ctx, q, &v)
	return v.secret(), err
}

// EndSecret makes a secret or an API key expire.
func (r *Remote) EndSecret(ctx context.Context, realm, id, secretID string, at time.Time) error {
	path := clientOf(realm, id, "secrets", secretID)
	if at.IsZero() {
		return r.do(ctx, query{method: http.MethodDelete, path: path}, nil)
	}
	q, err := withBody(http.MethodPatch, path, secretBody{at})
	if err != nil {
		return err
	}
	return r.do(ctx, q, nil)
}

// DisableClient disables a client.
func (r *Remote) DisableClient(ctx context.Context, realm, id string) error {
	return r.do(ctx, query{method: http.MethodPost, path: clientOf(realm, id, "disable")}, nil)
}

// EnableClient enables a client again.
func (r *Remote) EnableClient(ctx context.Context, realm, id string) error {
	return r.do(ctx, query{method: http.MethodPost, path: clientOf(realm, id, "enable")}, nil)
}

// DeleteClient removes a client.
func (r *Remote) DeleteClient(ctx context.Context, realm, id string) error {
	return r.do(ctx, query{method: http.MethodDelete, path: clientOf(realm, id)}, nil)
}

// RevokeTokens revokes all tokens of a client.
func (r *Remote) RevokeTokens(ctx context.Context, realm, id string) error {
	return r.do(ctx, query{method: http.MethodPost, path: clientOf(realm, id, "revoke")}, nil)
}

// Keys returns the signing keys of a realm.
func (r *Remote) Keys(ctx context.Context, realm string) ([]signing.View, error) {
	var v keysView
	err := r.do(ctx, get(realmOf(realm, "keys")), &v)
	return v.Keys, err
}

// RotateKey makes the next signing key.
func (r *Remote) RotateKey(ctx context.Context, realm string, algorithm provider.Algorithm, o signing.Rotation) (signing.View, error) {
	b := keyBody{Algorithm: algorithm, Now: o.Immediately, Compromised: o.Compromised}
	if o.Prepublish != 0 {
		ahead := o.Prepublish.String()
		b.Ahead = &ahead
	}
	q, err := withBody(http.MethodPost, realmOf(realm, "keys"), b)
	if err != nil {
		return signing.View{}, err
	}
	var v signing.View
	err = r.do(ctx, q, &v)
	return v, err
}
