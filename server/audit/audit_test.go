package audit_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/audit"
	"github.com/counterfoil/counterfoil/server/signing"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// record is the record of a server, with its log.
type record struct {
	t     *testing.T
	path  string
	store *sqlite.Store
	clock *clock.Manual
	log   *audit.Log
}

func newRecord(t *testing.T) *record {
	t.Helper()
	r := &record{t: t, path: filepath.Join(t.TempDir(), "c.db"), clock: clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))}
	r.open()
	t.Cleanup(func() { _ = r.store.Close() })
	return r
}

func (r *record) open() {
	r.t.Helper()
	var err error
	if r.store, err = sqlite.Open(r.t.Context(), r.path); err != nil {
		r.t.Fatal(err)
	}
	r.log = r.another()
}

// another is the log as another process opens it.
func (r *record) another() *audit.Log {
	r.t.Helper()
	sealer, err := signing.NewSealer("", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := signing.LogKey(r.t.Context(), r.store, r.clock, sealer)
	if err != nil {
		r.t.Fatal(err)
	}
	l, err := audit.New(r.t.Context(), audit.Config{Store: r.store, Clock: r.clock, Key: key, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// add records so many events, in several writes.
func (r *record) add(n int) {
	r.t.Helper()
	for n > 0 {
		events := make([]counterfoil.Event, min(n, 100))
		for i := range events {
			events[i] = counterfoil.Event{
				Type: counterfoil.EventTokenIssued, Time: r.clock.Now(), Realm: "r", ClientID: fmt.Sprint("c", i), Success: true,
				TokenID: fmt.Sprint(n, "-", i), Address: "192.0.2.1", UserAgent: "agent/1",
			}
			if i%10 == 0 {
				events[i].Address, events[i].UserAgent = "", ""
			}
		}
		if err := r.store.RecordEvents(r.t.Context(), events...); err != nil {
			r.t.Fatal(err)
		}
		n -= len(events)
	}
}

func (r *record) extend() {
	r.t.Helper()
	if err := r.log.Extend(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *record) verifier() note.Verifier {
	r.t.Helper()
	v, err := note.NewVerifier(r.log.VerifierKey())
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *record) verify(kept ...string) audit.Report {
	r.t.Helper()
	report, err := audit.Verify(r.t.Context(), r.store, audit.Options{Verifier: r.verifier(), Kept: kept})
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// checkpoint is the latest one.
func (r *record) checkpoint() string {
	r.t.Helper()
	l, err := r.store.Log(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return l.Checkpoint.Note
}

func (r *record) exec(query string, args ...any) {
	r.t.Helper()
	if _, err := r.store.DB().ExecContext(r.t.Context(), query, args...); err != nil {
		r.t.Fatal(err)
	}
}

// TestLogGrows: a log that was extended at any sizes verifies, and every
// checkpoint of it does.
func TestLogGrows(t *testing.T) {
	r := newRecord(t)
	if err := r.log.Extend(t.Context()); err != nil { // the key's own event
		t.Fatal(err)
	}
	var kept []string
	for _, n := range []int{1, 1, 250, 3, 1, 255, 256, 257, 1000, 66_000} {
		r.add(n)
		r.extend()
		r.extend() // adds nothing
		kept = append(kept, r.checkpoint())
	}
	report := r.verify(kept...)
	if len(report.Findings) != 0 || report.Entries != 1+68_024 || report.Signed != report.Entries || report.Checkpoints != len(kept)*2+1+2 {
		t.Errorf("got %+v", report)
	}
	var n int
	if err := r.store.DB().QueryRowContext(t.Context(), "SELECT count(*) FROM log_tiles").Scan(&n); err != nil || n != 265+1 {
		t.Errorf("%d tiles, %v", n, err)
	}
	// Another process goes on, and events without a checkpoint are told.
	r.log = r.another()
	r.add(5)
	if report := r.verify(kept...); len(report.Findings) != 0 || report.Entries-report.Signed != 5 {
		t.Errorf("got %+v", report)
	}
	r.extend()
	if report := r.verify(kept...); len(report.Findings) != 0 || report.Entries != report.Signed {
		t.Errorf("got %+v", report)
	}
}

// TestTampering: whatever is done to the record, the report names the event where
// hashes are left to tell, and otherwise the events between two checkpoints.
func TestTampering(t *testing.T) {
	const all = 1 + 1000 // the key's event and others
	for name, row := range map[string]struct {
		sql  []string
		want string // in the findings
		kept bool   // only a kept checkpoint tells
	}{
		"an event is changed":               {sql: []string{"UPDATE records SET data = CAST(replace(CAST(data AS TEXT), 'c17', 'c71') AS BLOB) WHERE first = 202"}, want: "219 the event is not the one that was recorded"},
		"an event that is in no tile":       {sql: []string{"UPDATE records SET data = CAST(replace(CAST(data AS TEXT), 'c17', 'c71') AS BLOB) WHERE first = 902"}, want: "0 the events 602 to 1001 do not match the checkpoint of 1001 entries"},
		"an address is changed":             {sql: []string{"UPDATE records SET data = CAST(replace(CAST(data AS TEXT), '192.0.2.1', '192.0.2.9') AS BLOB) WHERE first = 2"}, want: "3 the event is not the one that was recorded"},
		"the salt is changed":               {sql: []string{"UPDATE records SET salt = randomblob(16) WHERE first = 2"}, want: "3 the event is not the one that was recorded"},
		"events are removed":                {sql: []string{"DELETE FROM records WHERE first = 202"}, want: "202 the event is missing"},
		"the last events are removed":       {sql: []string{"DELETE FROM records WHERE first = 902"}, want: "1001 the event is missing"},
		"they and their number are removed": {sql: []string{"DELETE FROM records WHERE first = 902", "UPDATE totals SET sequence = 901"}, want: "0 the checkpoint of 1001 entries is about more than there are: the events after 901 were cut off"},
		"and their checkpoints":             {sql: []string{"DELETE FROM records WHERE first = 902", "UPDATE totals SET sequence = 901", "DELETE FROM log_checkpoints WHERE size > 601"}, want: "0 the kept checkpoint of 1001 entries is about more", kept: true},
		"a run is damaged":                  {sql: []string{"UPDATE records SET data = substr(data, 1, length(data) - 5) WHERE first = 202"}, want: "202 the event is missing, or cannot be read"},
		"two runs are exchanged":            {sql: []string{"UPDATE records SET data = (SELECT data FROM records WHERE first = 302) WHERE first = 202"}, want: "202 the event is not the one that was recorded"},
		"a tile is changed":                 {sql: []string{"UPDATE log_tiles SET data = randomblob(8192) WHERE n = 1"}, want: "258 the event is not the one that was recorded"},
		"a tile is removed":                 {sql: []string{"DELETE FROM log_tiles WHERE n = 1"}, want: "the hashes of the events 257 to 512 are missing"},
		"a tile is cut":                     {sql: []string{"UPDATE log_tiles SET data = x'00' WHERE n = 1"}, want: "the hashes of the events 257 to 512 are damaged"},
		"a checkpoint is forged":            {sql: []string{"UPDATE log_checkpoints SET note = replace(note, 'counterfoil', 'counterfeit') WHERE size = 601"}, want: "the checkpoint of 601 entries is not signed by this log's key"},
		"a checkpoint is another's":         {sql: []string{"UPDATE log_checkpoints SET note = (SELECT note FROM log_checkpoints WHERE size = 1001) WHERE size = 601"}, want: "the checkpoint of 601 entries is one of 1001"},
		"the log is made anew":              {sql: []string{"DELETE FROM log_tiles", "DELETE FROM log_checkpoints", "UPDATE records SET data = CAST(replace(CAST(data AS TEXT), 'c17', 'c71') AS BLOB) WHERE first = 202"}, want: "0 the events 1 to 601 do not match the kept checkpoint of 601 entries", kept: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRecord(t)
			r.extend()
			r.add(600)
			r.extend()
			kept := []string{r.checkpoint()}
			r.add(400)
			r.extend()
			kept = append(kept, r.checkpoint())
			for _, query := range row.sql {
				r.exec(query)
			}
			report := r.verify()
			if row.kept {
				if strings.Contains(fmt.Sprint(report.Findings), row.want) {
					t.Errorf("without a kept checkpoint: %+v", report)
				}
				report = r.verify(kept...)
			}
			for _, f := range report.Findings {
				if strings.Contains(fmt.Sprint(f.Sequence, " ", f.What), row.want) {
					return
				}
			}
			t.Errorf("got %+v of %d events, want %q", report, all, row.want)
		})
	}
}

// TestNothingIsSignedOverAlteredEvents: a log whose last entries were altered is not
// extended, so that no later checkpoint covers it up.
func TestNothingIsSignedOverAlteredEvents(t *testing.T) {
	for _, query := range []string{
		"UPDATE records SET data = CAST(replace(CAST(data AS TEXT), 'c17', 'c71') AS BLOB) WHERE first = 2",
		"DELETE FROM records WHERE first = 2",
	} {
		r := newRecord(t)
		r.add(100)
		r.extend()
		before := r.checkpoint()
		r.exec(query)
		r.add(1)
		if err := r.log.Extend(t.Context()); err == nil || !strings.Contains(err.Error(), "counterfoil audit verify") {
			t.Errorf("after %s: %v", query, err)
		}
		if r.checkpoint() != before {
			t.Error("a checkpoint was signed")
		}
	}
}

// TestCheckpointsAreRemoved: a log whose checkpoints were removed from the database,
// so that it would be signed anew, is not extended, by the process that has signed
// them and by one that begins later and knows what was given away.
func TestCheckpointsAreRemoved(t *testing.T) {
	for _, query := range []string{
		"DELETE FROM log_checkpoints; DELETE FROM log_tiles",
		"DELETE FROM log_checkpoints WHERE size > 301; DELETE FROM log_tiles WHERE n > 0",
		"DELETE FROM log_checkpoints WHERE size > 301; DELETE FROM log_tiles WHERE n > 0; DELETE FROM records WHERE first > 301; UPDATE totals SET sequence = 301",
	} {
		r := newRecord(t)
		r.extend()
		r.add(300)
		r.extend()
		r.add(400)
		r.extend()
		given := r.checkpoint()
		r.exec(query)
		r.add(1)
		if err := r.log.Extend(t.Context()); err == nil || !strings.Contains(err.Error(), "counterfoil audit verify") {
			t.Errorf("after %s: %v", query, err)
		}
		later := r.another().Config
		later.Published = given
		fresh, err := audit.New(t.Context(), later)
		if err != nil {
			t.Fatal(err)
		}
		if err := fresh.Extend(t.Context()); err == nil || !strings.Contains(err.Error(), "counterfoil audit verify") {
			t.Errorf("after %s and a start: %v", query, err)
		}
	}
}

// TestOldEventsAreChecked: an event that is older than the last tile is found while
// the server runs, too.
func TestOldEventsAreChecked(t *testing.T) {
	r := newRecord(t)
	r.add(2000)
	r.extend()
	r.exec("UPDATE records SET salt = randomblob(16) WHERE first = 902")
	var found error
	for range 10 {
		r.add(1)
		found = errors.Join(found, r.log.Extend(t.Context()))
	}
	if found == nil || !strings.Contains(found.Error(), "event 903 is not the one that was recorded") {
		t.Errorf("got %v", found)
	}
}

// TestTwoExtend: of two processes that extend the log, one succeeds at a time.
func TestTwoExtend(t *testing.T) {
	r := newRecord(t)
	other, done := r.another(), make(chan error)
	go func() {
		for range 50 {
			if err := other.Extend(t.Context()); err != nil {
				done <- err
			}
		}
		done <- nil
	}()
	for range 50 {
		r.add(7)
		r.extend()
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.extend()
	if report := r.verify(); len(report.Findings) != 0 || report.Signed != report.Entries {
		t.Errorf("got %+v", report)
	}
}

// TestCheckpointsAreGivenAway: each once, and again until it could be.
func TestCheckpointsAreGivenAway(t *testing.T) {
	r := newRecord(t)
	var got []string
	var broken error
	r.log.Publish = func(_ context.Context, c string) error {
		if broken == nil {
			got = append(got, c)
		}
		return broken
	}
	r.extend()
	r.extend()
	r.add(1)
	broken = errors.New("away")
	if err := r.log.Extend(t.Context()); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	broken = nil
	r.extend()
	r.add(2)
	recorded, err := r.store.Log(t.Context())
	if s := r.log.Stats(); err != nil || s.PublishFailures != 1 || s.Failures != 0 || s.Recorded != recorded.Recorded-2 || s.Signed != s.Recorded ||
		!s.Checked.Equal(r.clock.Now()) {
		t.Errorf("%v, it says %+v", err, s)
	}
	if len(got) != 2 || got[1] != r.checkpoint() || !strings.Contains(got[0], "\n1\n") {
		t.Errorf("given away were %q", got)
	}
}

// TestProof: a proof leads from an event to a checkpoint, and nothing but that
// event has one.
func TestProof(t *testing.T) {
	r := newRecord(t)
	r.add(1000)
	r.extend()
	r.add(1)
	for _, sequence := range []int64{1, 2, 255, 256, 257, 1001} {
		p, err := audit.Prove(t.Context(), r.store, sequence)
		if err != nil {
			t.Fatal(err)
		}
		entry, index, err := audit.CheckProof(p.Text, r.verifier())
		if err != nil || index != sequence-1 || string(entry) != string(p.Entry) || !strings.Contains(string(entry), fmt.Sprintf(`{"sequence":%d,`, sequence)) {
			t.Errorf("the proof of event %d is of %s, %d, %v", sequence, entry, index, err)
		}
		if strings.Contains(string(entry), "192.0.2.1") || strings.Contains(string(entry), "agent/1") {
			t.Errorf("the entry %s has what must be erasable", entry)
		}
		if p.Event.Address != "" && store.Commit(p.Opening, p.Event.Address, p.Event.UserAgent) != p.Event.Commitment {
			t.Errorf("event %d: the opening does not open the commitment", sequence)
		}
		for i := 0; i < len(p.Text); i += 41 {
			forged := p.Text[:i] + string(p.Text[i]^1) + p.Text[i+1:]
			if got, n, err := audit.CheckProof(forged, r.verifier()); err == nil && (n != index || string(got) != string(entry)) {
				t.Errorf("a forged proof was accepted, for %d %s", n, got)
			}
		}
	}
	for _, sequence := range []int64{-1, 0, 1002, 1003} {
		if _, err := audit.Prove(t.Context(), r.store, sequence); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("event %d: %v", sequence, err)
		}
	}
	for _, text := range []string{"", "\n\n", "c2sp.org/tlog-proof@v1\nextra \nindex x\n\n", "c2sp.org/tlog-proof@v1\nindex 1\n\n"} {
		if _, _, err := audit.CheckProof(text, r.verifier()); err == nil {
			t.Errorf("%q is a proof", text)
		}
	}
}

// TestEntry: entries are computed again for as long as a log exists, so the form
// of an entry never changes.
func TestEntry(t *testing.T) {
	e := store.RecordedEvent{Sequence: 42, Event: counterfoil.Event{
		Type: counterfoil.EventTokenRefused, Time: time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC), Realm: "r", ClientID: "c<>&\"\\λ\u2028\x01\xff",
		Reason: counterfoil.ReasonWrongSecret, Actor: "a", Method: "client_secret_basic", Credential: "s1", Scope: "x y", Resource: "https://api.example",
		RequestID: "q", Changes: "{}", Count: 7, First: time.Date(2026, 3, 1, 11, 59, 0, 0, time.UTC), TokenID: "t", Address: "192.0.2.1", UserAgent: "u", Detail: "d",
	}, Commitment: store.Commit([]byte("0123456789abcdef"), "192.0.2.1", "u")}
	const want = `{"sequence":42,"event_type":"token.refused","time":"2026-03-01T12:00:00.123456Z","realm":"r","client_id":"c\u003c\u003e\u0026\"\\λ\u2028\u0001\ufffd",` +
		`"success":false,"reason":"wrong_secret","actor":"a","auth_method":"client_secret_basic","credential":"s1","scope":"x y","resource":"https://api.example",` +
		`"request_id":"q","changes":"{}","count":7,"first":"2026-03-01T11:59:00Z","token_id":"t","detail":"d","commitment":"k4YU1S0pUlFvhO-FdgABZZ5f5FAis67J6wXbJ4WQ7AY"}`
	if got := string(audit.Entry(&e)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string(audit.Entry(&store.RecordedEvent{Sequence: 1})); got != `{"sequence":1,"event_type":"","time":"0001-01-01T00:00:00Z","realm":"","client_id":"","success":false}` {
		t.Errorf("got %s", got)
	}
	e.Changes = strings.Repeat("<", 20_000)
	if got := audit.Entry(&e); len(got) > 1<<16-1 || !strings.Contains(string(got), `"digest":"`) {
		t.Errorf("a long entry has %d bytes: %.300s", len(got), got)
	}
	one := string(audit.Entry(&e))
	e.Changes = e.Changes[1:] + "x"
	if string(audit.Entry(&e)) == one {
		t.Error("two long entries are the same")
	}
}

// TestVerifierKey has the form of C2SP signed-note.
func TestVerifierKey(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	text := audit.VerifierKey("counterfoil-audit-log/x", key.Public().(ed25519.PublicKey))
	v, err := note.NewVerifier(text)
	if err != nil || v.Name() != "counterfoil-audit-log/x" {
		t.Errorf("%s: %v", text, err)
	}
}

// TestRetention: events that are old lose their addresses and then are dropped, by
// the time that has passed and not by a clock that is set; the log stays
// verifiable, and who drops events without the server is found.
func TestRetention(t *testing.T) {
	r := newRecord(t)
	const day = 24 * time.Hour
	r.log.EraseAfter, r.log.Keep.Age = 7*day, 31*day
	retain := func() {
		t.Helper()
		if err := r.log.Retain(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.extend()
	}
	// Time passes as the server sees it: in steps.
	pass := func(d time.Duration) {
		t.Helper()
		for ; d > 0; d -= time.Hour {
			r.clock.Turn(time.Hour)
			if err := r.store.RecordEvents(t.Context(), counterfoil.Event{Type: counterfoil.EventKeyRetired, Time: r.clock.Now()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	count := func() (events, addresses int) {
		t.Helper()
		all, err := r.store.Events(t.Context(), 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if e.Address != "" || e.UserAgent != "" || e.Opening != nil {
				addresses++
			}
		}
		return len(all), addresses
	}
	good := func(when string) {
		t.Helper()
		if report := r.verify(); len(report.Findings) != 0 || report.Signed != report.Entries {
			t.Errorf("%s: %+v", when, report)
		}
	}
	r.add(10_000)
	r.extend()
	kept := r.checkpoint()
	r.add(100)
	retain()
	if _, addresses := count(); addresses != 9090 {
		t.Fatalf("%d addresses at first", addresses)
	}
	pass(8 * day)
	r.add(10)
	retain()
	if events, addresses := count(); addresses != 9 || events < 10_111 {
		t.Errorf("after a week: %d events, %d of them with addresses", events, addresses)
	}
	good("after a week")
	pass(25 * day)
	retain()
	events, addresses := count()
	if addresses != 0 || events > 256+100+33*24+10 || events < 31*24 {
		t.Errorf("after a month: %d events, %d of them with addresses", events, addresses)
	}
	good("after a month")
	if report := r.verify(kept); len(report.Findings) != 0 || report.Dropped < 9_900 {
		t.Errorf("with a kept checkpoint: %+v", report)
	}
	if _, err := audit.Prove(t.Context(), r.store, 5); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a dropped event: %v", err)
	}
	proof, err := audit.Prove(t.Context(), r.store, 10_500)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := audit.CheckProof(proof.Text, r.verifier()); err != nil {
		t.Error(err)
	}
	if err := audit.Export(t.Context(), r.store, t.TempDir()); err != nil {
		t.Error(err)
	}
	// Somebody else drops events, and says that the server did.
	r.exec("DELETE FROM records WHERE last <= 10400")
	r.exec("UPDATE log SET dropped = 10400")
	if report := r.verify(); len(report.Findings) == 0 || !strings.Contains(fmt.Sprint(report.Findings), "no event that the log") {
		t.Errorf("got %+v", report)
	}
}

// TestTilePaths: the paths of an export are those of C2SP tlog-tiles, section
// Merkle Tree; the first is its example.
func TestTilePaths(t *testing.T) {
	for want, tile := range map[string]tlog.Tile{
		"tile/0/x001/x234/067":   {L: 0, N: 1_234_067, W: 256},
		"tile/1/999":             {L: 1, N: 999, W: 256},
		"tile/2/x001/000.p/1":    {L: 2, N: 1000, W: 1},
		"tile/entries/x012/034":  {L: -1, N: 12_034, W: 256},
		"tile/entries/000.p/255": {L: -1, N: 0, W: 255},
	} {
		if got := audit.TilePath(tile); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestRetentionBySize: of the events that are older than a day, the last are kept
// up to a number.
func TestRetentionBySize(t *testing.T) {
	r := newRecord(t)
	r.log.Keep.Count = 1000
	r.add(5000)
	r.extend()
	count := func() int {
		t.Helper()
		if err := r.log.Retain(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.extend()
		events, err := r.store.Events(t.Context(), 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		return len(events)
	}
	if n := count(); n != 5001 {
		t.Errorf("%d events are left of a day with more than the number", n)
	}
	for range 30 {
		r.clock.Turn(time.Hour)
		if err := r.store.RecordEvents(t.Context(), counterfoil.Event{Type: counterfoil.EventKeyRetired, Time: r.clock.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(); n < 1000 || n > 1100+2 {
		t.Errorf("%d events are left", n)
	}
	if report := r.verify(); len(report.Findings) != 0 || report.Dropped < 3900 {
		t.Errorf("got %+v", report)
	}
}

// TestRetentionOfEventsOfTheFuture: what was recorded while the clock was ahead
// loses its addresses and is dropped when its time has passed, and keeps nothing
// else from it.
func TestRetentionOfEventsOfTheFuture(t *testing.T) {
	r := newRecord(t)
	r.clock = clock.NewStepping(r.clock.Now())
	r.log.Clock, r.log.EraseAfter, r.log.Keep.Age = r.clock, 24*time.Hour, 30*24*time.Hour
	hours := func(n int) {
		t.Helper()
		for range n {
			r.clock.Turn(time.Hour)
			r.add(1)
		}
	}
	hours(1)
	r.add(500)
	r.clock.Step(10 * 365 * 24 * time.Hour)
	r.add(500)
	r.clock.Step(-10 * 365 * 24 * time.Hour)
	r.add(500)
	r.extend()
	left := func() (events, addresses int) {
		t.Helper()
		r.extend()
		if err := r.log.Retain(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.extend() // with the event of what was dropped
		all, err := r.store.Events(t.Context(), 0, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if e.Address != "" {
				addresses++
			}
		}
		return len(all), addresses
	}
	if _, addresses := left(); addresses != 1350 {
		t.Errorf("%d addresses at first", addresses)
	}
	hours(30)
	if _, addresses := left(); addresses > 30 {
		t.Errorf("%d addresses are left after a day", addresses)
	}
	hours(31 * 24)
	if events, _ := left(); events > 31*24+256+10 {
		t.Errorf("%d events are left after a month", events)
	}
	if report := r.verify(); len(report.Findings) != 0 {
		t.Errorf("got %+v", report)
	}
}

// TestCheckpointsAreThinned: of those that are older than a day one an hour stays,
// and the log verifies.
func TestCheckpointsAreThinned(t *testing.T) {
	r := newRecord(t)
	for range 30 * 6 {
		r.clock.Turn(10 * time.Minute)
		r.add(1)
		r.extend()
	}
	report := r.verify()
	// 24 hours of six and six hours of one, less what the ends of hours take.
	if n := report.Checkpoints; n < 24*6 || n > 24*6+8 || len(report.Findings) != 0 {
		t.Errorf("%d checkpoints are left: %+v", n, report)
	}
}

// TestRetentionAndAClockThatIsSet: a clock that is ahead drops nothing.
func TestRetentionAndAClockThatIsSet(t *testing.T) {
	r := newRecord(t)
	stepping := clock.NewStepping(r.clock.Now())
	r.clock = stepping
	stepping.Turn(time.Second)
	r.log.Clock, r.log.EraseAfter, r.log.Keep.Age = stepping, 24*time.Hour, 31*24*time.Hour
	r.add(1000)
	r.extend()
	stepping.Step(365 * 24 * time.Hour)
	if err := r.log.Retain(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, err := r.store.Events(t.Context(), 0, 2000)
	if err != nil || len(events) != 1001 || events[5].Address == "" {
		t.Errorf("%d events are left, %v", len(events), err)
	}
}
