package counterfoil

import "net/netip"

// Proxies says which proxies stand in front of a server or a guard, and what
// they forward. Without any, which is the zero value, the TCP peer is the client.
type Proxies struct {
	// Networks are the addresses that proxies connect from. No other program may
	// connect from them.
	Networks []netip.Prefix
	// AddressHeader names the header to which each proxy adds the address of its
	// peer: X-Forwarded-For, the default, or Forwarded, which is read by RFC 7239.
	// The caller's address is the last one in it that is not a proxy's.
	AddressHeader string
	// CertificateHeader names the header in which a proxy that ends TLS forwards
	// the client's certificate, such as Client-Cert. The proxy must remove the
	// header from what clients send. If it is empty, a token that is bound to a
	// certificate (RFC 8705) needs the certificate on the connection itself.
	CertificateHeader string
	// CertificateForm is the form of the certificate in that header; default
	// CertificateFormClientCert.
	CertificateForm CertificateForm
}

// CertificateForm is how a proxy writes a certificate into a header.
type CertificateForm string

const (
	// CertificateFormClientCert is RFC 9440: the DER in base64 between two colons.
	CertificateFormClientCert CertificateForm = "client-cert"
	// CertificateFormEscapedPEM is PEM with percent-encoding: nginx's
	// $ssl_client_escaped_cert, or the whole chain, leaf first, as in
	// X-Amzn-Mtls-Clientcert of an AWS Application Load Balancer, which leaves +,
	// = and / as they are.
	CertificateFormEscapedPEM CertificateForm = "pem-escaped"
	// CertificateFormBase64DER is the DER in base64, HAProxy's ssl_c_der,base64,
	// with or without quotes around it.
	CertificateFormBase64DER CertificateForm = "der-base64"
)
