package importer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/importer"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// realm is an oauth2 realm on a real listener with a real database, to import
// into.
type realm struct {
	t       testing.TB
	url     string
	http    *http.Client
	store   store.Store
	rules   clients.Rules
	clients *clients.Service
	options importer.Options
}

var now = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func newRealm(t testing.TB, wrap func(store.Store) store.Store) *realm {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "counterfoil.db"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	r := &realm{t: t, store: db, rules: clients.Rules{Provider: p}, options: importer.Options{Realm: "oauth2", Format: "test", Actor: "root", Now: now}}
	if wrap != nil {
		r.store = wrap(db)
	}
	r.clients = clients.New(r.store, nil, r.rulesOf)
	ts := httptest.NewUnstartedServer(nil)
	ts.StartTLS()
	s, err := server.New(t.Context(), server.Config{
		Store: db, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), EachRefusal: true,
		Realms: []server.Realm{{Name: "oauth2", Provider: p, BaseURL: ts.URL}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ts.Config.Handler = s.Handler("oauth2")
	r.url, r.http = ts.URL+p.TokenEndpoint.Path, ts.Client()
	t.Cleanup(func() {
		ts.Close()
		if err := errors.Join(s.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *realm) rulesOf(name string) (clients.Rules, bool) { return r.rules, name == "oauth2" }

// token asks for a token and returns the status and how long it serves.
func (r *realm) token(id, secret string) (status, lifetime int) {
	r.t.Helper()
	resp, err := r.http.PostForm(r.url, url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}})
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct {
		ExpiresIn int `json:"expires_in"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, body.ExpiresIn
}

func read(t *testing.T, format, file string) *importer.File {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return open(t, format, f)
}

func open(t *testing.T, format string, r io.Reader) *importer.File {
	t.Helper()
	f, err := importer.Open(format, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// parse returns the rows of a file.
func parse(format string, r io.Reader) (rows []importer.Row, err error) {
	f, err := importer.Open(format, r)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Rows(func(r *importer.Row) error { rows = append(rows, *r); return nil }); err != nil {
		return nil, err
	}
	return rows, nil
}

// report is an importer.Report as a whole.
type report struct {
	Applied bool
	Rows    []importer.Result
}

func (r report) Count(o importer.Outcome) (n int) {
	for _, row := range r.Rows {
		if row.Outcome == o {
			n++
		}
	}
	return n
}

// whole reads a report, twice, and closes it.
func whole(t testing.TB, r *importer.Report) report {
	t.Helper()
	v := report{Applied: r.Applied}
	for i := range 2 {
		v.Rows = nil
		for row, err := range r.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			v.Rows = append(v.Rows, row)
		}
		if len(v.Rows) != r.Len() {
			t.Errorf("the report has %d rows, and %d when it is read for the %d. time", r.Len(), len(v.Rows), i+1)
		}
	}
	for _, row := range v.Rows {
		if got, want := r.Count(row.Outcome), v.Count(row.Outcome); got != want {
			t.Errorf("%d rows are %s, the report counts %d", want, row.Outcome, got)
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	return v
}

func (r *realm) apply(f *importer.File, change func(*importer.Options)) report {
	r.t.Helper()
	o := r.options
	if change != nil {
		change(&o)
	}
	applied, err := importer.Apply(r.t.Context(), r.clients, f, o)
	if err != nil {
		r.t.Fatal(err)
	}
	rows := 0
	if err := f.Rows(func(*importer.Row) error { rows++; return nil }); err != nil || applied.Len() != rows {
		r.t.Errorf("%d of %d rows are accounted for, %v", applied.Len(), rows, err)
	}
	return whole(r.t, applied)
}

// outcomes writes a report as "id outcome" by row.
func outcomes(r report) []string {
	var out []string
	for _, row := range r.Rows {
		out = append(out, row.ClientID+" "+string(row.Outcome))
	}
	return out
}

// try is a request with a secret that the other server took.
type try struct {
	id, secret       string
	status, lifetime int
}

// TestSecretsKeepWorking: each format, from the file to the token, with hashes
// that other programs made; testdata/make.py makes the files.
func TestSecretsKeepWorking(t *testing.T) {
	for name, row := range map[string]struct {
		format, file string
		outcomes     []string
		tries        []try
		check        func(*testing.T, *realm)
	}{
		"identityserver": {
			"identityserver", "identityserver.json",
			[]string{"partner created", "long created", "off created", "keys created", "web skipped"},
			[]try{
				{"partner", "511536EF-F270-4058-80CA-1C89C192F69A", 200, 1800}, {"partner", "yesterday's", 200, 1800},
				{"partner", "the oldest", 401, 0}, {"partner", "one that is over", 401, 0}, {"partner", "511536ef-f270-4058-80ca-1c89c192f69a", 401, 0},
				{"long", "secret of five hundred and twelve", 200, 3600}, {"off", "off", 401, 0},
			},
			func(t *testing.T, r *realm) {
				c, err := r.clients.Get(t.Context(), "oauth2", "partner")
				if err != nil || c.Name != "A partner" || c.Scopes.String() != "read write" || c.Tokens.Claims["client_plan"] != "gold" {
					t.Errorf("partner is %+v, %v", c, err)
				}
				if len(c.Secrets) != 2 || !c.Secrets[1].Expires.Equal(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)) || c.Secrets[0].Created.Year() != 2025 {
					t.Errorf("its secrets are %+v", c.Secrets)
				}
				if c, err := r.clients.Get(t.Context(), "oauth2", "off"); err != nil || !c.Disabled {
					t.Errorf("off is disabled: %v, %v", c.Disabled, err)
				}
				if c, err := r.clients.Get(t.Context(), "oauth2", "keys"); err != nil || len(c.Secrets) != 0 || c.Authentication.KeySet == "" {
					t.Errorf("keys is %+v, %v", c, err)
				}
			},
		},
		"hydra": {
			"hydra", "hydra.json",
			[]string{"one created", "two created", "shown created", "spa skipped"},
			[]try{{"one", "hydra secret one", 200, 1800}, {"two", "hydra secret two", 200, 3600}, {"two", "hydra secret one", 401, 0}},
			func(t *testing.T, r *realm) {
				c, err := r.clients.Get(t.Context(), "oauth2", "one")
				if err != nil || c.Contact != "ops@example.com, dev@example.com" || c.Labels["owner"] != "team-blue" || c.Scopes.String() != "read" {
					t.Errorf("one is %+v, %v", c, err)
				}
			},
		},
		"hydra's table": {
			"hydra", "hydra.table.jsonl", []string{"one created", "two created"},
			[]try{{"one", "hydra secret one", 200, 1800}, {"two", "hydra secret two", 200, 3600}}, nil,
		},
		"keycloak": {
			"keycloak", "keycloak.json",
			[]string{"account skipped", "service created", "hashed created", "jwt created"},
			[]try{
				{"service", "YNqtYBjO0Gi2MTg5JlbJBPLENLWd12KB", 200, 300}, {"service", "the word before", 200, 300}, {"service", "x", 401, 0},
				{"hashed", "keycloak hashed", 200, 3600}, {"jwt", "x", 401, 0},
			},
			func(t *testing.T, r *realm) {
				c, err := r.clients.Get(t.Context(), "oauth2", "service")
				if err != nil || c.Scopes.String() != "read write" || c.Secrets[1].Expires.Unix() != 1893456000 ||
					!strings.HasPrefix(c.Secrets[0].Value, "sha256:") || !strings.HasPrefix(c.Secrets[1].Value, "$argon2id$") {
					t.Errorf("service is %+v, %v", c, err)
				}
			},
		},
		"cognito": {
			"cognito", "cognito.jsonl",
			[]string{"38fjsnc484p94kpqsnet7mpld0 created", "4abcsnc484p94kpqsnet7mpld0 skipped", "5abcsnc484p94kpqsnet7mpld0 created"},
			[]try{
				{"38fjsnc484p94kpqsnet7mpld0", "1n00ov39d2dumfh8s2k5mj5adbcnpd4lo62t9g7nfql3rv6v4oe", 200, 900},
				{"5abcsnc484p94kpqsnet7mpld0", "0abcov39d2dumfh8s2k5mj5adbcnpd4lo62t9g7nfql3rv6v4oe", 200, 3600},
			}, nil,
		},
		"plain JSON Lines": {
			"plain", "plain.jsonl", []string{"word created", "random created", "hash created"},
			[]try{{"word", "a word", 200, 600}, {"random", "3f6a0c9b1e7d4825a0b6c3f19e8d7042", 200, 3600}, {"hash", "hashed by someone", 200, 600}},
			func(t *testing.T, r *realm) {
				c, err := r.clients.Get(t.Context(), "oauth2", "word")
				if err != nil || c.Name != "Grüße" || fmt.Sprint(c.Addresses) != "[127.0.0.0/8 ::1/128]" || c.Environment != store.EnvironmentSandbox || c.Expires.Year() != 2030 {
					t.Errorf("word is %+v, %v", c, err)
				}
				if c, err := r.clients.Get(t.Context(), "oauth2", "random"); err != nil || len(c.APIKeys) != 1 {
					t.Errorf("random has %d API keys, %v", len(c.APIKeys), err)
				}
			},
		},
		"plain CSV": {
			"plain", "plain.csv", []string{"word created", "quoted created"},
			[]try{{"word", "a word", 200, 600}, {"quoted", `with "quotes", and a comma`, 200, 3600}},
			func(t *testing.T, r *realm) {
				c, err := r.clients.Get(t.Context(), "oauth2", "word")
				if err != nil || c.Name != "Grüße, sehr" || c.Labels["cost"] != "42" || !slices.Equal(c.Tenants, []string{"T1", "T2"}) {
					t.Errorf("word is %+v, %v", c, err)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRealm(t, nil)
			rows := read(t, row.format, row.file)
			dry := r.apply(rows, func(o *importer.Options) { o.DryRun = true })
			if dry.Applied || !slices.Equal(outcomes(dry), row.outcomes) {
				t.Errorf("the dry run says %q", outcomes(dry))
			}
			if page, err := r.store.Events(t.Context(), 0, 10); err != nil || len(page) > 1 { // the signing key
				t.Errorf("the dry run left %d records, %v", len(page), err)
			}
			report := r.apply(rows, func(o *importer.Options) { o.Format = row.format })
			if !report.Applied || !slices.Equal(outcomes(report), row.outcomes) {
				t.Errorf("got %q", outcomes(report))
			}
			for _, try := range row.tries {
				if status, lifetime := r.token(try.id, try.secret); status != try.status || lifetime != try.lifetime {
					t.Errorf("%s with %q got %d for %d s, want %d for %d s", try.id, try.secret, status, lifetime, try.status, try.lifetime)
				}
			}
			if row.check != nil {
				row.check(t, r)
			}
			again := r.apply(read(t, row.format, row.file), nil)
			if n := again.Count(importer.OutcomeUnchanged) + again.Count(importer.OutcomeSkipped); n != len(again.Rows) {
				t.Errorf("the second import says %+v", again.Rows)
			}
			searchSecrets(t, r, row.tries, dry, report, again)
		})
	}
}

// searchSecrets looks for secrets and hashes in what people see.
func searchSecrets(t *testing.T, r *realm, tries []try, reports ...report) {
	t.Helper()
	page, err := r.store.Events(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%+v %+v", reports, page)
	for _, try := range tries {
		if len(try.secret) > 4 && strings.Contains(text, try.secret) {
			t.Errorf("the secret of %s is in a report or a record", try.id)
		}
	}
	for _, e := range page {
		if e.Type == counterfoil.EventClientImported && (e.Actor != "root" || !strings.HasPrefix(e.Detail, "from ")) {
			t.Errorf("record %+v", e)
		}
	}
	if strings.Contains(text, "$2a$") || strings.Contains(text, "sha256:") || strings.Contains(text, "pbkdf2") {
		t.Error("a hash is in a report or a record")
	}
}

// lines makes a plain file.
func lines(t *testing.T, text ...string) *importer.File {
	t.Helper()
	return open(t, "plain", strings.NewReader(strings.Join(text, "\n")))
}

// TestBrokenRow: one row that cannot be taken keeps all others out, unless the
// good ones are asked for.
func TestBrokenRow(t *testing.T) {
	good, other := `{"client_id":"a","client_secret":"secret a"}`, `{"client_id":"z","client_secret":"secret z"}`
	for name, row := range map[string]struct{ line, want string }{
		"no JSON":             {`{"client_id":"b","client_secret":`, "not JSON"},
		"an unknown member":   {`{"client_id":"b","client_secret":"s","colour":"red"}`, `the member "colour" is not one of client_id`},
		"a wrong kind":        {`{"client_id":"b","client_secret":["s"]}`, "the member client_secret"},
		"no id":               {`{"client_secret":"s"}`, "no client id"},
		"no secret":           {`{"client_id":"b"}`, "no secret"},
		"the same id":         {`{"client_id":"a","client_secret":"other"}`, "line 1 has the same client id"},
		"a control in the id": {`{"client_id":"b\u0001","client_secret":"s"}`, "visible"},
		"a long id":           {`{"client_id":"` + strings.Repeat("b", 300) + `","client_secret":"s"}`, "limit of 256"},
		"a long secret":       {`{"client_id":"b","client_secret":"` + strings.Repeat("s", 300) + `"}`, "limits.client_secret"},
		"a longer id":         {`{"client_id":"` + strings.Repeat("b", 257) + `","client_secret":"s"}`, "limit of 256"},
		"a longer secret":     {`{"client_id":"b","client_secret":"` + strings.Repeat("s", 257) + `"}`, "limits.client_secret"},
		"a control in secret": {`{"client_id":"b","client_secret":"a\nb"}`, "cannot carry"},
		"the unit separator":  {`{"client_id":"b","client_secret":"a\u001fb"}`, "cannot carry"},
		"delete":              {`{"client_id":"b","client_secret":"a\u007fb"}`, "cannot carry"},
		"a control of Latin":  {`{"client_id":"b","client_secret":"a\u009fb"}`, "cannot carry"},
		"a bad scope":         {`{"client_id":"b","client_secret":"s","scopes":["\""]}`, "RFC 6749"},
		"another tenant":      {`{"client_id":"b","client_secret":"s","tenants":["T9"]}`, `no tenant "T9"`},
		"a bad address":       {`{"client_id":"b","client_secret":"s","addresses":["home"]}`, "an address"},
		"a long lifetime":     {`{"client_id":"b","client_secret":"s","lifetime":"2h"}`, "longer than the realm's"},
		"a bad hash":          {`{"client_id":"b","client_secret_hash":"secret"}`, "not a known form"},
		"two kinds of secret": {`{"client_id":"b","client_secret":"s","client_secret_hash":"sha256:x"}`, "not both"},
		"a bad time":          {`{"client_id":"b","client_secret":"s","expires":"tomorrow"}`, "time"},
		"an array":            {`["client_id"]`, "not an object"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRealm(t, nil)
			r.rules.Tenants = []string{"T1"}
			rows := lines(t, good, row.line, "", other)
			report := r.apply(rows, nil)
			if report.Applied || report.Rows[1].Outcome != importer.OutcomeRefused || report.Rows[0].Outcome != importer.OutcomeCreated {
				t.Errorf("got %+v", report)
			}
			bad := report.Rows[1]
			if bad.Place != "line 2" || report.Rows[2].Place != "line 4" || !strings.Contains(bad.Detail, row.want) || strings.Contains(bad.Detail, "\n") {
				t.Errorf("%s: %q, want %q", bad.Place, bad.Detail, row.want)
			}
			if status, _ := r.token("a", "secret a"); status != 401 {
				t.Errorf("a good row before the broken one was imported: %d", status)
			}
			report = r.apply(rows, func(o *importer.Options) { o.Partial = true })
			if !report.Applied || report.Count(importer.OutcomeCreated) != 2 || report.Count(importer.OutcomeRefused) != 1 {
				t.Errorf("got %+v", report)
			}
			for _, id := range []string{"a", "z"} {
				if status, _ := r.token(id, "secret "+id); status != 200 {
					t.Errorf("%s got %d", id, status)
				}
			}
		})
	}
}

// TestSecretsAtTheEdge: the longest client ID that a realm takes, the longest
// secret, and characters just beside those that no token request can carry.
func TestSecretsAtTheEdge(t *testing.T) {
	r := newRealm(t, nil)
	described := *r.rules.Provider
	described.TokenEndpoint.Limits.ClientID = 20
	r.rules.Provider = &described
	const longest = 256
	id, secret := strings.Repeat("i", 20), " ~\u00a0"+strings.Repeat("s", longest-len(" ~\u00a0"))
	text, err := json.Marshal(map[string]string{"client_id": id, "client_secret": secret})
	if err != nil {
		t.Fatal(err)
	}
	if report := r.apply(lines(t, string(text)), nil); report.Count(importer.OutcomeCreated) != 1 {
		t.Errorf("%+v", report.Rows)
	}
	if status, _ := r.token(id, secret); status != 200 {
		t.Errorf("got %d", status)
	}
}

// TestRefusedAndInConflict: a row that is refused does not make up for one that is
// in conflict.
func TestRefusedAndInConflict(t *testing.T) {
	r := newRealm(t, nil)
	r.apply(lines(t, `{"client_id":"a","client_secret":"old"}`), nil)
	got := r.apply(lines(t, `{"client_id":"a","client_secret":"new"}`, `{"client_id":"b"}`, `{"client_id":"c","client_secret":"s"}`), nil)
	if want := []string{"a conflict", "b refused", "c created"}; got.Applied || !slices.Equal(outcomes(got), want) {
		t.Errorf("applied %v, got %q, want %q", got.Applied, outcomes(got), want)
	}
}

// TestCSVRows are rows of a CSV file that cannot be taken.
func TestCSVRows(t *testing.T) {
	for name, row := range map[string]struct{ line, err string }{
		"good":                {"b,s,,", ""},
		"disabled":            {"b,s,,true", ""},
		"a quote in a field":  {`b,s"x,,`, "it is not CSV: a quote is out of place"},
		"a column too few":    {"b,s,", "it has 3 columns, the first line has 4"},
		"a column too many":   {"b,s,,,", "it has 5 columns, the first line has 4"},
		"neither true nor no": {"b,s,,maybe", "disabled must be true or false"},
		"no client id":        {",s,,", "it has no client id"},
		"a lifetime of words": {"b,s,long,", "lifetime must be a duration"},
	} {
		rows, err := parse("plain", strings.NewReader("client_id,client_secret,lifetime,disabled\na,s,1h,false\n"+row.line+"\nc,s,60,0\n"))
		if err != nil || len(rows) != 3 || rows[0].Err != nil || rows[1].Place != "line 3" || rows[2].Err != nil || rows[2].Place != "line 4" {
			t.Errorf("%s: read %+v, %v", name, rows, err)
			continue
		}
		if got := rows[1].Err; (got == nil) != (row.err == "") || got != nil && !strings.Contains(got.Error(), row.err) {
			t.Errorf("%s: got %v, want %q", name, got, row.err)
		}
		if rows[1].Client.Disabled != (name == "disabled") || rows[0].Client.Tokens.Lifetime != time.Hour || rows[2].Client.Tokens.Lifetime != time.Minute {
			t.Errorf("%s: read %+v", name, rows)
		}
	}
}

// TestOpenQuote: a quote that is never closed takes the lines behind it along.
// Nothing said so, and their clients were in no report.
func TestOpenQuote(t *testing.T) {
	rows, err := parse("plain", strings.NewReader("client_id,client_secret\na,one\nb,\"two\nc,three\nd,four\n"))
	if err != nil || len(rows) != 2 || rows[1].Place != "line 3" || rows[1].Err == nil || !strings.Contains(rows[1].Err.Error(), "reaches to line 5") {
		t.Errorf("read %+v, %v", rows, err)
	}
}

// TestConflict: a client that is there and differs is left alone, unless it is
// to be replaced.
func TestConflict(t *testing.T) {
	r := newRealm(t, nil)
	if report := r.apply(lines(t, `{"client_id":"a","client_secret":"old","scopes":"read","name":"A"}`), nil); report.Count(importer.OutcomeCreated) != 1 {
		t.Fatalf("%+v", report)
	}
	for name, row := range map[string]struct{ line, want string }{
		"other settings": {`{"client_id":"a","client_secret":"old","scopes":"read write","name":"A"}`, "scopes: read write"},
		"another secret": {`{"client_id":"a","client_secret":"new","scopes":"read","name":"A"}`, "other secrets"},
		"another state":  {`{"client_id":"a","client_secret":"old","scopes":"read","name":"A","disabled":true}`, "disabled: true"},
		"an API key":     {`{"client_id":"a","client_secret":"old","scopes":"read","name":"A","api_key":"k"}`, "other API keys"},
	} {
		report := r.apply(lines(t, row.line, `{"client_id":"b","client_secret":"b"}`), nil)
		if c := report.Rows[0]; report.Applied || c.Outcome != importer.OutcomeConflict || !strings.HasSuffix(c.Detail, row.want) {
			t.Errorf("%s: %+v", name, report)
		}
	}
	report := r.apply(lines(t, `{"client_id":"a","client_secret":"new","scopes":"read write"}`), func(o *importer.Options) { o.Replace = true })
	if !report.Applied || report.Count(importer.OutcomeReplaced) != 1 {
		t.Errorf("%+v", report)
	}
	for secret, want := range map[string]int{"old": 401, "new": 200} {
		if status, _ := r.token("a", secret); status != want {
			t.Errorf("the %s secret got %d", secret, status)
		}
	}
}

// failing is a store that dies after some clients.
type failing struct {
	store.Store
	mu   sync.Mutex
	left int
}

func (f *failing) CreateClient(ctx context.Context, c store.Client, e counterfoil.Event) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		return errors.New("disk full")
	}
	f.left--
	return f.Store.CreateClient(ctx, c, e)
}

// TestInterrupted: an import that dies half way tells how far it came, and is
// finished by doing it again.
func TestInterrupted(t *testing.T) {
	f := &failing{left: 100}
	r := newRealm(t, func(s store.Store) store.Store { f.Store = s; return f })
	var text []string
	for i := range 300 {
		text = append(text, fmt.Sprintf(`{"client_id":"c%03d","client_secret":"%032d-3f6a0c9b1e7d4825"}`, i, i))
	}
	rows := lines(t, text...)
	applied, err := importer.Apply(t.Context(), r.clients, rows, r.options)
	if err == nil || !strings.Contains(err.Error(), "again to finish") || !applied.Applied {
		t.Errorf("%v", err)
	}
	report := whole(t, applied)
	if report.Count(importer.OutcomeCreated) != 100 || report.Count(importer.OutcomeNotDone) != 200 {
		t.Errorf("%d created, %d not done", report.Count(importer.OutcomeCreated), report.Count(importer.OutcomeNotDone))
	}
	f.left = -1
	again := r.apply(rows, nil)
	if again.Count(importer.OutcomeUnchanged) != 100 || again.Count(importer.OutcomeCreated) != 200 {
		t.Errorf("%d unchanged, %d created", again.Count(importer.OutcomeUnchanged), again.Count(importer.OutcomeCreated))
	}
	clients, err := r.clients.List(t.Context(), store.ClientQuery{Realm: "oauth2", Limit: 1000})
	if err != nil || len(clients) != 300 {
		t.Errorf("%d clients, %v", len(clients), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := importer.Apply(ctx, r.clients, lines(t, `{"client_id":"new","client_secret":"s"}`), r.options); err == nil {
		t.Error("an import goes on after its context has ended")
	}
}

// TestTwoImportsAtOnce: both succeed, and each client is there once.
func TestTwoImportsAtOnce(t *testing.T) {
	r := newRealm(t, nil)
	var text []string
	for i := range 100 {
		text = append(text, fmt.Sprintf(`{"client_id":"c%03d","client_secret":"%032d-3f6a0c9b1e7d4825"}`, i, i))
	}
	var wg sync.WaitGroup
	var reports [2]report
	for i := range reports {
		wg.Go(func() {
			applied, err := importer.Apply(t.Context(), r.clients, lines(t, text...), r.options)
			if err != nil {
				t.Error(err)
				return
			}
			reports[i] = whole(t, applied)
		})
	}
	wg.Wait()
	if n := reports[0].Count(importer.OutcomeCreated) + reports[1].Count(importer.OutcomeCreated); n != 100 {
		t.Errorf("%d created by both", n)
	}
	if n := reports[0].Count(importer.OutcomeUnchanged) + reports[1].Count(importer.OutcomeUnchanged); n != 100 {
		t.Errorf("%d unchanged for both", n)
	}
}

// TestFileRefused: what is wrong with a file as a whole is said with its place.
func TestFileRefused(t *testing.T) {
	for name, row := range map[string]struct{ format, text, want string }{
		"unknown format":       {"okta", "{}", "the formats are"},
		"empty":                {"hydra", "", "not JSON"},
		"no clients":           {"hydra", "[]", "no clients"},
		"broken second one":    {"cognito", "{\n \"ClientId\": \"a\"\n}\n{\n \"ClientId\": }\n", "line 5"},
		"unfinished second":    {"cognito", "{\n \"ClientId\": \"a\"\n}\n{\n", "line 5"},
		"broken document":      {"keycloak", "{\n \"clients\": [\n  {\"clientId\": }\n ]\n}", "line 3"},
		"clients that are one": {"keycloak", `{"clients": 7}`, ""},
		"CSV without columns":  {"plain", "a,b\n1,2\n", "column 1"},
		"CSV, column twice":    {"plain", "client_id,client_id\n1,2\n", "column 2"},
		"CSV of one line":      {"plain", "client_id,client_secret\n", "behind its first line"},
		"nothing":              {"plain", "", "neither JSON nor CSV"},
	} {
		rows, err := parse(row.format, strings.NewReader(row.text))
		if row.want == "" {
			if err != nil || len(rows) != 1 || rows[0].Err == nil {
				t.Errorf("%s: %+v, %v", name, rows, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", name, err, row.want)
		}
	}
	for size, want := range map[int64]string{importer.MaxSize: "neither JSON nor CSV", importer.MaxSize + 1: "larger than 128 MiB"} {
		if _, err := parse("plain", io.LimitReader(endless{}, size)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a file of %d bytes: %v, want %q", size, err, want)
		}
	}
	if _, err := parse("plain", bytes.NewReader(bytes.Repeat([]byte("{}\n"), importer.MaxRows+2))); err == nil {
		t.Error("a file of too many rows was taken")
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestOneAfterTheOther: what a loop over 'aws cognito-idp describe-user-pool-client'
// writes is a file, though neither one document nor one a line. It was refused as
// broken.
func TestOneAfterTheOther(t *testing.T) {
	for name, file := range map[string]struct{ format, text string }{
		"Cognito, on many lines": {"cognito", "{\n \"UserPoolClient\": {\n  \"ClientId\": \"a\"\n }\n}\n{\n \"UserPoolClient\": {\n  \"ClientId\": \"b\"\n }\n}\n"},
		"Hydra, page by page":    {"hydra", "{\n\"items\": [{\"client_id\": \"a\"}]}\n{\n\"items\": [{\"client_id\": \"b\"}]}"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := parse(file.format, strings.NewReader(file.text))
			if err != nil || len(rows) != 2 || rows[0].Client.ID != "a" || rows[1].Client.ID != "b" || rows[1].Place != "client 2" {
				t.Errorf("read %+v, %v", rows, err)
			}
		})
	}
}

// keycloakHash are the members of a credential of Keycloak.
const keycloakHash = `"secretData":"{\"value\":\"AHwTAmVMrYe/Tkk9V2XVaGtpVPcEUROAdXS2V1yBbZmmFo8C7s1jK0nIHh5sDkQSnHn9EgS2dxRfb+7D48Ijdw==\",\"salt\":\"a2V5Y2xvYWsgc2FsdCAxNg==\"}","credentialData":"{\"hashIterations\":30000,\"algorithm\":\"pbkdf2-sha512\"}"`

// TestWhenSecretsWereMade: a secret is as old as the file says, and of no age when
// that says nothing.
func TestWhenSecretsWereMade(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		want time.Time
	}{
		"a hash that is dated":    {`"credentials":[{"createdDate":1700000000000,` + keycloakHash + `}]`, time.Unix(1_700_000_000, 0).UTC()},
		"a hash of date 0":        {`"credentials":[{"createdDate":0,` + keycloakHash + `}]`, time.Time{}},
		"a hash without a date":   {`"credentials":[{` + keycloakHash + `}]`, time.Time{}},
		"a secret that is dated":  {`"secret":"s","attributes":{"client.secret.creation.time":"1700000000"}`, time.Unix(1_700_000_000, 0).UTC()},
		"a secret of date 0":      {`"secret":"s","attributes":{"client.secret.creation.time":"0"}`, time.Time{}},
		"a secret without a date": {`"secret":"s"`, time.Time{}},
	} {
		rows, err := parse("keycloak", strings.NewReader(`{"clientId":"a","serviceAccountsEnabled":true,`+row.text+`}`))
		if err != nil || len(rows) != 1 || rows[0].Err != nil || len(rows[0].Secrets) != 1 || rows[0].Secrets[0].Created != row.want {
			t.Errorf("%s: read %+v, %v, want %v", name, rows, err, row.want)
		}
	}
}

// TestForeignRows are rows of other servers that cannot be taken, or not whole.
func TestForeignRows(t *testing.T) {
	const m2m = `"AllowedGrantTypes":["client_credentials"]`
	hydra := func(more string) string {
		return `{"client_id":"a","grant_types":["client_credentials"],"client_secret":"$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW",` + more + `}`
	}
	keycloak := func(more string) string {
		return `{"clientId":"a","serviceAccountsEnabled":true,"secret":"s",` + more + `}`
	}
	for name, row := range map[string]struct{ format, text, err, note string }{
		"IdentityServer, a plain secret":   {"identityserver", `{"ClientId":"a",` + m2m + `,"ClientSecrets":[{"Value":"secret"}]}`, "secret 1: ", ""},
		"IdentityServer, a key that ends":  {"identityserver", `{"ClientId":"a",` + m2m + `,"ClientSecrets":[{"Type":"JWK","Value":"{}","Expiration":"2030-01-01T00:00:00"}]}`, "secret 1: it must be a JWK without", ""},
		"IdentityServer, a key of a kind":  {"identityserver", `{"ClientId":"a",` + m2m + `,"ClientSecrets":[{"Type":"JWK","Value":"{"}]}`, "secret 1: it must be a JWK without", ""},
		"IdentityServer, most secrets":     {"identityserver", `{"ClientId":"a",` + m2m + `,"ClientSecrets":[` + strings.Repeat(`{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="},`, 49) + `{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="}]}`, "", ""},
		"IdentityServer, X.509":            {"identityserver", `{"ClientId":"a",` + m2m + `,"ClientSecrets":[{"Type":"X509Thumbprint","Value":"AB"}]}`, "no secret", "left out secret 1: its type is neither SharedSecret nor JWK"},
		"IdentityServer, reference tokens": {"identityserver", `{"ClientId":"a",` + m2m + `,"AccessTokenType":1,"ClientSecrets":[]}`, "no secret", "reference tokens"},
		"IdentityServer, claims":           {"identityserver", `{"ClientId":"a",` + m2m + `,"Claims":[{"Type":"r","Value":"1"},{"Type":"r","Value":"2"}]}`, "several values", ""},
		"IdentityServer, grants of a kind": {"identityserver", `{"ClientId":"a","AllowedGrantTypes":7}`, "the member AllowedGrantTypes must be a list, or text and is a number", ""},
		"IdentityServer, half a second":    {"identityserver", `{"ClientId":"a",` + m2m + `,"AccessTokenLifetime":0.5}`, "whole seconds", ""},
		"IdentityServer, many secrets":     {"identityserver", `{"ClientId":"a",` + m2m + `,"ClientSecrets":[` + strings.Repeat(`{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="},`, 50) + `{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="}]}`, "more than 50", ""},
		"Hydra's API without secrets":      {"hydra", `{"client_id":"a","grant_types":["client_credentials"]}`, "hydra_client", ""},
		"Hydra, a secret in clear":         {"hydra", `{"client_id":"a","grant_types":["client_credentials"],"client_secret":"s"}`, "must begin with", ""},
		"Hydra, jwks of a kind":            {"hydra", `{"client_id":"a","grant_types":["client_credentials"],"jwks":"no"}`, "JWK Set", ""},
		"Hydra, a life without end":        {"hydra", `{"client_id":"a","grant_types":["client_credentials"],"jwks_uri":"https://a.example/k","client_credentials_grant_access_token_lifespan":"9000h"}`, "client_credentials_grant_access_token_lifespan: the lifetime", ""},
		"Hydra, most of it":                {"hydra", hydra(`"metadata":{},"audience":[],"jwks":null,"client_secret_expires_at":17179869176`), "", ""},
		"Hydra, empty metadata":            {"hydra", hydra(`"metadata":null`), "", ""},
		"Hydra's table, empty metadata":    {"hydra", hydra(`"metadata":"{}","jwks":"","client_credentials_grant_access_token_lifespan":null`), "", ""},
		"Hydra, metadata":                  {"hydra", hydra(`"metadata":{"a":1}`), "", "left out its metadata"},
		"Hydra, an audience":               {"hydra", hydra(`"audience":["x"]`), "", "left out its audience"},
		"Hydra, an end before time":        {"hydra", hydra(`"client_secret_expires_at":-1`), "client_secret_expires_at is not a time", ""},
		"Hydra, an end after time":         {"hydra", hydra(`"client_secret_expires_at":17179869177`), "client_secret_expires_at is not a time", ""},
		"Hydra, a life in words":           {"hydra", hydra(`"client_credentials_grant_access_token_lifespan":"long"`), "is not a duration", ""},
		"Hydra, no key in the set":         {"hydra", `{"client_id":"a","grant_types":["client_credentials"],"jwks":{"keys":[]}}`, "no secret and no key", ""},
		"Keycloak, one scope of both":      {"keycloak", keycloak(`"defaultClientScopes":["read","email"],"optionalClientScopes":["read"]`), "", "left out the scopes email"},
		"Keycloak, times at the edge":      {"keycloak", keycloak(`"attributes":{"client.secret.creation.time":"0","client.secret.expiration.time":"17179869176"}`), "", ""},
		"Keycloak, an end before time":     {"keycloak", keycloak(`"attributes":{"client.secret.expiration.time":"-1"}`), "not a whole number of seconds", ""},
		"Keycloak, an end after time":      {"keycloak", keycloak(`"attributes":{"client.secret.expiration.time":"17179869177"}`), "not a whole number of seconds", ""},
		"Hydra, grants as JSON in a text":  {"hydra", `{"client_id":"a","grant_types":"[\"refresh_token\",\"client_credentials\"]","client_secret":"$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW"}`, "", ""},
		"Keycloak, many credentials":       {"keycloak", keycloak(`"credentials":[` + strings.Repeat("{"+keycloakHash+"},", 50) + "{" + keycloakHash + "}" + `]`), "more than 50", ""},
		"Keycloak, masked":                 {"keycloak", `{"clientId":"a","serviceAccountsEnabled":true,"secret":"**********"}`, "masked", ""},
		"Keycloak, in a vault":             {"keycloak", `{"clientId":"a","serviceAccountsEnabled":true,"secret":"${vault.x}"}`, "vault", ""},
		"Keycloak, X.509":                  {"keycloak", `{"clientId":"a","serviceAccountsEnabled":true,"clientAuthenticatorType":"client-x509"}`, "clientAuthenticatorType", ""},
		"Keycloak, a bad credential":       {"keycloak", `{"clientId":"a","serviceAccountsEnabled":true,"credentials":[{"secretData":"{}","credentialData":"{}"}]}`, "credential 1", ""},
		"Keycloak, a bad lifespan":         {"keycloak", `{"clientId":"a","serviceAccountsEnabled":true,"secret":"s","attributes":{"access.token.lifespan":"x"}}`, "access.token.lifespan", ""},
		"Keycloak, the realm's lifespan":   {"keycloak", `{"clientId":"a","serviceAccountsEnabled":true,"secret":"s","attributes":{"access.token.lifespan":"-1"},"optionalClientScopes":["more"]}`, "", "optional scopes"},
		"Cognito, a unit of its own":       {"cognito", `{"ClientId":"a","AllowedOAuthFlows":["client_credentials"],"TokenValidityUnits":{"AccessToken":"years"}}`, "days, hours, minutes, seconds", ""},
		"Cognito without a secret":         {"cognito", `{"ClientId":"a","AllowedOAuthFlows":["client_credentials"]}`, "no secret", ""},
		"Cognito, scopes for people":       {"cognito", `{"ClientId":"a","ClientSecret":"s","AllowedOAuthFlows":["client_credentials"],"AllowedOAuthScopes":["openid","x/y"]}`, "", "openid"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := parse(row.format, strings.NewReader(row.text))
			if err != nil || len(rows) != 1 {
				t.Fatalf("%d rows, %v", len(rows), err)
			}
			got := rows[0]
			if (got.Err == nil) != (row.err == "") || got.Err != nil && !strings.Contains(got.Err.Error(), row.err) {
				t.Errorf("got %v, want %q", got.Err, row.err)
			}
			if notes := strings.Join(got.Notes, "\n"); !strings.Contains(notes, row.note) || row.note == "" && notes != "" {
				t.Errorf("notes %q, want %q", notes, row.note)
			}
			if got.Client.ID != "a" || got.Skip != "" {
				t.Errorf("id %q, skip %q", got.Client.ID, got.Skip)
			}
		})
	}
}

// TestNotes: what is left out of a row is said.
func TestNotes(t *testing.T) {
	r := newRealm(t, nil)
	report := r.apply(read(t, "identityserver", "identityserver.json"), func(o *importer.Options) { o.DryRun = true })
	want := []string{
		"left out secret 1, counted from the newest: it has expired",
		"left out secret 4, counted from the newest: 2 at once are accepted",
	}
	if !slices.Equal(report.Rows[0].Notes, want) {
		t.Errorf("got %q", report.Rows[0].Notes)
	}
	late := r.apply(lines(t, `{"client_id":"a","client_secret":"s"}`), func(o *importer.Options) { o.DryRun = true })
	if !slices.Equal(late.Rows[0].Notes, []string{"it is allowed no scopes"}) {
		t.Errorf("got %q", late.Rows[0].Notes)
	}
	rows := open(t, "identityserver", strings.NewReader(`{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"ClientSecrets":[{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE=","Expiration":"2020-01-01T00:00:00"}]}`))
	if got := r.apply(rows, nil); got.Applied || !strings.Contains(got.Rows[0].Detail, "expired") {
		t.Errorf("a client whose secrets have all expired: %+v", got)
	}
}

// FuzzParse reads whatever comes in each format: it never panics, and every row
// that it takes is one that a realm can look at.
func FuzzParse(f *testing.F) {
	for format, files := range map[string][]string{
		"identityserver": {"identityserver.json"}, "hydra": {"hydra.json", "hydra.table.jsonl"}, "keycloak": {"keycloak.json"},
		"cognito": {"cognito.jsonl"}, "plain": {"plain.jsonl", "plain.csv"},
	} {
		for _, file := range files {
			data, err := os.ReadFile(filepath.Join("testdata", file))
			if err != nil {
				f.Fatal(err)
			}
			f.Add(slices.Index(importer.Formats(), format), data)
		}
	}
	f.Add(4, []byte("client_id\n\"a\nb\n"))
	f.Add(1, []byte("{}\n{"))
	f.Fuzz(func(t *testing.T, format int, data []byte) {
		formats := importer.Formats()
		rows, err := parse(formats[uint(format)%uint(len(formats))], bytes.NewReader(data))
		if (err == nil) == (len(rows) == 0) {
			t.Errorf("%d rows, %v", len(rows), err)
		}
		for _, row := range rows {
			if row.Place == "" {
				t.Error("a row has no place")
			}
			if row.Err != nil && strings.ContainsAny(row.Err.Error(), "\n\r") {
				t.Errorf("an error of several lines: %q", row.Err)
			}
			if row.Err == nil && row.Skip == "" && (row.Client.ID == "" || len(row.Secrets) == 0 && !row.Client.WithoutSecret) {
				t.Errorf("%s was taken without an id or a way to prove itself: %+v", row.Place, row.Client)
			}
		}
	})
}
