//go:build unix

package main

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/libcrypto"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// signersOf returns the available signers for the algorithm, the best first.
func signersOf(alg string) []string {
	if _, err := libcrypto.Open(); err == nil && alg == "RS256" {
		return []string{"libcrypto", "go"}
	}
	return []string{"go"}
}

// plan says what a side of this program serves, in the process of its own.
type plan struct {
	Floor     bool
	Algorithm string
	Signer    string // libcrypto or go
	Policy    string // "" for independent
	Clients   int
	File      string // of the database
	// NoAudit keeps no record and NoLimits counts nothing.
	NoAudit, NoLimits bool
	// TLS is the file with the certificate and its key; "" for plain HTTP.
	TLS string
}

func self(p plan) []string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	text, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return []string{exe, "-profile", *profile, "-serve", string(text)}
}

func floorSide(p plan) *side {
	p.Floor = true
	return &side{name: "floor, " + p.Algorithm + " by " + p.Signer, command: self(p), clients: *few}
}

// serverSide is the server on a database in the directory data. Those that run at
// once differ in what names the database.
func serverSide(data string, p plan) *side {
	on := func(no bool) string {
		if no {
			return "off"
		}
		return "on"
	}
	name := fmt.Sprintf("counterfoil, %d clients, %s", p.Clients, p.Signer)
	if p.NoAudit || p.NoLimits {
		name = fmt.Sprintf("counterfoil, audit %s, limits %s", on(p.NoAudit), on(p.NoLimits))
	}
	file := fmt.Sprintf("%d.db", p.Clients)
	if p.Clients != *many { // which takes minutes to make
		file = fmt.Sprintf("%d-%s-%t-%t.db", p.Clients, p.Signer, p.NoAudit, p.NoLimits)
	}
	p.File = filepath.Join(data, file)
	return &side{name: name, command: self(p), clients: p.Clients}
}

// oidcSide is oidc-provider, over TLS with the certificate in the file unless that
// is "".
func oidcSide(alg string, workers int, tlsFile string) *side {
	return &side{
		name: fmt.Sprintf("oidc-provider x%d", workers), clients: *few,
		command: []string{"node", "bench/server/oidc/server.mjs", alg, strconv.Itoa(*few), strconv.Itoa(workers), tlsFile},
	}
}

// opensslSpeed returns how many RSA-2048 signatures a second OpenSSL makes on
// two processors.
func opensslSpeed() (string, error) {
	out, err := exec.Command("openssl", "speed", "-seconds", "3", "-multi", "2", "rsa2048").Output()
	if err != nil {
		return "", fmt.Errorf("openssl speed: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 7 && f[0] == "rsa" && f[1] == "2048" {
			return f[5], nil
		}
	}
	return "", errors.New("openssl speed printed no line for rsa 2048 bits")
}

// startUp reports how long the server takes to start with many clients, and how
// much memory it holds after a round.
func startUp(data string) error {
	fmt.Printf("Start-up and memory, %d clients\n", *many)
	s := serverSide(data, plan{Algorithm: "ES256", Signer: "go", Clients: *many})
	if err := s.start(); err != nil { // makes the clients when they are not there
		return err
	}
	s.stop()
	var times []float64
	var last result
	for range *rounds {
		s := serverSide(data, plan{Algorithm: "ES256", Signer: "go", Clients: *many})
		if err := s.start(); err != nil {
			return err
		}
		times = append(times, s.started.Seconds()*1000)
		r, err := s.load(0)
		s.stop()
		if err != nil {
			return err
		}
		last.rss = max(last.rss, r.rss)
	}
	fmt.Printf(
		"ready after %.0f ms (median), at most %.0f MB resident after a round\n",
		median(times, func(t float64) float64 { return t }), last.rss,
	)
	return nil
}

// child serves one side until it is told to stop. All collect garbage as rarely
// as the binary does.
func child(text string) error {
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	defer runtime.KeepAlive(make([]byte, 32<<20)) // as in the binary
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var h http.Handler
	closing := func() error { return nil }
	if p.Floor {
		h, err = floorHandler(p.Algorithm, p.Signer)
	} else {
		h, closing, err = serverHandler(p, "https://"+l.Addr().String())
	}
	if err != nil {
		return err
	}
	scheme := "http"
	if p.TLS != "" {
		scheme = "https"
		if l, err = overTLS(l, p); err != nil {
			return err
		}
	}
	fmt.Printf("%s://%s/token\nready\n", scheme, l.Addr())
	if *profile != "" && !p.Floor {
		f, err := os.Create(*profile + ".unfinished")
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer func() {
			pprof.StopCPUProfile()
			_ = f.Close()
			_ = os.Rename(f.Name(), *profile)
		}()
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- http.Serve(l, h) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return closing()
	}
}

