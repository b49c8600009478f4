package watch

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store"
)

// sweepAtOnce is how many clients one step looks at, and pagesAtOnce how many steps
// there are before the record is followed again; maxKeys how many keys of a key set
// are looked at.
const (
	sweepAtOnce = 100
	pagesAtOnce = 20
	maxKeys     = 16
)

// thresholds are how many days before its end something is an alert, each once.
var thresholds = [...]int64{1, 7, 30}

// sweep looks at all clients and certificates, when it is time to: at some pages of
// them, and at the next ones when it is called again.
func (w *Watch) sweep(ctx context.Context) error {
	for range pagesAtOnce {
		at, err := w.Store.AlertState(ctx)
		if err != nil {
			return err
		}
		s := w.begin(at.Data)
		realms := slices.Sorted(slices.Values(w.Realms()))
		var owners []store.AlertOwner
		var page []store.Client
		if !s.state.Sweeping {
			// A clock that was set back must not put it off.
			if since := s.now.Unix() - s.state.Swept; since >= 0 && since < int64(sweepEvery.Seconds()) {
				return nil
			}
			s.state.Sweeping, s.state.Swept, s.state.After, s.state.Realm = true, s.now.Unix(), "", ""
			owners = []store.AlertOwner{{}}
		} else if page, err = s.page(ctx, realms); err != nil {
			return err
		}
		for i := range page {
			owners = append(owners, store.AlertOwner{Realm: page[i].Realm, ClientID: page[i].ID})
		}
		stored, err := w.Store.AlertMemories(ctx, owners)
		if err != nil {
			return err
		}
		s.memories = read(stored, owners)
		if m := s.memories[store.AlertOwner{}]; m != nil && w.Certificates != nil {
			s.certificates(m, w.Certificates())
		}
		for i := range page {
			if err := s.look(ctx, &page[i], s.memories[owners[i]]); err != nil {
				return err
			}
		}
		if err := w.advance(ctx, store.AlertStep{
			At: s.now, From: at.Version, Sequence: at.Sequence, Data: s.state.bytes(), Memory: s.memories.changes(), Raise: s.alerts(),
		}); err != nil {
			return err
		}
	}
	return nil
}

// page returns the next clients, and moves the state on. After the last of them the
// sweep is over.
func (s *step) page(ctx context.Context, realms []string) ([]store.Client, error) {
	if s.state.Realm == "" || !slices.Contains(realms, s.state.Realm) {
		s.state.After = ""
		i, _ := slices.BinarySearch(realms, s.state.Realm)
		if s.state.Realm = ""; i < len(realms) {
			s.state.Realm = realms[i]
		}
	}
	if s.state.Realm == "" {
		s.state.Sweeping = false
		return nil, nil
	}
	page, err := s.Store.Clients(ctx, store.ClientQuery{Realm: s.state.Realm, After: s.state.After, Limit: sweepAtOnce})
	if err != nil {
		return nil, err
	}
	if len(page) == sweepAtOnce {
		s.state.After = page[len(page)-1].ID
		return page, nil
	}
	s.state.After = ""
	if i := slices.Index(realms, s.state.Realm) + 1; i < len(realms) {
		s.state.Realm = realms[i]
	} else {
		s.state.Realm, s.state.Sweeping = "", false
	}
	return page, nil
}

// look looks at one client.
func (s *step) look(ctx context.Context, c *store.Client, m *memory) error {
	if c.Disabled || !c.Expires.IsZero() && !s.now.Before(c.Expires) {
		return nil // when it is used again, it is looked at again
	}
	seen := map[string]bool{}
	about := func(kind alerts.Kind, subject, summary, command string) alerts.Alert {
		return alerts.Alert{
			Kind: kind, Realm: c.Realm, ClientID: c.ID, Subject: subject, Summary: summary, Command: command, Contact: contact(c),
		}
	}
	if left := s.ends(m, seen, "client", c.Expires, false); left != "" {
		s.raise(about(alerts.KindExpiry, "client", "the client ends "+left+": from then on it gets no token",
			s.commandOn("client show", c.Realm, c.ID)), s.now, 1)
	}
	for _, of := range []struct {
		what   string
		hashes []store.SecretHash
		rotate string
	}{{"secret", c.Secrets, "client rotate"}, {"API key", c.APIKeys, "client rotate --api-key"}} {
		for i := range of.hashes {
			h := &of.hashes[i]
			if !h.AcceptedAt(s.now) {
				continue
			}
			rotate := s.commandOn(of.rotate, c.Realm, c.ID)
			subject := of.what + " " + h.ID
			successor, err := s.successor(ctx, c, of.hashes, i)
			if err != nil {
				return err
			}
			left := ""
			if successor != "" {
				left = s.ends(m, seen, subject, h.Expires, false)
			} else if !h.Expires.IsZero() {
				seen[subject] = true // nobody needs it any more
			}
			if left != "" {
				s.raise(about(alerts.KindExpiry, subject, "the "+subject+" of the client ends "+left+": "+successor, rotate), s.now, 1)
			}
			if age := s.now.Sub(h.Created); age >= s.SecretAge && !h.Created.IsZero() && s.old(m, seen, subject) {
				s.raise(about(alerts.KindOldSecret, subject, fmt.Sprintf("the %s of the client is %d days old, and %d are advised",
					subject, days(age), days(s.SecretAge)), rotate), s.now, 1)
			}
		}
	}
	for _, certificate := range certificatesOf(c.Authentication.KeySet) {
		if left := s.ends(m, seen, certificate.Name, certificate.Expires, false); left != "" {
			s.raise(about(alerts.KindExpiry, certificate.Name, "the "+certificate.Name+" in the key set of the client ends "+left,
				s.commandOn("client show", c.Realm, c.ID)), s.now, 1)
		}
	}
	m.forget(seen)
	return nil
}

