package vault_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/vault"
)

func TestRead(t *testing.T) {
	for _, row := range []struct{ name, reference, err string }{
		{"version 2", "secret/acme/api#client_secret", ""},
		{"version 2 below a long mount", "team/kv/acme#client_secret", ""},
		{"version 1", "old/acme/api#client_secret", ""},
		{"line's end", "secret/acme/api#line", ""},
		{"no field", "secret/acme/api#none", "the secret has no field none"},
		{"a number", "secret/acme/api#number", "the field number is not a string"},
		{"a list", "secret/acme/api#list", "the field list is not a string"},
		{"empty", "secret/acme/api#empty", "it is empty"},
		{"too long", "secret/acme/api#long", "longer than 65536 bytes"},
		{"no secret", "secret/none#x", "Vault answered 404 for secret/data/none"},
		{"deleted", "secret/gone#x", "whether the secret was deleted"},
		{"the mount itself", "team/kv#x", "the path is that of a mount"},
		{"no mount", "none/x#x", "Vault answered 403 for the mount of none/x"},
		{"no KV store", "transit/x#x", "the mount is not that of a KV store"},
		{"unknown version", "new/x#x", "an unknown version"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t)
			if f := s.open(s.config(), row.reference); row.err == "" {
				s.gives(f, theSecret)
			} else {
				s.fails(f, row.err)
			}
		})
	}
}

// With a version given nothing is asked but the secret.
func TestGivenVersion(t *testing.T) {
	for version, reference := range map[int]string{1: "old/acme/api#client_secret", 2: "secret/acme/api#client_secret"} {
		s := newServer(t)
		c := s.config()
		c.KVVersion = version
		s.gives(s.open(c, reference), theSecret)
		if len(s.seen) != 2 { // the token, the secret
			t.Errorf("version %d: %v", version, s.seen)
		}
	}
}

func TestRotates(t *testing.T) {
	s := newServer(t)
	f := s.open(s.approle(), "secret/acme/api#client_secret")
	s.gives(f, theSecret)
	s.with(func() { s.secrets["secret/acme/api"]["client_secret"] = "rotated" })
	s.clock.Turn(30*time.Second - 1)
	s.gives(f, theSecret)
	s.clock.Turn(1)
	s.gives(f, "rotated")
	s.expect("GET sys/internal/ui/mounts/secret/acme/api", 1)
	s.expect("POST auth/approle/login", 1)

	s.with(func() {
		s.fault = func(w http.ResponseWriter, r *http.Request) { refuse(w, r, http.StatusServiceUnavailable) }
	})
	s.clock.Turn(30 * time.Minute)
	s.gives(f, "rotated") // while it is sealed
	s.clock.Turn(time.Hour)
	s.fails(f, "Vault answered 503")
	s.with(func() { s.fault = nil })
	s.clock.Turn(30 * time.Second)
	s.gives(f, "rotated")
}

// A store that was upgraded from version 1 to 2 is found again.
func TestUpgradedStore(t *testing.T) {
	s := newServer(t)
	f := s.open(s.config(), "old/acme/api#client_secret")
	s.gives(f, theSecret)
	s.with(func() {
		s.fault = func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v1/sys/internal/ui/mounts/old/acme/api":
				s.answer(w, `{"data":{"path":"old/","type":"kv","options":{"version":"2"}}}`)
			case "/v1/old/data/acme/api":
				s.answer(w, `{"data":{"data":{"client_secret":"of version 2"}}}`)
			default:
				refuse(w, r, http.StatusNotFound)
			}
		}
	})
	s.clock.Turn(30 * time.Second)
	s.gives(f, theSecret)
	s.clock.Turn(time.Second)
	s.gives(f, "of version 2")
}

