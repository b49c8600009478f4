// Package mail sends alerts by mail, through a server that takes mail to be sent
// (RFC 6409): to each of the operators' addresses, and to the contact of a client
// whose owner must act.
//
// It promises that a message goes over verified TLS or within this machine; that an
// attempt is bounded in time; that no text of an alert becomes a header, a recipient
// or a command of SMTP; and that a contact is told nothing but what concerns its
// client.
package mail

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/event"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/internal/outbound"
)

// TLS says how a connection to the mail server is protected.
type TLS string

// The ways to protect a connection.
const (
	// TLSStart upgrades the connection by STARTTLS (RFC 3207); a server without it is
	// refused. The usual port is 587.
	TLSStart TLS = "starttls"
	// TLSImplicit begins with TLS (RFC 8314). The usual port is 465.
	TLSImplicit TLS = "implicit"
	// TLSNone is for a mail server on this machine.
	TLSNone TLS = "none"
)

const defaultTimeout = 30 * time.Second

// Config configures Senders.
type Config struct {
	// Server is the mail server: HOST:PORT. Required.
	Server string
	// TLS is how the connection is protected; default TLSStart.
	TLS TLS
	// Username and Password authenticate to the server; empty for a server that
	// requires neither. They need TLS.
	Username string
	Password counterfoil.Secret
	// From is the address that the messages are from, To are those of the operators.
	// Required.
	From string
	To   []string
	// RootCAs are the authorities that are trusted; default the system's.
	RootCAs *x509.CertPool
	// Timeout bounds an attempt; default 30 seconds.
	Timeout time.Duration
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
}

// Sender sends alerts to one of the operators, or to the contacts of clients. It is
// safe for concurrent use.
type Sender struct {
	Config
	host string
	port int
	from string
	to   string // an operator; "" for the contacts
}

var _ alerts.Sender = (*Sender)(nil)

// New checks c and returns its Senders: one for each of the operators and one for
// the contacts of clients, so that an address that the mail server refuses keeps no
// other from its messages.
func New(c Config) ([]*Sender, error) {
	s := Sender{Config: c}
	s.TLS = cmp.Or(c.TLS, TLSStart)
	s.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	if s.Clock == nil {
		s.Clock = clock.System
	}
	var err error
	if s.host, s.port, err = ParseServer(c.Server); err != nil {
		return nil, err
	}
	switch {
	case s.TLS != TLSStart && s.TLS != TLSImplicit && s.TLS != TLSNone:
		return nil, fmt.Errorf("%q is not a way to protect mail: %s, %s or %s", c.TLS, TLSStart, TLSImplicit, TLSNone)
	case s.TLS == TLSNone && !httpsurl.IsLoopback(s.host):
		return nil, errors.New("mail without TLS is for a server on localhost only")
	case s.TLS == TLSNone && c.Username != "":
		return nil, errors.New("a user name and a password need TLS")
	case (c.Username == "") != (c.Password == ""):
		return nil, errors.New("a user name needs a password, and a password a user name")
	case len(c.To) == 0:
		return nil, errors.New("no address to send alerts to")
	}
	if s.from, err = ParseAddress(c.From); err != nil {
		return nil, err
	}
	var all []*Sender
	for _, text := range append(c.To[:len(c.To):len(c.To)], "") {
		one := s
		if text != "" {
			if one.to, err = ParseAddress(text); err != nil {
				return nil, err
			}
			if slices.ContainsFunc(all, func(s *Sender) bool { return strings.EqualFold(s.to, one.to) }) {
				return nil, fmt.Errorf("%s is named twice", one.to)
			}
		}
		all = append(all, &one)
	}
	return all, nil
}

// ParseServer splits HOST:PORT.
func ParseServer(text string) (host string, port int, err error) {
	host, number, err := net.SplitHostPort(text)
	if err == nil {
		port, err = strconv.Atoi(number)
	}
	if err != nil || host == "" || port < 1 || port > 65535 || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return "", 0, fmt.Errorf("%q is not HOST:PORT, such as mail.example.com:587", text)
	}
	return host, port, nil
}

