package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"syscall"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// explain adds the next action to an error of a connection.
func (p *program) explain(err error) error {
	var f *failure
	if err == nil || errors.As(err, &f) || errors.Is(err, context.Canceled) {
		return err
	}
	hint := remedy(err)
	if refused, ok := errors.AsType[*counterfoil.Error](err); ok && refused.Status != 0 && p.place != nil {
		if d := p.place.damaged.Load(); d != nil && blamed[refused.Reason] {
			hint = "the value of {" + d.key + "} " + d.says + "; " + copyAgain
		}
	}
	if hint == "" && p.place != nil && doctorHelps(err) {
		hint = doctor(p.place.connection)
		if refused, ok := errors.AsType[*counterfoil.Error](err); p.place.proxy != "" && (!ok || refused.Status == 0) {
			hint = remedyInBetween(p.place.proxy)
		}
	}
	if hint != "" {
		return withHint(err, "%s", hint)
	}
	return err
}

// doctor is the hint to check each step of a connection. It is for errors that
// any of them may have caused.
func doctor(connection string) string {
	return fmt.Sprintf("'counterfoil doctor %s' checks each step", connection)
}

// doctorHelps reports whether err may be caused by something between here and
// the endpoint: the network, or another server that answers.
func doctorHelps(err error) bool {
	_, network := errors.AsType[net.Error](err)
	refused, ok := errors.AsType[*counterfoil.Error](err)
	return network || ok && (refused.Class() == counterfoil.ClassProtocol || refused.Reason == counterfoil.ReasonUnavailable)
}

// remedy is what to do about an error of a connection; "" if nothing is known to
// help. It names keys of the connection in braces: see place.words.
func remedy(err error) string {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		dns      *net.DNSError
		record   tls.RecordHeaderError
		refused  *counterfoil.Error
		proxy    *client.ProxyError
		pin      *client.PinError
		file     *fs.PathError
		hop      *net.OpError
	)
	told := errors.As(err, &refused)
	switch {
	case errors.As(err, &proxy) && proxy.Status == 0:
		return "fix " + proxy.Proxy + ", or unset it if no proxy is needed"
	case errors.As(err, &proxy) && proxy.Status == http.StatusProxyAuthRequired:
		return "put the proxy's credentials into HTTPS_PROXY, as in http://user:password@proxy.example.com:3128"
	case errors.As(err, &proxy) && passes(proxy.Status):
		return "the proxy cannot connect to the provider now: try again later, or ask the operator of the proxy"
	case errors.As(err, &proxy):
		return "ask the operator of the proxy to allow connections to the provider, or except its host by NO_PROXY"
	case errors.As(err, &hop) && hop.Op == "proxyconnect":
		return proxyRemedy
	case errors.As(err, &pin):
		return "ask the provider whether it has changed its key: if so, add " + pin.Shown +
			" to {pins}, and if not, send nothing there"
	case errors.As(err, &unknown):
		return "the server's certificate is signed by an authority that is not trusted here: " +
			"name its certificate as {ca_file}, or in SSL_CERT_FILE"
	case errors.As(err, &hostname):
		return "the certificate is for another host: check {token_url} and {api_url}"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the certificate is not valid at this time: check this machine's clock, then tell the provider"
	case errors.As(err, &dns):
		return "the host name cannot be looked up: check {token_url} and {api_url}, and the network's name service"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the server does not speak TLS at that port: check the port in {token_url} and {api_url}"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: start the server, or check {token_url} and {api_url}"
	case errors.As(err, &hop) && hop.Op == "remote error":
		return "the server refuses the TLS connection: check that {token_url} and {api_url} name its host and port"
	case told && refused.Reason == counterfoil.ReasonUnavailable && errors.As(err, &file):
		return "fix the token cache, or set COUNTERFOIL_CACHE to another directory of your own"
	case told && refused.Reason == counterfoil.ReasonUnavailable && refused.Code == "" && !passes(refused.Status):
		return ""
	case told:
		return remedies[refused.Reason]
	}
	return ""
}

// proxyRemedy is the next action when the proxy cannot be reached.
const proxyRemedy = "the proxy cannot be reached: check HTTPS_PROXY, or unset it if no proxy is needed"

// passes reports whether a status is transient.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// remedies are the next actions when the token endpoint has refused.
var remedies = map[counterfoil.Reason]string{
	counterfoil.ReasonInvalidClient:        "check {client_id} and {client_secret}; the secret may have been rotated",
	counterfoil.ReasonCredentialsMissing:   "check {client_secret}: it says where the secret is",
	counterfoil.ReasonAPIKeyInvalid:        "check {api_key}; it belongs to one client",
	counterfoil.ReasonAPIKeyMissing:        "check {api_key}; it belongs to one client",
	counterfoil.ReasonInvalidScope:         "check {scope}; the provider grants only what the client is allowed",
	counterfoil.ReasonScopeMissing:         "name the {scope}; this provider requires one",
	counterfoil.ReasonUnsupportedGrantType: "check {provider} and {token_url}: that endpoint does not know client credentials",
	counterfoil.ReasonInvalidRequest:       "check that {provider} and {token_url} belong together",
	counterfoil.ReasonRateLimited:          "the provider limits token requests: wait, and share one token cache between programs",
	counterfoil.ReasonUnavailable:          "try again later",
	counterfoil.ReasonServerError:          "try again later; the provider's log knows more",
}

// blamed are the reasons for which a damaged secret or API key is to blame.
var blamed = map[counterfoil.Reason]bool{counterfoil.ReasonInvalidClient: true, counterfoil.ReasonAPIKeyInvalid: true}

// copyAgain is the next action about a damaged secret or API key.
const copyAgain = "copy all of it again"

// callRemedy is the next action when the API itself has refused.
func callRemedy(status int) string {
	switch {
	case status == http.StatusUnauthorized:
		return "the API does not accept the token: check that {token_url} and {api_url} belong to the same provider"
	case status == http.StatusForbidden:
		return "the client lacks a permission: check {scope}, {tenant} and {api_key} with the provider"
	case status == http.StatusTooManyRequests:
		return "the API limits calls: wait a minute"
	case passes(status):
		return "the API has a problem of its own: try again later"
	case status >= 500:
		return "the API cannot do this: check {api_url} with the provider"
	}
	return "check {api_url} and {tenant}"
}
