package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// lineOf is the number of the first line of a file after one that begins with
// another text, and itself has the text.
func lineOf(t *testing.T, file, after, text string) int {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begun := false
	for i, line := range strings.Split(string(content), "\n") {
		if begun && strings.Contains(line, text) {
			return i + 1
		}
		if strings.TrimSpace(line) == after {
			if text == "" {
				return i + 1
			}
			begun = true
		}
	}
	t.Fatalf("%s has no %q after %q", file, text, after)
	return 0
}

// A message about a connection names the file, the line and the key, never a field
// of Go: mistakes in the file and what a request finds wrong with it.
func TestMistakesNameFileLineAndKey(t *testing.T) {
	pin := "    pins: [sha256/" + strings.Repeat("A", 43) + "=]\n"
	for _, row := range []struct {
		name, connection string
		replace          []string // in the whole configuration
		key, says        string
		absent           bool // the line is the connection's
	}{
		{"http", "a55", []string{"token_url: https", "token_url: http"}, "token_url", "must start with https://", false},
		{"http of the API", "a55", []string{"api_url: https", "api_url: http"}, "api_url", "must start with https://", false},
		{"no URL", "a55", []string{"token_url: https://", "token_url: "}, "token_url", "is not an absolute URL", false},
		{"credentials in a URL", "a55", []string{"token_url: https://", "token_url: https://a:hunter2@"}, "client_id", "give them as client_id", false},
		{"no certificate", "a55", []string{"ca.pem", "nix.pem"}, "ca_file", "no such file", false},
		{"no API", "a55", []string{"api: wallets", "api: walets"}, "api", `is "walets": choose from wallets`, false},
		{"no provider", "ahotu", []string{"provider: ahotu", "provider: ahot"}, "provider", `no provider is called "ahot"`, false},
		{"a description that is not there", "ahotu", []string{"provider: ahotu", "provider: ./ahotu.yaml"}, "provider", "no such file", false},
		{"a scope that is none", "ahotu", []string{"scope: events:read", "scope: \"ä\""}, "scope", "RFC 6749", false},
		{"no scope", "ahotu", []string{"scope: events:read", ""}, "scope", "is missing", true},
		{"no tenant", "engagifii", []string{"tenant: TENANT123", ""}, "tenant", "is missing", true},
		{"no API key", "altrata", []string{`api_key: "file:` + shared.dir + `/env/altrata.env#API_KEY"`, ""}, "api_key", "is missing", true},
		{"no secret", "a55", []string{`client_secret: "file:` + shared.dir + `/env/a55.env#API_CLIENT_SECRET"`, ""}, "client_secret", "is missing", true},
		{"a pin that is none", "a55", []string{"    api: wallets\n", "    api: wallets\n    pins: [sha1/AAAA]\n"}, "pins", "a pin is sha256/", false},
		{"another key than pinned", "a55", []string{"    api: wallets\n", "    api: wallets\n" + pin}, "pins", "has no public key", false},
		{"a secret in the clear", "a55", []string{`client_secret: "file:` + shared.dir + `/env/a55.env#API_CLIENT_SECRET"`, "client_secret: hunter2"}, "client_secret", "by reference", false},
		{"a secret that is not there", "a55", []string{"a55.env#API_CLIENT_SECRET", "a55.env#NIX"}, "client_secret", "no line NIX=", false},
		{"an API key that is not there", "altrata", []string{"altrata.env#API_KEY", "altrata.env#NIX"}, "api_key", "no line NIX=", false},
		{"a key that is not there", "a55", []string{`client_secret: "file:`, `private_key: "file:nix`}, "private_key", "accepts client_secret_post, client_secret_basic only; give client_secret (", false},
		{"both a secret and a key", "a55", []string{"    api: wallets\n", "    api: wallets\n    private_key: file:k\n"}, "private_key", "are all given", false},
		{"another authority", "a55", []string{"ca_file: " + shared.dir + "/tls/ca.pem", ""}, "token_url", "check token_url", false},
		{"no token endpoint", "a55", []string{"a55/oauth2/token", "a55/oauth2/tokn"}, "token_url", "check token_url", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			path, env := consumerWith(t)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.NewReplacer(row.replace...).Replace(string(text))), 0o600); err != nil {
				t.Fatal(err)
			}
			got := execute(t, "", env, binary, "--config", path, "token", row.connection)
			of := row.key + ":"
			if row.absent {
				of = ""
			}
			at := fmt.Sprintf("%s (%s:%d)", row.key, path, lineOf(t, path, row.connection+":", of))
			if got.code != exitLocal || !strings.Contains(got.err, at) || !strings.Contains(got.err, row.says) || !strings.Contains(got.err, "connection "+row.connection) && !strings.Contains(got.err, "the token endpoint of") && !strings.Contains(got.err, "hint: fix") {
				t.Errorf("exit %d, said\n%swant %q and %q", got.code, got.err, at, row.says)
			}
			if regexp.MustCompile(`Config\b|client\.|hunter2|later`).MatchString(got.err) {
				t.Errorf("said\n%s", got.err)
			}
		})
	}
}

