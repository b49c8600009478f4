package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/provider"
)

// maxLifetime is the longest expires_in that is accepted as it is.
const maxLifetime = 30 * 24 * time.Hour

const (
	// maxResponse bounds a token response, in bytes.
	maxResponse = 64 << 10
	// maxRetryAfter bounds the wait for a Retry-After.
	maxRetryAfter = 60 * time.Second
)

// parseToken reads a successful token response (RFC 6749 section 5.1); its
// Expires is relative to the zero time. It treats deviations from the RFC as follows:
//
//   - token_type missing: the description's; one that neither the description
//     nor RFC 6750 knows is refused (section 7.1). If a proof was sent, any type
//     but DPoP is refused: a token that is not sender-constrained can be used by
//     anyone who obtains it, which the proof was to prevent (RFC 9449 section 5);
//   - expires_in missing or null: the description's lifetime; a number inside a
//     string is a number; a fraction is cut off; more than 30 days are 30 days;
//     less than a second is errEnded, because no call could use the token;
//   - scope malformed: treated as missing.
//
// An error never quotes the response.
func parseToken(body []byte, t *provider.TokenEndpoint, proved bool) (counterfoil.Token, error) {
	none := counterfoil.Token{}
	if len(body) > maxResponse {
		return none, fmt.Errorf("it is larger than %d bytes", maxResponse)
	}
	body, err := files.Text(body)
	if err != nil {
		return none, err
	}
	var members map[string]json.RawMessage // a struct would accept ACCESS_TOKEN too
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return none, errors.New("it is not a JSON object")
	}
	var value string
	if json.Unmarshal(members["access_token"], &value) != nil || value == "" {
		return none, errors.New("access_token is missing or not a string")
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return none, errors.New("access_token has characters that a header cannot carry")
	}
	kind := t.Response.TokenType
	if raw, ok := members["token_type"]; ok && json.Unmarshal(raw, &kind) != nil {
		return none, errors.New("token_type is not a string")
	}
	if proved {
		if !strings.EqualFold(kind, schemeDPoP) {
			return none, errors.New("token_type is not DPoP: the token is not bound to the key of the proof")
		}
	} else if !strings.EqualFold(kind, "Bearer") && !strings.EqualFold(kind, t.Response.TokenType) {
		return none, errors.New("token_type is not Bearer")
	}
	lifetime, err := lifetimeOf(members["expires_in"], t.Lifetime)
	if err != nil {
		return none, err
	}
	token := counterfoil.Token{Value: counterfoil.Secret(value), Type: kind, Expires: time.Time{}.Add(lifetime)}
	var scope string
	if json.Unmarshal(members["scope"], &scope) == nil {
		token.Scopes, _ = counterfoil.ParseScopes(scope)
	}
	return token, nil
}

// errEnded is the error for a token without a lifetime. An endpoint that returns
// the same token until it expires can return it in its last second.
var errEnded = errors.New("expires_in says that the token has already expired")

func lifetimeOf(raw json.RawMessage, missing time.Duration) (time.Duration, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return missing, nil
	}
	text := string(raw)
	if raw[0] == '"' && json.Unmarshal(raw, &text) != nil {
		return 0, errors.New("expires_in is not a number")
	}
	seconds, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange), strings.Trim(text, "0123456789.+-eE") != "":
		return 0, errors.New("expires_in is not a number")
	case seconds < 1:
		return 0, errEnded
	case seconds > maxLifetime.Seconds():
		return maxLifetime, nil
	}
	return time.Duration(seconds) * time.Second, nil
}

// maxDescription bounds the description in an error, in bytes.
const maxDescription = 256

// refusalWords returns the members error and error_description of a refusal (RFC
// 6749 section 5.2), each "" if it does not have the form that the RFC requires.
// The description is not shortened.
func refusalWords(body []byte) (code, description string) {
	var members map[string]json.RawMessage
	body, err := files.Text(body)
	if err != nil || json.Unmarshal(body, &members) != nil {
		return "", ""
	}
	if json.Unmarshal(members["error"], &code) != nil || len(code) > 64 ||
		strings.Trim(code, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		code = ""
	}
	if json.Unmarshal(members["error_description"], &description) != nil ||
		strings.ContainsFunc(description, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
		description = ""
	}
	return code, description
}

// retryAfter reads a Retry-After (RFC 9110 section 10.2.3): seconds, or a date,
// which is compared with the Date of the same response if it has one, because
// the clocks may differ. An invalid value is 0, and no result exceeds
// maxRetryAfter.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		n, err := strconv.Atoi(value)
		if err != nil || n > int(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
