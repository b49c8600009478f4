package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// fake is a provider of a test's own, at /token and /api, and a connection "it" to
// it.
type fake struct {
	url, dir string
	status   int // of the token endpoint, with refusal as its body; 0 for a token
	refusal  string
	asked    atomic.Int32 // how often the token endpoint was
}

func startFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{dir: t.TempDir()}
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		switch {
		case r.URL.Path == "/token" && f.status != 0:
			f.asked.Add(1)
			rw.WriteHeader(f.status)
			fmt.Fprint(rw, f.refusal)
		case r.URL.Path == "/token":
			f.asked.Add(1)
			fmt.Fprint(rw, `{"access_token":"a-token","token_type":"Bearer","expires_in":3600}`)
		default:
			fmt.Fprint(rw, `{}`)
		}
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	f.write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	return f
}

func (f *fake) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// counterfoil runs the binary with the connection, in which the pairs of replace
// are replaced. Its lines are those of the keys, from 3 on.
func (f *fake) counterfoil(t *testing.T, replace []string, args ...string) ran {
	t.Helper()
	text := "connections:\n  it:\n    provider: a55\n    token_url: URL/token\n    api_url: URL/api\n    ca_file: ca.pem\n    client_id: c\n    client_secret: env:THE_SECRET\n"
	f.write(t, "consumer.yaml", strings.ReplaceAll(strings.NewReplacer(replace...).Replace(text), "URL", f.url))
	env := []string{"THE_SECRET=s3cr3t", "COUNTERFOIL_CACHE=" + filepath.Join(f.dir, "tokens")}
	return execute(t, "", env, binary, append([]string{"--config", filepath.Join(f.dir, "consumer.yaml")}, args...)...)
}

// What a token endpoint says decides about the exit code, also where it answers
// each request with 200, and people are told its code.
func TestRefusalsExit(t *testing.T) {
	for _, row := range []struct {
		status     int
		body       string
		code       int
		says, hint string
	}{
		{200, `{"error":"invalid_client"}`, exitRefused, "(invalid_client)", "check client_id ("},
		{200, `{"error":"invalid_scope"}`, exitRefused, "(invalid_scope)", "check scope ("},
		{401, `{"error":"unauthorized_client"}`, exitRefused, "(unauthorized_client)", "check client_id ("},
		{400, `{"error":"strange"}`, exitRefused, "(strange)", "belong together"},
		{422, `{"error":"invalid_client"}`, exitRefused, "(invalid_client)", "check client_id ("},
		{401, ``, exitRefused, "refuses the client", "check client_id ("},
		{403, `<html>`, exitRefused, "403", "doctor"},
		{200, `<html>`, exitLocal, "no usable token", "doctor"},
		{404, `{"error":"invalid_client"}`, exitLocal, "(invalid_client)", "doctor"},
	} {
		t.Run(fmt.Sprint(row.status, row.body), func(t *testing.T) {
			f := startFake(t)
			f.status, f.refusal = row.status, row.body
			for _, args := range [][]string{{"token", "it"}, {"call", "it", "GET", "/wallets"}, {"doctor", "it"}} {
				got := f.counterfoil(t, nil, args...)
				if all := got.out + got.err; got.code != row.code || !strings.Contains(all, row.says) || args[0] != "doctor" && !strings.Contains(got.err, row.hint) {
					t.Errorf("%s: exit %d, said\n%s%s", args[0], got.code, got.out, got.err)
				}
			}
		})
	}
}

// A key that is not pinned is found at the TLS step, also while a token is cached.
func TestDoctorSeesPins(t *testing.T) {
	f := startFake(t)
	f.counterfoil(t, nil, "token", "it").good(t)
	wrong := "    client_id: c\n    pins: [sha256/" + strings.Repeat("A", 43) + "=]\n"
	got := f.counterfoil(t, []string{"    client_id: c\n", wrong}, "doctor", "it")
	if got.code != exitLocal || !strings.Contains(got.out, "FAIL  TLS     the server's public key is not pinned (it shows sha256/") || !strings.Contains(got.err, "consumer.yaml:8)") || !strings.Contains(got.err, "to pins (") {
		t.Errorf("exit %d, said\n%s%s", got.code, got.out, got.err)
	}
	_, shown, _ := strings.Cut(got.out, "(it shows ")
	right := "    client_id: c\n    pins: [" + shown[:strings.Index(shown, ")")] + "]\n"
	if got := f.counterfoil(t, []string{"    client_id: c\n", right}, "doctor", "it").good(t); !strings.Contains(got.out, ", with a pinned key\n") {
		t.Errorf("said\n%s", got.out)
	}
	if got := f.counterfoil(t, []string{"    client_id: c\n", wrong}, "token", "--renew", "it"); got.code != exitLocal || !strings.Contains(got.err, "hint: ask the provider whether it has changed its key") {
		t.Errorf("exit %d, said\n%s", got.code, got.err)
	}
}

// A URL that cannot be one is refused at once, with its place, and so is the other
// one beside it.
func TestURLsThatAreNone(t *testing.T) {
	f := startFake(t)
	for _, args := range [][]string{{"token", "it"}, {"call", "it", "GET", "/"}, {"doctor", "it"}} {
		got := f.counterfoil(t, []string{"URL/token", "https://127.0.0.1:99999/", "URL/api", `"https://127.0.0.1/api "`}, args...)
		for _, want := range []string{"connection it: token_url (" + f.dir + "/consumer.yaml:4) has the port 99999", "connection it: api_url (" + f.dir + "/consumer.yaml:5) has a blank"} {
			if got.code != exitLocal || !strings.Contains(got.err, want) || got.out != "" {
				t.Errorf("%s: exit %d, said\n%s%s", args[0], got.code, got.out, got.err)
			}
		}
	}
}