// Wrong usage names the argument and what there is.
func TestWrongUsageSaysWhatThereIs(t *testing.T) {
	for _, row := range []struct{ name, args, says, hint string }{
		{"a connection", "token a5", `no connection "a5": did you mean a55?`, "choose from a55, ahotu, altrata, altrata-directory, engagifii"},
		{"a connection in capitals", "call ALTRATA", `did you mean altrata?`, "choose from"},
		{"a connection like none", "doctor something-else", `no connection "something-else"` + "\n", "choose from"},
		{"the beginning of a connection", "token enga", "did you mean engagifii?", "choose from"},
		{"no connection", "call", "'counterfoil call' needs CONNECTION", "choose from a55"},
		{"too much", "token a55 b", `"b" is one argument too many`, "token --help"},
		{"arguments where there are none", "version x", `'counterfoil version' takes no arguments`, "--help"},
		{"a command", "tokne", `unknown command "tokne" for "counterfoil": did you mean token?`, "--help"},
		{"a command of a group", "client lst", "did you mean list?", "client --help"},
		{"a flag", "token a55 --renw", "unknown flag --renw: did you mean --renew?", "--help"},
		{"a path without its slash", "call a55 wallets", `"wallets" is neither a PATH, which begins with a slash, nor a METHOD`, "choose from GET"},
		{"a method", "call a55 GTE", "did you mean GET?", "choose from GET"},
		{"a number", "client list a55 --limit x --dir DIR", `--limit "x" is not a whole number`, "--help"},
		{"a length of time", "client rotate a55 x --overlap soon --dir DIR", `--overlap "soon" is not a length of time`, "--help"},
		{"a realm", "client list a5 --dir DIR", `did you mean a55?`, "choose from ahotu, altrata, engagifii, a55"},
		{"no realm", "key list --dir DIR", "'counterfoil key list' needs REALM", "choose from ahotu"},
		{"no client", "client show a55 --dir DIR", "'counterfoil client show' needs CLIENT", "choose from"},
		{"a format", "client import a55 - --format keyclok --dir DIR", `--format "keyclok" is unknown: did you mean keycloak?`, "choose from"},
		{"no format", "client import a55 - --dir DIR", "--format is missing", "choose from"},
		{"a status", "client list a55 --status on --dir DIR", `--status "on" is unknown`, "choose from enabled, disabled"},
		{"an API", "data import walets - --dir DIR", `there is no API "walets": did you mean wallets?`, "choose from"},
		{"a provider", "provider show a5", `no provider is called "a5"`, "did you mean a55?"},
		{"an algorithm", "key new KEY --algorithm ES25", "did you mean ES256?", "choose from ES256"},
	} {
		t.Run(row.name, func(t *testing.T) {
			args := strings.Fields(strings.NewReplacer("DIR", shared.dir, "KEY", filepath.Join(t.TempDir(), "k")).Replace(row.args))
			got := shared.counterfoil(t, args...)
			message, hint, _ := strings.Cut(got.err, "hint: ")
			if wantCode := map[bool]int{true: exitLocal, false: exitUsage}[args[0] == "provider"]; got.code != wantCode || !strings.Contains(message, row.says) || !strings.Contains(hint, row.hint) || strings.Count(got.err, "\n") != 2 {
				t.Errorf("exit %d, said\n%s", got.code, got.err)
			}
		})
	}
}

// A client id that is nearly one is named.
func TestUnknownClientIsNearOne(t *testing.T) {
	id := shared.env(t, "a55").Get("API_CLIENT_ID")
	got := execute(t, "", nil, binary, "client", "show", "a55", id[1:], "--dir", shared.dir)
	if got.code != exitLocal || !strings.Contains(got.err, "did you mean "+id+"?") || !strings.Contains(got.err, "hint: 'counterfoil client list a55'") {
		t.Errorf("exit %d, said\n%s", got.code, got.err)
	}
}

