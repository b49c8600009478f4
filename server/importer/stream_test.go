package importer_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/importer"
	"github.com/counterfoil/counterfoil/server/store"
)

// made writes n clients in a format, with some members before and behind the
// ignored list.
func made(format string, n int) string {
	var b strings.Builder
	row := func(i int) {
		secret := fmt.Sprintf("%032x3f6a0c9b1e7d4825a0b6c3f19e8d7042", i*7919)
		sum := sha256.Sum256([]byte(secret))
		switch format {
		case "identityserver":
			fmt.Fprintf(&b, `{"ClientId":"c%d","AllowedGrantTypes":["client_credentials"],"AllowedScopes":["read"],"ClientSecrets":[{"Value":%q}]}`, i, base64.StdEncoding.EncodeToString(sum[:]))
		case "hydra":
			fmt.Fprintf(&b, `{"client_id":"c%d","client_secret":"$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW","grant_types":["client_credentials"],"scope":"read"}`, i)
		case "keycloak", "realms":
			fmt.Fprintf(&b, `{"clientId":"c%d","enabled":true,"serviceAccountsEnabled":true,"protocol":"openid-connect","secret":%q}`, i, secret)
		case "cognito":
			fmt.Fprintf(&b, `{"UserPoolClient":{"ClientId":"c%d","ClientSecret":%q,"AllowedOAuthFlows":["client_credentials"]}}`, i, secret)
		case "plain":
			fmt.Fprintf(&b, `{"client_id":"c%d","client_secret":%q}`, i, secret)
		}
	}
	begin, between, end := "", ",\n", ""
	switch format {
	case "identityserver":
		begin, end = `{"Logging":{"Clients":[7]},"IdentityServer":{"ApiScopes":[{"Name":"read"}],"Clients":[`, `]},"AllowedHosts":"*"}`
	case "hydra":
		begin, end = `{"items":[`, `],"next_page_token":""}`
	case "keycloak", "realms":
		users := strings.Repeat(`{"username":"u","clientConsents":[{"clientId":"x"}]},`, 2*n)
		begin, end = `{"realm":"r","users":[`+users+`null],"clients":[`, `],"clientScopes":[]}`
	case "cognito":
		between = "\n  "
	case "plain":
		between = "\n"
	}
	b.WriteString(begin)
	for i := range n {
		if i > 0 {
			b.WriteString(between)
		}
		row(i)
	}
	b.WriteString(end)
	if format == "realms" {
		return "[" + b.String() + `,{"realm":"bare"}]`
	}
	return b.String()
}

