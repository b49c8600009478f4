package client

import (
	"context"
	"fmt"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/internal/clock"
)

// Source obtains, keeps and renews the token of one client. It is safe for
// concurrent use and needs no closing: it runs a goroutine only while it renews
// a token.
type Source struct {
	cfg     Config
	tokens  *tokens
	renewal *renewal
	calls   *calls
	health  *health
}

// Format prints the provider and the client id, and nothing else, for every
// verb.
func (s *Source) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "client.Source(%s as %q)", s.cfg.Provider.Name, s.cfg.ClientID)
}

// Token returns a live token. It returns at once while there is one, even if ctx
// is done, except shortly before expiry; otherwise it waits for the request that
// all callers share, until ctx ends, which does not end the request.
//
// The error is a [*counterfoil.Error], whose Class says what to do about it:
// Transient errors may succeed later, Refused ones need a change by a person,
// Protocol ones mean that no token endpoint answers. If ctx ends first, the error
// wraps its cause and is Transient: check ctx.Err() before the Class.
func (s *Source) Token(ctx context.Context) (counterfoil.Token, error) {
	h, err := s.current(ctx)
	if err != nil {
		return counterfoil.Token{}, err
	}
	return h.token, nil
}

// current returns the token in use.
func (s *Source) current(ctx context.Context) (*held, error) {
	st, now := s.tokens.load(), s.cfg.Clock.Now()
	if st.fresh(now) {
		return st.held, nil
	}
	before := st
	st = s.tokens.look(ctx, before, now)
	h := st.held
	if before.failures > 0 && h != nil && h != before.held {
		s.renewal.recovered(ctx, before)
	}
	if !h.live(now) {
		return s.renewal.wait(ctx)
	}
	if clocks.Before(now, st.until) {
		return h, nil
	}
	if clocks.Before(now, h.lastCall) {
		if s.tokens.postpone(h, st.until, h.lastCall) {
			s.renewal.start(ctx)
		}
		return h, nil
	}
	// Half of the time left is for waiting, the other half for the call.
	waiting, cancel := clock.WithTimeout(ctx, s.cfg.Clock, clocks.Left(now, h.ends)/2)
	defer cancel()
	fresh, err := s.renewal.wait(waiting)
	if err == nil {
		return fresh, nil
	}
	if !h.live(s.cfg.Clock.Now()) { // the machine was suspended meanwhile
		return s.renewal.wait(ctx)
	}
	if waiting.Err() != nil && ctx.Err() == nil {
		s.tokens.postpone(h, st.until, h.ends) // no other caller need wait
	}
	return h, nil
}

// turn returns a token when it is a call's turn.
func (s *Source) turn(ctx context.Context) (*held, error) {
	for {
		h, err := s.current(ctx)
		if err != nil {
			return nil, err
		}
		giveBack, err := s.calls.wait(ctx)
		if err != nil {
			return nil, err
		}
		if giveBack == nil {
			return h, nil
		}
		if h = s.tokens.load().held; h.live(s.cfg.Clock.Now()) {
			return h, nil
		}
		giveBack() // the token expired meanwhile
	}
}

// Invalidate drops, here and in the cache, the token that an API has rejected,
// and only that one: a token that has been renewed since stays. The next call of
// Token gets a new one. After 5 tokens in a minute have been dropped long before
// their renewal, by this Source or others that share the cache, further ones are
// kept, because then the tokens are not the cause.
func (s *Source) Invalidate(ctx context.Context, rejected counterfoil.Token) {
	dropped, err := s.tokens.invalidate(ctx, rejected)
	if !dropped {
		return
	}
	e := counterfoil.Event{Type: counterfoil.EventTokenDropped, Reason: counterfoil.ReasonTokenInvalid}
	if err != nil {
		e.Detail = "token not dropped from the cache: " + err.Error()
	}
	s.cfg.event(ctx, e)
}

// Clear forgets the tokens of this client, whatever their scopes, here and in
// the cache.
func (s *Source) Clear(ctx context.Context) error {
	err := s.cfg.Cache.Clear(ctx, KeyPrefix(s.cfg.ClientID))
	s.tokens.forget() // last: a caller may have loaded it from the cache meanwhile
	return err
}

// Forget forgets the token of this Source, here and in the cache, and no other
// token of the client; Clear forgets those, too.
func (s *Source) Forget(ctx context.Context) error {
	p, failure := s.renewal.place(ctx)
	if failure != nil {
		return failure
	}
	err := s.cfg.Cache.Clear(ctx, p.key) // a whole key is the prefix of itself alone
	s.tokens.forget()
	return err
}