// successor says why the end of a secret matters: it has none that stays for longer,
// or it was used since that was made. It is empty when it does not.
func (s *step) successor(ctx context.Context, c *store.Client, hashes []store.SecretHash, i int) (string, error) {
	h := &hashes[i]
	if h.Expires.IsZero() {
		return "", nil
	}
	for j := range hashes {
		next := &hashes[j]
		if j == i || !next.AcceptedAt(s.now) || !next.Expires.IsZero() && !next.Expires.After(h.Expires) {
			continue
		}
		uses, err := s.Store.LastUses(ctx, c.Realm, c.ID)
		if err != nil {
			return "", err
		}
		for _, use := range uses {
			if use.SecretID == h.ID && use.Time.After(next.Created) {
				return "it was used after " + next.ID + " was made to replace it", nil
			}
		}
		return "", nil
	}
	return "there is no other that stays for longer", nil
}

// ends reports how long it is to the end of something, in words, when that is an
// alert that there was not yet. over makes one also of what has ended.
func (s *step) ends(m *memory, seen map[string]bool, name string, end time.Time, over bool) string {
	left := end.Sub(s.now)
	if end.IsZero() || left <= 0 && !over {
		return ""
	}
	seen[name] = true
	days := int64(0)
	if left > 0 {
		i := slices.IndexFunc(thresholds[:], func(days int64) bool { return left <= time.Duration(days)*24*time.Hour })
		if i < 0 {
			return ""
		}
		days = thresholds[i]
	}
	if !m.tell(name, told{end.Unix(), days}) {
		return ""
	}
	date := end.UTC().Format(time.RFC3339)
	switch {
	case left <= 0:
		return "at " + date + ", which has passed"
	case left < 48*time.Hour:
		return fmt.Sprintf("in %d hours, at %s", int(left.Hours()), date)
	}
	return fmt.Sprintf("in %d days, at %s", int(left.Hours()/24), date)
}

// old reports whether the age of something was not told yet.
func (s *step) old(m *memory, seen map[string]bool, name string) bool {
	seen["age of "+name] = true
	return m.tell("age of "+name, told{})
}

// tell notes that there is an alert of something, unless there was that one, or one
// for fewer days.
func (m *memory) tell(name string, t told) bool {
	if was, ok := m.Told[name]; ok && was.End == t.End && was.Days <= t.Days {
		return false
	}
	if m.Told == nil {
		m.Told = map[string]told{}
	}
	m.Told[name], m.changed = t, true
	return true
}

// forget forgets what there is no more.
func (m *memory) forget(seen map[string]bool) {
	for name := range m.Told {
		if !seen[name] {
			delete(m.Told, name)
			m.changed = true
		}
	}
}

// days are the whole days of a duration.
func days(d time.Duration) int { return int(d.Hours() / 24) }

// certificates looks at those of the server.
func (s *step) certificates(m *memory, all []Certificate) {
	seen := map[string]bool{}
	for _, c := range all {
		if left := s.ends(m, seen, c.Realm+" "+c.Name, c.Expires, true); left != "" {
			s.raise(alerts.Alert{
				Kind: alerts.KindExpiry, Realm: c.Realm, Subject: c.Name, Command: c.Command,
				Summary: "the certificate in " + event.Clean(c.Name, 256) + " ends " + left,
			}, s.now, 1)
		}
	}
	m.forget(seen)
}

// certificatesOf are the certificates in a key set (RFC 7517 section 4.7).
func certificatesOf(keySet string) (all []Certificate) {
	if keySet == "" {
		return nil
	}
	var set struct {
		Keys []struct {
			ID    string   `json:"kid"`
			Chain []string `json:"x5c"`
		} `json:"keys"`
	}
	if json.Unmarshal([]byte(keySet), &set) != nil {
		return nil
	}
	for _, k := range set.Keys[:min(len(set.Keys), maxKeys)] {
		if len(k.Chain) == 0 {
			continue
		}
		der, err := base64.StdEncoding.DecodeString(k.Chain[0])
		if err != nil {
			continue
		}
		if c, err := x509.ParseCertificate(der); err == nil {
			all = append(all, Certificate{Name: "certificate of key " + event.Clean(or(k.ID, "without a kid"), 64), Expires: c.NotAfter})
		}
	}
	return all
}
