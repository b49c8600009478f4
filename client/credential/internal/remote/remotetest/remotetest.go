// Package remotetest is the common part of tests of credentials that a service
// keeps: a TLS service that fails as told, the faults that each package must
// handle, and a search for secrets in printed text.
package remotetest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// Start is what clocks show first.
var Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Service is a TLS server. Its certificate is for 127.0.0.1, example.com and
// *.example.com, which its transport resolves.
type Service struct {
	*httptest.Server
	handler http.Handler
	mu      sync.Mutex
	fault   func(http.ResponseWriter, *http.Request) bool
	asked   int
}

// running counts services, whose connections hold goroutines.
var running atomic.Int64

// Serve starts a service, and stops it with the test. After the last has
// stopped, goroutines of the packages under test are an error.
func Serve(t testing.TB, h http.Handler) *Service {
	t.Helper()
	s := &Service{handler: h}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that leave
	s.StartTLS()
	running.Add(1)
	t.Cleanup(func() {
		s.Close()
		if running.Add(-1) == 0 {
			noneLeft(t)
		}
	})
	return s
}

func (s *Service) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked++
	fault := s.fault
	s.mu.Unlock()
	if fault == nil || !fault(w, r) {
		s.handler.ServeHTTP(w, r)
	}
}

// Break makes fault answer requests while it returns true; nil repairs the
// service.
func (s *Service) Break(fault func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// Answer breaks the service with a status and a body, for as many requests as
// times says, or forever if it is negative.
func (s *Service) Answer(times, status int, body string, headers ...string) {
	var mu sync.Mutex
	s.Break(func(w http.ResponseWriter, _ *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if times == 0 {
			return false
		}
		times--
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	})
}

// Asked returns how many requests there were.
func (s *Service) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// Transport trusts the service and finds its names.
func (s *Service) Transport() *http.Transport { return s.Client().Transport.(*http.Transport) }

// Clock skips waits that are shorter than a limit, such as those between
// attempts, and does not advance for the others.
type Clock struct{ *clock.Manual }

// NewClock returns a clock that shows Start.
func NewClock() Clock { return Clock{clock.NewManual(Start)} }

// Sleep waits until the clock is advanced, if d is 9 s or more.
func (c Clock) Sleep(ctx context.Context, d time.Duration) error {
	if d < 9*time.Second {
		return ctx.Err()
	}
	return c.Manual.Sleep(ctx, d)
}

// Open opens the secret that the service keeps: dialling with base, cached as o
// says.
type Open func(t *testing.T, base http.RoundTripper, o credential.KeepOptions) client.SecretFunc

// Rotation checks that a secret which set changes at the service is used without
// a restart, and that the last one is used while the service is down.
func (s *Service) Rotation(t *testing.T, open Open, set func(secret string)) {
	now := NewClock()
	get := open(t, s.Transport(), credential.KeepOptions{Clock: now})
	expect := func(when, want string) {
		t.Helper()
		if got, err := get(t.Context()); err != nil || got.Reveal() != want {
			t.Fatalf("%s: got %q, %v; want %q", when, got.Reveal(), err, want)
		}
	}
	set("the first")
	expect("at first", "the first")
	asked := s.Asked()
	set("the second")
	expect("while it is fresh", "the first")
	if s.Asked() != asked {
		t.Errorf("the service was asked %d times for a fresh secret", s.Asked()-asked)
	}
	now.Turn(31 * time.Second)
	expect("31 s after the rotation", "the second")
	now.Turn(31 * time.Second)
	s.Answer(-1, http.StatusServiceUnavailable, "the second")
	expect("while the service is down", "the second")
	s.Break(nil)
	set("the third")
	now.Turn(31 * time.Second)
	expect("when the service is back", "the third")
}

// Faults checks that every failure of a service is an error of one line without
// any of secrets, and that nothing is sent to other hosts. kept must be a secret
// that the service returns when it does not fail.
func (s *Service) Faults(t *testing.T, open Open, secrets ...string) {
	elsewhere := Serve(t, http.NotFoundHandler())
	changed := func(change func(*http.Transport)) http.RoundTripper {
		tr := s.Transport().Clone()
		change(tr)
		t.Cleanup(tr.CloseIdleConnections)
		return tr
	}
	echo := strings.Join(secrets, " ")
	for name, row := range map[string]struct {
		base  http.RoundTripper
		fault http.HandlerFunc
		want  string
	}{
		"refuses connections": {base: changed(func(tr *http.Transport) { tr.DialContext = nowhere(t) }), want: "connection refused"},
		"unknown authority": {
			base: changed(func(tr *http.Transport) { tr.TLSClientConfig.RootCAs = x509.NewCertPool() }),
			want: "of an authority that is not trusted",
		},
		"certificate of another": {
			base: changed(func(tr *http.Transport) { tr.TLSClientConfig.ServerName = "other.test" }),
			want: "its certificate is for another host",
		},
		"resets":                  {fault: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		"ends in the middle":      {fault: func(w http.ResponseWriter, _ *http.Request) { half(w, `{"`+echo) }, want: "breaks off"},
		"an answer that is empty": {fault: func(w http.ResponseWriter, _ *http.Request) {}},
		"an answer without end":   {fault: func(w http.ResponseWriter, _ *http.Request) { endless(w) }, want: "larger than"},
		"a length beyond bounds": {
			fault: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", fmt.Sprint(1<<40)) },
			want:  "larger than",
		},
		"a page":       {fault: func(w http.ResponseWriter, _ *http.Request) { page(w, echo) }},
		"another JSON": {fault: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, "[%q]", echo) }},
		"wrong types":  {fault: func(w http.ResponseWriter, _ *http.Request) { wrong(w, echo) }},
		"a redirect to elsewhere": {fault: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+"/?"+echo, http.StatusTemporaryRedirect)
		}, want: "answers 307"},
		"500, with what it got": {fault: func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, echo+fmt.Sprint(r.Header), http.StatusInternalServerError)
		}, want: "answers 500"},
		"418, with what it got": {fault: func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, echo+fmt.Sprint(r.Header), http.StatusTeapot)
		}, want: "answers 418"},
		"a header beyond all size": {
			fault: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 11<<20)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.Break(nil)
			if row.fault != nil {
				s.Break(func(w http.ResponseWriter, r *http.Request) bool { row.fault(w, r); return true })
			}
			base := row.base
			if base == nil {
				base = s.Transport()
			}
			got, err := open(t, base, credential.KeepOptions{Clock: NewClock()})(t.Context())
			if got != "" || err == nil || !strings.Contains(err.Error(), row.want) {
				t.Fatalf("got %q, %v; want an error with %q", got.Reveal(), err, row.want)
			}
			Clean(t, err, secrets...)
		})
	}
	t.Run("hangs", func(t *testing.T) { s.hangs(t, open) })
	s.Break(nil)
	if elsewhere.Asked() != 0 {
		t.Errorf("%d requests went elsewhere", elsewhere.Asked())
	}
}

