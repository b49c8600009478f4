package client

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/clocks"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// schemeDPoP precedes a token that is bound to a key, and is its token_type (RFC
// 9449 sections 5 and 7.1).
const schemeDPoP = "DPoP"

// The header fields of RFC 9449, as http.Header keeps them.
const (
	proofHeader = "Dpop"
	nonceHeader = "Dpop-Nonce"
)

const (
	// maxNonce bounds a nonce that a server can make a client remember, in bytes.
	maxNonce = 512
	// maxChallenges bounds what is read of an answer's challenges, in bytes.
	maxChallenges = 8 << 10
)

// prover makes the proofs of a Source (RFC 9449 section 4.2).
type prover struct {
	key        Key
	header     []byte // the protected header of every proof
	thumbprint string
	// endpoint and api are the two that read proofs.
	endpoint, api reader
	// ahead is by how much the API's clock is ahead of the token endpoint's, in ns.
	ahead atomic.Int64
}

// reader is the recipient of proofs: the token endpoint or the API. Each has its
// own nonces, even if both are on one origin.
type reader struct{ nonce atomic.Pointer[string] }

// made is the state that a proof of a call was made with.
type made struct {
	nonce string
	ahead time.Duration // of this machine's clock
}

// proofs are those of one call. Other calls learn at the same time, so a refusal
// is compared with the state that the refused proof was made with, and the next
// proof uses what the refusal itself contained: a nonce may be single-use.
type proofs struct {
	last made
	next *made // nil for what is known by then
}

