package sqlite_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server"
)

// TestReplacedNamesAreBounded: one client that asks without end keeps no more names
// of replaced tokens than can be revoked by them.
func TestReplacedNamesAreBounded(t *testing.T) {
	s := open(t, newPath(t))
	if err := createClient(t.Context(), s, "c"); err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	const more = 3000
	atOnce(t, 40, func(lane int) error {
		for n := lane; n < server.MaxRevoked+more; n += 40 {
			for {
				c, err := s.Client(t.Context(), "r", "c")
				if err != nil {
					return err
				}
				issued := begin.Add(time.Duration(n) * time.Second)
				if c.Latest.After(issued) {
					issued = c.Latest
				}
				e := counterfoil.Event{Type: counterfoil.EventTokenIssued, Time: issued, Realm: "r", ClientID: "c", TokenID: fmt.Sprint(n)}
				_, err = s.RecordIssued(t.Context(), server.Issue{Event: e, Version: c.Version, Created: c.Created, AsOf: c.AsOf, Replace: true,
					Issued: issued, Expires: issued.Add(24 * time.Hour), StatusIndex: -1})
				if err == nil {
					break
				}
				if err != server.ErrConflict {
					return err
				}
			}
		}
		return nil
	})
	if n, err := s.Rows("replaced_tokens"); err != nil || n > server.MaxRevoked+more/2 {
		t.Errorf("%d names are kept, %v: at most %d can be revoked", n, err, server.MaxRevoked)
	}
}
