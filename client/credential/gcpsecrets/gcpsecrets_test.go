package gcpsecrets_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/auth"

	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/gcpsecrets"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote/remotetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

const regional = "projects/acme-prod/locations/europe-west3/secrets/client-secret"

func TestReferences(t *testing.T) {
	m := newManager(t)
	m.set(named+"/versions/latest", kept+"\n")
	m.set(named+"/versions/2", "an older "+kept)
	m.set(named+"/versions/an-alias", "aliased")
	m.set(regional+"/versions/latest", "regional")
	m.set("projects/example.com:acme/secrets/x/versions/latest", "of a domain")
	m.set("projects/p/secrets/bytes/versions/latest", "\xff\x00")
	m.set("projects/p/secrets/empty/versions/latest", "")
	m.set("projects/p/secrets/large/versions/latest", strings.Repeat("x", 65<<10))
	for name, row := range map[string]struct{ reference, want, err string }{
		"the latest version":            {named, kept, ""},
		"the latest version, in words":  {named + "/versions/latest", kept, ""},
		"a version":                     {named + "/versions/2", "an older " + kept, ""},
		"an alias of a version":         {named + "/versions/an-alias", "aliased", ""},
		"a regional secret":             {regional, "regional", ""},
		"a project of a domain":         {"projects/example.com:acme/secrets/x", "of a domain", ""},
		"bytes":                         {"projects/p/secrets/bytes", "\xff\x00", ""},
		"a name that is not there":      {"projects/p/secrets/absent", "", "there is no such secret"},
		"an empty secret":               {"projects/p/secrets/empty", "", "it is empty"},
		"more than the service's bound": {"projects/p/secrets/large", "", "it is longer than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := must(t, row.reference, m.config(t))(t.Context())
			if got.Reveal() != row.want {
				t.Errorf("got %q, want %q", got.Reveal(), row.want)
			}
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got error %v, want %q", err, row.err)
			}
			if err != nil {
				clean(t, err)
				if !strings.HasPrefix(err.Error(), "secret gcpsm:"+row.reference) {
					t.Errorf("the error does not name its reference: %v", err)
				}
			}
			if strings.Contains(fmt.Sprintf("%v %+v %#v", got, got, got), kept) {
				t.Error("the value shows when it is printed")
			}
		})
	}
}

func TestWhatIsNoReference(t *testing.T) {
	m := newManager(t)
	for name, reference := range map[string]string{
		"nothing":               "",
		"a secret in the clear": kept,
		"a short form":          project + "/" + kept,
		"a URL":                 m.URL + "/v1/" + named,
		"a path":                "projects/../secrets/" + kept,
		"no name":               "projects/p/secrets/",
		"no version":            named + "/versions/",
		"a method":              named + "/versions/1:destroy",
		"a query":               named + "?alt=" + kept,
		"a line end":            named + "\n",
		"too long":              "projects/p/secrets/" + strings.Repeat("x", 256),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := gcpsecrets.Open(reference, m.config(t))
			if err == nil || !strings.Contains(err.Error(), "must be projects/PROJECT/secrets/NAME") {
				t.Fatalf("got %v", err)
			}
			clean(t, err)
		})
	}
}

func TestConfigurations(t *testing.T) {
	for name, row := range map[string]struct {
		config gcpsecrets.Config
		want   string
	}{
		"an endpoint of http":      {gcpsecrets.Config{Endpoint: "http://127.0.0.1:1"}, "not an https URL"},
		"an endpoint with a login": {gcpsecrets.Config{Endpoint: "https://u:" + kept + "@127.0.0.1"}, "not an https URL"},
		"an endpoint with a query": {gcpsecrets.Config{Endpoint: "https://127.0.0.1/?key=" + kept}, "not an https URL"},
		"no verification":          {gcpsecrets.Config{HTTP: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, "does not verify certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := gcpsecrets.Open(named, row.config)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			clean(t, err)
		})
	}
}

func TestRotation(t *testing.T) {
	m := newManager(t)
	m.Rotation(t, m.open, func(secret string) { m.set(named+"/versions/latest", secret) })
	if m.login.count() != 1 {
		t.Errorf("%d tokens were asked for", m.login.count())
	}
}

