package mail

import (
	"fmt"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/server/alerts"
)

// Bounds of what a message shows of an alert, in bytes.
const (
	maxSubject = 200
	maxText    = 2000
)

// message returns the message about an alert, for an operator or for the owner of
// the client.
func (s *Sender) message(a *alerts.Alert, to string, owner bool) (*mail.Msg, error) {
	m := mail.NewMsg(mail.WithNoDefaultUserAgent())
	if err := m.From(s.from); err != nil {
		return nil, err
	}
	if err := m.To(to); err != nil {
		return nil, err
	}
	id, body := a.MessageID(), forOperator
	if owner {
		id, body = id+"-owner", forOwner
	}
	_, domain, _ := strings.Cut(s.from, "@")
	m.SetMessageIDWithValue(id + "@" + domain)
	m.SetDateWithValue(s.Clock.Now().UTC())
	m.SetGenHeader("Auto-Submitted", "auto-generated") // RFC 3834 section 5
	m.Subject(event.Clean(subject(a), maxSubject))
	m.SetBodyString(mail.TypeTextPlain, body(a))
	return m, nil
}

// subject is what and who, in a few words.
func subject(a *alerts.Alert) string {
	what := "[counterfoil] " + strings.ReplaceAll(string(a.Kind), "_", " ")
	switch {
	case a.ClientID != "":
		return what + ": " + a.ClientID
	case a.Realm != "":
		return what + ": realm " + a.Realm
	case a.Subject != "":
		return what + ": " + a.Subject
	}
	return what
}

// forOperator is what happened, the evidence and the next command.
func forOperator(a *alerts.Alert) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", event.Clean(a.Summary, maxText))
	evidence(&b, a)
	fmt.Fprintf(&b, "alert   %d\n", a.ID)
	if a.Command != "" {
		fmt.Fprintf(&b, "\nNext command:\n\n  %s\n", event.Clean(a.Command, maxText))
	}
	return b.String() + "\nCounterfoil sent this message; answers are not read.\n"
}

// forOwner is what happened to the owner's client. Nobody else's business is in it:
// no command, which is for operators.
func forOwner(a *alerts.Alert) string {
	var b strings.Builder
	fmt.Fprintf(
		&b, "You are the contact of the client %s.\n\n%s\n\n", event.Clean(a.ClientID, event.MaxClientID), event.Clean(a.Summary, maxText),
	)
	evidence(&b, a)
	return b.String() + "\nCounterfoil sent this message for those who run the server. Answers are not read: turn to them.\n"
}

// evidence writes what an alert is about and how often it happened.
func evidence(b *strings.Builder, a *alerts.Alert) {
	for _, row := range [][2]string{
		{"kind", string(a.Kind)}, {"realm", a.Realm}, {"client", a.ClientID}, {"about", a.Subject},
		{"first", stamp(a.First)}, {"last", stamp(a.Last)}, {"count", fmt.Sprint(a.Count)},
	} {
		if row[1] != "" {
			fmt.Fprintf(b, "%-7s %s\n", row[0], event.Clean(row[1], 2*event.MaxClientID))
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
