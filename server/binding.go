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
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
	"github.com/counterfoil/counterfoil/server/store"
)

// The header fields of RFC 9449, in the form of http.Header.
const (
	proofHeader = "Dpop"
	nonceHeader = "Dpop-Nonce"
)

// binder binds the tokens of a realm.
type binder struct {
	realm  string
	urls   []string     // of the token endpoint
	nonces *dpop.Nonces // nil where none is required
	peers  *peer.Config
}

// bind decides what the grant's token is bound to: to the certificate that the
// client authenticated with, or must present (RFC 8705 section 3), and to the
// key of a DPoP proof (RFC 9449 section 5). A request may have both, and the
// token is then bound to both. Every realm accepts proofs, whether or not its
// description mentions them: a client that sends one relies on the binding.
func (b *binder) bind(r *http.Request, by *clientauth.Caller, now time.Time, g *grant) *clientauth.Refusal {
	cert := by.Certificate
	if cert == nil && by.Client.Tokens.CertificateBound {
		var err error
		if cert, err = b.peers.Certificate(r); err != nil {
			return clientauth.Refused(counterfoil.ReasonCertificateUnknown, err.Error())
		}
		if cert == nil {
			return clientauth.Refused(counterfoil.ReasonCertificateMissing, "the client's tokens are bound to a certificate")
		}
	}
	var members []string
	if cert != nil {
		members = append(members, `"x5t#S256":"`+jose.CertificateThumbprint(cert)+`"`)
	}
	proof, refusal := b.proof(r, by.Client, now)
	if refusal != nil {
		return refusal
	}
	if proof != nil {
		members = append(members, `"jkt":"`+proof.Thumbprint+`"`)
		g.tokenType = "DPoP"
		g.once = append(g.once[:len(g.once):len(g.once)], store.ReplayKey{
			Hash:  sha256.Sum256([]byte(strings.Join([]string{"dpop", b.realm, proof.Thumbprint, proof.ID}, "\x00"))),
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
func (b *binder) proof(r *http.Request, client *store.Client, now time.Time) (*dpop.Proof, *clientauth.Refusal) {
	lines := r.Header[proofHeader]
	switch {
	case len(lines) > 1:
		return nil, clientauth.Refused(counterfoil.ReasonInvalidDPoPProof, "the header DPoP is repeated")
	case len(lines) == 0 && client.Tokens.DPoPBound:
		return nil, clientauth.Refused(counterfoil.ReasonInvalidDPoPProof, "the client's tokens are bound to a key: a proof is missing")
	case len(lines) == 0:
		return nil, nil
	}
	want := dpop.Want{Method: http.MethodPost, URL: b.urls[0], OtherURLs: b.urls[1:], Now: now}
	if b.nonces != nil {
		want.Nonce = b.nonces.Valid
	}
	p, err := dpop.Verify(lines[0], want)
	switch {
	case errors.Is(err, dpop.ErrUseNonce):
		return nil, clientauth.Refused(counterfoil.ReasonUseDPoPNonce, "")
	case err != nil:
		return nil, clientauth.Refused(counterfoil.ReasonInvalidDPoPProof, err.Error())
	}
	return &p, nil
}
