package server_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// A token endpoint of a provider's dialect inside a test, and a client of it.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	p, err := provider.Builtin("a55")
	if err != nil {
		log.Fatal(err)
	}
	db, err := sqlite.Open(ctx, filepath.Join(dir, "test.db"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	issuer, err := server.New(ctx, server.Config{
		Store:  db,
		Realms: []server.Realm{{Name: "a55", Provider: p, BaseURL: "https://id.example"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer issuer.Close()
	_, made, err := issuer.Clients().Create(ctx, "test", clients.NewClient{
		Realm:    "a55",
		Settings: store.Settings{Scopes: counterfoil.Scopes{"wallets:read"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	endpoint := httptest.NewTLSServer(issuer.Handler("a55"))
	defer endpoint.Close()
	api := httptest.NewTLSServer(http.NotFoundHandler()) // or one behind a guard.Guard
	defer api.Close()
	source, err := client.New(client.Config{
		Provider: p, TokenURL: endpoint.URL + p.TokenEndpoint.Path, APIURL: api.URL,
		ClientID: made.ClientID, ClientSecret: client.Static(made.ClientSecret),
		HTTP: endpoint.Client().Transport,
	})
	if err != nil {
		log.Fatal(err)
	}
	token, err := source.Token(ctx)
	fmt.Println(token.Type, err)
	// Output:
	// Bearer <nil>
}
