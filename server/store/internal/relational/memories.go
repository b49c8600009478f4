package relational

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil/server/store"
)

// memoriesAtOnce is how many memories a statement reads or stores. All other writes
// wait for a transaction that stores them, and so for each of its statements, which
// another machine may answer.
const memoriesAtOnce = 100

// list is a list of that many parameters.
var list = "(?" + strings.Repeat(", ?", memoriesAtOnce-1) + ")"

// listed are the arguments of list: those that are missing repeat the last one.
func listed[T any](before []any, all []T) []any {
	for i := range memoriesAtOnce {
		before = append(before, all[min(i, len(all)-1)])
	}
	return before
}

// AlertMemories implements store.Store.
func (s *Store) AlertMemories(ctx context.Context, of []store.AlertOwner) (map[store.AlertOwner][]byte, error) {
	all := make(map[store.AlertOwner][]byte, len(of))
	realms := map[string][]string{}
	for _, o := range of {
		realms[o.Realm] = append(realms[o.Realm], o.ClientID)
	}
	for realm, ids := range realms {
		for some := range slices.Chunk(ids, memoriesAtOnce) {
			if err := s.backend.Query(ctx, func(rows *sql.Rows) error {
				o := store.AlertOwner{Realm: realm}
				var data []byte
				err := rows.Scan(&o.ClientID, &data)
				all[o] = data
				return err
			}, "SELECT client_id, data FROM alert_memory WHERE realm = ? AND client_id IN "+list, listed([]any{realm}, some)...); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// remember stores memories; of clients that were deleted meanwhile nothing is left.
func (t *transaction) remember(all map[store.AlertOwner][]byte) error {
	var kept, clients []store.AlertOwner
	for o, data := range all {
		switch {
		case data == nil:
			if _, err := t.Exec("DELETE FROM alert_memory WHERE realm = ? AND client_id = ?", o.Realm, o.ClientID); err != nil {
				return err
			}
		case o.ClientID == "":
			kept = append(kept, o)
		default:
			clients = append(clients, o)
		}
	}
	for some := range slices.Chunk(clients, memoriesAtOnce) {
		keys := make([]int64, len(some))
		for i, o := range some {
			keys[i] = clientKey(o.Realm, o.ClientID)
		}
		if err := t.Rows("SELECT realm, id FROM clients WHERE key IN "+list, listed(nil, keys), 2, func(v []driver.Value) error {
			if o := (store.AlertOwner{Realm: v[0].(string), ClientID: v[1].(string)}); all[o] != nil {
				kept = append(kept, o)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	for some := range slices.Chunk(kept, memoriesAtOnce) {
		args := make([]any, 0, 3*len(some))
		for _, o := range some {
			args = append(args, o.Realm, o.ClientID, all[o])
		}
		if _, err := t.Exec("INSERT INTO alert_memory (realm, client_id, data) VALUES (?, ?, ?)"+strings.Repeat(", (?, ?, ?)", len(some)-1)+
			" ON CONFLICT (realm, client_id) DO UPDATE SET data = excluded.data", args...); err != nil {
			return err
		}
	}
	return nil
}
