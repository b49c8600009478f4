package client_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

// awkward is a secret that looks different wherever it is encoded.
const awkward = `s3cret/+of "the" client&=%1`

// ordeal is a world for faults. When its test ends it demands that no goroutine
// is left that was not there before, not the HTTP client's either, that nothing
// the client has shown gives away a credential, and that a stranger, to which
// the faults lead, was sent none.
type ordeal struct {
	*world
	// secret is what the client proves itself with.
	secret atomic.Pointer[string]
	// tokenAddress is where connections to the token endpoint are made.
	tokenAddress atomic.Pointer[string]
	dials        atomic.Int32
	transport    *http.Transport
	roots        *x509.CertPool
	stranger     *httptest.Server
	// hanging is how many requests wait for nothing but the clock.
	hanging atomic.Int32

	shownMu sync.Mutex
	shown   bytes.Buffer
	strange bytes.Buffer
}

func newOrdeal(t testing.TB) *ordeal {
	eventually.NoGoroutineIsLeft(t)
	f := &ordeal{world: newWorld(t)}
	f.rotate(awkward)
	f.stranger = listen(func(rw http.ResponseWriter, r *http.Request) {
		f.shownMu.Lock()
		defer f.shownMu.Unlock()
		_ = r.Write(&f.strange)
	})
	f.roots = f.auth.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	home := f.auth.Listener.Addr().String()
	f.transport = &http.Transport{
		TLSClientConfig:    &tls.Config{RootCAs: f.roots},
		DisableCompression: false,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == home {
				f.dials.Add(1)
				if a := f.tokenAddress.Load(); a != nil {
					address = *a
				}
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}
	stdlog := log.Writer()
	log.SetOutput(lockedWriter{&f.shownMu, &f.shown})
	t.Cleanup(func() {
		f.quiet()
		f.transport.CloseIdleConnections()
		f.stranger.Close()
		log.SetOutput(stdlog)
		for _, e := range f.seenEvents() {
			f.show(e)
		}
		f.shownMu.Lock()
		defer f.shownMu.Unlock()
		f.secretless("shown", f.shown.String(), false)
		f.secretless("sent to a stranger", f.strange.String(), true)
	})
	return f
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// rotate changes the client's secret.
func (f *ordeal) rotate(secret string) { f.secret.Store(&secret) }

func (f *ordeal) config(name string) client.Config {
	c := f.world.config(name)
	c.HTTP = f.transport
	c.ClientSecret = func(context.Context) (counterfoil.Secret, error) { return counterfoil.Secret(*f.secret.Load()), nil }
	return c
}

func (f *ordeal) oauth2() *client.Source { return f.source(f.config("oauth2")) }

// leads sends connections to the token endpoint to another address; "" for its
// own.
func (f *ordeal) leads(address string) {
	f.tokenAddress.Store(&address)
	if address == "" {
		f.tokenAddress.Store(nil)
	}
	f.transport.CloseIdleConnections()
}

// asks sets how the token endpoint answers from now on; nil for as usual.
func (f *ordeal) asks(answer func(http.ResponseWriter, seen, int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onAsk = answer
}

func (f *ordeal) calling(answer func(http.ResponseWriter, seen, int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onCall = answer
}

// mend ends all faults.
func (f *ordeal) mend() {
	f.answers(nil)
	f.asks(nil)
	f.calling(nil)
	f.leads("")
}

// attempts are the times at which a token was asked for, whether or not the
// request arrived.
func (f *ordeal) attempts() (times []time.Time) {
	for _, e := range f.seenEvents() {
		if e.Type == counterfoil.EventTokenRequested {
			times = append(times, e.Time)
		}
	}
	return times
}

// hang answers nothing until the client leaves.
func (f *ordeal) hang(r seen) {
	f.hanging.Add(1)
	defer f.hanging.Add(-1)
	abandon(r)
}

// abandon waits until the client leaves and breaks the connection. A handler that
// returned would end its answer properly, which a client that is only about to
// close may still read.
func abandon(r seen) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

// reset ends the connection with an RST.
func reset(t testing.TB, rw http.ResponseWriter) {
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	raw := conn.(*tls.Conn).NetConn()
	if err := raw.(*net.TCPConn).SetLinger(0); err != nil {
		t.Error(err)
	}
	_ = raw.Close()
}

// drive runs fn and turns the clock by a second whenever all waits for it.
func (f *ordeal) drive(fn func()) {
	f.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	f.eventually("what is driven ends", func() bool {
		select {
		case <-done:
			return true
		default:
		}
		if f.sleepers(2) || f.hanging.Load() > 0 && f.sleepers(1) {
			f.clock.Turn(time.Second)
		}
		return false
	})
}

// sleepers reports whether at least n callers sleep.
func (f *ordeal) sleepers(n int) bool {
	return f.clock.Sleepers(gone(), n) == nil
}

// gone is a context that has ended: Sleepers with it does not wait.
var gone = sync.OnceValue(func() context.Context {
	ctx, stop := context.WithCancel(context.Background())
	stop()
	return ctx
})

// quiet waits until the client does nothing more, and turns the clock for it.
func (f *ordeal) quiet() {
	f.t.Helper()
	f.drive(func() {
		f.eventually("the client is quiet", func() bool { return ownGoroutines() == "" })
	})
}

// fails returns the error of a token that cannot be had.
func (f *ordeal) fails(s *client.Source) (e *counterfoil.Error) {
	f.t.Helper()
	// One that is about to go must not be taken for one that waits.
	f.eventually("the client is quiet", func() bool { return ownGoroutines() == "" })
	f.drive(func() {
		t, err := s.Token(f.ctx)
		var ok bool
		if e, ok = err.(*counterfoil.Error); !ok {
			f.t.Errorf("got token of %v and error %T (%v), want *counterfoil.Error", t.Lifetime(), err, err)
			e = &counterfoil.Error{}
		}
	})
	f.noted(e)
	return e
}

// noted keeps all that an error can show, and looks at its form.
func (f *ordeal) noted(err error) {
	f.t.Helper()
	if text := err.Error(); len(text) > 1024 || strings.ContainsFunc(text, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		f.t.Errorf("the error is not one line of a reasonable length: %.300q (%d bytes)", text, len(text))
	}
	for ; err != nil; err = errors.Unwrap(err) {
		f.show(err)
	}
}

// show keeps v in every form that a program could print.
func (f *ordeal) show(v any) {
	f.shownMu.Lock()
	defer f.shownMu.Unlock()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&f.shown, verb+"\n", v)
	}
	j, _ := json.Marshal(v)
	fmt.Fprintf(&f.shown, "%s\n", j)
	slog.New(slog.NewTextHandler(&f.shown, nil)).Info("value", "v", v)
	slog.New(slog.NewJSONHandler(&f.shown, nil)).Info("value", "v", v)
}

var aToken = regexp.MustCompile(`token-\d|tok3n`)

// secretless looks for credentials as they are and as they travel.
func (f *ordeal) secretless(what, text string, tenantToo bool) {
	f.t.Helper()
	// Halves of them too, as long as chance does not write them into the base64 of
	// a certificate.
	needles := append(credentialForms(awkward), "s3cret", theKey[:8])
	if tenantToo {
		needles = append(needles, "TENANT123", "the-client")
	}
	if at := aToken.FindStringIndex(text); at != nil {
		needles = append(needles, text[at[0]:at[1]])
	}
	for _, n := range needles {
		if i := strings.Index(text, n); i >= 0 {
			f.t.Errorf("%q was %s: …%s…", n, what, text[max(0, i-80):min(len(text), i+80)])
		}
	}
}

// credentialForms are those in which the client's credentials travel or could
// be echoed.
func credentialForms(secret string) []string {
	b64 := base64.StdEncoding.EncodeToString
	return []string{
		secret, url.QueryEscape(secret), url.PathEscape(secret), fmt.Sprintf("%q", secret), fmt.Sprintf("%x", secret),
		b64([]byte("the-client:" + secret)), b64([]byte("the-client:" + url.QueryEscape(secret))), b64([]byte(secret)),
		base64.RawURLEncoding.EncodeToString([]byte("the-client:" + secret)),
	}
}

// newAuthority returns a certificate authority.
func newAuthority() *tls.Certificate {
	return testkeys.Certificate(testkeys.EC(), x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "authority of a test"},
	}, nil)
}

