package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// made are the credentials that 'client create' prints.
type made struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	APIKey       string `json:"api_key"`
}

func manage(t *testing.T, args ...string) ran {
	t.Helper()
	return execute(t, "", nil, binary, append(args, "--dir", shared.dir)...)
}

func credentialsOf(t *testing.T, r ran) made {
	t.Helper()
	var m made
	if err := json.Unmarshal([]byte(r.good(t).out), &m); err != nil || m.ClientID == "" {
		t.Fatalf("printed %s", r.out)
	}
	return m
}

// status asks a55 for a token with a client's credentials.
func (m made) status(t *testing.T) string {
	t.Helper()
	in := fmt.Sprintf("data = \"grant_type=client_credentials&client_id=%s&client_secret=%s\"\n", m.ClientID, m.ClientSecret)
	return execute(t, in, []string{"CURL_CA_BUNDLE=" + filepath.Join(shared.dir, "tls", "ca.pem")}, "curl", "-sK", "-", "-o", "/dev/null", "-w", "%{http_code}", shared.base+"/a55/oauth2/token").out
}

// call returns the status of a call of a55's API with a token that the client got
// before, or now.
func (m made) call(t *testing.T, token *string) string {
	t.Helper()
	ca := []string{"CURL_CA_BUNDLE=" + filepath.Join(shared.dir, "tls", "ca.pem")}
	if *token == "" {
		in := fmt.Sprintf("data = \"grant_type=client_credentials&client_id=%s&client_secret=%s\"\n", m.ClientID, m.ClientSecret)
		answer := execute(t, in, ca, "curl", "-sK", "-", shared.base+"/a55/oauth2/token").good(t).out
		_, rest, _ := strings.Cut(answer, `"access_token":"`)
		*token, _, _ = strings.Cut(rest, `"`)
	}
	in := fmt.Sprintf("header = \"Authorization: Bearer %s\"\n", *token)
	return execute(t, in, ca, "curl", "-sK", "-", "-o", "/dev/null", "-w", "%{http_code}", shared.base+"/a55/api/v1/wallets").out
}

