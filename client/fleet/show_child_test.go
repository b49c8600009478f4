//go:build unix

package fleet_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/fleet"
	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/provider"
)

// told is what a child says of its calls since it said so last.
type told struct {
	Outcomes map[string]int
	Longest  time.Duration
}

// worker is a child of the show: a program that calls the API from many
// goroutines, as users of the package write it.
type worker struct {
	source *client.Source
	dir    string

	mu   sync.Mutex
	told told
}

func work(cache *fleet.Cache) {
	w := &worker{dir: os.Getenv("CHILD_DIR")}
	env, err := files.ReadEnv(filepath.Join(w.dir, "env", "fleet.env"))
	must(err)
	p, err := provider.Open(filepath.Join(w.dir, "providers", "fleet.yaml"))
	must(err)
	authority, err := os.ReadFile(filepath.Join(w.dir, "tls", "ca.pem"))
	must(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	w.source, err = client.New(client.Config{
		Provider: p, TokenURL: env.Get("TOKEN_URL"), APIURL: env.Get("API_URL"), Scopes: counterfoil.Scopes{"wallets:read"},
		ClientID: env.Get("CLIENT_ID"), ClientSecret: client.Static(counterfoil.Secret(env.Get("CLIENT_SECRET"))), Cache: cache,
		HTTP: &holdable{&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}, env.Get("TOKEN_URL"), w.dir},
	})
	must(err)
	goroutines, err := strconv.Atoi(os.Getenv("CHILD_GOROUTINES"))
	must(err)
	pace, err := time.ParseDuration(os.Getenv("CHILD_PACE"))
	must(err)
	for range goroutines {
		go func() {
			for {
				time.Sleep(pace/2 + rand.N(pace)) // the load, not a wait for anything
				w.call()
			}
		}()
	}
	for {
		time.Sleep(100 * time.Millisecond)
		w.tell()
	}
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func (w *worker) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	text, err := json.Marshal(w.told)
	must(err)
	fmt.Printf("calls %s\n", text)
	w.told = told{}
}

func (w *worker) call() {
	began := time.Now()
	outcome := ""
	req, err := w.source.NewRequest(context.Background(), http.MethodGet, "/wallets?size=1", nil)
	must(err)
	resp, err := w.source.Client().Do(req)
	if err != nil {
		outcome = reason(err)
	} else {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		outcome = resp.Status
	}
	took := time.Since(began)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told.Outcomes == nil {
		w.told.Outcomes = map[string]int{}
	}
	w.told.Outcomes[outcome]++
	w.told.Longest = max(w.told.Longest, took)
}

const lostReason = "no token: the shared cache is lost"

// reason is what a call says of its failure; what begins with "unstated" says
// nothing of use.
func reason(err error) string {
	e, ok := errors.AsType[*counterfoil.Error](err)
	switch {
	case !ok:
		return "unstated: " + err.Error()
	case errors.Is(err, client.ErrCacheLost):
		return lostReason
	}
	message, _, _ := strings.Cut(e.Message, " (")
	return fmt.Sprintf("no token: %s: %s", e.Reason, message)
}

// holdable is a transport that stands still for ever at a token request, before
// it or after it, when the show says so: to be killed there.
type holdable struct {
	base     *http.Transport
	tokenURL string
	dir      string
}

func (h *holdable) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.String() != h.tokenURL {
		return h.base.RoundTrip(r)
	}
	h.at("before")
	resp, err := h.base.RoundTrip(r)
	h.at("after")
	return resp, err
}

func (h *holdable) at(point string) {
	if os.Remove(filepath.Join(h.dir, "hold-"+point)) == nil { // for one process alone
		fmt.Println("held")
		select {}
	}
}
