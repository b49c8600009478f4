package client_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

const (
	transient = counterfoil.ClassTransient
	refused   = counterfoil.ClassRefused
	protocol  = counterfoil.ClassProtocol

	unavailable = counterfoil.ReasonUnavailable
	badResponse = counterfoil.ReasonBadResponse
	rateLimited = counterfoil.ReasonRateLimited
)

// tokenFailure is a row of TestTokenEndpointFails.
type tokenFailure struct {
	name   string
	fault  func(*ordeal)
	class  counterfoil.Class
	reason counterfoil.Reason
	status int
	// code and description are what the endpoint says itself.
	code, description string
	// asked is how often a token is asked for while a caller waits: 4 with
	// backoff, and 1 where no repetition helps or none fits the time.
	asked int
	// pause is what the endpoint asked to wait, at least.
	pause time.Duration
	// cause is wrapped.
	cause error
	// lingers: the endpoint holds a connection that the client has given up, so
	// that the clock may be turned while nobody waits.
	lingers bool
}

func says(code int, body string, headers ...string) func(*ordeal) {
	return func(f *ordeal) { f.answers(status(code, body, headers...)) }
}

// dates is an answer with a Retry-After d later by the provider's own clock,
// which is ahead of the client's.
func dates(code int, d, ahead time.Duration) func(*ordeal) {
	return func(f *ordeal) {
		f.ahead = ahead
		f.answers(func(rw http.ResponseWriter, _ int) {
			rw.Header().Set("Retry-After", f.clock.Now().Add(ahead+d).UTC().Format(http.TimeFormat))
			rw.WriteHeader(code)
		})
	}
}

func asks(answer func(f *ordeal, rw http.ResponseWriter, r seen)) func(*ordeal) {
	return func(f *ordeal) {
		f.asks(func(rw http.ResponseWriter, r seen, _ int) { answer(f, rw, r) })
	}
}

func flush(rw http.ResponseWriter) { _ = http.NewResponseController(rw).Flush() }

// redirects leads to a stranger, or elsewhere on the same host.
func redirects(code int, away bool) func(*ordeal) {
	return asks(func(f *ordeal, rw http.ResponseWriter, r seen) {
		target := "/elsewhere"
		if away {
			target = f.stranger.URL + "/token"
		}
		http.Redirect(rw, r.Request, target, code)
	})
}

func shows(change func(*x509.Certificate), known bool) func(*ordeal) {
	return func(f *ordeal) {
		a := newAuthority()
		if known {
			f.roots = f.roots.Clone()
			f.roots.AddCert(a.Leaf)
			f.transport.TLSClientConfig.RootCAs = f.roots
		}
		f.impostor(issue(a, change))
	}
}

// bomb is 2 MiB of a token response in 2 KiB.
var bomb = sync.OnceValue(func() []byte {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprint(z, `{"access_token":"`)
	_, _ = z.Write(bytes.Repeat([]byte("a"), 2<<20))
	fmt.Fprint(z, `","token_type":"Bearer"}`)
	_ = z.Close()
	return packed.Bytes()
})

const page = "<!doctype html><title>Sign in</title>"