// hangs checks that a call to a service that does not answer is canceled after
// 10 s.
func (s *Service) hangs(t *testing.T, open Open) {
	arrived := make(chan struct{}, 10)
	s.Break(func(_ http.ResponseWriter, r *http.Request) bool {
		arrived <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return true
	})
	now := NewClock()
	get := open(t, s.Transport(), credential.KeepOptions{Clock: now})
	done := make(chan error, 1)
	go func() {
		_, err := get(t.Context())
		done <- err
	}()
	<-arrived
	if err := now.Sleepers(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	now.Turn(10 * time.Second)
	if err := <-done; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no complete answer in time") {
		t.Errorf("got %v", err)
	}
}

// nowhere dials a port without a listener.
func nowhere(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String())
	}
}

func half(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Length", fmt.Sprint(len(body)+100))
	_, _ = io.WriteString(w, body)
}

func endless(w http.ResponseWriter) {
	_, _ = io.WriteString(w, `{"name":"`)
	for range remote.MaxAnswer/1024 + 1 {
		if _, err := io.WriteString(w, strings.Repeat("x", 1024)); err != nil {
			return
		}
	}
}

func page(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = io.WriteString(w, "<!doctype html>\n<title>Sign in</title>\n"+text)
}

// wrong answers with a number in place of a secret.
func wrong(w http.ResponseWriter, echo string) {
	fmt.Fprintf(w, `{"SecretString":7,"value":7,"payload":{"data":7},"note":%q}`, echo)
}

// Clean checks that err is one line, and that no secret shows in any printed
// form.
func Clean(t testing.TB, err error, secrets ...string) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
			text := fmt.Sprintf(verb, e)
			for _, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("%s shows %q: %s", verb, secret, text)
				}
			}
		}
	}
	if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 500 {
		t.Errorf("not one short line: %v", err)
	}
}

// noneLeft checks that no goroutine is inside the code under test.
func noneLeft(t testing.TB) {
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		left := stacks()
		if left == "" {
			return
		}
		if time.Now().After(end) {
			t.Errorf("goroutines are left:\n%s", left)
			return
		}
	}
}

// stacks are those of goroutines that credentials and their libraries started.
func stacks() string {
	all := make([]byte, 1<<20)
	all = all[:runtime.Stack(all, true)]
	var own []string
	for s := range strings.SplitSeq(string(all), "\n\n") {
		for _, room := range []string{
			"sync/singleflight.", "/credential.(*keeper)", "net/http.(*persistConn)",
			"aws-sdk-go", "smithy-go", "azure-sdk", "cloud.google.com/go",
		} {
			if strings.Contains(s, room) {
				own = append(own, s)
				break
			}
		}
	}
	return strings.Join(own, "\n\n")
}
