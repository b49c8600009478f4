package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// soakedConfig has a realm of each token policy.
const soakedConfig = `listen: 127.0.0.1:0
metrics: {listen: 127.0.0.1:0}
tls: {certificate: tls/certificate.pem, key: tls/key.pem}
database: counterfoil.db
master_key: file:master.key
limits: {guesses: {mode: monitor}, token_requests: {mode: "off"}}
audit: {checkpoint_every: 1s}
realms:
  - {name: each, provider: oauth2, hosts: [auth.acme.example], path: /each, lifetime: 10m, scopes: [{name: read, description: Read}]}
  - {name: single, provider: oauth2, hosts: [auth.acme.example], path: /single, policy: replace, scopes: [{name: read, description: Read}]}
  - {name: shared, provider: oauth2, hosts: [auth.acme.example], path: /shared, policy: reuse, scopes: [{name: read, description: Read}]}
`

// soaked is a server under load, and what it has answered.
type soaked struct {
	*served
	callers []*caller
	dark    atomic.Int64 // odd while nothing can be written
	ending  atomic.Bool  // answers may not come: the server is being ended

	gate   sync.RWMutex // held for reading by each request, and otherwise for silence
	silent bool
	http   *http.Client

	mu     sync.Mutex
	tokens map[string]int // how often each was answered since the record was read
	answers
	all  answers // before
	seen int64   // of the record
}

// answers counts those of one process.
type answers struct{ granted, refused, failed, unanswered int }

// caller is a client whose secret is replaced now and then: turns is odd meanwhile.
type caller struct {
	realm, id string
	secret    atomic.Pointer[string]
	turns     atomic.Int64
}

// soakedBy lays a server out with one client in each realm.
func soakedBy(t *testing.T) *soaked {
	t.Helper()
	s := &soaked{served: layOut(t, soakedConfig), tokens: map[string]int{}}
	db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, realm := range []string{"each", "single", "shared"} {
		settings := store.Settings{Name: "caller", Scopes: counterfoil.Scopes{"read"}}
		_, creds, err := clients.New(db, nil, anyRules).Create(t.Context(), "test", clients.NewClient{Realm: realm, ID: "caller", Settings: settings})
		if err != nil {
			t.Fatal(err)
		}
		c, secret := &caller{realm: realm, id: "caller"}, creds.ClientSecret.Reveal()
		c.secret.Store(&secret)
		s.callers = append(s.callers, c)
	}
	return s
}

// silence waits for requests that are under way, and lets none begin until resume.
func (s *soaked) silence() {
	s.gate.Lock()
	s.silent = true
}

func (s *soaked) resume() {
	if s.silent {
		s.silent = false
		s.gate.Unlock()
	}
}

// begin starts the server, whose callers are silent meanwhile.
func (s *soaked) begin(t *testing.T) {
	t.Helper()
	s.start(t)
	port := s.port // requests of before may still look at what they began with
	s.http = s.served.http(t)
	s.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
	}
	s.ending.Store(false)
}

// ask makes one token request, one in four with a wrong secret, and counts what is
// answered. Any other answer than the request deserves fails the test.
func (s *soaked) ask(ctx context.Context, t *testing.T) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	c := s.callers[rand.IntN(len(s.callers))]
	dark, turn := s.dark.Load(), c.turns.Load()
	secret, good := *c.secret.Load(), rand.IntN(4) > 0
	if !good {
		secret = "wrong"
	}
	status, token, err := s.post(ctx, c, secret)
	light, steady := s.dark.Load() == dark && dark%2 == 0, c.turns.Load() == turn && turn%2 == 0
	var dial *net.OpError
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err != nil && s.ending.Load():
		if !errors.As(err, &dial) || dial.Op != "dial" { // otherwise nothing was sent
			s.unanswered++
		}
	case status == http.StatusOK && good:
		s.granted++
		s.tokens[identifier(t, token)]++
	case status == http.StatusUnauthorized && !(good && steady):
		s.refused++
	case status == http.StatusServiceUnavailable && !(light && steady):
		s.failed++
	default:
		t.Errorf("a request of %s with a good secret: %v, is answered %d, %v", c.realm, good, status, err)
	}
}

func (s *soaked) post(ctx context.Context, c *caller, secret string) (status int, token string, err error) {
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {c.id}, "client_secret": {secret}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, acmeBase+"/"+c.realm+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err == nil && resp.StatusCode == http.StatusOK {
		err = json.Unmarshal(body, &answer)
	}
	return resp.StatusCode, answer.AccessToken, err
}

// count returns what was answered by the present process.
func (s *soaked) count() answers {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answers
}