// The files of 'up' have the secret of its own client, which a rotation leaves
// behind there.
func TestRotateSaysWhichFileIsStale(t *testing.T) {
	id := shared.env(t, "ahotu").Get("API_CLIENT_ID")
	said := manage(t, "client", "rotate", "ahotu", id, "--overlap", "24h").good(t).err
	if want := filepath.Join(shared.dir, "env", "ahotu.env") + ", which " + filepath.Join(shared.dir, "consumer.yaml") + " reads, has the old one"; !strings.Contains(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	other := credentialsOf(t, manage(t, "client", "create", "ahotu", "--name", "other", "--scope", "events:read", "-o", "json"))
	if said := manage(t, "client", "rotate", "ahotu", other.ClientID).good(t).err; strings.Contains(said, "has the old one") {
		t.Errorf("said of another client: %q", said)
	}
}

// The life of a client, beside a running server: each change counts from the
// next request on.
func TestLifeOfAClient(t *testing.T) {
	first := credentialsOf(t, manage(t, "client", "create", "a55", "--name", "billing", "--scope", "wallets:read", "-o", "json"))
	expect := func(m made, want, when string) {
		t.Helper()
		if got := m.status(t); got != want {
			t.Errorf("%s: answered %s, want %s", when, got, want)
		}
	}
	expect(first, "200", "created")
	second := credentialsOf(t, manage(t, "client", "rotate", "a55", first.ClientID, "-o", "json"))
	expect(first, "200", "rotated with an overlap, old secret")
	expect(second, "200", "rotated with an overlap, new secret")
	third := credentialsOf(t, manage(t, "client", "rotate", "a55", first.ClientID, "--overlap", "0", "-o", "json"))
	expect(first, "400", "compromised, oldest secret")
	expect(second, "400", "compromised, old secret")
	expect(third, "200", "compromised, new secret")
	var token string
	if got := third.call(t, &token); got != "200" {
		t.Errorf("a call is answered %s", got)
	}
	manage(t, "client", "disable", "a55", first.ClientID).good(t)
	expect(third, "400", "disabled")
	if got := third.call(t, &token); got != "401" {
		t.Errorf("disabled, a call with its token is answered %s", got)
	}
	manage(t, "client", "enable", "a55", first.ClientID).good(t)
	expect(third, "200", "enabled")
	shown := manage(t, "client", "show", "a55", first.ClientID).good(t)
	if !strings.Contains(shown.out, "billing") || !strings.Contains(shown.out, "wallets:read") {
		t.Errorf("show printed %s", shown.out)
	}
	listed := manage(t, "client", "list", "a55", "-o", "json").good(t)
	if !strings.Contains(listed.out, first.ClientID) {
		t.Errorf("list printed %s", listed.out)
	}
	for _, secret := range []string{first.ClientSecret, second.ClientSecret, third.ClientSecret, "sha256:"} {
		if strings.Contains(shown.out+listed.out, secret) {
			t.Error("a secret or its hash was shown")
		}
	}
	manage(t, "client", "delete", "a55", first.ClientID).good(t)
	expect(third, "400", "deleted")
	if got := third.call(t, &token); got != "401" {
		t.Errorf("deleted, a call with its token is answered %s", got)
	}
	audit := manage(t, "audit").good(t).out
	for _, event := range []string{"client.created", "client.rotated", "client.disabled", "client.enabled", "client.deleted", "token.issued", "token.refused"} {
		if !strings.Contains(audit, event) {
			t.Errorf("the audit record has no %s", event)
		}
	}
}

func TestClientCommandRefuses(t *testing.T) {
	for _, row := range []struct {
		name string
		args []string
		code int
		says string
		hint string
	}{
		{"no such realm", []string{"client", "list", "okta"}, 2, `there is no realm "okta"`, "ahotu, altrata, engagifii, a55"},
		{"no such client", []string{"client", "show", "a55", "nobody"}, 1, "no such client", "client list a55"},
		{"scope of another realm", []string{"client", "create", "a55", "--scope", "events:read"}, 2, "--scope events:read: the realm a55 has no such scope", "choose from wallets:read"},
		{"taken id", []string{"client", "create", "a55", "--id", shared.env(t, "a55").Get("API_CLIENT_ID")}, 1, "already", "--id"},
		{"negative overlap", []string{"client", "rotate", "a55", "x", "--overlap", "-1h"}, 2, "negative", "--help"},
		{"unknown subcommand", []string{"client", "destroy"}, 2, `unknown command "destroy"`, "client --help"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := manage(t, row.args...)
			if got.code != row.code || !strings.Contains(got.err, row.says) || !strings.Contains(got.err, row.hint) || strings.Count(got.err, "\n") != 2 {
				t.Errorf("exit %d, said\n%s\nwant exit %d, %q and a hint with %q", got.code, got.err, row.code, row.says, row.hint)
			}
		})
	}
	got := execute(t, "", nil, binary, "client", "list", "a55", "--dir", t.TempDir())
	if got.code != 1 || !strings.Contains(got.err, "has no database") || !strings.Contains(got.err, "counterfoil up") {
		t.Errorf("in an empty directory: exit %d, said %s", got.code, got.err)
	}
}

// The calendar takes a foreign list, all or nothing, and serves what was imported
// at once.
func TestImport(t *testing.T) {
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	run := func(args ...string) ran {
		return execute(t, "", nil, binary, append([]string{"data", "import", "--dir", u.dir}, args...)...)
	}
	names := func() string {
		return u.counterfoil(t, "call", "ahotu", "--data", `{"query":"{ events(page: 0, size: 5) { totalCount data { name { en } } } }"}`).good(t).out
	}
	const gophers = `{"name": "GopherMeet", "startDate": "2026-05-31", "endDate": "2026-05-31", "city": "Lyon", "country": "France", "online": false, "url": "https://meet.example", "locales": "EN,FR", "categories": ["go"]}`
	if got := run("calendar", write("list.jsonl", gophers+"\n")).good(t); got.out != "calendar has 1 rows now\n" {
		t.Errorf("printed %q", got.out)
	}
	if got := names(); !strings.Contains(got, `"totalCount":1`) || !strings.Contains(got, "GopherMeet") {
		t.Errorf("the API serves %s", got)
	}
	bad := run("calendar", write("bad.jsonl", gophers+"\n\n{\"name\": 12}\n"))
	if bad.code != 1 || !strings.Contains(bad.err, "bad.jsonl:3: ") || !strings.Contains(bad.err, "hint: nothing was changed") {
		t.Errorf("exit %d, said %s", bad.code, bad.err)
	}
	if got := names(); !strings.Contains(got, "GopherMeet") {
		t.Errorf("after a failed import the API serves %s", got)
	}
	// One byte order mark is dropped, and UTF-16 is read, or named.
	wide := func(s string) (b string) {
		for _, c := range []byte(s) {
			b += string([]byte{c, 0})
		}
		return b
	}
	for name, text := range map[string]string{"mark.jsonl": "\ufeff" + gophers, "wide.jsonl": "\xff\xfe" + wide(gophers+"\n")} {
		run("calendar", write(name, text)).good(t)
	}
	if got := run("calendar", write("unmarked.jsonl", wide(gophers))); got.code != exitLocal || !strings.Contains(got.err, "unmarked.jsonl:1: it is UTF-16 without a byte order mark, or not text: save it as UTF-8\nhint: nothing was changed") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
	if got := run("weather", write("x.jsonl", "{}")); got.code != 2 || !strings.Contains(got.err, "choose from calendar, events, profiles, wallets") {
		t.Errorf("exit %d, said %s", got.code, got.err)
	}
}