var tokenFailures = []tokenFailure{
	{name: "refuses connection", fault: func(f *ordeal) { f.leads(nobody(f.t)) }, class: transient, reason: unavailable, asked: 4, cause: syscall.ECONNREFUSED},
	{name: "hangs before the headers", fault: asks(func(f *ordeal, _ http.ResponseWriter, r seen) { f.hang(r) }),
		class: transient, reason: unavailable, asked: 1, cause: context.DeadlineExceeded},
	{name: "hangs before the body", fault: asks(func(f *ordeal, rw http.ResponseWriter, r seen) { flush(rw); f.hang(r) }),
		class: transient, reason: unavailable, asked: 1, cause: context.DeadlineExceeded},
	{name: "hangs within the body", fault: asks(func(f *ordeal, rw http.ResponseWriter, r seen) {
		io.WriteString(rw, `{"access_`)
		flush(rw)
		f.hang(r)
	}),
		class: transient, reason: unavailable, asked: 1, cause: context.DeadlineExceeded},
	{name: "hangs in the handshake", fault: silent, class: transient, reason: unavailable, asked: 1, cause: context.DeadlineExceeded, lingers: true},
	{name: "trickles a byte a second", fault: asks(trickle), class: transient, reason: unavailable, asked: 1, cause: context.DeadlineExceeded},
	{name: "never ends its body", fault: asks(func(_ *ordeal, rw http.ResponseWriter, r seen) {
		for err := r.Context().Err(); err == nil; {
			_, err = rw.Write(bytes.Repeat([]byte(" "), 4096))
		}
	}), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "resets before the headers", fault: asks(func(f *ordeal, rw http.ResponseWriter, _ seen) { reset(f.t, rw) }), class: transient, reason: unavailable, asked: 4},
	{name: "resets mid-body", fault: asks(func(f *ordeal, rw http.ResponseWriter, _ seen) {
		rw.Header().Set("Content-Length", "1000")
		io.WriteString(rw, `{"access_token":"tok3n`)
		flush(rw)
		reset(f.t, rw)
	}), class: transient, reason: unavailable, asked: 4},
	{name: "ends mid-body", fault: says(200, `{"access_token":"tok3n`, "Content-Length", "1000"), class: transient, reason: unavailable, asked: 4, cause: io.ErrUnexpectedEOF},
	{name: "speaks no HTTP", fault: func(f *ordeal) {
		f.plain(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 4096))
			fmt.Fprintf(c, "SSH-2.0-%s\x1b[31m ESMTP\r\n", strings.Repeat("tok3n", 1000))
		})
	}, class: transient, reason: unavailable, asked: 4},

	{name: "200 with HTML", fault: says(200, page, "Content-Type", "text/html"), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "200 empty", fault: says(200, ""), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "200 truncated JSON", fault: says(200, `{"access_token":"tok3n","token_type":"Bea`), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "200 access_token of a wrong type", fault: says(200, `{"access_token":["tok3n"],"token_type":"Bearer"}`), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "200 token_type of a wrong type", fault: says(200, `{"access_token":"tok3n","token_type":{}}`), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "200 expires_in of a wrong type", fault: says(200, `{"access_token":"tok3n","expires_in":{}}`), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "200 with an array", fault: says(200, `["tok3n"]`), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "200 with an OAuth error", fault: says(200, `{"error":"invalid_client","error_description":"no such client"}`),
		class: refused, reason: counterfoil.ReasonInvalidClient, status: 200, code: "invalid_client", description: "no such client", asked: 1},
	{name: "200 with an OAuth error beside an empty token", fault: says(200, `{"access_token":"","error":"invalid_scope"}`),
		class: refused, reason: counterfoil.ReasonInvalidScope, status: 200, code: "invalid_scope", asked: 1},
	{name: "200 with an OAuth error that passes", fault: says(200, `{"error":"temporarily_unavailable"}`),
		class: transient, reason: unavailable, status: 200, code: "temporarily_unavailable", asked: 4},
	{name: "200 with an error of its own", fault: says(200, `{"ok":false,"error":"invalid_auth"}`), class: protocol, reason: badResponse, status: 200, code: "invalid_auth", asked: 1},
	{name: "200 with an error object", fault: says(200, `{"error":{"code":"invalid_client"}}`), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "204", fault: says(204, ""), class: protocol, reason: badResponse, status: 204, asked: 1},
	{name: "expires_in a string without a number", fault: says(200, `{"access_token":"tok3n","token_type":"Bearer","expires_in":"soon"}`), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "oversize body", fault: says(200, `{"access_token":"tok3n","token_type":"Bearer"}`+strings.Repeat(" ", 1<<20)), class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "gzip bomb", fault: func(f *ordeal) { says(200, string(bomb()), "Content-Encoding", "gzip")(f) }, class: protocol, reason: badResponse, status: 200, asked: 1},
	{name: "gzip that is none", fault: says(200, `{"access_token":"tok3n"}`, "Content-Encoding", "gzip"), class: transient, reason: unavailable, asked: 4},

	{name: "400 with an OAuth error", fault: says(400, `{"error":"invalid_scope","error_description":"no such scope"}`),
		class: refused, reason: counterfoil.ReasonInvalidScope, status: 400, code: "invalid_scope", description: "no such scope", asked: 1},
	{name: "400 without one", fault: says(400, page), class: protocol, reason: badResponse, status: 400, asked: 1},
	{name: "400 oversize", fault: says(400, `{"padding":"`+strings.Repeat(" ", 1<<20)+`","error":"invalid_scope"}`), class: protocol, reason: badResponse, status: 400, asked: 1},
	{name: "401 with an OAuth error", fault: says(401, `{"error":"invalid_client","error_description":"Client authentication failed"}`, "WWW-Authenticate", "Basic"),
		class: refused, reason: counterfoil.ReasonInvalidClient, status: 401, code: "invalid_client", description: "Client authentication failed", asked: 1},
	{name: "401 without one", fault: says(401, page), class: refused, reason: counterfoil.ReasonInvalidClient, status: 401, asked: 1},
	{name: "403 with an OAuth error", fault: says(403, `{"error":"access_denied","error_description":"your address is not known"}`),
		class: refused, reason: counterfoil.ReasonInvalidClient, status: 403, code: "access_denied", description: "your address is not known", asked: 1},
	{name: "403 without one", fault: says(403, page), class: protocol, reason: badResponse, status: 403, asked: 1},
	{name: "401 that asks to wait", fault: says(401, `{"error":"invalid_client"}`, "Retry-After", "45"),
		class: refused, reason: counterfoil.ReasonInvalidClient, status: 401, code: "invalid_client", asked: 1, pause: 45 * time.Second},

	{name: "429 with seconds", fault: says(429, "", "Retry-After", "9"), class: transient, reason: rateLimited, status: 429, asked: 4, pause: 9 * time.Second},
	{name: "429 with a date", fault: dates(429, 9*time.Second, 0), class: transient, reason: rateLimited, status: 429, asked: 4, pause: 9 * time.Second},
	{name: "429 with a date, its clock 10 minutes ahead", fault: dates(429, 9*time.Second, 10*time.Minute), class: transient, reason: rateLimited, status: 429, asked: 4, pause: 9 * time.Second},
	{name: "429 with a date, its clock 10 years behind", fault: dates(429, 9*time.Second, -87600*time.Hour), class: transient, reason: rateLimited, status: 429, asked: 4, pause: 9 * time.Second},
	{name: "429 with a date beyond the time left", fault: dates(429, 50*time.Second, 10*time.Minute), class: transient, reason: rateLimited, status: 429, asked: 1, pause: 50 * time.Second},
	{name: "429 with a date in the past", fault: dates(429, -time.Hour, 0), class: transient, reason: rateLimited, status: 429, asked: 4},
	{name: "429 with an absurd date", fault: dates(429, 876000*time.Hour, 0), class: transient, reason: rateLimited, status: 429, asked: 1, pause: time.Minute},
	{name: "429 absurd", fault: says(429, "", "Retry-After", "99999999999999999999"), class: transient, reason: rateLimited, status: 429, asked: 1, pause: time.Minute},
	{name: "429 negative", fault: says(429, "", "Retry-After", "-60"), class: transient, reason: rateLimited, status: 429, asked: 4},
	{name: "429 garbage", fault: says(429, "", "Retry-After", "soon"), class: transient, reason: rateLimited, status: 429, asked: 4},
	{name: "429 a fraction", fault: says(429, "", "Retry-After", "1.5"), class: transient, reason: rateLimited, status: 429, asked: 4},
	{name: "429 without Retry-After", fault: says(429, `{"error":"slow_down","error_description":"too many"}`),
		class: transient, reason: rateLimited, status: 429, code: "slow_down", description: "too many", asked: 4},
	{name: "408", fault: says(408, ""), class: transient, reason: unavailable, status: 408, asked: 4},
	{name: "500", fault: says(500, page), class: transient, reason: unavailable, status: 500, asked: 4},
	{name: "503", fault: says(503, ""), class: transient, reason: unavailable, status: 503, asked: 4},
	{name: "503 with Retry-After", fault: says(503, "", "Retry-After", "9"), class: transient, reason: unavailable, status: 503, asked: 4, pause: 9 * time.Second},
	{name: "503 that calls the client wrong", fault: says(503, `{"error":"invalid_client"}`), class: transient, reason: unavailable, status: 503, code: "invalid_client", asked: 4},

	{name: "redirect 302 to another host", fault: redirects(302, true), class: protocol, reason: badResponse, status: 302, asked: 1},
	{name: "redirect 307 to another host", fault: redirects(307, true), class: protocol, reason: badResponse, status: 307, asked: 1},
	{name: "redirect 308 to another host", fault: redirects(308, true), class: protocol, reason: badResponse, status: 308, asked: 1},
	{name: "redirect 307 to the same host", fault: redirects(307, false), class: protocol, reason: badResponse, status: 307, asked: 1},

	{name: "certificate expired", fault: shows(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = c.NotBefore.Add(-time.Hour), c.NotBefore }, true),
		class: protocol, reason: badResponse, asked: 1},
	{name: "certificate not valid yet", fault: shows(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, true),
		class: protocol, reason: badResponse, asked: 1},
	{name: "certificate of a wrong host", fault: shows(func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)}
	}, true), class: protocol, reason: badResponse, asked: 1},
	{name: "certificate of an unknown authority", fault: shows(func(*x509.Certificate) {}, false), class: protocol, reason: badResponse, asked: 1},
}

