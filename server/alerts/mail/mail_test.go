package mail_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/testkeys"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/alerts/mail"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func alert() alerts.Alert {
	return alerts.Alert{
		ID: 17, Kind: alerts.KindRotatedCredential, Realm: "orders", ClientID: "billing", Subject: "0a1b2c3d",
		Summary: "the secret 0a1b2c3d was used 3 times after its rotation", Command: "counterfoil client show orders billing",
		Contact: "Billing Team <billing@owner.example>", Count: 3, First: start.Add(-time.Hour), Last: start,
	}
}

// message is what the server took.
type message struct {
	from string
	to   []string
	text string
	tls  bool
	user string
}

// backend is a mail server.
type backend struct {
	mu   sync.Mutex
	got  []message
	user string // required, if not empty
	// refuse is the answer to a command, with its argument.
	refuse func(command, argument string) *smtp.SMTPError
	// farewell ends the connection at the command after a message.
	farewell bool
}

func (b *backend) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &session{backend: b, conn: c}, nil
}

func (b *backend) messages() []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

func (b *backend) check(command, argument string) error {
	if b.refuse != nil {
		if err := b.refuse(command, argument); err != nil {
			return err
		}
	}
	return nil
}

type session struct {
	*backend
	conn *smtp.Conn
	message
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, username, password string) error {
		if username != s.backend.user || password != "PASSWORD" {
			return smtp.ErrAuthFailed
		}
		s.message.user = username
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	_, s.tls = s.conn.TLSConnectionState()
	if s.backend.user != s.message.user {
		return smtp.ErrAuthRequired
	}
	s.from = from
	return s.check("MAIL", from)
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return s.check("RCPT", to)
}

func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.text = string(text)
	if err := s.check("DATA", s.text); err != nil {
		return err
	}
	s.mu.Lock()
	s.got = append(s.got, s.message)
	s.mu.Unlock()
	return nil
}

func (s *session) Reset() {
	if s.farewell && s.from == "" && s.text != "" { // after the one that ends DATA
		_ = s.conn.Conn().Close()
	}
	s.from, s.to = "", nil
}

func (s *session) Logout() error { return nil }

var certificate = testkeys.Certificate(testkeys.EC(), x509.Certificate{DNSNames: []string{"localhost"}}, nil)

