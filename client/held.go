package client

import (
	"math/rand/v2"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
)

const (
	// A token is renewed maxMargin before its end, or a marginShare of its
	// lifetime where that is less, so that a short token is not always stale.
	maxMargin   = 300 * time.Second
	marginShare = 5
	// jitterShare of the margin is the most by which renewal is earlier still,
	// so that processes that started together do not renew together.
	jitterShare = 10
	// Callers wait for the renewal lastCall before expiry, or a lastShare of the
	// lifetime if that is less: a token sent so late may arrive after its
	// expiry.
	lastCall  = 10 * time.Second
	lastShare = 50
)

// held is a token in use. It goes through four times, each a moment:
//
//	taken … renewal … lastCall … ends
//	in use | in use while it is renewed | callers wait briefly for the renewal, then use it | never used again
//
// They have a monotonic reading beside that of the wall clock, and are reached
// when the first of the two clocks says so: the wall clock can be set back, and
// the other stands still while the machine is suspended. It is not changed.
type held struct {
	token counterfoil.Token
	// authorization is the token as sent in the API's header.
	authorization string
	place         *place
	// issued is when the token was issued, with the monotonic reading that token
	// lacks; a token from elsewhere has none.
	issued   time.Time
	renewal  time.Time
	lastCall time.Time
	ends     time.Time
}

func (h *held) live(now time.Time) bool { return h != nil && clocks.Before(now, h.ends) }

// serves determines the times of h's token, which has left from now.
func (h *held) serves(now time.Time, left time.Duration) {
	early := margin(h.token)
	early += rand.N(early/jitterShare + 1)
	h.ends = now.Add(left)
	h.renewal = h.ends.Add(-early)
	h.lastCall = h.ends.Add(-min(lastCall, h.token.Lifetime()/lastShare))
}

func margin(t counterfoil.Token) time.Duration { return min(maxMargin, t.Lifetime()/marginShare) }

// early reports whether h's token would have been used much longer. An expiry
// bounds itself, and a fleet's renewals briefly look like one.
func (h *held) early(now time.Time) bool {
	return clocks.Before(now, h.ends.Add(-2*margin(h.token)))
}

// bounding returns t, which was obtained while h was the token in use, limited
// by now: if a provider returns the same token again, that does not extend its
// life.
func (h *held) bounding(t counterfoil.Token, now time.Time) counterfoil.Token {
	if t.Value != h.token.Value || !h.live(now) {
		return t
	}
	if left := clocks.Left(now, h.ends); left < clocks.Left(now, t.Expires) {
		t.Expires = now.Add(left)
	}
	if h.issued.Before(t.Issued) && !inFuture(h.issued, now) { // not from when the clock was wrong
		t.Issued = h.issued
	}
	return t
}