// silent accepts connections and says nothing.
func silent(f *ordeal) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.hanging.Add(1)
			_, _ = io.Copy(io.Discard, c) // until the client leaves
			f.hanging.Add(-1)
			c.Close()
		}
	}()
	f.t.Cleanup(func() { l.Close(); <-done })
	f.leads(l.Addr().String())
}

func trickle(f *ordeal, rw http.ResponseWriter, r seen) {
	for f.clock.Sleep(r.Context(), time.Second) == nil {
		io.WriteString(rw, "{")
		flush(rw)
	}
}

// TestTokenEndpointFails has a row for each way in which a token endpoint can
// fail. Each shows what the first call gets, what the next calls do, and what
// calls get that have an old token.
func TestTokenEndpointFails(t *testing.T) {
	for _, row := range tokenFailures {
		t.Run(row.name, func(t *testing.T) {
			f := newOrdeal(t)
			row.fault(f)
			s := f.oauth2()
			row.firstCall(t, f, s)
			row.nextCalls(t, f, s)
			f.mend()
			f.clock.Turn(time.Minute)
			if token := f.must(s); !strings.HasPrefix(token, "token-") {
				t.Error("no token once the endpoint is well")
			}
			row.oldToken(t, f)
		})
	}
}

// wants compares e with the row.
func (row *tokenFailure) wants(t *testing.T, what string, e *counterfoil.Error) {
	t.Helper()
	is(t, what, e, row.class, row.reason, row.status)
	equal(t, what+": code", e.Code, row.code)
	equal(t, what+": description", e.Description, row.description)
	if row.cause != nil && !errors.Is(e, row.cause) {
		t.Errorf("%s: %v does not wrap %v", what, e, row.cause)
	}
}

