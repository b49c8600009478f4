package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/counterfoil/counterfoil/internal/files"
	"github.com/counterfoil/counterfoil/provider"
)

func TestTokenPrintsOnlyTheToken(t *testing.T) {
	for _, provider := range missionProviders {
		t.Run(provider, func(t *testing.T) {
			got := shared.counterfoil(t, "token", provider).good(t)
			if strings.Count(got.out, "\n") != 1 || strings.Count(got.out, ".") != 2 || !strings.HasPrefix(got.out, "eyJ") || got.err != "" {
				t.Errorf("printed %d lines and on standard error %q", strings.Count(got.out, "\n"), got.err)
			}
			var v struct {
				AccessToken string `json:"access_token"`
				TokenType   string `json:"token_type"`
				ExpiresAt   string `json:"expires_at"`
			}
			inJSON := shared.counterfoil(t, "token", provider, "-o", "json").good(t)
			if err := json.Unmarshal([]byte(inJSON.out), &v); err != nil || v.AccessToken+"\n" != got.out || v.ExpiresAt == "" {
				t.Errorf("in JSON: %v, same token %v", err, v.AccessToken+"\n" == got.out)
			}
		})
	}
}

// With altrata a new token ends the old one: runs must share theirs.
func TestSecondTokenRunDoesNotEndTheFirst(t *testing.T) {
	first := shared.counterfoil(t, "token", "altrata", "--renew").good(t).out
	done := make(chan string)
	for range 4 {
		go func() { done <- shared.counterfoil(t, "token", "altrata").out }()
	}
	for range 4 {
		if got := <-done; got != first {
			t.Error("a run got a token of its own")
		}
	}
	script := fmt.Sprintf(`printf 'header = "x-api-key: %%s"\nheader = "Authorization: Bearer %%s"\n' "$API_KEY" '%s' | curl -sK - -o /dev/null -w '%%{http_code}' "$API_BASE_URL" -H 'Content-Type: application/json' -d '{"query":"{ __typename }"}'`, strings.TrimSpace(first))
	if got := shared.sourced(t, "altrata", script).good(t); got.out != "200" {
		t.Errorf("the first token is answered %s", got.out)
	}
	renewed := shared.counterfoil(t, "token", "altrata", "--renew").good(t).out
	if renewed == first {
		t.Error("--renew printed the old token")
	}
	if got := shared.sourced(t, "altrata", script).good(t); got.out != "401" {
		t.Errorf("the replaced token is answered %s", got.out)
	}
}

func TestCall(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		want string
	}{
		{"get", []string{"a55", "GET", "/wallets"}, `"currency"`},
		{"path only", []string{"a55", "/wallets"}, `"currency"`},
		{"index", []string{"a55", "/"}, `"resources"`},
		{"example, rest", []string{"a55"}, `"currency"`},
		{"example, graphql", []string{"altrata"}, `"totalCount"`},
		{"example, body", []string{"engagifii"}, `"totalCount"`},
		{"graphql", []string{"ahotu", "--data", `{"query":"{ events(page: 0, size: 10) { totalCount data { id name { en } } } }"}`}, `"totalCount"`},
		{"post", []string{"engagifii", "POST", "/api/1.0/event/list", "--data", "{}"}, `"totalCount"`},
		{"json", []string{"a55", "GET", "/wallets", "-o", "json"}, `"status":200`},
		{"headers", []string{"a55", "GET", "/wallets", "-i"}, "200 OK\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := shared.counterfoil(t, append([]string{"call"}, row.args...)...).good(t); !strings.Contains(got.out, row.want) {
				t.Errorf("printed %s", got.out)
			}
		})
	}
}

