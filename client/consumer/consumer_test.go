package consumer_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/consumer"
	"github.com/counterfoil/counterfoil/provider"
)

// world is a provider's servers and a directory with a client configuration.
type world struct {
	dir, file string
	tokens    atomic.Int32
	env       map[string]string
}

// begin starts a token endpoint and an API, and writes files; URL in a text is
// theirs.
func begin(t *testing.T, text string) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), env: map[string]string{}}
	w.file = filepath.Join(w.dir, "consumer.yaml")
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/token" {
			fmt.Fprintf(rw, "%s with %s", r.URL.Path, r.Header.Get("Authorization"))
			return
		}
		_ = r.ParseForm()
		if id, secret, _ := r.BasicAuth(); id+r.PostForm.Get("client_id") != "orders" || secret+r.PostForm.Get("client_secret") != "s3cret" {
			http.Error(rw, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(rw, `{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, w.tokens.Add(1))
	}))
	t.Cleanup(server.Close)
	w.write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})), 0o644)
	w.write(t, "secret", "s3cret\n", 0o600)
	w.write(t, "consumer.yaml", strings.ReplaceAll(text, "URL", server.URL), 0o600)
	return w
}

func (w *world) write(t *testing.T, name, text string, mode fs.FileMode) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
}

func (w *world) load(t *testing.T, o consumer.Options) *consumer.Config {
	t.Helper()
	o.Getenv = func(name string) string { return w.env[name] }
	c, err := consumer.Load(w.file, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func call(t *testing.T, s *client.Source) string {
	t.Helper()
	req, err := s.NewRequest(t.Context(), http.MethodGet, "/wallets", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

const orders = `    provider: oauth2
    token_url: URL/token
    api_url: URL/api
    ca_file: ca.pem
    client_id: orders
`

const good = "token_cache: tokens\nconnections:\n  one:\n" + orders + "    client_secret: file:secret\n"

// Connections of one client share one token, and so does another program with the
// same file.
func TestSource(t *testing.T) {
	w := begin(t, good+"  two:\n"+orders+"    client_secret: file:secret\n")
	c := w.load(t, consumer.Options{})
	for _, of := range []*consumer.Config{c, c, w.load(t, consumer.Options{})} {
		for _, name := range of.Names() {
			s, err := of.Source(name)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := call(t, s), "/api/wallets with Bearer token-1"; got != want {
				t.Errorf("%s: the API got %q, want %q", name, got, want)
			}
		}
	}
}

// What the file cannot say is set before the Source is made.
func TestSourceWithChange(t *testing.T) {
	w := begin(t, good)
	s, err := w.load(t, consumer.Options{}).Source("one", func(c *client.Config) { c.Cache = client.Memory() }, func(c *client.Config) { c.APIURL += "/v2" })
	if err != nil {
		t.Fatal(err)
	}
	if got := call(t, s); !strings.HasPrefix(got, "/api/v2/wallets ") {
		t.Errorf("the API got %q", got)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "tokens")); err == nil {
		t.Error("another cache was set, and the file's was made all the same")
	}
}

// A mistake names the connection, the key, the file and the line.
func TestMistakes(t *testing.T) {
	with := func(line string) string {
		key, _, _ := strings.Cut(line, ":")
		text := strings.Split(good, "\n")
		for i, old := range text {
			if strings.HasPrefix(strings.TrimSpace(old), key+":") {
				text[i] = "    " + line
				return strings.Join(text, "\n")
			}
		}
		return good + "    " + line + "\n"
	}
	for _, row := range []struct {
		name, text string
		key        string // of an Error; "" where it is none
		says       string
	}{
		{"provider", with("provider: oauth3"), "provider", `connection one: provider (FILE:4): no provider is called "oauth3"`},
		{"description", with("provider: ./p.yaml"), "provider", "p.yaml: no such file"},
		{"CA file", with("ca_file: nix.pem"), "ca_file", "connection one: ca_file (FILE:7): "},
		{"CA file without a certificate", with("ca_file: secret"), "ca_file", "no certificate in PEM"},
		{"scope", with(`scope: "\""`), "scope", "connection one: scope (FILE:10): "},
		{"secret in the clear", with("client_secret: hunter2"), "client_secret", "connection one: client_secret (FILE:9): a secret is given by reference"},
		{"standard input of a service", with("client_secret: \"stdin:\""), "client_secret", "there is no input here"},
		{"API key", with("api_key: hunter2"), "api_key", "by reference"},
		{"private key", with("private_key: hunter2"), "private_key", "by reference"},
		{"token cache", strings.Replace(good, "tokens", "secret", 1), "token_cache", "token_cache (FILE:1): "},
		{"plain http", with("token_url: http://id.example/token"), "token_url", "connection one: token_url (FILE:5) must start with https://"},
		{"secret and key", with("private_key: file:secret"), "client_secret", "private_key (FILE:10)"},
		{"a port that is none", with("token_url: https://127.0.0.1:99999/"), "token_url", "connection one: token_url (FILE:5) has the port 99999"},
		{"a blank behind a URL", with(`api_url: "https://api.example/ "`), "api_url", "connection one: api_url (FILE:6) has a blank"},
		{"no client id", with(`client_id: ""`), "client_id", "connection one: client_id (FILE:8) is missing"},
		{"a pin that is none", with("pins: [sha256/x]"), "pins", "connection one: pins (FILE:10) has"},
		{"no such API", with("api: x"), "api", "connection one: api (FILE:10) is"},
		{"no tenant", strings.Replace(with("provider: engagifii"), "client_secret", "scope: EventsApi\n    client_secret", 1), "tenant", "connection one: tenant (FILE:3) is missing"},
		{"no secret", strings.Replace(good, "    client_secret: file:secret\n", "", 1), "client_secret", "connection one: client_secret (FILE:3) is missing"},
		{"two URLs", strings.Replace(with("api_url: http://api.example"), "URL/token", "\"https://id.example/token \"", 1), "token_url", "connection one: api_url (FILE:6) must start with"},
		{"no such connection", strings.Replace(good, "one:", "three:", 1), "connections", `FILE has no connection "one": there are three`},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := begin(t, row.text)
			_, err := w.load(t, consumer.Options{}).Source("one")
			want := strings.ReplaceAll(row.says, "FILE", w.file)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "Config.") {
				t.Fatalf("got %v, want %s", err, want)
			}
			var e *consumer.Error
			ok := errors.As(err, &e)
			if ok && !strings.HasPrefix(e.Place, e.Key+" ("+w.file+":") {
				t.Errorf("its place is %q", e.Place)
			}
			if ok != (row.key != "") || ok && (e.Key != row.key || e.Connection == "one" != (row.key != "token_cache")) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// A file that is not one is refused with what is wrong with it.
func TestLoadRefuses(t *testing.T) {
	for _, row := range []struct{ name, text, says string }{
		{"no YAML", "connections: [", "FILE:1"},
		{"unknown key", good + "    secret: x\n", "FILE:10"},
		{"no connections", "token_cache: tokens\n", "connections"},
		{"too long", good + "#" + strings.Repeat("x", 1<<20), "larger than 1048576 bytes"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := begin(t, row.text)
			if c, err := consumer.Load(w.file, consumer.Options{}); err == nil || c != nil || !strings.Contains(err.Error(), strings.ReplaceAll(row.says, "FILE", w.file)) {
				t.Errorf("got %v", err)
			} else if _, ok := errors.AsType[provider.Problems](err); ok == (row.name == "too long") {
				t.Errorf("it is %T", err)
			}
		})
	}
	w := begin(t, good+"#")
	longest, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "consumer.yaml", string(longest)+strings.Repeat("\n", 1<<20-len(longest)), 0o600)
	if _, err := consumer.Load(w.file, consumer.Options{}); err != nil {
		t.Errorf("the longest file: %v", err)
	}
	w = begin(t, good)
	w.write(t, "consumer.yaml", good, 0o666)
	if _, err := consumer.Load(w.file, consumer.Options{}); err == nil || !strings.Contains(err.Error(), "write") {
		t.Errorf("a file that anybody can write: %v", err)
	}
	missing := filepath.Join(w.dir, "nix.yaml")
	if _, err := consumer.Load(missing, consumer.Options{}); !errors.Is(err, fs.ErrNotExist) || err.Error() != "no client configuration at "+missing {
		t.Errorf("no file: %v", err)
	}
}

// A path that is not named comes from the environment, never from the working
// directory.
func TestDefaultPath(t *testing.T) {
	w := begin(t, good)
	t.Chdir(w.dir)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(w.dir, "none"))
	if _, err := consumer.Load("", consumer.Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), filepath.Join("none", "counterfoil", "consumer.yaml")) {
		t.Errorf("in a directory with a consumer.yaml: %v", err)
	}
	t.Setenv("COUNTERFOIL_CONFIG", w.file)
	c, err := consumer.Load("", consumer.Options{})
	if err != nil || c.File() != w.file {
		t.Errorf("got %v", err)
	}
}

// A relative path of a configuration is relative to its file, wherever the program
// runs.
func TestRelativePaths(t *testing.T) {
	w := begin(t, good)
	t.Chdir(filepath.Dir(w.dir))
	c, err := consumer.Load(filepath.Join(filepath.Base(w.dir), "consumer.yaml"), consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	s, err := c.Source("one")
	if err != nil {
		t.Fatal(err)
	}
	call(t, s)
	if _, err := os.Stat(filepath.Join(w.dir, "tokens")); err != nil {
		t.Error(err)
	}
}

// COUNTERFOIL_CACHE takes the place of the file's directory of tokens.
func TestCacheOfTheEnvironment(t *testing.T) {
	w := begin(t, good)
	w.env["COUNTERFOIL_CACHE"] = filepath.Join(w.dir, "elsewhere")
	s, err := w.load(t, consumer.Options{}).Source("one")
	if err != nil {
		t.Fatal(err)
	}
	call(t, s)
	if _, err := os.Stat(w.env["COUNTERFOIL_CACHE"]); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "tokens")); err == nil {
		t.Error("the file's directory was made, too")
	}
}

// A program runs for a secret where nobody else can have written the file, and
// where nobody forbids it; what a group can write is taken, as a
// umask of 002 makes it.
func TestWhatSecretsMayReach(t *testing.T) {
	forbidden := errors.New("exec: is forbidden here")
	for _, row := range []struct {
		name, reference string
		config, secret  fs.FileMode
		options         consumer.Options
		says            string
	}{
		{"program", "exec:cat secret", 0o600, 0o600, consumer.Options{}, ""},
		{"program in a file that a group writes", "exec:cat secret", 0o660, 0o600, consumer.Options{}, "nobody else can write"},
		{"program, forbidden", "exec:cat secret", 0o600, 0o600, consumer.Options{NoExec: forbidden}, "forbidden here"},
		{"file that a group writes", "file:secret", 0o600, 0o664, consumer.Options{}, ""},
		{"file that anybody writes", "file:secret", 0o600, 0o666, consumer.Options{}, "anybody can write it (mode 0666)"},
		{"standard input", "stdin:", 0o600, 0o600, consumer.Options{Stdin: strings.NewReader("s3cret\n")}, ""},
		{"environment", "env:ORDERS", 0o600, 0o600, consumer.Options{}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := begin(t, strings.Replace(good, "file:secret", `"`+row.reference+`"`, 1))
			w.env["ORDERS"] = "s3cret"
			if err := errors.Join(os.Chmod(w.file, row.config), os.Chmod(filepath.Join(w.dir, "secret"), row.secret)); err != nil {
				t.Fatal(err)
			}
			s, err := w.load(t, row.options).Source("one")
			if err == nil {
				_, err = s.Token(t.Context())
			}
			if (err == nil) != (row.says == "") || err != nil && !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %v, want %q", err, row.says)
			}
		})
	}
}

// What is taken all the same can be warned of, as the command line does.
func TestWarnings(t *testing.T) {
	w := begin(t, good)
	c := w.load(t, consumer.Options{})
	w.write(t, "ca.pem", "", 0o640)
	if got := c.Warnings("one"); len(got) != 0 {
		t.Errorf("nothing is wrong, and it says %q", got)
	}
	w.write(t, "secret", "s3cret", 0o664)
	w.write(t, "ca.pem", "", 0o664)
	secret, ca := filepath.Join(w.dir, "secret"), filepath.Join(w.dir, "ca.pem")
	want := []string{secret + ": its group can write it (mode 0664)", secret + ": it holds a secret and others can read it (mode 0664)", ca + ": its group can write it (mode 0664)"}
	got := c.Warnings("one")
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got %q, want %q", got[i], want[i])
		}
	}
	if got := c.Warnings("two"); got != nil {
		t.Errorf("of no connection it says %q", got)
	}
}

// Root may use the files of a service's user, as the command line may.
func TestRootUsesTheFilesOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	w := begin(t, good)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, name := range []string{"", "consumer.yaml", "secret", "ca.pem"} {
		if err := os.Chown(filepath.Join(w.dir, name), 1000, 1000); err != nil {
			t.Fatal(err)
		}
	}
	s, err := w.load(t, consumer.Options{}).Source("one")
	if err != nil {
		t.Fatal(err)
	}
	call(t, s)
	if _, err := os.Stat(filepath.Join(w.dir, "tokens")); err == nil {
		t.Error("root's tokens lie in the user's directory")
	}
}