// Every authentication leaves a record with all that the guides ask for.
func TestAuditRecord(t *testing.T) {
	// One of its own: where others are refused, too, refusals are counted together.
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	env := u.env(t, "a55")
	u.sourced(t, "a55", `curl -s -A 'auditor/1.0' "$AUTH_URL" -d grant_type=client_credentials -d "client_id=$API_CLIENT_ID" -d "client_secret=$API_CLIENT_SECRET"`).good(t)
	u.sourced(t, "a55", `curl -s -A 'auditor/1.0' "$AUTH_URL" -d grant_type=client_credentials -d "client_id=$API_CLIENT_ID" -d client_secret=wr0ng-s3cr3t`).good(t)
	out := execute(t, "", nil, binary, "audit", "-o", "json", "--dir", u.dir).good(t).out
	var seen []map[string]any
	for line := range strings.Lines(out) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e["user_agent"] == "auditor/1.0" {
			seen = append(seen, e)
		}
	}
	if len(seen) != 2 {
		t.Fatalf("%d records of two requests:\n%s", len(seen), out)
	}
	for i, want := range []map[string]any{
		{"event_type": "token.issued", "success": true, "realm": "a55", "client_id": env.Get("API_CLIENT_ID"), "ip_address": "127.0.0.1"},
		{"event_type": "token.refused", "success": false, "reason": "wrong_secret", "realm": "a55", "client_id": env.Get("API_CLIENT_ID"), "ip_address": "127.0.0.1"},
	} {
		for key, value := range want {
			if seen[i][key] != value {
				t.Errorf("record %d: %s is %v, want %v", i, key, seen[i][key], value)
			}
		}
	}
	for _, secret := range []string{"wr0ng-s3cr3t", env.Get("API_CLIENT_SECRET"), "eyJ"} {
		if strings.Contains(out, secret) {
			t.Error("the audit record holds a secret")
		}
	}
}

// No secret and no token is in anything that the server wrote, but in the
// environment files and the token cache.
func TestNothingLeaks(t *testing.T) {
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0", "--verbose")
	var secrets []string
	for _, provider := range missionProviders {
		secrets = append(secrets, strings.TrimSpace(u.counterfoil(t, "token", provider).good(t).out))
		for _, s := range u.env(t, provider) {
			if strings.Contains(s.Key, "SECRET") || s.Key == "API_KEY" || s.Key == "API_PASSWORD" {
				secrets = append(secrets, s.Value)
			}
		}
		u.counterfoil(t, "doctor", provider).good(t)
		u.sourced(t, provider, `curl -s "$AUTH_URL" -d "client_secret=$API_CLIENT_SECRET" -u "$API_CLIENT_SECRET:$API_CLIENT_SECRET"; curl -s "$AUTH_URL?client_secret=$API_CLIENT_SECRET" -X POST; curl -s "$API_BASE_URL" -H "Authorization: $API_CLIENT_SECRET"`)
	}
	places := map[string]string{"standard output": u.printed(), "standard error": u.errors(), "audit": execute(t, "", nil, binary, "audit", "--dir", u.dir, "-o", "json").out}
	for _, file := range []string{"counterfoil.db", "counterfoil.db-wal", "consumer.yaml"} {
		b, err := os.ReadFile(filepath.Join(u.dir, file))
		if err != nil {
			t.Fatal(err)
		}
		places[file] = string(b)
	}
	if len(u.errors()) < 1000 {
		t.Errorf("--verbose wrote only %q", u.errors())
	}
	for place, text := range places {
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds a secret or a token", place)
			}
		}
	}
}

