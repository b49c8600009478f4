package credential_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/provider"
)

// tokenEndpoint accepts one secret, which a test changes.
type tokenEndpoint struct {
	*httptest.Server
	mu     sync.Mutex
	secret string
	asked  int
}

func (e *tokenEndpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked++
	_, password, _ := r.BasicAuth()
	w.Header().Set("Content-Type", "application/json")
	if password != e.secret && r.PostFormValue("client_secret") != e.secret {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
		return
	}
	fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, e.asked)
}

// rotate sets the accepted secret, and count returns how often it was asked.
func (e *tokenEndpoint) rotate(secret string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.secret = secret
}

func (e *tokenEndpoint) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked
}

// A client whose secret is rotated in its file goes on without a restart, and
// the refusal of the old secret does not stand in the way of the new one.
func TestClientUsesARotatedSecret(t *testing.T) {
	endpoint := &tokenEndpoint{secret: "first-secret"}
	endpoint.Server = httptest.NewTLSServer(endpoint)
	t.Cleanup(endpoint.Close)
	path := filepath.Join(t.TempDir(), "secret")
	write(t, path, "first-secret\n")
	secret, err := credential.Open("file:"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	now := clock.NewManual(theStart)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: endpoint.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}
	t.Cleanup(transport.CloseIdleConnections)
	source, err := client.New(client.Config{Provider: p, TokenURL: endpoint.URL + "/token", ClientID: "the-client", ClientSecret: secret, HTTP: transport, Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	first, err := source.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	endpoint.rotate("second-secret")
	now.Turn(2 * time.Hour) // the token has ended
	for range 3 {
		_, err = source.Token(t.Context())
		e, ok := errors.AsType[*counterfoil.Error](err)
		if !ok || e.Reason != counterfoil.ReasonInvalidClient {
			t.Fatalf("with the old secret: got %v", err)
		}
		shows(t, "first-secret", err)
	}
	if got := endpoint.count(); got != 2 {
		t.Fatalf("the token endpoint was asked %d times: the refusal of the old secret was not remembered", got)
	}

	if err := files.Write(path, []byte("second-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second, err := source.Token(t.Context()) // at the same moment: nothing has to pass
	if err != nil {
		t.Fatalf("with the new secret: %v", err)
	}
	if second.Value == first.Value || endpoint.count() != 3 {
		t.Errorf("the token endpoint was asked %d times", endpoint.count())
	}
	shows(t, "second-secret", source)
}

// A file of a secret that does not exist is somebody's mistake, not an outage;
// when it has been mended the next call uses it.
func TestClientSaysWhatAMissingFileNeeds(t *testing.T) {
	endpoint := &tokenEndpoint{secret: "the-secret"}
	endpoint.Server = httptest.NewTLSServer(endpoint)
	t.Cleanup(endpoint.Close)
	path := filepath.Join(t.TempDir(), "secret")
	secret, err := credential.Open("file:"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	source, err := client.New(client.Config{
		Provider: p, TokenURL: endpoint.URL, ClientID: "c", ClientSecret: secret, HTTP: endpoint.Client().Transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Token(t.Context())
	e, ok := errors.AsType[*counterfoil.Error](err)
	if !ok || e.Reason != counterfoil.ReasonCredentialsMissing || e.Class() != counterfoil.ClassRefused ||
		!strings.Contains(e.Error(), "no such file: create it, or correct the path: secret file:"+path) {
		t.Errorf("got %v", err)
	}
	write(t, path, "the-secret\n")
	if _, err = source.Token(t.Context()); err != nil {
		t.Errorf("with the file: %v", err)
	}
}