func TestLogin(t *testing.T) {
	for _, row := range []struct {
		name  string
		login func(c *vault.Config)
		err   string
	}{
		{"AppRole", func(c *vault.Config) {
			c.AppRole = &vault.AppRole{RoleID: static("the-role"), SecretID: static("the-secret-id")}
		}, ""},
		{"AppRole, wrong secret id", func(c *vault.Config) {
			c.AppRole = &vault.AppRole{RoleID: static("the-role"), SecretID: static("hvs.wrong")}
		}, "Vault answered 400 for the login at auth/approle/login: check the role"},
		{"AppRole without a secret id", func(c *vault.Config) { c.AppRole = &vault.AppRole{Mount: "approle-2", RoleID: static("the-role")} }, ""},
		{"Kubernetes", func(c *vault.Config) {
			c.Kubernetes = &vault.JWTLogin{Role: "acme", JWT: static("eyJ.of.kubernetes")}
		}, ""},
		{"Kubernetes, no file", func(c *vault.Config) { c.Kubernetes = &vault.JWTLogin{Role: "acme"} }, "the jwt of the login cannot be read: secret file:/var/run/secrets/kubernetes.io"},
		{"JWT", func(c *vault.Config) { c.JWT = &vault.JWTLogin{Role: "acme", JWT: static("eyJ.of.a-platform")} }, ""},
		{"JWT, default role", func(c *vault.Config) { c.JWT = &vault.JWTLogin{Mount: "org/jwt", JWT: static("eyJ.of.org")} }, ""},
		{"token that may not look itself up", func(c *vault.Config) { c.Token = static("hvs.blind") }, ""},
		{"wrong token", func(c *vault.Config) { c.Token = static("hvs.wrong") }, "Vault answered 403 for the mount of secret/acme/api: the token has expired"},
		{"no token", func(c *vault.Config) { c.Token = static("hvs. \n") }, "does not return a token"},
		{"token of the outermost characters", func(c *vault.Config) { c.Token = static("!~") }, ""},
		{"token with a space", func(c *vault.Config) { c.Token = static("hvs.a b") }, "does not return a token"},
		{"longest token", func(c *vault.Config) { c.Token = static(strings.Repeat("x", 8<<10)) }, ""},
		{"longer token", func(c *vault.Config) { c.Token = static(strings.Repeat("x", 8<<10+1)) }, "does not return a token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t)
			s.logins["approle-2"] = map[string]string{"role_id": "the-role"}
			s.logins["org/jwt"] = map[string]string{"jwt": "eyJ.of.org"}
			s.tokens["hvs.blind"] = token{blind: true}
			s.tokens["!~"], s.tokens[strings.Repeat("x", 8<<10)] = token{}, token{}
			c := s.config()
			c.Token = nil
			row.login(&c)
			if f := s.open(c, "secret/acme/api#client_secret"); row.err == "" {
				s.gives(f, theSecret)
			} else {
				s.fails(f, row.err)
			}
		})
	}
}

// A token is renewed in the last third of its life, and the secret is read on
// with it; when renewal gives no more, the next login does.
func TestTokenIsRenewed(t *testing.T) {
	s := newServer(t)
	f := s.open(s.approle(), "secret/acme/api#client_secret")
	s.gives(f, theSecret)
	s.clock.Turn(40*time.Minute - time.Second)
	s.gives(f, theSecret)
	s.expect("POST auth/token/renew-self", 0)
	s.clock.Turn(30 * time.Second)
	s.gives(f, theSecret)
	s.expect("POST auth/token/renew-self", 1)
	s.with(func() { s.renewals = time.Minute }) // its greatest life is near
	s.clock.Turn(50 * time.Minute)
	s.gives(f, theSecret)
	s.expect("POST auth/token/renew-self", 2)
	s.expect("POST auth/approle/login", 1)
	s.clock.Turn(2 * time.Minute)
	s.gives(f, theSecret)
	s.expect("POST auth/approle/login", 2)
}

