package client

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/dpop"
)

// The header fields of RFC 9449, as http.Header keeps them.
const (
	proofHeader = "Dpop"
	nonceHeader = "Dpop-Nonce"
)

// maxNonce bounds a nonce that a server can make a client remember, in bytes.
const maxNonce = 512

// proofs are those that a Source sends (RFC 9449), and what their recipients have
// asked for. A nil *proofs stands for a Source without DPoP.
type proofs struct {
	maker *dpop.Maker
	clock *providerClock
	// endpoint and api are the recipients. Each has its own nonces, even if both
	// are on one origin.
	endpoint, api nonces
	// ahead is by how much the API's clock is ahead of the token endpoint's, in ns.
	ahead atomic.Int64
}

// newProofs returns nil if k is not a key.
func newProofs(k Key, clock *providerClock) (*proofs, error) {
	if k.Signer == nil && k.Algorithm == "" && k.ID == "" {
		return nil, nil
	}
	k, err := k.complete()
	if err != nil {
		return nil, err
	}
	maker, err := dpop.NewMaker(k.Signer, k.Algorithm)
	if err != nil {
		return nil, err
	}
	return &proofs{maker: maker, clock: clock}, nil
}

// binding is the thumbprint of the key that tokens are bound to; "" for none.
func (p *proofs) binding() string {
	if p == nil {
		return ""
	}
	return p.maker.Thumbprint()
}

// nonces is the last nonce of one recipient.
type nonces struct{ last atomic.Pointer[string] }

// known returns the nonce for the next proof; "" for none.
func (n *nonces) known() string {
	if last := n.last.Load(); last != nil {
		return *last
	}
	return ""
}

// learn stores the nonce of a response for the next proof.
func (n *nonces) learn(h http.Header) {
	if fresh := nonceOf(h); fresh != "" && fresh != n.known() {
		fresh = strings.Clone(fresh) // must not keep the response's header in memory
		n.last.Store(&fresh)
	}
}

// nonceOf returns the nonce that a response has for the next proof (RFC 9449
// section 8.2); "" if it has none that can be sent.
func nonceOf(h http.Header) string {
	fresh := h[nonceHeader]
	if len(fresh) != 1 || len(fresh[0]) > maxNonce ||
		strings.ContainsFunc(fresh[0], func(c rune) bool { return c < 0x21 || c > 0x7e || c == '"' || c == '\\' }) {
		return ""
	}
	return fresh[0]
}

// learnFromResponse takes the nonce from a response of the API.
func (p *proofs) learnFromResponse(resp *http.Response) {
	if p != nil {
		p.api.learn(resp.Header)
	}
}

// sign makes a proof at now, the time by its recipient's clock. It is set back a
// little: the clock is known only to the second.
func (p *proofs) sign(method string, target *url.URL, token counterfoil.Secret, nonce string, now time.Time) (string, error) {
	return p.maker.Proof(dpop.Request{
		Method: method, URL: target, AccessToken: token.Reveal(), Nonce: nonce, Now: now.Add(-minSkew),
	})
}

// ofRequest makes the proof of a token request. It also returns the nonce in it.
func (p *proofs) ofRequest(target *url.URL) (proof counterfoil.Secret, nonce string, err error) {
	nonce = p.endpoint.known()
	text, err := p.sign(http.MethodPost, target, "", nonce, p.clock.now())
	return counterfoil.Secret(text), nonce, err
}

// made is the state that a proof of a call was made with.
type made struct {
	nonce string
	ahead time.Duration // of this machine's clock
}

// attempts are the proofs of one call. Other calls learn at the same time, so a
// refusal is compared with the state that the refused proof was made with, and
// the next proof uses what the refusal itself contained: a nonce may be
// single-use.
type attempts struct {
	last made
	next *made // nil for what is known by then
}

// ofCall makes the next proof that the sender of token has the key that the token
// is bound to (RFC 9449 section 7.1).
func (p *proofs) ofCall(call *http.Request, token counterfoil.Secret, all *attempts) (string, error) {
	target := *call.URL
	if call.Host != "" {
		target.Host = call.Host // what the API sees as its host
	}
	now := p.clock.machine.Now()
	with := made{p.api.known(), p.apiAhead(now)}
	if all.next != nil {
		with = *all.next
	}
	*all = attempts{last: with}
	return p.sign(call.Method, &target, token, with.nonce, now.Add(with.ahead))
}

// apiAhead is how far the API's clock is ahead of this machine's, as far as
// known. It is the sum of two values learned at different times, so each can be
// within maxSkew while the sum is not.
func (p *proofs) apiAhead(now time.Time) time.Duration {
	return within(p.clock.ahead(now)+time.Duration(p.ahead.Load()), maxSkew)
}

// refused returns the error code of a 401 that is about the proof, not the token
// (RFC 9449 section 7.1); "" for any other.
func (p *proofs) refused(resp *http.Response) string {
	if p == nil {
		return ""
	}
	switch code := challengeError(resp.Header["Www-Authenticate"]); code {
	case string(counterfoil.ReasonUseDPoPNonce), string(counterfoil.ReasonInvalidDPoPProof):
		return code
	}
	return ""
}

// improve reports whether a call whose proof was refused with code should be
// repeated at once with the same token and another proof, and prepares that
// proof: the API requires a nonce (RFC 9449 section 9), or its clock differs from
// the one that the refused proof was made with.
func (p *proofs) improve(code string, resp *http.Response, all *attempts) bool {
	now := p.clock.machine.Now()
	next := made{cmp.Or(nonceOf(resp.Header), p.api.known()), p.apiAhead(now)}
	if code == string(counterfoil.ReasonUseDPoPNonce) {
		all.next = &next
		return next.nonce != all.last.nonce
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		next.ahead = date.Add(time.Second / 2).Sub(now)
	}
	if next.ahead.Abs() > maxSkew || (next.ahead-all.last.ahead).Abs() < wrongClock {
		return false
	}
	p.clock.correct(now, next.ahead-time.Duration(p.ahead.Load()))
	p.ahead.Store(int64(next.ahead - p.clock.ahead(now)))
	all.next = &next
	return true
}