// until waits for so many more tokens.
func (s *soaked) until(t *testing.T, granted int) {
	t.Helper()
	granted += s.count().granted
	eventually.True(t, "tokens are answered", func() bool { return t.Failed() || s.count().granted >= granted })
}

// change replaces secrets and a signing key, reloads the configuration and makes a
// backup, all at once, and sees that the backup has what was answered before.
func (s *soaked) change(t *testing.T, round int) {
	t.Helper()
	s.mu.Lock()
	before := make([]string, 0, len(s.tokens))
	for id := range s.tokens {
		before = append(before, id)
	}
	s.mu.Unlock()
	file := filepath.Join(s.dir, "b")
	commands := [][]string{{"backup", file}, {"key", "rotate", "each", "--now"}}
	replaced := []*caller{s.callers[round%3], s.callers[(round+1)%3]}
	for i, overlap := range []string{"0", "1h"} {
		replaced[i].turns.Add(1)
		commands = append(commands, []string{"client", "rotate", replaced[i].realm, replaced[i].id, "--overlap", overlap, "-o", "json"})
	}
	said := make([]ran, len(commands))
	var all sync.WaitGroup
	for i := range commands {
		all.Go(func() { said[i] = s.manage(t, commands[i]...) })
	}
	config := strings.Replace(soakedConfig, "lifetime: 10m", fmt.Sprintf("lifetime: %dm", 11+round%5), 1)
	s.write(t, "serve.yaml", config)
	for range 50 { // a storm
		if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	if log := s.hangUp(t); !strings.Contains(log, "msg=reloaded") {
		t.Errorf("the log says %s", log)
	}
	all.Wait()
	for i := range said {
		said[i].good(t)
	}
	for i, c := range replaced {
		var answer made
		if err := json.Unmarshal([]byte(said[2+i].out), &answer); err != nil {
			t.Fatal(err)
		}
		c.secret.Store(&answer.ClientSecret)
		c.turns.Add(1)
	}
	s.write(t, "other/serve.yaml", strings.NewReplacer("tls/", "../tls/", "file:", "file:../").Replace(config))
	other := filepath.Join(s.dir, "other", "serve.yaml")
	execute(t, "", nil, binary, "restore", file, "--serve-config", other).good(t)
	execute(t, "", nil, binary, "audit", "verify", "--serve-config", other).good(t)
	tokens, _ := recordedIn(t, filepath.Join(s.dir, "other", "counterfoil.db"), 0)
	for _, id := range before {
		if tokens[id] == 0 {
			t.Error("a token was answered before the backup began, and is not in it")
		}
	}
	if err := os.RemoveAll(filepath.Join(s.dir, "other")); err != nil {
		t.Fatal(err)
	}
}

// alerted is how often there was what is an alert.
func (s *soaked) alerted(t *testing.T, kind alerts.Kind) (n int64) {
	t.Helper()
	for _, a := range alertsOf(t, s.manage(t, "alerts", "-o", "json")) {
		if a.Kind == kind {
			n += a.Count
		}
	}
	return n
}

// fill fills the disk until requests have failed, makes room again, and waits for
// the alert.
func (s *soaked) fill(t *testing.T) {
	t.Helper()
	failed, alerted := s.count().failed, s.alerted(t, alerts.KindStore)
	s.dark.Add(1)
	largestFile(t, s.cmd.Process.Pid, 1)
	eventually.True(t, "requests fail on a full disk", func() bool { return t.Failed() || s.count().failed > failed+3 })
	largestFile(t, s.cmd.Process.Pid, math.MaxUint64)
	eventually.True(t, "it is ready again", func() bool { return get(t, s.http, acmeReady).status == http.StatusOK })
	s.dark.Add(1)
	eventually.True(t, "the full disk is an alert", func() bool { return s.alerted(t, alerts.KindStore) > alerted })
}

// level is what may not grow with the number of requests.
type level struct{ goroutines, files, memory float64 }

var levels = regexp.MustCompile(`(?m)^(go_goroutines|process_open_fds|process_resident_memory_bytes) (\S+)$`)

// settled waits, in silence, until the metrics agree with what was answered.
func (s *soaked) settled(t *testing.T) (l level) {
	t.Helper()
	s.silence()
	defer s.resume()
	want, at := s.count(), s.metered(t)
	var got answers
	eventually.True(t, fmt.Sprintf("the metrics count what was answered: %+v", want), func() bool {
		series, _ := scrape(t, at)
		got = answers{}
		for name, n := range series {
			if !strings.HasPrefix(name, "counterfoil_token_requests_total{") {
				continue
			}
			for outcome, into := range map[string]*int{"issued": &got.granted, "reused": &got.granted, "refused": &got.refused, "failed": &got.failed} {
				if strings.Contains(name, "outcome="+outcome+",") {
					*into += int(n)
				}
			}
		}
		if got.granted > want.granted || got.refused > want.refused || got.failed > want.failed {
			t.Fatalf("answered were %+v, the metrics count %+v", want, got)
		}
		return got == want
	})
	_, page := plain(t, at+"/metrics")
	for _, m := range levels.FindAllStringSubmatch(page, -1) {
		var v float64
		if _, err := fmt.Sscan(m[2], &v); err != nil {
			t.Fatal(err)
		}
		*map[string]*float64{"go_goroutines": &l.goroutines, "process_open_fds": &l.files, "process_resident_memory_bytes": &l.memory}[m[1]] = v
	}
	return l
}

// recordedIn returns how often a record has each token after an event, how many
// wrong secrets, and the number of the last event.
func recordedIn(t *testing.T, database string, after int64) (tokens map[string]int, last recordedUpTo) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tokens, last.event = map[string]int{}, after
	for {
		page, err := db.Events(t.Context(), last.event, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for i := range page {
			e := &page[i]
			last.event = e.Sequence
			switch n := max(1, int(e.Count)); {
			case e.Type == counterfoil.EventTokenIssued, e.Type == counterfoil.EventTokenReused:
				tokens[e.TokenID] += n
			case e.Type == counterfoil.EventTokenRefused && e.Reason == counterfoil.ReasonWrongSecret:
				last.refused += n
			}
		}
		if len(page) == 0 {
			return tokens, last
		}
	}
}

type recordedUpTo struct {
	event   int64
	refused int
}

// end ends the server under load, and compares its record with what was answered:
// each answered token is recorded once for each answer, and beside these at most
// what was under way. It returns in silence.
func (s *soaked) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	s.ending.Store(true)
	if err := s.stop(signal); err != nil && signal == syscall.SIGTERM {
		t.Errorf("%v: %s", err, s.errors())
	}
	s.silence()
	tokens, last := recordedIn(t, filepath.Join(s.dir, "counterfoil.db"), s.seen)
	granted := 0
	for _, n := range tokens {
		granted += n
	}
	for id, n := range s.tokens {
		if tokens[id] < n {
			t.Errorf("a token was answered %d times and is %d times in the record", n, tokens[id])
		}
	}
	least := s.refused
	if signal == syscall.SIGKILL {
		least = 0 // those that repeat are recorded within a minute
	}
	if granted < s.granted || granted > s.granted+s.unanswered || last.refused < least || last.refused > s.refused+s.unanswered {
		t.Errorf("answered were %+v, recorded are %d tokens and %d wrong secrets", s.answers, granted, last.refused)
	}
	s.all.granted, s.all.refused = s.all.granted+s.granted, s.all.refused+s.refused
	s.all.failed, s.all.unanswered = s.all.failed+s.failed, s.all.unanswered+s.unanswered
	s.seen, s.tokens, s.answers = last.event, map[string]int{}, answers{}
}

