package server_test

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// TestNoResidueOfOpenKeys: once keys are sealed, what they were before is in no
// page of the file, free ones included, and in no file beside it.
func TestNoResidueOfOpenKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counterfoil.db")
	at := clock.NewManual(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC))
	run := func(master counterfoil.Secret) (private string) {
		db := must(sqlite.Open(t.Context(), path))
		defer db.Close()
		s := must(server.New(t.Context(), server.Config{
			Store: db, Clock: at, MasterKey: master, Logger: slog.New(slog.DiscardHandler),
			Realms: []server.Realm{{Name: "a55", Provider: must(provider.Builtin("a55")), BaseURL: "https://a.example"}},
		}))
		defer s.Close()
		return must(db.SigningKeys(t.Context(), "a55"))[0].Private.Reveal()
	}
	open := run("")
	if sealed := run(counterfoil.Secret(base64.StdEncoding.EncodeToString(make([]byte, 32)))); sealed == open {
		t.Fatal("it was not sealed")
	}
	for _, file := range must(filepath.Glob(path + "*")) {
		text := must(os.ReadFile(file))
		for from := len(open) / 2; from+64 <= len(open); from += 64 { // the modulus before it is public
			if bytes.Contains(text, []byte(open[from:from+64])) {
				t.Fatalf("%s has bytes %d to %d of the private key", filepath.Base(file), from, from+64)
			}
		}
	}
}