// A renewal that fails is tried once more halfway to the end, and the token used
// until then.
func TestRenewalFails(t *testing.T) {
	for name, change := range map[string]func(*server){
		"refused":      func(s *server) { s.tokens["hvs.issued-1"] = token{ends: theStart.Add(time.Hour)} },
		"of no length": func(s *server) { s.renewals = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			f := s.open(s.approle(), "secret/acme/api#client_secret")
			s.gives(f, theSecret)
			s.with(func() { change(s) })
			for _, row := range []struct{ turn, renewals, logins int }{{45, 1, 1}, {5, 1, 1}, {3, 2, 1}, {8, 2, 2}} {
				s.clock.Turn(time.Duration(row.turn) * time.Minute)
				s.gives(f, theSecret)
				s.expect("POST auth/token/renew-self", row.renewals)
				s.expect("POST auth/approle/login", row.logins)
			}
		})
	}
}

// A token without an end is neither renewed nor replaced, and a given one is looked
// up once.
func TestTokenWithoutAnEnd(t *testing.T) {
	s := newServer(t)
	s.life = 0
	logged, given := s.open(s.approle(), "secret/acme/api#client_secret"), s.open(s.config(), "secret/acme/api#client_secret")
	for range 3 {
		s.gives(logged, theSecret)
		s.gives(given, theSecret)
		s.clock.Turn(24 * time.Hour)
	}
	s.expect("POST auth/approle/login", 1)
	s.expect("GET auth/token/lookup-self", 1)
	s.expect("POST auth/token/renew-self", 0)
}

// A token that was revoked is replaced by one login, with what the secret id's
// reference gives by then.
func TestTokenIsRevoked(t *testing.T) {
	s := newServer(t)
	path := filepath.Join(t.TempDir(), "secret-id")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("the-secret-id")
	c := s.approle()
	var err error
	if c.AppRole.SecretID, err = credential.Open("file:"+path, nil); err != nil {
		t.Fatal(err)
	}
	f := s.open(c, "secret/acme/api#client_secret")
	s.gives(f, theSecret)
	s.with(func() {
		delete(s.tokens, "hvs.issued-1")
		s.logins["approle"] = map[string]string{"role_id": "the-role", "secret_id": "the next one"}
		s.secrets["secret/acme/api"]["client_secret"] = "rotated"
	})
	write("the next one")
	s.clock.Turn(time.Minute)
	s.gives(f, "rotated")
	s.expect("POST auth/approle/login", 2)
}

// A path that no policy allows does not become a loop of logins.
func TestForbiddenPath(t *testing.T) {
	s := newServer(t)
	s.forbidden["secret/data/acme/api"] = true
	f := s.open(s.approle(), "secret/acme/api#client_secret")
	s.fails(f, "Vault answered 403 for secret/data/acme/api: the token has expired, or no policy of it allows this path")
	s.expect("POST auth/approle/login", 1)
	for range 60 {
		s.clock.Turn(30 * time.Second)
		s.fails(f, "Vault answered 403")
	}
	if n := s.count("POST auth/approle/login"); n > 31 {
		t.Errorf("%d logins in half an hour", n)
	}
	s.with(func() { s.forbidden = nil })
	s.clock.Turn(30 * time.Second)
	s.gives(f, theSecret)
}

// A given token is read anew from its reference, and renewed where that is
// allowed.
func TestGivenToken(t *testing.T) {
	s := newServer(t)
	s.tokens["hvs.first"] = token{ends: theStart.Add(time.Hour), renewable: true}
	path := filepath.Join(t.TempDir(), "token")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("hvs.first\n")
	c := s.config()
	var err error
	if c.Token, err = credential.Open("file:"+path, nil); err != nil {
		t.Fatal(err)
	}
	f := s.open(c, "secret/acme/api#client_secret")
	s.gives(f, theSecret)
	s.clock.Turn(45 * time.Minute)
	s.gives(f, theSecret)
	s.expect("GET auth/token/lookup-self", 1)
	s.expect("POST auth/token/renew-self", 1)
	s.with(func() {
		delete(s.tokens, "hvs.first")
		s.tokens["hvs.second"] = token{}
		s.secrets["secret/acme/api"]["client_secret"] = "rotated"
	})
	s.clock.Turn(30 * time.Second)
	s.gives(f, theSecret) // the last one, while the token is refused
	write("hvs.second\n")
	s.clock.Turn(time.Second)
	s.gives(f, "rotated")
}

