package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/provider"
)

// --forget removes a connection's token from the cache, or all, and no other.
func TestTokenForget(t *testing.T) {
	path, env := consumerWith(t)
	run := func(args ...string) ran {
		t.Helper()
		return execute(t, "", env, binary, append([]string{"--config", path}, args...)...).good(t)
	}
	first, other := run("token", "a55").out, run("token", "ahotu").out
	if got := run("token", "--forget", "a55"); got.out != "forgot the cached tokens of a55\n" {
		t.Errorf("printed %s", got.out)
	}
	second := run("token", "a55").out
	if second == first || run("token", "ahotu").out != other {
		t.Error("the token of a55 is there still, or that of ahotu is not")
	}
	if got := run("token", "--forget", "-o", "json"); !json.Valid([]byte(got.out)) {
		t.Errorf("printed %s", got.out)
	}
	tokens, err := filepath.Glob(filepath.Join(strings.TrimPrefix(env[0], "COUNTERFOIL_CACHE="), "*.json"))
	if err != nil || len(tokens) > 0 {
		t.Errorf("there are %v, %v", tokens, err)
	}
	if run("token", "a55").out == second || run("token", "ahotu").out == other {
		t.Error("a token is there still")
	}
	// It needs no secret, and all are forgotten whatever is wrong with a connection.
	broken := []string{secretOfA55, "env:UNSET", "ca_file: ", "ca_file: nix"}
	path, _ = consumerWith(t, broken...)
	run("token", "--forget")
	path, _ = consumerWith(t, secretOfA55, "env:UNSET")
	run("token", "--forget", "a55")
	for _, args := range [][]string{{"token", "--forget", "--renew", "a55"}, {"token", "--forget", "a55", "ahotu"}} {
		if got := execute(t, "", env, binary, append([]string{"--config", path}, args...)...); got.code != exitUsage {
			t.Errorf("%v: exit %d, said %s", args, got.code, got.err)
		}
	}
}

// A reference that leads to nothing any more is said while a cached token is still
// good, and not on the day when it has ended. Who would have to type the secret is
// not asked for it.
func TestBrokenReferenceBehindACachedToken(t *testing.T) {
	const keyOfAltrata = "file:env/altrata.env#API_KEY"
	for _, row := range []struct{ name, connection, from, to, says string }{
		{"secret", "a55", secretOfA55, "env:UNSET", "client_secret ("},
		{"file that is gone", "a55", secretOfA55, "file:nix", "no such file"},
		{"secret in the clear", "a55", secretOfA55, "hunter2", "by reference"},
		{"API key", "altrata", keyOfAltrata, "env:UNSET", "api_key ("},
		{"a person", "a55", secretOfA55, "prompt:Secret", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			path, env := consumerWith(t)
			execute(t, "", env, binary, "--config", path, "token", row.connection).good(t)
			path, _ = consumerWith(t, row.from, row.to)
			for _, command := range []string{"token", "call"} {
				got := execute(t, "", env, binary, "--config", path, command, row.connection)
				if row.says == "" {
					got.good(t)
					continue
				}
				if got.code != exitLocal || got.out != "" || !strings.Contains(got.err, row.says) || strings.Contains(got.err, "hunter2") {
					t.Errorf("%s: exit %d, said %s", command, got.code, got.err)
				}
			}
		})
	}
}

// --verbose tells each step on standard error, none with a secret in it, and
// changes nothing of the output.
func TestVerboseTellsEachStep(t *testing.T) {
	path, env := consumerWith(t)
	run := func(args ...string) ran {
		t.Helper()
		return execute(t, "", env, binary, append([]string{"--config", path}, args...)...)
	}
	fresh := run("token", "altrata", "--verbose").good(t)
	cached := run("token", "altrata", "-v").good(t)
	call := run("call", "a55", "GET", "/wallets?size=1&api_key=hunter2", "--verbose")
	wrong := configured(t, strings.NewReplacer("file:"+shared.dir+"/env/a55.env#API_CLIENT_SECRET", "env:WRONG_SECRET").Replace, "token", "a55", "-v")
	for _, row := range []struct {
		name  string
		got   ran
		steps []string
	}{
		{"fresh", fresh, []string{"* config   connection altrata (" + path + ":", "* provider altrata\n", "* secret   client_secret (", "* secret   api_key (", "* connect  ", "* TLS      TLS 1.3, certificate of localhost", "* token    POST https://", "answered 200 in", "* token    bearer, "}},
		{"cached", cached, []string{"* config ", "* secret ", "* token    bearer, "}},
		{"call", call, []string{"* token    Bearer", "* call     GET ", "/a55/api/v1/wallets\n", "* call     answered 400 Bad Request in"}},
		{"wrong", wrong, []string{"* token    POST https://", "attempt 1 failed in"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, step := range row.steps {
				if !strings.Contains(row.got.err, step) {
					t.Errorf("no %q in\n%s", step, row.got.err)
				}
			}
			for _, secret := range []string{strings.TrimSpace(fresh.out), shared.env(t, "altrata").Get("API_CLIENT_SECRET"), shared.env(t, "altrata").Get("API_KEY"), "hunter2", "wr0ng-s3cr3t"} {
				if strings.Contains(row.got.err, secret) {
					t.Error("a secret is told")
				}
			}
		})
	}
	if strings.Contains(cached.err, "POST") || cached.out != fresh.out {
		t.Errorf("told\n%s", cached.err)
	}
	if quiet := run("token", "altrata").good(t); quiet.err != "" || quiet.out != fresh.out {
		t.Errorf("without --verbose: said %s", quiet.err)
	}
	for line := range strings.Lines(run("token", "altrata", "-v", "-o", "json").good(t).err) {
		if !json.Valid([]byte(line)) {
			t.Errorf("told %s", line)
		}
	}
}

