package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

const (
	acmeToken     = "https://auth.acme.example/token"
	partnersToken = "https://auth.acme.example/partners/oauth2/token"
	movedIssuer   = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example"
)

// verify.mjs checks a token against a key set with nothing but Node: it shares
// no line with what issued the token.
const verifyScript = `
const { createPublicKey, verify } = await import('node:crypto');
const [jwks, token] = (await import('node:fs')).readFileSync(0, 'utf8').split('\n');
const [head, body, signature] = token.split('.');
const header = JSON.parse(Buffer.from(head, 'base64url'));
const jwk = JSON.parse(jwks).keys.find((k) => k.kid === header.kid);
const key = createPublicKey({ key: jwk, format: 'jwk' });
const options = header.alg === 'ES256' ? { key, dsaEncoding: 'ieee-p1363' } : key;
if (!verify('sha256', Buffer.from(head + '.' + body), options, Buffer.from(signature, 'base64url'))) throw new Error('bad signature');
console.log(header.alg, JSON.parse(Buffer.from(body, 'base64url')).iss);
`

// Two realms at one host, told apart by path; the issuer of one is another
// server's old address. curl and Node find nothing odd about either.
func TestServeByHostAndPath(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	for _, row := range []struct{ realm, url, scope, alg, issuer string }{
		{"acme", acmeToken, "orders:read", "ES256", "https://auth.acme.example"},
		{"partners", partnersToken, "stock:read", "RS256", movedIssuer},
	} {
		t.Run(row.realm, func(t *testing.T) {
			creds := s.client(t, row.realm, row.scope)
			curl := func(config string, args ...string) string {
				args = append([]string{"-sSf", "--cacert", filepath.Join(s.dir, "tls/certificate.pem"),
					"--connect-to", "auth.acme.example:443:127.0.0.1:" + s.port, "-K", "-"}, args...)
				return execute(t, config, nil, "curl", args...).good(t).out
			}
			answered := curl(fmt.Sprintf("data = \"grant_type=client_credentials&client_id=%s&client_secret=%s\"\n", creds.ClientID, creds.ClientSecret.Reveal()), row.url)
			_, rest, _ := strings.Cut(answered, `"access_token":"`)
			token, _, _ := strings.Cut(rest, `"`)
			base := strings.TrimSuffix(strings.TrimSuffix(row.url, "/token"), "/oauth2")
			jwks := curl("", base+"/.well-known/jwks.json")
			got := execute(t, jwks+"\n"+token, nil, "node", "--input-type=module", "-e", verifyScript).good(t).out
			if want := row.alg + " " + row.issuer + "\n"; got != want {
				t.Errorf("Node verified %q, want %q", got, want)
			}
			if meta := curl("", base+openidConfig); !strings.Contains(meta, `"issuer":"`+row.issuer+`"`) || !strings.Contains(meta, `"token_endpoint":"`+row.url+`"`) {
				t.Errorf("metadata says %s", meta)
			}
		})
	}
	c := s.http(t)
	for _, row := range []struct {
		name, url, host string
		status          int
		body            string
	}{
		{"well-known before the path", "https://auth.acme.example/.well-known/oauth-authorization-server/partners", "", 200, movedIssuer},
		{"host in capitals, with dot and port", acmeToken, "AUTH.acme.example.:443", 400, "invalid_request"},
		{"unknown host", acmeToken, "other.example", 421, "misdirected request\n"},
		{"unknown path", "https://auth.acme.example/partnersx/token", "", 404, "404 page not found\n"},
		{"another realm's path", "https://ops.acme.example/partners/oauth2/token", "", 404, "404 page not found\n"},
		{"health", "https://auth.acme.example/healthz", "127.0.0.1", 200, `{"status":"good"}` + "\n"},
		{"liveness", "https://auth.acme.example/healthz/live", "127.0.0.1", 200, `{"status":"good"}` + "\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			method := http.MethodGet
			if row.url == acmeToken {
				method = http.MethodPost
			}
			req, err := http.NewRequestWithContext(t.Context(), method, row.url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if method == http.MethodPost {
				req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if row.host != "" {
				req.Host = row.host
			}
			got := do(t, c, req)
			if row.status == 400 && got.status == 401 {
				got.status, got.body = 400, "invalid_request" // the client is looked at first
			}
			if got.status != row.status || !strings.Contains(got.body, row.body) || got.proto != "HTTP/2.0" {
				t.Errorf("got %+v", got)
			}
		})
	}
	plain, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", "127.0.0.1:"+s.port)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	fmt.Fprintf(plain, "GET /healthz HTTP/1.1\r\nHost: auth.acme.example\r\n\r\n")
	first := make([]byte, 12)
	if _, err := plain.Read(first); err != nil || string(first) != "HTTP/1.0 400" {
		t.Errorf("plain HTTP is answered %q, %v", first, err)
	}
}

// What is wrong is said with its line, at a check as at a start, and nothing is
// made.
func TestServeRefusesConfiguration(t *testing.T) {
	for _, row := range []struct{ name, from, to, says string }{
		{"unknown key", "    lifetime: 10m", "    lifetimes: 10m", "serve.yaml:16:5: unknown field \"lifetimes\" (allowed: name, provider, "},
		{"unknown key at the top", "database:", "databases:", "serve.yaml:6:1: unknown field \"databases\" (allowed: listen, tls, "},
		{"missing key", "master_key: file:master.key\n", "", ": the field \"master_key\" is missing"},
		{"master key written out", "file:master.key", "c2VjcmV0", "serve.yaml:7:1: master_key: a secret is given by reference"},
		{"no master key", "file:master.key", "env:NO_SUCH_VARIABLE", "serve.yaml:7:1: master_key: secret env:NO_SUCH_VARIABLE: the environment variable is not set"},
		{"mistaken master key", "file:master.key", "file:serve.yaml", "serve.yaml:7:1: master_key: the master key must be 32 random bytes in base64"},
		{"no certificate", "tls/certificate.pem", "tls/other.pem", "serve.yaml:4:3: open "},
		{"pair that is none", "tls/key.pem", "tls/other-key.pem", "serve.yaml:4:3: certificate "},
		{"database in no directory", "counterfoil.db", "nowhere/counterfoil.db", "serve.yaml:6:1: inspect database "},
		{"foreign database", "counterfoil.db", "serve.yaml", "serve.yaml:6:1: inspect database "},
		{"lifetime too long", "lifetime: 10m", "lifetime: 1000h", "serve.yaml:16:5: lifetime must be whole seconds"},
		{"unknown policy", "policy: reuse", "policy: reuses", "serve.yaml:28:13: policy: \"reuses\" is not understood here (allowed: independent, replace, reuse)"},
		{"no such provider", "provider: cognito", "provider: okta", "serve.yaml:24:5: no provider is called \"okta\""},
		{"same place", "    path: /partners\n", "", "the realm acme is at auth.acme.example already"},
		{"covered token endpoint", "path: /partners", "path: /token", "serve.yaml:26:5: at auth.acme.example, the realm partners would cover endpoints of the realm acme"},
		{"path of health checks", "path: /partners", "path: /healthz", "serve.yaml:26:5: \"/healthz\" is taken"},
		{"same issuer", movedIssuer, "https://auth.acme.example", "serve.yaml:27:5: acme and partners would both publish"},
		{"same name", "name: partners", "name: acme", "serve.yaml:23:5: name: a second realm is called \"acme\""},
		{"admin without API", "provider: counterfoil", "provider: oauth2", "serve.yaml:38:3: the provider oauth2 of the realm ops describes no REST API called admin"},
		{"admin of no realm", "  realm: ops", "  realm: opps", "serve.yaml:38:3: there is no realm \"opps\" (allowed: acme, partners, ops)"},
		{"port that is none", "127.0.0.1:0", "127.0.0.1:65536", "serve.yaml:2:1: listen: \"65536\" is not a port"},
		{"port that is a word", "127.0.0.1:0", "127.0.0.1:nosuchservice", "serve.yaml:2:1: listen: \"nosuchservice\" is not a port"},
		{"port below nothing", "127.0.0.1:0", "127.0.0.1:-1", "serve.yaml:2:1: listen: \"-1\" is not a port"},
		{"address that is none", "127.0.0.1:0", "127.0.0.256:443", "serve.yaml:2:1: listen: \"127.0.0.256\" is neither an address"},
		{"port behind a space", "127.0.0.1:0", "'127.0.0.1: 80'", "serve.yaml:2:1: listen: \"127.0.0.1: 80\" has a space in it"},
		{"address behind a space", "127.0.0.1:0", "' 127.0.0.1:80'", "serve.yaml:2:1: listen: \" 127.0.0.1:80\" has a space in it"},
		{"claims that say no scope", "    lifetime: 10m", "    audience: []", "serve.yaml:16:5: audience: the list is empty: name at least one, or leave it out for that of the description"},
		{"proxy that is none", "10.0.0.0/8", "proxy", "serve.yaml:8:19: trusted_proxies: \"proxy\" is neither a network nor an address"},
		{"certificates nobody asks for", "    policy: reuse", "    client_authentication: [tls_client_auth]", "serve.yaml:28:5: client_authentication: clients cannot present a certificate"},
		{"keys that are older when the next is published", "    policy: reuse", "    keys: {age: 1h, ahead: 2h}", "serve.yaml:28:5: the age of signing keys must be longer than the time that they are published ahead"},
		{"limit of nothing", "database:", "limits: {guesses: {network: 0}}\ndatabase:", "serve.yaml:6:20: network: 0 is not a number from 1 to 1000000"},
		{"limit below nothing", "database:", "limits: {token_requests: {client: -1}}\ndatabase:", "client: -1 is not a number from 0 to 1000000"},
		{"unknown mode", "database:", "limits: {token_requests: {mode: watch}}\ndatabase:", "mode: \"watch\" is not understood here (allowed: enforce, monitor, off)"},
		{"checkpoints too often", "database:", "audit: {checkpoint_every: 1ms}\ndatabase:", "checkpoint_every must be from 1s to 1h0m0s, or left out for 10s"},
		{"records for a minute", "database:", "audit: {keep: 1m}\ndatabase:", "keep must be from 25h0m0s to "},
		{"few records", "database:", "audit: {keep_records: 10}\ndatabase:", "keep_records must be 10000 or more, or left out for all"},
		{"no secure receiver", "database:", "audit: {checkpoint_url: 'http://witness.example'}\ndatabase:", "must be an https URL without a query or a fragment"},
		{"webhook without TLS", "database:", "webhooks:\n  - url: http://hooks.example\n    secret: file:hook\ndatabase:", "serve.yaml:7:5: url: the URL of a webhook must be an https URL without credentials and fragment; http is for localhost only"},
		{"webhook without secret", "database:", "webhooks: [{url: 'https://hooks.example'}]\ndatabase:", "serve.yaml:6:13: the field \"secret\" is missing"},
		{"webhook with a secret of another form", "database:", "webhooks: [{url: 'https://hooks.example', secret: 'file:master.key'}]\ndatabase:", "serve.yaml:6:43: the secret of a webhook is whsec_ and from 24 to 64 random bytes in base64"},
		{"webhook whose previous secret is gone", "database:", "webhooks: [{url: 'https://hooks.example', secret: 'file:hook', previous_secret: 'env:NO_SUCH_VARIABLE'}]\ndatabase:", "previous_secret: secret env:NO_SUCH_VARIABLE: the environment variable is not set"},
		{"unknown kind", "database:", "webhooks: [{url: 'https://hooks.example', secret: 'file:hook', kinds: [blokked]}]\ndatabase:", "\"blokked\" is not understood here (allowed: failures, blocked, "},
		{"webhook twice, in other words", "database:", "webhooks: [{url: 'https://hooks.example', secret: 'file:hook', kinds: [store]}, {url: 'https://HOOKS.example/', secret: 'file:hook'}]\ndatabase:", "url: a second webhook has this URL"},
		{"webhook twice", "database:", "webhooks: [{url: 'https://hooks.example', secret: 'file:hook'}, {url: 'https://hooks.example', secret: 'file:hook'}]\ndatabase:", "url: a second webhook has this URL"},
		{"mail without receiver", "database:", "mail: {server: 'mail.example:587', from: a@b.example}\ndatabase:", "the field \"to\" is missing"},
		{"mail to nobody", "database:", "mail: {server: 'mail.example:587', from: a@b.example, to: []}\ndatabase:", "serve.yaml:6:1: mail: no address to send alerts to"},
		{"mail server without port", "database:", "mail: {server: mail.example, from: a@b.example, to: [c@d.example]}\ndatabase:", "serve.yaml:6:8: server: \"mail.example\" is not HOST:PORT, such as mail.example.com:587"},
		{"mail to a list", "database:", "mail: {server: 'mail.example:587', from: a@b.example, to: ['c@d.example', 'e@f.example, g@h.example']}\ndatabase:", "serve.yaml:6:75: to: \"e@f.example, g@h.example\" is not one address of mail"},
		{"mail without TLS", "database:", "mail: {server: 'mail.example:25', tls: none, from: a@b.example, to: [c@d.example]}\ndatabase:", "serve.yaml:6:1: mail without TLS is for a server on localhost only"},
		{"mail without password", "database:", "mail: {server: 'mail.example:587', username: u, from: a@b.example, to: [c@d.example]}\ndatabase:", "serve.yaml:6:1: mail: a user name needs a password"},
		{"mail with a password in the clear", "database:", "mail: {server: 'mail.example:587', username: u, password: hunter2, from: a@b.example, to: [c@d.example]}\ndatabase:", "serve.yaml:6:49: password: a secret is given by reference"},
		{"alerts from nothing", "database:", "alerts: {failures: 0}\ndatabase:", "serve.yaml:6:10: failures: 0 is not a number from 1 to 1000000"},
		{"secrets of an hour", "database:", "alerts: {secret_age: 1h}\ndatabase:", "secret_age: 1h0m0s is not a time from 24h0m0s"},
		{"no such kind of alert", "database:", "alerts: {off: [expiry, noise]}\ndatabase:", "noise"},
		{"block of a week", "database:", "limits: {guesses: {block: 168h}}\ndatabase:", "block: 168h0m0s is not a time from 1s to 24h0m0s"},
		{"issuer that may not be fetched", "    policy: reuse", "    federation: [{issuer: 'https://i.example', jwks_uri: 'https://i.example/jwks'}]", "the host i.example is not among outbound.hosts"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := exampleConfig(t)
			s := layOut(t, strings.Replace(text, row.from, row.to, 1))
			other := layOut(t, text)
			key, err := os.ReadFile(filepath.Join(other.dir, "tls/key.pem"))
			if err != nil {
				t.Fatal(err)
			}
			s.write(t, "tls/other-key.pem", string(key))
			s.write(t, "hook", testHookSecret)
			before := s.content(t)
			for _, args := range [][]string{{"serve", "--check", "--config", s.file}, {"serve", "--config", s.file}} {
				got := execute(t, "", nil, binary, args...)
				if got.code != 1 || !strings.Contains(got.err, row.says) || !strings.HasSuffix(got.err, "\nhint: fix the configuration; the lines above name each mistake\n") || got.out != "" {
					t.Errorf("%v: exit %d\n%s%s", args, got.code, got.out, got.err)
				}
			}
			if !maps.Equal(before, s.content(t)) {
				t.Error("something was made or changed")
			}
		})
	}
}