// peak imports a file and returns the most that was in use meanwhile beyond what
// was before, in bytes.
func peak(t *testing.T, r *realm, format, path string, dry bool, n int) int64 {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var stats runtime.MemStats
	used := func() int64 {
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	before := used()
	f := open(t, format, in)
	most := used()
	o := r.options
	calls := 0
	o.DryRun = dry
	o.Progress = func(importer.Progress) {
		if calls++; calls%(n/4) == 0 {
			most = max(most, used())
		}
	}
	report, err := importer.Apply(t.Context(), r.clients, f, o)
	if err != nil || report.Count(importer.OutcomeCreated) != n || report.Len() != n {
		t.Fatalf("%d of %d rows were created, %v", report.Count(importer.OutcomeCreated), n, err)
	}
	if calls < n {
		t.Errorf("progress was told %d times", calls)
	}
	for _, err := range report.Rows() {
		if err != nil {
			t.Fatal(err)
		}
	}
	most = max(most, used())
	if err := report.Close(); err != nil {
		t.Error(err)
	}
	return most - before
}

// Ten times as many rows take no more memory, whichever the format and the form
// of the file: 200,000 rows took 765 MB.
func TestMemoryStaysFlat(t *testing.T) {
	const few, many = 1_000, 10_000
	for _, row := range []struct {
		file, format string
		dry          bool
	}{
		{"identityserver", "identityserver", true}, {"hydra", "hydra", true}, {"keycloak", "keycloak", true}, {"realms", "keycloak", true},
		{"cognito", "cognito", true}, {"plain", "plain", false},
	} {
		t.Run(row.file, func(t *testing.T) {
			var used [2]int64
			for i, n := range []int{few, many} {
				path := filepath.Join(t.TempDir(), "file")
				if err := os.WriteFile(path, []byte(made(row.file, n)), 0o600); err != nil {
					t.Fatal(err)
				}
				used[i] = peak(t, newRealm(t, nil), row.format, path, row.dry, n)
			}
			t.Logf("%d rows: %d KiB, %d rows: %d KiB", few, used[0]>>10, many, used[1]>>10)
			// The file, the plan and the report have a megabyte each in memory at
			// most, and the fingerprints of the ids are there.
			if more := used[1] - used[0]; more > 6<<20 {
				t.Errorf("%d rows take %d KiB, %d rows %d KiB", few, used[0]>>10, many, used[1]>>10)
			}
		})
	}
}

// One huge client, or a quote that is never closed, takes no more memory than
// one that may be.
func TestHugeRow(t *testing.T) {
	huge := strings.Repeat("x", 6<<20)
	for name, row := range map[string]struct {
		format, text string
		rows         []string
	}{
		"JSON Lines":     {"plain", `{"client_id":"a","client_secret":"s"}` + "\n" + `{"client_id":"` + huge + `"}` + "\n" + `{"client_id":"c","client_secret":"s"}`, []string{"line 1 ", "line 2 it is larger than 1024 KiB", "line 3 "}},
		"an array":       {"plain", `[{"client_id":"a","client_secret":"s"},{"client_id":"` + huge + `"},{"client_id":"c","client_secret":"s"}]`, []string{"client 1 ", "client 2 it is larger than 1024 KiB", "client 3 "}},
		"documents":      {"cognito", "{\n\"ClientId\":\"a\"}{\"ClientId\":\"" + huge + "\"}\n{\"ClientId\":\"c\"}", []string{"client 1 ", "client 2 it is larger than 1024 KiB", "client 3 "}},
		"unwanted":       {"keycloak", `{"users":"` + huge + `","` + huge + `":1,"clients":[{"clientId":"a"}]}`, []string{"client 1 "}},
		"CSV":            {"plain", "client_id,client_secret\na,s\n\n" + huge + ",s\nc,s\n", []string{"line 2 ", "line 4 it is larger than 1024 KiB, or a quote opens here and never closes: neither it nor the lines behind it were read"}},
		"an open quote":  {"plain", "client_id,client_secret\na,s\nb,\"s\n" + strings.Repeat("c,s\n", 3<<19), []string{"line 2 ", "line 3 it is larger than 1024 KiB, or a quote opens here and never closes: neither it nor the lines behind it were read"}},
		"a lone quote":   {"plain", "client_id,client_secret\na,s\n\"\n" + strings.Repeat("c,s\n", 3<<19), []string{"line 2 ", "line 3 it is larger than 1024 KiB, or a quote opens here and never closes: neither it nor the lines behind it were read"}},
		"CSV, a heading": {"plain", huge, nil},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
				t.Fatal(err)
			}
			in, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f := open(t, row.format, in)
			var got []string
			err = f.Rows(func(r *importer.Row) error {
				line := r.Place + " "
				if r.Err != nil {
					line += r.Err.Error()
				}
				got = append(got, line)
				return nil
			})
			runtime.ReadMemStats(&after)
			if (err == nil) != (row.rows != nil) || !slices.Equal(got, row.rows) {
				t.Errorf("read %q, %v\nwant %q", got, err, row.rows)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 20<<20 {
				t.Errorf("%d MiB were allocated for it", took>>20)
			}
		})
	}
}

// The largest row that may be is taken, however its line ends, and not one byte
// more.
func TestLargestRow(t *testing.T) {
	const begin, end, most = `{"client_id":"a","client_secret":"s","name":"`, `"}`, 1 << 20
	for _, row := range []struct {
		size int
		end  string
		good bool
	}{{most, "\n", true}, {most, "\r\n", true}, {most + 1, "\n", false}, {most + 1, "\r\n", false}, {most + 1, "", false}} {
		text := begin + strings.Repeat("x", row.size-len(begin)-len(end)) + end
		rows, err := parse("plain", strings.NewReader(`{"client_id":"z","client_secret":"s"}`+"\n"+text+row.end))
		if err != nil || len(rows) != 2 || (rows[1].Err == nil) != row.good {
			t.Errorf("%d bytes and %q: %d rows, %v", row.size, row.end, len(rows), err)
		}
	}
}

// together is a store in which no client is made before so many are asked for at
// once.
type together struct {
	store.Store
	mu   sync.Mutex
	left int
	all  chan struct{}
}

func (s *together) CreateClient(ctx context.Context, c store.Client, e counterfoil.Event) error {
	s.mu.Lock()
	if s.left--; s.left == 0 {
		close(s.all)
	}
	s.mu.Unlock()
	select {
	case <-s.all:
	case <-time.After(time.Minute):
		return errors.New("the others do not come")
	}
	return s.Store.CreateClient(ctx, c, e)
}

