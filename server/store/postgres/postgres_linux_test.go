package postgres_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/pgtest"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/postgres"
	"github.com/counterfoil/counterfoil/server/store/storetest"
)

// database is the server of all tests here.
var database *pgtest.Server

func TestMain(m *testing.M) {
	var err error
	if database, err = pgtest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if err := database.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func open(t *testing.T, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) func() store.Store {
		t.Parallel()
		url := database.Database(t)
		return func() store.Store { return open(t, url) }
	})
}

// One role owns the tables, and one serves with no more than docs/postgres.md grants.
func TestTwoRoles(t *testing.T) {
	url := database.Database(t)
	name, _, _ := strings.Cut(url[strings.LastIndexByte(url, '/')+1:], "?")
	database.Exec(t, name, "CREATE ROLE serving LOGIN")
	t.Cleanup(func() { database.Exec(t, "postgres", "DROP ROLE serving") })
	t.Cleanup(func() { database.Exec(t, name, "DROP OWNED BY serving") })
	database.Exec(t, name, "ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO serving")
	serving := strings.Replace(url, "owner@", "serving@", 1)
	if s, err := postgres.Open(t.Context(), serving, ""); err == nil || !strings.Contains(err.Error(), "docs/postgres.md") {
		t.Errorf("before the owner has made the tables: %v", err)
		if err == nil {
			s.Close()
		}
	}
	if err := open(t, url).Close(); err != nil {
		t.Fatal(err)
	}
	s := open(t, serving)
	defer s.Close()
	c := store.Client{Realm: "r", ID: "c", Created: time.Now(), Changed: time.Now()}
	e := counterfoil.Event{Type: counterfoil.EventClientCreated, Time: time.Now(), Realm: "r", ClientID: "c"}
	if err := s.CreateClient(t.Context(), c, e); err != nil {
		t.Error(err)
	}
	if _, err := s.StatusIndexes(t.Context(), "r", 1); err != nil {
		t.Error(err)
	}
	if err := s.DeleteClient(t.Context(), "r", "c", e); err != nil {
		t.Error(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}