// A connection without an API gives tokens, and is healthy; a call says which key
// it lacks.
func TestTokensOnly(t *testing.T) {
	f := startFake(t)
	f.write(t, "bare.yaml", "extends: oauth2\nname: bare\n")
	oauth2 := []string{"provider: a55", "provider: oauth2", "    api_url: URL/api\n", ""}
	f.counterfoil(t, oauth2, "token", "it").good(t)
	place := "api_url (" + f.dir + "/consumer.yaml:2)"
	got := f.counterfoil(t, oauth2, "doctor", "it").good(t)
	if !strings.Contains(got.out, "-     API     connection it gives tokens only: "+place+" is missing") || !strings.Contains(got.out, "it is healthy\n") {
		t.Errorf("doctor said\n%s", got.out)
	}
	got = f.counterfoil(t, oauth2, "doctor", "it", "-o", "json").good(t)
	if !strings.Contains(got.out, `"status":"healthy","authentication":"ok","timestamp"`) {
		t.Errorf("doctor said\n%s", got.out)
	}
	for _, args := range [][]string{{"call", "it", "GET", "/"}, {"call", "it"}} {
		got = f.counterfoil(t, oauth2, args...)
		if got.code != exitLocal || !strings.Contains(got.err, "gives tokens only: "+place+" is missing") || !strings.Contains(got.err, "hint: add "+place) || strings.Contains(got.err, "Source") {
			t.Errorf("%q: exit %d, said\n%s", args, got.code, got.err)
		}
	}
}

// The catalog is a remedy for a name that it lacks, not for a file.
func TestHintsOfADescription(t *testing.T) {
	f := startFake(t)
	f.write(t, "open.yaml", execute(t, "", nil, binary, "provider", "show", "a55").good(t).out)
	if err := os.Chmod(filepath.Join(f.dir, "open.yaml"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ provider, says, hint string }{
		{"./desc.yaml", "no such file", "correct the path"},
		{"./open.yaml", "anybody can write it (mode 0666): chmod o-w", ""},
		{"a56", "no provider is called", "catalog"},
	} {
		got := f.counterfoil(t, []string{"provider: a55", "provider: " + row.provider}, "token", "it")
		message, hint, _ := strings.Cut(got.err, "hint: ")
		if got.code != exitLocal || !strings.Contains(message, row.says) || !strings.Contains(hint, row.hint) || row.hint == "" && hint != "" || strings.Contains(hint, "catalog") != (row.hint == "catalog") {
			t.Errorf("%s: exit %d, said\n%s", row.provider, got.code, got.err)
		}
	}
}

// What an argument names and is not there, or cannot be sent, is said of the
// argument.
func TestMistakesNameTheArgument(t *testing.T) {
	f := startFake(t)
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"call", "it", "POST", "/", "--data", "@nofile"}, exitLocal, "counterfoil: --data: open nofile: no such file"},
		{[]string{"call", "it", "GET", "/", "-H", "A: b\nc"}, exitUsage, `counterfoil: --header "A" has a line end`},
		{[]string{"call", "it", "GET", "/", "-H", "A b: c"}, exitUsage, `counterfoil: --header "A b: c" is not 'Name: value'`},
		{[]string{"call", "it", "GET", "/", "-H", ": c"}, exitUsage, `counterfoil: --header ": c" is not 'Name: value'`},
		{[]string{"client", "import", "a55", "nofile", "--format", "plain", "--dir", shared.dir}, exitLocal, "counterfoil: FILE: open nofile: no such file"},
		{[]string{"data", "import", "wallets", "nofile", "--dir", shared.dir}, exitLocal, "counterfoil: FILE: open nofile: no such file"},
		{[]string{"client", "create", "a55", "--jwks", "nofile", "--dir", shared.dir}, exitLocal, "counterfoil: --jwks: open nofile: no such file"},
		{[]string{"client", "create", "a55", "--settings", "@nofile", "--dir", shared.dir}, exitLocal, "counterfoil: --settings: open nofile: no such file"},
	} {
		if got := f.counterfoil(t, nil, row.args...); got.code != row.code || !strings.HasPrefix(got.err, row.says) {
			t.Errorf("%q: exit %d, said\n%s", row.args, got.code, got.err)
		}
	}
}

// Programs read the mistakes of a description by the names that all JSON has here.
func TestProviderCheckInJSON(t *testing.T) {
	f := startFake(t)
	f.write(t, "bad.yaml", "extends: oauth2\nname: bad\ntoken_endpoint:\n  policy: sometimes\n")
	got := execute(t, "", nil, binary, "provider", "check", filepath.Join(f.dir, "bad.yaml"), "-o", "json")
	var rows []struct {
		Problems []map[string]any `json:"problems"`
	}
	if err := json.Unmarshal([]byte(got.out), &rows); err != nil || len(rows) != 1 || len(rows[0].Problems) != 1 {
		t.Fatalf("exit %d, printed %s%s", got.code, got.out, got.err)
	}
	p := rows[0].Problems[0]
	if p["file"] != filepath.Join(f.dir, "bad.yaml") || p["line"] != 4.0 || p["column"] != 11.0 || p["message"] == nil || p["allowed"] == nil || len(p) != 5 {
		t.Errorf("printed %s", got.out)
	}
}
