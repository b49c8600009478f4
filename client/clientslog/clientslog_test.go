package clientslog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/clientslog"
	"github.com/counterfoil/counterfoil/client/internal/endpoints"
)

// lines is what a JSON log holds.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level}))
}

func (l *lines) all(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []map[string]any
	for line := range strings.Lines(l.text.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, m)
	}
	for _, secret := range []string{endpoints.Secret, endpoints.TokenPrefix} {
		if strings.Contains(l.text.String(), secret) {
			t.Errorf("the log shows %s", secret)
		}
	}
	return all
}

// brief is a line's level, type, reason and status.
func brief(all []map[string]any) string {
	var texts []string
	for _, m := range all {
		texts = append(texts, strings.TrimRight(fmt.Sprint(m["level"], " ", m["event_type"], " ", value(m["reason"]), " ", value(m["status"])), " "))
	}
	return strings.Join(texts, "\n")
}

func value(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func TestLevels(t *testing.T) {
	for _, row := range []struct {
		name string
		run  func(t *testing.T, e *endpoints.Endpoints, log *lines)
		want string
	}{
		{"obtained and dropped", func(t *testing.T, e *endpoints.Endpoints, log *lines) {
			c := e.Config()
			c.OnEvent = clientslog.OnEvent(log.logger(slog.LevelDebug), clientslog.Options{})
			s := e.Source(t, c)
			for range 2 {
				token, err := s.Token(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				s.Invalidate(t.Context(), token)
			}
		}, "DEBUG token.requested  200\nINFO token.obtained  200\nWARN token.dropped token_invalid\nDEBUG token.requested  200\nINFO token.obtained  200"},
		{"refused", func(t *testing.T, e *endpoints.Endpoints, log *lines) {
			e.Answer(endpoints.Refuse(401, `{"error":"invalid_client","error_description":"`+endpoints.Secret+`"}`), nil)
			c := e.Config()
			c.OnEvent = clientslog.OnEvent(log.logger(slog.LevelDebug), clientslog.Options{})
			s := e.Source(t, c)
			for range 1000 {
				if _, err := s.Token(t.Context()); err == nil {
					t.Fatal("no refusal")
				}
			}
		}, "DEBUG token.requested invalid_client 401\nERROR token.refused invalid_client 401"},
		{"no token endpoint", func(t *testing.T, e *endpoints.Endpoints, log *lines) {
			e.Answer(endpoints.Refuse(200, "<html>"), nil)
			c := e.Config()
			c.OnEvent = clientslog.OnEvent(log.logger(slog.LevelInfo), clientslog.Options{})
			if _, err := e.Source(t, c).Token(t.Context()); err == nil {
				t.Fatal("a page is a token")
			}
		}, "ERROR token.failed bad_response 200"},
		{"a credential that cannot be had, in a loop", func(t *testing.T, e *endpoints.Endpoints, log *lines) {
			c := e.Config()
			c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { return "", errors.New("no such secret") }
			c.OnEvent = clientslog.OnEvent(log.logger(slog.LevelInfo), clientslog.Options{Every: time.Hour})
			s := e.Source(t, c)
			for range 1000 {
				if _, err := s.Token(t.Context()); err == nil {
					t.Fatal("a token without a secret")
				}
			}
		}, "ERROR token.refused credentials_missing"},
		{"a call that is retried", func(t *testing.T, e *endpoints.Endpoints, log *lines) {
			e.Answer(nil, endpoints.Refuse(503, ""))
			c := e.Config()
			c.Retries = []time.Duration{time.Nanosecond, time.Nanosecond}
			c.OnEvent = clientslog.OnEvent(log.logger(slog.LevelInfo), clientslog.Options{})
			s := e.Source(t, c)
			for range 50 {
				resp, err := s.Client().Get(c.APIURL)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			if _, calls := e.Asked(); calls != 150 {
				t.Errorf("%d calls, want 150", calls)
			}
		}, "INFO token.obtained  200\nINFO call.retried unavailable 503"},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := &lines{}
			row.run(t, endpoints.New(t), log)
			if got := brief(log.all(t)); got != row.want {
				t.Errorf("the log has\n%s\nwant\n%s", got, row.want)
			}
		})
	}
}

// Names are those of the Event in JSON, so that a log and an audit record are
// searched alike.
func TestAttributes(t *testing.T) {
	log := &lines{}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e := counterfoil.Event{Type: counterfoil.EventTokenRefused, Time: at, Realm: "acme", ClientID: "c1", Reason: counterfoil.ReasonInvalidScope,
		Detail: "a detail\nof two lines", Duration: 1500 * time.Millisecond, Status: 400, Attempt: 2}
	clientslog.OnEvent(log.logger(slog.LevelDebug).With("app", "billing"), clientslog.Options{})(t.Context(), e)
	all := log.all(t)
	if len(all) != 1 {
		t.Fatalf("%d lines", len(all))
	}
	want := map[string]any{
		"time": "2026-01-02T03:04:05Z", "level": "ERROR", "msg": "token refused", "app": "billing", "event_type": "token.refused", "realm": "acme",
		"client_id": "c1", "success": false, "reason": "invalid_scope", "detail": "a detail\nof two lines", "duration": 1.5e9, "status": 400.0, "attempt": 2.0,
	}
	if fmt.Sprint(all[0]) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", all[0], want)
	}
	log = &lines{}
	clientslog.OnEvent(log.logger(slog.LevelDebug), clientslog.Options{})(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenDropped, Time: at})
	want = map[string]any{"time": "2026-01-02T03:04:05Z", "level": "WARN", "msg": "token dropped", "event_type": "token.dropped", "realm": "", "client_id": "", "success": false}
	if got := log.all(t)[0]; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("of an event that has little in it: got %v, want %v", got, want)
	}
	record, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(record, &members); err != nil {
		t.Fatal(err)
	}
	for name, v := range members {
		if v != "" && fmt.Sprint(all[0][name]) != fmt.Sprint(v) {
			t.Errorf("%s is %v in the log, %v in the Event's JSON", name, all[0][name], v)
		}
	}
}

