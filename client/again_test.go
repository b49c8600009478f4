package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// A call that was sent a second time, and broke off, may have been executed: its
// caller is not told the 401 before it.
func TestSecondAttemptThatIsLost(t *testing.T) {
	for _, row := range []struct {
		name  string
		leave bool
	}{{"reset", false}, {"left by the caller", true}} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			ctx, leave := context.WithCancel(w.ctx)
			w.onCall = func(rw http.ResponseWriter, r seen, n int) {
				if n == 1 {
					rw.WriteHeader(http.StatusUnauthorized)
					return
				}
				if row.leave {
					leave()
					abandon(r)
				}
				panic(http.ErrAbortHandler)
			}
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, w.api.URL, strings.NewReader("an order"))
			resp, err := w.oauth2().Client().Do(req)
			leave()
			if err == nil {
				t.Errorf("got status %d", resp.StatusCode)
			}
			equal(t, "the caller's leaving is told", errors.Is(err, context.Canceled), row.leave)
			equal(t, "calls", len(w.calls), 2)
		})
	}
}

// faulty gives half of a body, fails once, and then pretends that it has ended.
type faulty struct{ reads int }

var errReader = errors.New("the disk is gone")

func (f *faulty) Read(p []byte) (int, error) {
	switch f.reads++; f.reads {
	case 1:
		return copy(p, "half"), nil
	case 2:
		return 0, errReader
	}
	return 0, io.EOF
}

// A body whose own reader fails is not sent again as if it were whole.
func TestBodyWhoseReaderFails(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	req, _ := http.NewRequestWithContext(w.ctx, http.MethodPut, w.api.URL, &faulty{})
	resp, _, err := w.patient(s, req)
	if err == nil {
		t.Fatalf("got status %d", resp.StatusCode)
	}
	equal(t, "error", errors.Is(err, errReader), true)
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.calls); n > 1 {
		t.Errorf("%d calls: a half was sent as a whole", n)
	}
}

// An answer that comes before the body is sent stands when the body cannot be
// sent again.
func TestEarlyAnswerToALongBody(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	w.must(s)
	held, release := io.Pipe() // a reader that stays inside the body
	defer release.Close()
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		go func() { _, _ = io.Copy(io.Discard, r.Body) }()
		return &http.Response{StatusCode: 503, Body: io.NopCloser(strings.NewReader("not now"))}, nil
	})
	req, _ := http.NewRequestWithContext(w.ctx, http.MethodPut, w.api.URL, held)
	var resp *http.Response
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err = (&client.Transport{Source: s, Base: base}).RoundTrip(req)
	}()
	w.eventually("the answer comes", func() bool {
		w.clock.Turn(100 * time.Millisecond)
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	equal(t, "answer", fmt.Sprint(resp.StatusCode, " ", string(body)), "503 not now")
	release.Close()
}

// drip is a body that never ends; it is closed by whoever gives up.
type drip struct {
	closed chan struct{}
}

func (d drip) Read([]byte) (int, error) { <-d.closed; return 0, errors.New("closed") }
func (d drip) Close() error             { close(d.closed); return nil }

// The rest of an answer that will be repeated is not waited for.
func TestAnswerThatDrips(t *testing.T) {
	for _, code := range []int{401, 503} {
		w := newWorld(t)
		s := w.oauth2()
		w.must(s)
		n := 0
		base := roundTripper(func(*http.Request) (*http.Response, error) {
			if n++; n == 1 {
				return &http.Response{StatusCode: code, Body: drip{make(chan struct{})}}, nil
			}
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		})
		done := make(chan error, 1)
		go func() {
			req, _ := http.NewRequestWithContext(w.ctx, http.MethodGet, w.api.URL, nil)
			resp, err := (&client.Transport{Source: s, Base: base}).RoundTrip(req)
			if err == nil && resp.StatusCode != 200 {
				err = fmt.Errorf("status %d", resp.StatusCode)
			}
			done <- err
		}()
		w.eventually("the call is made again", func() bool {
			if strings.Contains(ownGoroutines(), "counterfoil/client.ended(") || strings.Contains(ownGoroutines(), "Sleep") {
				w.clock.Turn(time.Second)
			}
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("%d: %v", code, err)
				}
				return true
			default:
				return false
			}
		})
	}
}

// A 401 with a long body is repeated like any other.
func TestLong401(t *testing.T) {
	w := newWorld(t)
	w.onCall = func(rw http.ResponseWriter, _ seen, n int) {
		if n == 1 {
			rw.WriteHeader(http.StatusUnauthorized)
			_, _ = rw.Write(bytes.Repeat([]byte("x"), 200<<10))
		}
	}
	equal(t, "status", w.get(w.oauth2().Client(), w.api.URL).StatusCode, 200)
}

// endless is a body that is long enough, and counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	if e.read > 16<<20 {
		return 0, io.EOF
	}
	e.read += len(p)
	return len(p), nil
}

func (e *endless) Close() error { return nil }

