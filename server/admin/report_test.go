package admin_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/store"
)

// A report that is not whole, or none, is not taken for one.
func TestReportOfAStranger(t *testing.T) {
	const row = `{"place":"line 1","client_id":"a","outcome":"created"}`
	for name, r := range map[string]struct {
		text string
		says string // empty for a good one
	}{
		"whole":            {`{"applied":true,"counts":{"created":1},"rows":[` + row + `],"more":[1]}`, ""},
		"failed":           {`{"applied":true,"counts":{"created":1},"rows":[` + row + `],"failed":"x"}`, ""},
		"a row too few":    {`{"applied":true,"counts":{"created":2},"rows":[` + row + `]}`, "not that of a Counterfoil"},
		"without counts":   {`{"applied":true,"rows":[]}`, "not that of a Counterfoil"},
		"without applied":  {`{"counts":{},"rows":[]}`, "not that of a Counterfoil"},
		"cut off":          {`{"applied":true,"counts":{"created":1},"rows":[` + row, "not that of a Counterfoil"},
		"cut off in a row": {`{"applied":true,"counts":{"created":1},"rows":[{"place":`, "not that of a Counterfoil"},
		"a page":           {`<html>`, "not that of a Counterfoil"},
		"lost on its way":  {`{"applied":true,"counts":{"created":1},"rows":[`, "read the answer: unexpected EOF"},
	} {
		ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if name == "lost on its way" {
				w.Header().Set("Content-Length", "1000")
			}
			_, _ = w.Write([]byte(r.text))
		}))
		defer ts.Close()
		report, err := (&admin.Remote{URL: ts.URL, HTTP: ts.Client()}).ImportClients(t.Context(), "acme", admin.Import{Format: "plain", File: strings.NewReader("x")})
		if (err == nil) != (r.says == "") || err != nil && !strings.Contains(err.Error(), r.says) {
			t.Errorf("%s: error %v, want %q", name, err, r.says)
		}
		if err == nil {
			if whole(t, report); report.Len() != 1 || (report.Failed != "") != (name == "failed") {
				t.Errorf("%s: %+v", name, report)
			}
		}
	}
}

// full is a store that takes no client.
type full struct{ store.Store }

func (full) CreateClient(context.Context, store.Client, counterfoil.Event) error {
	return errors.New("disk full")
}

// An import that ends early says so, with every row, here and over HTTPS.
func TestImportEndsEarly(t *testing.T) {
	p := newPlace(t)
	p.local = admin.New(admin.Config{Store: full{p.store}, Realms: func() []server.Realm { return p.realms }})
	for _, s := range []admin.Service{p.local, p.remote(t, allScopes)} {
		r, err := s.ImportClients(t.Context(), "acme", admin.Import{Format: "plain", File: strings.NewReader("client_id,client_secret\na,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n")})
		if err != nil {
			t.Fatal(err)
		}
		if v := whole(t, r); !v.Applied || !maps.Equal(v.Counts, map[string]int{"not done": 1}) || !strings.Contains(v.Failed, "disk full") {
			t.Errorf("%T: %+v", s, v)
		}
	}
}

// A report of nothing has no rows, and can be closed.
func TestEmptyReport(t *testing.T) {
	if v := whole(t, admin.Report{}); len(v.Rows) != 0 {
		t.Errorf("%+v", v)
	}
}

// An import tells how far it has come: here by its rows, elsewhere by what was
// sent.
func TestImportProgress(t *testing.T) {
	const file = "client_id,client_secret\na,3f6a0c9b1e7d4825a0b6c3f19e8d7042\nb,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n"
	for name, want := range map[string][]admin.Progress{
		"local": {
			{Stage: admin.StageReading, Done: 1, Part: 1}, {Stage: admin.StageReading, Done: 2, Part: 1},
			{Stage: admin.StageWriting, Done: 1, Of: 2}, {Stage: admin.StageWriting, Done: 2, Of: 2},
		},
		"remote": {{Stage: admin.StageSending, Done: int64(len(file))}, {Stage: admin.StageWaiting, Done: int64(len(file))}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			var s admin.Service = p.local
			if name == "remote" {
				s = p.remote(t, allScopes)
			}
			var mu sync.Mutex
			var got []admin.Progress
			r, err := s.ImportClients(t.Context(), "acme", admin.Import{Format: "plain", File: strings.NewReader(file), Progress: func(p admin.Progress) {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, p)
			}})
			if err != nil {
				t.Fatal(err)
			}
			whole(t, r)
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(got, want) {
				t.Errorf("told %+v, want %+v", got, want)
			}
		})
	}
}
