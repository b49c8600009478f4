package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
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

// What to do about an error is its Class.
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
	_, err = source.Client().Get("https://core-manager.a55.tech/api/v1/wallets")
	var failure *counterfoil.Error
	if errors.As(err, &failure) {
		switch failure.Class() {
		case counterfoil.ClassTransient:
			fmt.Println("later:", failure.RetryAfter)
		case counterfoil.ClassRefused:
			fmt.Println("somebody must change something:", failure.Reason, failure.Code)
		case counterfoil.ClassProtocol:
			fmt.Println("no token endpoint answers there:", failure.Status)
		}
	}
	// Output:
	// somebody must change something: invalid_client invalid_client
}

// refusingNetwork stands for a provider that does not know the client.
var refusingNetwork = roundTripper(func(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 400, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"error":"invalid_client"}`))}, nil
})

// exampleNetwork stands for the provider.
var exampleNetwork = roundTripper(func(r *http.Request) (*http.Response, error) {
	text := `{"access_token":"t","token_type":"Bearer","expires_in":3600,"scope":"EventsApi"}`
	if r.URL.Host == "events.example" {
		body, _ := io.ReadAll(r.Body)
		text = fmt.Sprintf("%s %s for %s, api-version %s, %s: %s", r.Method, r.URL.Path, r.Header.Get("tenant-code"),
			r.Header.Get("api-version"), r.Header.Get("Content-Type"), body)
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}, nil
})