func (row *tokenFailure) firstCall(t *testing.T, f *ordeal, s *client.Source) {
	t.Helper()
	e := f.fails(s)
	row.wants(t, "first call", e)
	equal(t, "first call: RetryAfter", e.RetryAfter, row.pause)
	equal(t, "first call: token requests", len(f.attempts()), row.asked)
	if f.asked() > row.asked {
		t.Errorf("%d requests reached the endpoint, more than the %d that were told of", f.asked(), row.asked)
	}
	if row.asked == 1 {
		return
	}
	waits := slices.DeleteFunc(f.clock.Slept(), func(d time.Duration) bool { return d == 30*time.Second })
	equal(t, "waits", len(waits), row.asked-1)
	for i, d := range waits { // full jitter below 2, 4, 8 s, or what was asked for
		if least, most := row.pause, max(2*time.Second<<i, row.pause); d < least || d > most {
			t.Errorf("wait %d is %v, want %v to %v", i+1, d, least, most)
		}
	}
}

// nextCalls: every failure is remembered. What may pass is asked for anew 1 s
// later at most, or when the endpoint wants it; everything else for longer each
// time, until the secret changes.
func (row *tokenFailure) nextCalls(t *testing.T, f *ordeal, s *client.Source) {
	t.Helper()
	e := f.fails(s)
	row.wants(t, "second call", e)
	if row.lingers {
		return // how often it is asked is for the rows whose clock can be held
	}
	want := row.asked
	equal(t, "second call: token requests", len(f.attempts()), want)
	if e.RetryAfter <= 0 {
		t.Error("second call: the error does not tell when a token is asked for again")
	}
	if row.class == transient {
		f.clock.Turn(max(row.pause, time.Second))
		row.wants(t, "third call", f.fails(s))
		equal(t, "third call: token requests", len(f.attempts()), 2*row.asked)
		return
	}
	f.rotate("another-s3cret")
	f.fails(s)
	equal(t, "another secret: token requests", len(f.attempts()), want+1)
	f.rotate(awkward)
	f.fails(s)
	equal(t, "the first secret again: token requests", len(f.attempts()), want+2)
	for at := time.Duration(0); at < 300*time.Second; {
		step := time.Second
		if at >= 63*time.Second { // after 1, 2, 4, 8, 16 and 32 s
			step = 3 * time.Second
		}
		at += step
		f.clock.Turn(step)
		if _, err := s.Token(f.ctx); err == nil {
			t.Fatal("a token out of nowhere")
		}
	}
	var gaps []time.Duration
	times := f.attempts()[want+1:]
	for i := 1; i < len(times); i++ {
		gaps = append(gaps, times[i].Sub(times[i-1]))
	}
	growth := []time.Duration{1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60, 60, 60}
	for i := range growth {
		growth[i] = max(growth[i]*time.Second, row.pause)
	}
	if len(gaps) < 4 || !slices.Equal(gaps, growth[:min(len(gaps), len(growth))]) {
		t.Errorf("with a call every second or three for five minutes a token was asked for after %v, want %v", gaps, growth)
	}
}