// issue makes a certificate for 127.0.0.1 that is good now, but for change.
func issue(authority *tls.Certificate, change func(*x509.Certificate)) tls.Certificate {
	c := x509.Certificate{
		Subject: pkix.Name{CommonName: "a test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(&c)
	return *testkeys.Certificate(testkeys.EC(), c, authority)
}

// impostor leads the token endpoint's address to a server that shows cert and
// must be sent nothing.
func (f *ordeal) impostor(cert tls.Certificate) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		f.t.Errorf("%s was sent to a server whose certificate is not good", r.Method)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that the client ends
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	f.t.Cleanup(s.Close)
	f.leads(s.Listener.Addr().String())
}

// nobody is an address that refuses connections.
func nobody(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// plain leads the token endpoint's address to a TLS server that speaks by
// itself.
func (f *ordeal) plain(speak func(net.Conn)) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: f.auth.TLS.Certificates})
	if err != nil {
		f.t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				speak(c)
				_ = c.(*tls.Conn).CloseWrite()
				_, _ = io.Copy(io.Discard, c) // what was not read would make the end a reset
			})
		}
	})
	f.t.Cleanup(func() { l.Close(); all.Wait() })
	f.leads(l.Addr().String())
}

// is compares an error with what a row wants of it.
func is(t testing.TB, what string, e *counterfoil.Error, class counterfoil.Class, reason counterfoil.Reason, status int) {
	t.Helper()
	equal(t, what+": class", e.Class(), class)
	equal(t, what+": reason", e.Reason, reason)
	equal(t, what+": status", e.Status, status)
}
