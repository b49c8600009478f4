package watch_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/watch"
	"github.com/counterfoil/counterfoil/server/store"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// start is at the beginning of an hour.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// scene is a database with a Watch of it, and a clock.
type scene struct {
	*testing.T
	store store.Store
	path  string
	clock *clock.Manual
	watch *watch.Watch
	log   *bytes.Buffer
}

func newScene(t *testing.T, change func(*watch.Config)) *scene {
	path := filepath.Join(t.TempDir(), "x.db")
	s := &scene{T: t, path: path, clock: clock.NewStepping(start), log: new(bytes.Buffer)}
	s.store = s.open()
	s.watch = s.another(s.store, change)
	s.create("c", nil)
	return s
}

func (s *scene) open() *sqlite.Store {
	s.Helper()
	db, err := sqlite.Open(s.Context(), s.path)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = db.Close() })
	return db
}

// another is the watch of another process.
func (s *scene) another(db store.Store, change func(*watch.Config)) *watch.Watch {
	c := watch.Config{Store: db, Clock: s.clock, Logger: slog.New(slog.NewTextHandler(s.log, nil)), Realms: func() []string { return []string{"r", "other"} }}
	if change != nil {
		change(&c)
	}
	return watch.New(c)
}

func (s *scene) create(id string, change func(*store.Client)) {
	s.Helper()
	c := store.Client{Realm: "r", ID: id, Created: s.clock.Now(), Changed: s.clock.Now()}
	c.Contact = "Operations <ops@example.com>"
	if change != nil {
		change(&c)
	}
	if err := s.store.CreateClient(s.Context(), c, counterfoil.Event{Type: counterfoil.EventClientCreated, Time: s.clock.Now(), Realm: "r", ClientID: id}); err != nil {
		s.Fatal(err)
	}
}

// record records an event n times, from an address.
func (s *scene) record(n int, e counterfoil.Event) {
	s.Helper()
	s.records(slices.Repeat([]counterfoil.Event{e}, n)...)
}

func (s *scene) records(all ...counterfoil.Event) {
	s.Helper()
	for i := range all {
		all[i].Realm, all[i].Time = "r", s.clock.Now()
	}
	if err := s.store.RecordEvents(s.Context(), all...); err != nil {
		s.Fatal(err)
	}
}

func token(client, address string) counterfoil.Event {
	return counterfoil.Event{Type: counterfoil.EventTokenIssued, ClientID: client, Address: address, Success: true}
}

func refusal(client, address string, reason counterfoil.Reason) counterfoil.Event {
	return counterfoil.Event{Type: counterfoil.EventTokenRefused, ClientID: client, Address: address, Reason: reason}
}

func (s *scene) look() {
	s.Helper()
	if err := s.watch.Look(s.Context()); err != nil {
		s.Fatal(err)
	}
}

// found looks, and returns the open alerts of a kind, the oldest first.
func (s *scene) found(kind alerts.Kind) []alerts.Alert {
	s.Helper()
	s.look()
	return s.opened(kind)
}

func (s *scene) opened(kind alerts.Kind) []alerts.Alert {
	s.Helper()
	all, err := s.store.Alerts(s.Context(), store.AlertQuery{Kind: kind, Limit: 1000})
	if err != nil {
		s.Fatal(err)
	}
	slices.Reverse(all)
	return all
}

// none fails when there is an alert of a kind, and one when there is not exactly
// one, which it returns.
func (s *scene) none(kind alerts.Kind) {
	s.Helper()
	if all := s.found(kind); len(all) != 0 {
		s.Errorf("there is %+v", all)
	}
}

func (s *scene) one(kind alerts.Kind) alerts.Alert {
	s.Helper()
	all := s.found(kind)
	if len(all) != 1 {
		s.Fatalf("there are %d alerts, want one: %+v", len(all), all)
	}
	if strings.Contains(all[0].Summary, "\n") || !strings.HasPrefix(all[0].Command, "counterfoil ") {
		s.Errorf("%+v", all[0])
	}
	return all[0]
}

