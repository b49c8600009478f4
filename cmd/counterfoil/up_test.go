package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/trust"
)

// printedBlock is what stands under one heading of what 'up' prints.
type printedBlock struct {
	heading, script string
}

// printedBlocks are the lines to try that 'up' printed.
func printedBlocks(t *testing.T, printed string) []printedBlock {
	t.Helper()
	var blocks []printedBlock
	for line := range strings.Lines(printed) {
		line, indented := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "  ")
		heading, isHeading := strings.CutPrefix(line, "# ")
		switch {
		case !indented:
		case isHeading:
			blocks = append(blocks, printedBlock{heading: heading})
		case strings.HasPrefix(line, "counterfoil "):
			blocks = append(blocks, printedBlock{"Counterfoil", line})
		case len(blocks) > 0:
			blocks[len(blocks)-1].script += line + "\n"
		default:
			t.Errorf("no heading stands above %q", line)
		}
	}
	return blocks
}

// The lines that 'up' prints are run as they stand, all in one shell and in
// order, in the directory where a newcomer would be. Lines were long, and their
// quotes stood in quotes, so that nobody could read or change them.
func TestPrintedLinesWork(t *testing.T) {
	const unauthorized = `{"errors":[{"message":"Unauthorized","extensions":{"code":"UNAUTHENTICATED"}}]}`
	want := map[string]string{
		"ahotu Events Content Calendar API":                   `^\{"data":\{"events":\{"totalCount":\d+,.*\}\]\}\}\}$`,
		"Altrata Profile API":                                 `^\{"data":\{"people":\{"totalCount":320,.*"headline".*$`,
		"the same token opens Directory API":                  `^\{"data":\{"people":\{"totalCount":320,.*"headline".*$`,
		"a new token replaces the old one for every API: 401": `^` + regexp.QuoteMeta(unauthorized+unauthorized) + `$`,
		"Engagifii Events API":                                `^\{"totalCount":\d+,"data":\[\{"id":.*$`,
		"the client's other tenant has other rows":            `^\{"totalCount":\d+,"data":\[\{"id":.*$`,
		"a tenant that the client is not granted: 403":        `^\{"error":\{"code":"TENANT_FORBIDDEN",.*$`,
		"A55 core API":                                        `^\{"page":1,"size":20,"totalCount":12,.*"currency":"BRL".*$`,
		"Counterfoil":                                         `^\{"data":\{"events":\{"totalCount":.*$`,
		"a browser: import the file as an authority, in its settings for certificates":                  `^$`,
		"Java (delete an old trust.jks first); then: java -Djavax.net.ssl.trustStore=trust.jks":         `^$`,
		"Node with dotenv, which comes too late: Node reads this variable at its start only":            `^$`,
		".NET on Windows: certutil -user -addstore Root FILE; on macOS: security add-trusted-cert FILE": `^$`,
		"Mono: cert-sync --user FILE": `^$`,
	}
	printed := shared.printed()
	for line := range strings.Lines(printed) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 120 {
			t.Errorf("a line of %d columns: %s", n, line)
		}
		for _, nested := range []string{`'"'`, `"'"`, `\"`, `'\''`} {
			if strings.Contains(line, nested) {
				t.Errorf("quotes in quotes: %s", line)
			}
		}
	}
	blocks := printedBlocks(t, printed)
	for _, shell := range []string{"dash", "bash"} {
		t.Run(shell, func(t *testing.T) {
			dir := t.TempDir()
			var script strings.Builder
			for _, b := range blocks {
				fmt.Fprintf(&script, "printf '\\036'\n%s", b.script+"\n")
			}
			// What a printed variable is for: a program that starts after it.
			fmt.Fprintf(&script, "printf '\\036'\nnode -e 'fetch(process.argv[1]).then(async r => console.log(await r.text()))' %s/healthz\n", shared.base)
			got := execute(t, "", []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")}, shell, "-c", "cd "+dir+"\n"+script.String()).good(t)
			answers := strings.Split(got.out, "\036")[1:]
			if len(answers) != len(blocks)+1 {
				t.Fatalf("%d answers to %d blocks: %s", len(answers), len(blocks), got.err)
			}
			for i, b := range blocks {
				pattern, known := want[b.heading]
				if !known {
					t.Errorf("nobody expects %q", b.heading)
				}
				if answer := strings.TrimSpace(answers[i]); !regexp.MustCompile("(?s)" + pattern).MatchString(answer) {
					t.Errorf("%s: answered %s\n%s", b.heading, answer, b.script)
				}
			}
			if len(blocks) != len(want) {
				t.Errorf("%d blocks are printed, want %d", len(blocks), len(want))
			}
			if answer := answers[len(blocks)]; answer != "{\"status\":\"good\"}\n\n" {
				t.Errorf("Node, without an environment file: %s, %s", answer, got.err)
			}
			javaTrusts(t, dir)
		})
	}
	for _, b := range blocks {
		first, _, _ := strings.Cut(b.script, "\n")
		if strings.HasSuffix(b.heading, " API") && !strings.Contains(b.heading, "opens") && !strings.HasPrefix(first, ". ") {
			t.Errorf("%s starts with %q", b.heading, first)
		}
	}
	for _, secret := range []string{shared.env(t, "a55").Get("API_CLIENT_SECRET"), shared.env(t, "altrata").Get("API_KEY")} {
		if strings.Contains(printed, secret) {
			t.Error("a secret was printed")
		}
	}
}

