package guard_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/provider"
)

// An API of one's own behind a guard: the description is the catalog's "oauth2"
// here, and could as well be a file.
func Example() {
	p, err := provider.Open("oauth2")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := guard.RemoteKeys(guard.RemoteKeysConfig{URL: "https://auth.example.com/keys"})
	if err != nil {
		log.Fatal(err)
	}
	defer keys.Close()
	g, err := guard.New(guard.Config{Provider: p, Issuer: "https://auth.example.com", Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/api/", g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := counterfoil.PrincipalFrom(r.Context())
		fmt.Fprintln(w, "hello,", caller.ClientID)
	})))

	// A program serves mux with http.ListenAndServeTLS. Without a token:
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/api/", nil))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output: 401 Bearer
}
