package guard_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/provider"
)

// An API behind a guard: the description is the catalog's "oauth2" here, and could
// also be a file.
func Example() {
	p, err := provider.Open("oauth2")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: "https://auth.example.com/.well-known/jwks.json"})
	if err != nil {
		log.Fatal(err)
	}
	defer keys.Close()
	g, err := guard.New(guard.Config{Provider: p, Issuer: "https://auth.example.com", Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	guarded := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := counterfoil.PrincipalFrom(r.Context())
		fmt.Fprintln(w, "hello,", caller.ClientID)
	}))
	mux := http.NewServeMux()
	mux.Handle("/api", guarded) // without this line ServeMux redirects it to /api/
	mux.Handle("/api/", guarded)

	// A program serves mux with http.ListenAndServeTLS. Without a token:
	for _, path := range []string{"/api", "/api/orders"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	}
	// Output:
	// 401 Bearer
	// 401 Bearer
}

// withCredentials sends requests as a client of the issuer that is a resource
// server: counterfoil client create REALM --id orders-api --resource-server. A
// program that has package client may use its Source.Client instead, with the
// issuer as Config.APIURL.
type withCredentials struct{ id, secret string }

func (c withCredentials) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(c.id, c.secret)
	return http.DefaultTransport.RoundTrip(r)
}

// An API in another process than its issuer that refuses a token as soon as it
// is revoked, and asks about each token while the feed is stale.
func ExampleFollowRevocations() {
	p, err := provider.Open("oauth2")
	if err != nil {
		log.Fatal(err)
	}
	const issuer = "https://auth.example.com"
	own := &http.Client{Transport: withCredentials{"orders-api", os.Getenv("ORDERS_API_SECRET")}}
	introspector, err := guard.NewIntrospector(guard.IntrospectionConfig{URL: issuer + "/introspect", Client: own})
	if err != nil {
		log.Fatal(err)
	}
	feed, err := guard.FollowRevocations(guard.FeedConfig{URL: issuer + "/revocations", Client: own, OnStale: introspector})
	if err != nil {
		log.Fatal(err)
	}
	defer feed.Close()
	keys, err := guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: issuer + "/.well-known/jwks.json"})
	if err != nil {
		log.Fatal(err)
	}
	defer keys.Close()
	g, err := guard.New(guard.Config{
		Provider: p, Issuer: issuer, Keys: keys, Liveness: feed,
		URL: "https://orders.example.com", // what proofs of possession are made for
	})
	if err != nil {
		log.Fatal(err)
	}
	guarded := g.Handler(http.NotFoundHandler())
	http.Handle("/api", guarded)
	http.Handle("/api/", guarded)
}
