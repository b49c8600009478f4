package clientauth

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/internal/subject"
	"github.com/counterfoil/counterfoil/server/store"
)

// maxIntermediates bounds the certificates that accompany the client's own.
const maxIntermediates = 8

// presented is a certificate whose owner sent the request.
type presented struct {
	leaf *x509.Certificate
	// chain holds the certificates that came with it in the TLS handshake; a
	// proxy forwards none.
	chain []*x509.Certificate
}

// certificates verifies the certificates that are presented to a realm.
type certificates struct {
	endpoint    *provider.TokenEndpoint
	authorities *x509.CertPool
	peers       *peer.Config
	keys        *keys
}

// presented returns the certificate of a request; nil when it has none.
func (t *certificates) presented(r *http.Request) (*presented, *Refusal) {
	leaf, err := t.peers.Certificate(r)
	if err != nil {
		return nil, Refused(counterfoil.ReasonCertificateUnknown, err.Error())
	}
	if leaf == nil {
		return nil, nil
	}
	p := &presented{leaf: leaf}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && r.TLS.PeerCertificates[0] == leaf {
		p.chain = r.TLS.PeerCertificates[1:min(len(r.TLS.PeerCertificates), 1+maxIntermediates)]
	}
	return p, nil
}

// TakesCertificates reports whether a client can authenticate at the endpoint
// by its certificate alone.
func TakesCertificates(e *provider.TokenEndpoint) bool {
	return slices.Contains(e.ClientAuthentication, provider.MethodTLSClientAuth) ||
		slices.Contains(e.ClientAuthentication, provider.MethodSelfSignedTLSClientAuth)
}

// proveCertificate verifies the certificate of a client that presented nothing
// else. The refusal is that of the last method that applies to the client.
func (t *certificates) proveCertificate(ctx context.Context, now time.Time, shown *presented, client *store.Client) *Refusal {
	auth := &client.Authentication
	issued := slices.Contains(t.endpoint.ClientAuthentication, provider.MethodTLSClientAuth) &&
		auth.Certificate != (store.CertificateRule{})
	self := slices.Contains(t.endpoint.ClientAuthentication, provider.MethodSelfSignedTLSClientAuth)
	own := self && len(auth.Thumbprints) > 0
	keyed := self && (auth.KeySet != "" || auth.KeySetURL != "")
	switch {
	case shown == nil && (issued || own):
		return Refused(counterfoil.ReasonCertificateMissing, "")
	case shown == nil:
		return Refused(counterfoil.ReasonCredentialsMissing, "")
	case client == dummyClient:
		return Refused(counterfoil.ReasonUnknownClient, "")
	case !issued && !own && !keyed:
		return Refused(counterfoil.ReasonMethodNotAccepted, "the client has no certificate")
	}
	var refusal *Refusal
	if issued {
		if refusal = t.checkIssued(shown, &auth.Certificate, now); refusal == nil {
			return nil
		}
	}
	if own || keyed {
		if refusal = t.checkSelfSigned(ctx, shown.leaf, auth, now); refusal == nil {
			return nil
		}
	}
	return refusal
}

// checkIssued is tls_client_auth (RFC 8705 section 2.1): an authority of the
// realm has issued the certificate, and it matches the rule.
func (t *certificates) checkIssued(shown *presented, rule *store.CertificateRule, now time.Time) *Refusal {
	if t.authorities == nil {
		// Without any, x509 would use those of the system.
		return Refused(counterfoil.ReasonCertificateUnknown, "the realm has no certificate authorities")
	}
	options := x509.VerifyOptions{
		Roots: t.authorities, Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range shown.chain {
		options.Intermediates.AddCert(c)
	}
	if _, err := shown.leaf.Verify(options); err != nil {
		return Refused(counterfoil.ReasonCertificateUnknown, unverified(err))
	}
	if !certificateMatches(rule, shown.leaf) {
		return Refused(counterfoil.ReasonCertificateUnknown, "the certificate has another subject")
	}
	return nil
}

// unverified says in words of this package why a chain is invalid: the errors
// of x509 repeat the contents of the certificate.
func unverified(err error) string {
	var invalid x509.CertificateInvalidError
	var authority x509.UnknownAuthorityError
	switch {
	case errors.As(err, &authority):
		return "the certificate was not issued by an authority of the realm"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate or one of its chain has expired or is not valid yet"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "the certificate is not for clients"
	}
	return "the certificate's chain is not valid"
}

// checkSelfSigned is self_signed_tls_client_auth (RFC 8705 section 2.2): the
// certificate is one that the client has registered, by its thumbprint or by
// its key in the client's key set. The key of a JWK is that of its x5c (RFC
// 7517 section 4.7), so the certificates in the set need not be read: the
// holder of the key is the client.
func (t *certificates) checkSelfSigned(ctx context.Context, cert *x509.Certificate, auth *store.Authentication, now time.Time) *Refusal {
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return Refused(counterfoil.ReasonCertificateUnknown, "the certificate has expired or is not valid yet")
	}
	if slices.Contains(auth.Thumbprints, jose.CertificateThumbprint(cert)) {
		return nil
	}
	if auth.KeySet != "" || auth.KeySetURL != "" {
		set, refusal := t.keys.of(ctx, auth, "")
		switch {
		case refusal != nil && refusal.Reason == counterfoil.ReasonUnavailable:
			return refusal
		case refusal != nil:
			return Refused(counterfoil.ReasonCertificateUnknown, refusal.Detail)
		}
		public, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if ok && slices.ContainsFunc(set, func(k jose.PublicKey) bool { return public.Equal(k.Key) }) {
			return nil
		}
	}
	return Refused(counterfoil.ReasonCertificateUnknown, "the client has not registered the certificate")
}

// certificateMatches reports whether a certificate has the one subject that
// the rule names. Names are compared exactly, except that DNS names and the
// domain of an email address have no case and IP addresses are compared as
// such. A wildcard matches only itself. A rule with no or with several
// subjects never matches.
func certificateMatches(r *store.CertificateRule, cert *x509.Certificate) bool {
	named := 0
	for _, s := range []string{r.SubjectDN, r.DNS, r.URI, r.IP, r.Email} {
		if s != "" {
			named++
		}
	}
	switch {
	case named != 1:
		return false
	case r.SubjectDN != "":
		want, err := subject.Parse(r.SubjectDN)
		return err == nil && want.Matches(cert.RawSubject)
	case r.DNS != "":
		return slices.ContainsFunc(cert.DNSNames, func(name string) bool { return sameDomain(name, r.DNS) })
	case r.URI != "":
		for _, u := range cert.URIs {
			if u.String() == r.URI {
				return true
			}
		}
	case r.IP != "":
		want, err := netip.ParseAddr(r.IP)
		for _, ip := range cert.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); err == nil && ok && a.Unmap() == want.Unmap() {
				return true
			}
		}
	case r.Email != "":
		return slices.ContainsFunc(cert.EmailAddresses, func(given string) bool {
			at, want := strings.LastIndexByte(given, '@'), strings.LastIndexByte(r.Email, '@')
			return at > 0 && at == want && given[:at] == r.Email[:at] && sameDomain(given[at:], r.Email[at:])
		})
	}
	return false
}

// sameDomain ignores the case of ASCII letters, and of those only:
// strings.EqualFold equates the Kelvin sign and "k".
func sameDomain(a, b string) bool {
	lower := func(s string) string {
		return strings.Map(func(r rune) rune {
			if 'A' <= r && r <= 'Z' {
				r += 'a' - 'A'
			}
			return r
		}, s)
	}
	return lower(a) == lower(b)
}
