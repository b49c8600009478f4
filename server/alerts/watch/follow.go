package watch

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/limits"
	"github.com/counterfoil/counterfoil/server/store"
)

// step is one part of the record with what it leads to.
type step struct {
	*Watch
	now      time.Time
	state    *state
	memories memories
	raised   map[key]*alerts.Alert
	order    []key
}

// key identifies an alert that is open.
type key struct {
	kind                   alerts.Kind
	realm, client, subject string
}

// raise raises an alert of a time, which stands for count; those of one step that
// are the same are one.
func (s *step) raise(a alerts.Alert, at time.Time, count int64) {
	k := key{a.Kind, a.Realm, a.ClientID, a.Subject}
	a.First, a.Last, a.Count = at, at, count
	was, ok := s.raised[k]
	if !ok {
		s.raised[k] = &a
		s.order = append(s.order, k)
		return
	}
	a.Count += was.Count
	if was.First.Before(a.First) {
		a.First = was.First
	}
	if was.Last.After(a.Last) {
		a.Last = was.Last
	}
	*was = a
}

// alerts are those that were raised, in their order.
func (s *step) alerts() []alerts.Alert {
	all := make([]alerts.Alert, len(s.order))
	for i, k := range s.order {
		all[i] = *s.raised[k]
	}
	return all
}

// follow searches the next part of the record, and reports whether there is more.
func (w *Watch) follow(ctx context.Context) (more bool, err error) {
	at, err := w.Store.AlertState(ctx)
	if err != nil {
		return false, err
	}
	s := w.begin(at.Data)
	next := at.Sequence
	events, err := w.Store.Events(ctx, at.Sequence, readAtOnce)
	if damaged, ok := errors.AsType[*store.UnreadableError](err); ok {
		// What cannot be read is no reason to stop.
		s.raise(alerts.Alert{
			Kind: alerts.KindStore, Subject: "record", Summary: damaged.Error(), Command: w.command("audit verify"),
		}, s.now, 1)
		next, err = damaged.Last, nil
	}
	if err != nil {
		return false, err
	}
	if len(events) > 0 {
		next = events[len(events)-1].Sequence
	}
	if next == at.Sequence {
		return false, nil
	}
	owners := usersOf(events)
	stored, err := w.Store.AlertMemories(ctx, owners)
	if err != nil {
		return false, err
	}
	s.memories = read(stored, owners)
	more = len(events) == readAtOnce || len(events) == 0
	for i := range events {
		if len(s.order) >= raiseAtOnce { // the next step goes on here
			next, more = events[i-1].Sequence, true
			break
		}
		if err := s.event(ctx, &events[i].Event); err != nil {
			return false, err
		}
	}
	err = w.advance(ctx, store.AlertStep{
		At: s.now, From: at.Version, Sequence: next, Data: s.state.bytes(), Memory: s.memories.changes(), Raise: s.alerts(),
	})
	return more, err
}

func (w *Watch) begin(data []byte) *step {
	s := &step{Watch: w, now: w.Clock.Now(), state: readState(data), raised: map[key]*alerts.Alert{}}
	if s.state.Began == 0 {
		s.state.Began = hourOf(s.now)
	}
	return s
}

// usersOf are the clients that events prove to be in use.
func usersOf(events []store.RecordedEvent) []store.AlertOwner {
	seen := map[store.AlertOwner]bool{}
	var all []store.AlertOwner
	for i := range events {
		e := &events[i].Event
		if o := (store.AlertOwner{Realm: e.Realm, ClientID: e.ClientID}); used(e) && !seen[o] {
			seen[o] = true
			all = append(all, o)
		}
	}
	return all
}

// used reports whether an event is about a client that has authenticated.
func used(e *counterfoil.Event) bool {
	switch e.Type {
	case counterfoil.EventTokenIssued, counterfoil.EventTokenReused, counterfoil.EventClientAuthenticated:
		return e.Success && e.ClientID != ""
	}
	return false
}

