// Command revocation measures how soon a guard refuses a revoked token, in two
// processes on one machine:
//
//	go run ./bench/revocation -count 1000
//
// One process is the server, with a real database on a real disk and over TLS.
// The other has a guard that follows the server's revocation feed, and revokes
// one token after another. The time is from the response of a revocation, when
// it is durable, to the first refusal; the guard is called every 20 µs until
// then. The output is the percentiles, and how many revocations reached the
// guard before their response.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

var (
	count = flag.Int("count", 1000, "revocations")
	serve = flag.String("serve", "", "internal: the directory of the server")
)

// welcome is what the server sends to the guard when it is ready.
type welcome struct {
	URL         string
	Certificate []byte
	Secrets     map[string]string // by client
}

func main() {
	flag.Parse()
	log.SetFlags(0)
	run := measure
	if *serve != "" {
		run = beServer
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// beServer serves until its input ends.
func beServer() error {
	p, err := provider.Builtin("oauth2")
	if err != nil {
		return err
	}
	db, err := sqlite.Open(context.Background(), filepath.Join(*serve, "revocation.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	var handler http.Handler
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	ts.EnableHTTP2 = true
	base := "https://" + ts.Listener.Addr().String()
	s, err := server.New(
		context.Background(),
		server.Config{Store: db, Realms: []server.Realm{{Name: "bench", Provider: p, BaseURL: base}}},
	)
	if err != nil {
		return err
	}
	defer s.Close()
	handler = s.Handler("bench")
	ts.StartTLS()
	defer ts.CloseClientConnections()
	w := welcome{URL: base, Certificate: ts.Certificate().Raw, Secrets: map[string]string{}}
	for _, id := range []string{"caller", "api"} {
		_, creds, err := s.Clients().Create(context.Background(), "bench", clients.NewClient{
			Realm: "bench", ID: id, Settings: store.Settings{Name: id, Scopes: counterfoil.Scopes{"read"}, ResourceServer: id == "api"},
		})
		if err != nil {
			return err
		}
		w.Secrets[id] = creds.ClientSecret.Reveal()
	}
	if err := json.NewEncoder(os.Stdout).Encode(w); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// as sends requests with a client's credentials.
type as struct {
	id, secret string
	next       http.RoundTripper
}

func (a as) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.SetBasicAuth(a.id, url.QueryEscape(a.secret))
	return a.next.RoundTrip(r)
}

func measure() error {
	dir, err := os.MkdirTemp(".", "revocation-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	child := exec.Command(os.Args[0], "-serve", dir)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	in, err := child.StdinPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return err
	}
	defer func() { _ = in.Close(); _ = child.Wait() }()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the server does not start: %w", err)
	}
	var w welcome
	if err := json.Unmarshal(line, &w); err != nil {
		return err
	}
	return measureAt(w)
}

func measureAt(w welcome) error {
	cert, err := x509.ParseCertificate(w.Certificate)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	plain := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, ServerName: "example.com", MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
	feed, err := guard.FollowRevocations(guard.FeedConfig{
		URL: w.URL + "/revocations", Client: &http.Client{Transport: as{"api", w.Secrets["api"], plain.Clone()}},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer feed.Close()
	api, closing, err := guarded(w.URL, feed, plain)
	if err != nil {
		return err
	}
	defer closing()
	caller := &http.Client{Transport: as{"caller", w.Secrets["caller"], plain}}
	for end := time.Now().Add(10 * time.Second); feed.Stats().Stale; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("the feed does not catch up")
		}
	}
	var all []time.Duration
	early := 0
	for range *count {
		took, err := once(w.URL, caller, api)
		if err != nil {
			return err
		}
		if took == 0 {
			early++
		}
		all = append(all, took)
	}
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[(len(all)-1)*percent/100] }
	fmt.Printf("%d revocations, from the answer to the refusal at a guard in another process\n", len(all))
	fmt.Printf(
		"p50 %.2f ms   p90 %.2f ms   p99 %.2f ms   max %.2f ms   %d were there before the answer\n", ms(at(50)),
		ms(at(90)), ms(at(99)), ms(at(100)), early,
	)
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// guarded returns an API behind a guard that follows the feed.
func guarded(issuer string, feed *guard.Feed, transport http.RoundTripper) (http.Handler, func(), error) {
	p, err := provider.Builtin("oauth2")
	if err != nil {
		return nil, nil, err
	}
	keys, err := guard.NewRemoteKeySet(
		guard.RemoteKeySetConfig{URL: issuer + "/.well-known/jwks.json", Client: &http.Client{Transport: transport}},
	)
	if err != nil {
		return nil, nil, err
	}
	g, err := guard.New(guard.Config{Provider: p, Issuer: issuer, Keys: keys, Liveness: feed})
	if err != nil {
		keys.Close()
		return nil, nil, err
	}
	return g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })), keys.Close, nil
}

// once gets a token, uses it, revokes it, and returns how long after the
// response it is refused; 0 if it is refused at once.
func once(base string, caller *http.Client, api http.Handler) (time.Duration, error) {
	body, err := post(caller, base+"/token", url.Values{"grant_type": {"client_credentials"}})
	if err != nil {
		return 0, err
	}
	var answer struct {
		Token counterfoil.Secret `json:"access_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return 0, errors.New("the token endpoint's answer is not JSON")
	}
	token := answer.Token.Reveal()
	if got := call(api, token); got != http.StatusOK {
		return 0, fmt.Errorf("a good token gets %d", got)
	}
	if _, err := post(caller, base+"/revoke", url.Values{"token": {token}}); err != nil {
		return 0, err
	}
	answered := time.Now()
	for first := true; ; first = false {
		switch got := call(api, token); {
		case got == http.StatusUnauthorized && first:
			return 0, nil
		case got == http.StatusUnauthorized:
			return time.Since(answered), nil
		case got != http.StatusOK || time.Since(answered) > 10*time.Second:
			return 0, fmt.Errorf("a revoked token gets %d after %v", got, time.Since(answered))
		}
		time.Sleep(20 * time.Microsecond)
	}
}

func post(c *http.Client, to string, form url.Values) ([]byte, error) {
	resp, err := c.Post(to, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %d", to, resp.StatusCode)
	}
	return body, err
}

// call returns the status of a call of the API.
func call(api http.Handler, token string) int {
	r := httptest.NewRequest(http.MethodGet, "https://api.example/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	return w.Code
}