// A Vault that is sealed, away or broken when the token is first seen is asked
// again, so that the token is renewed all the same; one that forbids the question
// is not.
func TestGivenTokenIsLookedUpAgain(t *testing.T) {
	for _, row := range []struct {
		name     string
		fault    http.HandlerFunc // of the first fetch
		renewals int
		lookups  int
	}{
		{"none", nil, 5, 1},
		{"sealed", func(w http.ResponseWriter, r *http.Request) { refuse(w, r, http.StatusServiceUnavailable) }, 5, 2},
		{"not JSON", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("<html>")) }, 5, 2},
		{"connection broken", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 5, 2},
		{"forbidden", func(w http.ResponseWriter, r *http.Request) { refuse(w, r, http.StatusForbidden) }, 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t)
			s.tokens["hvs.given"] = token{ends: theStart.Add(time.Hour), renewable: true}
			c := s.config()
			c.Token = static("hvs.given")
			c.Keep.MaxStale = -1
			f := s.open(c, "secret/acme/api#client_secret")
			s.with(func() { s.fault = row.fault })
			if _, err := f(t.Context()); (err == nil) != (row.fault == nil) {
				t.Fatalf("at first: %v", err)
			}
			s.with(func() { s.fault = nil })
			for range 4*60 - 1 {
				s.clock.Turn(time.Minute)
				if _, err := f(t.Context()); err != nil && row.renewals > 0 {
					t.Fatalf("after %s: %v", s.clock.Now().Sub(theStart), err)
				}
			}
			s.expect("GET auth/token/lookup-self", row.lookups)
			s.expect("POST auth/token/renew-self", row.renewals)
		})
	}
}

func TestNamespace(t *testing.T) {
	s := newServer(t)
	s.namespace = "org/team"
	c := s.approle()
	s.fails(s.open(c, "secret/acme/api#client_secret"), "Vault answered 404 for the login")
	c.Namespace = "org/team"
	s.gives(s.open(c, "secret/acme/api#client_secret"), theSecret)
}

// Agents on this machine are spoken to in the clear, with no token of ours where
// they have their own.
func TestAgent(t *testing.T) {
	s := newServer(t)
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != "" {
			t.Error("a token was sent to an agent that has its own")
		}
		r.Header.Set("X-Vault-Token", "hvs.root")
		s.ServeHTTP(w, r)
	})
	tcp := httptest.NewServer(agent)
	t.Cleanup(tcp.Close)
	dir, err := os.MkdirTemp("", "agent") // a short path: a socket's may have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	socket := &httptest.Server{Listener: listener, Config: &http.Server{Handler: agent}}
	socket.Start()
	t.Cleanup(socket.Close)
	_, port, _ := net.SplitHostPort(tcp.Listener.Addr().String())
	for name, address := range map[string]string{"address": tcp.URL, "localhost": "http://localhost:" + port, "socket": "unix://" + listener.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			c := vault.Config{Address: address, Keep: credential.KeepOptions{Clock: s.clock}}
			s.gives(s.open(c, "secret/acme/api#client_secret"), theSecret)
		})
	}
}

