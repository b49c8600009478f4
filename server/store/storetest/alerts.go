package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
)

const repeat = time.Hour

// raised is an alert that happened once at a time.
func raised(client string, when time.Time) alerts.Alert {
	return alerts.Alert{Kind: alerts.KindVolume, Realm: "r", ClientID: client, Subject: "s", Summary: "it happened",
		Command: "counterfoil help",
		Contact: "ops@example.com", Count: 1, First: micro(when), Last: micro(when)}
}

// raise stores alerts for the sender "x" at a time.
func raise(t *testing.T, s store.Store, when time.Time, all ...alerts.Alert) {
	t.Helper()
	if err := s.AdvanceAlerts(t.Context(), store.AlertStep{At: when, Raise: all, OthersCommand: "counterfoil alerts --dir d", Senders: []string{"x"}, Repeat: repeat}); err != nil {
		t.Fatal(err)
	}
}

func alertsOf(t *testing.T, s store.Store, q store.AlertQuery) []alerts.Alert {
	t.Helper()
	q.Limit = 100_000
	all, err := s.Alerts(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// claim returns what is due for the sender "x" at a time; ID 0 for nothing.
func claim(t *testing.T, s store.Store, when time.Time) store.AlertDelivery {
	t.Helper()
	d, err := s.ClaimDelivery(t.Context(), "x", when, time.Minute)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return d
}

func finish(t *testing.T, s store.Store, d store.AlertDelivery, r store.DeliveryResult) {
	t.Helper()
	r.Repeat = repeat
	if err := s.FinishDelivery(t.Context(), d, r); err != nil {
		t.Fatal(err)
	}
}

func acknowledge(t *testing.T, s store.Store, when time.Time, q store.AlertQuery) []int64 {
	t.Helper()
	done, err := s.AcknowledgeAlerts(t.Context(), q, "me", counterfoil.Event{
		Type: counterfoil.EventAlertAcknowledged, Time: when, Actor: "me", Success: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func alertSteps(t *testing.T, s store.Store) {
	create(t, s, newClient("c"))
	first, err := s.AlertState(t.Context())
	if err != nil || first.Version == 0 || first.Sequence != 0 || len(first.Data) != 0 || first.Dropped != 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	mine, realm := store.AlertOwner{Realm: "r", ClientID: "c"}, store.AlertOwner{Realm: "r"}
	step := store.AlertStep{
		At: at, From: first.Version, Sequence: 1, Data: []byte("data"), Raise: []alerts.Alert{raised("c", at)},
		Memory: map[store.AlertOwner][]byte{mine: []byte("mine"), realm: []byte("all")}, Senders: []string{"x"}, Repeat: repeat,
	}
	if err := s.AdvanceAlerts(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	// Whoever begins where another one has begun changes nothing.
	step.Sequence, step.Memory = 7, map[store.AlertOwner][]byte{mine: nil, realm: []byte("other")}
	if err := s.AdvanceAlerts(t.Context(), step); !errors.Is(err, store.ErrConflict) {
		t.Errorf("the same step again: %v", err)
	}
	next, err := s.AlertState(t.Context())
	if err != nil || next.Version == first.Version || next.Sequence != 1 || string(next.Data) != "data" {
		t.Errorf("%+v, %v", next, err)
	}
	if all := alertsOf(t, s, store.AlertQuery{}); len(all) != 1 || all[0].Count != 1 {
		t.Errorf("%+v", all)
	}
	remembered := func() map[store.AlertOwner][]byte {
		t.Helper()
		all, err := s.AlertMemories(t.Context(), []store.AlertOwner{mine, realm, {Realm: "r", ClientID: "none"}})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if all := remembered(); !reflect.DeepEqual(all, map[store.AlertOwner][]byte{mine: []byte("mine"), realm: []byte("all")}) {
		t.Errorf("%q", all)
	}
	// What is remembered of a client ends with it.
	if err := s.DeleteClient(t.Context(), "r", "c", change(counterfoil.EventClientDeleted, "c")); err != nil {
		t.Fatal(err)
	}
	step = store.AlertStep{
		At: at, From: next.Version, Sequence: 2, Memory: map[store.AlertOwner][]byte{mine: []byte("late"), realm: []byte("")},
	}
	if err := s.AdvanceAlerts(t.Context(), step); err != nil {
		t.Fatal(err)
	}
	if all := remembered(); len(all) != 1 || len(all[realm]) != 0 {
		t.Errorf("%q", all)
	}
}

func alertRepeats(t *testing.T, s store.Store) {
	raise(t, s, at, raised("c", at))
	more := raised("c", at.Add(time.Minute))
	more.Count, more.Summary, more.Command, more.Contact = 9, "it happened again", "counterfoil alerts", ""
	raise(t, s, at.Add(time.Minute), more, raised("d", at))
	want := more
	want.ID, want.Count, want.First = 1, 10, micro(at)
	all := alertsOf(t, s, store.AlertQuery{ClientID: "c"})
	if len(all) != 1 || !reflect.DeepEqual(all[0], want) {
		t.Fatalf("got  %+v\nwant %+v", all, want)
	}
	events := len(Events(t, s))
	if done := acknowledge(t, s, at.Add(time.Hour), store.AlertQuery{IDs: []int64{1, 99}}); !slices.Equal(done, []int64{1}) {
		t.Errorf("acknowledged %v", done)
	}
	if done := acknowledge(t, s, at.Add(time.Hour), store.AlertQuery{IDs: []int64{1}}); len(done) != 0 {
		t.Errorf("acknowledged again: %v", done)
	}
	if n := len(Events(t, s)); n != events+1 {
		t.Errorf("%d events of two acknowledgements, of which one did something", n-events)
	}
	// What happens next is a new alert.
	raise(t, s, at.Add(2*time.Hour), raised("c", at.Add(2*time.Hour)))
	all = alertsOf(t, s, store.AlertQuery{Acknowledged: true})
	if len(all) != 3 || all[0].ID != 3 || all[0].ClientID != "c" || all[0].Count != 1 ||
		!all[2].Acknowledged.Equal(micro(at.Add(time.Hour))) ||
		all[2].AcknowledgedBy != "me" {
		t.Errorf("%+v", all)
	}
	for name, row := range map[string]struct {
		q    store.AlertQuery
		want []int64
	}{
		"open":            {store.AlertQuery{}, []int64{3, 2}},
		"of a client":     {store.AlertQuery{Acknowledged: true, ClientID: "c"}, []int64{3, 1}},
		"of a realm":      {store.AlertQuery{Realm: "other"}, nil},
		"of a kind":       {store.AlertQuery{Kind: alerts.KindVolume}, []int64{3, 2}},
		"of another kind": {store.AlertQuery{Kind: alerts.KindClock}, nil},
		"a page":          {store.AlertQuery{Before: 3}, []int64{2}},
		"some":            {store.AlertQuery{Acknowledged: true, IDs: []int64{1, 2}}, []int64{2, 1}},
	} {
		var got []int64
		for _, a := range alertsOf(t, s, row.q) {
			got = append(got, a.ID)
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", name, got, row.want)
		}
	}
}

// openAlertsBounded: those over the bound are one alert, and so are those that
// wait for a sender that takes none.
func openAlertsBounded(t *testing.T, s store.Store) {
	var all []alerts.Alert
	for i := range store.MaxOpenAlerts + 50 {
		all = append(all, raised(fmt.Sprint(i), at))
	}
	other := raised("c", at)
	other.Kind = alerts.KindExpiry
	raise(t, s, at, append(all, all[0], other)...)
	open := alertsOf(t, s, store.AlertQuery{Kind: alerts.KindVolume})
	if len(open) != store.MaxOpenAlerts+1 {
		t.Fatalf("%d are open", len(open))
	}
	if o := open[0]; o.Subject != store.OtherAlerts || o.ClientID != "" || o.Count != 50 || o.Contact != "" || o.Command != "counterfoil alerts --dir d" {
		t.Errorf("%+v", o)
	}
	if o := open[store.MaxOpenAlerts]; o.ClientID != "0" || o.Count != 2 {
		t.Errorf("one that is open is not counted: %+v", o)
	}
	if others := alertsOf(t, s, store.AlertQuery{Kind: alerts.KindExpiry}); len(others) != 1 || others[0].ClientID != "c" {
		t.Errorf("another kind: %+v", others)
	}
	for realm := range 5 {
		for i := range all {
			all[i].Realm = fmt.Sprint(realm)
		}
		raise(t, s, at, all...)
	}
	state, err := s.AlertState(t.Context())
	waiting := 6*(store.MaxOpenAlerts+1) + 1
	if err != nil || state.Dropped != int64(waiting-store.MaxDeliveries) {
		t.Errorf("%d dropped of %d, %v", state.Dropped, waiting, err)
	}
	if d := claim(t, s, at); d.ID != state.Dropped+1 {
		t.Errorf("the first that waits is %d, want the oldest to be dropped", d.ID)
	}
}

func deliveries(t *testing.T, s store.Store) {
	if d := claim(t, s, at); d.ID != 0 {
		t.Fatalf("%+v", d)
	}
	raise(t, s, at, raised("c", at))
	d := claim(t, s, at)
	if d.ID != 1 || d.Attempt != 1 || d.Sender != "x" || d.Count != 1 || d.Contact == "" {
		t.Fatalf("%+v", d)
	}
	if other := claim(t, s, at.Add(time.Minute-time.Second)); other.ID != 0 {
		t.Errorf("given twice: %+v", other)
	}
	// Whoever had it is gone.
	again := claim(t, s, at.Add(time.Minute))
	if again.ID != 1 || again.Attempt != 2 {
		t.Errorf("%+v", again)
	}
	finish(t, s, d, store.DeliveryResult{At: at.Add(time.Minute), Sent: true}) // too late
	now := at.Add(time.Minute)
	finish(t, s, again, store.DeliveryResult{At: now, Next: now.Add(2 * time.Minute)})
	if d := claim(t, s, now.Add(2*time.Minute-time.Second)); d.ID != 0 {
		t.Errorf("before its time: %+v", d)
	}
	now = now.Add(2 * time.Minute)
	if d = claim(t, s, now); d.Attempt != 3 {
		t.Errorf("%+v", d)
	}
	// The count grows while it is sent.
	raise(t, s, now, raised("c", now))
	finish(t, s, d, store.DeliveryResult{At: now, Sent: true})
	if d := claim(t, s, now.Add(repeat-time.Second)); d.ID != 0 {
		t.Errorf("again too soon: %+v", d)
	}
	now = now.Add(repeat)
	if d = claim(t, s, now); d.Count != 2 || d.Attempt != 1 {
		t.Errorf("%+v", d)
	}
	finish(t, s, d, store.DeliveryResult{At: now, Sent: true})
	if d := claim(t, s, now.Add(100*repeat)); d.ID != 0 {
		t.Errorf("without news: %+v", d)
	}
	raise(t, s, now.Add(time.Minute), raised("c", now))
	if d := claim(t, s, now.Add(repeat-time.Second)); d.ID != 0 {
		t.Errorf("again too soon: %+v", d)
	}
	if d = claim(t, s, now.Add(repeat)); d.Count != 3 {
		t.Errorf("%+v", d)
	}
	finish(t, s, d, store.DeliveryResult{At: now.Add(repeat)}) // given up
	if state, err := s.AlertState(t.Context()); err != nil || state.Dropped != 1 {
		t.Errorf("%+v, %v", state, err)
	}
	if d := claim(t, s, now.Add(100*repeat)); d.ID != 0 {
		t.Errorf("given up: %+v", d)
	}
	// One that is acknowledged is not sent any more.
	raise(t, s, now.Add(10*repeat), raised("c", now))
	acknowledge(t, s, now.Add(10*repeat), store.AlertQuery{})
	if d := claim(t, s, now.Add(100*repeat)); d.ID != 0 {
		t.Errorf("acknowledged: %+v", d)
	}
}

// deliveriesClockBack: a clock that was set back makes no alert wait for longer.
func deliveriesClockBack(t *testing.T, s store.Store) {
	raise(t, s, at, raised("c", at), raised("d", at))
	back := at.Add(-time.Hour)
	if d := claim(t, s, at.Add(-5*time.Second)); d.ID != 0 {
		t.Errorf("by a clock that is only behind: %+v", d)
	}
	d := claim(t, s, back)
	if d.ClientID != "c" {
		t.Fatalf("%+v", d)
	}
	finish(t, s, d, store.DeliveryResult{At: back, Next: back.Add(time.Minute)})
	if d := claim(t, s, back); d.ClientID != "d" {
		t.Errorf("%+v", d)
	} else {
		finish(t, s, d, store.DeliveryResult{At: back, Sent: true})
	}
	if d := claim(t, s, back); d.ID != 0 {
		t.Errorf("before its time: %+v", d)
	}
	if d := claim(t, s, back.Add(time.Minute)); d.ClientID != "c" {
		t.Errorf("%+v", d)
	} else {
		finish(t, s, d, store.DeliveryResult{At: at, Sent: true})
	}
	raise(t, s, back, raised("c", back)) // it was last sent in the future
	if d := claim(t, s, back); d.ClientID != "c" {
		t.Errorf("%+v", d)
	}
}

func silences(t *testing.T, s store.Store) {
	silence := func(n alerts.Silence) (alerts.Silence, error) {
		n.Created, n.CreatedBy = micro(at), "me"
		return s.CreateSilence(t.Context(), n, counterfoil.Event{Type: counterfoil.EventSilenceCreated, Time: at, Success: true})
	}
	until := micro(at.Add(time.Hour))
	want, err := silence(alerts.Silence{Kind: alerts.KindVolume, Realm: "r", ClientID: "c*", Until: until})
	if err != nil || want.ID == 0 {
		t.Fatalf("%+v, %v", want, err)
	}
	if all, err := s.Silences(t.Context(), at); err != nil || len(all) != 1 || all[0] != want {
		t.Errorf("got  %+v, %v\nwant %+v", all, err, want)
	}
	raise(t, s, at, raised("c1", at), raised("d", at))
	if all := alertsOf(t, s, store.AlertQuery{}); len(all) != 2 {
		t.Errorf("what is silenced is not listed: %+v", all)
	}
	d := claim(t, s, at)
	if d.ClientID != "d" {
		t.Fatalf("%+v", d)
	}
	finish(t, s, d, store.DeliveryResult{At: at, Sent: true})
	if d := claim(t, s, until.Add(-time.Second)); d.ID != 0 {
		t.Errorf("silenced: %+v", d)
	}
	// One that was made while the clock was ahead does not last until then.
	if all, err := s.Silences(t.Context(), at.Add(-time.Hour)); err != nil || len(all) != 0 {
		t.Errorf("an hour back: %+v, %v", all, err)
	}
	// When it ends, what nobody has acknowledged is sent.
	if all, err := s.Silences(t.Context(), until); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if d := claim(t, s, until); d.ClientID != "c1" {
		t.Errorf("%+v", d)
	}
	event := counterfoil.Event{Type: counterfoil.EventSilenceDeleted, Time: at, Success: true}
	if err := s.DeleteSilence(t.Context(), want.ID, event); err != nil {
		t.Error(err)
	}
	if err := s.DeleteSilence(t.Context(), want.ID, event); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	for range store.MaxSilences {
		if _, err := silence(alerts.Silence{Until: until}); err != nil {
			t.Fatal(err)
		}
	}
	events := len(Events(t, s))
	if _, err := silence(alerts.Silence{Until: until}); !errors.Is(err, store.ErrTooManySilences) || len(Events(t, s)) != events {
		t.Errorf("one more: %v, %d events", err, len(Events(t, s))-events)
	}
}

// oneAdvances: of several processes that search the record at the same time, one is
// ahead with each part.
func oneAdvances(t *testing.T, s [2]store.Store) {
	const steps = 50
	var wg sync.WaitGroup
	for _, one := range s {
		wg.Go(func() {
			for {
				state, err := one.AlertState(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if state.Sequence >= steps {
					return
				}
				err = one.AdvanceAlerts(t.Context(), store.AlertStep{
					At: at, From: state.Version, Sequence: state.Sequence + 1, Raise: []alerts.Alert{raised("c", at)},
				})
				if err != nil && !errors.Is(err, store.ErrConflict) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if all := alertsOf(t, s[0], store.AlertQuery{}); len(all) != 1 || all[0].Count != steps {
		t.Errorf("%d steps raise %+v", steps, all)
	}
}

// oneClaims: a delivery is given to one process at a time.
func oneClaims(t *testing.T, s [2]store.Store) {
	const n = 30
	for i := range n {
		raise(t, s[0], at, raised(fmt.Sprint(i), at))
	}
	var wg sync.WaitGroup
	var claimed atomic.Int64
	for _, one := range s {
		wg.Go(func() {
			for {
				d := claim(t, one, at)
				if d.ID == 0 {
					return
				}
				claimed.Add(1)
			}
		})
	}
	wg.Wait()
	if claimed.Load() != n {
		t.Errorf("%d alerts were given %d times", n, claimed.Load())
	}
}