// serve runs a mail server with a certificate for localhost.
func serve(t *testing.T, b *backend, way mail.TLS) mail.Config {
	t.Helper()
	s := smtp.NewServer(b)
	s.Domain = "localhost"
	s.ErrorLog = log.New(io.Discard, "", 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{*certificate}}
	served := l
	switch way {
	case mail.TLSImplicit:
		served = tls.NewListener(l, config)
	case mail.TLSStart:
		s.TLSConfig = config
	}
	go func() { _ = s.Serve(served) }()
	t.Cleanup(func() { _ = s.Close() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c := mail.Config{
		Server: "localhost:" + port, TLS: way, From: "Counterfoil <alerts@example.com>", To: []string{"ops@example.com"},
		RootCAs: x509.NewCertPool(), Clock: clock.NewManual(start),
	}
	c.RootCAs.AddCert(certificate.Leaf)
	return c
}

func build(t *testing.T, c mail.Config) []*mail.Sender {
	t.Helper()
	all, err := mail.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// send sends an alert by all senders of a configuration.
func send(t *testing.T, c mail.Config, a alerts.Alert) error {
	t.Helper()
	var errs []error
	for _, s := range build(t, c) {
		errs = append(errs, s.Send(t.Context(), a))
	}
	return errors.Join(errs...)
}

// read parses a message that a server took.
func read(t *testing.T, m message) (netmail.Header, string) {
	t.Helper()
	parsed, err := netmail.ReadMessage(strings.NewReader(m.text))
	if err != nil {
		t.Fatalf("%v in %q", err, m.text)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Header, string(body)
}

// TestSend: each operator and the contact get a message of their own, over TLS; that
// of the contact has no command.
func TestSend(t *testing.T) {
	for _, way := range []mail.TLS{mail.TLSStart, mail.TLSImplicit, mail.TLSNone} {
		b := &backend{}
		if way != mail.TLSNone {
			b.user = "counterfoil"
		}
		c := serve(t, b, way)
		c.To = append(c.To, "night@example.com")
		if b.user != "" {
			c.Username, c.Password = b.user, "PASSWORD"
		}
		if err := send(t, c, alert()); err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		got := b.messages()
		if len(got) != 3 {
			t.Fatalf("%s: %d messages", way, len(got))
		}
		ids := map[string]bool{}
		for i, to := range []string{"ops@example.com", "night@example.com", "billing@owner.example"} {
			h, body := read(t, got[i])
			ids[h.Get("Message-Id")] = true
			if !slices.Equal(got[i].to, []string{to}) || h.Get("To") != "<"+to+">" || got[i].from != "alerts@example.com" ||
				h.Get("From") != "<alerts@example.com>" || got[i].tls != (way != mail.TLSNone) || got[i].user != b.user {
				t.Errorf("%s: %+v", way, got[i])
			}
			if h.Get("Auto-Submitted") != "auto-generated" || h.Get("Subject") != "[counterfoil] rotated credential: billing" ||
				h.Get("Date") != "Sun, 01 Mar 2026 12:00:00 +0000" || len(h) > 9 {
				t.Errorf("%s: %v", way, h)
			}
			if owner := i == 2; strings.Contains(body, "counterfoil client show") == owner || !strings.Contains(body, alert().Summary) ||
				!strings.Contains(body, "count   3\r\n") {
				t.Errorf("%s: %s", way, body)
			}
		}
		if !ids["<alert-17-1772362800000000-3@example.com>"] || !ids["<alert-17-1772362800000000-3-owner@example.com>"] {
			t.Errorf("%s: IDs %v", way, ids)
		}
	}
}

// TestNoContact: an alert that is for no owner goes to the operators alone, and a
// contact that is no address is an error for good.
func TestNoContact(t *testing.T) {
	b := &backend{}
	c := serve(t, b, mail.TLSStart)
	a := alert()
	a.Contact = ""
	if err := send(t, c, a); err != nil || len(b.messages()) != 1 {
		t.Errorf("%d messages, error %v", len(b.messages()), err)
	}
	for _, contact := range []string{
		"+49 30 1234567", "#billing on chat", "a@owner.example, b@owner.example", "a@owner.example\r\nBcc: b@other.example",
		"a@owner.example>\r\nRCPT TO:<b@other.example", `"a b"@owner.example`, "ä@owner.example", "a@ownér.example", "a@[192.0.2.1]",
		"group: a@owner.example, b@owner.example;", "a@owner.example (comment)\x00", strings.Repeat("a", 65) + "@owner.example",
		"a@" + strings.Repeat("b.", 130) + "example", "a@b@owner.example", "@owner.example", "a@-.example",
	} {
		a.Contact = contact
		sent := len(b.messages())
		all := build(t, c)
		err := all[len(all)-1].Send(t.Context(), a)
		if _, permanent := errors.AsType[*alerts.PermanentError](err); !permanent || len(b.messages()) != sent || strings.ContainsAny(err.Error(), "\r\n\x00") {
			t.Errorf("%q: %d messages, error %v", contact, len(b.messages())-sent, err)
		}
	}
}

// TestInjection: no text of an alert becomes a header or ends the message.
func TestInjection(t *testing.T) {
	b := &backend{}
	c := serve(t, b, mail.TLSStart)
	const evil = "x\r\nBcc: victim@example.org\r\n\r\n.\r\nMAIL FROM:<a@b>\n<b>ÄÖ\u202eü"
	a := alerts.Alert{
		ID: 1, Kind: alerts.KindFailures, Realm: evil, ClientID: evil, Subject: evil, Summary: evil, Command: evil,
		Contact: "Ünal, \"B\" <a@owner.example>", Count: 1, First: start, Last: start,
	}
	// The name of a contact is not shown, so it need not be understood.
	a.Contact = `"Ü, B" <a@owner.example>`
	if err := send(t, c, a); err != nil {
		t.Fatal(err)
	}
	got := b.messages()
	if len(got) != 2 {
		t.Fatalf("%d messages: %+v", len(got), got)
	}
	for _, m := range got {
		h, body := read(t, m)
		subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
		if err != nil || h.Get("Bcc") != "" || len(h) > 9 || len(m.to) != 1 || strings.Contains(m.to[0], "victim") ||
			strings.ContainsAny(subject, "\r\n\u202e") || !strings.HasPrefix(subject, `[counterfoil] failures: x\u000d\u000aBcc`) {
			t.Errorf("to %v: %v %q", m.to, h, subject)
		}
		for line := range strings.SplitSeq(body, "\r\n") {
			if strings.HasPrefix(line, "Bcc") || line == "." || strings.HasPrefix(line, "MAIL") || strings.Contains(line, "\u202e") {
				t.Errorf("a line %q", line)
			}
		}
		if !strings.Contains(body, "ÄÖ") {
			t.Errorf("the body is %q", body)
		}
	}
}

// TestOneRefused: an address that the server refuses keeps no other from its mail,
// and what a refusal means depends on its code.
func TestOneRefused(t *testing.T) {
	for name, row := range map[string]struct {
		command   string
		code      int
		permanent bool
	}{
		"no such mailbox": {"RCPT", 550, true}, "grey listed": {"RCPT", 451, false}, "content": {"DATA", 554, true},
		"full": {"DATA", 452, false}, "not this sender": {"MAIL", 550, false},
	} {
		b := &backend{}
		c := serve(t, b, mail.TLSStart)
		c.To = []string{"gone@example.com", "ops@example.com"}
		b.refuse = func(command, argument string) *smtp.SMTPError {
			if command == row.command && (command == "MAIL" || strings.Contains(argument, "gone@")) {
				return &smtp.SMTPError{Code: row.code, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "refused\r\nwith a second line"}
			}
			return nil
		}
		all := build(t, c)
		err := all[0].Send(t.Context(), alert())
		_, permanent := errors.AsType[*alerts.PermanentError](err)
		if err == nil || permanent != row.permanent || strings.ContainsAny(err.Error(), "\r\n") || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: permanent %v, %v", name, permanent, err)
		}
		if err := all[1].Send(t.Context(), alert()); (err == nil) != (row.command != "MAIL") {
			t.Errorf("%s: the other: %v", name, err)
		}
	}
}

// TestAccepted: a server that fails after it has taken a message has taken it.
func TestAccepted(t *testing.T) {
	b := &backend{}
	c := serve(t, b, mail.TLSNone)
	b.farewell = true
	if err := build(t, c)[0].Send(t.Context(), alert()); err != nil || len(b.messages()) != 1 {
		t.Errorf("%d messages, error %v", len(b.messages()), err)
	}
}

// TestNotSent: no TLS, another certificate, an authority that is not trusted, a wrong
// password, nobody there. Nothing is sent, and no error shows the password.
func TestNotSent(t *testing.T) {
	for name, row := range map[string]struct {
		way    mail.TLS
		change func(*mail.Config, *backend)
		says   string
	}{
		"no STARTTLS":       {mail.TLSNone, func(c *mail.Config, _ *backend) { c.TLS = mail.TLSStart }, "does not support STARTTLS"},
		"of another host":   {mail.TLSStart, func(c *mail.Config, _ *backend) { c.Server = strings.Replace(c.Server, "localhost", "127.0.0.1", 1) }, "its certificate is for another host"},
		"implicit, another": {mail.TLSImplicit, func(c *mail.Config, _ *backend) { c.Server = strings.Replace(c.Server, "localhost", "127.0.0.1", 1) }, "its certificate is for another host"},
		"not trusted":       {mail.TLSStart, func(c *mail.Config, _ *backend) { c.RootCAs = x509.NewCertPool() }, "an authority that is not trusted"},
		"not TLS":           {mail.TLSNone, func(c *mail.Config, _ *backend) { c.TLS = mail.TLSImplicit }, "does not look like a TLS handshake"},
		"wrong password":    {mail.TLSStart, func(c *mail.Config, b *backend) { b.user, c.Username, c.Password = "u", "u", "PASSWORD2" }, "535"},
		"no authentication": {mail.TLSStart, func(c *mail.Config, b *backend) { b.user = "u" }, "502"},
		"nobody there":      {mail.TLSStart, func(c *mail.Config, _ *backend) { c.Server = "127.0.0.1:1" }, "connection refused"},
	} {
		b := &backend{}
		c := serve(t, b, row.way)
		row.change(&c, b)
		err := build(t, c)[0].Send(t.Context(), alert())
		if err == nil || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "PASSWORD") || len(b.messages()) > 0 {
			t.Errorf("%s: %v", name, err)
		}
		if _, permanent := errors.AsType[*alerts.PermanentError](err); permanent {
			t.Errorf("%s: an operator can mend that", name)
		}
	}
}

// TestHang: a server that says nothing, before TLS or within, by the clock.
func TestHang(t *testing.T) {
	for _, way := range []mail.TLS{mail.TLSStart, mail.TLSImplicit} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if conn, err := l.Accept(); err == nil {
				_, _ = io.Copy(io.Discard, conn) // until the sender gives up
			}
		}()
		manual := clock.NewManual(start)
		s := build(t, mail.Config{Server: l.Addr().String(), TLS: way, From: "a@example.com", To: []string{"b@example.com"}, Clock: manual, Timeout: time.Hour})
		done := make(chan error, 1)
		go func() { done <- s[0].Send(context.Background(), alert()) }()
		if err := manual.Sleepers(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		manual.Turn(time.Hour)
		if err := <-done; err == nil || !strings.Contains(err.Error(), "no whole answer in time: 1h0m0s") {
			t.Errorf("%s: %v", way, err)
		}
		_ = l.Close()
		<-ended
	}
}

func TestNewRefuses(t *testing.T) {
	good := func() mail.Config {
		return mail.Config{Server: "mail.example.com:587", From: "a@example.com", To: []string{"b@example.com"}}
	}
	for says, change := range map[string]func(*mail.Config){
		`"mail.example.com" is not HOST:PORT`:               func(c *mail.Config) { c.Server = "mail.example.com" },
		`"mail.example.com:smtp" is not HOST:PORT`:          func(c *mail.Config) { c.Server = "mail.example.com:smtp" },
		`":587" is not HOST:PORT`:                           func(c *mail.Config) { c.Server = ":587" },
		`"a\r\nb:587" is not HOST:PORT`:                     func(c *mail.Config) { c.Server = "a\r\nb:587" },
		`is not a way to protect mail`:                      func(c *mail.Config) { c.TLS = "maybe" },
		`is for a server on localhost only`:                 func(c *mail.Config) { c.TLS = mail.TLSNone },
		`a user name and a password need TLS`:               func(c *mail.Config) { c.TLS, c.Server, c.Username, c.Password = mail.TLSNone, "localhost:25", "u", "p" },
		`a user name needs a password`:                      func(c *mail.Config) { c.Username = "u" },
		`B@example.com is named twice`:                      func(c *mail.Config) { c.To = append(c.To, "Other Name <B@example.com>") },
		`no address to send alerts to`:                      func(c *mail.Config) { c.To = nil },
		`"b@example.com, c@example.com" is not one`:         func(c *mail.Config) { c.To = []string{"b@example.com, c@example.com"} },
		`"" is not one address of mail`:                     func(c *mail.Config) { c.From = "" },
		`"a@example.com\\u000aBcc: b@c.example" is not one`: func(c *mail.Config) { c.From = "a@example.com\nBcc: b@c.example" },
	} {
		c := good()
		change(&c)
		if _, err := mail.New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}

// FuzzParseAddress: what is an address is one, in SMTP as well.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b.example", "N <a@b.example>", "a@b.example\r\nX: y", `"a\" b"@c`, "a@b, c@d", "=?utf-8?q?a?= <a@b>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := mail.ParseAddress(text)
		switch {
		case err != nil:
			if got != "" || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("%q, %v", got, err)
			}
		case strings.Count(got, "@") != 1 || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`<>()[],;:"\`, r) }):
			t.Fatalf("%q of %q", got, text)
		}
	})
}
