package rest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