// TestSoakWithFaults: a server under load is reloaded and backed up while its keys
// and its clients' secrets are replaced; its disk is full for a while; it is
// stopped, killed and started again. Client, record, metrics and alerts agree on
// what was answered, and nothing grows with the number of requests.
func TestSoakWithFaults(t *testing.T) {
	requests := soakRequests(t)
	rounds, part := 2+requests/20_000, min(requests/8, 2_500)
	s := soakedBy(t)
	s.begin(t)
	ctx, cancel := context.WithCancel(t.Context())
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				s.ask(context.WithoutCancel(ctx), t)
			}
		})
	}
	defer func() { cancel(); s.resume(); load.Wait() }()
	for round := range rounds {
		s.until(t, part)
		before := s.settled(t)
		s.change(t, round)
		s.until(t, part)
		s.fill(t)
		s.until(t, part)
		after := s.settled(t)
		if after.goroutines > before.goroutines+32 || after.files > before.files+moreFiles || after.memory > before.memory+moreMemory || before.goroutines == 0 {
			t.Errorf("round %d: before %+v, now %+v", round, before, after)
		}
		s.until(t, part)
		s.end(t, []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[round%2])
		s.begin(t)
		s.resume()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	var failures int64
	eventually.True(t, "the guesses are alerts", func() bool { failures = s.alerted(t, alerts.KindFailures); return failures > 0 })
	cancel()
	load.Wait()
	s.settled(t)
	s.end(t, syscall.SIGTERM)
	if failures > int64(s.all.refused) {
		t.Errorf("alerts have %d failures, and %d were answered", failures, s.all.refused)
	}
	t.Logf("%d rounds: %+v, alerts of %d failures", rounds, s.all, failures)
}
