package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// The sides, as the tables name them.
const (
	bare     = "no authentication"
	ours     = "client.Transport"
	blocking = "x/oauth2"
)

// roundTripper is a function as an http.RoundTripper.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// floor answers calls and token requests in memory: a call costs it one
// allocation, the response.
var floor = roundTripper(func(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		header := http.Header{"Content-Type": {"application/json"}}
		return &http.Response{StatusCode: http.StatusOK, Header: header, Request: r, Body: io.NopCloser(strings.NewReader(
			`{"access_token":"` + strings.Repeat("t", 400) + `","token_type":"Bearer","expires_in":3600}`))}, nil
	}
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
})

// source is a Source of the target's client, whose token requests go through
// tokens.
func (t *target) source(tokens http.RoundTripper) (*client.Source, error) {
	p, err := described(t.life)
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{
		Provider: p, TokenURL: t.URL + "/token", APIURL: t.URL + "/api",
		ClientID: clientID, ClientSecret: client.Static(counterfoil.Secret(t.Secret)), HTTP: tokens,
	})
}

// reused is the same client with x/oauth2. For it, tokens expire earlier by the
// given time, so that it renews as often as a Source does.
func (t *target) reused(tokens http.RoundTripper, early time.Duration) oauth2.TokenSource {
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: tokens})
	conf := &clientcredentials.Config{
		ClientID:     clientID,
		ClientSecret: t.Secret,
		TokenURL:     t.URL + "/token",
		AuthStyle:    oauth2.AuthStyleInHeader,
	}
	if early == 0 {
		return oauth2.ReuseTokenSource(nil, conf.TokenSource(ctx))
	}
	return oauth2.ReuseTokenSourceWithExpiry(nil, each(func() (*oauth2.Token, error) { return conf.Token(ctx) }), early)
}

// each requests a new token each time.
type each func() (*oauth2.Token, error)

func (f each) Token() (*oauth2.Token, error) { return f() }

// window is the time of one token request.
type window struct{ from, to time.Time }

// watch records when token requests are under way.
type watch struct {
	next http.RoundTripper

	mu      sync.Mutex
	windows []window
}

func (w *watch) RoundTrip(r *http.Request) (*http.Response, error) {
	from := time.Now()
	resp, err := w.next.RoundTrip(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.windows = append(w.windows, window{from, time.Now()})
	return resp, err
}

// since returns the requests that began after start.
func (w *watch) since(start time.Time) []window {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []window
	for _, v := range w.windows {
		if v.from.After(start) {
			all = append(all, v)
		}
	}
	return all
}

// through returns the two sides that authenticate, each around its base.
func (t *target) through(source *client.Source, theirs oauth2.TokenSource, base, theirBase http.RoundTripper) map[string]http.RoundTripper {
	return map[string]http.RoundTripper{
		ours:     &client.Transport{Source: source, Base: base},
		blocking: &oauth2.Transport{Source: theirs, Base: theirBase},
	}
}
