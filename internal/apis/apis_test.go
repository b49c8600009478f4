package apis_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
	"github.com/counterfoil/counterfoil/internal/apis/rest/resttest"
)

// notes is the least that an API can be: rows with an id and a day.
type notes struct{}

var _ apis.API = notes{}

func (notes) Name() string           { return "notes" }
func (notes) Handler() http.Handler  { return http.NotFoundHandler() }
func (notes) Explorer() http.Handler { return nil }

func (notes) Schema() string {
	return `CREATE TABLE IF NOT EXISTS notes_note (id TEXT PRIMARY KEY, day TEXT NOT NULL);
		CREATE INDEX IF NOT EXISTS notes_note_by_day ON notes_note (day);`
}

func (notes) Reference(ctx context.Context, tx *sql.Tx, ref apis.Reference) (int, error) {
	if len(ref.Owners) == 0 {
		return 0, errors.New("no owner")
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM notes_note`); err != nil {
		return 0, err
	}
	for i := range 3 {
		day := ref.Day.AddDate(0, 0, i-1).Format(time.DateOnly)
		if _, err := tx.ExecContext(ctx, `INSERT INTO notes_note (id, day) VALUES (?, ?)`, fmt.Sprint("reference ", i), day); err != nil {
			return 0, err
		}
	}
	return 3, nil
}

func (notes) Import(ctx context.Context, tx *sql.Tx, r io.Reader) (int, error) {
	if _, err := tx.ExecContext(ctx, `DELETE FROM notes_note`); err != nil {
		return 0, err
	}
	n := 0
	err := apis.Lines(r, func(_ int, text []byte) error {
		if string(text) == "bad" {
			return errors.New("bad row")
		}
		n++
		_, err := tx.ExecContext(ctx, `INSERT INTO notes_note (id, day) VALUES (?, '')`, string(text))
		return err
	})
	return n, err
}

// rows returns the ids and the days of what is there.
func rows(t *testing.T, db *sql.DB) (ids, days []string) {
	t.Helper()
	found, err := db.QueryContext(t.Context(), `SELECT id, day FROM notes_note ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for found.Next() {
		var id, day string
		if err := found.Scan(&id, &day); err != nil {
			t.Fatal(err)
		}
		ids, days = append(ids, id), append(days, day)
	}
	return ids, days
}

func prepare(t *testing.T, db *sql.DB, day time.Time) {
	t.Helper()
	ref := resttest.Reference
	ref.Day = day
	if err := apis.Prepare(t.Context(), db, notes{}, ref); err != nil {
		t.Fatal(err)
	}
}

func TestPrepareSeedsOnceADay(t *testing.T) {
	db := resttest.Open(t)
	prepare(t, db, resttest.Day)
	if _, err := db.Exec(`UPDATE notes_note SET day = 'touched'`); err != nil {
		t.Fatal(err)
	}
	prepare(t, db, resttest.Day)
	if _, days := rows(t, db); !reflect.DeepEqual(days, []string{"touched", "touched", "touched"}) {
		t.Errorf("rows were made again on the same day: %v", days)
	}
	// The same moment in another zone is the same day.
	prepare(t, db, resttest.Day.In(time.FixedZone("", -5*60*60)))
	if _, days := rows(t, db); days[0] != "touched" {
		t.Errorf("rows were made again for another zone: %v", days)
	}
}

func TestPrepareFollowsTheDay(t *testing.T) {
	db := resttest.Open(t)
	prepare(t, db, resttest.Day)
	before, _ := rows(t, db)
	prepare(t, db, resttest.Day.AddDate(0, 0, 1))
	after, days := rows(t, db)
	if !reflect.DeepEqual(before, after) {
		t.Errorf("ids %v became %v", before, after)
	}
	if want := []string{"2026-03-17", "2026-03-18", "2026-03-19"}; !reflect.DeepEqual(days, want) {
		t.Errorf("days %v, want %v", days, want)
	}
}

func TestPrepareKeepsImportedRows(t *testing.T) {
	tests := []struct {
		name   string
		before func(*sql.DB)
	}{
		{"imported over reference rows", func(db *sql.DB) { prepare(t, db, resttest.Day) }},
		{"imported into an empty database", func(*sql.DB) {}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db := resttest.Open(t)
			tt.before(db)
			n, err := apis.Import(t.Context(), db, notes{}, strings.NewReader("mine\nyours"))
			if n != 2 || err != nil {
				t.Fatalf("imported %d rows, error %v", n, err)
			}
			for i := range 3 {
				prepare(t, db, resttest.Day.AddDate(0, 0, i))
			}
			if ids, _ := rows(t, db); !reflect.DeepEqual(ids, []string{"mine", "yours"}) {
				t.Errorf("rows %v", ids)
			}
		})
	}
}

