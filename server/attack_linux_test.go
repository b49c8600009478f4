package server_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
)

// from returns a client of the house that calls from one of the addresses of
// 127.0.0.0/8, which Linux all has.
func (h *house) from(address string) *http.Client {
	by := h.calling(address)
	h.t.Cleanup(by.CloseIdleConnections)
	return by
}

// calling is from, for a caller who closes the connections.
func (h *house) calling(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := h.http.Transport.(*http.Transport).Clone()
	transport.DialContext = dialer.DialContext
	return &http.Client{Transport: transport}
}

// send sends a token request; the error is that of the network.
func (h *house) send(by *http.Client, realm string, a *ask) (answer, error) {
	resp, err := by.Do(h.request(h.t.Context(), realm, a))
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

// sent is send for a test that has no network failures.
func (h *house) sent(by *http.Client, realm string, a *ask) answer {
	h.t.Helper()
	got, err := h.send(by, realm, a)
	if err != nil {
		h.t.Fatal(err)
	}
	return got
}

// guess is a well-formed request with a wrong secret.
func (h *house) guess(realm, client string) *ask {
	a := h.good(realm)
	wrong := "wrong-" + strings.Repeat("x", 30)
	if a.form == nil {
		a.header.Set("Authorization", basic(client, wrong))
	} else {
		a.form.Set("client_id", client)
		a.form.Set("client_secret", wrong)
	}
	return a
}

// TestAttackFrom400Prefixes: 10,000 guesses from 400 prefixes, among them the
// client's own address and network, never stop the client; nobody but it gets a
// token, and the memory stays as it is.
func TestAttackFrom400Prefixes(t *testing.T) {
	const prefixes, tries, workers = 400, 25, 8
	h := newHouseBy(t, limits.Config{}, nil, "oauth2")
	good, own := h.good("oauth2"), h.from("127.7.7.7")
	if got := h.sent(own, "oauth2", good); got.status != http.StatusOK {
		t.Fatalf("before the attack: %+v", got)
	}
	before := heap()
	var statuses [600]atomic.Int64
	var done, served, refused atomic.Int64
	attacked := make(chan struct{}) // another prefix
	var attack sync.WaitGroup
	for w := range workers {
		attack.Go(func() {
			for p := w; p < prefixes; p += workers {
				address := fmt.Sprintf("127.%d.%d.1", 10+p/250, p%250)
				switch p {
				case 0:
					address = "127.7.7.7"
				case 1:
					address = "127.7.7.8"
				}
				by := h.calling(address)
				for i := range tries {
					id := "good"
					if i%2 == 1 {
						id = "unknown-" + strconv.Itoa(i)
					}
					got, err := h.send(by, "oauth2", h.guess("oauth2", id))
					if err != nil {
						t.Error(err)
						return
					}
					statuses[got.status].Add(1)
					done.Add(1)
				}
				by.CloseIdleConnections()
				attacked <- struct{}{}
			}
		})
	}
	over := make(chan struct{})
	go func() { attack.Wait(); close(over) }()
	for running := true; running; {
		select {
		case <-over:
			running = false
		case <-attacked:
		}
		if got := h.sent(own, "oauth2", good); got.status == http.StatusOK {
			served.Add(1)
		} else {
			refused.Add(1)
			t.Errorf("the client is refused after %d guesses: %+v", done.Load(), got)
		}
	}
	if done.Load() != prefixes*tries || refused.Load() > 0 || served.Load() <= prefixes {
		t.Errorf("%d guesses; the client was served %d times and refused %d times", done.Load(), served.Load(), refused.Load())
	}
	// Thirteen guesses of "good" and twelve of others: 11 + 12 are looked at where
	// nobody else is, less where the address is shared.
	limited, plain := statuses[http.StatusTooManyRequests].Load(), statuses[http.StatusUnauthorized].Load()
	if limited+plain != done.Load() || limited < prefixes*2 {
		t.Errorf("%d guesses are answered 429 and %d 401, of %d", limited, plain, done.Load())
	}
	h.events = nil
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// heap is the size of what is reachable, in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestGuessesAreAnsweredInTheDialect: each provider's 429 has its own shape and a
// Retry-After, at once, and the wait ends with the clock.
func TestGuessesAreAnsweredInTheDialect(t *testing.T) {
	h := newHouseBy(t, limits.Config{}, nil, "ahotu", "altrata", "engagifii", "a55", "oauth2", "cognito", "identityserver")
	for realm, body := range map[string]string{
		"ahotu": `{"error":"too_many_requests"}`, "altrata": `{"message":"Too Many Requests"}`, "engagifii": `{"error":"temporarily_unavailable"}`,
		"a55": `{"error":"too_many_requests"}`, "cognito": `{"error":"too_many_requests"}`,
		"identityserver": `{"error":"temporarily_unavailable"}`, "oauth2": `{"error":"temporarily_unavailable"}`,
	} {
		by := h.from("127.1." + strconv.Itoa(len(realm)) + "." + strconv.Itoa(int(realm[1])))
		for i := range 11 {
			if got := h.sent(by, realm, h.guess(realm, "good")); got.status == http.StatusTooManyRequests {
				t.Fatalf("%s: guess %d: %+v", realm, i+1, got)
			}
		}
		for _, wait := range []int{1, 2, 4} {
			got := h.sent(by, realm, h.guess(realm, "good"))
			if got.status != http.StatusTooManyRequests || got.body != body || got.header.Get("Retry-After") != strconv.Itoa(wait) {
				t.Errorf("%s: %+v, want 429 after %d s", realm, got, wait)
			}
			if e := h.recorded(); e[len(e)-1].Reason != counterfoil.ReasonRateLimited {
				t.Errorf("%s: recorded as %s", realm, e[len(e)-1].Reason)
			}
			if right := h.sent(by, realm, h.good(realm)); right.status != got.status || right.body != got.body {
				t.Errorf("%s: the right secret of a client that is not known there: %+v", realm, right)
			}
			h.clock.Turn(time.Duration(wait) * time.Second)
			if got := h.sent(by, realm, h.guess(realm, "good")); got.status == http.StatusTooManyRequests {
				t.Errorf("%s: after %d s: %+v", realm, wait, got)
			}
		}
		h.clock.Turn(time.Hour)
		if got := h.sent(by, realm, h.good(realm)); got.status != http.StatusOK {
			t.Errorf("%s: an hour later: %+v", realm, got)
		}
	}
}

// Known and unknown client IDs are answered alike, whatever was sent: a wrong
// secret, an assertion, and at every endpoint.
func TestGuessesOfUnknownClients(t *testing.T) {
	h := newHouseBy(t, limits.Config{}, nil, "oauth2")
	for name, send := range map[string]func(by *http.Client, id string) answer{
		"secret": func(by *http.Client, id string) answer { return h.sent(by, "oauth2", h.guess("oauth2", id)) },
		"assertion": func(by *http.Client, id string) answer {
			a := h.guess("oauth2", id)
			a.form.Del("client_secret")
			a.form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
			a.form.Set("client_assertion", "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4Iiwic3ViIjoieCJ9."+strings.Repeat("A", 86))
			return h.sent(by, "oauth2", a)
		},
		"introspection": func(by *http.Client, id string) answer {
			r, _ := http.NewRequest(http.MethodPost, h.url+"/oauth2/introspect", strings.NewReader("token=x"))
			r.Header.Set("Authorization", basic(id, "wrong"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			resp, err := by.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			return answer{resp.StatusCode, resp.Header, string(text)}
		},
	} {
		var seen [2][]string
		for i, id := range []string{"good", "never-was"} {
			by := h.from(fmt.Sprintf("127.%d.%d.1", 50+len(name), i))
			for range 16 {
				got := send(by, id)
				seen[i] = append(seen[i], fmt.Sprint(got.status, got.header.Get("Retry-After"), got.body))
				h.clock.Turn(500 * time.Millisecond)
			}
		}
		if fmt.Sprint(seen[0]) != fmt.Sprint(seen[1]) {
			t.Errorf("%s: they differ:\n%q\n%q", name, seen[0], seen[1])
		}
		if all := fmt.Sprint(seen[0]); !strings.Contains(all, "429") {
			t.Errorf("%s: nothing is limited: %s", name, all)
		}
	}
}

// What is no guess is not counted: malformed requests, scopes, a client that may
// not, a store that fails.
func TestOnlyGuessesCount(t *testing.T) {
	h := newHouseBy(t, limits.Config{}, nil, "oauth2")
	disabled := h.client(clients.NewClient{Realm: "oauth2", ID: "disabled", Disabled: true})
	elsewhere := h.client(clients.NewClient{Realm: "oauth2", ID: "elsewhere", Settings: store.Settings{Addresses: prefixes("192.0.2.0/24")}})
	with := func(change func(*ask)) *ask { a := h.good("oauth2"); change(a); return a }
	for i, a := range []*ask{
		with(func(a *ask) { a.form.Del("client_secret") }),
		with(func(a *ask) { a.form.Set("client_id", strings.Repeat("x", 5000)) }),
		with(func(a *ask) { a.form.Set("client_secret", "\x00") }),
		with(func(a *ask) { a.header.Set("Authorization", "Basic !"); a.form.Del("client_secret") }),
		with(func(a *ask) { a.form.Set("scope", "no-such") }),
		with(func(a *ask) { a.form.Set("grant_type", "password") }),
		with(func(a *ask) { a.body = "%" }),
		with(func(a *ask) { a.mediaType = "text/plain" }),
		with(func(a *ask) {
			a.form.Set("client_id", "disabled")
			a.form.Set("client_secret", disabled.ClientSecret.Reveal())
		}),
		with(func(a *ask) {
			a.form.Set("client_id", "elsewhere")
			a.form.Set("client_secret", elsewhere.ClientSecret.Reveal())
		}),
	} {
		by := h.from(fmt.Sprintf("127.3.%d.1", i))
		for range 40 {
			if got := h.sent(by, "oauth2", a); got.status == http.StatusTooManyRequests || got.status == http.StatusOK {
				t.Fatalf("request %d: %+v", i, got)
			}
		}
		if got := h.sent(by, "oauth2", h.good("oauth2")); got.status != http.StatusOK {
			t.Errorf("after 40 requests %d the client is refused: %+v", i, got)
		}
	}
}

func prefixes(all ...string) (out []netip.Prefix) {
	for _, p := range all {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// A known client whose secret is wrong is answered as a stranger is, and succeeds
// as soon as its secret is right.
func TestKnownClientWithAWrongSecret(t *testing.T) {
	h := newHouseBy(t, limits.Config{}, nil, "oauth2")
	by := h.from("127.4.4.4")
	if got := h.sent(by, "oauth2", h.good("oauth2")); got.status != http.StatusOK {
		t.Fatalf("%+v", got)
	}
	limited := 0
	for range 50 {
		if h.sent(by, "oauth2", h.guess("oauth2", "good")).status == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited != 39 {
		t.Errorf("%d of 50 wrong secrets are answered 429, want 39", limited)
	}
	if got := h.sent(by, "oauth2", h.good("oauth2")); got.status != http.StatusOK {
		t.Errorf("the right secret: %+v", got)
	}
	if got := h.sent(h.from("127.4.4.5"), "oauth2", h.good("oauth2")); got.status != http.StatusOK {
		t.Errorf("the right secret from a neighbour: %+v", got)
	}
}

// A proxy that is not named does not become everybody's block, and is warned of
// once.
func TestForwardedByAStranger(t *testing.T) {
	h := newHouseBy(t, limits.Config{}, nil, "oauth2")
	by := h.from("127.6.6.6")
	for i := range 200 {
		a := h.guess("oauth2", "guess-"+strconv.Itoa(i))
		a.header.Set([]string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"}[i%3], "198.51.100.7")
		if got := h.sent(by, "oauth2", a); got.status != http.StatusUnauthorized {
			t.Fatalf("guess %d: %+v", i, got)
		}
	}
	if got := h.sent(by, "oauth2", h.good("oauth2")); got.status != http.StatusOK {
		t.Errorf("a client through the same proxy: %+v", got)
	}
	if n := strings.Count(h.log.String(), "NO LIMIT BY ADDRESS"); n != 1 {
		t.Errorf("%d warnings", n)
	}
	// Where callers connect directly, the header is of no use to an attacker.
	direct := newHouseBy(t, limits.Config{Direct: true}, nil, "oauth2")
	by = direct.from("127.6.6.6")
	for i := range 40 {
		a := direct.guess("oauth2", "guess-"+strconv.Itoa(i))
		a.header.Set("X-Forwarded-For", "198.51.100."+strconv.Itoa(i))
		if got := direct.sent(by, "oauth2", a); (got.status == http.StatusTooManyRequests) != (i > 30) {
			t.Fatalf("guess %d: %+v", i, got)
		}
	}
}

// Behind a trusted proxy each caller has an address of its own, and a proxy that
// says nobody's is not blocked itself.
func TestGuessesThroughATrustedProxy(t *testing.T) {
	h := newHouseBy(t, limits.Config{}, nil, "oauth2")
	base, _ := h.open(func(c *server.Config) {
		c.Limits, c.Proxies = limits.Config{}, counterfoil.Proxies{Networks: prefixes("127.0.0.0/8")}
	})
	send := func(a *ask, forwarded string) int {
		a.header.Set("X-Forwarded-For", forwarded)
		status, _, err := h.at(t.Context(), base, a)
		if err != nil {
			t.Fatal(err)
		}
		return status
	}
	for i := range 40 {
		id := "guess-" + strconv.Itoa(i)
		if got, want := send(h.guess("oauth2", id), "203.0.113.9, 198.51.100.7"), http.StatusUnauthorized; got != want && i <= 30 || i > 30 && got != http.StatusTooManyRequests {
			t.Fatalf("guess %d of one caller: %d", i, got)
		}
		if got := send(h.guess("oauth2", id), ""); got != http.StatusUnauthorized {
			t.Fatalf("guess %d of nobody: %d", i, got)
		}
	}
	if got := send(h.good("oauth2"), "198.51.100.8"); got != http.StatusOK {
		t.Errorf("another caller: %d", got)
	}
	if strings.Contains(h.log.String(), "NO LIMIT BY ADDRESS") {
		t.Error("the proxy is not taken for the one that is named")
	}
}

// The owner of an imported client with a slow secret gets no 503 because others
// guess, wherever they are, not even from its own network.
func TestOwnerOfASlowSecret(t *testing.T) {
	h := newHouseBy(t, limits.Config{}, nil, "oauth2")
	h.adopt("victim", bcryptHash)
	s := watch(h, 1)
	owner := h.from("127.5.5.5")
	right := h.good("oauth2")
	right.credentials("victim", string(imported))
	if got := h.sent(owner, "oauth2", right); got.status != http.StatusOK {
		t.Fatalf("%+v", got)
	}
	// A change of the client makes the server forget what it has computed.
	if _, err := h.freely().Change(t.Context(), "test", "oauth2", "victim", 0, func(c *store.Settings) error { c.Name = "new"; return nil }); err != nil {
		t.Fatal(err)
	}
	<-s.begun
	s.mu.Lock()
	s.hold["victim"] = make(chan struct{})
	s.mu.Unlock()
	var guesses sync.WaitGroup
	var busy atomic.Int64
	const tries = 44
	for i := range tries {
		address := fmt.Sprintf("127.5.%d.6", i)
		if i >= 40 {
			address = fmt.Sprintf("127.5.5.%d", i) // the owner's own network
		}
		guesses.Go(func() {
			a := h.good("oauth2")
			a.credentials("victim", "guess "+strconv.Itoa(i))
			got, err := h.send(h.from(address), "oauth2", a)
			if err != nil {
				t.Error(err)
			}
			if got.status == http.StatusServiceUnavailable {
				busy.Add(1)
			}
		})
	}
	<-s.begun
	for busy.Load() < tries-9 { // one is computed, eight wait
		runtime.Gosched()
	}
	answered := make(chan answer, 1)
	before := server.Waiting(h.server)
	go func() {
		got, err := h.send(owner, "oauth2", right)
		if err != nil {
			t.Error(err)
		}
		answered <- got
	}()
	for server.Waiting(h.server) == before {
		if len(answered) > 0 {
			t.Errorf("the owner does not wait for a turn: %+v", <-answered)
			close(s.hold["victim"])
			guesses.Wait()
			return
		}
		runtime.Gosched()
	}
	s.hold["victim"] <- struct{}{}
	<-s.begun
	s.hold["victim"] <- struct{}{}
	if got := <-answered; got.status != http.StatusOK {
		t.Errorf("the owner's turn is not the next: %+v", got)
	}
	close(s.hold["victim"])
	guesses.Wait()
}