// What goes wrong on the way, each told in one line without anything that the
// server sent.
func TestFaults(t *testing.T) {
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect to another host was followed") }))
	t.Cleanup(elsewhere.Close)
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { refuse(w, r, code) }
	}
	body := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	for _, row := range []struct {
		name  string
		fault http.HandlerFunc
		err   string
	}{
		{"rate limit", status(429), "Vault answered 429 for the login at auth/approle/login: too many requests"},
		{"behind its primary", status(412), "the node is behind its primary"},
		{"standby", status(473), "a standby does not answer this"},
		{"fault", status(500), "Vault answered 500 for the login at auth/approle/login: it has a fault"},
		{"not initialised", status(501), "it is not initialised"},
		{"sealed", status(503), "it is sealed"},
		{"no Vault", status(418), "this is not an answer of a Vault"},
		{"many choices", status(300), "a redirect to another host is not followed"},
		{"redirect to another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}, "Vault answered 307 for the login at auth/approle/login: a redirect to another host is not followed"},
		{"redirect in a circle", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, "Vault answered 307"},
		{"HTML", body("<html>" + theSecret), "not the JSON of a Vault"},
		{"empty", body(""), "not the JSON of a Vault"},
		{"wrong types", body(`{"auth":{"client_token":["hvs.x"]}}`), "not the JSON of a Vault"},
		{"no token", body(`{"auth":{"mfa_requirement":{}}}`), "without a usable token"},
		{"a token with a line's end", body(`{"auth":{"client_token":"hvs.x\nhvs.y"}}`), "without a usable token"},
		{"negative life", body(`{"auth":{"client_token":"hvs.x","lease_duration":-1}}`), "not the JSON of a Vault"},
		{"the longest", body(`{"auth":null}` + strings.Repeat(" ", 1<<20-13)), "without a usable token"},
		{"too long", body(`{"auth":null}` + strings.Repeat(" ", 1<<20-12)), "longer than 1048576 bytes"},
		{"breaks off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, theSecret)
		}, "closes the connection"},
		{"closes", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "closes the connection"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newServer(t)
			s.fault = row.fault
			s.fails(s.open(s.approle(), "secret/acme/api#client_secret"), row.err)
		})
	}
}

func TestConnection(t *testing.T) {
	t.Run("unknown authority", func(t *testing.T) {
		s := newServer(t)
		c := s.config()
		c.CAFile = ""
		s.fails(s.open(c, "secret/acme/api#client_secret"), "has an untrusted certificate")
	})
	t.Run("another host's certificate", func(t *testing.T) {
		s := newServer(t)
		c := s.config()
		c.Address = strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
		s.fails(s.open(c, "secret/acme/api#client_secret"), "has an untrusted certificate")
	})
	t.Run("nobody listens", func(t *testing.T) {
		s := newServer(t)
		s.Close()
		s.fails(s.open(s.config(), "secret/acme/api#client_secret"), "connection refused")
	})
	t.Run("no TLS", func(t *testing.T) {
		s := newServer(t)
		plain := httptest.NewServer(s)
		t.Cleanup(plain.Close)
		c := s.config()
		c.Address = strings.Replace(plain.URL, "http:", "https:", 1)
		s.fails(s.open(c, "secret/acme/api#client_secret"), "does not speak HTTP over TLS")
	})
	t.Run("redirect on the same host", func(t *testing.T) {
		s := newServer(t)
		c := s.approle()
		c.Address += "/behind/a/proxy"
		s.with(func() {
			s.fault = func(w http.ResponseWriter, r *http.Request) {
				s.fault = nil
				http.Redirect(w, r, strings.TrimPrefix(r.URL.Path, "/behind/a/proxy"), http.StatusTemporaryRedirect)
			}
		})
		s.fails(s.open(c, "secret/acme/api#client_secret"), "Vault answered 400 for the mount") // the login was redirected, this not
		s.expect("POST auth/approle/login", 1)
	})
	for redirects, err := range map[int]string{3: "", 4: "Vault answered 307 for the login"} {
		t.Run(fmt.Sprintf("%d redirects on the same host", redirects), func(t *testing.T) {
			s, left := newServer(t), redirects
			s.fault = func(w http.ResponseWriter, r *http.Request) {
				if left--; left == 0 {
					s.fault = nil
				}
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
			}
			if f := s.open(s.approle(), "secret/acme/api#client_secret"); err == "" {
				s.gives(f, theSecret)
			} else {
				s.fails(f, err)
			}
		})
	}
	t.Run("hangs", func(t *testing.T) {
		s := newServer(t)
		reached, release := make(chan struct{}, 1), make(chan struct{})
		slow := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			reached <- struct{}{}
			select {
			case <-r.Context().Done():
			case <-release:
			}
		}))
		t.Cleanup(slow.Close)
		t.Cleanup(func() { close(release) })
		c := s.approle() // httptest's servers have one certificate
		c.Address = slow.URL
		f, failed := s.open(c, "secret/acme/api#client_secret"), make(chan error)
		go func() { _, err := f(context.Background()); failed <- err }()
		<-reached
		if err := s.clock.Sleepers(t.Context(), 2); err != nil { // the fetch's limit, and the caller's
			t.Fatal(err)
		}
		s.clock.Turn(10 * time.Second)
		if err := <-failed; err == nil || !strings.Contains(err.Error(), "gave no answer in time") {
			t.Errorf("got %v", err)
		}
	})
}

