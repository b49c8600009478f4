package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
)

var generic = sync.OnceValues(func() (*provider.Provider, error) { return provider.Builtin("oauth2") })

// soon is a clock on which a second passes at once, and nothing longer ever does.
type soon struct{ *clock.Manual }

func (s soon) Sleep(ctx context.Context, d time.Duration) error {
	if d == time.Second {
		return ctx.Err()
	}
	return s.Manual.Sleep(ctx, d)
}

// tokenOf returns what a Source makes of a token response, which it is given twice
// when it asks once more for a token that had no time to live.
func tokenOf(t testing.TB, code int, body string) (counterfoil.Token, error) {
	p, err := generic()
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	s, err := client.New(client.Config{
		Provider: p, TokenURL: "https://id.example/token", ClientID: "c", ClientSecret: client.Static("s"), Clock: soon{clock.NewManual(theStart)},
		HTTP: roundTripper(func(*http.Request) (*http.Response, error) {
			if asked++; asked > 2 {
				return nil, errors.New("asked again")
			}
			return &http.Response{StatusCode: code, Header: http.Header{"Retry-After": {"60"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.Token(t.Context())
}

func TestTokenResponse(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	for _, row := range []struct{ name, body, want string }{
		{"as RFC 6749 section 5.1 shows it", `{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":"r w"}`, ""},
		{"lower-case type", `{"access_token":"a","token_type":"bearer"}`, ""},
		{"no type", `{"access_token":"a"}`, ""},
		{"unknown members", `{"access_token":"a","x":{"access_token":1}}`, ""},
		{"scope with a wrong type", `{"access_token":"a","scope":["r"]}`, ""},
		{"a type that cannot be used", `{"access_token":"a","token_type":"DPoP"}`, "token_type is not Bearer"},
		{"a type that is a number", `{"access_token":"a","token_type":1}`, "token_type is not a string"},
		{"empty", ``, "not a JSON object"},
		{"a web page", `<!doctype html><title>Sign in</title>`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"an array", `[]`, "not a JSON object"},
		{"cut off", `{"access_token":"a","token_type":"Bea`, "not a JSON object"},
		{"two values", `{"access_token":"a"}{}`, "not a JSON object"},
		{"no token", `{"token_type":"Bearer"}`, "access_token is missing"},
		{"token in capitals", `{"ACCESS_TOKEN":"a"}`, "access_token is missing"},
		{"token null", `{"access_token":null}`, "access_token is missing"},
		{"token empty", `{"access_token":""}`, "access_token is missing"},
		{"token a number", `{"access_token":1}`, "access_token is missing"},
		{"token with a line break", `{"access_token":"a\r\nX-Evil: 1"}`, "characters that a header cannot carry"},
		{"too large", `{"access_token":"` + long + `"}`, "larger than 65536 bytes"},
		{"hexadecimal lifetime", `{"access_token":"a","expires_in":"0x10"}`, "expires_in is not a number"},
		{"lifetime not a number", `{"access_token":"a","expires_in":"NaN"}`, "expires_in is not a number"},
		{"lifetime an empty string", `{"access_token":"a","expires_in":""}`, "expires_in is not a number"},
		{"lifetime true", `{"access_token":"a","expires_in":true}`, "expires_in is not a number"},
	} {
		t.Run(row.name, func(t *testing.T) {
			token, err := tokenOf(t, 200, row.body)
			switch {
			case row.want == "" && (err != nil || token.Value.Reveal() != "a"):
				t.Errorf("got %v, %v", token, err)
			case row.want != "" && (counterfoilReason(err) != counterfoil.ReasonBadResponse || !strings.Contains(err.Error(), row.want)):
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	token, err := tokenOf(t, 200, `{"access_token":"a","token_type":"Bearer","expires_in":60,"scope":"r w"}`)
	if err != nil || token.Scopes.String() != "r w" || token.Type != "Bearer" || !token.Issued.Equal(theStart) || token.Lifetime() != time.Minute {
		t.Errorf("got %+v, %v", token, err)
	}
}

// FuzzTokenResponse: whatever a token endpoint answers, there is a usable token
// or an error that shows nothing of it.
func FuzzTokenResponse(f *testing.F) {
	for _, body := range []string{
		`{"access_token":"a","token_type":"Bearer","expires_in":3600,"scope":"r w"}`,
		`{"access_token":"secret-words","token_type":"mac","expires_in":"1e3"}`, `{"error":"invalid_client","error_description":"x"}`,
		`{"access_token":"a","expires_in":-0.1}`, `{"access_token":"a","expires_in":1e400}`, `<html>`, `{"error":{}}`, `{"access_token":"\u0000"}`, ``,
	} {
		f.Add(200, body)
		f.Add(400, body)
		f.Add(503, body)
	}
	f.Fuzz(func(t *testing.T, code int, body string) {
		if code < 200 || code > 999 {
			return
		}
		token, err := tokenOf(t, code, body)
		if err == nil {
			value := token.Value.Reveal()
			if value == "" || strings.ContainsAny(value, " \r\n\x00") || token.Lifetime() < time.Second || token.Lifetime() > 30*24*time.Hour {
				t.Errorf("a token of %d bytes for %v from %q", len(value), token.Lifetime(), body)
			}
			return
		}
		e := new(counterfoil.Error)
		if !errors.As(err, &e) || e.Reason == "" || e.Status != code {
			t.Fatalf("%T (%v) from %q", err, err, body)
		}
		if len(body) > 40 && strings.Contains(err.Error(), body) || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error shows the response: %v", err)
		}
	})
}
