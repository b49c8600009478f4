// Command timing measures whether the time of an answer tells client IDs that
// exist from those that do not:
//
//	go run ./bench/timing -samples 4000
//
// A server with a database on a disk runs in the process, over TLS on loopback.
// For each kind of client, requests with wrong credentials for its client IDs and
// for invented ones take turns in random order, one at a time on one connection.
// The output is the medians of both, the difference of their means after a fifth
// of each end was left out, in µs, and z, which is that difference in standard
// errors (Yuen's test): less than 3 either way is no difference that this many
// samples show. The row "nothing" compares invented IDs with invented ones.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

const (
	realm = "bench"
	// each is how many client IDs of a kind there are, and how many invented ones.
	each = 64
	// warmUp is how many requests of each side come before those that count.
	warmUp = 500
)

var (
	samples = flag.Int("samples", 4000, "requests of each side")
	only    = flag.String("only", "", "only the rows whose names contain this")
)

func main() {
	flag.Parse()
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// row is a comparison; limits are those of failed authentications.
type row struct {
	name   string
	limits limits.GuessLimits
	kind   kind
	// request makes a request for a client ID with wrong credentials.
	request func(b *bench, id string) (*http.Request, error)
	// status is what every answer must have; sign in is for clients that are known
	// where they call from.
	status int
	signIn bool
}

// looked lets so many guesses pass that all are looked at, and counts them.
var looked = limits.GuessLimits{
	ClientAddress: limits.MaxCount, ClientNetwork: limits.MaxCount, Address: limits.MaxCount, Network: limits.MaxCount,
}

func rows() []row {
	rsa := func(b *bench, id string) (*http.Request, error) { return b.assertion(id, jose.RS256) }
	ec := func(b *bench, id string) (*http.Request, error) { return b.assertion(id, jose.ES256) }
	again := func(b *bench, id string) (*http.Request, error) { return b.post(id, "the-same-wrong-secret") }
	return []row{
		{"nothing", looked, invented, (*bench).basic, 401, false},
		{"client_secret_basic", looked, ordinary, (*bench).basic, 401, false},
		{"client_secret_post", looked, ordinary, (*bench).guess, 401, false},
		{"client_secret_post, all settings", looked, large, (*bench).guess, 401, false},
		{"client_secret_post, disabled", looked, disabled, (*bench).guess, 401, false},
		{"client_secret_post, no secret", looked, ecKey, (*bench).guess, 401, false},
		{"client_secret_post, slow hash, repeated guess", looked, slow, again, 401, false},
		{"client_secret_post, slow hash, new guess", looked, slow, (*bench).guess, 401, false},
		{"private_key_jwt, ES256", looked, ecKey, ec, 401, false},
		{"private_key_jwt, RS256", looked, rsaKey, rsa, 401, false},
		{"private_key_jwt, ES256, key of RS256", looked, rsaKey, ec, 401, false},
		{"private_key_jwt, client without keys", looked, ordinary, ec, 401, false},
		{"introspection, client_secret_basic", looked, ordinary, (*bench).introspection, 401, false},
		{"client_secret_post, blocked", limits.GuessLimits{}, ordinary, (*bench).guess, 429, false},
		{"client_secret_post, blocked, known address", limits.GuessLimits{}, ordinary, (*bench).guess, 429, true},
		{"private_key_jwt, blocked", limits.GuessLimits{}, ecKey, ec, 429, false},
	}
}

func run() error {
	fmt.Printf("%-46s %10s %10s %12s %8s\n", fmt.Sprintf("%d samples each, medians in µs", *samples), "known", "invented", "difference", "z")
	for _, r := range rows() {
		if !strings.Contains(r.name, *only) {
			continue
		}
		if err := r.run(); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

func (r *row) run() error {
	b, err := start(r.limits, r.status == http.StatusTooManyRequests)
	if err != nil {
		return err
	}
	defer b.close()
	known, unknown := ids("known"), ids("other")
	if err := b.create(r.kind, known); err != nil {
		return err
	}
	if err := b.populate(); err != nil {
		return err
	}
	if r.signIn {
		for _, id := range known {
			req, err := b.post(id, b.secrets[id])
			if err != nil {
				return err
			}
			if _, err := b.time(req, http.StatusOK); err != nil {
				return err
			}
		}
	}
	if r.status == http.StatusTooManyRequests {
		if err := b.exhaust(); err != nil {
			return err
		}
	}
	var sides [2][]float64
	for n := range warmUp + *samples {
		for _, side := range rand.Perm(2) {
			id := [2][]string{known, unknown}[side][rand.IntN(each)]
			req, err := r.request(b, id)
			if err != nil {
				return err
			}
			took, err := b.time(req, r.status)
			if err != nil {
				return err
			}
			if n >= warmUp {
				sides[side] = append(sides[side], float64(took.Nanoseconds())/1000)
			}
		}
	}
	medians, difference, z := compare(sides)
	fmt.Printf("%-46s %10.1f %10.1f %12.1f %8.1f\n", r.name, medians[0], medians[1], difference, z)
	return nil
}

// ids are client IDs of one length.
func ids(name string) []string {
	all := make([]string, each)
	for i := range all {
		sum := sha256.Sum256(fmt.Append(nil, name, i))
		all[i] = base64.RawURLEncoding.EncodeToString(sum[:12])
	}
	return all
}

// kind is a kind of clients.
type kind int

const (
	invented kind = iota // not even these exist
	ordinary
	large
	disabled
	slow
	ecKey
	rsaKey
)

// bench is a server and what sends requests to it.
type bench struct {
	dir     string
	db      *sqlite.Store
	server  *server.Server
	served  *httptest.Server
	client  *http.Client
	base    string
	clock   *clock.Manual // nil for the system's
	secrets map[string]string
	signers map[string]*signer
	forged  map[string]string // assertions by ID and algorithm
}

// start starts a server; its clock may be one that is turned by hand.
func start(guesses limits.GuessLimits, manual bool) (b *bench, err error) {
	b = &bench{secrets: map[string]string{}, forged: map[string]string{}}
	now := clock.System
	if manual {
		b.clock = clock.NewManual(time.Now())
		now = b.clock
	}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	if b.signers, err = newSigners(); err != nil {
		return b, err
	}
	if b.dir, err = os.MkdirTemp(".", "timing-"); err != nil {
		return b, err
	}
	p, err := provider.Parse("bench.yaml", []byte("extends: oauth2\nname: bench\ntoken_endpoint:\n"+
		"  client_authentication: [client_secret_basic, client_secret_post, private_key_jwt]\n"))
	if err != nil {
		return b, err
	}
	if b.db, err = sqlite.Open(context.Background(), filepath.Join(b.dir, "timing.db")); err != nil {
		return b, err
	}
	var handler http.Handler
	b.served = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	b.base = "https://" + b.served.Listener.Addr().String()
	b.server, err = server.New(context.Background(), server.Config{
		Store: b.db, Realms: []server.Realm{{Name: realm, Provider: p, BaseURL: b.base}},
		Clock: now, Logger: slog.New(slog.DiscardHandler),
		Limits: limits.Config{Guesses: guesses, Requests: limits.RequestLimits{Mode: limits.Off}, Direct: true},
	})
	if err != nil {
		return b, err
	}
	handler = b.server.Handler(realm)
	b.served.StartTLS()
	b.client = b.served.Client()
	return b, nil
}

func (b *bench) close() {
	if b.served != nil {
		b.served.Close()
	}
	if b.server != nil {
		_ = b.server.Close()
	}
	if b.db != nil {
		_ = b.db.Close()
	}
	_ = os.RemoveAll(b.dir)
}

// populate adds clients that no request is for, so that the database is not a
// single page.
func (b *bench) populate() error {
	all := make([]string, 5000)
	for i := range all {
		all[i] = fmt.Sprint("populace-", i)
	}
	return b.create(ordinary, all)
}

func (b *bench) create(k kind, ids []string) error {
	if k == invented {
		return nil
	}
	var changes []store.ClientChange
	for _, id := range ids {
		secret := base64.RawURLEncoding.EncodeToString([]byte(id + id))
		sum := sha256.Sum256([]byte(secret))
		b.secrets[id] = secret
		now := time.Now()
		c := store.Client{
			Realm: realm, ID: id, Disabled: k == disabled, Created: now, Changed: now,
			Settings: store.Settings{Name: "The client " + id, Scopes: counterfoil.Scopes{"read"}},
			Secrets:  []store.SecretHash{{ID: "00000001", Value: "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:]), Created: now}},
		}
		switch k {
		case large:
			c.Settings = allSettings(id)
		case slow: // PBKDF2, of another secret; 20,000 rounds are some 5 ms
			c.Secrets[0].Value = "$pbkdf2-sha256$i=20000,l=32$" + strings.Repeat("A", 22) + "$" + strings.Repeat("A", 43)
		case ecKey, rsaKey:
			c.Secrets = nil
			c.Authentication.KeySet = b.signers[map[kind]string{ecKey: jose.ES256, rsaKey: jose.RS256}[k]].registered
		}
		changes = append(changes, store.ClientChange{
			Action: store.CreateClient, Client: c, Event: counterfoil.Event{Type: counterfoil.EventClientCreated, Time: now, Success: true},
		})
	}
	return b.db.ChangeClients(context.Background(), changes...)
}

// allSettings are those of a client that has much of everything.
func allSettings(id string) store.Settings {
	s := store.Settings{
		Name: "The client " + id, Contact: "team@example.com", Environment: store.EnvironmentProduction, Labels: map[string]string{},
		Tokens: store.TokenSettings{Claims: map[string]string{"department": "billing"}},
	}
	for i := range 20 {
		s.Scopes = append(s.Scopes, fmt.Sprint("scope-", i))
		s.Tenants = append(s.Tenants, fmt.Sprint("tenant-", i))
		s.Labels[fmt.Sprint("label-", i)] = "a value"
	}
	return s
}

// exhaust fails to authenticate until the address is blocked, and not only has to
// wait for a minute or less.
func (b *bench) exhaust() error {
	for i := range 100 {
		req, err := b.post(fmt.Sprint("nobody-", i), "nothing")
		if err != nil {
			return err
		}
		resp, err := b.client.Do(req)
		if err != nil {
			return err
		}
		if err := drain(resp); err != nil {
			return err
		}
		if resp.StatusCode == http.StatusTooManyRequests {
			wait, err := strconv.Atoi(resp.Header.Get("Retry-After"))
			switch {
			case err != nil:
				return err
			case wait > 64:
				return nil
			}
			b.clock.Turn(time.Duration(wait) * time.Second)
		}
	}
	return errors.New("the address is not blocked after 100 failed authentications")
}

// time sends a request and returns how long its answer took.
func (b *bench) time(req *http.Request, status int) (time.Duration, error) {
	begun := time.Now()
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, err
	}
	err = drain(resp)
	took := time.Since(begun)
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("the answer is %s, not %d", resp.Status, status)
	}
	return took, err
}

func drain(resp *http.Response) error {
	defer resp.Body.Close()
	_, err := io.Copy(io.Discard, resp.Body)
	return err
}

func (b *bench) basic(id string) (*http.Request, error) {
	req, err := b.form(url.Values{})
	if err == nil {
		req.SetBasicAuth(id, newGuess())
	}
	return req, err
}

func (b *bench) introspection(id string) (*http.Request, error) {
	req, err := b.basic(id)
	if err == nil {
		req.URL.Path = "/introspect"
	}
	return req, err
}

func (b *bench) guess(id string) (*http.Request, error) { return b.post(id, newGuess()) }

// newGuess is a secret of the usual length.
func newGuess() string {
	return fmt.Sprintf("%016x%016x%08x", rand.Uint64(), rand.Uint64(), rand.Uint32())
}

func (b *bench) post(id, secret string) (*http.Request, error) {
	return b.form(url.Values{"client_id": {id}, "client_secret": {secret}})
}

func (b *bench) form(v url.Values) (*http.Request, error) {
	v.Set("grant_type", "client_credentials")
	req, err := http.NewRequest(http.MethodPost, b.base+"/token", strings.NewReader(v.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, err
}