// Hints name the key that the connection has: private_key where there is no secret.
func TestHintsNameThePrivateKey(t *testing.T) {
	key := filepath.Join(t.TempDir(), "k")
	execute(t, "", nil, binary, "key", "new", key).good(t)
	change := strings.NewReplacer("provider: a55", "provider: oauth2", "    api: wallets\n", "", "client_secret: \"file:"+shared.dir+"/env/a55.env#API_CLIENT_SECRET\"", "private_key: file:"+key).Replace
	got := configured(t, change, "token", "a55")
	if got.code != exitRefused || !strings.Contains(got.err, "private_key (") || strings.Contains(got.err, "client_secret") {
		t.Errorf("exit %d, said\n%s", got.code, got.err)
	}
}

// Completion knows connections, realms and client ids, and changes nothing.
func TestCompletionKnowsWhatThereIs(t *testing.T) {
	id := shared.env(t, "a55").Get("API_CLIENT_ID")
	empty := filepath.Join(t.TempDir(), "none")
	for _, row := range []struct {
		name string
		args []string
		want string
	}{
		{"connections", []string{"token", ""}, "a55\nahotu\naltrata\naltrata-directory\nengagifii\n"},
		{"connections to forget", []string{"token", "--forget", ""}, "a55\nahotu\naltrata\naltrata-directory\nengagifii\n"},
		{"connections of a server", []string{"client", "list", "--server", ""}, "a55\nahotu\naltrata\naltrata-directory\nengagifii\n"},
		{"realms", []string{"client", "create", "--dir", shared.dir, ""}, "ahotu\naltrata\nengagifii\na55\n"},
		{"realms of keys", []string{"key", "rotate", "--dir", shared.dir, ""}, "ahotu\naltrata\nengagifii\na55\n"},
		{"client ids", []string{"client", "show", "--dir", shared.dir, "a55", id[:4]}, id + "\n"},
		{"all client ids", []string{"client", "rotate", "--dir", shared.dir, "a55", ""}, id + "\n"},
		{"no third", []string{"client", "show", "--dir", shared.dir, "a55", id, ""}, ":4"},
		{"formats", []string{"client", "import", "a55", "x", "--format", ""}, "keycloak\n"},
		{"APIs", []string{"data", "import", ""}, "calendar\nevents\nprofiles\nwallets\n"},
		{"algorithms", []string{"key", "new", "k", "--algorithm", ""}, "ES256\n"},
		{"no data directory", []string{"client", "show", "--dir", empty, ""}, ":4"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := shared.counterfoil(t, append([]string{"__complete"}, row.args...)...).good(t); !strings.Contains(got.out, row.want) || strings.Contains(got.out, "hint") {
				t.Errorf("printed %s", got.out)
			}
		})
	}
	if _, err := os.Stat(empty); err == nil {
		t.Error("completion has made a directory")
	}
}

func TestVersionFlag(t *testing.T) {
	flag, command := execute(t, "", nil, binary, "--version").good(t), execute(t, "", nil, binary, "version").good(t)
	if flag.out != command.out || !strings.HasPrefix(flag.out, "counterfoil ") {
		t.Errorf("printed %q and %q", flag.out, command.out)
	}
}

// An error under -o json is one JSON object on standard error, and the exit code
// is that of the text.
func TestErrorsInJSON(t *testing.T) {
	wrong := strings.NewReplacer("file:"+shared.dir+"/env/a55.env#API_CLIENT_SECRET", "env:WRONG_SECRET", "http", "http").Replace
	two := strings.NewReplacer("token_url: https", "token_url: http", "scope: events:read", "").Replace
	same := strings.NewReplacer().Replace
	for _, row := range []struct {
		name   string
		change func(string) string
		args   []string
		code   int
		reason string
	}{
		{"refused", wrong, []string{"token", "a55", "-o", "json"}, exitRefused, "invalid_client"},
		{"refused, verbose in text", wrong, []string{"token", "a55", "-ojson"}, exitRefused, "invalid_client"},
		{"doctor", wrong, []string{"doctor", "a55", "--output=json"}, exitRefused, ""},
		{"the API", same, []string{"call", "a55", "GET", "/wallets/x", "--output", "json"}, exitCallerFault, ""},
		{"usage", same, []string{"token", "a5", "-o", "json"}, exitUsage, ""},
		{"a flag before it", same, []string{"token", "--bogus", "-o", "json"}, exitUsage, ""},
		{"a command before it", same, []string{"tokn", "-o=json"}, exitUsage, ""},
		{"no argument", same, []string{"-o", "json", "token"}, exitUsage, ""},
		{"two lines", two, []string{"token", "ahotu", "-o", "json"}, exitLocal, ""},
		{"an unknown field", strings.NewReplacer("token_cache:", "tokn_cache:").Replace, []string{"token", "a55", "-o", "json"}, exitLocal, ""},
		{"a problem", same, []string{"client", "show", "a55", "nix", "--dir", shared.dir, "-o", "json"}, exitLocal, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := configured(t, row.change, row.args...)
			var v struct {
				Message, Hint, Reason string
				ExitCode              int `json:"exit_code"`
			}
			if err := json.Unmarshal([]byte(got.err), &v); err != nil || strings.Count(got.err, "\n") != 1 {
				t.Fatalf("exit %d, said\n%s", got.code, got.err)
			}
			if got.code != row.code || v.ExitCode != row.code || v.Message == "" || v.Reason != row.reason {
				t.Errorf("exit %d, want %d with reason %q; said %s", got.code, row.code, row.reason, got.err)
			}
		})
	}
}