// Rows are written many at a time, so that a database can write them in one go.
func TestRowsAreWrittenTogether(t *testing.T) {
	const many = 100
	r := newRealm(t, func(s store.Store) store.Store { return &together{Store: s, left: many, all: make(chan struct{})} })
	if got := r.apply(open(t, "plain", strings.NewReader(made("plain", many))), nil); got.Count(importer.OutcomeCreated) != many {
		t.Errorf("%d of %d were created", got.Count(importer.OutcomeCreated), many)
	}
}

// Where the clients of a document are does not depend on the order of its
// members, nor on how their names are written.
func TestWhereTheClientsAre(t *testing.T) {
	for name, row := range map[string]struct{ format, text, want string }{
		"the wanted member last":         {"hydra", `{"clients":[{"client_id":"no"}],"x":[[1,{"items":2}]],"items":[{"client_id":"a"}]}`, "client 1 a"},
		"the wanted member first":        {"hydra", `{"items":[{"client_id":"a"}],"clients":[{"client_id":"no"}]}`, "client 1 a"},
		"a member twice":                 {"hydra", `{"items":[{"client_id":"no"}],"items":[{"client_id":"a"}]}`, "client 1 a"},
		"an escaped name":                {"hydra", `{"\u0069tems":[{"client_id":"a"}]}`, "client 1 a"},
		"a wanted member of no use":      {"hydra", `{"items":"none","clients":[{"client_id":"a"}]}`, "client 1 a"},
		"three deep":                     {"identityserver", `{"IdentityServer":{"IdentityServerSettings":{"Clients":[{"ClientId":"a"}]}}}`, "client 1 a"},
		"four deep":                      {"identityserver", `{"IdentityServer":{"IdentityServerSettings":{"IdentityServer":{"Clients":[{"ClientId":"a"}]}}}}`, "client 1 a"},
		"nine deep":                      {"identityserver", strings.Repeat(`{"IdentityServer":`, 9) + `{"Clients":[{"ClientId":"a"}]}` + strings.Repeat("}", 9), "no list of clients"},
		"one in place of a list":         {"keycloak", `{"clients":{"clientId":"a"}}`, "client 1 a"},
		"a number":                       {"keycloak", `7`, "no list of clients"},
		"white space all around":         {"plain", " \r\n\t[ {\"client_id\" : \"a\"} ,\n{\"client_id\":\"b\"}\r\n]\n\n", "client 1 a, client 2 b"},
		"a byte order mark":              {"plain", "\ufeff{\"client_id\":\"a\"}", "client 1 a"},
		"a byte order mark, CSV":         {"plain", "\ufeffclient_id\na\n", "line 2 a"},
		"a mark and lines":               {"plain", "\ufeff\n{\"client_id\":\"a\"}\n{\"client_id\":\"b\"}", "line 2 a, line 3 b"},
		"one line, then nothing":         {"plain", "{\"client_id\":\"a\"}\n\n", "client 1 a"},
		"two documents on a line":        {"plain", `{"client_id":"a"} {"client_id":"b"}`, "client 1 a, client 2 b"},
		"a list, then a document":        {"hydra", "{\"items\":[{\"client_id\":\"a\"},\n{\"client_id\":\"b\"}]}\n{\"client_id\":\"c\"}", "client 1 a, client 2 b, client 3 c"},
		"lines that end in CR LF":        {"plain", "{\"client_id\":\"a\"}\r\n{\"client_id\":\"b\"}\r\n", "line 1 a, line 2 b"},
		"a broken line behind a good":    {"plain", "{\"client_id\":\"a\"}\n{\"client_id\":", "line 1 a, line 2 ?"},
		"a broken document behind one":   {"plain", "{\n\"client_id\":\"a\"}\n{\"client_id\":", "line 3 is broken"},
		"null for a client":              {"plain", `[null,{"client_id":"b"}]`, "client 1 ?, client 2 b"},
		"something behind the document":  {"keycloak", "{\"clients\":[\n{\"clientId\":\"a\"}]}}", "line 2 is broken"},
		"a NUL behind a line":            {"plain", "{\"client_id\":\"a\"}\n\x00", "line 1 a, line 2 ?"},
		"a NUL behind the document":      {"keycloak", "{\"clients\":[\n{\"clientId\":\"a\"}]}\x00", "line 2 is broken"},
		"unwanted, as deep as may be":    {"hydra", `{"x":` + strings.Repeat("[", 9_999) + strings.Repeat("]", 9_999) + `,"items":[{"client_id":"a"}]}`, "client 1 a"},
		"unwanted, too deep":             {"hydra", `{"x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `,"items":[{"client_id":"a"}]}`, "line 1 is broken"},
		"unwanted objects, not too deep": {"hydra", `{"x":` + strings.Repeat(`{"a":`, 9_999) + "1" + strings.Repeat("}", 9_999) + `,"items":[{"client_id":"a"}]}`, "client 1 a"},
		"unwanted objects, too deep":     {"hydra", `{"x":` + strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000) + `,"items":[{"client_id":"a"}]}`, "line 1 is broken"},
		"numbers of all kinds":           {"hydra", `{"x":[1e-5,1E5,-0,9.90e+09],"items":[{"client_id":"a"}]}`, "client 1 a"},
		"a document that ends too early": {"keycloak", "{\"clients\":[\n{\"clientId\":\"a\"}]\n", "line 3 is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := parse(row.format, strings.NewReader(row.text))
			var got []string
			for _, r := range rows {
				id := r.Client.ID
				if id == "" {
					id = "?"
				}
				got = append(got, r.Place+" "+id)
			}
			text := strings.Join(got, ", ")
			if err != nil {
				text = err.Error()
			}
			if text != row.want && (err == nil || !strings.Contains(text, row.want)) {
				t.Errorf("read %s, want %s", text, row.want)
			}
			var wrong *importer.FileError
			if err != nil && !errors.As(err, &wrong) {
				t.Errorf("%v is not said to be the file's fault", err)
			}
		})
	}
}

// A file that cannot be read, or not be kept, is no fault of the file.
func TestNotTheFilesFault(t *testing.T) {
	var wrong *importer.FileError
	broken := errors.New("the cable is cut")
	_, err := importer.Open("plain", io.MultiReader(strings.NewReader("{"), failingReader{broken}))
	if !errors.Is(err, broken) || errors.As(err, &wrong) {
		t.Errorf("got %v", err)
	}
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	_, err = importer.Open("plain", strings.NewReader(made("plain", 50_000)))
	if !errors.Is(err, os.ErrNotExist) || errors.As(err, &wrong) || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("got %v", err)
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// As many rows as there may be are read, and not one more.
func TestMostRows(t *testing.T) {
	for n, good := range map[int]bool{importer.MaxRows: true, importer.MaxRows + 1: false} {
		rows := 0
		f := open(t, "plain", strings.NewReader(strings.Repeat("{}\n", n)))
		err := f.Rows(func(*importer.Row) error { rows++; return nil })
		if (err == nil) != good || rows != importer.MaxRows {
			t.Errorf("of %d, %d rows were read: %v", n, rows, err)
		}
	}
}

// Progress is told in order: rows that are looked at, then rows that are
// imported, as many as there are of each.
func TestProgress(t *testing.T) {
	r := newRealm(t, nil)
	r.apply(lines(t, `{"client_id":"c1","client_secret":"s"}`), nil)
	f := open(t, "plain", strings.NewReader(made("plain", 1500)))
	o := r.options
	o.Replace = true
	var last importer.Progress
	looked := 0
	o.Progress = func(p importer.Progress) {
		if p.Writing == last.Writing && p.Rows != last.Rows+1 || p.Writing && !last.Writing && p.Rows != 1 || !p.Writing && last.Writing {
			t.Errorf("%+v after %+v", p, last)
		}
		if p.Part < last.Part && !p.Writing || p.Part > 1 || p.Writing && (p.Of != 1500 || p.Part != 0) || !p.Writing && p.Of != 0 {
			t.Errorf("%+v", p)
		}
		if part := 512. / 1500; p.Rows <= 512 && !p.Writing && math.Abs(p.Part-part) > 0.01 {
			t.Errorf("%+v, where some %.2f of the file were read", p, part)
		}
		if !p.Writing {
			looked = p.Rows
		} else if !last.Writing && last.Part != 1 {
			t.Errorf("%+v, then %+v", last, p)
		}
		last = p
	}
	report, err := importer.Apply(t.Context(), r.clients, f, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := whole(t, report); got.Count(importer.OutcomeCreated) != 1499 || got.Count(importer.OutcomeReplaced) != 1 {
		t.Errorf("%d created", got.Count(importer.OutcomeCreated))
	}
	if looked != 1500 || !last.Writing || last.Rows != 1500 {
		t.Errorf("%d rows were looked at, in the end %+v", looked, last)
	}
}

// meddling is a store in which someone deletes a client between the look and the
// write.
type meddling struct {
	store.Store
	before func()
}

func (m *meddling) UpdateClient(ctx context.Context, c store.Client, e counterfoil.Event) error {
	m.before()
	return m.Store.UpdateClient(ctx, c, e)
}

// A client that is deleted, or changed, while an import is about to replace it
// is a conflict in the report, and no row is lost in it.
func TestSomeoneElse(t *testing.T) {
	for name, row := range map[string]struct {
		do   func(*testing.T, *realm)
		want string
	}{
		"deleted": {func(t *testing.T, r *realm) {
			if err := clients.New(r.store.(*meddling).Store, nil, r.rulesOf).Delete(t.Context(), "someone", "oauth2", "a"); err != nil {
				t.Error(err)
			}
		}, "it was deleted in the meantime"},
		"changed": {func(t *testing.T, r *realm) {
			_, err := clients.New(r.store.(*meddling).Store, nil, r.rulesOf).Change(t.Context(), "someone", "oauth2", "a", 0, func(s *store.Settings) error { s.Name = "other"; return nil })
			if err != nil {
				t.Error(err)
			}
		}, "the realm has a client of this id"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &meddling{}
			r := newRealm(t, func(s store.Store) store.Store { m.Store = s; return m })
			r.apply(lines(t, `{"client_id":"a","client_secret":"old"}`), nil)
			m.before = func() { row.do(t, r) }
			got := r.apply(lines(t, `{"client_id":"a","client_secret":"new"}`, `{"client_id":"b","client_secret":"b"}`), func(o *importer.Options) { o.Replace = true })
			if a := got.Rows[0]; a.Outcome != importer.OutcomeConflict || !strings.Contains(a.Detail, row.want) || got.Rows[1].Outcome != importer.OutcomeCreated {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// FuzzScan holds the scanner to encoding/json: what is JSON for one is for the
// other, and a document that is read has the clients that encoding/json finds.
func FuzzScan(f *testing.F) {
	for _, text := range []string{
		`[]`, `[{"a":1},null,-0.5e+10,"\u00e9\\",true,false]`, `{"items":[{}]}`, `[01]`, `["\x"]`, "[\"\n\"]", `[1.]`, `[-]`, `[1e]`, `{"a"}`, `{,}`, `[1,]`,
		`["\u09af\uAF90"]`, `["\u000g"]`, `["\u000G"]`, `["\u000/"]`, `["\u000:"]`, `["\u000@"]`, "[\"\\u000`\"]", `[90]`, `[1/]`, `[1:]`, `[" "]`, "[\"\x1f\"]",
		strings.Repeat(`[{"a":`, 5_000) + "1" + strings.Repeat("}]", 5_000), strings.Repeat(`[{"a":`, 5_000) + "{}" + strings.Repeat("}]", 5_000),
		`{"a":1,}`, `[nul]`, `["\u12g4"]`, `[{"client_id":"a"}] x`, strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001), strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000),
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		text := strings.TrimLeft(string(data), " \t\r\n")
		if !strings.HasPrefix(text, "[") {
			return
		}
		var want []json.RawMessage
		valid := json.Unmarshal([]byte(text), &want) == nil
		rows, err := parse("hydra", strings.NewReader(text))
		switch {
		case valid && (err == nil) != (len(want) > 0), valid && len(rows) != len(want) && len(want) <= importer.MaxRows:
			t.Errorf("%q has %d clients, read %d, %v", text, len(want), len(rows), err)
		case !valid && err == nil && len(rows) < 1:
			t.Errorf("%q is not JSON and was read", text)
		}
		if valid {
			return
		}
		// What is not JSON may be several documents, or lines; one alone it is not.
		if _, err := parse("hydra", strings.NewReader("{\"items\":"+text+"}")); err == nil && !json.Valid([]byte("{\"items\":"+text+"}")) {
			t.Errorf("%q is not JSON and was read", "{\"items\":"+text+"}")
		}
	})
}

// An import whose caller has gone ends, also where no row needs a look at the
// realm.
func TestCallerHasGone(t *testing.T) {
	r := newRealm(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := importer.Apply(ctx, r.clients, lines(t, `{"client_id":"a"}`, `{"client_id":"b"}`), r.options); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The longest lifetime that a token may have is taken over, and not a second
// more.
func TestLongestLifetime(t *testing.T) {
	for seconds, good := range map[int]bool{-1: false, 0: true, 30 * 86400: true, 30*86400 + 1: false} {
		rows, err := parse("plain", strings.NewReader(fmt.Sprintf(`{"client_id":"a","client_secret":"s","lifetime":"%d"}`, seconds)))
		if err != nil || len(rows) != 1 || (rows[0].Err == nil) != good {
			t.Errorf("%d seconds: %+v, %v", seconds, rows, err)
		}
	}
}
