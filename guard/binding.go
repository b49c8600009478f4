package guard

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/internal/seal"
	"github.com/counterfoil/counterfoil/provider"
)

// schemeDPoP precedes a token that is bound to a key (RFC 9449 section 7.1). It is
// accepted in the header that the description takes tokens from, in every
// dialect, because the token has the binding, not the dialect.
const schemeDPoP = "DPoP"

// The error codes of RFC 6750 section 3.1 and RFC 9449 section 7.1 for a token
// that is not used as its binding requires.
const (
	codeToken = "invalid_token"
	codeProof = "invalid_dpop_proof"
	codeNonce = "use_dpop_nonce"
)

// binding is what a token is bound to by its claim cnf (RFC 7800): thumbprints, or
// "" for the kind that it is not bound to.
type binding struct {
	certificate string // x5t#S256, RFC 8705 section 3.1
	key         string // jkt, RFC 9449 section 6.1
}

// bindingOf reads the claim cnf; it returns nil for a token without one. A claim
// with no known member is refused: if the token were accepted as a bearer token, a
// thief could use it. Unknown members beside a known one are ignored (RFC 7800
// section 3.1).
func bindingOf(members map[string]any) (*binding, counterfoil.Reason) {
	value, there := members["cnf"]
	if !there {
		return nil, ""
	}
	confirmation, ok := value.(map[string]any)
	if !ok {
		return nil, counterfoil.ReasonTokenMalformed
	}
	b := &binding{}
	for name, field := range map[string]*string{"x5t#S256": &b.certificate, "jkt": &b.key} {
		value, there := confirmation[name]
		if !there {
			continue
		}
		if *field, _ = value.(string); *field == "" {
			return nil, counterfoil.ReasonTokenMalformed
		}
	}
	if *b == (binding{}) {
		return nil, counterfoil.ReasonTokenInvalid
	}
	return b, ""
}

// prover checks that the sender of a token holds what the token is bound to.
type prover struct {
	peer *peer.Config
	// origin is Config.URL without a slash at its end; "" for https and the
	// request's Host.
	origin string
	seen   dpop.Seen
	nonces *dpop.Nonces // nil if no nonce is required
	clock  counterfoil.Clock
}

func newProver(cfg *Config) (*prover, error) {
	p := &prover{
		clock: cfg.Clock, seen: dpop.Seen{Clock: cfg.Clock, Most: cfg.MaxProofs},
	}
	var err error
	if p.peer, err = peer.New(cfg.Proxies); err != nil {
		return nil, fmt.Errorf("proxies: %w", err)
	}
	if cfg.MaxProofs < 0 {
		return nil, errors.New("Config.MaxProofs must not be negative")
	}
	if cfg.URL != "" {
		if _, ok := httpsurl.Base(cfg.URL); !ok {
			return nil, errors.New("Config.URL must be an https URL without credentials and query, such as https://api.example.com")
		}
		p.origin = strings.TrimRight(cfg.URL, "/")
	}
	if !cfg.DPoPNonce {
		return p, nil
	}
	text := cfg.DPoPNonceKey
	if text == "" {
		text = seal.NewKey()
	}
	key, err := seal.ParseKey(text)
	if err != nil {
		return nil, errors.New("Config.DPoPNonceKey must be 32 random bytes in base64: make one with openssl rand -base64 32")
	}
	p.nonces, err = dpop.NewNonces(key.Derive("guard DPoP nonce"), cfg.Clock, 0)
	return p, err
}

// holder checks that the sender holds what the token is bound to, and uses the
// scheme that goes with the binding. It runs on each call, for remembered tokens
// too, once everything else about the token is right: only then does a proof take
// room in memory.
func (g *Guard) holder(answer http.Header, r *http.Request, v *verified, s *sent) *Refusal {
	b := v.bound
	if s.proved && (b == nil || b.key == "") {
		// The token is not bound to a key, so its scheme is another one, which
		// the challenge names.
		s.proved = false
		return g.deny(counterfoil.ReasonTokenMissing, "the scheme DPoP with a token that is bound to no key")
	}
	if b.certificate != "" {
		cert, err := g.prover.peer.Certificate(r)
		switch {
		case err != nil:
			return g.deny(counterfoil.ReasonTokenCertificate, err.Error())
		case cert == nil:
			return g.deny(counterfoil.ReasonTokenCertificate, g.prover.without(r, "no client certificate"))
		case jose.CertificateThumbprint(cert) != b.certificate:
			return g.deny(counterfoil.ReasonTokenCertificate, g.prover.without(r, "another client certificate"))
		}
	}
	switch {
	case b.key != "" && !s.proved:
		return g.unproved(codeToken, "a token that is bound to a key came without the scheme DPoP")
	case b.key != "":
		return g.proof(answer, r, v, s)
	}
	return nil
}

