package main

import (
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