// A start that fails under -o json says its error alone, with what was logged
// before in it; one that goes well logs.
func TestStartFailsInJSON(t *testing.T) {
	group := func(file string) {
		t.Helper()
		if err := os.Chmod(file, 0o664); err != nil {
			t.Fatal(err)
		}
	}
	s := layOut(t, strings.Replace(exampleConfig(t), "listen: 127.0.0.1:0", "listen: "+strings.Replace(strings.TrimPrefix(shared.base, "https://"), "localhost", "127.0.0.1", 1), 1))
	group(s.file)
	good := filepath.Join(t.TempDir(), "data")
	if err := start(t, good, "127.0.0.1:0").stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	group(filepath.Join(good, "consumer.yaml"))
	bad := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(bad, os.DirFS(good)); err != nil {
		t.Fatal(err)
	}
	group(filepath.Join(bad, "consumer.yaml"))
	for _, name := range []string{"-wal", "-shm"} {
		_ = os.Remove(filepath.Join(bad, "counterfoil.db"+name))
	}
	if err := os.WriteFile(filepath.Join(bad, "counterfoil.db"), bytes.Repeat([]byte("no database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.yaml")
	if err := os.WriteFile(wrong, []byte("listen: nowhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const warning = "its group can write it (mode 0664)"
	for _, args := range [][]string{
		{"serve", "--config", s.file}, {"up", "--dir", bad, "--listen", "127.0.0.1:0"}, {"up", "--verbose", "--dir", bad, "--listen", "127.0.0.1:0"},
		{"serve", "--check", "--config", wrong},
	} {
		got := execute(t, "", nil, binary, append(args, "-o", "json")...)
		var v struct {
			Message  string
			ExitCode int `json:"exit_code"`
			Log      []any
		}
		if err := json.Unmarshal([]byte(got.err), &v); err != nil || strings.Count(got.err, "\n") != 1 || got.code != exitLocal || v.ExitCode != exitLocal || v.Message == "" {
			t.Errorf("%s: exit %d, %v, said\n%s", args, got.code, err, got.err)
		}
		if said := fmt.Sprint(v.Log); strings.Contains(said, warning) == (args[1] == "--check") {
			t.Errorf("%s: logged %s", args, said)
		}
	}
	u := start(t, good, "127.0.0.1:0", "-o", "json")
	waitFor(t, func() bool { return strings.Contains(u.errors(), "\n") }) // what was held follows
	if first, _, _ := strings.Cut(u.errors(), "\n"); !json.Valid([]byte(first)) || !strings.Contains(first, warning) {
		t.Errorf("a start that went well logged %s", first)
	}
}

// A secret that cannot be written out is one JSON object of an error, too.
func TestLostSecretInJSON(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("%v: it is there on Linux", err)
	}
	got := execute(t, "", nil, "sh", "-c", `exec "$@" > /dev/full`, "sh", binary, "client", "create", "a55", "--dir", shared.dir, "-o", "json")
	if got.code != exitLocal || !json.Valid([]byte(got.err)) || !strings.Contains(got.err, "the client is deleted again") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
}

// "Try again later" and the hint to run doctor come only where they help.
func TestHintsThatHelp(t *testing.T) {
	status := http.StatusOK
	tokens := true
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/a55/oauth2") && tokens {
			rw.Header().Set("Content-Type", "application/json")
			fmt.Fprint(rw, `{"access_token":"a-token","token_type":"Bearer","expires_in":3600}`)
			return
		}
		rw.WriteHeader(status)
	}))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		status                int
		token, later, doctors bool // token: it is that of the token endpoint
	}{
		{400, false, false, false}, {401, false, false, true}, {403, false, false, true}, {404, false, false, false}, {409, false, false, false},
		{422, false, false, false}, {429, false, false, false}, {500, false, true, false}, {501, false, false, false}, {502, false, true, false}, {503, false, true, false}, {505, false, false, false},
		{404, true, false, true}, {501, true, false, true}, {505, true, false, true},
	} {
		t.Run(fmt.Sprint(row.status, row.token), func(t *testing.T) {
			status, tokens = row.status, !row.token
			path, env := consumerWith(t, shared.base, server.URL, "tls/ca.pem", ca)
			got := execute(t, "", env, binary, "--config", path, "call", "a55", "POST", "/wallets")
			_, hint, _ := strings.Cut(got.err, "hint: ")
			if strings.Contains(got.err, "later") != row.later || strings.Contains(hint, "doctor") != row.doctors || hint == "" {
				t.Errorf("exit %d, said\n%s", got.code, got.err)
			}
		})
	}
}

