package server

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// metadata is authorization server metadata (RFC 8414 section 2). The empty
// lists are required there or by OpenID Connect Discovery 1.0 section 3: this
// server has no login for people and issues no ID tokens. The authorization
// endpoint, which Discovery requires as well, is left out because the server
// does not have one.
type metadata struct {
	Issuer                   string             `json:"issuer"`
	TokenEndpoint            string             `json:"token_endpoint"`
	KeySet                   string             `json:"jwks_uri"`
	Scopes                   counterfoil.Scopes `json:"scopes_supported,omitempty"`
	ResponseTypes            []string           `json:"response_types_supported"`
	GrantTypes               []string           `json:"grant_types_supported"`
	SubjectTypes             []string           `json:"subject_types_supported,omitempty"`
	IDTokenSigningAlgorithms []string           `json:"id_token_signing_alg_values_supported,omitzero"`

	TokenMethods            []provider.Method `json:"token_endpoint_auth_methods_supported"`
	TokenAlgorithms         []string          `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	Introspection           string            `json:"introspection_endpoint"`
	IntrospectionMethods    []provider.Method `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAlgorithms []string          `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`
	Revocation              string            `json:"revocation_endpoint,omitempty"`
	RevocationMethods       []provider.Method `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	RevocationAlgorithms    []string          `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"`

	DPoPAlgorithms   []string `json:"dpop_signing_alg_values_supported,omitempty"`
	CertificateBound bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
}

// abilities are the optional features of a realm beyond secrets and bearer
// tokens, for its metadata.
type abilities struct {
	// assertions are the algorithms of assertions that clients authenticate
	// with; dpop are those of proofs (RFC 9449 section 5.1). EdDSA is listed by
	// both of its names.
	assertions, dpop []string
	// certificateBound says that tokens can be bound to a certificate (RFC 8705
	// section 3.3).
	certificateBound bool
}

// abilities is the one place that decides what the realm supports. Every realm
// accepts proofs, and announces them where its description has an answer to
// invalid ones.
func (rl *realm) abilities() abilities {
	can := abilities{certificateBound: rl.takesCertificates()}
	if rl.accepts(provider.PrivateKeyJWT) {
		can.assertions = append(assertionAlgorithms(), jose.Ed25519)
	}
	if _, there := rl.endpoint.Errors[counterfoil.InvalidDPoPProof]; there {
		can.dpop = append(dpop.Algorithms(), jose.Ed25519)
	}
	return can
}

// metadata returns the realm's metadata.
func (rl *realm) metadata() metadata {
	can, methods := rl.abilities(), rl.endpoint.ClientAuthentication
	m := metadata{
		Issuer:        rl.Issuer,
		TokenEndpoint: rl.BaseURL + rl.endpoint.Path,
		KeySet:        rl.BaseURL + keySetPath,
		Scopes:        rl.Provider.ScopeNames(),
		ResponseTypes: []string{},
		GrantTypes:    []string{"client_credentials"},

		TokenMethods:    methods,
		TokenAlgorithms: can.assertions,
		Introspection:   rl.BaseURL + introspectPath,
		// RFC 8414 section 2: the names of access token types are among them.
		IntrospectionMethods:    append(slices.Clone(methods), "Bearer"),
		IntrospectionAlgorithms: can.assertions,
		DPoPAlgorithms:          can.dpop,
		CertificateBound:        can.certificateBound,
	}
	if rl.revocable() {
		m.Revocation, m.RevocationMethods, m.RevocationAlgorithms = rl.BaseURL+revokePath, methods, can.assertions
	}
	return m
}

// keySetPath is the path of the key set, which changes with the keyring.
const keySetPath = "/.well-known/jwks.json"

// publish renders the realm's public documents but the key set.
func (rl *realm) publish() error {
	m := rl.metadata()
	oauth, err := json.Marshal(m)
	if err != nil {
		return err
	}
	m.SubjectTypes, m.IDTokenSigningAlgorithms = []string{"public"}, []string{}
	openid, err := json.Marshal(m)
	rl.documents = map[string][]byte{
		"/.well-known/oauth-authorization-server": oauth,
		"/.well-known/openid-configuration":       openid,
	}
	return err
}

// serveDocument answers GET and HEAD with a public document.
func serveDocument(w http.ResponseWriter, r *http.Request, doc []byte) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(doc)
}
