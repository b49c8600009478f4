package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
	"github.com/counterfoil/counterfoil/internal/eventually"
)

// operated is a running 'serve' with an Admin API, and the client configuration
// of an operator who may do all.
type operated struct {
	*served
	consumer, base string
	secret         string
}

func operate(t *testing.T) *operated {
	t.Helper()
	return operateAfter(t, func(string) {})
}

// operateAfter is operate, with something done in the directory before the start.
func operateAfter(t *testing.T, prepare func(dir string)) *operated {
	t.Helper()
	o := &operated{served: layOut(t, strings.Replace(exampleConfig(t), "hosts: [ops.acme.example]", "hosts: [localhost]", 1))}
	o.certify(t, "localhost", "auth.acme.example")
	// The first client comes from the machine of the server, before it runs.
	first := execute(t, "", nil, binary, "client", "create", "ops", "--serve-config", o.file, "--id", "operator", "-o", "json",
		"--scope", "clients:read", "--scope", "clients:write", "--scope", "keys:read", "--scope", "keys:write", "--scope", "tokens:revoke", "--scope", "audit:read")
	var made made
	if err := json.Unmarshal([]byte(first.good(t).out), &made); err != nil {
		t.Fatal(err)
	}
	prepare(o.dir)
	o.start(t)
	o.base, o.secret = "https://localhost:"+o.port, made.ClientSecret
	o.consumer = filepath.Join(o.dir, "consumer.yaml")
	o.write(t, "operator.secret", made.ClientSecret+"\n")
	o.write(t, "consumer.yaml", fmt.Sprintf(`token_cache: tokens
connections:
  ops:
    provider: counterfoil
    token_url: %[1]s/token
    api_url: %[1]s/admin
    ca_file: tls/certificate.pem
    client_id: operator
    client_secret: file:operator.secret
`, o.base))
	return o
}

// here and there run a command on the server's database and through its Admin
// API.
func (o *operated) here(t *testing.T, args ...string) ran {
	t.Helper()
	return execute(t, "", nil, binary, append(args, "--serve-config", o.file)...)
}

func (o *operated) there(t *testing.T, args ...string) ran {
	t.Helper()
	return execute(t, "", nil, binary, append(args, "--config", o.consumer, "--server", "ops")...)
}

// what differs between two runs of a command that do the same.
var differs = []struct {
	is *regexp.Regexp
	as string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`\bcf_[0-9A-Za-z]{49}\b`), "SECRET"},
	{regexp.MustCompile(`\b[0-9a-f]{8}\b`), "ID"},
	{regexp.MustCompile(`"maker":"operator",`), ""}, // there
	{regexp.MustCompile(` +`), " "},
}

func alike(s, client string) string {
	s = strings.ReplaceAll(s, client, "CLIENT")
	for _, d := range differs {
		s = d.is.ReplaceAllString(s, d.as)
	}
	return s
}

