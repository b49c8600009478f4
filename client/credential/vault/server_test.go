package vault_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/vault"
	"github.com/counterfoil/counterfoil/internal/clock"
)

const theSecret = "s3cret-in-a-vault"

var theStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// token is one that the server issued.
type token struct {
	ends      time.Time // zero for never
	renewable bool
	blind     bool // it may not look itself up
}

// server answers as the documentation of Vault's HTTP API says, for its KV
// engine at secret/ (version 2), team/kv/ (version 2) and old/ (version 1), and
// for three ways to log in.
type server struct {
	*httptest.Server
	t     testing.TB
	clock *clock.Manual
	ca    string // a PEM file of the server's authority

	mu        sync.Mutex
	namespace string
	secrets   map[string]map[string]any // by MOUNT/PATH; nil is deleted
	forbidden map[string]bool           // paths that no policy allows
	tokens    map[string]token
	logins    map[string]map[string]string // what each login demands
	life      time.Duration                // of tokens of a login; 0 is for ever
	renewals  time.Duration                // what a renewal gives; 0 is nothing
	seen      []string                     // METHOD PATH
	fault     http.HandlerFunc             // instead of all
	issued    int
}

func newServer(t testing.TB) *server {
	s := &server{
		t: t, clock: clock.NewManual(theStart), life: time.Hour, renewals: time.Hour,
		secrets: map[string]map[string]any{
			"secret/acme/api": {"client_secret": theSecret, "number": 12, "empty": "", "long": strings.Repeat("x", 64<<10+1), "list": []string{"x"}, "line": theSecret + "\n"},
			"secret/gone":     nil,
			"team/kv/acme":    {"client_secret": theSecret},
			"old/acme/api":    {"client_secret": theSecret},
		},
		forbidden: map[string]bool{}, tokens: map[string]token{"hvs.root": {}},
		logins: map[string]map[string]string{
			"approle":    {"role_id": "the-role", "secret_id": "the-secret-id"},
			"kubernetes": {"role": "acme", "jwt": "eyJ.of.kubernetes"},
			"jwt":        {"role": "acme", "jwt": "eyJ.of.a-platform"},
		},
	}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that leave
	s.StartTLS()
	t.Cleanup(s.Close)
	s.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(s.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// with changes what the server has.
func (s *server) with(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// count is how many requests were METHOD PATH.
func (s *server) count(request string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.seen {
		if r == request {
			n++
		}
	}
	return n
}

func (s *server) expect(request string, want int) {
	s.t.Helper()
	if got := s.count(request); got != want {
		s.t.Errorf("%s was asked %d times, want %d; all: %v", request, got, want, s.seen)
	}
}

// refuse answers as Vault does, and repeats what was sent, as the worst of
// servers could.
func refuse(w http.ResponseWriter, r *http.Request, status int) {
	w.WriteHeader(status)
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{"denied", string(body), r.Header.Get("X-Vault-Token")}})
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	s.seen = append(s.seen, r.Method+" "+path)
	held, valid := s.tokens[r.Header.Get("X-Vault-Token")]
	valid = valid && (held.ends.IsZero() || s.clock.Now().Before(held.ends))
	mount, isLogin := strings.CutPrefix(path, "auth/")
	mount, isLoginPath := strings.CutSuffix(mount, "/login")
	w.Header().Set("Content-Type", "application/json")
	switch {
	case s.fault != nil:
		s.fault(w, r)
	case !ok || r.Header.Get("X-Vault-Request") != "true":
		refuse(w, r, http.StatusBadRequest)
	case (r.Method == http.MethodPost) != (r.Header.Get("Content-Type") == "application/json"):
		refuse(w, r, http.StatusUnsupportedMediaType)
	case r.Header.Get("X-Vault-Namespace") != s.namespace:
		refuse(w, r, http.StatusNotFound)
	case isLogin && isLoginPath && r.Method == http.MethodPost:
		s.logIn(w, r, mount)
	case !valid:
		refuse(w, r, http.StatusForbidden)
	case path == "auth/token/lookup-self" && r.Method == http.MethodGet:
		if held.blind {
			refuse(w, r, http.StatusForbidden)
			return
		}
		ttl := 0
		if !held.ends.IsZero() {
			ttl = int(held.ends.Sub(s.clock.Now()) / time.Second)
		}
		s.answer(w, `{"data":{"ttl":%d,"renewable":%t}}`, ttl, held.renewable)
	case path == "auth/token/renew-self" && r.Method == http.MethodPost:
		name := r.Header.Get("X-Vault-Token")
		if !held.renewable {
			refuse(w, r, http.StatusBadRequest)
			return
		}
		if s.renewals > 0 {
			s.tokens[name] = token{ends: s.clock.Now().Add(s.renewals), renewable: true}
		}
		s.answer(w, `{"auth":{"client_token":%q,"lease_duration":%d,"renewable":true}}`, name, int(s.renewals/time.Second))
	case r.Method == http.MethodGet:
		s.read(w, r, path)
	default:
		refuse(w, r, http.StatusMethodNotAllowed)
	}
}

func (s *server) answer(w io.Writer, format string, values ...any) { fmt.Fprintf(w, format, values...) }

func (s *server) logIn(w http.ResponseWriter, r *http.Request, mount string) {
	var sent map[string]string
	err := json.NewDecoder(r.Body).Decode(&sent)
	want, ok := s.logins[mount]
	if !ok || err != nil || fmt.Sprint(sent) != fmt.Sprint(want) {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{fmt.Sprint("invalid: ", sent)}})
		return
	}
	s.issued++
	name := fmt.Sprintf("hvs.issued-%d", s.issued)
	issued := token{renewable: s.life > 0}
	if s.life > 0 {
		issued.ends = s.clock.Now().Add(s.life)
	}
	s.tokens[name] = issued
	s.answer(w, `{"auth":{"client_token":%q,"lease_duration":%d,"renewable":%t,"policies":["default"]},"warnings":null}`, name, int(s.life/time.Second), issued.renewable)
}

