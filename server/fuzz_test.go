package server_test

import (
	"context"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// oneClient is a store in memory with one client, for fuzzing: fast and alone.
type oneClient struct {
	store.Store
	client store.Client
	key    []store.SigningKey
	last   counterfoil.Event
}

func (s *oneClient) CreateClient(_ context.Context, c store.Client, _ counterfoil.Event) error {
	s.client = c
	return nil
}

func (s *oneClient) Client(_ context.Context, _, id string) (store.Client, error) {
	if id != s.client.ID {
		return store.Client{}, store.ErrNotFound
	}
	return s.client, nil
}

func (s *oneClient) ClientVersion(_ context.Context, _, id string) (int64, time.Time, error) {
	if id != s.client.ID {
		return 0, time.Time{}, store.ErrNotFound
	}
	return s.client.Version, s.client.Created, nil
}

func (s *oneClient) EndedCredentials(context.Context, string, string, time.Time) ([]store.EndedCredential, error) {
	return nil, nil
}

func (s *oneClient) RecordIssued(_ context.Context, i store.Issuance) (int64, error) {
	s.last = i.Event
	return 1, nil
}

func (s *oneClient) RecordEvents(_ context.Context, all ...counterfoil.Event) error {
	s.last = all[len(all)-1]
	return nil
}

func (s *oneClient) AddSigningKey(_ context.Context, k store.SigningKey, _ string, _ counterfoil.Event) error {
	s.key = []store.SigningKey{k}
	return nil
}

func (s *oneClient) SigningKeys(context.Context, string) ([]store.SigningKey, error) {
	return s.key, nil
}

// fuzzed returns a server with one client, and its secret.
func fuzzed(f *testing.F, encoding provider.Encoding) (*oneClient, http.Handler, string) {
	p, err := provider.Builtin("oauth2")
	if err != nil {
		f.Fatal(err)
	}
	copied := *p
	copied.TokenEndpoint.BasicEncoding = encoding
	db := &oneClient{}
	s, err := server.New(f.Context(), server.Config{
		Store: db, Logger: slog.New(slog.DiscardHandler), EachRefusal: true, Limits: monitored, Realms: []server.Realm{{Name: "r", Provider: &copied, BaseURL: "https://auth.example"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	_, creds, err := s.Clients().Create(f.Context(), "fuzz", clients.NewClient{Realm: "r", ID: "a:b ü", Settings: store.Settings{Scopes: []string{"read"}}})
	if err != nil {
		f.Fatal(err)
	}
	return db, s.Handler("r"), creds.ClientSecret.Reveal()
}

// check looks at what holds of every answer and every record.
func (s *oneClient) check(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code >= 500 || (w.Code == 200) != s.last.Success || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("answer %d, record %+v", w.Code, s.last)
	}
	if len(s.last.ClientID) > 128 || !utf8.ValidString(s.last.ClientID) || strings.ContainsAny(s.last.ClientID, "\x00\r\n\x1b") {
		t.Errorf("claimed client %q", s.last.ClientID)
	}
}

func FuzzForm(f *testing.F) {
	store, handler, secret := fuzzed(f, provider.EncodingForm)
	good := url.Values{"grant_type": {"client_credentials"}, "client_id": {"a:b ü"}, "client_secret": {secret}}.Encode()
	for _, seed := range []string{good, good + "&", good + "&x", good + "&x=%zz", good + "&x=%00", good + "&x=%ff", good + "&x=1&%78=1", "&=&", "a;b=c", "%", "+", ""} {
		f.Add(seed, "")
		f.Add(good, seed)
	}
	f.Fuzz(func(t *testing.T, body, query string) {
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		store.check(t, w)
		if w.Code != http.StatusOK {
			return
		}
		// What is accepted reads the same to the standard library.
		values, err := url.ParseQuery(body)
		if err != nil || values.Get("client_secret") != secret {
			t.Errorf("accepted body %q, which reads as %q, %v", body, values, err)
		}
		inQuery, _ := url.ParseQuery(query) // what is broken there may be unknown here
		for _, name := range []string{"client_id", "client_secret", "scope", "client_assertion", "client_assertion_type", "grant_type"} {
			if inQuery.Has(name) {
				t.Errorf("accepted query %q, which has %s", query, name)
			}
		}
		for name, v := range values {
			if len(v) > 1 {
				t.Errorf("accepted a repeated %q", name)
			}
		}
	})
}

func FuzzBasic(f *testing.F) {
	raw, rawHandler, rawSecret := fuzzed(f, provider.EncodingRaw)
	form, formHandler, formSecret := fuzzed(f, provider.EncodingForm)
	raw.client.ID = "ä b" // a raw id has no colon
	for _, pair := range []string{"ä b:" + rawSecret, url.QueryEscape("a:b ü") + ":" + formSecret, ":", "a", "a:b:c", "%zz:x", "\x00:\xff", ""} {
		encoded := base64.StdEncoding.EncodeToString([]byte(pair))
		for _, seed := range []string{"Basic " + encoded, "bAsIc  " + encoded, encoded, "Basic" + encoded, "Basic " + encoded + "=", "Bearer " + encoded} {
			f.Add(seed)
		}
	}
	f.Fuzz(func(t *testing.T, header string) {
		for _, side := range []struct {
			store   *oneClient
			handler http.Handler
			secret  string
			read    func(string) string
		}{{raw, rawHandler, rawSecret, strings.Clone}, {form, formHandler, formSecret, plus}} {
			r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader("grant_type=client_credentials"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header["Authorization"] = []string{header}
			w := httptest.NewRecorder()
			side.handler.ServeHTTP(w, r)
			side.store.check(t, w)
			if w.Code != http.StatusOK {
				continue
			}
			_, text, _ := strings.Cut(header, " ")
			decoded, err := base64.StdEncoding.DecodeString(strings.TrimLeft(text, " "))
			if pair := string(decoded); err != nil || side.read(pair) != side.store.client.ID+":"+side.secret {
				t.Errorf("accepted %q", header)
			}
		}
	})
}

// plus reads form-encoded credentials as the standard library does.
func plus(pair string) string {
	decoded, err := url.QueryUnescape(pair)
	if err != nil {
		return ""
	}
	return decoded
}