// The command line says the same words and gives the same answers here and
// there.
func TestSameWordsHereAndThere(t *testing.T) {
	o := operate(t)
	good := filepath.Join(o.dir, "good.csv")
	broken := filepath.Join(o.dir, "broken.csv")
	realms := filepath.Join(o.dir, "realms.csv") // whatever its name says
	people := filepath.Join(o.dir, "people.csv")
	for file, text := range map[string]string{
		good:   "client_id,client_secret\nCLIENT-imported,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n",
		people: `{"Auth":{"Clients":{"CLIENT-app":{"Profile":"IdentityServerSPA"},"CLIENT-web":{"AllowedGrantTypes":["implicit"]}}}}`,
		realms: `[{"realm":"one","clients":[{"clientId":"CLIENT-realm","serviceAccountsEnabled":true,"secret":"${ONE_SECRET}","attributes":{"access.token.lifespan":864000}}]},{"realm":"two","clients":[]}]`,
		broken: "client_id,client_secret\nCLIENT-one,3f6a0c9b1e7d4825a0b6c3f19e8d7042\nCLIENT-two,\nCLIENT-three,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n",
	} {
		for _, client := range []string{"he/re", "th/ere"} {
			name := strings.TrimSuffix(file, ".csv") + "-" + strings.ReplaceAll(client, "/", "") + ".csv"
			if err := os.WriteFile(name, []byte(strings.ReplaceAll(text, "CLIENT", client)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, row := range []struct {
		name string
		args string // CLIENT is the client's id, FILE what is left of it in names of files
		code int
		says string
	}{
		{"create", "client create acme --id CLIENT --name Billing --scope orders:read --label team=blue --address 192.0.2.7 --expires 2099-01-31", 0, "client_secret=SECRET"},
		{"create without scopes", "client create acme --id CLIENT-bare", 0, "it is allowed no scopes: the realm has orders:read, orders:write, add some with 'counterfoil client change acme CLIENT-bare --scope …'"},
		{"which has none", "client show acme CLIENT-bare -o json", 0, `"scopes":[]`},
		{"create an operator without scopes", "client create ops --id CLIENT-bare", 0, "it is allowed no scopes: the realm has clients:read, clients:write"},
		{"who has none", "client show ops CLIENT-bare -o json", 0, `"scopes":[]`},
		{"create again", "client create acme --id CLIENT", 1, "has a client CLIENT already"},
		{"create with a scope that is not there", "client create acme --scope orders:read --scope stars:read", 2, "counterfoil: --scope stars:read: the realm acme has no such scope"},
		{"create with a scope that is not there, which there are", "client create acme --scope stars:read", 2, "hint: choose from orders:read, orders:write"},
		{"create with a setting that is not there", `client create acme --settings {"nmae":"x"}`, 2, "nmae: unknown member: allowed are name, contact"},
		{"create with several mistakes", `client create acme --environment moon --address here`, 2, "addresses/0: it must be a network"},
		{"show", "client show acme CLIENT", 0, "192.0.2.7/32"},
		{"show for programs", "client show acme CLIENT -o json", 0, `"labels":{"team":"blue"}`},
		{"show nobody", "client show acme nobody", 1, "hint: 'counterfoil client list acme'"},
		{"change", "client change acme CLIENT --contact ops@example.com --lifetime 5m --label team --expires never --claim plan=gold", 0, "changed CLIENT of acme"},
		{"change for programs", "client change acme CLIENT --tenant T1 -o json", 0, `"tenants":["T1"]`},
		{"change what was changed meanwhile", "client change acme CLIENT --name Other --if-version 1", 1, "has another version now"},
		{"change nothing", "client change acme CLIENT", 2, "nothing to change"},
		{"change to what cannot be", "client change acme CLIENT --environment moon --lifetime 100h", 2, "environment: the environment must be"},
		{"change to a scope that is not there", "client change acme CLIENT --scope stars:read", 2, "counterfoil: --scope stars:read: the realm acme has no such scope"},
		{"change to a tenant of an empty name", "client change acme CLIENT --tenant T1 --tenant T1", 2, "tenants"},
		{"show what was changed", "client show acme CLIENT", 0, "plan=gold"},
		{"rotate", "client rotate acme CLIENT", 0, "old_secret_ends=TIME"},
		{"rotate to an end", "client rotate acme CLIENT --ends 2099-01-31", 0, "client_secret=SECRET"},
		{"rotate to an end that has passed", "client rotate acme CLIENT --ends 2001-01-31", 2, "has passed"},
		{"rotate at once", "client rotate acme CLIENT --overlap 0 -o json", 0, `"client_secret":"SECRET"}`},
		{"rotate the API key", "client rotate acme CLIENT --api-key", 0, "api_key=SECRET"},
		{"end a secret that is not there", "client end-secret acme CLIENT 00000000", 1, "hint: 'counterfoil client show acme CLIENT'"},
		{"disable", "client disable acme CLIENT", 0, "disabled CLIENT of acme"},
		{"list the disabled", "client list acme --status disabled --search CLIENT", 0, "CLIENT"},
		{"list the enabled", "client list acme --status enabled --search CLIENT -o json", 0, "[]"},
		{"enable", "client enable acme CLIENT -o json", 0, `"done":"enable"`},
		{"revoke", "client revoke acme CLIENT", 0, "revoked the tokens of CLIENT of acme"},
		{"list a realm that is not there", "client list nowhere", 2, "hint: choose from acme, partners, ops"},
		{"list of an environment that is not there", "client list acme --environment moon", 2, "sandbox or production"},
		{"import, dry", "client import acme good-FILE.csv --format plain --dry-run", 0, "CLIENT-imported created"},
		{"import a broken row", "client import acme broken-FILE.csv --format plain", 1, "3 rows would be: 2 created, 1 refused"},
		{"import", "client import acme good-FILE.csv --format plain", 0, "1 rows: 1 created"},
		{"import again", "client import acme good-FILE.csv --format plain -o json", 0, `"counts":{"unchanged":1}`},
		{"import the good rows", "client import acme broken-FILE.csv --format plain --partial", 0, "3 rows: 2 created, 1 refused"},
		{"import another format", "client import acme good-FILE.csv --format keycloak", 2, "is not JSON: it looks like CSV: choose the format plain"},
		{"import a placeholder", "client import acme realms-FILE.csv --format keycloak --cap-lifetime --dry-run", 1, "secret: its secret is a placeholder"},
		{"import a long lifetime", "client import acme realms-FILE.csv --format keycloak --literal-secrets --dry-run", 1, "attributes.access.token.lifespan: the token lifetime of 240h0m0s is longer"},
		{"import both as they are", "client import acme realms-FILE.csv --format keycloak --literal-secrets --cap-lifetime --from-realm one --dry-run", 0, "CLIENT-realm created"},
		{"import another realm", "client import acme realms-FILE.csv --format keycloak --from-realm three", 2, `no realm "three": its realms are one, two`},
		{"import a realm of another format", "client import acme good-FILE.csv --format plain --from-realm one", 2, "--from-realm is for files of the format keycloak"},
		{"import skipped rows", "client import acme people-FILE.csv --format identityserver", 1, "was imported: each of its 2 rows was skipped"},
		{"say why each was skipped", "client import acme people-FILE.csv --format identityserver --dry-run", 1, "skipped AllowedGrantTypes is missing"},
		{"import without scopes", "client import acme good-FILE.csv --format plain --replace --dry-run", 0, "unchanged"},
		{"keys", "key list acme", 0, "active"},
		{"key of another algorithm", "key rotate acme --algorithm EdDSA", 2, "does not sign with"},
		{"key of no realm", "key rotate nowhere", 2, "choose from"},
		{"list", "client list acme --search CLIENT", 0, "CLIENT-three"},
		{"delete", "client delete acme CLIENT", 0, "deleted CLIENT of acme"},
		{"delete again", "client delete acme CLIENT", 1, "no such client"},
		{"the record", "audit -o json", 0, "client.deleted"},
	} {
		t.Run(row.name, func(t *testing.T) {
			both := func(client string, do func(*testing.T, ...string) ran) ran {
				args := strings.Fields(row.args)
				for i, arg := range args {
					arg = strings.ReplaceAll(arg, "CLIENT", client)
					if strings.HasSuffix(arg, "FILE.csv") {
						arg = filepath.Join(o.dir, strings.Replace(arg, "FILE", strings.ReplaceAll(client, "/", ""), 1))
					}
					args[i] = arg
				}
				return do(t, args...)
			}
			here, there := both("he/re", o.here), both("th/ere", o.there)
			if row.name != "the record" { // it has both
				here.out, there.out = alike(here.out, "he/re"), alike(there.out, "th/ere")
				here.err, there.err = alike(strings.ReplaceAll(here.err, "-here.csv", ""), "he/re"), alike(strings.ReplaceAll(there.err, "-there.csv", ""), "th/ere")
			}
			if here != there {
				t.Errorf("here: exit %d\n%s%sthere: exit %d\n%s%s", here.code, here.out, here.err, there.code, there.out, there.err)
			}
			if here.code != row.code || !strings.Contains(here.out+here.err, row.says) {
				t.Errorf("exit %d, want %d with %q\n%s%s", here.code, row.code, row.says, here.out, here.err)
			}
			if row.code != 0 && !strings.Contains(here.err, "hint: ") {
				t.Errorf("no hint in %s", here.err)
			}
		})
	}
	if got := o.here(t, "client", "create", "acme", "--id", "api", "--resource-server").good(t); strings.Contains(got.err, "scopes") {
		t.Errorf("a resource server, which needs no scopes: %s", got.err)
	}
	record := o.here(t, "audit", "-o", "json").good(t).out
	for _, who := range []string{`"actor":"command line: `, `"actor":"client ops/operator (token `} {
		for _, what := range []string{"created", "changed", "rotated", "disabled", "enabled", "deleted", "imported"} {
			if !regexp.MustCompile(`"client\.` + what + `".*` + regexp.QuoteMeta(who)).MatchString(record) {
				t.Errorf("no record of client.%s with %s", what, who)
			}
		}
	}
	// Without -o json there was neither who nor what.
	for _, line := range []string{`(?m)^\S+  client\.changed .*  command line: .*  \S`, `(?m)^\S+  client\.rotated .*  client ops/operator \(token .*client secret; `} {
		if table := o.here(t, "audit").good(t).out; !regexp.MustCompile(line).MatchString(table) {
			t.Errorf("no line is like %s in\n%s", line, table)
		}
	}
	if strings.Contains(record, o.secret) || strings.Contains(record, "eyJ") {
		t.Error("the record holds a secret or a token")
	}
	// Keys: each way rotates one of its own, and is told to wait then.
	for realm, do := range map[string]func(*testing.T, ...string) ran{"acme": o.here, "partners": o.there} {
		if got := do(t, "key", "rotate", realm).good(t); !strings.Contains(got.out, "next") {
			t.Errorf("printed %s", got.out)
		}
		if got := do(t, "key", "rotate", realm); got.code != 1 || !strings.Contains(got.err, "a key is waiting to be activated") {
			t.Errorf("exit %d, said %s", got.code, got.err)
		}
	}
}

// curler calls the Admin API of o with curl, and acme's token endpoint.
type curler struct {
	*operated
	env   []string
	token string
}

func curl(t *testing.T, o *operated) *curler {
	t.Helper()
	c := &curler{operated: o, env: []string{"CURL_CA_BUNDLE=" + filepath.Join(o.dir, "tls", "certificate.pem")}}
	_, c.token = c.ask(t, o.base+"/token", "operator", o.secret)
	return c
}

// acme is that realm's token endpoint.
func (c *curler) acme() string { return "https://auth.acme.example:" + c.port + "/token" }

// ask asks for a token, and returns the status and the token.
func (c *curler) ask(t *testing.T, url, id, secret string) (status, token string) {
	t.Helper()
	in := fmt.Sprintf("resolve = \"auth.acme.example:%s:127.0.0.1\"\nuser = \"%s:%s\"\n", c.port, id, secret)
	got := execute(t, in, c.env, "curl", "-sK", "-", "-w", "\n%{http_code}", "-d", "grant_type=client_credentials", url).good(t).out
	_, rest, _ := strings.Cut(got, `"access_token":"`)
	token, _, _ = strings.Cut(rest, `"`)
	return got[strings.LastIndex(got, "\n")+1:], token
}

// ledger asks acme for a token as the client led/ger, and returns the status.
func (c *curler) ledger(t *testing.T, secret string) string {
	t.Helper()
	status, _ := c.ask(t, c.acme(), "led%2Fger", secret)
	return status
}

// call calls the Admin API and returns the answer with its headers.
func (c *curler) call(t *testing.T, want int, says, method, path, body string, headers ...string) string {
	t.Helper()
	args := []string{"-sK", "-", "-i", "-X", method, c.base + "/admin" + path}
	for _, h := range headers {
		args = append(args, "-H", h)
	}
	if body != "" {
		args = append(args, "--data-binary", body)
	}
	got := execute(t, fmt.Sprintf("header = \"Authorization: Bearer %s\"\n", c.token), c.env, "curl", args...).good(t).out
	if !strings.Contains(got, fmt.Sprintf(" %d ", want)) || !strings.Contains(got, says) {
		t.Errorf("%s %s answers %s\nwant %d with %s", method, path, got, want, says)
	}
	return got
}

// secretOf returns the secret in an answer.
func secretOf(t *testing.T, answer string) string {
	t.Helper()
	_, rest, _ := strings.Cut(answer, `"client_secret":"`)
	secret, _, ok := strings.Cut(rest, `"`)
	if !ok || !cfsecret.Is(counterfoil.Secret(secret)) {
		t.Fatalf("no secret in %s", answer)
	}
	return secret
}

const (
	allClients = "/v1/realms/acme/clients"
	oneClient  = allClients + "/led%2Fger"
	asJSON     = "Content-Type: application/json"
	asPatch    = "Content-Type: application/merge-patch+json"
)

// The whole life of a client by curl.
func TestLifeOfAClientByCurl(t *testing.T) {
	o := operate(t)
	c := curl(t, o)
	c.call(t, 200, `"openapi": "3.1.0"`, "GET", "/v1/openapi.json", "")
	c.call(t, 200, "Counterfoil Admin API", "GET", "", "")
	c.call(t, 200, `"name":"partners"`, "GET", "/v1/realms", "")
	first := secretOf(t, c.call(t, 201, `"client_id":"led/ger"`, "POST", allClients, `{"client_id":"led/ger","scopes":["orders:read"]}`, asJSON))
	if got := c.ledger(t, first); got != "200" {
		t.Errorf("created, a token request is answered %s", got)
	}
	c.call(t, 409, `"already_exists"`, "POST", allClients, `{"client_id":"led/ger"}`, asJSON)
	c.call(t, 200, `"status":"enabled"`, "GET", oneClient, "")
	c.call(t, 200, `"2"`, "PATCH", oneClient, `{"name":"Ledger"}`, asPatch, `If-Match: "1"`)
	c.call(t, 412, `"changed"`, "PATCH", oneClient, `{"name":"Other"}`, asPatch, `If-Match: "1"`)
	c.call(t, 200, `"clients":[{`, "GET", allClients+"?search=LEDGER&status=enabled", "")
	second := secretOf(t, c.call(t, 201, `"old_secret_ends"`, "POST", oneClient+"/secrets", `{"overlap":"1h"}`, asJSON))
	if a, b := c.ledger(t, first), c.ledger(t, second); a != "200" || b != "200" {
		t.Errorf("rotated with an overlap, token requests are answered %s and %s", a, b)
	}
	third := secretOf(t, c.call(t, 201, "", "POST", oneClient+"/secrets", `{"overlap":"0s"}`, asJSON))
	if x, y, z := c.ledger(t, first), c.ledger(t, second), c.ledger(t, third); x == "200" || y == "200" || z != "200" {
		t.Errorf("rotated at once, token requests are answered %s, %s and %s", x, y, z)
	}
	c.call(t, 204, "", "POST", oneClient+"/disable", "")
	if c.ledger(t, third) == "200" {
		t.Error("a disabled client gets a token")
	}
	c.call(t, 204, "", "POST", oneClient+"/enable", "")
	c.call(t, 204, "", "POST", oneClient+"/revoke", "")
	if got := c.ledger(t, third); got != "200" {
		t.Errorf("enabled again, a token request is answered %s", got)
	}
	c.call(t, 204, "", "DELETE", oneClient, "")
	c.call(t, 404, `"not_found"`, "GET", oneClient, "")
	if c.ledger(t, third) == "200" {
		t.Error("a deleted client gets a token")
	}
	c.call(t, 200, `"state":"active"`, "GET", "/v1/realms/acme/keys", "")
	c.call(t, 200, `"actor":"client ops/operator (token `, "GET", "/v1/events?limit=1000", "")
	for place, text := range map[string]string{"the log": o.errors(), "standard output": o.printed()} {
		for _, secret := range []string{first, second, third, o.secret, "eyJ"} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds a secret or a token", place)
			}
		}
	}
}

// Who has no good token of the realm, or not the scope, is refused; and without
// its section in the configuration there is not an Admin API.
func TestWhoMayManage(t *testing.T) {
	o := operate(t)
	c := curl(t, o)
	own := c.token
	c.token = "x"
	c.call(t, 401, "invalid_token", "GET", "/v1/realms", "")
	c.token = own
	c.call(t, 200, `"applied":true`, "POST", "/v1/realms/acme/imports?format=plain", "client_id,client_secret\nx,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n", "Content-Type: text/csv")
	_, c.token = c.ask(t, c.acme(), "x", "3f6a0c9b1e7d4825a0b6c3f19e8d7042")
	if !strings.HasPrefix(c.token, "eyJ") {
		t.Fatal("the imported client gets no token")
	}
	c.call(t, 401, "invalid_token", "GET", "/v1/realms", "")
	c.token = own
	reader := secretOf(t, c.call(t, 201, "", "POST", "/v1/realms/ops/clients", `{"client_id":"reader","scopes":["clients:read"]}`, asJSON))
	_, c.token = c.ask(t, o.base+"/token", "reader", reader)
	c.call(t, 200, `"clients"`, "GET", allClients, "")
	c.call(t, 403, `scope="clients:read clients:write"`, "POST", allClients, `{}`, asJSON)
	// Disabled, the operator is refused at his next call.
	c.token = own
	o.here(t, "client", "disable", "ops", "operator").good(t)
	c.call(t, 401, "invalid_token", "GET", "/v1/realms", "")
	o.here(t, "client", "enable", "ops", "operator").good(t)
	c.call(t, 200, "acme", "GET", "/v1/realms", "")
	text, err := os.ReadFile(o.file)
	if err != nil {
		t.Fatal(err)
	}
	o.write(t, "serve.yaml", strings.Replace(string(text), "\nadmin:\n  realm: ops\n", "\n", 1))
	if log := o.hangUp(t); !strings.Contains(log, "msg=reloaded") {
		t.Fatal(log)
	}
	c.call(t, 404, "", "GET", "/v1/realms", "")
}

// What anybody asks of the Admin API leaves a record and a line in the log, which
// name the request by the ID in the answer: a caller without a good token as well,
// whose requests that are alike leave one of each, and their number.
func TestAdminCallsLeaveATrace(t *testing.T) {
	o := operate(t)
	c := curl(t, o)
	own := c.token
	id := func(answer string) string {
		_, rest, _ := strings.Cut(answer, "x-request-id: ")
		id, _, _ := strings.Cut(rest, "\r")
		return id
	}
	var ids []string
	c.token = "x"
	for range 20 {
		ids = append(ids, id(c.call(t, 401, "invalid_token", "DELETE", "/v1/realms/ops/clients/operator", "")))
	}
	c.token = own
	ids = append(ids, id(c.call(t, 403, `"exceeds_own"`, "POST", "/v1/realms/ops/clients", `{"client_id":"spare","resource_server":true}`, asJSON)))
	ids = append(ids, id(c.call(t, 200, `"acme"`, "GET", "/v1/realms", "")))
	record := o.here(t, "audit", "-o", "json").good(t).out
	for what, pattern := range map[string]string{
		"a stranger": `"event_type":"admin.refused".*"realm":"ops".*"success":false,"reason":"token_malformed".*"resource":"DELETE /v1/realms/ops/clients/operator","request_id":"` + ids[0] + `"`,
		"too much":   `"event_type":"admin.refused".*"client_id":"operator".*"actor":"client ops/operator \(token .*"request_id":"` + ids[20] + `".*"ip_address":"127.0.0.1".*"user_agent":"curl/.*"detail":"createClient: exceeds_own /resource_server"`,
		"a reading":  `"event_type":"admin.called".*"request_id":"` + ids[21] + `".*"detail":"realms"`,
	} {
		if found := regexp.MustCompile(pattern).FindAllString(record, -1); len(found) != 1 {
			t.Errorf("%s: %d records\n%s", what, len(found), record)
		}
	}
	if n := strings.Count(record, `"token_malformed"`); n != 1 {
		t.Errorf("%d records of 20 alike", n)
	}
	repeated := regexp.MustCompile(`msg=admin\.refused realm=ops reason=token_malformed endpoint="" repeated=(\d+)`)
	eventually.True(t, "those that are alike are counted", func() bool {
		n := 0
		for _, line := range repeated.FindAllStringSubmatch(o.errors(), -1) {
			more, _ := strconv.Atoi(line[1])
			n += more
		}
		return n+strings.Count(o.errors(), "client_id=\"\" reason=token_malformed") == 20
	})
	log := o.errors()
	for i, id := range []string{ids[0], ids[20]} {
		if !regexp.MustCompile(`msg=admin\.refused realm=ops .*resource="(DELETE|POST) /v1/realms/ops/clients.*request_id=` + id).MatchString(log) {
			t.Errorf("request %d has no line in\n%s", i, log)
		}
	}
	if strings.Contains(log, "call.allowed") {
		t.Errorf("the log says that a refused call was allowed:\n%s", log)
	}
}

// Where the commands are told to work makes sense, or they say why not.
func TestPlacesOfAServer(t *testing.T) {
	o := operate(t)
	for _, row := range []struct {
		name string
		args []string
		code int
		says string
		hint string
	}{
		{"two places", []string{"client", "list", "acme", "--serve-config", o.file, "--server", "ops", "--config", o.consumer}, 2, "choose one", "--help"},
		{"no such connection", []string{"client", "list", "acme", "--server", "prod", "--config", o.consumer}, 2, `no connection "prod"`, "choose from ops"},
		{"connection of an API of another kind", []string{"client", "list", "a55", "--server", "a55", "--config", filepath.Join(shared.dir, "consumer.yaml")}, 1, "is not an Admin API", "docs/admin.md"},
		{"no such configuration", []string{"key", "list", "acme", "--serve-config", filepath.Join(o.dir, "none.yaml")}, 1, "no configuration", ""},
		{"format that is none", []string{"client", "import", "acme", o.file, "--serve-config", o.file, "--format", "ldif"}, 2, `--format "ldif" is unknown`, "identityserver, hydra"},
		{"time that is none", []string{"client", "rotate", "acme", "x", "--serve-config", o.file, "--ends", "soon"}, 2, `--ends "soon" is not a time`, "--help"},
		{"settings that are none", []string{"client", "change", "acme", "x", "--serve-config", o.file, "--settings", "[]"}, 2, "--settings is not a JSON object", "--help"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := execute(t, "", nil, binary, row.args...)
			if got.code != row.code || !strings.Contains(got.err, row.says) || !strings.Contains(got.err, row.hint) {
				t.Errorf("exit %d, said\n%s\nwant exit %d, %q and a hint with %q", got.code, got.err, row.code, row.says, row.hint)
			}
		})
	}
	// A scope that the operator's token lacks is a refusal, not a failure.
	o.here(t, "client", "change", "ops", "operator", "--scope", "clients:read").good(t)
	text, err := os.ReadFile(o.consumer)
	if err != nil {
		t.Fatal(err)
	}
	o.write(t, "consumer.yaml", string(text)+"    scope: clients:read\n")
	if got := o.there(t, "client", "create", "acme"); got.code != exitRefused || !strings.Contains(got.err, "clients:write") || !strings.Contains(got.err, "hint: ") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
	if err := os.WriteFile(filepath.Join(o.dir, "operator.secret"), []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(o.dir, "tokens")); err != nil {
		t.Fatal(err)
	}
	if got := o.there(t, "client", "list", "acme"); got.code != exitRefused || !strings.Contains(got.err, "hint: check client_id") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
}
