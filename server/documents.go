package server

import (
	"encoding/json"
	"net/http"
	"slices"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/clientauth"
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
	// RevocationFeed is an extension: where resource servers follow revocations.
	RevocationFeed string `json:"revocation_feed_endpoint"`

	DPoPAlgorithms   []string `json:"dpop_signing_alg_values_supported,omitempty"`
	CertificateBound bool     `json:"tls_client_certificate_bound_access_tokens,omitempty"`
}

// metadataOf returns a realm's metadata. It alone decides what a realm
// announces. Every realm accepts DPoP proofs (RFC 9449 section 5.1), and
// announces them where its description has an answer to invalid ones. EdDSA is
// listed by both of its names.
func metadataOf(r *Realm) metadata {
	endpoint := &r.Provider.TokenEndpoint
	methods := endpoint.ClientAuthentication
	var assertions []string
	if slices.Contains(methods, provider.MethodPrivateKeyJWT) {
		assertions = append(clientauth.AssertionAlgorithms(), jose.Ed25519)
	}
	m := metadata{
		Issuer:        r.Issuer,
		TokenEndpoint: r.BaseURL + endpoint.Path,
		KeySet:        r.BaseURL + keySetPath,
		Scopes:        r.Provider.ScopeNames(),
		ResponseTypes: []string{},
		GrantTypes:    []string{"client_credentials"},

		TokenMethods:    methods,
		TokenAlgorithms: assertions,
		Introspection:   r.BaseURL + introspectPath,
		// RFC 8414 section 2: the names of access token types are among them.
		IntrospectionMethods:    append(slices.Clone(methods), "Bearer"),
		IntrospectionAlgorithms: assertions,
		RevocationFeed:          r.BaseURL + revocationsPath,
		// RFC 8705 section 3.3.
		CertificateBound: clientauth.TakesCertificates(endpoint),
	}
	if _, there := endpoint.Errors[counterfoil.ReasonInvalidDPoPProof]; there {
		m.DPoPAlgorithms = append(dpop.Algorithms(), jose.Ed25519)
	}
	if r.revocable() {
		m.Revocation, m.RevocationMethods, m.RevocationAlgorithms = r.BaseURL+revokePath, methods, assertions
	}
	return m
}

// documentsOf returns a realm's public documents, except for the key set, by
// path.
func documentsOf(r *Realm) (map[string][]byte, error) {
	m := metadataOf(r)
	oauth, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	m.SubjectTypes, m.IDTokenSigningAlgorithms = []string{"public"}, []string{}
	openid, err := json.Marshal(m)
	return map[string][]byte{
		"/.well-known/oauth-authorization-server": oauth,
		"/.well-known/openid-configuration":       openid,
	}, err
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
