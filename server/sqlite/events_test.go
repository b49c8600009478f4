package sqlite_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/sqlite"
)

// FuzzCutEvent reads what a damaged file may hold, and reads again what it
// writes.
func FuzzCutEvent(f *testing.F) {
	whole := sqlite.AppendEvent(nil, &counterfoil.Event{
		Type: counterfoil.EventTokenIssued, Time: time.UnixMicro(1_700_000_000_000_001), Realm: "r", ClientID: "c", Success: true, TokenID: "t", Address: "192.0.2.1", UserAgent: "λ\x00",
	})
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append([]byte{0, 1}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, rest, err := sqlite.CutEvent(data)
		if err != nil {
			return
		}
		again, nothing, err := sqlite.CutEvent(sqlite.AppendEvent(nil, &e))
		if err != nil || len(nothing) != 0 || len(rest) >= len(data) || !reflect.DeepEqual(again, e) {
			t.Errorf("got %+v with %d bytes left, then %+v, %v", e, len(rest), again, err)
		}
	})
}