func (s *scene) acknowledge() {
	s.Helper()
	if _, err := s.store.AcknowledgeAlerts(s.Context(), store.AlertQuery{}, "me", counterfoil.Event{Type: counterfoil.EventAlertAcknowledged, Time: s.clock.Now()}); err != nil {
		s.Fatal(err)
	}
}

func TestFailures(t *testing.T) {
	s := newScene(t, nil)
	wrong := refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret)
	s.record(19, wrong)
	s.record(50, refusal("c", "192.0.2.7", counterfoil.ReasonClientDisabled)) // the secret was right
	s.record(50, refusal("c", "192.0.2.7", counterfoil.ReasonScopeNotAllowed))
	s.record(19, refusal("c", "192.0.3.7", counterfoil.ReasonWrongSecret)) // another network
	s.none(alerts.KindFailures)
	s.record(1, refusal("c", "192.0.2.200", counterfoil.ReasonAPIKeyInvalid))
	a := s.one(alerts.KindFailures)
	if a.Realm != "r" || a.ClientID != "c" || a.Subject != "192.0.2.0/24" || a.Count != 20 || a.Contact != "" ||
		a.Command != "counterfoil audit --realm=r --client=c --type=token.refused --address=192.0.2.0/24" {
		t.Errorf("%+v", a)
	}
	wrong.Count = 500 // folded
	s.record(1, wrong)
	if a := s.one(alerts.KindFailures); a.Count != 520 || !strings.Contains(a.Summary, "520") {
		t.Errorf("%+v", a)
	}
	// The next hour is counted anew.
	s.acknowledge()
	s.clock.Turn(time.Hour)
	wrong.Count = 0
	s.record(19, wrong)
	s.none(alerts.KindFailures)
}