func TestFaults(t *testing.T) {
	m := newManager(t)
	m.set(named+"/versions/latest", kept)
	m.Faults(t, m.open, kept, token)
}

func TestRefusals(t *testing.T) {
	for name, row := range map[string]struct {
		status int
		want   string
		asked  int
	}{
		"disabled":        {400, "disabled or destroyed", 1},
		"not the login":   {401, "does not accept the login", 1},
		"denied":          {403, "roles/secretmanager.secretAccessor", 1},
		"not there":       {404, "there is no such secret", 1},
		"throttled":       {429, "fewer requests", 3},
		"down":            {503, "the service answers 503", 3},
		"something other": {451, "the service answers 451", 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			m.Break(func(w http.ResponseWriter, _ *http.Request) bool { refuse(w, row.status, kept); return true })
			_, err := must(t, named, m.config(t))(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			if m.Asked() != row.asked {
				t.Errorf("asked %d times, want %d", m.Asked(), row.asked)
			}
			clean(t, err)
		})
	}
}

func TestRetryAfter(t *testing.T) {
	for name, row := range map[string]struct {
		after string
		asked int
		waits func(time.Duration) bool
	}{
		"none":          {"", 2, func(d time.Duration) bool { return d >= time.Second/2 && d < time.Second }},
		"seconds":       {"3", 2, func(d time.Duration) bool { return d == 3*time.Second }},
		"no number":     {"soon", 2, func(d time.Duration) bool { return d < time.Second }},
		"negative":      {"-1", 2, func(d time.Duration) bool { return d < time.Second }},
		"longer than 5": {"6", 1, nil},
		"absurd":        {"99999999999999999999", 2, func(d time.Duration) bool { return d < time.Second }},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			m.set(named+"/versions/latest", kept)
			m.Answer(1, http.StatusTooManyRequests, "{}", "Retry-After", row.after)
			c, now := m.config(t), &counting{Clock: remotetest.NewClock()}
			c.Keep.Clock = now
			got, err := must(t, named, c)(t.Context())
			if (err == nil) != (row.asked == 2) || m.Asked() != row.asked {
				t.Errorf("asked %d times: got %q, %v", m.Asked(), got.Reveal(), err)
			}
			if row.waits != nil && (len(now.waits) != 1 || !row.waits(now.waits[0])) {
				t.Errorf("waited %v", now.waits)
			}
		})
	}
}

// counting is a clock that notes the waits between attempts.
type counting struct {
	remotetest.Clock
	waits []time.Duration
}

func (c *counting) Sleep(ctx context.Context, d time.Duration) error {
	if d < 9*time.Second {
		c.waits = append(c.waits, d)
	}
	return c.Clock.Sleep(ctx, d)
}

