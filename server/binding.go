package server

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/server/store"
)

// The header fields of RFC 9449, in the form of http.Header.
const (
	proofHeader = "Dpop"
	nonceHeader = "Dpop-Nonce"
)

// bind decides what the grant's token is bound to: to the certificate that the
// client authenticated with, or must present (RFC 8705 section 3), and to the
// key of a DPoP proof (RFC 9449 section 5). A request may have both, and the
// token is then bound to both. Every realm accepts proofs, whether or not its
// description mentions them: a client that sends one relies on the binding.
func (rl *realm) bind(r *http.Request, a *attempt, by *caller, g *grant) *requestRefusal {
	cert := by.certificate
	if cert == nil && by.client.Tokens.CertificateBound {
		shown, refusal := rl.presented(r)
		if refusal != nil {
			return refusal
		}
		if shown == nil {
			return refused(counterfoil.CertificateMissing, "the client's tokens are bound to a certificate")
		}
		cert = shown.leaf
	}
	var members []string
	if cert != nil {
		members = append(members, `"x5t#S256":"`+jose.CertificateThumbprint(cert)+`"`)
	}
	proof, refusal := rl.proof(r, by.client, a.event.Time)
	if refusal != nil {
		return refusal
	}
	if proof != nil {
		members = append(members, `"jkt":"`+proof.Thumbprint+`"`)
		g.tokenType = "DPoP"
		g.once = append(g.once[:len(g.once):len(g.once)], store.ReplayKey{
			Hash:  sha256.Sum256([]byte(strings.Join([]string{"dpop", rl.Name, proof.Thumbprint, proof.ID}, "\x00"))),
			Until: proof.IssuedAt.Add(dpop.DefaultMaxAge + time.Second),
		})
	}
	if members != nil {
		g.confirmation = []byte("{" + strings.Join(members, ",") + "}")
	}
	return nil
}

// proof returns the DPoP proof of a token request; nil when it has none and
// none is required.
func (rl *realm) proof(r *http.Request, client *store.Client, now time.Time) (*dpop.Proof, *requestRefusal) {
	lines := r.Header[proofHeader]
	switch {
	case len(lines) > 1:
		return nil, refused(counterfoil.InvalidDPoPProof, "the header DPoP is repeated")
	case len(lines) == 0 && client.Tokens.DPoPBound:
		return nil, refused(counterfoil.InvalidDPoPProof, "the client's tokens are bound to a key: a proof is missing")
	case len(lines) == 0:
		return nil, nil
	}
	urls := rl.urls(rl.endpoint.Path)
	want := dpop.Want{Method: http.MethodPost, URL: urls[0], OtherURLs: urls[1:], Now: now}
	if rl.nonces != nil {
		want.Nonce = rl.nonces.Valid
	}
	p, err := dpop.Verify(lines[0], want)
	switch {
	case errors.Is(err, dpop.ErrUseNonce):
		return nil, refused(counterfoil.UseDPoPNonce, "")
	case err != nil:
		return nil, refused(counterfoil.InvalidDPoPProof, err.Error())
	}
	return &p, nil
}

// replayed distinguishes a replayed proof from a replayed assertion where the
// request had only one of them. With both, the refusal may be for either.
func (g *grant) replayed(refusal *requestRefusal) *requestRefusal {
	if refusal == nil || refusal.reason != counterfoil.AssertionReplayed || g.tokenType != "DPoP" {
		return refusal
	}
	if len(g.once) == 1 {
		return refused(counterfoil.DPoPProofReplayed, "")
	}
	return refused(refusal.reason, "the assertion, or the DPoP proof beside it")
}
