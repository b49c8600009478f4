package client_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/dircache"
	"github.com/counterfoil/counterfoil/provider"
)

// The Source and its Client stand where the program had a TokenManager of its
// own, with a lock, a timer, a refresh thread and a retry loop.
func Example() {
	p, err := provider.Builtin("engagifii") // or provider.Open("provider.yaml")
	if err != nil {
		log.Fatal(err)
	}
	source, err := client.New(client.Config{
		Provider:     p,
		TokenURL:     "https://id.example/connect/token",
		APIURL:       "https://events.example",
		ClientID:     "the-client",
		ClientSecret: client.Static("from a secrets manager"),
		Scopes:       counterfoil.Scopes{"EventsApi"},
		Tenant:       "TENANT123",
		HTTP:         exampleNetwork, // only here; leave it out
	})
	if err != nil {
		log.Fatal(err)
	}

	// Before: manager.getToken(), five headers by hand, 401 handling.
	req, err := source.NewRequest(context.Background(), http.MethodPost, "/api/1.0/event/list", strings.NewReader(`{"PageSize":1}`))
	if err != nil {
		log.Fatal(err)
	}
	resp, err := source.Client().Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", body)
	// Output:
	// POST /api/1.0/event/list for TENANT123, api-version 1.0, application/json: {"PageSize":1}
}

// A call fails in three ways: it gets no token, it gets no answer, or the answer
// refuses it.
func Example_failures() {
	p, err := provider.Builtin("a55")
	if err != nil {
		log.Fatal(err)
	}
	source, err := client.New(client.Config{
		Provider: p, ClientID: "the-client", ClientSecret: client.Static("one that was rotated yesterday"),
		HTTP: refusingNetwork, // only here; leave it out
	})
	if err != nil {
		log.Fatal(err)
	}
	resp, err := source.Client().Get("https://core-manager.a55.tech/api/v1/wallets")
	var failure *counterfoil.Error
	switch {
	case errors.Is(err, context.Canceled):
		fmt.Println("this program has canceled the call")
	case errors.As(err, &failure): // no token
		switch failure.Class() {
		case counterfoil.ClassTransient:
			fmt.Println("later:", failure.RetryAfter)
		case counterfoil.ClassRefused:
			fmt.Println("somebody must change something:", failure.Reason, failure.Code)
		case counterfoil.ClassProtocol:
			fmt.Println("no token endpoint answers there:", failure.Status)
		}
	case err != nil: // no answer
		fmt.Println("the API cannot be reached:", err)
	default: // an answer, which may be a refusal
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			log.Fatal(err)
		}
		if resp.StatusCode > 299 {
			api, _ := p.API("")
			fmt.Println("the API refuses:", resp.StatusCode, api.Reason(resp.StatusCode, body))
		}
	}
	// Output:
	// somebody must change something: invalid_client invalid_client
}

// The path of a GraphQL API is empty: its URL is the API itself.
func Example_graphQL() {
	p, err := provider.Builtin("ahotu")
	if err != nil {
		log.Fatal(err)
	}
	source, err := client.New(client.Config{
		Provider: p, ClientID: "the-client", ClientSecret: client.Static("from a secrets manager"),
		Scopes: counterfoil.Scopes{"events:read"},
		HTTP:   exampleNetwork, // only here; leave it out
	})
	if err != nil {
		log.Fatal(err)
	}
	query := strings.NewReader(`{"query":"{ events(page: 0, size: 10) { totalCount } }"}`)
	req, err := source.NewRequest(context.Background(), http.MethodPost, "", query)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := source.Client().Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Events struct{ TotalCount int }
		}
		Errors []struct{ Message string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(answer.Data.Events.TotalCount, answer.Errors)
	// Output:
	// 2 []
}

// A private authority is set in the transport, and the processes of one user
// share tokens in a directory.
func Example_privateAuthority() {
	p, err := provider.Builtin("a55")
	if err != nil {
		log.Fatal(err)
	}
	pem, err := os.ReadFile("/etc/acme/ca.pem")
	if err != nil {
		log.Fatal(err)
	}
	authorities := x509.NewCertPool() // or x509.SystemCertPool(), to add to the system's
	if !authorities.AppendCertsFromPEM(pem) {
		log.Fatal("ca.pem has no certificate")
	}
	transport := client.NewHTTP()
	transport.TLSClientConfig.RootCAs = authorities
	cache, err := dircache.Open("/var/cache/acme/tokens")
	if err != nil {
		log.Fatal(err)
	}
	source, err := client.New(client.Config{
		Provider: p, ClientID: "the-client", ClientSecret: client.Static("from a secrets manager"),
		HTTP:  transport,
		Cache: cache,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(source)
}

// refusingNetwork stands for a provider that does not know the client.
var refusingNetwork = roundTripper(func(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 400, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"error":"invalid_client"}`))}, nil
})

// exampleNetwork stands for the provider.
var exampleNetwork = roundTripper(func(r *http.Request) (*http.Response, error) {
	text := `{"access_token":"t","token_type":"Bearer","expires_in":3600}`
	switch r.URL.Host {
	case "alt-api.prod.ahotu.com":
		text = `{"data":{"events":{"totalCount":2}}}`
	case "events.example":
		body, _ := io.ReadAll(r.Body)
		text = fmt.Sprintf("%s %s for %s, api-version %s, %s: %s", r.Method, r.URL.Path, r.Header.Get("tenant-code"),
			r.Header.Get("api-version"), r.Header.Get("Content-Type"), body)
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}, nil
})