// Another owner, as after a client was deleted and made anew, is like another
// day.
func TestPrepareFollowsTheOwners(t *testing.T) {
	one := resttest.Owner
	changed := func(change func(*apis.Owner)) []apis.Owner {
		o := one
		change(&o)
		return []apis.Owner{o}
	}
	tests := []struct {
		name   string
		owners []apis.Owner
	}{
		{"another client", changed(func(o *apis.Owner) { o.ClientID = "client-two" })},
		{"another provider", changed(func(o *apis.Owner) { o.Provider = "provider-two" })},
		{"another tenant", changed(func(o *apis.Owner) { o.Tenant = "OTHER" })},
		{"no tenant", changed(func(o *apis.Owner) { o.Tenant = "" })},
		{"a client that is spelt like a client and a tenant", changed(func(o *apis.Owner) { o.ClientID, o.Tenant = o.ClientID+`" "`+o.Tenant, "" })},
		{"one more", []apis.Owner{one, {Provider: "provider-two", ClientID: one.ClientID, Tenant: one.Tenant}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db := resttest.Open(t)
			prepare(t, db, resttest.Day)
			if _, err := db.Exec(`UPDATE notes_note SET day = 'touched'`); err != nil {
				t.Fatal(err)
			}
			ref := resttest.Reference
			ref.Owners = tt.owners
			if err := apis.Prepare(t.Context(), db, notes{}, ref); err != nil {
				t.Fatal(err)
			}
			if _, days := rows(t, db); days[0] == "touched" {
				t.Error("the rows of the old owner were kept")
			}
		})
	}
}

func TestPrepareRefusesAnOwnerWithoutAProvider(t *testing.T) {
	ref := resttest.Reference
	ref.Owners = []apis.Owner{resttest.Owner, {ClientID: "client-two"}}
	err := apis.Prepare(t.Context(), resttest.Open(t), notes{}, ref)
	if err == nil || !strings.Contains(err.Error(), "set Owner.Provider") {
		t.Errorf("error %v", err)
	}
}