// oldToken: calls are served with an old token to its end, with one attempt to
// renew it at a time and pauses between them, and not a moment longer.
func (row *tokenFailure) oldToken(t *testing.T, f *ordeal) {
	t.Helper()
	f.mend()
	s := f.oauth2()
	began := f.clock.Now()
	old := f.must(s)
	call := func() string {
		resp := f.get(s.Client(), f.api.URL)
		_ = resp.Body.Close()
		return f.calls[len(f.calls)-1].Header.Get("Authorization")
	}
	row.fault(f)
	f.clock.Turn(56 * time.Minute) // the margin begins after 54:30 to 55:00
	before := len(f.attempts())
	for range 3 {
		equal(t, "token of a call while the endpoint fails", call(), "Bearer "+old)
	}
	f.quiet()
	equal(t, "attempts to renew by three calls", len(f.attempts())-before, 1)
	equal(t, "token after a renewal that failed", call(), "Bearer "+old)
	f.clock.Turn(began.Add(59*time.Minute + 40*time.Second).Sub(f.clock.Now()))
	equal(t, "token within the last minute", call(), "Bearer "+old)
	f.quiet()
	f.clock.Turn(max(0, began.Add(time.Hour).Sub(f.clock.Now())))
	calls := len(f.calls)
	row.wants(t, "after the end of the old token", f.fails(s))
	f.drive(func() {
		if resp, err := s.Client().Get(f.api.URL); err == nil {
			t.Errorf("a call after the end of the token was answered %d", resp.StatusCode)
		} else {
			f.noted(err)
		}
	})
	equal(t, "calls that left after the end of the token", len(f.calls), calls)
	f.mend()
	f.clock.Turn(time.Minute)
	if now := f.must(s); now == old {
		t.Error("the old token serves after its end")
	}
}