// A pair of 'key new' is that of a client: its set goes to the server, its private
// key to the command line and to a Go program, whatever it signs with.
func TestKeyNew(t *testing.T) {
	dir := t.TempDir()
	description := filepath.Join(dir, "keyed.yaml")
	if err := os.WriteFile(description, []byte("extends: oauth2\nname: keyed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u := startWith(t, description)
	p, err := provider.Read(description)
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{"", "ES256", "EdDSA", "PS256", "RS256"} {
		t.Run("algorithm "+algorithm, func(t *testing.T) {
			key, set, id := filepath.Join(dir, algorithm+".jwk"), filepath.Join(dir, algorithm+".jwks"), "keyed-"+algorithm
			args := []string{"key", "new", key}
			if algorithm != "" {
				args = append(args, "--algorithm", algorithm)
			}
			made := execute(t, "", nil, binary, args...).good(t)
			if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info, err)
			}
			private, err := os.ReadFile(key)
			if err != nil {
				t.Fatal(err)
			}
			var jwk map[string]any
			if err := json.Unmarshal(private, &jwk); err != nil || strings.Contains(made.out+made.err, jwk["d"].(string)) {
				t.Errorf("%v, or the private key is printed", err)
			}
			if err := os.WriteFile(set, []byte(made.out), 0o600); err != nil {
				t.Fatal(err)
			}
			execute(t, "", nil, binary, "client", "create", "keyed", "--dir", u.dir, "--id", id, "--without-secret").good(t)
			execute(t, "", nil, binary, "client", "change", "keyed", id, "--dir", u.dir, "--jwks", set).good(t)

			tokenURL, ca := u.base+"/keyed/token", u.env(t, "keyed").Get("SSL_CERT_FILE")
			config := filepath.Join(dir, "consumer.yaml")
			text := "connections:\n  it:\n    provider: " + description + "\n    token_url: " + tokenURL + "\n    ca_file: " + ca +
				"\n    client_id: " + id + "\n    private_key: file:" + key + "\n"
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := execute(t, "", []string{"COUNTERFOIL_CACHE=" + filepath.Join(t.TempDir(), "tokens")}, binary, "--config", config, "token", "it").good(t)
			if !strings.HasPrefix(got.out, "eyJ") {
				t.Errorf("printed %s", got.out)
			}
			base := client.NewHTTP()
			if base.TLSClientConfig.RootCAs, err = trust.File(ca); err != nil {
				t.Fatal(err)
			}
			s, err := client.New(client.Config{Provider: p, TokenURL: tokenURL, ClientID: id, Key: client.PrivateKey(client.Static(counterfoil.Secret(private))), HTTP: base})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Token(t.Context()); err != nil {
				t.Error(err)
			}
			again := execute(t, "", nil, binary, args...)
			if after, err := os.ReadFile(key); err != nil || string(after) != string(private) || again.code != exitLocal || !strings.Contains(again.err, "is there already") || again.out != "" {
				t.Errorf("exit %d, said %s", again.code, again.err)
			}
		})
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "elsewhere"), link); err != nil {
		t.Fatal(err)
	}
	if got := execute(t, "", nil, binary, "key", "new", link); got.code != exitLocal {
		t.Errorf("it follows a link: exit %d", got.code)
	}
}

// A private key whose set could not be printed is of no use to anybody, and would
// stand in the way of the next.
func TestKeyNewThatNobodySees(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("%v: it is there on Linux", err)
	}
	key := filepath.Join(t.TempDir(), "key")
	for name, script := range map[string]string{"full": `exec "$@" > /dev/full`, "closed": `exec "$@" >&-`, "reader gone": `{ "$@"; echo "exit $?" >&2; } | exec 3<&-`} {
		t.Run(name, func(t *testing.T) {
			got := execute(t, "", nil, "sh", "-c", script, "sh", binary, "key", "new", key)
			if !strings.Contains(got.err, key+" is removed again: try again") || got.code != exitLocal && !strings.Contains(got.err, "exit 1") {
				t.Errorf("exit %d, said %s", got.code, got.err)
			}
			if _, err := os.Stat(key); err == nil {
				t.Error("the key is there")
			}
		})
	}
}
