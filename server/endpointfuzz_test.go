package server_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/clients"
	"github.com/counterfoil/counterfoil/server/store"
)

// oneResourceServer is a store in memory whose one client may look at all
// tokens, and has revoked one of them.
type oneResourceServer struct {
	oneClient
	revoked int
}

func (s *oneResourceServer) TokenStatus(_ context.Context, _, id, _ string) (store.TokenStatus, error) {
	if id != s.client.ID {
		return store.TokenStatus{}, store.ErrNotFound
	}
	return store.TokenStatus{}, nil
}

func (s *oneResourceServer) RevokeToken(context.Context, store.Revocation, counterfoil.Event) error {
	s.revoked++
	return nil
}

func (s *oneResourceServer) Revocations(_ context.Context, _ string, after int64, _ int) (store.RevocationPage, error) {
	page := store.RevocationPage{Feed: "word", Last: 7}
	if after < 7 {
		page.Revocations = []store.Revocation{{Sequence: 7, ClientID: "c", TokenID: "t", Expires: time.Now().Add(time.Hour)}}
	}
	return page, nil
}

func (s *oneResourceServer) StatusIndexes(context.Context, string, int64) (int64, error) {
	return 1, nil
}

func (s *oneResourceServer) RevokedIndexes(context.Context, string, int64, int64) ([]int64, error) {
	return []int64{0}, nil
}

func (s *oneResourceServer) RecordLastUses(context.Context, []store.LastUse) error { return nil }

// fuzzedEndpoints returns a realm with status lists, and how its one client
// authenticates.
func fuzzedEndpoints(f *testing.F) (*oneResourceServer, http.Handler, http.Header) {
	p, err := provider.Parse("listed.yaml", []byte(listed))
	if err != nil {
		f.Fatal(err)
	}
	db := &oneResourceServer{}
	s, err := server.New(f.Context(), server.Config{
		Store: db, Logger: slog.New(slog.DiscardHandler), EachRefusal: true, Limits: monitored, Realms: []server.Realm{{Name: "r", Provider: p, BaseURL: "https://auth.example"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	_, creds, err := s.Clients().Create(f.Context(), "fuzz", clients.NewClient{
		Realm: "r", ID: "api", Settings: store.Settings{ResourceServer: true, Scopes: counterfoil.Scopes{"read"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	return db, s.Handler("r"), http.Header{"Authorization": {basic("api", creds.ClientSecret.Reveal())}, "Content-Type": {"application/x-www-form-urlencoded"}}
}

func serve(h http.Handler, method, target, body string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", strings.NewReader(body))
	u, err := url.Parse(target)
	if err != nil {
		u = &url.URL{Path: target}
	}
	r.URL, r.Header = u, header.Clone()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// FuzzTokenOfStranger introspects and revokes what anybody may send: only what
// the realm has issued is active.
func FuzzTokenOfStranger(f *testing.F) {
	store, h, header := fuzzedEndpoints(f)
	w := serve(h, http.MethodPost, "/token", "grant_type=client_credentials", header)
	var got struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Token == "" {
		f.Fatalf("%d %s", w.Code, w.Body)
	}
	parts := strings.Split(got.Token, ".")
	f.Add(got.Token)
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Add(parts[0] + "." + parts[0] + "." + parts[2])
	f.Add("eyJhbGciOiJub25lIn0." + parts[1] + ".")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		body := url.Values{"token": {token}}.Encode()
		w := serve(h, http.MethodPost, "/introspect", body, header)
		if active := w.Code == http.StatusOK && w.Body.String() != inactive; active != (token == got.Token) || w.Code >= 500 {
			t.Errorf("%q is answered %d %s", token, w.Code, w.Body)
		}
		store.revoked = 0
		if w = serve(h, http.MethodPost, "/revoke", body, header); w.Code >= 500 || (store.revoked == 1) != (token == got.Token) {
			t.Errorf("%q is answered %d %s, %d revoked", token, w.Code, w.Body, store.revoked)
		}
	})
}

// FuzzPosition follows the feed from where anybody says that they were.
func FuzzPosition(f *testing.F) {
	_, h, header := fuzzedEndpoints(f)
	header.Set("Accept", "application/json")
	for _, after := range []string{"", "word.0", "word.7", "word.8", "other.1", ".", "word.-1", "a.b.c.3", "word.9223372036854775808"} {
		f.Add(after)
	}
	f.Fuzz(func(t *testing.T, after string) {
		w := serve(h, http.MethodGet, "/revocations?after="+url.QueryEscape(after), "", header)
		switch w.Code {
		case http.StatusBadRequest:
		case http.StatusOK:
			var page struct {
				Feed        string
				Revocations []any
				Last        int64
			}
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || page.Feed != "word" || page.Last != 7 || (len(page.Revocations) == 0) != (after == "word.7") {
				t.Errorf("%q is answered %s, %v", after, w.Body, err)
			}
		default:
			t.Errorf("%q is answered %d %s", after, w.Code, w.Body)
		}
	})
}

// FuzzStatusListNumber asks for lists by invented names: the one that is there
// has one name.
func FuzzStatusListNumber(f *testing.F) {
	_, h, header := fuzzedEndpoints(f)
	for _, n := range []string{"0", "00", "1", "-0", "+0", "0/", "0x0", "٠", ""} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, n string) {
		if w := serve(h, http.MethodGet, "/status-lists/"+url.PathEscape(n), "", header); (w.Code == http.StatusOK) != (n == "0") || w.Code >= 500 {
			t.Errorf("%q is answered %d %s", n, w.Code, w.Body)
		}
	})
}