// newProver returns nil if k is not a key.
func newProver(k Key) (*prover, error) {
	if k.Signer == nil && k.Algorithm == "" && k.ID == "" {
		return nil, nil
	}
	k, err := k.complete()
	if err != nil {
		return nil, err
	}
	p := &prover{key: k}
	jwk, err := jose.MarshalKey(k.Signer.Public())
	if err == nil {
		p.thumbprint, err = jose.Thumbprint(k.Signer.Public())
	}
	if err == nil {
		p.header, err = json.Marshal(struct {
			Type      string          `json:"typ"`
			Algorithm string          `json:"alg"`
			Key       json.RawMessage `json:"jwk"`
		}{"dpop+jwt", k.Algorithm, jwk})
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// binding is the thumbprint of the key that tokens are bound to; "" for none.
func (p *prover) binding() string {
	if p == nil {
		return ""
	}
	return p.thumbprint
}

// proof makes the proof of one request for r. It also returns the nonce in it.
// The token is empty at the token endpoint; now is the time by r's clock.
func (p *prover) proof(
	r *reader, method string, target *url.URL, token counterfoil.Secret, now time.Time,
) (proof, nonce string, err error) {
	nonce = r.known()
	proof, err = p.sign(nonce, method, target, token, now)
	return proof, nonce, err
}

func (p *prover) sign(nonce, method string, target *url.URL, token counterfoil.Secret, now time.Time) (string, error) {
	hash := ""
	if token != "" {
		sum := sha256.Sum256([]byte(token.Reveal()))
		hash = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if method == "" {
		method = http.MethodGet
	}
	path := target.EscapedPath()
	if path == "" {
		path = "/"
	}
	claims, err := json.Marshal(struct {
		ID       string `json:"jti"`
		Method   string `json:"htm"`
		URL      string `json:"htu"`
		IssuedAt int64  `json:"iat"`
		Token    string `json:"ath,omitempty"`
		Nonce    string `json:"nonce,omitempty"`
	}{rand.Text(), method, target.Scheme + "://" + target.Host + path, now.Add(-minSkew).Unix(), hash, nonce})
	if err != nil {
		return "", err
	}
	return jose.Sign(p.key.Signer, p.key.Algorithm, p.header, claims)
}

// proves adds the next proof that the sender of h's token has the key that the
// token is bound to (RFC 9449 section 7.1).
func (s *Source) proves(call *http.Request, h *held, all *proofs) error {
	target := *call.URL
	if call.Host != "" {
		target.Host = call.Host // what the API sees as its host
	}
	now := s.cfg.Clock.Now()
	with := made{s.prover.api.known(), s.apiAhead(now)}
	if all.next != nil {
		with = *all.next
	}
	*all = proofs{last: with}
	proof, err := s.prover.sign(with.nonce, call.Method, &target, h.token.Value, now.Add(with.ahead))
	if err != nil {
		return &counterfoil.Error{
			Reason:  counterfoil.Unavailable,
			Message: "client: the key of " + s.cfg.field("DPoP") + " cannot sign: check where it is stored",
			Err:     err,
		}
	}
	call.Header[proofHeader] = []string{proof}
	return nil
}

// apiAhead is how far the API's clock is ahead of this machine's, as far as
// known. It is the sum of two values learned at different times, so each can be
// within maxSkew while the sum is not.
func (s *Source) apiAhead(now time.Time) time.Duration {
	return within(s.ahead(now)+time.Duration(s.prover.ahead.Load()), maxSkew)
}

// known returns the nonce for the next proof; "" for none.
func (r *reader) known() string {
	if n := r.nonce.Load(); n != nil {
		return *n
	}
	return ""
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

// learn stores the nonce of a response for the next proof.
func (r *reader) learn(h http.Header) {
	if fresh := nonceOf(h); fresh != "" && fresh != r.known() {
		fresh = strings.Clone(fresh) // must not keep the response's header in memory
		r.nonce.Store(&fresh)
	}
}

// learnFromResponse takes the nonce and the clock from a response of the API.
func (s *Source) learnFromResponse(resp *http.Response) {
	if s.prover != nil {
		s.prover.api.learn(resp.Header)
	}
}

// proofRefused returns the error code of a 401 that is about the proof, not the
// token (RFC 9449 section 7.1); "" for any other.
func (s *Source) proofRefused(resp *http.Response) string {
	if s.prover == nil {
		return ""
	}
	switch code := challengeError(resp.Header["Www-Authenticate"]); code {
	case string(counterfoil.UseDPoPNonce), string(counterfoil.InvalidDPoPProof):
		return code
	}
	return ""
}

// provesBetter reports whether a call whose proof was refused with code should
// be repeated at once with the same token and another proof, and prepares that
// proof: the API requires a nonce (RFC 9449 section 9), or its clock differs
// from the one that the refused proof was made with.
func (s *Source) provesBetter(code string, resp *http.Response, all *proofs) bool {
	now := s.cfg.Clock.Now()
	next := made{cmp.Or(nonceOf(resp.Header), s.prover.api.known()), s.apiAhead(now)}
	if code == string(counterfoil.UseDPoPNonce) {
		all.next = &next
		return next.nonce != all.last.nonce
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		next.ahead = date.Add(time.Second / 2).Sub(now)
	}
	if next.ahead.Abs() > maxSkew || (next.ahead-all.last.ahead).Abs() < wrongClock {
		return false
	}
	if m := s.skew.Load(); m != nil && clocks.Drift(now, m.at).Abs() >= minSkew { // this machine's clock has changed
		s.skew.CompareAndSwap(m, &skew{now, within(next.ahead-time.Duration(s.prover.ahead.Load()), maxSkew)})
	}
	s.prover.ahead.Store(int64(next.ahead - s.ahead(now)))
	all.next = &next
	return true
}

// challengeError returns the error code of the first challenge of the scheme
// DPoP that has one (RFC 9449 section 7.1); "" for none. The fields form one
// list (RFC 9110 section 5.3).
func challengeError(fields []string) string {
	c, left := challenges{}, maxChallenges
	for _, field := range fields {
		if left -= len(field); left < 0 {
			break
		}
		c.rest = field
		for {
			name, value, ok := c.next()
			if !ok {
				break
			}
			if strings.EqualFold(c.scheme, schemeDPoP) && strings.EqualFold(name, "error") {
				return value
			}
		}
	}
	return ""
}

// challenges reads a field WWW-Authenticate (RFC 9110 sections 11.3 and 11.6.1).
// It accepts a missing comma, and stops reading where the field is malformed.
type challenges struct{ rest, scheme string }

// next returns the next parameter, which belongs to the scheme that c is at.
func (c *challenges) next() (name, value string, ok bool) {
	for {
		c.rest = strings.TrimLeft(c.rest, " \t,")
		word := c.token()
		if word == "" {
			return "", "", false
		}
		if after, ok := strings.CutPrefix(strings.TrimLeft(c.rest, " \t"), "="); ok {
			value, c.rest, ok = parameterValue(strings.TrimLeft(after, " \t"))
			return word, value, ok
		}
		c.scheme = word
		// A list of parameters follows, or one token68, which can look like the
		// beginning of a parameter.
		after := strings.TrimLeft(c.rest, " \t")
		after = strings.TrimLeft(after, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/")
		after = strings.TrimLeft(after, "=")
		if after = strings.TrimLeft(after, " \t"); after == "" || after[0] == ',' {
			c.rest = after
		}
	}
}

// token removes a token (RFC 9110 section 5.6.2) from the rest; "" if there is
// none.
func (c *challenges) token() string {
	n := strings.IndexFunc(c.rest, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
	if n < 0 {
		n = len(c.rest)
	}
	word := c.rest[:n]
	c.rest = c.rest[n:]
	return word
}

// parameterValue removes a parameter's value from s: a quoted string (RFC 9110
// section 5.6.4), or the text up to a comma or a space.
func parameterValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		n := strings.IndexAny(s, " \t,")
		if n < 0 {
			n = len(s)
		}
		return s[:n], s[n:], true
	}
	var plain strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] == '"' {
			return plain.String(), s[i+1:], true
		}
		if s[i] == '\\' {
			i++
		}
		if i < len(s) {
			plain.WriteByte(s[i])
		}
	}
	return "", "", false
}
