package rest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/apis/rest"
	"github.com/counterfoil/counterfoil/internal/apis/rest/resttest"
)

// call serves one route over TLS, calls it, and returns the answer and the log.
func call(t *testing.T, serve rest.Func) (resttest.Answer, string) {
	t.Helper()
	var log bytes.Buffer
	handler := rest.Handler(slog.New(slog.NewTextHandler(&log, nil)), rest.Route{Method: "GET", Path: "/thing", Serve: serve})
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := counterfoil.WithPrincipal(r.Context(), &counterfoil.Principal{ClientID: "client-one"})
		handler.ServeHTTP(w, r.WithContext(ctx))
	}))
	resp, err := server.Client().Get(server.URL + "/thing")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	server.Close() // and with it the handler, which writes the log
	return resttest.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, log.String()
}

func TestFailuresGoToTheLogOnly(t *testing.T) {
	tests := []struct {
		name  string
		serve rest.Func
		log   string
	}{
		{"unknown error", func(*http.Request, *counterfoil.Principal) (any, error) { return nil, errors.New("disk is full") }, "disk is full"},
		{"answer that is no JSON", func(*http.Request, *counterfoil.Principal) (any, error) { return make(chan int), nil }, "encode the answer"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, log := call(t, tt.serve)
			resttest.WantProblem(t, got, http.StatusInternalServerError, "SERVER_ERROR", "try again later")
			if !strings.Contains(log, tt.log) || strings.Contains(string(got.Body), tt.log) {
				t.Errorf("log %q, answer %s", log, got.Body)
			}
		})
	}
}

func TestProblemsAreNotLogged(t *testing.T) {
	got, log := call(t, func(*http.Request, *counterfoil.Principal) (any, error) {
		return nil, errors.Join(rest.Refuse(http.StatusConflict, "TAKEN", "%d of them", 3))
	})
	resttest.WantProblem(t, got, http.StatusConflict, "TAKEN", "3 of them")
	if log != "" {
		t.Errorf("log %q", log)
	}
}

func TestAnAbandonedCallIsNotLogged(t *testing.T) {
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(counterfoil.WithPrincipal(t.Context(), &counterfoil.Principal{}))
	handler := rest.Handler(slog.New(slog.NewTextHandler(&log, nil)), rest.Route{Method: "GET", Path: "/thing",
		Serve: func(r *http.Request, _ *counterfoil.Principal) (any, error) {
			cancel()
			return nil, r.Context().Err()
		}})
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/thing", nil))
	if log.Len() > 0 {
		t.Errorf("log %q", log.String())
	}
}

type inner struct {
	Word *string `json:"word"`
}

type sample struct {
	inner
	Number int64     `json:"number"`
	Flag   bool      `json:"flag"`
	At     time.Time `json:"at"`
	Inner  *inner    `json:"inner"`
	List   []inner   `json:"list"`
	Hidden string    `json:"-"`
}