// without says where a certificate was looked for: a guard that does not know the
// proxy in front of it looks in the wrong place.
func (p *prover) without(r *http.Request, what string) string {
	switch {
	case p.peer.Forwards(r):
		return "the proxy's header " + p.peer.CertificateHeader + " has " + what
	case p.peer.CertificateHeader != "":
		return "the connection has " + what + ", and its peer is not in Config.Proxies.Networks"
	}
	return "the connection has " + what + ": behind a proxy, set Networks and CertificateHeader of Config.Proxies"
}

// proof checks the proof of a call (RFC 9449 section 7.1).
func (g *Guard) proof(answer http.Header, r *http.Request, v *verified, s *sent) *Refusal {
	p := g.prover
	proofs := r.Header["Dpop"]
	if len(proofs) != 1 {
		return g.unproved(codeProof, fmt.Sprintf("%d DPoP headers", len(proofs)))
	}
	target, ok := p.target(r)
	if !ok {
		return g.unproved(codeProof, "the request has no URL that can be compared")
	}
	want := dpop.Want{Method: r.Method, URL: target, Now: p.clock.Now(), AccessToken: s.token, Thumbprint: v.bound.key}
	if p.nonces != nil {
		want.Nonce = p.nonces.Valid
	}
	proof, err := dpop.Verify(proofs[0], want)
	if p.nonces != nil {
		// Any answer may carry the next nonce, before the caller lacks it (RFC
		// 9449 section 8.2).
		if fresh := p.nonces.Issue(); err != nil || proof.Nonce != fresh {
			answer.Set("DPoP-Nonce", fresh)
		}
	}
	switch {
	case errors.Is(err, dpop.ErrUseNonce):
		return &Refusal{Reason: counterfoil.ReasonTokenProofNonce, header: g.tokenHeader, code: codeNonce}
	case err != nil:
		return g.unproved(codeProof, err.Error())
	case !p.seen.FirstOf(v.principal.ClientID, proof):
		return g.unproved(codeProof, "the proof was used before, or there is no room to remember it")
	}
	return nil
}

// target returns the URL that the sender of r asked for: the origin and the path
// of the request line. r.URL may have been changed by the handlers before the
// guard.
func (p *prover) target(r *http.Request) (string, bool) {
	path := r.RequestURI
	if !strings.HasPrefix(path, "/") {
		// The absolute form (RFC 9112 section 3.2.2), or a request that was
		// never on a wire.
		u := r.URL
		if path != "" {
			var err error
			if u, err = url.ParseRequestURI(path); err != nil {
				return "", false
			}
		}
		if path = u.EscapedPath(); path == "" {
			path = "/"
		}
	}
	if p.origin != "" {
		return p.origin + path, true
	}
	// A Host with the characters of a path would set the path, too.
	if r.Host == "" || strings.ContainsAny(r.Host, `/\?#@`) {
		return "", false
	}
	return "https://" + r.Host + path, true
}

// unproved refuses a call whose sender did not prove to hold the token's key.
func (g *Guard) unproved(code, detail string) *Refusal {
	return &Refusal{Reason: counterfoil.ReasonTokenProof, header: g.tokenHeader, code: code, detail: detail}
}

// challenged returns the shape of a refusal with the challenge that the sender of
// a proof needs (RFC 9449 section 7.1), unless the description has a shape for
// refused proofs. For a refused proof the challenge replaces the description's;
// any other refusal of a call with the scheme DPoP keeps the description's
// parameters and names that scheme.
func (g *Guard) challenged(shape provider.Refusal, refusal *Refusal) provider.Refusal {
	if _, described := g.api.Refusals[refusal.Reason]; described && refusal.code != "" {
		return shape
	}
	headers, challenge := make(map[string]string, len(shape.Headers)+1), ""
	for name, value := range shape.Headers {
		if strings.EqualFold(name, "WWW-Authenticate") {
			challenge = value
			continue
		}
		headers[name] = value
	}
	scheme, parameters, _ := strings.Cut(challenge, " ")
	algs := `algs="` + strings.Join(dpop.Algorithms(), " ") + `"`
	switch {
	case refusal.code != "":
		challenge = schemeDPoP + ` error="` + refusal.code + `", ` + algs
	case !strings.EqualFold(scheme, "Bearer"):
	case parameters == "":
		challenge = schemeDPoP + " " + algs
	default:
		challenge = schemeDPoP + " " + parameters + ", " + algs
	}
	if challenge != "" {
		headers["WWW-Authenticate"] = challenge
	}
	shape.Headers = headers
	return shape
}