// javaTrusts calls the server from Java with the trust store of the printed
// line, as the line above it says.
func javaTrusts(t *testing.T, dir string) {
	t.Helper()
	const source = `import java.net.URI;
import java.net.http.*;
class Trust { public static void main(String[] a) throws Exception {
	System.out.print(HttpClient.newHttpClient().send(HttpRequest.newBuilder(URI.create(a[0])).build(), HttpResponse.BodyHandlers.ofString()).body());
} }
`
	if err := os.WriteFile(filepath.Join(dir, "Trust.java"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	got := execute(t, "", nil, "sh", "-c", "cd "+dir+" && java -Djavax.net.ssl.trustStore=trust.jks Trust.java "+shared.base+"/healthz")
	if got.out != `{"status":"good"}`+"\n" {
		t.Errorf("Java answered %s, %s", got.out, got.err)
	}
}

// No name of an environment file is one that shells set by themselves: they had
// USERNAME, and zsh lets nobody change it.
func TestVariableOfTheShell(t *testing.T) {
	own := []string{"CDPATH", "COLUMNS", "ENV", "EUID", "GID", "HISTFILE", "HOME", "HOST", "HOSTNAME", "IFS", "LANG", "LINES", "LOGNAME", "MAIL", "OLDPWD", "OPTARG", "OPTIND",
		"PATH", "PPID", "PS1", "PS2", "PS4", "PWD", "RANDOM", "SECONDS", "SHELL", "SHLVL", "TERM", "TZ", "UID", "USER", "USERNAME"}
	for _, name := range missionProviders {
		for _, s := range shared.env(t, name) {
			if slices.Contains(own, s.Key) {
				t.Errorf("%s sets %s", name, s.Key)
			}
		}
	}
}

func TestEnvironmentFiles(t *testing.T) {
	all := []string{"AUTH_URL", "API_BASE_URL", "API_CLIENT_ID", "API_CLIENT_SECRET", "API_SCOPE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"}
	for _, row := range []struct {
		provider, token, api string
		more                 []string
	}{
		{"ahotu", "/oauth2/token", "/graphql", nil},
		{"altrata", "/oauth2/token", "/v1/graphql", []string{"API_KEY", "API_USERNAME", "API_PASSWORD"}},
		{"engagifii", "/connect/token", "", []string{"IDENTITY_SERVER_URL", "CLIENT_ID", "CLIENT_SECRET", "TENANT_CODE", "API_VERSION"}},
		{"a55", "/oauth2/token", "/api/v1", nil},
	} {
		t.Run(row.provider, func(t *testing.T) {
			path := filepath.Join(shared.dir, "env", row.provider+".env")
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != 0o600 {
				t.Errorf("mode %o", got)
			}
			env, want := shared.env(t, row.provider), slices.Concat(all, row.more)
			var keys []string
			for _, s := range env {
				keys = append(keys, s.Key)
				if s.Value == "" {
					t.Errorf("%s is empty", s.Key)
				}
			}
			slices.Sort(keys)
			slices.Sort(want)
			if !slices.Equal(keys, want) {
				t.Errorf("keys %v, want %v", keys, want)
			}
			base := shared.base + "/" + row.provider
			if got := env.Get("AUTH_URL"); got != base+row.token {
				t.Errorf("AUTH_URL %s", got)
			}
			if got := env.Get("API_BASE_URL"); got != base+row.api {
				t.Errorf("API_BASE_URL %s", got)
			}
			if row.provider == "engagifii" && env.Get("IDENTITY_SERVER_URL") != base {
				t.Errorf("IDENTITY_SERVER_URL %s", env.Get("IDENTITY_SERVER_URL"))
			}
			shell := shared.sourced(t, row.provider, `printf %s "$API_CLIENT_SECRET"`).good(t)
			if shell.out != env.Get("API_CLIENT_SECRET") || shell.err != "" {
				t.Errorf("sourced, the secret is another: %q", shell.err)
			}
		})
	}
}

// Nothing in the data directory can be read by another user, but for the
// authority's certificate, which is public, and inside a closed directory.
func TestDataDirectoryIsClosed(t *testing.T) {
	err := filepath.WalkDir(shared.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 && filepath.Base(path) != "ca.pem" {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUpRefusesToStart(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := t.TempDir()
	if err := os.WriteFile(filepath.Join(damaged, "counterfoil.db"), bytes.Repeat([]byte("no database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	odd := t.TempDir()
	if err := os.Mkdir(filepath.Join(odd, "providers"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(odd, "providers", "x.yaml"), []byte("name: x\ncolour: red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	short := t.TempDir() // its description has the shorter ending
	if err := os.Mkdir(filepath.Join(short, "providers"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(short, "providers", "x.YML"), []byte("name: x\ncolour: red\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lost := t.TempDir()
	for _, name := range []string{"counterfoil.db", "consumer.yaml"} {
		if err := os.WriteFile(filepath.Join(lost, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := t.TempDir()
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(shared.base, "https://"), ":")
	address := "127.0.0.1:" + port
	// Ports that another program has on one of the two addresses of localhost.
	taken := func(address string) string {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		_, port, _ := net.SplitHostPort(l.Addr().String())
		return port
	}
	onIPv4, onIPv6 := taken("127.0.0.1:0"), taken("[::1]:0")
	for _, row := range []struct {
		name      string
		args      []string
		code      int
		says, why string
	}{
		{"port in use", []string{"--dir", t.TempDir(), "--listen", address}, 1, address + " is in use", "--listen"},
		{"port in use on both", []string{"--dir", t.TempDir(), "--listen", "localhost:" + port}, 1, address + " is in use", "--listen localhost:9443"},
		{"port in use on 127.0.0.1", []string{"--dir", t.TempDir(), "--listen", "localhost:" + onIPv4}, 1, "127.0.0.1:" + onIPv4 + " is in use", "--listen localhost:9443"},
		{"port in use on ::1", []string{"--dir", t.TempDir(), "--listen", "Localhost:" + onIPv6}, 1, "[::1]:" + onIPv6 + " is in use", "--listen localhost:9443"},
		{"impossible port", []string{"--dir", t.TempDir(), "--listen", "localhost:99999"}, 1, "99999: invalid port", "--listen"},
		{"directory that cannot be made", []string{"--dir", filepath.Join(blocked, "data"), "--listen", "127.0.0.1:0"}, 1, "not a directory", "--dir"},
		{"damaged database", []string{"--dir", damaged, "--listen", "127.0.0.1:0"}, 1, "counterfoil.db", "start again"},
		{"directory in use", []string{"--dir", shared.dir, "--listen", "127.0.0.1:0"}, 1, "another 'counterfoil up'", "--dir"},
		{"lost database", []string{"--dir", lost, "--listen", "127.0.0.1:0"}, 1, "missing or empty", "start again"},
		{"directory that others may write to", []string{"--dir", open, "--listen", "127.0.0.1:0"}, 1, "others may write", "chmod 700"},
		{"mistaken provider", []string{"--dir", odd, "--listen", "127.0.0.1:0"}, 1, `x.yaml:2:1: unknown field "colour"`, "provider check"},
		{"mistaken provider of the shorter ending", []string{"--dir", short, "--listen", "127.0.0.1:0"}, 1, `x.YML:2:1: unknown field "colour"`, "provider check"},
		{"address of another machine", []string{"--dir", t.TempDir(), "--listen", "192.0.2.1:8443"}, 2, "for this machine", "--help"},
		{"no port", []string{"--dir", t.TempDir(), "--listen", "localhost"}, 2, "not HOST:PORT", "--help"},
		{"unknown flag", []string{"--colour"}, 2, "unknown flag", "--help"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := execute(t, "", nil, binary, append([]string{"up"}, row.args...)...)
			if got.code != row.code {
				t.Errorf("exit %d, want %d", got.code, row.code)
			}
			lines := strings.Split(strings.TrimSpace(got.err), "\n")
			if len(lines) != 2 || !strings.Contains(lines[0], row.says) || !strings.HasPrefix(lines[1], "hint: ") || !strings.Contains(lines[1], row.why) {
				t.Errorf("said\n%s\nwant one line with %q and a hint with %q", got.err, row.says, row.why)
			}
		})
	}
}

// 'up' whose words cannot be written serves nothing and says so at once: it went
// on, and said so when it was stopped.
func TestUpThatNobodyReads(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("%v: it is there on Linux", err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "providers"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "providers", "acme.txt"), []byte("name: acme\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := execute(t, "", nil, "sh", "-c", `exec "$@" > /dev/full`, "sh", binary, "up", "--dir", dir, "--listen", "localhost:0")
	if !strings.Contains(got.err, "acme.txt is not read: the name of a description ends in .yaml or .yml") {
		t.Errorf("of a file that is passed over, it said %q", got.err)
	}
	if got.code != exitLocal || !strings.Contains(got.err, "counterfoil: write the output: ") || !strings.Contains(got.err, "hint: nothing is served") {
		t.Errorf("exit %d, said %q", got.code, got.err)
	}
}

// A second start goes on where the first ended: tokens of the first are still
// good, secrets and data are the same.
func TestUpAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, dir, "127.0.0.1:0")
	address := strings.TrimPrefix(first.base, "https://")
	token := first.counterfoil(t, "token", "a55").good(t).out
	wallets := first.counterfoil(t, "call", "a55", "GET", "/wallets").good(t).out
	env := first.env(t, "altrata")
	if err := first.stop(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM: %v\n%s", err, first.errors())
	}
	second := start(t, dir, address)
	if got := second.env(t, "altrata"); !slices.Equal(got, env) {
		t.Error("the environment file changed")
	}
	if got := second.counterfoil(t, "token", "a55").good(t).out; got != token {
		t.Error("the cached token was not used")
	}
	if got := second.counterfoil(t, "call", "a55", "GET", "/wallets").good(t).out; got != wallets {
		t.Errorf("the wallets changed:\n%s\n%s", wallets, got)
	}
	if err := second.stop(syscall.SIGINT); err != nil {
		t.Errorf("SIGINT: %v", err)
	}
	// A lost environment file is made anew, with a secret that serves.
	if err := os.Remove(filepath.Join(dir, "env", "a55.env")); err != nil {
		t.Fatal(err)
	}
	third := start(t, dir, address)
	if got := third.env(t, "a55"); got.Get("API_CLIENT_ID") == "" || got.Get("API_CLIENT_SECRET") == "" {
		t.Errorf("not made anew: %v", got)
	}
	third.counterfoil(t, "token", "a55", "--renew").good(t)
	if got := third.counterfoil(t, "call", "a55", "GET", "/wallets").good(t).out; got != wallets {
		t.Error("the client lost its wallets")
	}
}

// A client that an operator has disabled stays so, and keeps its secret.
func TestUpLeavesADisabledClientAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, dir, "127.0.0.1:0")
	env := first.env(t, "a55")
	execute(t, "", nil, binary, "client", "disable", "a55", env.Get("API_CLIENT_ID"), "--dir", dir).good(t)
	if err := first.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	second := start(t, dir, "127.0.0.1:0")
	if got := second.env(t, "a55").Get("API_CLIENT_SECRET"); got != env.Get("API_CLIENT_SECRET") {
		t.Error("the secret of a disabled client was rotated")
	}
	if !strings.Contains(second.errors(), "is disabled") {
		t.Errorf("up does not say so: %s", second.errors())
	}
	execute(t, "", nil, binary, "client", "enable", "a55", env.Get("API_CLIENT_ID"), "--dir", dir).good(t)
	second.counterfoil(t, "token", "a55").good(t)
}

// kill -9 at any moment of the first start leaves a directory that the next
// start makes whole.
func TestKillDuringFirstStart(t *testing.T) {
	for _, step := range []string{"tls/server.pem", "tls/ca.pem", "counterfoil.db", "env/ahotu.env", "env/altrata.env", "consumer.yaml"} {
		t.Run(strings.ReplaceAll(step, "/", " "), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			killWhen(t, dir, step)
			u := start(t, dir, "127.0.0.1:0")
			for _, provider := range missionProviders {
				u.counterfoil(t, "doctor", provider).good(t)
			}
		})
	}
}

func TestPlainHTTPIsRefused(t *testing.T) {
	resp, err := http.Get("http://" + strings.TrimPrefix(shared.base, "https://") + "/ahotu/graphql")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" {
		t.Errorf("answered %s to %s", resp.Status, resp.Header.Get("Location"))
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	_, err := tls.Dial("tcp", strings.TrimPrefix(shared.base, "https://"), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

// A request under way when the signal comes is answered.
func TestDrain(t *testing.T) {
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	env := u.env(t, "a55")
	pool, err := trust.File(env.Get("SSL_CERT_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(u.base, "https://"), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := "grant_type=client_credentials&client_id=" + env.Get("API_CLIENT_ID") + "&client_secret=" + env.Get("API_CLIENT_SECRET")
	fmt.Fprintf(conn, "POST /a55/oauth2/token HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n", len(body))
	answer := make([]byte, 4096)
	if n, err := conn.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 100")) {
		t.Fatalf("the server does not wait for the body: %q, %v", answer[:n], err)
	}
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return strings.Contains(u.errors(), "draining") })
	if c, err := net.Dial("tcp", conn.RemoteAddr().String()); err == nil {
		c.Close()
	}
	if _, err := conn.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	n, err := conn.Read(answer)
	if err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200")) {
		t.Errorf("the request under way got %q, %v", answer[:n], err)
	}
	if err := u.stop(syscall.SIGTERM); err != nil {
		t.Errorf("drained, but ended with %v", err)
	}
}

// Clients that try ::1 first do not all fall back to 127.0.0.1, and a check of
// the name fails in some where the URL has an address.
func TestUpListensOnOneAddressOfLocalhost(t *testing.T) {
	if help := execute(t, "", nil, binary, "up", "--help").good(t); !strings.Contains(help.out, `(default "localhost:8443")`) {
		t.Errorf("the default is another: %s", help.out)
	}
	host, port, _ := strings.Cut(strings.TrimPrefix(shared.base, "https://"), ":")
	if host != "localhost" || strings.Contains(shared.printed(), "https://127.0.0.1") {
		t.Errorf("clients are told %s", shared.base)
	}
	pool, err := trust.File(shared.env(t, "a55").Get("SSL_CERT_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range certificateNames {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
		resp, err := client.Get("https://" + net.JoinHostPort(name, port) + "/healthz")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || string(body) != `{"status":"good"}`+"\n" {
			t.Errorf("%s: /healthz answers %s %s, %v", name, resp.Status, body, err)
		}
		client.CloseIdleConnections()
	}
}

// A machine without IPv6, or without IPv4, has one of the two addresses: that is
// enough. An address that no machine has stands for the other.
func TestAddressThatTheMachineLacks(t *testing.T) {
	const nowhere = "192.0.2.1"
	for _, hosts := range [][]string{{"127.0.0.1", nowhere}, {nowhere, "127.0.0.1"}} {
		all, err := listenAll(t.Context(), hosts, "0")
		if err != nil || len(all) != 1 {
			t.Fatalf("%v: %d listeners, %v", hosts, len(all), err)
		}
		_, port, _ := net.SplitHostPort(all[0].Addr().String())
		if second, err := listenAll(t.Context(), hosts, port); err == nil || !strings.Contains(err.Error(), port+" is in use") {
			closeAll(second)
			t.Errorf("%v: a port that is taken: %v", hosts, err)
		}
		closeAll(all)
	}
	if all, err := listenAll(t.Context(), []string{nowhere}, "0"); err == nil || !strings.Contains(err.Error(), "listen on "+nowhere) {
		closeAll(all)
		t.Errorf("none of the addresses: %v", err)
	}
}