// What an endpoint echoes of the credentials reaches nobody. Every echo is in
// the description, cut at its end in the middle of the echo, and as the code.
func TestTokenEndpointEchoesCredentials(t *testing.T) {
	for _, dialect := range []string{"oauth2", "altrata", "ahotu"} {
		t.Run(dialect+": in a refusal", func(t *testing.T) {
			f := newOrdeal(t)
			s := f.source(f.config(dialect))
			says := func(refusal map[string]string) {
				body, _ := json.Marshal(refusal)
				f.answers(status(400, string(body)))
				f.clock.Turn(time.Minute)
				f.fails(s)
			}
			for _, form := range credentialForms(awkward) {
				for _, text := range []string{form, "you said " + form + "?", strings.Repeat("x", 250) + form} {
					says(map[string]string{"error": "invalid_request", "error_description": text})
					says(map[string]string{"error": text})
				}
			}
			equal(t, "token requests", f.asked(), 6*len(credentialForms(awkward)))
		})
		t.Run(dialect+": in a line that is no HTTP", func(t *testing.T) {
			f := newOrdeal(t)
			f.plain(func(c net.Conn) {
				head := make([]byte, 4096)
				n, _ := c.Read(head)
				_, _ = c.Write(bytes.ReplaceAll(head[:n], []byte("\r\n"), []byte("  ")))
				fmt.Fprintf(c, " %s\r\n\r\n", awkward)
			})
			equal(t, "reason", f.fails(f.source(f.config(dialect))).Reason, unavailable)
		})
	}
}

// The names in a stranger's certificate do not make an error of many lines.
func TestTokenEndpointNamesItself(t *testing.T) {
	f := newOrdeal(t)
	shows(func(c *x509.Certificate) {
		c.DNSNames = []string{"a\nlevel=INFO msg=forged", strings.Repeat("n", 2000)}
	}, true)(f)
	c := f.config("oauth2")
	c.TokenURL = "https://id.example:443/token"
	there := *f.tokenAddress.Load()
	f.transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, there)
	}
	e := f.fails(f.source(c))
	is(t, "error", e, protocol, badResponse, 0)
	if h := new(x509.HostnameError); !errors.As(e, h) {
		t.Errorf("%v does not wrap x509.HostnameError", e)
	}
}

// A code in lower case is one that a secret can look like.
func TestTokenEndpointEchoesPlainSecret(t *testing.T) {
	f := newOrdeal(t)
	f.rotate("s3cret_in_lower_case")
	f.answers(status(400, `{"error":"s3cret_in_lower_case"}`))
	equal(t, "code", f.fails(f.oauth2()).Code, "")
}

// A secret that is taken apart is found from six characters on: a shorter one would
// be found everywhere.
func TestTokenEndpointEchoesShortSecret(t *testing.T) {
	for secret, want := range map[string]string{"09azAZ": "", "09aAZ": "you said 0/9/a/A/Z"} {
		f := newOrdeal(t)
		f.rotate(secret)
		f.answers(status(400, `{"error":"invalid_request","error_description":"you said `+strings.Join(strings.Split(secret, ""), "/")+`"}`))
		equal(t, "description where the secret is "+secret, f.fails(f.oauth2()).Description, want)
	}
}

// Error.Description is what the endpoint wrote, within bounds.
func TestTokenErrorDescription(t *testing.T) {
	for _, row := range []struct{ name, description, want string }{
		{"as RFC 6749 wants it", "The scope is unknown", "The scope is unknown"},
		{"long", strings.Repeat("long ", 1000), strings.Repeat("long ", 1000)[:256]},
		{"of the outermost characters", "a b~", "a b~"},
		{"with a line break", "a\nb", ""},
		{"with an escape sequence", "a\x1b[31mb", ""},
		{"not ASCII", "Größe", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newOrdeal(t)
			body, _ := json.Marshal(map[string]string{"error": "invalid_scope", "error_description": row.description})
			f.answers(status(400, string(body)))
			e := f.fails(f.oauth2())
			equal(t, "description", e.Description, row.want)
			equal(t, "code", e.Code, "invalid_scope")
			if row.want != "" && strings.Contains(e.Error(), row.want) {
				t.Error("the error's own text shows it")
			}
		})
	}
}