func TestDecode(t *testing.T) {
	word := "x"
	at := time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC)
	tests := []struct {
		name, text string
		want       sample
		words      string // of the error
	}{
		{"all", `{"word":"x","number":-7,"flag":true,"at":"2026-03-17T09:00:00Z","inner":{"word":"x"},"list":[{"word":"x"},{}]}`,
			sample{inner: inner{&word}, Number: -7, Flag: true, At: at, Inner: &inner{&word}, List: []inner{{&word}, {}}}, ""},
		{"nothing", ` {} `, sample{}, ""},
		{"null is nothing", `{"word":null,"number":null,"at":null,"inner":null,"list":null}`, sample{}, ""},
		{"escaped name", `{"n\u0075mber":7}`, sample{Number: 7}, ""},
		{"escaped name twice", `{"n\u0075mber":7,"number":7}`, sample{}, "field number stands twice"},
		{"other case", `{"Number":7,"INNER":{"Word":"x"},"lisT":[{"wOrd":"x"}]}`, sample{Number: 7, Inner: &inner{&word}, List: []inner{{&word}}}, ""},
		{"two cases", `{"Number":7,"number":7}`, sample{}, "field number stands twice: its case makes no difference"},
		{"two cases and a null", `{"number":7,"NUMBER":null}`, sample{}, "field number stands twice"},
		{"two cases inside", `{"inner":{"word":"x","WORD":"y"}}`, sample{}, "field word stands twice in inner"},
		{"wrong in another case", `{"NUMBER":"7"}`, sample{}, "number must be a whole number"},
		{"unknown", `{"Numbers":7}`, sample{}, `unknown field "Numbers": allowed are word, number, flag, at, inner, list`},
		{"hidden field", `{"Hidden":"x"}`, sample{}, `unknown field "Hidden"`},
		{"name of 40", `{"` + strings.Repeat("é", 40) + `":1}`, sample{}, `unknown field "` + strings.Repeat("é", 40) + `": allowed`},
		{"name of 41", `{"` + strings.Repeat("é", 41) + `":1}`, sample{}, `unknown field "` + strings.Repeat("é", 40) + `…": allowed`},
		{"name with a line break", `{"a\nb":1}`, sample{}, `unknown field "a\nb"`},
		{"inside a list", `{"list":[{},{"word":1}]}`, sample{}, "list[1].word must be a string"},
		{"unknown inside a list", `{"list":[{"x":1}]}`, sample{}, `unknown field "x" in list[0]`},
		{"inner that is no object", `{"inner":7}`, sample{}, "inner must be a JSON object"},
		{"list that is no array", `{"list":{}}`, sample{}, "list must be an array"},
		{"null in a list", `{"list":[{},null]}`, sample{}, "list[1] must not be null"},
		{"flag in words", `{"flag":"yes"}`, sample{}, "flag must be true or false"},
		{"number in words", `{"number":"7"}`, sample{}, "number must be a whole number"},
		{"twice in an inner object", `{"inner":{"word":"x","word":"x"}}`, sample{}, "field word stands twice in inner"},
		{"time as number", `{"at":1}`, sample{}, "at must be a date-time with an offset"},
		{"time without seconds", `{"at":"2026-03-17T09:00Z"}`, sample{}, "at must be a date-time with an offset"},
		{"nothing at all", ``, sample{}, "unexpected end"},
		{"two", `{}{}`, sample{}, "after top-level value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got sample
			err := rest.Decode([]byte(tt.text), &got)
			if tt.words != "" {
				if err == nil || !strings.Contains(err.Error(), tt.words) {
					t.Errorf("error %v, want %q", err, tt.words)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, error %v", got, err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `{"number":1e400}`, `{"list":[{"word":"\ud800"}]}`, `{"at":"2026-03-17T09:00:00Z"}`, `{"number":1,"number":2}`, `{"Number":1,"nUMBER":2}`, `[`, `nul`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got sample
		if err := rest.Decode(text, &got); err != nil && strings.ContainsAny(err.Error(), "\n\r\x00") {
			t.Errorf("error of more than one line: %q", err)
		}
	})
}

func TestIDs(t *testing.T) {
	// Links to reference rows last: these must never change.
	for name, want := range map[string]string{"events/0": "251fc9bb-df5e-845c-abf1-aca33e57e76e"} {
		if got := rest.ID(name); got != want {
			t.Errorf("ID(%q) is %s, want %s", name, got, want)
		}
	}
	tests := []struct{ name, text, want string }{
		{"as made", rest.ID("x"), rest.ID("x")},
		{"upper case", strings.ToUpper(rest.ID("x")), rest.ID("x")},
		{"empty", "", ""},
		{"braces", "{00000000-0000-0000-0000-00000000000}", ""},
		{"hyphens astray", "0000000-00000-0000-0000-000000000000", ""},
		{"more hyphens", "00000000-0000-0000-0000-0000000-0000", ""},
		{"a digit for the first hyphen", "0000000000000-0000-0000-000000000000", ""},
		{"a digit for the second hyphen", "00000000-000000000-0000-000000000000", ""},
		{"a digit for the third hyphen", "00000000-0000-000000000-000000000000", ""},
		{"a digit for the last hyphen", "00000000-0000-0000-00000000000000000", ""},
		{"one character more", "00000000-0000-0000-0000-0000000000000", ""},
		{"not hexadecimal", "0000000g-0000-0000-0000-000000000000", ""},
		{"as a URN", "urn:uuid:00000000-0000-0000-0000-000000000000", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := rest.ParseID(tt.text); got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("%q, error %v", got, err)
			}
		})
	}
}