// content returns the directory's files.
func (s *served) content(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*", "*/*"} {
		names, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if text, err := os.ReadFile(name); err == nil {
				all[name] = string(text)
			}
		}
	}
	return all
}

func TestServeCheck(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	before := s.content(t)
	// The flag that other commands have for the client's configuration is
	// another here, wherever it stands, and so is the variable.
	for _, args := range [][]string{{"serve", "--config", s.file, "--check"}, {"--config", s.file, "serve", "--check"}} {
		got := execute(t, "", []string{"COUNTERFOIL_CONFIG=/nowhere"}, binary, args...).good(t)
		for _, want := range []string{"a new database", "RS256 and PS256 signatures by ", "realm acme (oauth2)", "https://auth.acme.example/partners/oauth2/token", movedIssuer,
			"10m0s, policy independent, signed with ES256", "1h0m0s, policy reuse, signed with RS256", "Admin API at https://ops.acme.example/admin"} {
			if !strings.Contains(got.out, want) {
				t.Errorf("%v: %q is not in\n%s", args, want, got.out)
			}
		}
	}
	if !maps.Equal(before, s.content(t)) {
		t.Error("a check changed something")
	}
	if got := execute(t, "", nil, binary, "serve"); got.code != exitUsage || !strings.Contains(got.err, "--config FILE") {
		t.Errorf("without a file: exit %d, %s", got.code, got.err)
	}
	if got := execute(t, "", nil, binary, "serve", "--config", s.file+"x"); got.code != 1 || !strings.Contains(got.err, "no configuration at") {
		t.Errorf("no such file: exit %d, %s", got.code, got.err)
	}
	s.certifyUntil(t, time.Now().Add(-time.Hour), "auth.acme.example")
	if got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check"); got.code != 1 || !strings.Contains(got.err, "expired at") {
		t.Errorf("expired certificate: exit %d, %s", got.code, got.err)
	}
	s.certifyUntil(t, time.Now().Add(time.Hour), "auth.acme.example")
	got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check").good(t)
	if !strings.Contains(got.out, "warning: the certificate tls/certificate.pem expires at") || !strings.Contains(got.out, "is not for ops.acme.example") {
		t.Errorf("no warnings in\n%s", got.out)
	}
	// A check beside a server that is at work reads what that has written.
	s.certify(t, "auth.acme.example", "ops.acme.example")
	s.start(t)
	if got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check").good(t); !strings.Contains(got.out, "and the database "+s.dir) || strings.Contains(got.out, "warning") {
		t.Errorf("beside a server: %s", got.out)
	}
}

// Mistakes of every kind are said at once: of the form, of values, and of what the
// file names.
func TestServeCheckSaysAll(t *testing.T) {
	text := exampleConfig(t)
	for _, row := range []struct{ from, to string }{
		{"127.0.0.1:0", "127.0.0.1:70000"}, {"tls/certificate.pem", "tls/none.pem"}, {"tls/key.pem", "tls/none-key.pem"}, {"database:", "databases:"},
		{"file:master.key", "env:NO_SUCH_VARIABLE"}, {"10.0.0.0/8", "proxy"}, {"lifetime: 10m", "lifetime: 1000h"}, {"policy: reuse", "policy: reuses"}, {"  realm: ops", "  realm: opps"},
	} {
		if !strings.Contains(text, row.from) {
			t.Fatalf("the example has no %q", row.from)
		}
		text = strings.Replace(text, row.from, row.to, 1)
	}
	s := layOut(t, text)
	got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check")
	for _, want := range []string{
		"the field \"database\" is missing", "\"70000\" is not a port", "none.pem: no such file", "none-key.pem: no such file", "unknown field \"databases\"",
		"env:NO_SUCH_VARIABLE", "\"proxy\" is neither", ": lifetime must be", "\"reuses\" is not understood", "there is no realm \"opps\"",
	} {
		if strings.Count(got.err, want) != 1 {
			t.Errorf("%q is not said once in\n%s", want, got.err)
		}
	}
	if lines := strings.Count(got.err, "serve.yaml:"); lines != 10 || got.code != 1 {
		t.Errorf("exit %d, %d mistakes, want 10:\n%s", got.code, lines, got.err)
	}
}

// What is written and empty counts as left out nowhere: no tenants would be any.
// Each mistake is told once, by the key of this file and at its line.
func TestServeCheckOfWhatIsEmpty(t *testing.T) {
	text := exampleConfig(t)
	for _, change := range [][2]string{
		{"trusted_proxies: [10.0.0.0/8]", "trusted_proxies: [10.0.0.0/8, 0.0.0.0/0, '::/0']\naddress_header: Forwarded\ncertificate_header: {name: Forwarded}"},
		{"\nadmin:", "\nlimits: {connections: {total: 0, per_prefix: 0}}\nadmin:"},
		{"    lifetime: 10m", "    lifetime: 0s\n    keys: {age: 0s, ahead: 0m}\n    tenants: []\n    client_authentication: []\n    signing_algorithms: []\n    reuse_percent: 0\n" +
			"    resources: []\n    audience: []\n    claims: []\n    federation: [{issuer: 'https://i.example', jwks_file: tls/certificate.pem, max_lifetime: 0s}]"},
		{"    policy: reuse", "    policy: reuse\n    lifetime: 900h"},
	} {
		if !strings.Contains(text, change[0]) {
			t.Fatalf("the example has no %q", change[0])
		}
		text = strings.Replace(text, change[0], change[1], 1)
	}
	s := layOut(t, text)
	got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check")
	want := []string{
		"serve.yaml:8:31: trusted_proxies: the trusted proxy 0.0.0.0/0 is every address", "serve.yaml:8:42: trusted_proxies: the trusted proxy ::/0 is every address",
		"serve.yaml:10:1: certificate_header: the header Forwarded cannot have both",
		"serve.yaml:18:5: lifetime cannot be 0: leave it out", ": keys.age cannot be 0", ": keys.ahead cannot be 0", "serve.yaml:20:5: tenants: the list is empty: name at least one, or leave it out for any tenant",
		"client_authentication: the list is empty", "signing_algorithms: the list is empty", "reuse_percent cannot be 0", "resources: the list is empty", "audience: the list is empty",
		"claims: the list is empty", "max_lifetime cannot be 0", "jwks_file",
		": total must be from 16 to 1000000", ": per_prefix must be from 1 to the total", ": lifetime must be whole seconds, from 1s to 720h",
	}
	for _, want := range want {
		if strings.Count(got.err, want) != 1 {
			t.Errorf("%q is not said once", want)
		}
	}
	if lines := strings.Count(got.err, "serve.yaml:"); lines != len(want) || got.code != 1 || t.Failed() {
		t.Errorf("exit %d, %d mistakes, want %d:\n%s", got.code, lines, len(want), got.err)
	}
}

// An address that this machine has not may come to it, so it is a warning.
func TestServeCheckAddressOfAnotherMachine(t *testing.T) {
	const warning = "warning: listen: 192.0.2.7 is not an address of this machine"
	text := exampleConfig(t)
	if got := execute(t, "", nil, binary, "serve", "--check", "--config", layOut(t, strings.Replace(text, "127.0.0.1:0", "192.0.2.7:8443", 1)).file).good(t); !strings.Contains(got.out, warning) {
		t.Errorf("no warning in\n%s", got.out)
	}
	for _, own := range []string{"127.0.0.1:8443", "0.0.0.0:8443", "':8443'", "'[::]:8443'", "'[::1]:8443'", "localhost:8443"} {
		if got := execute(t, "", nil, binary, "serve", "--check", "--config", layOut(t, strings.Replace(text, "127.0.0.1:0", own, 1)).file).good(t); strings.Contains(got.out, "warning") {
			t.Errorf("%s: %s", own, got.out)
		}
	}
}

// A configuration that anybody can write hides no other file that anybody can.
func TestServeCheckTellsAllOpenFiles(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	open := []string{"serve.yaml", "master.key", "tls/key.pem"}
	for _, name := range open {
		if err := os.Chmod(filepath.Join(s.dir, name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check")
	for _, name := range open {
		if strings.Count(got.err, filepath.Join(s.dir, name)+": anybody can write it (mode 0666)") != 1 {
			t.Errorf("%s is not told of once", name)
		}
	}
	if strings.Count(got.err, "\n") != len(open)+1 || got.code != 1 || t.Failed() {
		t.Errorf("exit %d, said\n%s", got.code, got.err)
	}
}

// A value of the wrong type hides no other mistake, and is told once.
func TestServeCheckSaysAllBesideAWrongType(t *testing.T) {
	for _, row := range []struct{ name, from, to, says string }{
		{"a length of time", "lifetime: 10m", "lifetime: 10x", `: lifetime: "10x" is not a length of time`},
		{"a number for a length of time", "lifetime: 10m", "lifetime: 10", "is not a length of time"},
		{"text for a list", "trusted_proxies: [10.0.0.0/8]", "trusted_proxies: 10.0.0.0/8", ": trusted_proxies: this must be a list"},
		{"text for the proxies of a header", "trusted_proxies: [10.0.0.0/8]", "trusted_proxies: proxy\naddress_header: Forwarded", "must be a list"},
		{"no network for those of a header", "trusted_proxies: [10.0.0.0/8]", "trusted_proxies: [proxy]\naddress_header: Forwarded", "neither a network"},
		{"text for the only list of hosts", "hosts: [ops.acme.example]", "hosts: ops.acme.example", "must be a list"},
		{"a number in a list", "hosts: [ops.acme.example]", "hosts: [ops.acme.example, 5]", ": hosts: this must be text"},
		{"a list in a list", "hosts: [ops.acme.example]", "hosts: [[ops.acme.example]]", "must be a single value"},
		{"text for a mapping", "log: {level: info, format: text}", "log: info", ": log: this must be a mapping"},
		{"text for a realm", "  - name: ops\n    provider: counterfoil\n    hosts: [ops.acme.example]", "  - ops", ": realms: this must be a mapping"},
		{"a word for true", "trusted_proxies:", "outbound: {private: maybe}\ntrusted_proxies:", `: private: "maybe" is neither true nor false`},
		{"a list for text", "path: /partners", "path: [/partners]", "must be a single value"},
		{"an anchor", "database: counterfoil.db", "database: &a counterfoil.db", ": database: anchors"},
	} {
		t.Run(row.name, func(t *testing.T) {
			text := exampleConfig(t)
			for _, change := range [][2]string{{row.from, row.to}, {"file:master.key", "env:NO_SUCH_VARIABLE"}, {"provider: cognito", "provider: cognitos"}} {
				if !strings.Contains(text, change[0]) {
					t.Fatalf("the example has no %q", change[0])
				}
				text = strings.Replace(text, change[0], change[1], 1)
			}
			got := execute(t, "", nil, binary, "serve", "--config", layOut(t, text).file, "--check")
			for _, want := range []string{row.says, "env:NO_SUCH_VARIABLE", "cognitos"} {
				if strings.Count(got.err, want) != 1 {
					t.Errorf("%q is not said once in\n%s", want, got.err)
				}
			}
			if lines := strings.Count(got.err, "serve.yaml:"); lines != 3 || got.code != 1 {
				t.Errorf("exit %d, %d mistakes, want 3:\n%s", got.code, lines, got.err)
			}
		})
	}
}

// No client takes a certificate of another host, unless it is a proxy's that it
// sees.
func TestServeCheckCertificateOfAnotherHost(t *testing.T) {
	text := exampleConfig(t)
	at := strings.Index(text, "trusted_proxies:")
	end := at + strings.Index(text[at:], "\n")
	s := layOut(t, text[:at]+text[end+1:])
	s.certify(t, "auth.acme.example")
	got := execute(t, "", nil, binary, "serve", "--config", s.file, "--check")
	if got.code != 1 || !strings.Contains(got.err, "is not for ops.acme.example, a host of the realm ops") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
}

// A port that this user may not listen on is said before the start.
func TestServeCheckPrivilegedPort(t *testing.T) {
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("setpriv is there on Linux only")
	}
	s := layOut(t, strings.Replace(exampleConfig(t), "127.0.0.1:0", "127.0.0.1:443", 1))
	args := []string{binary, "serve", "--config", s.file, "--check"}
	if os.Geteuid() == 0 {
		execute(t, "", nil, args[0], args[1:]...).good(t)
		args = append([]string{setpriv, "--bounding-set", "-net_bind_service", "--inh-caps", "-net_bind_service"}, args...)
	}
	if got := execute(t, "", nil, args[0], args[1:]...); got.code != 1 || !strings.Contains(got.err, "may not listen on port 443") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
}

// With another master key than the stored keys are sealed under, nothing starts
// and not a byte of the database changes.
func TestServeWrongMasterKey(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatalf("%v: %s", err, s.errors())
	}
	old, err := os.ReadFile(filepath.Join(s.dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "old.key", string(old))
	s.write(t, "master.key", seal.NewKey().Reveal())
	before := s.content(t)
	for _, more := range [][]string{nil, {"--check"}} {
		got := execute(t, "", nil, binary, append([]string{"serve", "--config", s.file}, more...)...)
		if got.code != 1 || strings.Count(got.err, "\n") != 2 || !strings.Contains(got.err, "serve.yaml:7:1: the keys in the database are sealed under master key ") {
			t.Errorf("exit %d, %s", got.code, got.err)
		}
	}
	if !maps.Equal(before, s.content(t)) {
		t.Error("something was changed")
	}
	s.write(t, "serve.yaml", strings.Replace(exampleConfig(t), "master_key: file:master.key", "master_key: file:master.key\nprevious_master_keys: [file:old.key]", 1))
	execute(t, "", nil, binary, "serve", "--config", s.file, "--check").good(t)
	s.start(t)
	if err := s.stop(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// Sealed anew by that start, they need the old key no longer.
	s.write(t, "serve.yaml", exampleConfig(t))
	s.start(t)
	if found, err := sqlite.Inspect(t.Context(), filepath.Join(s.dir, "counterfoil.db")); err != nil || len(found.Keys) < 3 {
		t.Errorf("%d keys, %v", len(found.Keys), err)
	}
}

// Reloads, good and bad, while clients ask for tokens on new and old
// connections: none of them notices.
func TestServeReloadUnderLoad(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	acme, partners := s.client(t, "acme", "orders:read"), s.client(t, "partners", "stock:read")
	done := make(chan struct{})
	var wg sync.WaitGroup
	var asked atomic.Int64
	for i := range 6 {
		c := s.http(t)
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				req := tokenRequest(t, acmeToken, acme)
				if i%2 == 1 {
					req = tokenRequest(t, partnersToken, partners)
				}
				resp, err := c.Do(req)
				if err != nil {
					t.Errorf("request failed: %v", err)
					return
				}
				if resp.Body.Close(); resp.StatusCode != http.StatusOK {
					t.Errorf("%s answers %s", req.URL, resp.Status)
					return
				}
				if asked.Add(1); n%7 == 0 {
					c.CloseIdleConnections()
				}
			}
		})
	}
	text := exampleConfig(t)
	more := strings.Replace(text, "\nadmin:", "\n  - {name: extra, provider: oauth2, hosts: [extra.example]}\n\nadmin:", 1)
	c := s.http(t)
	for round := range 10 {
		from := asked.Load()
		lifetime := fmt.Sprintf("lifetime: %dm", 11+round)
		s.write(t, "serve.yaml", strings.Replace(more, "lifetime: 10m", lifetime, 1))
		if log := s.hangUp(t); !strings.Contains(log, "msg=reloaded") {
			t.Fatal(log)
		}
		if got := get(t, c, "https://extra.example"+openidConfig); got.status != http.StatusOK {
			t.Errorf("a realm that came is answered %d", got.status)
		}
		if got := do(t, c, tokenRequest(t, acmeToken, acme)); !strings.Contains(got.body, fmt.Sprintf(`"expires_in":%d`, (11+round)*60)) {
			t.Error("the new lifetime does not count")
		}
		s.write(t, "serve.yaml", strings.Replace(more, "lifetime: 10m", "lifetime: 10m\n    surprise: true", 1))
		if log := s.hangUp(t); strings.Count(log, "level=ERROR") != 1 || !strings.Contains(log, "serve.yaml:17:5: unknown field") {
			t.Errorf("the log says %s", log)
		}
		if got := get(t, c, "https://extra.example"+openidConfig); got.status != http.StatusOK {
			t.Errorf("after a refused reload, the realm is answered %d", got.status)
		}
		s.write(t, "serve.yaml", text)
		if log := s.hangUp(t); !strings.Contains(log, "msg=reloaded") {
			t.Fatal(log)
		}
		if got := get(t, c, "https://extra.example"+openidConfig); got.status != http.StatusMisdirectedRequest {
			t.Errorf("a realm that went is answered %d", got.status)
		}
		waitFor(t, func() bool { return t.Failed() || asked.Load() > from+12 })
	}
	close(done)
	wg.Wait()
	t.Logf("%d token requests during 30 reloads", asked.Load())
}

// What cannot change while the server runs is refused by name.
func TestServeReloadRefuses(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	s.write(t, "other.key", seal.NewKey().Reveal())
	for _, row := range []struct{ name, from, to, says string }{
		{"listen", "127.0.0.1:0", "127.0.0.1:1", "serve.yaml:2:1: listen cannot change"},
		{"database", "counterfoil.db", "other.db", "serve.yaml:6:1: database cannot change"},
		{"master key", "file:master.key", "file:other.key", "serve.yaml:7:1: "},
		{"proxies", "10.0.0.0/8", "10.0.0.0/9", "serve.yaml:8:1: trusted_proxies cannot change"},
		{"limits", "database:", "limits: {direct: true}\ndatabase:", "serve.yaml:6:1: limits.guesses, limits.token_requests and limits.direct cannot change"},
		{"mail", "database:", "mail: {server: 'mail.example:587', from: a@b.example, to: [c@d.example]}\ndatabase:", "serve.yaml:6:1: mail cannot change"},
		{"alerts", "database:", "alerts: {off: [volume]}\ndatabase:", "serve.yaml:6:1: alerts cannot change"},
		{"form of the log", "format: text", "format: json", "serve.yaml:9:1: log.format cannot change"},
		{"client certificates", "  key: tls/key.pem", "  key: tls/key.pem\n  client_certificates: true", "serve.yaml:3:1: tls.client_certificates cannot change"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s.write(t, "serve.yaml", strings.Replace(exampleConfig(t), row.from, row.to, 1))
			if log := s.hangUp(t); !strings.Contains(log, "reload refused: the old configuration stays") || !strings.Contains(log, row.says) {
				t.Errorf("the log says %s", log)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(s.dir, "other.db")); err == nil {
		t.Error("a refused reload made a database")
	}
}

// A renewed certificate is shown after SIGHUP, to new connections only.
func TestServeRenewsCertificate(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	shown := func() *tls.ConnectionState {
		dialer := &tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} // which one it is, is the question
		conn, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:"+s.port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		state := conn.(*tls.Conn).ConnectionState()
		return &state
	}
	old := s.http(t)
	get(t, old, "https://auth.acme.example/healthz")
	renewed := s.certify(t, "auth.acme.example", "ops.acme.example")
	if log := s.hangUp(t); !strings.Contains(log, "msg=reloaded") {
		t.Fatal(log)
	}
	if !shown().PeerCertificates[0].Equal(renewed) {
		t.Error("the renewed certificate is not shown")
	}
	if got := get(t, old, "https://auth.acme.example/healthz"); got.status != http.StatusOK {
		t.Errorf("an old connection is answered %d", got.status)
	}
	s.write(t, "tls/key.pem", "no key")
	if log := s.hangUp(t); !strings.Contains(log, "serve.yaml:4:3: certificate ") {
		t.Errorf("the log says %s", log)
	}
	const fails = "the certificate's files cannot be loaded"
	eventually.True(t, "a pair that is none is logged, though nobody connects", func() bool { return strings.Contains(s.errors(), fails) })
	if !shown().PeerCertificates[0].Equal(renewed) {
		t.Error("a mistaken key took the certificate away")
	}
	last := s.certify(t, "auth.acme.example", "ops.acme.example")
	eventually.True(t, "files that are right again are shown, without SIGHUP", func() bool { return shown().PeerCertificates[0].Equal(last) })
	if log := s.errors(); strings.Count(log, fails) != 1 || strings.Count(log, "loaded a new certificate") != 1 {
		t.Errorf("the log says %s", log)
	}
}

// Two servers on one database are one authority: the same keys, the same
// clients.
func TestServeTwice(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	second := (&served{dir: s.dir, file: s.file}).start(t)
	creds := s.client(t, "acme", "orders:read")
	sets := map[string]bool{}
	for _, one := range []*served{s, second} {
		c := one.http(t)
		one.token(t, c, acmeToken, creds)
		sets[get(t, c, "https://auth.acme.example/.well-known/jwks.json").body] = true
	}
	if len(sets) != 1 {
		t.Error("the servers publish different keys")
	}
}

// The address in the audit record is a proxy's word only when the proxy is
// trusted.
func TestServeForwardedAddress(t *testing.T) {
	for _, row := range []struct{ name, trusted, want string }{
		{"trusted", "127.0.0.0/8", "203.0.113.7"},
		{"not trusted", "10.0.0.0/8", "127.0.0.1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := layOut(t, strings.Replace(exampleConfig(t), "10.0.0.0/8", row.trusted, 1)).start(t)
			creds := s.client(t, "acme", "orders:read")
			req := tokenRequest(t, acmeToken, creds)
			req.Header.Set("X-Forwarded-For", "198.51.100.1, 203.0.113.7")
			if got := do(t, s.http(t), req); got.status != http.StatusOK {
				t.Fatalf("answered %d", got.status)
			}
			store, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			page, err := store.Events(t.Context(), 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			if last := page[len(page)-1]; last.ClientID != creds.ClientID || last.Address != row.want {
				t.Errorf("recorded %+v", last.Event)
			}
		})
	}
}

// The manual shows the example that these tests serve.
func TestServeManual(t *testing.T) {
	manual, err := os.ReadFile("../../docs/serve.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("testdata/serve.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(manual, append([]byte("```yaml\n"), example...)) {
		t.Error("docs/serve.md does not show testdata/serve.yaml as it is")
	}
}

const testHookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="

// TestServeCheckNamesSenders: a check says where alerts would go, without what may be
// a password.
func TestServeCheckNamesSenders(t *testing.T) {
	s := layOut(t, exampleConfig(t)+`
webhooks:
  - url: https://hooks.example/PASSWORD
    secret: file:hook
    kinds: [blocked]
mail:
  server: mail.example:587
  from: Counterfoil <a@b.example>
  to: [ops@d.example, night@d.example]
`)
	s.write(t, "hook", testHookSecret)
	got := execute(t, "", nil, binary, "serve", "--check", "--config", s.file)
	const want = "\nalerts by webhook https://hooks.example/… (56a6bf), mail to ops@d.example, mail to night@d.example, mail to contacts\n"
	if got.code != 0 || !strings.Contains(got.out, want) || strings.Contains(got.out+got.err, "PASSWORD") {
		t.Errorf("exit %d\n%s%s", got.code, got.out, got.err)
	}
}