// A connection that this machine refuses is no reason to wait 14 s for a server
// that nobody starts, at the token endpoint or at the API.
func TestRefusedHereIsSaidAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	api := strings.NewReplacer("api_url: "+shared.base, "api_url: https://localhost:"+port).Replace
	all := strings.NewReplacer(shared.base, "https://127.0.0.1:"+port).Replace
	for _, row := range []struct {
		name   string
		change func(string) string
		args   []string
	}{{"token", all, []string{"token", "a55"}}, {"call", all, []string{"call", "a55"}}, {"the API alone", api, []string{"call", "a55", "GET", "/wallets"}}, {"doctor", all, []string{"doctor", "a55"}}} {
		t.Run(row.name, func(t *testing.T) {
			got := configured(t, row.change, row.args...)
			if got.code != exitLocal || !strings.Contains(got.out+got.err, "connection refused") || !strings.Contains(got.err, "hint: nothing listens there") || strings.Contains(got.err, "later") {
				t.Errorf("exit %d, said\n%s", got.code, got.err)
			}
		})
	}
	n := startNamed(t)
	if got := n.counterfoil(t, "http://127.0.0.1:"+port, "token", "it", "-v"); got.code != exitLocal || !strings.Contains(got.err, "hint: the proxy cannot be reached") || strings.Contains(got.err, "attempt 2") {
		t.Errorf("a proxy: exit %d, said\n%s", got.code, got.err)
	}
	for _, args := range [][]string{{"token", "a55", "-v"}, {"call", "a55", "-v"}} {
		if got := configured(t, all, args...); strings.Contains(got.err, "attempt 2") {
			t.Errorf("it was tried again:\n%s", got.err)
		}
	}
	if got := configured(t, api, "call", "a55", "GET", "/wallets", "-v"); strings.Contains(got.err, "again in") {
		t.Errorf("it was called again:\n%s", got.err)
	}
}

// What is waited for is said after a second, not while a person is asked, and
// with the failure that another attempt follows.
func TestWaitingIsTold(t *testing.T) {
	l := &link{tokenURL: "https://auth.example/token"}
	if got := l.waiting(900 * time.Millisecond); got != "" {
		t.Errorf("told %q", got)
	}
	if got := l.waiting(2 * time.Second); got != "waiting for auth.example for 2s" {
		t.Errorf("told %q", got)
	}
	failure := "answered 503\x1b[2J"
	l.last.Store(&failure)
	if got := l.waiting(3 * time.Second); got != "waiting for auth.example for 3s: answered 503\\u001b[2J" {
		t.Errorf("told %q", got)
	}
	t.Run("at a terminal", func(t *testing.T) {
		mute, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and never says a word
		if err != nil {
			t.Fatal(err)
		}
		defer mute.Close()
		path, env := consumerWith(t, shared.base, "https://"+mute.Addr().String())
		const terminal = `import os, pty, signal, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
while b"waiting for " not in shown:
    shown += os.read(fd, 4096)
os.kill(pid, signal.SIGINT)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`
		if got := execute(t, "", env, "/usr/bin/python3", "-c", terminal, binary, "--config", path, "token", "a55"); got.code != exitInterrupted {
			t.Errorf("exit %d, said %s", got.code, got.err)
		}
	})
	l.asking.Add(1)
	if got := l.waiting(time.Minute); got != "" {
		t.Errorf("told %q while a person is asked", got)
	}
}
