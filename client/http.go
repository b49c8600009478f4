package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/counterfoil/counterfoil/internal/trust"
)

// NewHTTP returns a transport for Config.HTTP, to set RootCAs or a Proxy in. It
// is like http.DefaultTransport, but requires TLS 1.2, keeps 100 idle
// connections per host, and reports the refusal of a proxy as a [ProxyError].
func NewHTTP() *http.Transport {
	t := trust.Transport()
	// Many goroutines call one host; with the default of 2, most calls over
	// HTTP/1.1 would open a connection of their own.
	t.MaxIdleConnsPerHost = t.MaxIdleConns
	t.Proxy = environmentProxy
	t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
		if answer.StatusCode == http.StatusOK {
			return nil
		}
		return &ProxyError{Proxy: proxy.Host, Status: answer.StatusCode}
	}
	return t
}

// defaultHTTP is shared by all Sources, so that connections are.
var defaultHTTP = sync.OnceValue(NewHTTP)

// ProxyError reports a proxy that prevents the connection.
type ProxyError struct {
	// Proxy is the host and port of the proxy, or the variable whose value is
	// not a URL.
	Proxy string
	// Status is the proxy's answer to CONNECT (RFC 9110 section 9.3.6); 0 for an
	// invalid URL.
	Status int
}

// Error returns the message.
func (e *ProxyError) Error() string {
	switch e.Status {
	case 0:
		return fmt.Sprintf("%s is not the URL of a proxy, such as http://proxy.example.com:3128", e.Proxy)
	case http.StatusProxyAuthRequired:
		return fmt.Sprintf("the proxy %s requires credentials (407)", e.Proxy)
	}
	return fmt.Sprintf("the proxy %s refuses to connect (%d)", e.Proxy, e.Status)
}

// stays reports whether err is permanent: of a proxy that answers the same
// again, such as 403, or of a server that does not speak TLS. Statuses such as
// 502, for a server that the proxy cannot reach, are transient.
func stays(err error) bool {
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain || errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	proxy, ok := errors.AsType[*ProxyError](err)
	return ok && !passes(proxy.Status)
}

// isUntrusted reports whether err is that of a server's certificate.
func isUntrusted(err error) bool {
	certificate, pin := new(tls.CertificateVerificationError), new(PinError)
	return errors.As(err, &certificate) || errors.As(err, &pin)
}

// refusesCertificate reports whether err is the peer's TLS alert about this
// side's certificate (RFC 8446 section 6.2).
func refusesCertificate(err error) bool {
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && alert.Op == "remote error" && strings.Contains(alert.Err.Error(), "certificate")
}

// through names the proxy that rt sends requests to u through; "" for none.
func through(rt http.RoundTripper, u *url.URL) string {
	t, ok := rt.(*http.Transport)
	if !ok || t.Proxy == nil {
		return ""
	}
	proxy, err := t.Proxy(&http.Request{Method: http.MethodPost, URL: u, Header: http.Header{}})
	if err != nil || proxy == nil {
		return ""
	}
	return " through the proxy " + proxy.Host
}

// environmentProxy is http.ProxyFromEnvironment, except for a URL that cannot be
// parsed: that function would use another URL, or connect directly.
func environmentProxy(req *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(req)
	if host := req.URL.Hostname(); err != nil || host == "localhost" || net.ParseIP(host).IsLoopback() {
		return proxy, err
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if value := os.Getenv(name); value != "" { // the other one is ignored
			if !isProxy(value) {
				return nil, &ProxyError{Proxy: name}
			}
			break
		}
	}
	return proxy, nil
}

func isProxy(value string) bool {
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	u, err := url.Parse(value)
	return err == nil && u.Hostname() != "" && isPort(u.Port()) && slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme)
}

// isPort reports whether the port of a URL can be one; it may be missing.
func isPort(s string) bool {
	port, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil && port > 0
}

// passes reports whether a status means that the same request may succeed later.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// transient reports whether a response or an error means that the same call may
// succeed later.
func (c *Config) transient(resp *http.Response, err error) bool {
	if err == nil {
		return passes(resp.StatusCode)
	}
	return !c.permanent(err) && !isUntrusted(err) && !stays(err) && !refusesCertificate(err) &&
		!strings.Contains(err.Error(), "net/http: invalid ")
}
