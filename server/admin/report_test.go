package admin_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/sqlite"
)

// A report that is not whole, or none, is not taken for one.
func TestReportOfAStranger(t *testing.T) {
	const row = `{"place":"line 1","client_id":"a","outcome":"created"}`
	for name, r := range map[string]struct {
		text string
		good bool
	}{
		"whole":            {`{"applied":true,"counts":{"created":1},"rows":[` + row + `],"more":[1]}`, true},
		"failed":           {`{"applied":true,"counts":{"created":1},"rows":[` + row + `],"failed":"x"}`, true},
		"a row too few":    {`{"applied":true,"counts":{"created":2},"rows":[` + row + `]}`, false},
		"without counts":   {`{"applied":true,"rows":[]}`, false},
		"without applied":  {`{"counts":{},"rows":[]}`, false},
		"cut off":          {`{"applied":true,"counts":{"created":1},"rows":[` + row, false},
		"cut off in a row": {`{"applied":true,"counts":{"created":1},"rows":[{"place":`, false},
		"a page":           {`<html>`, false},
	} {
		ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(r.text)) }))
		defer ts.Close()
		report, err := (&admin.Remote{URL: ts.URL, HTTP: ts.Client()}).ImportClients(t.Context(), "acme", admin.Import{Format: "plain", File: strings.NewReader("x")})
		if (err == nil) != r.good {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			if whole(t, report); report.Len() != 1 || (report.Failed != "") != (name == "failed") {
				t.Errorf("%s: %+v", name, report)
			}
		}
	}
}

// full is a store that takes no client.
type full struct{ server.Store }

func (full) CreateClient(context.Context, server.Client, counterfoil.Event) error {
	return errors.New("disk full")
}

// An import that ends early says so, with every row.
func TestImportEndsEarly(t *testing.T) {
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	l := admin.New(admin.Config{Store: full{db}, Realms: func() []server.Realm { return []server.Realm{{Name: "acme", Provider: p}} }})
	r, err := l.ImportClients(t.Context(), "acme", admin.Import{Format: "plain", File: strings.NewReader("client_id,client_secret\na,3f6a0c9b1e7d4825a0b6c3f19e8d7042\n")})
	if err != nil {
		t.Fatal(err)
	}
	if v := whole(t, r); !v.Applied || v.Counts["not done"] != 1 || !strings.Contains(v.Failed, "disk full") {
		t.Errorf("%+v", v)
	}
}
