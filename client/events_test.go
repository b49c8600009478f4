package client_test

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// What hears the events, a trace for example, finds the caller that began a
// token request. The request itself has nothing of that caller, who may have
// left: hooks on its connections would be called behind the caller's back.
func TestEventsKnowTheCaller(t *testing.T) {
	type key struct{}
	w := newWorld(t)
	c := w.config("oauth2")
	var told, foreign atomic.Int64
	c.OnEvent = func(ctx context.Context, _ counterfoil.Event) {
		if ctx.Value(key{}) == "the caller" && ctx.Err() == nil {
			told.Add(1)
		}
	}
	c.ClientSecret = func(ctx context.Context) (counterfoil.Secret, error) {
		if ctx.Value(key{}) != nil {
			foreign.Add(1)
		}
		return client.Static(theSecret)(ctx)
	}
	arrived, release := make(chan struct{}), make(chan struct{})
	w.answers(func(rw http.ResponseWriter, n int) { close(arrived); <-release; give(rw, n, "3600") })
	s := w.source(c)
	ctx, cancel := context.WithCancel(context.WithValue(w.ctx, key{}, "the caller"))
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { foreign.Add(1) },
	})
	left := make(chan error)
	go func() { _, err := s.Token(ctx); left <- err }()
	<-arrived
	cancel()
	if err := <-left; err == nil {
		t.Fatal("the caller did not leave")
	}
	close(release)
	w.must(s)
	equal(t, "events that know the caller", told.Load(), 2) // requested, obtained
	equal(t, "values of the caller in the request", foreign.Load(), 0)
}

// A process whose requests failed, and which then finds the token of another in
// the cache, says so: otherwise its log ends with the failure.
func TestRecoveryThroughTheCacheIsAnEvent(t *testing.T) {
	w := newWorld(t)
	c := w.config("oauth2")
	c.Cache = client.Memory()
	w.answers(status(401, `{"error":"invalid_client"}`))
	failed := w.source(c)
	w.fails(failed)
	w.answers(nil)
	c.OnEvent = nil
	w.must(w.source(c))
	w.must(failed)
	events := w.seenEvents()
	last := events[len(events)-1]
	if last.Type != counterfoil.EventTokenObtained || last.Detail != "from the shared cache" || !last.Success {
		t.Errorf("the last event is %+v", last)
	}
	w.must(failed)
	equal(t, "events later", len(w.seenEvents()), len(events))
}
