package client_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// connections counts those that are open.
type connections struct {
	net.Conn
	open *atomic.Int64
	once atomic.Bool
}

func (c *connections) Close() error {
	if !c.once.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

// counting is base with the number of its connections that are open.
func (w *world) counting() (*http.Transport, *atomic.Int64) {
	open, base := new(atomic.Int64), w.base()
	base.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		open.Add(1)
		return &connections{Conn: conn, open: open}, nil
	}
	return base, open
}

// kept makes a call whose connection is kept.
func (w *world) kept(s *client.Source) {
	w.t.Helper()
	if _, err := io.Copy(io.Discard, w.get(s.Client(), w.api.URL).Body); err != nil {
		w.t.Fatal(err)
	}
}

// A token is used with the certificate that got it, also while that is replaced;
// then nothing of the old one stays open.
func TestCertificateIsRotated(t *testing.T) {
	w := newWorld(t)
	long := theStart.Add(1000 * time.Hour)
	cert := certify(t, "one", long)
	c := w.certified(&cert)
	base, open := w.counting()
	c.HTTP = base
	s := w.source(c)
	call := func() { w.kept(s) }
	call()
	equal(t, "open connections", open.Load(), 2)
	cert = certify(t, "two", long)
	call()
	w.clock.Turn(58 * time.Minute) // past the margin: the old token serves while it is renewed
	call()
	w.eventually("the token is renewed", func() bool { return w.must(s) == "token-2" })
	w.eventually("the connections with the old certificate are closed", func() bool { return open.Load() == 1 })
	call()
	for i, want := range []string{"one", "one", "one", "two"} {
		equal(t, "certificate of a call", shown(w.seenCalls()[i]), want)
	}
	for i, want := range []string{"one", "two"} {
		equal(t, "certificate of a token request", shown(w.seenTokens()[i]), want)
	}
	cert = certify(t, "three", long)
	w.answers(status(401, `{"error":"invalid_client"}`))
	w.clock.Turn(2 * time.Hour)
	equal(t, "reason", w.fails(s).Reason, counterfoil.ReasonInvalidClient)
	cert = certify(t, "four", long)
	w.answers(nil)
	call() // the refusal of the third is not the fourth's
	equal(t, "certificate of the call", shown(w.seenCalls()[4]), "four")
	w.eventually("the connections with other certificates are closed", func() bool { return open.Load() == 2 })
}

// Connections with the old certificate that calls make while the new one has no
// token yet are closed when it has.
func TestCertificateIsRotatedWhileTheEndpointIsAway(t *testing.T) {
	w := newWorld(t)
	cert := certify(t, "one", theStart.Add(1000*time.Hour))
	c := w.certified(&cert)
	base, open := w.counting()
	c.HTTP = base
	s := w.source(c)
	w.kept(s)
	cert = certify(t, "two", theStart.Add(1000*time.Hour))
	w.answers(status(503, ""))
	w.clock.Turn(56 * time.Minute) // past the margin
	equal(t, "token", w.must(s), "token-1")
	w.eventually("the renewal has failed", func() bool { return w.asked() == 2 && ownGoroutines() == "" })
	w.kept(s)
	w.answers(nil)
	w.clock.Turn(time.Minute)
	w.eventually("the token is renewed", func() bool { return w.must(s) == "token-3" })
	w.eventually("the connections with the old certificate are closed", func() bool { return open.Load() == 1 })
	equal(t, "certificate of the call meanwhile", shown(w.seenCalls()[1]), "one")
}

// A call that begins before the certificate is replaced leaves no connection open,
// and closes none before it is answered: HTTP/1.1 keeps the connection for others a
// moment before it returns the answer.
func TestCertificateIsRotatedDuringACall(t *testing.T) {
	for name, row := range map[string]struct {
		trace func(hold func()) *httptrace.ClientTrace
		open  int64 // connections before the answer
	}{
		"before it is sent": {func(hold func()) *httptrace.ClientTrace {
			return &httptrace.ClientTrace{GetConn: func(string) { hold() }}
		}, 3},
		"before its answer is returned": {func(hold func()) *httptrace.ClientTrace {
			return &httptrace.ClientTrace{PutIdleConn: func(error) { hold() }}
		}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.onCall = func(rw http.ResponseWriter, _ seen, _ int) { rw.WriteHeader(http.StatusNoContent) }
			cert := certify(t, "one", theStart.Add(1000*time.Hour))
			c := w.certified(&cert)
			base, open := w.counting()
			c.HTTP = base
			s := w.source(c)
			w.must(s)
			held, resume, answered := make(chan struct{}), make(chan struct{}), make(chan error)
			ctx := httptrace.WithClientTrace(w.ctx, row.trace(func() { close(held); <-resume }))
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.api.URL, nil)
			must(err)
			go func() {
				resp, err := s.Client().Do(req)
				if err == nil {
					_ = resp.Body.Close()
				}
				answered <- err
			}()
			<-held
			cert = certify(t, "two", theStart.Add(1000*time.Hour))
			w.clock.Turn(56 * time.Minute) // past the margin
			w.eventually("the token is renewed", func() bool { return w.must(s) == "token-2" })
			for range 10 {
				w.kept(s)
			}
			equal(t, "connections before the answer", open.Load(), row.open)
			close(resume)
			if err := <-answered; err != nil {
				t.Error(err)
			}
			w.eventually("the connections with the old certificate are closed", func() bool { return open.Load() == 2 })
		})
	}
}

// holding is a connection that tells before it is closed.
type holding struct {
	net.Conn
	told func()
}

func (c holding) Close() error {
	c.told()
	return c.Conn.Close()
}

// joining is a context of somebody who says when they begin to wait.
type joining struct {
	context.Context
	told func()
}

func (c joining) Done() <-chan struct{} {
	c.told()
	return c.Context.Done()
}

// Who waits for a renewal that is about to end, and whose token has expired since,
// gets the token of the next one.
func TestTokenThatExpiresBeforeItsRenewalEnds(t *testing.T) {
	w := newWorld(t)
	cert := certify(t, "one", theStart.Add(1000*time.Hour))
	c := w.certified(&cert)
	base, got, end := w.base(), make(chan struct{}), make(chan struct{})
	hold := sync.OnceFunc(func() { close(got); <-end })
	base.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return holding{conn, hold}, err
	}
	c.HTTP = base
	s := w.source(c)
	w.must(s)
	cert = certify(t, "two", theStart.Add(1000*time.Hour))
	w.clock.Turn(2 * time.Hour)
	var all sync.WaitGroup
	wait := func() {
		joined := make(chan struct{})
		all.Go(func() {
			token, err := s.Token(joining{w.ctx, sync.OnceFunc(func() { close(joined) })})
			if err != nil {
				t.Error(err)
			}
			equal(t, "token", token.Value.Reveal(), "token-3")
		})
		<-joined
	}
	wait()
	<-got // the second token is in use, and the connection of the first is being closed
	w.clock.Turn(2 * time.Hour)
	wait()
	close(end)
	all.Wait()
	equal(t, "token requests", w.asked(), 3)
}