// plain is an address of mail as browsers have it (HTML, section "Email state"),
// which has no quotes, comments and spaces, and nothing that is not ASCII.
var plain = regexp.MustCompile(`^[a-zA-Z0-9.!#$%&'*+/=?^_{|}~` + "`" + `-]{1,64}@[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?` +
	`(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)

// maxAddress bounds an address, in bytes (RFC 5321 section 4.5.3.1.3).
const maxAddress = 254

// ParseAddress returns the address of mail in a text: a@b.example or Name
// <a@b.example>, one and in ASCII.
func ParseAddress(text string) (string, error) {
	if parsed, err := netmail.ParseAddress(text); err == nil && len(text) <= 2*maxAddress && len(parsed.Address) <= maxAddress &&
		plain.MatchString(parsed.Address) {
		return parsed.Address, nil
	}
	return "", fmt.Errorf("%q is not one address of mail such as ops@example.com", event.Clean(text, 100))
}

// Name is "mail to" and the address, or "mail to contacts".
func (s *Sender) Name() string { return "mail to " + cmp.Or(s.to, "contacts") }

// ForContacts reports whether it sends to the contacts of clients.
func (s *Sender) ForContacts() bool { return s.to == "" }

// Send makes one attempt to deliver an alert to the mail server. The Sender for
// contacts does nothing for an alert without one. The error is a PermanentError if
// the server refused the recipient or the message for good (5xx, RFC 5321 section
// 4.2.1), or if the contact is not an address of mail.
func (s *Sender) Send(ctx context.Context, a alerts.Alert) error {
	to, owner := s.to, s.ForContacts()
	if owner {
		if a.Contact == "" {
			return nil
		}
		var err error
		if to, err = ParseAddress(a.Contact); err != nil {
			return &alerts.PermanentError{Err: fmt.Errorf("%s: client %s of realm %s: %w", s.Name(),
				event.Clean(a.ClientID, event.MaxClientID), a.Realm, err)}
		}
	}
	m, err := s.message(&a, to, owner)
	if err != nil {
		return &alerts.PermanentError{Err: fmt.Errorf("%s: %w", s.Name(), err)}
	}
	ctx, cancel := clock.WithTimeoutCause(ctx, s.Clock, s.Timeout, errTimeout)
	defer cancel()
	c, err := s.client(ctx)
	if err == nil {
		err = c.DialAndSendWithContext(ctx, m)
	}
	if err == nil || m.IsDelivered() {
		return nil // a farewell that fails does not take back what was accepted
	}
	reason := fmt.Errorf("%s by %s: %w", s.Name(), s.Server, s.reason(ctx, err))
	if f, ok := errors.AsType[*mail.SendError](err); ok && f.ErrorCode()/100 == 5 && f.Reason != mail.ErrSMTPMailFrom {
		return &alerts.PermanentError{Err: reason}
	}
	return reason
}

var errTimeout = errors.New("no whole answer in time")

// reason says in one line why an attempt failed. What a mail server said is shown,
// since only it knows what it dislikes.
func (s *Sender) reason(ctx context.Context, err error) error {
	switch {
	case errors.Is(context.Cause(ctx), errTimeout):
		return fmt.Errorf("%w: %v", errTimeout, s.Timeout)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, outbound.ErrNotLoopback):
		return outbound.ErrNotLoopback
	case trust.Reason(err) != nil:
		return trust.Reason(err)
	}
	return errors.New(event.Clean(err.Error(), 300))
}

// client returns what speaks with the mail server. Its connection ends with ctx:
// the deadlines of the library are of the system's clock.
func (s *Sender) client(ctx context.Context) (*mail.Client, error) {
	config := &tls.Config{ServerName: s.host, RootCAs: s.RootCAs, MinVersion: tls.VersionTLS12}
	dial := func(dialing context.Context, network, address string) (net.Conn, error) {
		dialer := net.Dialer{}
		if s.TLS == TLSNone {
			dialer.Control = outbound.LoopbackOnly
		}
		conn, err := dialer.DialContext(dialing, network, address)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = conn.Close() })
		if s.TLS == TLSImplicit {
			return tls.Client(conn, config), nil
		}
		return conn, nil
	}
	options := []mail.Option{
		mail.WithPort(s.port), mail.WithTimeout(s.Timeout), mail.WithTLSConfig(config), mail.WithDialContextFunc(dial),
		mail.WithTLSPolicy(mail.NoTLS), mail.WithoutSMTPUTF8(),
	}
	if s.TLS == TLSStart {
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if s.Username != "" {
		options = append(options, mail.WithUsername(s.Username), mail.WithPassword(s.Password.Reveal()),
			mail.WithOpportunisticSMTPAuth(mail.SMTPAuthSCRAMSHA256, mail.SMTPAuthPlain, mail.SMTPAuthLogin))
	}
	return mail.NewClient(s.host, options...)
}
