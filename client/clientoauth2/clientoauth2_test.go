package clientoauth2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clientoauth2"
	"github.com/counterfoil/counterfoil/client/internal/endpoints"
)

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// trusting is a context by which oauth2.NewClient finds the endpoints' transport.
func trusting(t testing.TB, e *endpoints.Endpoints) context.Context {
	return context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: e.Config().HTTP})
}

// echo answers a call with the Authorization that it carries.
func echo(w http.ResponseWriter, r *http.Request, _ int) {
	_, _ = io.WriteString(w, r.Header.Get("Authorization"))
}

func get(t testing.TB, c *http.Client, url string) string {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestNewClient(t *testing.T) {
	e := endpoints.New(t)
	e.Answer(nil, echo)
	c := oauth2.NewClient(trusting(t, e), clientoauth2.TokenSource(t.Context(), e.Source(t, e.Config())))
	for range 100 {
		equal(t, "authorization", get(t, c, e.Config().APIURL), "Bearer "+endpoints.TokenPrefix+"1")
	}
	tokens, _ := e.Asked()
	equal(t, "token requests", tokens, 1)
}

// A transport that asks at each call sees at once that a token was dropped.
func TestDroppedToken(t *testing.T) {
	e := endpoints.New(t)
	e.Answer(nil, echo)
	s := e.Source(t, e.Config())
	c := &http.Client{Transport: &oauth2.Transport{Source: clientoauth2.TokenSource(t.Context(), s), Base: e.Config().HTTP}}
	get(t, c, e.Config().APIURL)
	token, err := s.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Invalidate(t.Context(), token)
	equal(t, "authorization", get(t, c, e.Config().APIURL), "Bearer "+endpoints.TokenPrefix+"2")
}

func TestToken(t *testing.T) {
	type row struct {
		name, answer string
		scope        any
		kind         string
		ahead        time.Duration // of Expiry
		end          time.Duration // of expires_at
	}
	for _, row := range []row{
		{"an hour", `{"access_token":"a","token_type":"Bearer","expires_in":3600,"scope":"b a"}`, "b a", "Bearer", time.Minute, time.Hour},
		{"twenty seconds", `{"access_token":"a","token_type":"Bearer","expires_in":20}`, nil, "Bearer", 20 * time.Second, 20 * time.Second},
		{"lower case", `{"access_token":"a","token_type":"bearer","expires_in":3600}`, nil, "Bearer", time.Minute, time.Hour},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := endpoints.New(t)
			e.Answer(endpoints.Refuse(200, row.answer), nil)
			began := time.Now().Round(0)
			got, err := clientoauth2.TokenSource(t.Context(), e.Source(t, e.Config())).Token()
			ended := time.Now().Round(0)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "value", got.AccessToken, "a")
			equal(t, "type", got.Type(), row.kind)
			equal(t, "validity", got.Valid(), true)
			equal(t, "scope", got.Extra("scope"), row.scope)
			end, ok := got.Extra("expires_at").(time.Time)
			for what, v := range map[string]struct {
				at  time.Time
				far time.Duration
			}{"Expiry": {got.Expiry, row.ahead}, "expires_at": {end, row.end}} {
				if !ok || v.at.Before(began.Add(v.far)) || v.at.After(ended.Add(v.far)) {
					t.Errorf("%s is %s, want %s after the request", what, v.at, v.far)
				}
			}
		})
	}
}

// sdk is what libraries do with a TokenSource: they keep the token while it is
// valid, and look into the error.
func sdk(source oauth2.TokenSource) string {
	token, err := oauth2.ReuseTokenSourceWithExpiry(nil, source, 15*time.Second).Token()
	var retrieve *oauth2.RetrieveError
	switch {
	case err == nil && token.Valid():
		return token.Type() + " " + token.AccessToken
	case err == nil:
		return "a token that is over"
	case !errors.As(err, &retrieve):
		return "no answer"
	}
	return fmt.Sprintf("%d %s %q after %s", retrieve.Response.StatusCode, retrieve.ErrorCode, retrieve.ErrorDescription, retrieve.Response.Header.Get("Retry-After"))
}

func TestErrors(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*client.Config)
		answer func(http.ResponseWriter, *http.Request, int)
		reason counterfoil.Reason
		seen   string
	}{
		{"refused", nil, endpoints.Refuse(400, `{"error":"invalid_client","error_description":"no such client"}`), counterfoil.ReasonInvalidClient,
			`400 invalid_client "no such client" after `},
		{"no OAuth error", nil, endpoints.Refuse(404, `<html>`+endpoints.Secret), counterfoil.ReasonBadResponse, `404  "" after `},
		{"too many", func(c *client.Config) { c.Timeout = time.Second }, func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		}, counterfoil.ReasonRateLimited, `429  "" after 7`},
		{"no answer", func(c *client.Config) { c.TokenURL = "https://127.0.0.1:1/token"; c.Timeout = time.Millisecond }, nil, counterfoil.ReasonUnavailable, "no answer"},
	} {
		t.Run(row.name, func(t *testing.T) {
			e := endpoints.New(t)
			e.Answer(row.answer, nil)
			c := e.Config()
			if row.change != nil {
				row.change(&c)
			}
			source := clientoauth2.TokenSource(t.Context(), e.Source(t, c))
			equal(t, "what a library sees", sdk(source), row.seen)
			_, err := source.Token() // remembered
			var reason *counterfoil.Error
			if !errors.As(err, &reason) {
				t.Fatalf("%T (%v) is no *counterfoil.Error", err, err)
			}
			equal(t, "reason", reason.Reason, row.reason)
			equal(t, "text", err.Error(), reason.Error())
			var retrieve *oauth2.RetrieveError
			if errors.As(err, &retrieve) {
				for _, text := range []string{err.Error(), retrieve.Error(), fmt.Sprintf("%+v", retrieve)} {
					if strings.Contains(text, endpoints.Secret) {
						t.Errorf("the error shows the secret: %s", text)
					}
				}
			}
		})
	}
}

func TestContextEnds(t *testing.T) {
	e := endpoints.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := clientoauth2.TokenSource(ctx, e.Source(t, e.Config())).Token()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A bound token without its proof is refused by the API: better here, with words.
func TestBoundTokenIsRefused(t *testing.T) {
	e := endpoints.New(t)
	e.Answer(endpoints.Refuse(200, `{"access_token":"a","token_type":"DPoP","expires_in":3600}`), nil)
	key, err := client.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	c := e.Config()
	c.DPoP = key
	_, err = clientoauth2.TokenSource(t.Context(), e.Source(t, c)).Token()
	if err == nil || !strings.Contains(err.Error(), "use client.Transport") {
		t.Errorf("got %v", err)
	}
}