// TestTokenLifetimeAsWritten has a row for each expires_in that can be
// understood: the token serves that long, is asked for once, and never after.
func TestTokenLifetimeAsWritten(t *testing.T) {
	for _, row := range []struct {
		name, expires string
		want          time.Duration
	}{
		{"missing", "", time.Hour},
		{"null", `,"expires_in":null`, time.Hour},
		{"string", `,"expires_in":"1800"`, 30 * time.Minute},
		{"fraction", `,"expires_in":60.9`, time.Minute},
		{"exponent", `,"expires_in":6e2`, 10 * time.Minute},
		{"10^12", `,"expires_in":1000000000000`, 30 * 24 * time.Hour},
		{"10^12 as a string", `,"expires_in":"1000000000000"`, 30 * 24 * time.Hour},
		{"10^400", `,"expires_in":1e400`, 30 * 24 * time.Hour},
		{"one second", `,"expires_in":1`, time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newOrdeal(t)
			f.answers(func(rw http.ResponseWriter, n int) {
				fmt.Fprintf(rw, `{"access_token":"token-%d","token_type":"Bearer"%s}`, n, row.expires)
			})
			s := f.oauth2()
			token, err := s.Token(f.ctx)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, "lifetime", token.Lifetime(), row.want)
			for range 100 {
				equal(t, "token", f.must(s), "token-1")
			}
			equal(t, "token requests", f.asked(), 1)
			f.clock.Turn(row.want)
			equal(t, "token after the end", f.must(s), "token-2")
			equal(t, "token requests", f.asked(), 2)
		})
	}
}

// A token that has no time to live is asked for once more, a second later: an
// endpoint that answers the same token until it ends answers one in its last
// second. More than once it is not, for an endpoint may always answer so.
func TestTokenWithoutLifetime(t *testing.T) {
	for _, expires := range []string{"0", "-3600", `"0"`, `"-1e999"`, "0.4"} {
		for _, lasts := range []int{1, 100} {
			t.Run(fmt.Sprintf("%s, %d times", expires, lasts), func(t *testing.T) {
				f := newOrdeal(t)
				f.answers(func(rw http.ResponseWriter, n int) {
					left := "3600"
					if n <= lasts {
						left = expires
					}
					fmt.Fprintf(rw, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%s}`, n, left)
				})
				s := f.oauth2()
				if lasts == 1 {
					f.drive(func() { equal(t, "token", f.must(s), "token-2") })
				} else {
					for range 50 { // none may lead to requests on every call
						is(t, "error", f.fails(s), protocol, badResponse, 200)
					}
				}
				equal(t, "token requests", f.asked(), 2)
				if !slices.Contains(f.clock.Slept(), time.Second) {
					t.Errorf("the second request did not wait a second: %v", f.clock.Slept())
				}
			})
		}
	}
}

// What a refusal is remembered for ends with the secret, but a secret that is
// another one each time it is read does not open the way for a loop.
func TestTokenSecretThatAlwaysChanges(t *testing.T) {
	f := newOrdeal(t)
	f.answers(status(401, `{"error":"invalid_client"}`))
	c := f.config("oauth2")
	n := 0
	c.ClientSecret = func(context.Context) (counterfoil.Secret, error) {
		n++
		return counterfoil.Secret(fmt.Sprint("another-s3cret-", n)), nil
	}
	s := f.source(c)
	for range 120 {
		f.fails(s)
		f.clock.Turn(500 * time.Millisecond)
	}
	if f.asked() > 30 {
		t.Errorf("%d token requests in a minute, want 30 at most", f.asked())
	}
}

// untilLeft is a body that ends properly as soon as the client leaves.
type untilLeft struct{ ctx context.Context }

func (b untilLeft) Read([]byte) (int, error) { <-b.ctx.Done(); return 0, io.EOF }

func (untilLeft) Close() error { return nil }

// What the time limit has cut off is no answer, however whole it looks.
func TestTokenAnswerCutWhole(t *testing.T) {
	f := newOrdeal(t)
	c := f.config("oauth2")
	c.HTTP = roundTripper(func(r *http.Request) (*http.Response, error) {
		f.hanging.Store(1)
		return &http.Response{StatusCode: 200, Body: untilLeft{r.Context()}}, nil
	})
	e := f.fails(f.source(c))
	is(t, "error", e, transient, unavailable, 0)
	equal(t, "wraps the deadline", errors.Is(e, context.DeadlineExceeded), true)
}