// TestFailuresFromEverywhere: a guesser with a thousand networks, none of which fails
// often, was no alert. Those that fail often are not counted twice.
func TestFailuresFromEverywhere(t *testing.T) {
	s := newScene(t, nil)
	s.create("d", nil)
	s.record(500, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	var few []counterfoil.Event
	for i := range 80 {
		few = append(few, refusal("c", fmt.Sprintf("198.51.%d.1", i), counterfoil.ReasonWrongSecret))
	}
	s.records(few...)
	s.record(19, refusal("d", "203.0.113.7", counterfoil.ReasonWrongSecret))
	if a := s.one(alerts.KindFailures); a.Subject != "192.0.2.0/24" || a.Count != 500 {
		t.Errorf("%+v", a)
	}
	s.record(1, refusal("c", "198.51.100.1", counterfoil.ReasonWrongSecret))
	all := s.found(alerts.KindFailures)
	if len(all) != 2 || all[1].ClientID != "c" || all[1].Subject != "" || all[1].Count != 100 ||
		all[1].Command != "counterfoil audit --realm=r --client=c --type=token.refused" || !strings.Contains(all[1].Summary, "from several networks") {
		t.Errorf("%+v", all)
	}
}

// TestFailuresWhileWaiting: a guesser who has to wait goes on, and is the same one.
func TestFailuresWhileWaiting(t *testing.T) {
	s := newScene(t, nil)
	wait := refusal("c", "192.0.2.7", counterfoil.ReasonRateLimited)
	s.record(50, wait) // of another limit
	s.record(10, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	wait.Detail = "failed authentications from the address"
	s.record(9, wait)
	made := wait
	made.ClientID = "made up"
	s.record(19, made)
	s.none(alerts.KindFailures)
	wait.Count = 9981
	s.record(1, wait)
	if a := s.one(alerts.KindFailures); a.ClientID != "c" || a.Count != 10_000 {
		t.Errorf("%+v", a)
	}
	s.record(1, made)
	if all := s.found(alerts.KindFailures); len(all) != 2 || all[1].ClientID != "" {
		t.Errorf("%+v", all)
	}
}

// TestStrangers: names that callers make up are in no alert, and a flood of them
// makes none forgotten.
func TestStrangers(t *testing.T) {
	s := newScene(t, nil)
	s.record(15, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	var flood []counterfoil.Event
	for i := range 2000 {
		flood = append(flood, refusal(fmt.Sprintf("'; rm -rf / %d", i), fmt.Sprintf("198.%d.%d.1", i/250, i%250), counterfoil.ReasonUnknownClient))
	}
	s.records(flood...)
	s.none(alerts.KindFailures)
	s.record(20, refusal("c; reboot", "203.0.113.1", counterfoil.ReasonUnknownClient))
	s.record(5, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	all := s.found(alerts.KindFailures)
	if len(all) != 2 || all[0].ClientID != "" || all[0].Subject != "203.0.113.0/24" || strings.Contains(fmt.Sprint(all[0]), "reboot") || all[1].ClientID != "c" {
		t.Errorf("%+v", all)
	}
	state, err := s.store.AlertState(t.Context())
	if err != nil || len(state.Data) > 64<<10 {
		t.Errorf("%d bytes are remembered, %v", len(state.Data), err)
	}
}

// TestStorm: ten thousand failures in a second are one alert.
func TestStorm(t *testing.T) {
	s := newScene(t, func(c *watch.Config) { c.Senders = []alerts.Sender{&sender{name: "x"}} })
	s.record(10_000, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	if a := s.one(alerts.KindFailures); a.Count != 10_000 {
		t.Errorf("%+v", a)
	}
	now := s.clock.Now()
	d, err := s.store.ClaimDelivery(t.Context(), "x", now, time.Minute)
	if err != nil || d.Count != 10_000 {
		t.Fatalf("%+v, %v", d, err)
	}
	if err := s.store.FinishDelivery(t.Context(), d, store.DeliveryResult{At: now, Sent: true}); err != nil {
		t.Fatal(err)
	}
	s.clock.Turn(time.Minute)
	s.record(10_000, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	if a := s.one(alerts.KindFailures); a.Count != 20_000 {
		t.Errorf("%+v", a)
	}
	if d, err := s.store.ClaimDelivery(t.Context(), "x", s.clock.Now(), time.Minute); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("sent again within an hour: %+v, %v", d, err)
	}
	if d, err := s.store.ClaimDelivery(t.Context(), "x", now.Add(time.Hour), time.Minute); err != nil || d.Count != 20_000 {
		t.Errorf("%+v, %v", d, err)
	}
}

// steps notes how many alerts the largest step has raised.
type steps struct {
	store.Store
	most int
}

func (s *steps) AdvanceAlerts(ctx context.Context, step store.AlertStep) error {
	s.most = max(s.most, len(step.Raise))
	return s.Store.AdvanceAlerts(ctx, step)
}

// TestStormFromEverywhere: hundreds of alerts at once are stored in several steps, so
// that no request waits for all of them.
func TestStormFromEverywhere(t *testing.T) {
	s := newScene(t, nil)
	at := &steps{Store: s.store}
	s.watch = s.another(at, func(c *watch.Config) { c.Where = "--dir d" })
	var all []counterfoil.Event
	for i := range 300 {
		e := refusal("made up", fmt.Sprintf("198.%d.%d.1", i/250, i%250), counterfoil.ReasonUnknownClient)
		e.Count = 20
		all = append(all, e)
	}
	s.records(all...)
	sum := int64(0)
	for _, a := range s.found(alerts.KindFailures) {
		sum += a.Count
		if a.Subject == store.OtherAlerts && a.Command != "counterfoil alerts --dir d" {
			t.Errorf("%+v", a)
		}
	}
	if sum != 6000 || at.most != 50 {
		t.Errorf("%d failures are counted, by up to %d alerts at once", sum, at.most)
	}
}

func TestBlocked(t *testing.T) {
	s := newScene(t, nil)
	s.none(alerts.KindBlocked)
	s.record(2, counterfoil.Event{Type: counterfoil.EventBlockBegan, Address: "2001:db8:1:2::3", Detail: "the network"})
	if a := s.one(alerts.KindBlocked); a.Subject != "2001:db8:1::/48" || a.Count != 2 || a.Command != "counterfoil blocks" {
		t.Errorf("%+v", a)
	}
}

func TestVolume(t *testing.T) {
	s := newScene(t, nil)
	get := func(n int) { s.Helper(); s.record(n, token("c", "192.0.2.7")) }
	get(5000) // its usual volume is not known yet
	s.none(alerts.KindVolume)
	s.clock.Turn(8 * 24 * time.Hour) // that was more than a week ago
	get(30)
	s.clock.Turn(time.Hour)
	get(150)
	s.none(alerts.KindVolume)
	get(1)
	if a := s.one(alerts.KindVolume); a.ClientID != "c" || a.Count != 1 || a.Contact != "ops@example.com" || !strings.Contains(a.Summary, "150") {
		t.Errorf("%+v", a)
	}
	get(1000) // once an hour
	if a := s.one(alerts.KindVolume); a.Count != 1 {
		t.Errorf("%+v", a)
	}
	s.acknowledge()
	s.clock.Turn(time.Hour)
	get(5 * 1151)
	s.none(alerts.KindVolume)
	get(1)
	s.one(alerts.KindVolume)
	// A client that was idle for a week: above 100 in any case.
	s.acknowledge()
	s.clock.Turn(9 * 24 * time.Hour)
	get(100)
	s.none(alerts.KindVolume)
	s.record(1, counterfoil.Event{Type: counterfoil.EventTokenReused, ClientID: "c", Address: "192.0.2.7", Success: true})
	s.one(alerts.KindVolume)
	// One that was made just now has no usual volume.
	s.acknowledge()
	s.create("new", nil)
	s.record(500, token("new", "192.0.2.7"))
	s.none(alerts.KindVolume)
}

// TestHoursAreBounded: those of more than a week ago are forgotten, and those of a
// clock that was ahead.
func TestHoursAreBounded(t *testing.T) {
	s := newScene(t, nil)
	size := func() int {
		s.look()
		owner := store.AlertOwner{Realm: "r", ClientID: "c"}
		stored, err := s.store.AlertMemories(t.Context(), []store.AlertOwner{owner})
		if err != nil {
			t.Fatal(err)
		}
		return len(stored[owner])
	}
	for _, step := range []time.Duration{time.Hour, -2 * time.Hour} {
		for range 400 {
			s.record(1, token("c", "192.0.2.7"))
			s.clock.Step(step)
		}
		if n := size(); n > 2200 {
			t.Errorf("%d bytes after 400 steps of %v", n, step)
		}
	}
}

func TestNewNetwork(t *testing.T) {
	s := newScene(t, nil)
	s.record(1, token("c", "192.0.2.7")) // the first that it has
	s.record(1, token("c", "192.0.2.250"))
	s.record(1, refusal("c", "198.51.100.1", counterfoil.ReasonWrongSecret)) // not the client
	s.record(1, token("c", ""))
	s.record(1, counterfoil.Event{Type: counterfoil.EventTokenIssued, ClientID: "unknown", Address: "192.0.2.1", Success: true})
	s.none(alerts.KindNewNetwork)
	s.record(3, token("c", "192.0.3.1"))
	if a := s.one(alerts.KindNewNetwork); a.Subject != "192.0.3.0/24" || a.Count != 1 || a.Contact != "ops@example.com" || a.Command != "counterfoil client show r c" {
		t.Errorf("%+v", a)
	}
	s.acknowledge()
	s.record(1, token("c", "192.0.3.1"))
	s.none(alerts.KindNewNetwork)
	s.record(1, counterfoil.Event{Type: counterfoil.EventClientAuthenticated, ClientID: "c", Address: "2001:db8:1::1", Success: true})
	s.record(1, token("c", "2001:db8:1:ffff::1"))
	if a := s.one(alerts.KindNewNetwork); a.Subject != "2001:db8:1::/48" {
		t.Errorf("%+v", a)
	}
	// One that has a network a second is a few alerts.
	s.acknowledge()
	var many []counterfoil.Event
	for i := range 500 {
		many = append(many, token("c", fmt.Sprintf("10.%d.%d.1", i/256, i%256)))
	}
	s.records(many...)
	all := s.found(alerts.KindNewNetwork)
	if len(all) != 9 || all[8].Subject != store.OtherAlerts || all[8].Count != 492 { // two of this day's ten were acknowledged
		t.Errorf("%d alerts, %+v", len(all), all[len(all)-1])
	}
	owner := store.AlertOwner{Realm: "r", ClientID: "c"}
	if stored, err := s.store.AlertMemories(t.Context(), []store.AlertOwner{owner}); err != nil || len(stored[owner]) > 4096 {
		t.Errorf("%d bytes are remembered of the client, %v", len(stored[owner]), err)
	}
}

func TestEndedCredential(t *testing.T) {
	s := newScene(t, nil)
	s.record(2, counterfoil.Event{Type: counterfoil.EventCredentialEnded, ClientID: "c", Credential: "0a1b2c3d", Address: "192.0.2.7", Detail: "secret 0a1b2c3d"})
	if a := s.one(alerts.KindRotatedCredential); a.Subject != "0a1b2c3d" || a.Count != 2 || a.Contact != "ops@example.com" {
		t.Errorf("%+v", a)
	}
}

func TestLeakedSecret(t *testing.T) {
	s := newScene(t, nil)
	s.record(1, counterfoil.Event{Type: counterfoil.EventSecretLeaked, ClientID: "c", Credential: "0a1b2c3d", Address: "192.0.2.7", Success: true})
	if a := s.one(alerts.KindLeakedSecret); a.Subject != "0a1b2c3d" || a.Contact != "ops@example.com" || a.Command != "counterfoil client revoke r c" {
		t.Errorf("%+v", a)
	}
}

// secret has an age and a time until its end; 0 for never.
func (s *scene) secret(id string, age, ends time.Duration) store.SecretHash {
	h := store.SecretHash{ID: id, Value: "sha256:" + id, Created: s.clock.Now().Add(-age)}
	if ends != 0 {
		h.Expires = s.clock.Now().Add(ends)
	}
	return h
}

const day = 24 * time.Hour

func TestExpiry(t *testing.T) {
	s := newScene(t, nil)
	s.create("d", func(c *store.Client) {
		c.Expires = s.clock.Now().Add(200 * day)
		c.Secrets = []store.SecretHash{s.secret("0000000a", day, 30*day+time.Hour+time.Second)}
		c.APIKeys = []store.SecretHash{s.secret("0000000b", day, 100*day)}
	})
	s.create("off", func(c *store.Client) {
		c.Disabled, c.Secrets = true, []store.SecretHash{s.secret("0000000c", day, day)}
	})
	s.none(alerts.KindExpiry)
	s.clock.Turn(time.Hour)
	s.none(alerts.KindExpiry)
	turn := func(d time.Duration) {
		for ; d > 0; d -= min(d, 8*time.Hour) {
			s.clock.Turn(min(d, 8*time.Hour))
			s.look()
		}
	}
	turn(time.Hour)
	a := s.one(alerts.KindExpiry)
	if a.ClientID != "d" || a.Subject != "secret 0000000a" || a.Count != 1 || a.Command != "counterfoil client rotate r d" ||
		a.Contact != "ops@example.com" || !strings.Contains(a.Summary, "in 29 days") {
		t.Errorf("%+v", a)
	}
	turn(22 * day)
	if a := s.one(alerts.KindExpiry); a.Count != 1 {
		t.Errorf("each hour: %+v", a)
	}
	turn(day)
	if a := s.one(alerts.KindExpiry); a.Count != 2 || !strings.Contains(a.Summary, "in 6 days") {
		t.Errorf("%+v", a)
	}
	s.acknowledge()
	turn(5 * day)
	s.none(alerts.KindExpiry)
	turn(day)
	if a := s.one(alerts.KindExpiry); a.Count != 1 || !strings.Contains(a.Summary, "in 23 hours") {
		t.Errorf("%+v", a)
	}
	s.acknowledge()
	turn(50 * day) // the secret has ended
	if a := s.one(alerts.KindExpiry); a.Subject != "API key 0000000b" || a.Command != "counterfoil client rotate --api-key r d" {
		t.Errorf("%+v", a)
	}
	turn(95 * day)
	all := s.found(alerts.KindExpiry)
	if last := all[len(all)-1]; len(all) != 2 || last.Subject != "client" || last.Count != 1 {
		t.Errorf("%+v", all)
	}
}

// TestReplacedSecretEnds: that is as planned, unless it is still in use.
func TestReplacedSecretEnds(t *testing.T) {
	s := newScene(t, nil)
	s.create("d", func(c *store.Client) {
		c.Secrets = []store.SecretHash{s.secret("0000000b", 0, 0), s.secret("0000000a", day, day)}
	})
	if err := s.store.RecordLastUses(t.Context(), []store.LastUse{{Realm: "r", ClientID: "d", SecretID: "0000000a", Time: start.Add(-time.Second)}}); err != nil {
		t.Fatal(err)
	}
	s.none(alerts.KindExpiry)
	if err := s.store.RecordLastUses(t.Context(), []store.LastUse{{Realm: "r", ClientID: "d", SecretID: "0000000a", Time: start.Add(time.Second)}}); err != nil {
		t.Fatal(err)
	}
	s.clock.Turn(time.Hour)
	if a := s.one(alerts.KindExpiry); a.Subject != "secret 0000000a" {
		t.Errorf("%+v", a)
	}
}

func TestOldSecret(t *testing.T) {
	s := newScene(t, nil)
	s.create("d", func(c *store.Client) {
		c.Secrets, c.Contact = []store.SecretHash{s.secret("0000000a", 90*day-time.Second, 0)}, "the team next door\r\nBcc: x@example.com"
	})
	s.none(alerts.KindOldSecret)
	for range 3 {
		s.clock.Turn(time.Hour)
		if a := s.one(alerts.KindOldSecret); a.Subject != "secret 0000000a" || a.Count != 1 || a.Contact != "" {
			t.Errorf("%+v", a)
		}
	}
	s.acknowledge()
	s.clock.Turn(30 * day)
	s.none(alerts.KindOldSecret)
}

func certificate(t *testing.T, ends time.Time) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: start.Add(-day), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCertificates(t *testing.T) {
	ends := start.Add(8 * day)
	s := newScene(t, func(c *watch.Config) {
		c.Certificates = func() []watch.Certificate {
			return []watch.Certificate{{Name: "/etc/tls.pem", Expires: ends, Command: "counterfoil serve --check"}}
		}
	})
	s.create("d", func(c *store.Client) {
		c.Authentication.KeySet = fmt.Sprintf(`{"keys":[{"kid":"k","x5c":[%q]},{"x5c":["!"]},{"kid":"n"}]}`,
			base64.StdEncoding.EncodeToString(certificate(t, start.Add(6*day))))
	})
	all := s.found(alerts.KindExpiry)
	if len(all) != 2 || all[0].Subject != "/etc/tls.pem" || all[0].Command != "counterfoil serve --check" || all[0].Contact != "" ||
		all[1].Subject != "certificate of key k" || all[1].ClientID != "d" {
		t.Fatalf("%+v", all)
	}
	s.acknowledge()
	ends = start.Add(300 * day) // renewed
	s.clock.Turn(9 * day)
	s.none(alerts.KindExpiry)
	s.clock.Turn(280 * day)
	s.one(alerts.KindExpiry)
	s.clock.Turn(20 * day)
	if a := s.one(alerts.KindExpiry); !strings.Contains(a.Summary, "has passed") {
		t.Errorf("%+v", a)
	}
}

// TestManyClients: the sweep reads all pages, of all realms.
func TestManyClients(t *testing.T) {
	s := newScene(t, nil)
	for i := range 450 {
		s.create(fmt.Sprint(i), func(c *store.Client) {
			if i%150 == 149 {
				c.Realm, c.Expires = []string{"r", "other"}[i/150%2], s.clock.Now().Add(day)
			}
		})
	}
	if all := s.found(alerts.KindExpiry); len(all) != 3 {
		t.Errorf("%d alerts: %+v", len(all), all)
	}
}

// endless is a store whose clients have no end.
type endless struct {
	store.Store
	pages int
}

func (e *endless) Clients(_ context.Context, q store.ClientQuery) ([]store.Client, error) {
	if e.pages++; e.pages > 1000 {
		return nil, errors.New("the sweep does not pause")
	}
	all := make([]store.Client, q.Limit)
	for i := range all {
		all[i] = store.Client{Realm: q.Realm, ID: fmt.Sprintf("%06d-%04d", e.pages, i)}
	}
	return all, nil
}

// TestSweepOfMillions: while many clients are looked at, the record is followed, and
// what is found later goes on where it was.
func TestSweepOfMillions(t *testing.T) {
	s := newScene(t, nil)
	e := &endless{Store: s.store}
	s.watch = s.another(e, nil)
	s.look()
	first := e.pages
	s.record(20, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	s.one(alerts.KindFailures)
	if first == 0 || e.pages <= first {
		t.Errorf("%d pages, then %d", first, e.pages)
	}
}

func TestOff(t *testing.T) {
	var raised []alerts.Kind
	s := newScene(t, func(c *watch.Config) {
		c.Off = []alerts.Kind{alerts.KindBlocked}
		c.OnRaise = func(k alerts.Kind) { raised = append(raised, k) }
	})
	s.record(2, counterfoil.Event{Type: counterfoil.EventBlockBegan, Address: "192.0.2.1"})
	s.record(20, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	s.none(alerts.KindBlocked)
	s.one(alerts.KindFailures)
	if !slices.Equal(raised, []alerts.Kind{alerts.KindFailures}) {
		t.Errorf("raised %v", raised)
	}
}

// faulty fails to store a step before or after it is stored.
type faulty struct {
	store.Store
	fail  bool
	after bool
}

func (f *faulty) AdvanceAlerts(ctx context.Context, s store.AlertStep) error {
	if !f.fail {
		return f.Store.AdvanceAlerts(ctx, s)
	}
	f.fail = false
	if f.after {
		if err := f.Store.AdvanceAlerts(ctx, s); err != nil {
			return err
		}
	}
	return errors.New("the process was killed")
}

// TestKilled: whatever step a process dies at, another one finds each alert once.
func TestKilled(t *testing.T) {
	for _, after := range []bool{false, true} {
		s := newScene(t, nil)
		f := &faulty{Store: s.store, after: after}
		s.watch = s.another(f, nil)
		// Several parts.
		s.record(1, token("c", "192.0.2.1"))
		s.record(9000, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
		s.record(1, token("c", "203.0.113.1"))
		s.record(11_000, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
		killed := 0
		for range 50 {
			f.fail = true
			err := s.watch.Look(t.Context())
			s.watch = s.another(f, nil) // the next process
			if err == nil {
				break
			}
			killed++
		}
		f.fail = false
		if a := s.one(alerts.KindFailures); a.Count != 20_000 {
			t.Errorf("after %t: %d of 20000 failures are counted", after, a.Count)
		}
		if a := s.one(alerts.KindNewNetwork); a.Count != 1 {
			t.Errorf("after %t: %+v", after, a)
		}
		if killed == 0 {
			t.Error("nothing was killed")
		}
	}
}

// damaged is a store whose first records cannot be read.
type damaged struct{ store.Store }

func (d damaged) Events(ctx context.Context, after int64, limit int) ([]store.RecordedEvent, error) {
	if after < 5 {
		return nil, &store.UnreadableError{First: after + 1, Last: 5, Err: errors.New("damaged")}
	}
	return d.Store.Events(ctx, after, limit)
}

// TestDamagedRecord: what cannot be read is an alert, and what follows is searched.
func TestDamagedRecord(t *testing.T) {
	s := newScene(t, nil)
	s.watch = s.another(damaged{s.store}, nil)
	s.record(30, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	if a := s.one(alerts.KindFailures); a.Count != 26 { // one of the 31 records is the client's
		t.Errorf("%+v", a)
	}
	if a := s.one(alerts.KindStore); a.Subject != "record" || a.Count != 1 || !strings.Contains(a.Summary, "2 to 5") && !strings.Contains(a.Summary, "1 to 5") {
		t.Errorf("%+v", a)
	}
}

// TestTwoProcesses: two processes that watch at the same time find each alert once.
func TestTwoProcesses(t *testing.T) {
	s := newScene(t, nil)
	s.record(30_000, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	other := s.another(s.open(), nil)
	var wg sync.WaitGroup
	for _, w := range []*watch.Watch{s.watch, other} {
		wg.Go(func() {
			for range 10 {
				if err := w.Look(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if a := s.one(alerts.KindFailures); a.Count != 30_000 {
		t.Errorf("%+v", a)
	}
}

// TestClockBack: a clock that is an hour back stops neither the sweep nor what is
// counted, and a volume that was usual stays so.
func TestClockBack(t *testing.T) {
	s := newScene(t, nil)
	s.look()
	s.clock.Turn(2 * day)
	s.record(300, token("c", "192.0.2.7"))
	s.none(alerts.KindExpiry)
	s.acknowledge()
	s.clock.Step(-5 * day)
	s.create("d", func(c *store.Client) { c.Expires = s.clock.Now().Add(day) })
	s.one(alerts.KindExpiry)
	s.record(20, refusal("c", "192.0.2.7", counterfoil.ReasonWrongSecret))
	s.one(alerts.KindFailures)
	s.record(101, token("c", "192.0.2.7"))
	s.none(alerts.KindVolume)
}

// TestTroubles: what a process has in its log is an alert, at once in the log and,
// as soon as the database works again, in it.
func TestTroubles(t *testing.T) {
	c := clock.NewStepping(start)
	troubles := alerts.NewTroubles(c)
	s := newScene(t, nil)
	f := &faulty{Store: s.store}
	s.watch = s.another(f, func(c *watch.Config) { c.Troubles = troubles })
	var out bytes.Buffer
	log := slog.New(troubles.Handler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})))
	log.Warn("nothing to do with alerts")
	log.With("realm", "r").Error("the disk is full", alerts.Trouble(alerts.KindStore), "error", errors.New("no space\nleft"), "repeated", 4)
	log.Warn("the disk is full", alerts.Trouble(alerts.KindStore), "realm", "r")
	log.WithGroup("g").Warn("the clock jumped", alerts.Trouble(alerts.KindClock), "by", "1h0m0s")
	if !strings.Contains(out.String(), "no space") || strings.Contains(out.String(), "jumped") {
		t.Errorf("the log is %s", out.String())
	}
	f.fail = true
	if err := s.watch.Look(t.Context()); err == nil {
		t.Fatal("it is stored while the store is broken")
	}
	log.Warn("the disk is full", alerts.Trouble(alerts.KindStore), "realm", "r")
	if a := s.one(alerts.KindStore); a.Count != 7 || a.Realm != "" {
		t.Errorf("%+v", a)
	}
	if a := s.one(alerts.KindClock); a.Count != 1 || a.Summary != "the clock jumped: 1h0m0s" {
		t.Errorf("%+v", a)
	}
	// It waits in bounded memory.
	for i := range 1000 {
		log.Warn("x", alerts.Trouble(alerts.KindKeys), "realm", fmt.Sprint(i))
	}
	if n := len(troubles.Take()); n != 100 {
		t.Errorf("%d alerts wait", n)
	}
}

// What a process says last is kept when it ends.
func TestTroubleOfTheEnd(t *testing.T) {
	troubles := alerts.NewTroubles(clock.NewStepping(start))
	s := newScene(t, func(c *watch.Config) { c.Troubles = troubles })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.watch.Run(ctx)
	}()
	slog.New(troubles.Handler(slog.DiscardHandler)).Error("the disk is full", alerts.Trouble(alerts.KindStore))
	stop()
	<-ended
	if all, err := s.store.Alerts(t.Context(), store.AlertQuery{Kind: alerts.KindStore, Limit: 10}); err != nil || len(all) != 1 {
		t.Errorf("kept %+v, %v", all, err)
	}
}

// TestCommandsAreQuoted: a client ID is no command of the shell and no flag.
func TestCommandsAreQuoted(t *testing.T) {
	s := newScene(t, func(c *watch.Config) { c.Where = "--serve-config /etc/x.yaml" })
	s.create("-h'; reboot $(x)", func(c *store.Client) { c.Expires = s.clock.Now().Add(day) })
	if a := s.one(alerts.KindExpiry); a.Command != `counterfoil client show --serve-config /etc/x.yaml -- r '-h'\''; reboot $(x)'` {
		t.Errorf("%s", a.Command)
	}
}
