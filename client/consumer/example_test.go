package consumer_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/counterfoil/counterfoil/client/consumer"
)

// With what 'counterfoil up' writes.
func Example() {
	config, err := consumer.Load("counterfoil-data/consumer.yaml", consumer.Options{})
	if err != nil {
		log.Fatal(err)
	}
	wallets, err := config.Source("a55")
	if err != nil {
		log.Fatal(err)
	}
	req, err := wallets.NewRequest(context.Background(), http.MethodGet, "/wallets?size=1", nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := wallets.Client().Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}