func TestReferenceNamesEachOwnerOnce(t *testing.T) {
	ref := apis.Reference{Owners: []apis.Owner{
		{Provider: "a", ClientID: "1", Tenant: "X"}, {Provider: "a", ClientID: "2", Tenant: "X"},
		{Provider: "a", ClientID: "1", Tenant: "Y"}, {Provider: "b", ClientID: "1"}, {Provider: "b", Tenant: "X"}, {Provider: "c"},
	}}
	if got, want := ref.Clients(), []apis.Owner{{Provider: "a", ClientID: "1"}, {Provider: "a", ClientID: "2"}, {Provider: "b", ClientID: "1"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("clients %+v, want %+v", got, want)
	}
	if got, want := ref.Tenants(), []apis.Owner{{Provider: "a", Tenant: "X"}, {Provider: "a", Tenant: "Y"}, {Provider: "b", Tenant: "X"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("tenants %+v, want %+v", got, want)
	}
}

func TestFailedPrepareLeavesNothing(t *testing.T) {
	db := resttest.Open(t)
	if err := apis.Prepare(t.Context(), db, notes{}, apis.Reference{Day: resttest.Day}); err == nil {
		t.Fatal("no error")
	}
	var tables int
	if err := db.QueryRow(`SELECT COUNT(*) FROM sqlite_master`).Scan(&tables); err != nil || tables != 0 {
		t.Errorf("%d tables and indexes are left, error %v", tables, err)
	}
}

func TestImportIsAllOrNothing(t *testing.T) {
	tests := []struct {
		name, text string
		line       int
	}{
		{"bad first row", "bad\none", 1},
		{"bad row in the middle", "one\n\nbad\ntwo", 3},
		{"bad last row", "one\ntwo\nbad", 3},
		{"row that the database refuses", "one\ntwo\none", 3},
		{"no row at all", "\n\n", 0},
		{"over-long row", "one\n" + strings.Repeat("x", apis.MaxLine+1), 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db := resttest.Open(t)
			prepare(t, db, resttest.Day)
			before, _ := rows(t, db)
			n, err := apis.Import(t.Context(), db, notes{}, strings.NewReader(tt.text))
			if n != 0 || err == nil {
				t.Fatalf("imported %d rows, error %v", n, err)
			}
			var row *apis.RowError
			if errors.As(err, &row) != (tt.line > 0) || row != nil && row.Line != tt.line {
				t.Errorf("error %v, want line %d", err, tt.line)
			}
			if after, _ := rows(t, db); !reflect.DeepEqual(before, after) {
				t.Errorf("rows %v became %v", before, after)
			}
			// The reference rows still follow the day: nothing says imported.
			prepare(t, db, resttest.Day.AddDate(0, 0, 1))
			if _, days := rows(t, db); days[0] != "2026-03-17" {
				t.Errorf("days %v", days)
			}
		})
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", apis.MaxLine)
	type row struct {
		line int
		text string
	}
	tests := []struct {
		name, text string
		want       []row
		refused    int // the line of the error; 0 for none
	}{
		{"nothing", "", nil, 0},
		{"one without an end", "a", []row{{1, "a"}}, 0},
		{"three", "a\nb\nc\n", []row{{1, "a"}, {2, "b"}, {3, "c"}}, 0},
		{"CRLF", "a\r\nb\r\n", []row{{1, "a"}, {2, "b"}}, 0},
		{"blank lines count", "\n \t\na\n\r\nb", []row{{3, "a"}, {5, "b"}}, 0},
		{"byte order mark", "\ufeffa\nb", []row{{1, "a"}, {2, "b"}}, 0},
		{"byte order mark alone", "\ufeff\na", []row{{2, "a"}}, 0},
		{"one byte order mark only", "\ufeff\ufeffa", []row{{1, "\ufeffa"}}, 0},
		{"UTF-16, little end first", "\xff\xfea\x00\n\x00\xe9\x00", []row{{1, "a"}, {2, "é"}}, 0},
		{"UTF-16, big end first", "\xfe\xff\x00a\x00\n\x00\xe9", []row{{1, "a"}, {2, "é"}}, 0},
		{"byte order mark later is text", "a\n\ufeffb", []row{{1, "a"}, {2, "\ufeffb"}}, 0},
		{"longest", "a\n" + long + "\nb", []row{{1, "a"}, {2, long}, {3, "b"}}, 0},
		{"longest with CRLF", long + "\r\nb", []row{{1, long}, {2, "b"}}, 0},
		{"longest at the end", long, []row{{1, long}}, 0},
		{"one byte too long", "a\n" + long + "x\nb", []row{{1, "a"}}, 2},
		{"much too long", "a\n\n" + long + long + "\nb", []row{{1, "a"}}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []row
			err := apis.Lines(strings.NewReader(tt.text), func(line int, text []byte) error {
				got = append(got, row{line, string(text)})
				return nil
			})
			var refused *apis.RowError
			switch {
			case tt.refused == 0 && err != nil:
				t.Errorf("error %v", err)
			case tt.refused > 0 && (!errors.As(err, &refused) || refused.Line != tt.refused || !strings.Contains(err.Error(), "longer than 1048576 bytes")):
				t.Errorf("error %v, want line %d", err, tt.refused)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%d rows, want %d", len(got), len(tt.want))
			}
		})
	}
}

// Text that cannot be decoded is named as what it is, on its line.
func TestLinesThatAreNoText(t *testing.T) {
	for text, want := range map[string]string{
		"a\x00\n\x00":          "line 1: it is UTF-16 without a byte order mark",
		"\xff\xfe\x00\x00a":    "line 1: it is UTF-32",
		"\xff\xfea\x00\n\x00b": "line 2: it is UTF-16 that is cut off",
	} {
		err := apis.Lines(strings.NewReader(text), func(int, []byte) error { return nil })
		var row *apis.RowError
		if !errors.As(err, &row) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", text, err, want)
		}
	}
}

func TestLinesStopsAtAnError(t *testing.T) {
	cause := errors.New("no good")
	calls := 0
	err := apis.Lines(strings.NewReader("a\nb\nc"), func(int, []byte) error {
		if calls++; calls == 2 {
			return cause
		}
		return nil
	})
	if !errors.Is(err, cause) || err.Error() != "line 2: no good" || calls != 2 {
		t.Errorf("error %v after %d calls", err, calls)
	}
}

func TestLinesTellsThatReadingFailed(t *testing.T) {
	cause := errors.New("disk gone")
	err := apis.Lines(io.MultiReader(strings.NewReader("a\n"), iotest.ErrReader(cause)), func(int, []byte) error { return nil })
	var row *apis.RowError
	if !errors.Is(err, cause) || errors.As(err, &row) {
		t.Errorf("error %v: want the cause, and no row to blame", err)
	}
}

func TestFailuresNameTheAPI(t *testing.T) {
	db := resttest.Open(t)
	db.Close()
	if err := apis.Prepare(t.Context(), db, notes{}, resttest.Reference); err == nil || !strings.HasPrefix(err.Error(), "notes: ") {
		t.Errorf("error %v", err)
	}
}