func TestDoctor(t *testing.T) {
	for _, provider := range missionProviders {
		t.Run(provider, func(t *testing.T) {
			people := shared.counterfoil(t, "doctor", provider).good(t)
			for _, step := range []string{"secret", "DNS", "TLS", "clock", "token", "scope", "API"} {
				if !strings.Contains(people.out, "ok    "+step) {
					t.Errorf("%s is not ok:\n%s", step, people.out)
				}
			}
			var health map[string]any
			monitor := shared.counterfoil(t, "doctor", provider, "-o", "json").good(t)
			if err := json.Unmarshal([]byte(monitor.out), &health); err != nil {
				t.Fatal(err)
			}
			steps, _ := json.Marshal(health["steps"])
			if bytes.Count(steps, []byte(`"result":"ok"`)) != 8 {
				t.Errorf("the steps are %s", steps)
			}
			if len(health) != 5 || health["status"] != "healthy" || health["authentication"] != "ok" || health["api_connectivity"] != "ok" || health["timestamp"] == "" {
				t.Errorf("answered %s", monitor.out)
			}
		})
	}
}

// TestDamagedSecret: doctor says that a secret is cut off or mistyped and sends
// nothing, and so does token once it is refused. Neither shows it.
func TestDamagedSecret(t *testing.T) {
	env, err := files.ReadEnv(filepath.Join(shared.dir, "env", "ahotu.env"))
	if err != nil {
		t.Fatal(err)
	}
	secret := env.Get("API_CLIENT_SECRET")
	mistyped := secret[:20] + "x" + secret[21:]
	if mistyped == secret {
		mistyped = secret[:20] + "y" + secret[21:]
	}
	for damaged, says := range map[string]string{
		secret[:40]: "is cut off: it has 40 of 52 characters", mistyped: "is mistyped: its checksum is wrong",
	} {
		run := func(command string) ran {
			path, env := consumerWith(t, "file:env/ahotu.env#API_CLIENT_SECRET", "env:DAMAGED")
			return execute(t, "", append(env, "DAMAGED="+damaged), binary, "--config", path, command, "ahotu")
		}
		for _, got := range []ran{run("doctor"), run("token"), run("call")} {
			if strings.Contains(got.out+got.err, damaged) {
				t.Errorf("the secret is shown in %s%s", got.out, got.err)
			}
		}
		got := run("doctor")
		if got.code != exitLocal || !strings.Contains(got.out, "FAIL  secret  client_secret (") || !strings.Contains(got.out, "the value "+says) ||
			!strings.Contains(got.out, "-     token") || !strings.Contains(got.err, "hint: copy all of it again") {
			t.Errorf("doctor: exit %d\n%s%s", got.code, got.out, got.err)
		}
		if got := run("token"); got.code != exitRefused || !strings.Contains(got.err, says+"; copy all of it again") {
			t.Errorf("token: exit %d\n%s%s", got.code, got.out, got.err)
		}
	}
}