// Many references, asked at once, share one login.
func TestOneLoginForAll(t *testing.T) {
	s := newServer(t)
	v, err := vault.New(s.approle())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 50 {
		s.with(func() { s.secrets[fmt.Sprintf("secret/n%d", n)] = map[string]any{"x": theSecret} })
		f, err := v.Open(fmt.Sprintf("secret/n%d#x", n))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { s.gives(f, theSecret) })
	}
	all.Wait()
	s.expect("POST auth/approle/login", 1)
	hides(t, v, *s.approle().AppRole)
}

func TestConfig(t *testing.T) {
	s := newServer(t)
	blank := filepath.Join(t.TempDir(), "blank")
	if err := os.WriteFile(blank, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := blank + "-long"
	if err := os.WriteFile(long, bytes.Repeat([]byte("\n"), 1<<20+1), 0o600); err != nil {
		t.Fatal(err)
	}
	jwt := &vault.JWTLogin{Role: "r", JWT: static("eyJ.x")}
	for _, row := range []struct {
		name   string
		change func(c *vault.Config)
		err    string
	}{
		{"no address", func(c *vault.Config) { c.Address = "" }, "Config.Address must be https://HOST:PORT"},
		{"no URL", func(c *vault.Config) { c.Address = "https://%zz" }, "Config.Address must be"},
		{"no host", func(c *vault.Config) { c.Address = "https://:8200" }, "Config.Address must be"},
		{"credentials in the address", func(c *vault.Config) { c.Address = "https://u:" + theSecret + "@vault" }, "Config.Address must be"},
		{"plain http", func(c *vault.Config) { c.Address = "http://vault.example.com:8200" }, "is plain http to another machine"},
		{"relative socket", func(c *vault.Config) { c.Address = "unix://agent.sock" }, "Config.Address must be"},
		{"no CA file", func(c *vault.Config) { c.CAFile = blank + "-none" }, "Config.CAFile cannot be read"},
		{"blank CA file", func(c *vault.Config) { c.CAFile = blank }, "has no certificate"},
		{"long CA file", func(c *vault.Config) { c.CAFile = long }, "larger than 1048576 bytes"},
		{"version", func(c *vault.Config) { c.KVVersion = 3 }, "KVVersion must be 1, 2 or 0"},
		{"namespace", func(c *vault.Config) { c.Namespace = "a\nb" }, "Namespace must be printable"},
		{"no login", func(c *vault.Config) { c.Token, c.Address = nil, "https://vault.example.com" }, "set one of Config.Token"},
		{"two logins", func(c *vault.Config) { c.JWT = jwt }, "set only one of Config.Token"},
		{"no role id", func(c *vault.Config) { c.Token, c.AppRole = nil, &vault.AppRole{} }, "AppRole.RoleID is missing"},
		{"no JWT", func(c *vault.Config) { c.Token, c.JWT = nil, &vault.JWTLogin{} }, "JWT.JWT is missing"},
		{"no role", func(c *vault.Config) { c.Token, c.Kubernetes = nil, &vault.JWTLogin{} }, "Kubernetes.Role is missing"},
		{"mount", func(c *vault.Config) { c.Token, c.JWT = nil, &vault.JWTLogin{Mount: "../sys", JWT: static("x")} }, "must be a path"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := s.config()
			row.change(&c)
			_, err := vault.New(c)
			if err == nil || !strings.Contains(err.Error(), row.err) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, row.err)
			}
			hides(t, err)
		})
	}
	_, err := vault.New(vault.Config{KVVersion: 7})
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two mistakes: got %v", err)
	}
}

