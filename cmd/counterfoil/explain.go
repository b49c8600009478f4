package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"syscall"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// explain adds the next action to an error of a connection.
func explain(err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) || errors.Is(err, context.Canceled) {
		return err
	}
	if hint := remedy(err); hint != "" {
		return withHint(err, "%s", hint)
	}
	return err
}

// remedy is what to do about an error of a connection; "" where nothing is
// known to help.
func remedy(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		dns      *net.DNSError
		record   tls.RecordHeaderError
		refused  *counterfoil.Error
		proxy    *client.ProxyError
	)
	switch {
	case errors.As(err, &proxy) && proxy.Status == 0:
		return "mend " + proxy.Proxy + ", or unset it where no proxy is needed"
	case errors.As(err, &proxy) && proxy.Status == http.StatusProxyAuthRequired:
		return "put the proxy's credentials into HTTPS_PROXY, as in http://user:password@proxy.example.com:3128"
	case errors.As(err, &proxy):
		return "ask whoever runs the proxy to let connections to the provider through, or except its host by NO_PROXY"
	case errors.As(err, &unknown):
		return "the server's certificate is signed by an authority that is not trusted here: name its certificate as ca_file of the connection, or in SSL_CERT_FILE"
	case errors.As(err, &hostname):
		return "the certificate is for another host: check token_url and api_url"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate is not valid at this time: check this machine's clock, then tell the provider"
	case errors.As(err, &dns):
		return "the host name cannot be looked up: check token_url and api_url, and the network's name service"
	case errors.As(err, &record):
		return "the server does not speak TLS at that port: check the port in token_url and api_url"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: start the server, or check token_url and api_url"
	case errors.As(err, &refused):
		return remedies[refused.Reason]
	}
	return ""
}

// remedies are the next actions when the token endpoint has refused.
var remedies = map[counterfoil.Reason]string{
	counterfoil.InvalidClient:        "check client_id and client_secret of the connection; the secret may have been rotated",
	counterfoil.APIKeyInvalid:        "check api_key of the connection; it belongs to one client",
	counterfoil.APIKeyMissing:        "check api_key of the connection; it belongs to one client",
	counterfoil.InvalidScope:         "check scope of the connection; the provider grants only what the client is allowed",
	counterfoil.ScopeMissing:         "name the scope in the connection; this provider requires one",
	counterfoil.UnsupportedGrantType: "check provider and token_url of the connection: that endpoint does not know client credentials",
	counterfoil.InvalidRequest:       "check that provider and token_url of the connection belong together",
	counterfoil.RateLimited:          "the provider limits token requests: wait, and share one token cache between programs",
	counterfoil.Unavailable:          "try again later",
	counterfoil.ServerError:          "try again later; the provider's log knows more",
}
