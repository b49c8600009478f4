// Package endpoints is a token endpoint and an API on TLS listeners of their
// own, for the tests of packages around client. Its API may change.
package endpoints

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/provider"
)

// ClientID and Secret are the credentials of Config; the tokens are named
// TokenPrefix and a number. Printed text must not hold the last two.
const (
	ClientID    = "the-client"
	Secret      = "s3cret-of-the-client"
	TokenPrefix = "the-t0ken-"
)

// Endpoints answer token requests with tokens of an hour and calls with {}.
type Endpoints struct {
	config client.Config

	mu            sync.Mutex
	tokens, calls int
	// token and call answer in place of the default while they are set.
	token, call func(w http.ResponseWriter, r *http.Request, n int)
}

// New serves Endpoints until the test ends.
func New(t testing.TB) *Endpoints {
	t.Helper()
	e := &Endpoints{}
	roots := x509.NewCertPool()
	listen := func(h http.HandlerFunc) string {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that leave
		s.StartTLS()
		t.Cleanup(s.Close)
		roots.AddCert(s.Certificate())
		return s.URL
	}
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	e.config = client.Config{
		Provider: p, ClientID: ClientID, ClientSecret: client.Static(Secret),
		TokenURL: listen(e.serveToken), APIURL: listen(e.serveCall),
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	e.config.HTTP = transport
	return e
}

// Config is that of a client of the Endpoints.
func (e *Endpoints) Config() client.Config { return e.config }

// Source makes one of c.
func (e *Endpoints) Source(t testing.TB, c client.Config) *client.Source {
	t.Helper()
	s, err := client.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Answer sets the answers to token requests and calls from now on, each called
// with its number from 1; nil is the default.
func (e *Endpoints) Answer(token, call func(w http.ResponseWriter, r *http.Request, n int)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.token, e.call = token, call
}

// Asked is how many token requests and calls there were.
func (e *Endpoints) Asked() (tokens, calls int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tokens, e.calls
}

// Refuse answers with that status and body.
func Refuse(status int, body string) func(http.ResponseWriter, *http.Request, int) {
	return func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func (e *Endpoints) serveToken(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.tokens++
	n, answer := e.tokens, e.token
	e.mu.Unlock()
	if answer != nil {
		answer(w, r, n)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":"%s%d","token_type":"Bearer","expires_in":3600,"scope":"read write"}`, TokenPrefix, n)
}

func (e *Endpoints) serveCall(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.calls++
	n, answer := e.calls, e.call
	e.mu.Unlock()
	if answer != nil {
		answer(w, r, n)
		return
	}
	_, _ = io.WriteString(w, "{}")
}