// configured runs the binary with a changed client configuration.
func configured(t *testing.T, change func(string) string, args ...string) ran {
	t.Helper()
	path, env := consumerWith(t)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(change(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return execute(t, "", append(env, "WRONG_SECRET=wr0ng-s3cr3t"), binary, append([]string{"--config", path}, args...)...)
}

// A client configuration that lies about in the working directory is a
// stranger's: it could send this user's files to anybody.
func TestWorkingDirectoryIsNotTrusted(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(shared.dir, filepath.Join(dir, "counterfoil-data")); err != nil {
		t.Fatal(err)
	}
	home := []string{"HOME=" + dir, "XDG_CONFIG_HOME=" + filepath.Join(dir, "own")}
	got := execute(t, "", home, "sh", "-c", "cd "+dir+" && exec "+binary+" token a55")
	if got.code != exitLocal || !strings.Contains(got.err, "no client configuration at "+dir+"/own/counterfoil/consumer.yaml") || !strings.Contains(got.err, "hint: name one with --config") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "own"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(shared.dir, filepath.Join(dir, "own", "counterfoil")); err != nil {
		t.Fatal(err)
	}
	execute(t, "", home, binary, "token", "a55").good(t)
}

// What a server writes into its answer does not reach the terminal as commands.
func TestTerminalIsNotCommanded(t *testing.T) {
	var said strings.Builder
	p := &program{console: console{stdio: stdio{Err: &said}}}
	p.report(p.root(), fmt.Errorf("the API answered 404 \x1b]0;pwned\a\x1b[2J\u009b31m\u202e\u2066"))
	if strings.ContainsAny(said.String(), "\x1b\a\u009b\u202e\u2066") {
		t.Errorf("said %q", said.String())
	}
}

// Each failure has its exit code, one line and the next action.
func TestFailures(t *testing.T) {
	replace := func(pairs ...string) func(string) string { return strings.NewReplacer(pairs...).Replace }
	same := replace()
	for _, row := range []struct {
		name   string
		change func(string) string
		args   []string
		code   int
		says   string
		hint   string
	}{
		{"no command", same, []string{"tokn"}, 2, `unknown command "tokn"`, "--help"},
		{"no connection named", same, []string{"token"}, 2, "'counterfoil token' needs CONNECTION", "choose from a55, ahotu"},
		{"unknown connection", same, []string{"token", "okta"}, 2, `no connection "okta"`, "a55, ahotu, altrata, altrata-directory, engagifii"},
		{"unknown flag", same, []string{"token", "a55", "--secret", "x"}, 2, "unknown flag", "--help"},
		{"unknown output", same, []string{"token", "a55", "-o", "xml"}, 2, "choose text or json", "--help"},
		{"bad header", same, []string{"call", "a55", "-H", "nocolon"}, 2, "not 'Name: value'", "--help"},
		{"wrong secret", replace("file:"+shared.dir+"/env/a55.env#API_CLIENT_SECRET", "env:WRONG_SECRET"), []string{"token", "a55"}, 3, "refuses the client", "client_secret"},
		{"wrong scope", replace("scope: events:read", "scope: events:write"), []string{"token", "ahotu"}, 3, "refuses the scope", "scope"},
		{"secret that is not there", replace("file:"+shared.dir+"/env/a55.env#API_CLIENT_SECRET", "env:UNSET_SECRET"), []string{"token", "a55"}, 1, "consumer.yaml:11): secret env:UNSET_SECRET", "fix the reference"},
		{"secret in the clear", replace("file:"+shared.dir+"/env/a55.env#API_CLIENT_SECRET", "s3cr3t-in-the-clear"), []string{"token", "a55"}, 1, "consumer.yaml:11): a secret is given by reference", "fix"},
		{"unknown field", replace("token_cache:", "tokn_cache:"), []string{"token", "a55"}, 1, `unknown field "tokn_cache"`, "fix"},
		{"authority that is not trusted", replace("ca_file: "+shared.dir+"/tls/ca.pem", ""), []string{"token", "a55"}, 1, "certificate", "ca_file"},
		{"nothing listens", replace(strings.TrimPrefix(shared.base, "https://"), "127.0.0.1:1"), []string{"doctor", "a55"}, 1, "", "nothing listens there"},
		{"plain HTTP", replace("https://", "http://"), []string{"token", "a55"}, 1, "https", ""},
		{"not found", same, []string{"call", "a55", "GET", "/wallets/00000000-0000-4000-8000-000000000000"}, 4, "404", "check the path"},
		{"tenant of someone else", replace("tenant: TENANT123", "tenant: TENANT456"), []string{"call", "engagifii", "POST", "/api/1.0/event/list", "-d", "{}"}, 4, "403", "doctor engagifii"},
		{"doctor, tenant of someone else", replace("tenant: TENANT123", "tenant: TENANT456"), []string{"doctor", "engagifii"}, 4, "API failed", "tenant"},
		{"doctor, wrong secret", replace("file:"+shared.dir+"/env/a55.env#API_CLIENT_SECRET", "env:WRONG_SECRET"), []string{"doctor", "a55"}, 3, "token failed", "client_secret"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := configured(t, row.change, row.args...)
			if got.code != row.code {
				t.Errorf("exit %d, want %d", got.code, row.code)
			}
			lines := strings.Split(strings.TrimSpace(got.err), "\n")
			if !strings.HasPrefix(lines[0], "counterfoil: ") || !strings.Contains(lines[0], row.says) || len(lines) > 2 {
				t.Errorf("said\n%s\nwant one line with %q", got.err, row.says)
			}
			if row.hint != "" && (len(lines) != 2 || !strings.HasPrefix(lines[1], "hint: ") || !strings.Contains(lines[1], row.hint)) {
				t.Errorf("said\n%s\nwant a hint with %q", got.err, row.hint)
			}
			if strings.Contains(got.out+got.err, "s3cr3t") {
				t.Errorf("the secret was shown:\n%s%s", got.out, got.err)
			}
		})
	}
}

func TestUnhealthyInJSON(t *testing.T) {
	got := configured(t, strings.NewReplacer("file:"+shared.dir+"/env/a55.env#API_CLIENT_SECRET", "env:WRONG_SECRET").Replace, "doctor", "a55", "-o", "json")
	var health map[string]any
	if err := json.Unmarshal([]byte(got.out), &health); err != nil {
		t.Fatalf("printed %q: %v", got.out, err)
	}
	steps, _ := json.Marshal(health["steps"])
	if !bytes.Contains(steps, []byte(`"result":"failed","step":"token"`)) || !bytes.Contains(steps, []byte(`{"result":"skipped","step":"API"}`)) || !bytes.Contains(steps, []byte(`"hint":"check client_id`)) {
		t.Errorf("the steps are %s", steps)
	}
	if got.code != 3 || len(health) != 4 || health["status"] != "unhealthy" || health["error"] == "" || health["timestamp"] == "" {
		t.Errorf("exit %d, printed %s", got.code, got.out)
	}
}

func TestProviderCommands(t *testing.T) {
	if got := execute(t, "", nil, binary, "provider", "list").good(t); !strings.Contains(got.out, "altrata") || !strings.Contains(got.out, "replace") {
		t.Errorf("list printed %s", got.out)
	}
	shown := execute(t, "", nil, binary, "provider", "show", "oauth2").good(t)
	path := filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(path, []byte(shown.out), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := execute(t, "", nil, binary, "provider", "check", path).good(t); !strings.Contains(got.out, "own.yaml: good, describes oauth2") {
		t.Errorf("check printed %s", got.out)
	}
	if got := execute(t, "", nil, binary, "provider", "schema").good(t).out; got != provider.Schema() {
		t.Errorf("the schema is %.200s", got)
	}
	whole := execute(t, "", nil, binary, "provider", "show", "a55", "-o", "json").good(t)
	if !json.Valid([]byte(whole.out)) || !strings.Contains(whole.out, `"token_use"`) {
		t.Errorf("show -o json printed %s", whole.out)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(shown.out, "lifetime: 1h", "lifetme: 1h", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := execute(t, "", nil, binary, "provider", "check", path)
	if bad.code != 1 || !strings.Contains(bad.out, `unknown field "lifetme" (allowed: path, url`) || !strings.Contains(bad.err, "1 of 1 descriptions are invalid") {
		t.Errorf("exit %d\n%s%s", bad.code, bad.out, bad.err)
	}
	if got := execute(t, "", nil, binary, "provider", "show", "okta"); got.code != 1 || !strings.Contains(got.err, "hint: 'counterfoil provider list'") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
}

func TestHelpAndCompletion(t *testing.T) {
	var look func(*cobra.Command)
	look = func(cmd *cobra.Command) {
		if cmd.Example == "" && cmd.Name() != "help" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			look(sub)
		}
	}
	look((&program{console: console{output: text}}).root())
	if got := execute(t, "", nil, binary, "client", "create", "--help").good(t); !strings.Contains(got.out, "Examples:\n  counterfoil client create a55") {
		t.Errorf("help printed %s", got.out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := execute(t, "", nil, binary, "completion", shell).good(t); len(got.out) < 1000 {
			t.Errorf("%s completion is %d bytes", shell, len(got.out))
		}
	}
	if got := shared.counterfoil(t, "__complete", "token", "").good(t); !strings.Contains(got.out, "engagifii\n") {
		t.Errorf("completion of connections printed %s", got.out)
	}
	if got := execute(t, "", nil, binary, "version").good(t); !strings.HasPrefix(got.out, "counterfoil ") {
		t.Errorf("version printed %s", got.out)
	}
}
