package client

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil"
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

// maxNonce bounds a nonce that a server can make a client remember, in bytes.
const maxNonce = 512

// prover makes the proofs of a Source (RFC 9449 section 4.2).
type prover struct {
	key        Key
	header     []byte // the protected header of every proof
	thumbprint string
	// endpoint and api are the two that read proofs.
	endpoint, api reader
}

// reader is who reads proofs: the token endpoint or the API. Each has nonces of
// its own, also where both are on one origin.
type reader struct {
	nonce atomic.Pointer[string]
	// ahead is by how much its clock is ahead of the provider's, in ns.
	ahead atomic.Int64
}

// newProver returns nil when k is no key.
func newProver(k Key) (*prover, error) {
	if k.Signer == nil && k.Algorithm == "" && k.ID == "" {
		return nil, nil
	}
	k, err := k.complete()
	if err != nil {
		return nil, fmt.Errorf("Config.DPoP does not serve: %w", err)
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
		return nil, fmt.Errorf("Config.DPoP does not serve: %w", err)
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

// proof makes the proof of one request for r, with the nonce that it returns too.
// The token is empty at the token endpoint; now is the provider's time.
func (p *prover) proof(r *reader, method string, target *url.URL, token counterfoil.Secret, now time.Time) (proof, nonce string, err error) {
	if n := r.nonce.Load(); n != nil {
		nonce = *n
	}
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
	}{rand.Text(), method, target.Scheme + "://" + target.Host + path, now.Add(time.Duration(r.ahead.Load()) - minSkew).Unix(), hash, nonce})
	if err != nil {
		return "", "", err
	}
	proof, err = jose.Sign(p.key.Signer, p.key.Algorithm, p.header, claims)
	return proof, nonce, err
}

// proves adds the proof that h's token is used by whom it is bound to (RFC 9449
// section 7.1).
func (s *Source) proves(call *http.Request, h *held) error {
	target := *call.URL
	if call.Host != "" {
		target.Host = call.Host // what the API takes for its own
	}
	proof, _, err := s.prover.proof(&s.prover.api, call.Method, &target, h.token.Value, s.providerTime())
	if err != nil {
		return &counterfoil.Error{Reason: counterfoil.Unavailable, Message: "client: the key of Config.DPoP does not sign: look at where it lives", Err: err}
	}
	call.Header[proofHeader] = []string{proof}
	return nil
}

// learn takes the nonce of an answer for the next proof (RFC 9449 section 8.2),
// and reports whether it has one.
func (r *reader) learn(h http.Header) bool {
	fresh := h[nonceHeader]
	if len(fresh) != 1 || fresh[0] == "" || len(fresh[0]) > maxNonce || strings.ContainsFunc(fresh[0], func(c rune) bool { return c < 0x21 || c > 0x7e || c == '"' || c == '\\' }) {
		return false
	}
	if old := r.nonce.Load(); old == nil || *old != fresh[0] {
		r.nonce.Store(&fresh[0])
	}
	return true
}

// hears learns from an answer of the API.
func (s *Source) hears(resp *http.Response) {
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
	for _, challenge := range resp.Header["Www-Authenticate"] {
		for _, code := range []counterfoil.Reason{counterfoil.UseDPoPNonce, counterfoil.InvalidDPoPProof} {
			if strings.Contains(challenge, string(code)) {
				return string(code)
			}
		}
	}
	return ""
}

// nonceWanted reports whether a call whose proof was refused is to be made again
// at once with the same token and another proof: the API wants a nonce that the
// answer has (RFC 9449 section 9), or its clock is another than the token
// endpoint's.
func (s *Source) nonceWanted(code string, resp *http.Response) bool {
	api := &s.prover.api
	if code == string(counterfoil.UseDPoPNonce) {
		return api.learn(resp.Header)
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	ahead := date.Add(time.Second / 2).Sub(s.providerTime())
	if err != nil || ahead.Abs() > maxSkew || (ahead-time.Duration(api.ahead.Load())).Abs() < wrongClock {
		return false
	}
	api.ahead.Store(int64(ahead))
	return true
}