// floorHandler does what every token endpoint must: it parses the form and
// signs, or returns a fixed token if the algorithm is "none".
func floorHandler(alg, signer string) (http.Handler, error) {
	sign := func([]byte) (string, error) { return "eyJ" + strings.Repeat("t", 640), nil }
	if alg != "none" {
		key, err := jose.Generate(alg)
		if err != nil {
			return nil, err
		}
		if signer == "libcrypto" {
			if key, err = byLibcrypto(key); err != nil {
				return nil, err
			}
		}
		protected := fmt.Appendf(nil, `{"alg":%q,"kid":"0123456789abcdef0123456789abcdef","typ":"at+jwt"}`, alg)
		sign = func(claims []byte) (string, error) { return jose.Sign(key, alg, protected, claims) }
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		id, now := r.PostForm.Get("client_id"), time.Now().Unix()
		claims := fmt.Appendf(
			nil,
			`{"iss":"https://127.0.0.1/realm","exp":%d,"aud":"https://127.0.0.1/realm","sub":%q,"client_id":%q,"iat":%d,`+
				`"jti":"00000000-0000-4000-8000-000000000000","scope":"read write"}`,
			now+3600, id, id, now,
		)
		token, err := sign(claims)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = io.WriteString(w, `{"access_token":"`+token+`","expires_in":3600,"token_type":"Bearer"}`)
	}), nil
}

func byLibcrypto(key crypto.Signer) (crypto.Signer, error) {
	lib, err := libcrypto.Open()
	if err != nil {
		return nil, err
	}
	return lib.Signer(key.(*rsa.PrivateKey))
}

// serverHandler is the whole token endpoint on a database with its clients,
// which it makes if the file is new.
func serverHandler(w plan, base string) (http.Handler, func() error, error) {
	p, err := provider.Parse(
		"bench.yaml",
		fmt.Appendf(
			nil,
			"extends: oauth2\nname: bench\ntoken_endpoint: {policy: %s}\naccess_token: {signing_algorithm: %s}\n",
			cmp.Or(w.Policy, "independent"), w.Algorithm,
		),
	)
	if err != nil {
		return nil, nil, err
	}
	if _, err := os.Stat(w.File); err != nil {
		if err := populateFile(w.File, w.Clients); err != nil {
			return nil, nil, err
		}
	}
	db, err := sqlite.Open(context.Background(), w.File)
	if err != nil {
		return nil, nil, err
	}
	bounds := limits.Config{ // nobody sends as much as a bench
		Requests: limits.RequestLimits{Client: limits.MaxCount, Tenant: limits.MaxCount, Realm: limits.MaxCount, Address: limits.MaxCount},
	}
	if w.NoLimits {
		bounds = limits.Config{Guesses: limits.GuessLimits{Mode: limits.Off}, Requests: limits.RequestLimits{Mode: limits.Off}}
	}
	var st store.Store = db
	if w.NoAudit {
		st = unrecorded{db}
	}
	s, err := server.New(context.Background(), server.Config{
		Store: st, Signer: signerWord(w.Signer), MasterKey: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		Realms: []server.Realm{{Name: "bench", Provider: p, BaseURL: base}},
		Limits: bounds,
	})
	if err != nil {
		return nil, nil, err
	}
	return s.Handler("bench"), func() error { return errors.Join(s.Close(), db.Close()) }, nil
}

// unrecorded is a store that keeps no record of tokens and refusals.
type unrecorded struct{ store.Store }

func (unrecorded) RecordIssued(_ context.Context, i store.Issuance) (int64, error) {
	return i.Revision, nil
}

func (unrecorded) RecordEvents(context.Context, ...counterfoil.Event) error { return nil }

// signerWord is Config.Signer for a signer of this program.
func signerWord(signer string) string {
	if signer == "libcrypto" {
		return "auto"
	}
	return "go"
}

// populateFile makes a database with the clients.
func populateFile(file string, count int) (err error) {
	db, err := sqlite.Open(context.Background(), file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return populate(db, count)
}

// populate makes the clients, many at once.
func populate(store store.Store, count int) error {
	var wg sync.WaitGroup
	errs := make([]error, 128)
	for worker := range errs {
		wg.Go(func() {
			for i := worker; i < count && errs[worker] == nil; i += len(errs) {
				errs[worker] = create(store, i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func create(db store.Store, i int) error {
	sum := sha256.Sum256([]byte(clientSecret(i)))
	c := store.Client{Realm: "bench", ID: clientID(i), Created: time.Now(), Changed: time.Now(), Secrets: []store.SecretHash{
		{ID: "00000001", Value: "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:]), Created: time.Now()},
	}}
	c.Name, c.Scopes = "client "+strconv.Itoa(i), []string{"read", "write"}
	return db.CreateClient(context.Background(), c, counterfoil.Event{
		Type: counterfoil.EventClientCreated, Time: c.Created, Realm: c.Realm, ClientID: c.ID, Success: true, Actor: "bench",
	})
}