// An import whose standard input says nothing yet holds nobody up: rows are read
// before they are replaced.
func TestSlowImportHoldsNobodyUp(t *testing.T) {
	u := start(t, filepath.Join(t.TempDir(), "data"), "127.0.0.1:0")
	cmd := exec.CommandContext(t.Context(), binary, "data", "import", "--dir", u.dir, "calendar", "-")
	pipe, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A pipe holds 64 KiB: once more than that went through, the import reads.
	if _, err := pipe.Write(bytes.Repeat([]byte("\n"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if u.asker(t, "a55").token(t.Context()) == "" {
		t.Error("a token request failed while an import waited for its input")
	}
	const row = `{"name": "GopherMeet", "startDate": "2026-05-31", "city": "Lyon", "country": "France", "online": false}` + "\n"
	if _, err := pipe.Write([]byte(row)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(pipe.Close(), cmd.Wait()); err != nil {
		t.Errorf("the import ended with %v", err)
	}
}

// 'client list' says what was used and what ends, and chooses by that, on a
// directory and on the database of 'serve'.
func TestClientListByUseAndEnd(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	soon := time.Now().Add(10 * 24 * time.Hour).UTC()
	s.manage(t, "client", "create", "acme", "--id", "fresh", "--scope", "orders:read").good(t)
	s.manage(t, "client", "create", "acme", "--id", "keyed", "--without-secret").good(t)
	s.manage(t, "client", "create", "acme", "--id", "soon", "--settings", `{"expires":"`+soon.Format(time.RFC3339)+`"}`).good(t)
	s.manage(t, "client", "rotate", "acme", "fresh", "--overlap", "48h").good(t)
	db, err := sqlite.Open(t.Context(), filepath.Join(s.dir, "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	// Two that were made long ago.
	past := clock.NewManual(time.Now().Add(-100 * 24 * time.Hour))
	for _, id := range []string{"ended", "old"} {
		n := clients.NewClient{Realm: "acme", ID: id}
		if id == "ended" {
			n.Expires = time.Now().Add(-24 * time.Hour)
		}
		if _, _, err := clients.New(db, past, anyRules).Create(t.Context(), "test", n); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		flags []string
		want  string
	}{
		{nil, "ended fresh keyed old soon"}, {[]string{"--idle", "90d"}, "ended old"}, {[]string{"--idle", "90d", "--status", "enabled"}, "old"},
		{[]string{"--status", "expired"}, "ended"}, {[]string{"--ends", "30d"}, "fresh soon"}, {[]string{"--ends", "72h"}, "fresh"},
		{[]string{"--idle", "90d", "--limit", "1"}, "ended"}, {[]string{"--idle", "90d", "--after", "ended"}, "old"},
	} {
		got := s.manage(t, append([]string{"client", "list", "acme", "-o", "json"}, row.flags...)...).good(t)
		var all []struct {
			ID string `json:"client_id"`
		}
		if err := json.Unmarshal([]byte(got.out), &all); err != nil {
			t.Fatalf("%v: %s", err, got.out)
		}
		var ids []string
		for _, c := range all {
			ids = append(ids, c.ID)
		}
		if found := strings.Join(ids, " "); found != row.want {
			t.Errorf("%q: %s, want %s", row.flags, found, row.want)
		}
	}
	text := s.manage(t, "client", "list", "acme").good(t).out
	for _, line := range []string{
		`(?m)^ended +expired +never +` + time.Now().Add(-24*time.Hour).UTC().Format(time.DateOnly), `(?m)^soon +enabled +never +` + soon.Format(time.DateOnly) + ` *$`,
		`(?m)^fresh +enabled +never +\d{4}-\d\d-\d\d \(secret [0-9a-f]{8}\)`, `(?m)^keyed +enabled *$`,
	} {
		if !regexp.MustCompile(line).MatchString(text) {
			t.Errorf("there is no line %s in\n%s", line, text)
		}
	}
	for _, flags := range [][]string{{"--idle", "90"}, {"--idle", "-1d"}, {"--idle", "0d"}, {"--ends", ""}, {"--ends", "9999999999h"}, {"--status", "idle"}} {
		if got := s.manage(t, append([]string{"client", "list", "acme"}, flags...)...); got.code != exitUsage || strings.Count(got.err, "\n") != 2 {
			t.Errorf("%q: %d %s", flags, got.code, got.err)
		}
	}
}