func (s *server) read(w http.ResponseWriter, r *http.Request, path string) {
	if below, ok := strings.CutPrefix(path, "sys/internal/ui/mounts/"); ok {
		for mount, version := range map[string]string{"secret/": `{"version":"2"}`, "team/kv/": `{"version":"2"}`, "old/": `null`, "new/": `{"version":"3"}`} {
			if strings.HasPrefix(below+"/", mount) {
				s.answer(w, `{"data":{"path":%q,"type":"kv","options":%s}}`, mount, version)
				return
			}
		}
		if strings.HasPrefix(below, "transit/") {
			s.answer(w, `{"data":{"path":"transit/","type":"transit","options":null}}`)
			return
		}
		refuse(w, r, http.StatusForbidden) // as Vault does for what is not there
		return
	}
	if s.forbidden[path] {
		refuse(w, r, http.StatusForbidden)
		return
	}
	for _, mount := range []string{"secret/", "team/kv/"} {
		if rest, ok := strings.CutPrefix(path, mount+"data/"); ok {
			data, there := s.secrets[mount+rest]
			if !there || data == nil {
				w.WriteHeader(http.StatusNotFound)
				s.answer(w, `{"data":{"data":null,"metadata":{"deletion_time":"2026-01-02T03:04:05Z","version":1}}}`)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"data": data, "metadata": map[string]any{"version": 1}}})
			return
		}
	}
	if data, there := s.secrets[path]; there && strings.HasPrefix(path, "old/") {
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data, "lease_duration": 2764800})
		return
	}
	refuse(w, r, http.StatusNotFound)
}

func static(text string) client.SecretFunc { return client.Static(counterfoil.Secret(text)) }

// config is that of a client of the server with the root token.
func (s *server) config() vault.Config {
	return vault.Config{Address: s.URL, CAFile: s.ca, Token: static("hvs.root"), Keep: credential.KeepOptions{Clock: s.clock}}
}

func (s *server) approle() vault.Config {
	c := s.config()
	c.Token, c.AppRole = nil, &vault.AppRole{RoleID: static("the-role"), SecretID: static("the-secret-id")}
	return c
}

func (s *server) open(c vault.Config, reference string) client.SecretFunc {
	s.t.Helper()
	v, err := vault.New(c)
	if err != nil {
		s.t.Fatal(err)
	}
	f, err := credential.Open("vault:"+reference, credential.Schemes{"vault": v.Open})
	if err != nil {
		s.t.Fatal(err)
	}
	hides(s.t, v, f)
	return f
}

// gives expects the secret want.
func (s *server) gives(f client.SecretFunc, want string) {
	s.t.Helper()
	v, err := f(s.t.Context())
	if err != nil || v.Reveal() != want {
		s.t.Errorf("got %q, %v; want %q", v.Reveal(), err, want)
	}
}

// fails expects an error of one line with want, and without any secret.
func (s *server) fails(f client.SecretFunc, want string) {
	s.t.Helper()
	v, err := f(s.t.Context())
	if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		s.t.Errorf("got %q and error %v, want one line with %q", v.Reveal(), err, want)
	}
	hides(s.t, err, f)
}

// hides fails the test when what is printed of the values holds a secret or a
// token.
func hides(t testing.TB, values ...any) {
	t.Helper()
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			text := fmt.Sprintf(verb, v)
			for _, secret := range []string{theSecret, "hvs.", "the-secret-id", "the-role", "eyJ."} {
				if strings.Contains(text, secret) {
					t.Errorf("%s of %T shows %s: %s", verb, v, secret, text)
				}
			}
		}
	}
}