// No more is read of an answer that will be repeated than it is worth to use its
// connection again.
func TestAnswerWithoutEnd(t *testing.T) {
	for _, code := range []int{401, 503} {
		w := newWorld(t)
		s := w.oauth2()
		body := &endless{}
		base := roundTripper(func(*http.Request) (*http.Response, error) {
			if body.read == 0 {
				return &http.Response{StatusCode: code, Body: body}, nil
			}
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		})
		w.must(s)
		done := make(chan error, 1)
		go func() {
			req, _ := http.NewRequestWithContext(w.ctx, http.MethodGet, w.api.URL, nil)
			_, err := (&client.Transport{Source: s, Base: base}).RoundTrip(req)
			done <- err
		}()
		w.eventually("the call is made again", func() bool {
			if strings.Contains(ownGoroutines(), "Sleep") {
				w.clock.Turn(time.Second)
			}
			return len(done) == 1
		})
		must(<-done)
		if body.read < 1<<10 || body.read > 128<<10 {
			t.Errorf("%d: %d bytes were read", code, body.read)
		}
	}
}

// What no repetition mends is not repeated.
func TestRequestThatCannotBeSent(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	req, _ := http.NewRequestWithContext(w.ctx, http.MethodGet, w.api.URL, nil)
	req.Header["X-Bad"] = []string{"a\nb"}
	_, waits, err := w.patient(s, req)
	if err == nil {
		t.Fatal("it was sent")
	}
	equal(t, "waits", len(waits), 0)
}

// Callers get their turns in the order in which they ask, and one whose turn
// comes too late is told at once.
func TestTurnsAreInOrder(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.RequestsPerMinute = 1
	s := w.source(c)
	w.must(s)
	// The machine's clock is the one of deadlines.
	w.clock.Turn(time.Until(w.clock.Now()).Abs())
	w.must(s)
	tr := &client.Transport{Source: s, Base: roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})}
	call := func(patience time.Duration) error {
		ctx, cancel := context.WithDeadline(context.WithoutCancel(w.ctx), time.Now().Add(patience))
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, w.api.URL, nil)
		_, err := tr.RoundTrip(req)
		return err
	}
	if err := call(time.Hour); err != nil {
		t.Fatal(err)
	}
	w.t.Cleanup(func() { w.clock.Turn(time.Hour) })
	second := make(chan error, 1)
	go func() { second <- call(time.Hour) }()
	w.eventually("the second waits", func() bool {
		return slices.ContainsFunc(w.clock.Slept(), func(d time.Duration) bool { return d > time.Minute })
	})
	err := call(90 * time.Second) // there is a place after 61 s, but the second has it
	if counterfoilReason(err) != counterfoil.ReasonRateLimited {
		t.Errorf("the third got %v", err)
	}
	w.clock.Turn(62 * time.Second)
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// closing is a body that tells whether it was closed.
type closing struct {
	io.Reader
	closed atomic.Bool
}

func (c *closing) Close() error { c.closed.Store(true); return nil }

// A transport may answer while it still reads the body, which is closed when it has
// let go of that.
func TestBodyIsClosedWhenTheTransportHasLetGo(t *testing.T) {
	w := newWorld(t)
	s := w.oauth2()
	w.must(s)
	var sent io.ReadCloser
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		sent = r.Body
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	})
	body := &closing{Reader: strings.NewReader("an order")}
	req, _ := http.NewRequestWithContext(w.ctx, http.MethodPost, w.api.URL, body)
	if _, err := (&client.Transport{Source: s, Base: base}).RoundTrip(req); err != nil {
		t.Fatal(err)
	}
	equal(t, "closed while the transport reads it", body.closed.Load(), false)
	text, err := io.ReadAll(sent)
	equal(t, "what the transport reads then", string(text), "an order")
	must(err)
	must(sent.Close())
	equal(t, "closed then", body.closed.Load(), true)
}

// An answer that is returned after all, because the body cannot be had again, is
// whole, or says that it is not.
func TestAnswerThatIsReturnedAfterAll(t *testing.T) {
	for size, want := range map[int]error{0: nil, 10: nil, 64 << 10: nil, 100 << 10: io.ErrUnexpectedEOF} {
		w := newWorld(t)
		w.onCall = func(rw http.ResponseWriter, _ seen, _ int) {
			rw.WriteHeader(503)
			_, _ = io.WriteString(rw, strings.Repeat("x", size))
		}
		req, _ := http.NewRequestWithContext(w.ctx, http.MethodPut, w.api.URL, strings.NewReader("an order"))
		req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
		resp, err := w.oauth2().Client().Do(req)
		must(err)
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		equal(t, fmt.Sprint("error of a body of ", size, " bytes"), err, want)
		equal(t, fmt.Sprint("it is whole, of ", size, " bytes"), len(text) == size, want == nil)
	}
}

// A 401 that would be made good, but for what the next attempt lacks, is the answer.
func TestAPIKeyThatIsAwayAfterA401(t *testing.T) {
	w := newWorld(t)
	w.onCall = func(rw http.ResponseWriter, _ seen, _ int) { rw.WriteHeader(401) }
	c := w.config("altrata")
	var asked atomic.Int64
	c.APIKey = func(context.Context) (counterfoil.Secret, error) {
		if asked.Add(1) == 4 { // for a token, a call, another token, and the call again
			return "", errors.New("sealed")
		}
		return theKey, nil
	}
	req, _ := http.NewRequestWithContext(w.ctx, http.MethodPost, c.APIURL, strings.NewReader("{}"))
	resp, err := w.source(c).Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	equal(t, "status", resp.StatusCode, 401)
	equal(t, "API keys, calls", fmt.Sprint(asked.Load(), len(w.seenCalls())), "4 1")
}