func TestReference(t *testing.T) {
	v, err := vault.New(newServer(t).config())
	if err != nil {
		t.Fatal(err)
	}
	for name, reference := range map[string]string{
		"empty": "", "no field": "secret/x", "empty field": "secret/x#", "no path": "secret#x", "empty path": "secret/#x",
		"upwards": "secret/../sys/seal#x", "doubled slash": "secret//x#x", "control character": "secret/a\nb#x", "too long": "secret/x#" + strings.Repeat("x", 1024),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := v.Open(reference); err == nil || !strings.Contains(err.Error(), "write vault:MOUNT/PATH#FIELD") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzReference(f *testing.F) {
	v, err := vault.New(vault.Config{Address: "http://127.0.0.1:8200"})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"secret/a/b#x", "secret/../a#x", "#", "/#", "a//b#c", "a/b#\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, reference string) {
		_, err := v.Open(reference)
		path, _, _ := strings.Cut(reference, "#")
		if err == nil && (strings.Contains("/"+path+"/", "/../") || strings.Contains("/"+path+"/", "//") || strings.ContainsAny(reference, "\r\n\x00")) {
			t.Errorf("%q was opened", reference)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		`{"auth":{"client_token":"hvs.x","lease_duration":3600,"renewable":true}}`,
		`{"data":{"ttl":0,"renewable":false}}`,
		`{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`,
		`{"data":{"data":{"x":"y"},"metadata":{}}}`, `{"data":{"x":"y"}}`, `{"data":null}`, `{"data":{"data":null}}`, `{"data":{"data":{"x":null}}}`,
		`{"errors":["permission denied"]}`, `{"data":{"path":"","type":"kv"}}`, ``,
	} {
		f.Add([]byte(body), "secret/a/b", "x")
	}
	f.Fuzz(func(_ *testing.T, body []byte, path, field string) { vault.Parse(body, path, field) })
}

var _ credential.Opener = (*vault.Vault)(nil).Open

// A reference has up to 1024 bytes, and every printable character of ASCII.
func TestLongestReference(t *testing.T) {
	v, err := vault.New(newServer(t).config())
	if err != nil {
		t.Fatal(err)
	}
	for reference, fits := range map[string]bool{
		"m/" + strings.Repeat("p", 1024-4) + "#f": true, "m/" + strings.Repeat("p", 1024-3) + "#f": false,
		"m/a b~#c d~": true, "m/a#b\x1f": false, "m/a#b\x7f": false,
	} {
		if _, err := v.Open(reference); (err == nil) != fits {
			t.Errorf("%d bytes, %.20q: got %v", len(reference), reference, err)
		}
	}
}

// A file of authorities has up to 1 MiB.
func TestLongestCAFile(t *testing.T) {
	c := newServer(t).config()
	text, err := os.ReadFile(c.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	for size, fits := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(c.CAFile, append(text, strings.Repeat("\n", size-len(text))...), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := vault.New(c); (err == nil) != fits {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}
