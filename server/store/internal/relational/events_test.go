package relational_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/store/internal/relational"
)

// TestEventsThatAreCutShort are damaged, wherever they end.
func TestEventsThatAreCutShort(t *testing.T) {
	whole := relational.AppendEvent(nil, &counterfoil.Event{
		Type: counterfoil.EventTokenIssued, Time: time.UnixMicro(1_700_000_000_000_001), Realm: "r", ClientID: "c", Success: true, TokenID: "t", Address: "192.0.2.1",
	})
	if _, rest, err := relational.CutEvent(whole, 2); err != nil || len(rest) != 0 {
		t.Fatalf("a whole one leaves %d bytes, %v", len(rest), err)
	}
	for n := range whole {
		if e, _, err := relational.CutEvent(whole[:n], 2); err == nil {
			t.Errorf("the first %d bytes of %d are %+v", n, len(whole), e)
		}
	}
}

// FuzzCutEvent reads what a damaged file may hold, and reads again what it
// writes.
func FuzzCutEvent(f *testing.F) {
	whole := relational.AppendEvent(nil, &counterfoil.Event{
		Type: counterfoil.EventTokenIssued, Time: time.UnixMicro(1_700_000_000_000_001), Realm: "r", ClientID: "c", Success: true, TokenID: "t", Address: "192.0.2.1", UserAgent: "λ\x00",
	})
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append([]byte{0, 1}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, rest, err := relational.CutEvent(data, 2)
		if err != nil {
			return
		}
		again, nothing, err := relational.CutEvent(relational.AppendEvent(nil, &e.Event), 2)
		if err != nil || len(nothing) != 0 || len(rest) >= len(data) || !reflect.DeepEqual(again, e) {
			t.Errorf("got %+v with %d bytes left, then %+v, %v", e, len(rest), again, err)
		}
	})
}
