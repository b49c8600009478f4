// Package clientoauth2 provides the tokens of package client to libraries that
// take a golang.org/x/oauth2 TokenSource, such as SDKs and gRPC credentials.
// Where a program makes the calls itself, client.Transport is better: an
// oauth2.Transport neither answers a 401 with a new token, nor retries, nor
// observes a limit, nor sends an API key, a tenant or a proof, nor restricts the
// token to the API's origin.
//
// The tokens are those of the Source, which renews them early, and a holder of
// one asks again within a minute. An oauth2.Token shows its value when it is
// printed; nothing else of this package does.
package clientoauth2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// ahead is the most that a token's Expiry is ahead.
const ahead = time.Minute

// TokenSource returns one whose tokens are those of s. Its Token method waits
// for a token until ctx ends, and at most 30 s or the Source's Timeout. It is
// cheap while there is a token, so it needs no ReuseTokenSource around it,
// though oauth2.NewClient adds one.
//
// The Expiry of a token is its end, or a minute from now if that is sooner: a
// cache that keeps a token until its Expiry would otherwise never see that it
// was renewed early, dropped or replaced. The end is Extra("expires_at"), a
// time.Time, and the scopes that the provider said it granted are
// Extra("scope"), a string.
//
// An error is a [*counterfoil.Error] for errors.As, and if the provider has
// answered an [*oauth2.RetrieveError] as well, with status, Retry-After, code
// and description and without the body, for libraries that branch on that. A
// sender-constrained token (RFC 9449) is refused, because calls would lack its
// proof.
func TokenSource(ctx context.Context, s *client.Source) oauth2.TokenSource {
	return &source{ctx, s}
}

type source struct {
	ctx    context.Context // the interface of Token has none
	source *client.Source
}

func (s *source) Token() (*oauth2.Token, error) {
	t, err := s.source.Token(s.ctx)
	if err != nil {
		return nil, failure(err)
	}
	if strings.EqualFold(t.Type, "DPoP") {
		return nil, &counterfoil.Error{Reason: counterfoil.ReasonInvalidRequest,
			Message: "clientoauth2: the token is bound to a key, and an oauth2.TokenSource makes no proofs: " +
				"use client.Transport, or leave out Config.DPoP"}
	}
	extra := map[string]any{"expires_at": t.Expires}
	if t.Scopes != nil {
		extra["scope"] = t.Scopes.String()
	}
	token := &oauth2.Token{AccessToken: t.Value.Reveal(), TokenType: t.Type, Expiry: t.Expires}
	// The machine's time, because oauth2 compares with nothing else.
	if soon := clock.System.Now().Round(0).Add(ahead); soon.Before(token.Expiry) {
		token.Expiry = soon
	}
	return token.WithExtra(extra), nil
}

// answered is an error of the token endpoint's answer in both forms.
type answered struct {
	error    // a *counterfoil.Error
	retrieve *oauth2.RetrieveError
}

func (a *answered) Unwrap() []error { return []error{a.error, a.retrieve} }

func failure(err error) error {
	e, ok := errors.AsType[*counterfoil.Error](err)
	if !ok || e.Status == 0 {
		return err
	}
	// Status and header must be set: RetrieveError's own methods, and libraries,
	// read the Response without checking.
	resp := &http.Response{
		Status: fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)), StatusCode: e.Status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody,
	}
	if e.RetryAfter > 0 {
		resp.Header.Set("Retry-After", fmt.Sprint(int64((e.RetryAfter+time.Second-1)/time.Second)))
	}
	return &answered{e, &oauth2.RetrieveError{Response: resp, ErrorCode: e.Code, ErrorDescription: e.Description}}
}