func TestChecksum(t *testing.T) {
	for name, row := range map[string]struct {
		sum   func([]byte) any
		asked int
		err   string
	}{
		"a number":                 {func(b []byte) any { return bytesSum(b) }, 1, ""},
		"none":                     {func([]byte) any { return nil }, 1, ""},
		"wrong":                    {func([]byte) any { return "1" }, 3, "does not match its checksum"},
		"of another polynomial":    {func([]byte) any { return "907060870" }, 3, "does not match its checksum"},
		"no number":                {func([]byte) any { return kept }, 3, "does not match its checksum"},
		"an object":                {func([]byte) any { return map[string]string{"a": kept} }, 3, "does not match its checksum"},
		"of what came before it":   {func([]byte) any { return sum([]byte("before")) }, 3, "does not match its checksum"},
		"with a sign":              {func(b []byte) any { return "+" + sum(b) }, 3, "does not match its checksum"},
		"with quotation in quotes": {func(b []byte) any { return sum(b) + " " }, 3, "does not match its checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			m.set(named+"/versions/latest", kept)
			m.check(row.sum)
			got, err := must(t, named, m.config(t))(t.Context())
			if (err == nil) != (row.err == "") || err == nil && got.Reveal() != kept || m.Asked() != row.asked {
				t.Fatalf("asked %d times: got %q, %v", m.Asked(), got.Reveal(), err)
			}
			if err != nil {
				clean(t, err)
				if !strings.Contains(err.Error(), row.err) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// bytesSum is the checksum as a number of JSON.
func bytesSum(b []byte) any {
	var n uint64
	_, _ = fmt.Sscan(sum(b), &n)
	return n
}

// A value that was damaged once is asked for again.
func TestDamagedOnce(t *testing.T) {
	m := newManager(t)
	m.set(named+"/versions/latest", kept)
	m.Answer(1, http.StatusOK, `{"name":"x","payload":{"data":"AAAA","dataCrc32c":"1"}}`)
	if got, err := must(t, named, m.config(t))(t.Context()); err != nil || got.Reveal() != kept {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
}

func TestLoginFails(t *testing.T) {
	other := testkeys.RSA()
	for name, row := range map[string]struct {
		file   func(*manager) []byte
		change func(*manager)
		want   string
	}{
		"a key of another":       {func(m *manager) []byte { return m.file(t, other) }, nil, "the login is refused (400)"},
		"a file that is damaged": {func(*manager) []byte { return []byte(`{"private_key":"` + kept) }, nil, "there is no login"},
		"a key that is damaged":  {func(m *manager) []byte { return m.file(t, other, "private_key", kept) }, nil, "check its file of credentials"},
		"a server that fails": {nil, func(m *manager) {
			m.login.Answer(-1, http.StatusInternalServerError, kept)
		}, "the login's server answers 500"},
		"a server that is gone":       {nil, func(m *manager) { m.login.Close() }, "the login's server cannot be called"},
		"a server with a page":        {nil, func(m *manager) { m.login.Answer(-1, http.StatusOK, "<html>"+kept) }, "check its file of credentials"},
		"a server of plain http":      {func(m *manager) []byte { return m.file(t, signer(), "token_uri", "http://example.com/token") }, nil, "in the clear"},
		"a redirect to somebody else": {nil, func(m *manager) { m.login.Answer(-1, http.StatusTemporaryRedirect, kept, "Location", m.URL) }, "the login is refused (307)"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			m.set(named+"/versions/latest", kept)
			file := m.file(t, signer())
			if row.file != nil {
				file = row.file(m)
			}
			if row.change != nil {
				row.change(m)
			}
			environment(t, file)
			c := gcpsecrets.Config{HTTP: network{m}, Keep: credential.KeepOptions{Clock: remotetest.NewClock()}}
			_, err := must(t, named, c)(t.Context())
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %v, want %q", err, row.want)
			}
			clean(t, err)
			if m.Asked() != 0 {
				t.Errorf("the service was asked %d times without a login", m.Asked())
			}
		})
	}
}

// The default credentials, of a service account in a file, through a
// credential.Schemes as programs have it; each universe and location has its
// own endpoint.
func TestDefaultCredentials(t *testing.T) {
	m := newManager(t)
	m.set(named+"/versions/latest", kept)
	m.set(regional+"/versions/latest", kept)
	for name, row := range map[string]struct {
		universe, reference, want string
	}{
		"global":                        {"", named, "secretmanager.googleapis.com"},
		"regional":                      {"", regional, "secretmanager.europe-west3.rep.googleapis.com"},
		"of another universe":           {"example-universe.fr", named, "secretmanager.example-universe.fr"},
		"of another universe, regional": {"example-universe.fr", regional, "secretmanager.europe-west3.rep.example-universe.fr"},
	} {
		t.Run(name, func(t *testing.T) {
			file := m.file(t, signer())
			if row.universe != "" {
				file = m.file(t, signer(), "universe_domain", row.universe)
			}
			environment(t, file)
			t.Setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "acme-quota")
			schemes := credential.Schemes{"gcpsm": gcpsecrets.Opener(gcpsecrets.Config{HTTP: network{m}})}
			get, err := credential.Open("gcpsm:"+row.reference, schemes)
			if err != nil {
				t.Fatal(err)
			}
			got, err := get(t.Context())
			if err != nil || got.Reveal() != kept {
				t.Fatalf("got %q, %v", got.Reveal(), err)
			}
			if host, quota := m.last(); host != row.want || quota != "acme-quota" {
				t.Errorf("asked %s for %s, want %s", host, quota, row.want)
			}
		})
	}
	environment(t, m.file(t, signer(), "universe_domain", "evil.example/"+kept))
	_, err := must(t, named, gcpsecrets.Config{HTTP: network{m}, Keep: credential.KeepOptions{Clock: remotetest.NewClock()}})(t.Context())
	if err == nil || !strings.Contains(err.Error(), "does not name its universe") {
		t.Fatalf("got %v", err)
	}
	clean(t, err)
}

// A login that was not there when it was first looked for is found later.
func TestLoginComesLater(t *testing.T) {
	m := newManager(t)
	m.set(named+"/versions/latest", kept)
	environment(t, nil)
	now := remotetest.NewClock()
	get := must(t, named, gcpsecrets.Config{HTTP: network{m}, Keep: credential.KeepOptions{Clock: now}})
	if _, err := get(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no login") {
		t.Fatalf("got %v", err)
	}
	environment(t, m.file(t, signer()))
	now.Turn(time.Second)
	if got, err := get(t.Context()); err != nil || got.Reveal() != kept {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
}

// A program that switches the library's log on has no secret in it.
func TestLogOfTheLibrary(t *testing.T) {
	m := newManager(t)
	m.set(named+"/versions/latest", kept)
	environment(t, m.file(t, signer()))
	t.Setenv("GOOGLE_SDK_GO_LOGGING_LEVEL", "debug")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, stdout := os.Stderr, os.Stdout
	os.Stderr, os.Stdout = w, w
	_, getErr := must(t, named, gcpsecrets.Config{HTTP: network{m}})(t.Context())
	os.Stderr, os.Stdout = stderr, stdout
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	logged, err := io.ReadAll(r)
	if err != nil || getErr != nil {
		t.Fatal(err, getErr)
	}
	for _, secret := range []string{kept, token, "eyJ"} {
		if bytes.Contains(logged, []byte(secret)) {
			t.Errorf("logged: %s", logged)
		}
	}
}

// giving is a login that gives the token.
type giving struct{}

func (giving) Token(context.Context) (*auth.Token, error) { return &auth.Token{Value: token}, nil }

func FuzzReference(f *testing.F) {
	for _, seed := range []string{named, regional + "/versions/7", "projects/p/secrets/", "projects//secrets/x", named + "/versions/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, reference string) {
		get, err := gcpsecrets.Open(reference, gcpsecrets.Config{Login: giving{}})
		if (get == nil) == (err == nil) {
			t.Fatalf("got %v and %v", get != nil, err)
		}
		if err == nil && strings.ContainsAny(reference, "@?#%\\\r\n\x00 ") {
			t.Errorf("%q is a reference", reference)
		}
	})
}

// answering answers every request with one body.
type answering []byte

func (a answering) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(a)), ContentLength: -1, Request: req}, nil
}

// Whatever the service answers, there is a secret or an error, and never both.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"name":"x","payload":{"data":"a2VwdA==","dataCrc32c":"2356372769"}}`))
	f.Add([]byte(`{"payload":{"data":"a2VwdA==","dataCrc32c":null}}`))
	f.Add([]byte(`{"payload":null}`))
	f.Add([]byte(`{"payload":{"data":7}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c := gcpsecrets.Config{Login: giving{}, HTTP: answering(body), Keep: credential.KeepOptions{Clock: remotetest.NewClock()}}
		got, err := must(t, named, c)(t.Context())
		if (got == "") == (err == nil) {
			t.Fatalf("got %q and %v", got.Reveal(), err)
		}
		if err != nil {
			clean(t, err)
		}
	})
}

// A login of the program's own whose errors tell too much.
func TestLoginOfTheProgram(t *testing.T) {
	m := newManager(t)
	c := m.config(t)
	c.Login = failing{}
	_, err := must(t, named, c)(t.Context())
	if err == nil || m.Asked() != 0 {
		t.Fatalf("asked %d times: %v", m.Asked(), err)
	}
	clean(t, err)
}

type failing struct{}

func (failing) Token(context.Context) (*auth.Token, error) {
	return nil, errors.New("not with " + kept)
}