// event searches one event.
func (s *step) event(ctx context.Context, e *counterfoil.Event) error {
	switch e.Type {
	case counterfoil.EventTokenIssued, counterfoil.EventTokenReused, counterfoil.EventClientAuthenticated:
		if used(e) {
			return s.use(ctx, e)
		}
	case counterfoil.EventTokenRefused:
		if failed(e) {
			s.failure(e)
		}
	case counterfoil.EventBlockBegan:
		s.raise(alerts.Alert{
			Kind: alerts.KindBlocked, Realm: e.Realm, ClientID: e.ClientID, Subject: wide(e.Address), Command: s.command("blocks"),
			Summary: fmt.Sprintf("callers from %s of %s must wait after too many failed authentications",
				e.Detail, or(e.Address, "an address that was erased")),
		}, e.Time, max(e.Count, 1))
	case counterfoil.EventSecretLeaked:
		return s.client(ctx, alerts.Alert{
			Kind: alerts.KindLeakedSecret, Realm: e.Realm, ClientID: e.ClientID, Subject: e.Credential,
			Summary: fmt.Sprintf("a secret of the client was reported as leaked from %s, and has ended: it needs another, "+
				"and its tokens are still valid", or(e.Address, "an address that was erased")),
			Command: s.commandOn("client revoke", e.Realm, e.ClientID),
		}, e.Time, max(e.Count, 1))
	case counterfoil.EventCredentialEnded:
		return s.client(ctx, alerts.Alert{
			Kind: alerts.KindRotatedCredential, Realm: e.Realm, ClientID: e.ClientID, Subject: e.Credential,
			Summary: fmt.Sprintf("%s, which has ended, was used from %s: somebody still has it", or(e.Detail, "a credential"),
				or(e.Address, "an address that was erased")),
			Command: s.audit(e.Realm, e.ClientID, "--type="+e.Type),
		}, e.Time, max(e.Count, 1))
	}
	return nil
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// wide is the network of an address in CIDR form; "" for none.
func wide(address string) string {
	_, network := peer.Networks(address)
	if !network.IsValid() {
		return ""
	}
	return network.String()
}

// client raises an alert that the owner of a client must act on.
func (s *step) client(ctx context.Context, a alerts.Alert, at time.Time, count int64) error {
	c, err := s.Store.Client(ctx, a.Realm, a.ClientID)
	if errors.Is(err, store.ErrNotFound) {
		return nil // there is nobody to warn, and nothing to protect
	}
	if err == nil {
		a.Contact = contact(&c)
		s.raise(a, at, count)
	}
	return err
}

// contact is the mail address of those who run a client; "" when it has none.
func contact(c *store.Client) string {
	address, err := mail.ParseAddress(c.Contact)
	if err != nil || strings.ContainsFunc(address.Address, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return ""
	}
	return address.Address
}

// failed reports whether credentials were refused that do not prove the client, as
// package limits counts them, or not looked at after others were.
func failed(e *counterfoil.Event) bool {
	switch e.Reason {
	case counterfoil.ReasonAPIKeyInvalid:
		return true
	case counterfoil.ReasonCertificateMissing, counterfoil.ReasonCredentialsMissing, counterfoil.ReasonClientDisabled,
		counterfoil.ReasonClientExpired, counterfoil.ReasonAddressNotAllowed:
		return false
	case counterfoil.ReasonRateLimited:
		return strings.Contains(e.Detail, limits.WaitDetail)
	}
	return e.Reason.Parent() == counterfoil.ReasonInvalidClient
}

// names reports whether a refusal for a reason is one of a client that exists:
// others name what the caller has made up.
func names(r counterfoil.Reason) bool {
	switch r {
	case counterfoil.ReasonWrongSecret, counterfoil.ReasonAPIKeyInvalid, counterfoil.ReasonAssertionKey,
		counterfoil.ReasonAssertionSignature, counterfoil.ReasonCertificateUnknown:
		return true
	}
	return false
}

// failure counts failed authentications.
func (s *step) failure(e *counterfoil.Event) {
	count, hour := max(e.Count, 1), hourOf(e.Time)
	if hour > s.state.Hour || hour < s.state.Hour-1 { // those that are only late are counted in this one
		s.state.Hour, s.state.Pairs = hour, nil
	}
	p := pair{Realm: e.Realm, Network: wide(e.Address), Client: e.ClientID}
	// Of a request whose credentials were not looked at, the name is known when others
	// had it before.
	if !names(e.Reason) && (e.Reason != counterfoil.ReasonRateLimited || s.state.find(&p) < 0) {
		p.Client = ""
	}
	limit := int64(s.Failures)
	now := s.state.count(&p, count)
	if now < limit && p.Client != "" && p.Network != "" {
		// Too few from this network; maybe not from all of them together.
		p.Network, limit = several, severalTimes*limit
		now = s.state.count(&p, count)
	}
	if now < limit {
		return
	}
	if now-count < limit {
		count = now // those that led to it
	}
	as := "as clients that do not exist or without valid credentials"
	flags := []string{"--type=token.refused"}
	if p.Client != "" {
		as = "as this client"
	}
	if p.Network == several {
		p.Network = ""
	}
	if p.Network != "" {
		flags = append(flags, "--address="+p.Network)
	}
	s.raise(alerts.Alert{
		Kind: alerts.KindFailures, Realm: p.Realm, ClientID: p.Client, Subject: p.Network, Command: s.audit(p.Realm, p.Client, flags...),
		Summary: fmt.Sprintf("%d authentications %s from %s failed since %s", now, as, or(p.Network, "several networks"),
			time.Unix(hour*3600, 0).UTC().Format("15:04 MST")),
	}, e.Time, count)
}

// use notes where and how often a client is used.
func (s *step) use(ctx context.Context, e *counterfoil.Event) error {
	m := s.memories[store.AlertOwner{Realm: e.Realm, ClientID: e.ClientID}]
	if network := wide(e.Address); network != "" {
		if err := s.network(ctx, e, m, network); err != nil {
			return err
		}
	}
	if e.Type == counterfoil.EventClientAuthenticated {
		return nil
	}
	return s.token(ctx, e, m)
}

// network notes that a client was used from a network.
func (s *step) network(ctx context.Context, e *counterfoil.Event, m *memory, network string) error {
	day, known := dayOf(e.Time), len(m.Networks)
	last, ok := m.Networks[network]
	if ok && last >= day {
		return nil
	}
	if m.Networks == nil {
		m.Networks = map[string]int64{}
	}
	m.Networks[network], m.changed = day, true
	if ok || known == 0 {
		return nil // known, or the first that a client has
	}
	if len(m.Networks) > maxNetworks {
		oldest := ""
		for n, last := range m.Networks {
			if n != network && (oldest == "" || last < m.Networks[oldest] || last == m.Networks[oldest] && n < oldest) {
				oldest = n
			}
		}
		delete(m.Networks, oldest)
	}
	if m.New[0] != day {
		m.New = [2]int64{day, 0}
	}
	m.New[1]++
	a := alerts.Alert{
		Kind: alerts.KindNewNetwork, Realm: e.Realm, ClientID: e.ClientID, Subject: network,
		Command: s.commandOn("client show", e.Realm, e.ClientID),
		Summary: fmt.Sprintf("the client authenticated from %s, a network that it was not used from before", network),
	}
	if m.New[1] > maxNew {
		a.Subject = store.OtherAlerts
		a.Summary = fmt.Sprintf("the client authenticated from %d new networks on one day, the last of which is %s", m.New[1], network)
	}
	return s.client(ctx, a, e.Time, 1)
}

// token counts a token of a client.
func (s *step) token(ctx context.Context, e *counterfoil.Event, m *memory) error {
	hour := hourOf(e.Time)
	if m.Hours == nil {
		m.Hours = map[int64]int64{}
	}
	if _, begun := m.Hours[hour]; !begun {
		for h := range m.Hours { // others are no longer compared with, or a clock was ahead
			if h < hour-week || h > hour+1 {
				delete(m.Hours, h)
			}
		}
	}
	m.Hours[hour] += max(e.Count, 1)
	m.changed = true
	count, most := m.Hours[hour], int64(0)
	if count <= s.VolumeAbove || m.Loud == hour || m.quiet == hour {
		return nil
	}
	for h, n := range m.Hours {
		if h < hour && h >= hour-week {
			most = max(most, n)
		}
	}
	if count <= s.VolumeFactor*most {
		return nil
	}
	c, err := s.Store.Client(ctx, e.Realm, e.ClientID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if hour-max(s.state.Began, hourOf(c.Created)) < learning { // its usual volume is not known
		m.quiet = hour
		return nil
	}
	m.Loud = hour
	s.raise(alerts.Alert{
		Kind: alerts.KindVolume, Realm: e.Realm, ClientID: e.ClientID, Contact: contact(&c),
		Command: s.audit(e.Realm, e.ClientID, "--type=token", "--since=2h"),
		Summary: fmt.Sprintf("the client got more than %d tokens since %s; in the busiest hour of the last seven days it got %d",
			max(s.VolumeAbove, s.VolumeFactor*most), time.Unix(hour*3600, 0).UTC().Format("15:04 MST"), most),
	}, e.Time, 1)
	return nil
}
