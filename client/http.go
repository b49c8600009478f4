package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
)

// NewHTTP returns a transport for Config.HTTP, to set RootCAs or a Proxy of one's
// own in. It is like http.DefaultTransport, but demands TLS 1.2, keeps 100 idle
// connections a host, and says what a proxy refuses: see [ProxyError].
func NewHTTP() *http.Transport {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		t = &http.Transport{ForceAttemptHTTP2: true}
	}
	t = t.Clone()
	t.TLSClientConfig = cmp.Or(t.TLSClientConfig, &tls.Config{})
	t.TLSClientConfig.MinVersion = tls.VersionTLS12
	// One host is called by many goroutines; with the default of 2, most calls by
	// HTTP/1.1 would make a connection of their own.
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

// ProxyError says that a proxy stands in the way.
type ProxyError struct {
	// Proxy is the host and port of the proxy, or the variable whose value is no
	// URL.
	Proxy string
	// Status is what it answers to CONNECT (RFC 9110 section 9.3.6); 0 for a URL
	// that is none.
	Status int
}

func (e *ProxyError) Error() string {
	switch e.Status {
	case 0:
		return fmt.Sprintf("%s is no URL of a proxy, such as http://proxy.example.com:3128", e.Proxy)
	case http.StatusProxyAuthRequired:
		return fmt.Sprintf("the proxy %s wants credentials (407)", e.Proxy)
	}
	return fmt.Sprintf("the proxy %s refuses to connect (%d)", e.Proxy, e.Status)
}

// stays reports whether err is of a proxy that will say the same again, as with
// 403, or of a server that speaks no TLS. What a proxy answers for a while, such as
// 502 for a server that it cannot reach, may pass.
func stays(err error) bool {
	if _, plain := errors.AsType[tls.RecordHeaderError](err); plain || errors.Is(err, http.ErrSchemeMismatch) {
		return true
	}
	proxy, ok := errors.AsType[*ProxyError](err)
	return ok && !passes(proxy.Status)
}

// through names the proxy that requests to u go through; "" for none.
func (s *Source) through(u *url.URL) string {
	t, ok := s.cfg.HTTP.(*http.Transport)
	if !ok || t.Proxy == nil {
		return ""
	}
	proxy, err := t.Proxy(&http.Request{Method: http.MethodPost, URL: u, Header: http.Header{}})
	if err != nil || proxy == nil {
		return ""
	}
	return " through the proxy " + proxy.Host
}

// permanent reports whether Config says that err will stay.
func (s *Source) permanent(err error) bool { return s.cfg.Permanent != nil && s.cfg.Permanent(err) }

// environmentProxy is http.ProxyFromEnvironment, which makes of a URL that it
// cannot parse another one, or none, and would connect directly.
func environmentProxy(req *http.Request) (*url.URL, error) {
	proxy, err := http.ProxyFromEnvironment(req)
	if host := req.URL.Hostname(); err != nil || host == "localhost" || net.ParseIP(host).IsLoopback() {
		return proxy, err
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if value := os.Getenv(name); value != "" { // the other one is not looked at
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
