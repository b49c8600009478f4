package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

const (
	// clientID is the client of all sides.
	clientID = "caller"
	// maxStreams lets all goroutines of a side share one HTTP/2 connection.
	maxStreams = 2000
)

// welcome is what the server sends to the process that started it when it is
// ready.
type welcome struct {
	URL         string
	Certificate []byte
	Secret      string
}

// described is the provider of the server and of the client: the generic one
// with tokens of that lifetime.
func described(life time.Duration) (*provider.Provider, error) {
	return provider.Parse("bench.yaml", fmt.Appendf(nil, "extends: oauth2\nname: bench\ntoken_endpoint: {lifetime: %s}\n", life))
}

// beServer is the other process: a token endpoint, and the same response behind
// its guard at /api/ and without one at /open/. It serves until its input ends.
func beServer() error {
	var lifeWord, delayWord string
	if _, err := fmt.Sscan(*serve, &lifeWord, &delayWord); err != nil {
		return fmt.Errorf("-serve: %w", err)
	}
	life, err := time.ParseDuration(lifeWord)
	if err != nil {
		return err
	}
	wait, err := time.ParseDuration(delayWord)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-client-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := sqlite.Open(context.Background(), filepath.Join(dir, "bench.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	p, err := described(life)
	if err != nil {
		return err
	}
	var handler http.Handler
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	ts.EnableHTTP2 = true
	ts.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: maxStreams}
	base := "https://" + ts.Listener.Addr().String()
	quiet := slog.New(slog.DiscardHandler)
	// Nobody sends as much as a bench.
	unlimited := limits.Config{Requests: limits.RequestLimits{Client: -1, Tenant: -1, Realm: -1, Address: -1}}
	s, err := server.New(
		context.Background(),
		server.Config{Store: db, Logger: quiet, Limits: unlimited, Realms: []server.Realm{{Name: "bench", Provider: p, BaseURL: base}}},
	)
	if err != nil {
		return err
	}
	defer s.Close()
	if handler, err = routes(s, p, base, wait, quiet); err != nil {
		return err
	}
	ts.StartTLS()
	defer ts.CloseClientConnections()
	_, creds, err := s.Clients().Create(context.Background(), "bench", clients.NewClient{
		Realm: "bench", ID: clientID, Settings: store.Settings{Name: clientID, Scopes: counterfoil.Scopes{"read"}},
	})
	if err != nil {
		return err
	}
	greeting := welcome{URL: base, Certificate: ts.Certificate().Raw, Secret: creds.ClientSecret.Reveal()}
	if err := json.NewEncoder(os.Stdout).Encode(greeting); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// routes leaves the check of revocations out of the guard: it would read the
// database for each call, which costs more than all that is measured here.
func routes(s *server.Server, p *provider.Provider, base string, wait time.Duration, quiet *slog.Logger) (http.Handler, error) {
	g, err := guard.New(guard.Config{Provider: p, Issuer: base, Keys: s.Issuer("bench"), Logger: quiet})
	if err != nil {
		return nil, err
	}
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"data":{}}`) })
	tokens := s.Handler("bench")
	mux := http.NewServeMux()
	mux.Handle("/api/", http.StripPrefix("/api", g.Handler(api)))
	mux.Handle("/open/", api)
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(wait) // a provider far away
		tokens.ServeHTTP(w, r)
	})
	return mux, nil
}

// target is the other process, as the sides see it.
type target struct {
	welcome
	life  time.Duration
	roots *x509.CertPool

	child *exec.Cmd
	in    io.Closer
}

// start starts the other process and waits until it is ready.
func start(life, wait time.Duration) (*target, error) {
	child := exec.Command(os.Args[0], "-serve", life.String()+" "+wait.String())
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	in, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, err
	}
	t := &target{life: life, roots: x509.NewCertPool(), child: child, in: in}
	if err := t.greet(out); err != nil {
		return nil, errors.Join(err, t.stop())
	}
	return t, nil
}

func (t *target) greet(out io.Reader) error {
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("the server does not start: %w", err)
	}
	if err := json.Unmarshal(line, &t.welcome); err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(t.Certificate)
	if err != nil {
		return err
	}
	t.roots.AddCert(cert)
	return nil
}

func (t *target) stop() error {
	_ = t.in.Close()
	return t.child.Wait()
}

// transport is the base of one side: connections of its own.
func (t *target) transport() *http.Transport {
	return &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: t.roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 4,
	}
}

// answered reads a response to its end and checks that it is successful.
func answered(resp *http.Response, err error) error {
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var b strings.Builder
	if _, err := io.Copy(&b, io.LimitReader(resp.Body, 4096)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		return fmt.Errorf("the API answers %s %d", resp.Proto, resp.StatusCode)
	}
	return nil
}
