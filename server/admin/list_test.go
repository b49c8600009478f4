package admin_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/store"
)

// Here and remotely, a list says when secrets were last used, which clients have
// expired, which are idle and which end soon, also over several pages.
func TestClientsByUseAndEnd(t *testing.T) {
	bothWays(t, func(t *testing.T, w way) {
		ctx := t.Context()
		var uses []store.LastUse
		for i := range 5 {
			id := fmt.Sprint("c", i)
			w.have(t, "acme", id, "orders:read")
			c := must(w.local.Client(ctx, "acme", id))(t)
			if i%2 == 0 {
				uses = append(uses, store.LastUse{Realm: "acme", ClientID: id, SecretID: c.Secrets[0].ID, Time: w.clock.Now().Add(50 * 24 * time.Hour)})
			}
		}
		if err := w.store.RecordLastUses(ctx, uses); err != nil {
			t.Fatal(err)
		}
		must(w.ChangeClient(ctx, "acme", "c3", 0, []byte(`{"expires":"`+w.clock.Now().Add(70*24*time.Hour).Format(time.RFC3339)+`"}`)))(t)
		w.clock.Turn(60 * 24 * time.Hour)
		find := func(q store.ClientQuery) (found string) {
			t.Helper()
			for q.Realm, q.Limit = "acme", 2; ; {
				page := must(w.Clients(ctx, q))(t)
				for _, c := range page.Clients {
					used := "-"
					if !c.Secrets[0].LastUsed.IsZero() {
						used = "u"
					}
					found += c.ID + used + c.Status[:1] + " "
				}
				if q.After = page.Next; q.After == "" {
					return found
				}
			}
		}
		of := func(status string) (q store.ClientQuery) {
			t.Helper()
			if err := admin.SelectStatus(&q, status); err != nil {
				t.Fatal(err)
			}
			return q
		}
		now := w.clock.Now()
		idle := of("enabled")
		idle.Idle = now.Add(-30 * 24 * time.Hour)
		for name, row := range map[string]struct {
			q    store.ClientQuery
			want string
		}{
			"all":      {store.ClientQuery{}, "c0ue c1-e c2ue c3-e c4ue "},
			"idle":     {idle, "c1-e c3-e "},
			"ending":   {store.ClientQuery{Ends: now.Add(30 * 24 * time.Hour)}, "c3-e "},
			"later":    {store.ClientQuery{Ends: now.Add(5 * 24 * time.Hour)}, ""},
			"expired":  {of("expired"), ""},
			"disabled": {of("disabled"), ""},
		} {
			if got := find(row.q); got != row.want {
				t.Errorf("%s: found %q, want %q", name, got, row.want)
			}
		}
		w.clock.Turn(10 * 24 * time.Hour)
		if got := find(of("expired")); got != "c3-e " {
			t.Errorf("at its end: found %q", got)
		}
		if got := find(of("enabled")); got != "c0ue c1-e c2ue c4ue " {
			t.Errorf("enabled: found %q", got)
		}
		if c := must(w.Client(ctx, "acme", "c3"))(t); c.Status != "expired" {
			t.Errorf("it is %s", c.Status)
		}
		if err := w.DisableClient(ctx, "acme", "c3"); err != nil {
			t.Fatal(err)
		}
		if got := find(of("disabled")); got != "c3-d " {
			t.Errorf("disabled: found %q", got)
		}
	})
}
