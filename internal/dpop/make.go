package dpop

import (
	"crypto"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/counterfoil/counterfoil/internal/jose"
)

// Maker makes the proofs of one key (RFC 9449 section 4.2).
type Maker struct {
	signer     crypto.Signer
	algorithm  string
	header     []byte // the protected header of every proof
	thumbprint string
}

// Request is what a proof is made for.
type Request struct {
	// Method is the request's method; GET if empty.
	Method string
	// URL is the request's absolute URL as its recipient sees it; its query and
	// fragment do not matter.
	URL *url.URL
	// AccessToken is the token that the proof comes with; empty at the token
	// endpoint.
	AccessToken string
	// Nonce is the recipient's; empty for none.
	Nonce string
	// Now is the time by the recipient's clock.
	Now time.Time
}

// NewMaker returns the Maker of a key that signs with algorithm.
func NewMaker(signer crypto.Signer, algorithm string) (*Maker, error) {
	m := &Maker{signer: signer, algorithm: algorithm}
	jwk, err := jose.MarshalKey(signer.Public())
	if err == nil {
		m.thumbprint, err = jose.Thumbprint(signer.Public())
	}
	if err == nil {
		m.header, err = json.Marshal(struct {
			Type      string          `json:"typ"`
			Algorithm string          `json:"alg"`
			Key       json.RawMessage `json:"jwk"`
		}{proofType, algorithm, jwk})
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Thumbprint is that of the key, a token's cnf.jkt.
func (m *Maker) Thumbprint() string { return m.thumbprint }

// Proof makes the proof of one request. The error is that of the signer.
func (m *Maker) Proof(r Request) (string, error) {
	hash := ""
	if r.AccessToken != "" {
		hash = tokenHash(r.AccessToken)
	}
	method, path := r.Method, r.URL.EscapedPath()
	if method == "" {
		method = http.MethodGet
	}
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
	}{rand.Text(), method, r.URL.Scheme + "://" + r.URL.Host + path, r.Now.Unix(), hash, r.Nonce})
	if err != nil {
		return "", err
	}
	return jose.Sign(m.signer, m.algorithm, m.header, claims)
}
