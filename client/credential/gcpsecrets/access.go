package gcpsecrets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/auth"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote"
)

const (
	// attempts is how often one fetch tries after transient failures.
	attempts = 3
	// firstWait doubles with each attempt; a Retry-After of more than maxWait
	// ends the fetch.
	firstWait = time.Second
	maxWait   = 5 * time.Second
)

// passing is a transient failure.
type passing struct {
	error
	after time.Duration // as the service asks
}

func (p passing) Unwrap() error { return remote.Passing(p.error) }

// repeated retries until there is a final answer.
func (s *secret) repeated(ctx context.Context) (counterfoil.Secret, error) {
	for n := 0; ; n++ {
		value, err := s.access(ctx)
		var p passing
		switch {
		case err == nil:
			return value, nil
		case ctx.Err() != nil:
			return "", remote.Reason(ctx, err)
		case !errors.As(err, &p):
			return "", err
		case n == attempts-1 || p.after > maxWait:
			return "", p.error
		}
		wait := firstWait << n
		if err := s.service.clock.Sleep(ctx, max(p.after, wait/2+rand.N(wait/2))); err != nil {
			return "", p.error
		}
	}
}

// access makes one attempt.
func (s *secret) access(ctx context.Context) (counterfoil.Secret, error) {
	login, err := s.service.who()
	if err != nil {
		return "", err
	}
	endpoint, err := s.endpoint(ctx, login)
	if err != nil {
		return "", err
	}
	token, err := login.Token(ctx)
	if err != nil {
		return "", refusal(ctx, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/v1/"+s.name+":access", nil)
	if err != nil {
		return "", errors.New("the endpoint cannot be called")
	}
	req.Header.Set("Authorization", "Bearer "+token.Value)
	req.Header.Set("Accept", "application/json")
	if c, ok := login.(interface {
		QuotaProjectID(context.Context) (string, error)
	}); ok {
		if project, err := c.QuotaProjectID(ctx); err == nil && project != "" {
			req.Header.Set("X-Goog-User-Project", project)
		}
	}
	resp, err := s.service.http.Do(req)
	if err != nil {
		return "", passing{error: remote.Reason(ctx, err)}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", reason(resp)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", passing{error: remote.Reason(ctx, err)}
	}
	return payload(body)
}

// castagnoli is the table of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// payload extracts the secret from a response.
func payload(body []byte) (counterfoil.Secret, error) {
	var answer struct {
		Payload *struct {
			Data       []byte          `json:"data"`
			DataCRC32C json.RawMessage `json:"dataCrc32c"`
		} `json:"payload"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Payload == nil {
		return "", errors.New("the answer is not from Secret Manager: check the endpoint")
	}
	p := answer.Payload
	// The service writes 64-bit numbers as strings, and may leave this one out.
	if sum := strings.Trim(string(p.DataCRC32C), `"`); sum != "" && sum != "null" &&
		sum != strconv.FormatUint(uint64(crc32.Checksum(p.Data, castagnoli)), 10) {
		return "", passing{error: errors.New("the value does not match its checksum: it was damaged in transit")}
	}
	return remote.Value(string(p.Data))
}

// hints are what to do about a status of the service. The body is not repeated.
var hints = map[int]string{
	http.StatusBadRequest:   "the service does not accept the name, or the version is disabled or destroyed",
	http.StatusUnauthorized: "the service does not accept the login: check its scopes and the machine's clock",
	http.StatusForbidden: "access is denied: grant the role roles/secretmanager.secretAccessor on it, " +
		"and enable the API in the project",
	http.StatusNotFound:        "there is no such secret, or no such version",
	http.StatusTooManyRequests: "the service asks for fewer requests",
}

// reason explains a response that is not 200.
func reason(resp *http.Response) error {
	err := fmt.Errorf("the service answers %d", resp.StatusCode)
	if hint := hints[resp.StatusCode]; hint != "" {
		err = errors.New(hint)
	}
	if resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode < 500 {
		return err
	}
	return passing{err, retryAfter(resp.Header.Get("Retry-After"))}
}

// retryAfter reads a number of seconds (RFC 9110 section 10.2.3); Google sends
// no dates. An invalid value counts as 0.
func retryAfter(text string) time.Duration {
	seconds, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// refusal says why there is no token. Google's own errors repeat the response of
// the login server.
func refusal(ctx context.Context, err error) error {
	var answered *auth.Error
	var sent *url.Error
	switch {
	case ctx.Err() != nil:
		return remote.Reason(ctx, err)
	case errors.As(err, &answered) && answered.Response != nil && answered.Temporary():
		return passing{error: fmt.Errorf("the login's server answers %d", answered.Response.StatusCode)}
	case errors.As(err, &answered) && answered.Response != nil:
		return fmt.Errorf(
			"the login is refused (%d): check the key of the service account and the machine's clock",
			answered.Response.StatusCode,
		)
	}
	if !errors.As(err, &sent) {
		return errors.New("the login cannot be used: check its file of credentials")
	}
	return passing{error: fmt.Errorf("the login's server cannot be called: %w", remote.Reason(ctx, err))}
}