func TestRepeatedLinesAreCounted(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	failure := counterfoil.Event{Type: counterfoil.EventTokenFailed, Realm: "acme", ClientID: "c1", Reason: counterfoil.ReasonUnavailable}
	for _, row := range []struct {
		name  string
		every time.Duration
		run   func(say func(counterfoil.Event))
		want  []string
	}{
		{"one a minute", 0, func(say func(counterfoil.Event)) {
			for second := range 150 {
				failure.Time = at.Add(time.Duration(second) * time.Second)
				say(failure)
			}
		}, []string{"", "59", "59"}},
		{"as is chosen", 10 * time.Second, func(say func(counterfoil.Event)) {
			for second := range 25 {
				failure.Time = at.Add(time.Duration(second) * time.Second)
				say(failure)
			}
		}, []string{"", "9", "9"}},
		{"each", -1, func(say func(counterfoil.Event)) { say(failure); say(failure) }, []string{"", ""}},
		{"different ones", 0, func(say func(counterfoil.Event)) {
			other := failure
			say(failure)
			other.Status = 503
			say(other)
			other.ClientID = "c2"
			say(other)
			say(failure)
		}, []string{"", "", ""}},
		{"successes", 0, func(say func(counterfoil.Event)) {
			good := counterfoil.Event{Type: counterfoil.EventTokenRenewed, Time: at, Success: true}
			say(good)
			say(good)
		}, []string{"", ""}},
		{"a clock that is set back", 0, func(say func(counterfoil.Event)) {
			failure.Time = at
			say(failure)
			say(failure)
			failure.Time = at.Add(-time.Hour)
			say(failure)
		}, []string{"", "1"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := &lines{}
			hook := clientslog.OnEvent(log.logger(slog.LevelDebug), clientslog.Options{Every: row.every})
			row.run(func(e counterfoil.Event) { hook(t.Context(), e) })
			var got []string
			for _, m := range log.all(t) {
				got = append(got, value(m["repeated"]))
			}
			if strings.Join(got, ",") != strings.Join(row.want, ",") {
				t.Errorf("repeated: %q, want %q", got, row.want)
			}
		})
	}
}

// A program with more clients than the hook counts for still logs each.
func TestManyClientsAreLogged(t *testing.T) {
	log := &lines{}
	hook := clientslog.OnEvent(log.logger(slog.LevelDebug), clientslog.Options{})
	for i := range 5000 {
		hook(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenFailed, ClientID: fmt.Sprint("client-", i), Reason: counterfoil.ReasonUnavailable})
	}
	if n := len(log.all(t)); n != 5000 {
		t.Errorf("%d lines of 5000 clients", n)
	}
}

// As many kinds of lines as are counted are each written once a minute. One more
// takes the place of those whose minute is over, and of another only when there
// are none.
func TestKindsThatAreCounted(t *testing.T) {
	const most = 1024
	log := &lines{}
	hook := clientslog.OnEvent(log.logger(slog.LevelDebug), clientslog.Options{})
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	say := func(from, to int) (written int) {
		t.Helper()
		before := len(log.all(t))
		for i := from; i < to; i++ {
			hook(t.Context(), counterfoil.Event{Type: counterfoil.EventTokenFailed, Time: at, ClientID: fmt.Sprint("client-", i), Reason: counterfoil.ReasonUnavailable})
		}
		return len(log.all(t)) - before
	}
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d lines, want %d", what, got, want)
		}
	}
	check("the first", say(0, 1), 1)
	at = at.Add(time.Second)
	check("as many as are counted", say(1, most), most-1)
	check("the same again", say(0, most), 0)
	at = at.Add(59 * time.Second)
	check("one more, when the minute of the first is over", say(most, most+1), 1)
	check("those that are counted", say(1, most+1), 0)
	check("one more, when no minute is over", say(most+1, most+2), 1)
	if n := say(1, most+2); n == 0 {
		t.Error("more are counted than there is room for")
	}
}
