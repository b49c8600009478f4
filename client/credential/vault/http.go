package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/credential/internal/remote"
)

const (
	maxAnswer    = 1 << 20  // bytes of an answer's body
	maxHeader    = 64 << 10 // bytes of its header
	maxCA        = 1 << 20  // bytes of Config.CAFile
	maxRedirects = 3
	// localAgent is the host of an agent behind a socket.
	localAgent = "agent.localhost"
)

var errAddress = errors.New("vault: Config.Address must be https://HOST:PORT, or an agent's: http://127.0.0.1:PORT or unix:///PATH")

// connect determines the address and its dialer.
func (v *Vault) connect(c Config) error {
	base, err := url.Parse(c.Address)
	if err != nil || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return errAddress
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConns: 4, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: maxHeader,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	switch {
	case base.Scheme == "https" && base.Hostname() != "":
		if c.CAFile == "" {
			break
		}
		if transport.TLSClientConfig.RootCAs, err = authorities(c.CAFile); err != nil {
			return err
		}
	case base.Scheme == "http" && local(base):
		transport.Proxy = nil
		dialer.Control = onlyLoopback
	case base.Scheme == "unix" && base.Host == "" && strings.HasPrefix(base.Path, "/"):
		socket := base.Path
		base = &url.URL{Scheme: "http", Host: localAgent}
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	case base.Scheme == "http" && base.Hostname() != "":
		return errors.New("vault: Config.Address is plain http to another machine: use https")
	default:
		return errAddress
	}
	v.base = base
	v.http = &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if r.URL.Scheme != base.Scheme || r.URL.Host != base.Host || len(via) > maxRedirects {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return nil
}

// local reports whether the address is one of this machine.
func local(u *url.URL) bool {
	if u.Hostname() == "localhost" || u.Host == localAgent {
		return true
	}
	a, err := netip.ParseAddr(u.Hostname())
	return err == nil && a.IsLoopback()
}

// onlyLoopback is checked before each connection, because localhost is a name
// that must be resolved.
func onlyLoopback(_, address string, _ syscall.RawConn) error {
	if a, err := netip.ParseAddrPort(address); err != nil || !a.Addr().IsLoopback() {
		return errors.New("plain http would leave this machine: use https")
	}
	return nil
}

func authorities(path string) (*x509.CertPool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("vault: Config.CAFile cannot be read: %w", err)
	}
	defer f.Close()
	pem, err := io.ReadAll(io.LimitReader(f, maxCA+1))
	if err == nil && len(pem) > maxCA {
		err = fmt.Errorf("it is larger than %d bytes", maxCA)
	}
	if err != nil {
		return nil, fmt.Errorf("vault: Config.CAFile cannot be read: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("vault: Config.CAFile has no certificate in PEM form")
	}
	return pool, nil
}

// get reads path with the current token, and once more with a new one if it is
// refused.
func (v *Vault) get(ctx context.Context, path, what string) ([]byte, error) {
	for first := true; ; first = false {
		s, err := v.session(ctx)
		if err != nil {
			return nil, err
		}
		body, err := v.call(ctx, http.MethodGet, path, s.token, nil, what)
		if refused, ok := errors.AsType[*statusError](err); ok && refused.status == http.StatusForbidden && first && v.drop(ctx, s) {
			continue
		}
		return body, err
	}
}

// call sends one request and returns the body of a 200. Errors use what for the
// name of the request.
func (v *Vault) call(
	ctx context.Context, method, path string, token counterfoil.Secret, fields map[string]string, what string,
) ([]byte, error) {
	target := *v.base
	target.Path = strings.TrimSuffix(target.Path, "/") + "/v1/" + path
	var body io.Reader
	if fields != nil {
		b, err := json.Marshal(fields)
		if err != nil {
			return nil, errors.New("the login cannot be written as JSON")
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, errors.New("the request cannot be made")
	}
	req.Header.Set("X-Vault-Request", "true") // agents can require it, against request forgery from browsers
	if token != "" {
		req.Header.Set("X-Vault-Token", token.Reveal())
	}
	if v.namespace != "" {
		req.Header.Set("X-Vault-Namespace", v.namespace)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := v.http.Do(req)
	if err != nil {
		return nil, v.unreachable(ctx, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, v.unreachable(ctx, err)
	case resp.StatusCode != http.StatusOK:
		return nil, &statusError{resp.StatusCode, what}
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("the answer is longer than %d bytes", maxAnswer)
	}
	return answer, nil
}

// unreachable says where the connection failed, without the text of the other
// side.
func (v *Vault) unreachable(ctx context.Context, err error) error {
	where := "Vault at " + v.base.Host
	if ctx.Err() != nil {
		return fmt.Errorf("%s gave no answer in time: %w", where, context.Cause(ctx))
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%s has an untrusted certificate: see Config.CAFile and the host of Config.Address", where)
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%s cannot be reached: %w", where, network)
	}
	return fmt.Errorf("%s closes the connection, or does not speak HTTP over TLS: see Config.Address", where)
}

// statusError is an unsuccessful response. Its text is this package's: bodies
// can repeat the request.
type statusError struct {
	status int
	what   string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("Vault answered %d for %s: %s", e.status, e.what, e.advice())
}

// Unwrap marks transient failures.
func (e *statusError) Unwrap() error {
	if remote.Passes(e.status) {
		return &counterfoil.Error{Reason: counterfoil.ReasonUnavailable}
	}
	return nil
}

func (e *statusError) advice() string {
	switch {
	case e.status >= 300 && e.status < 400:
		return "a redirect to another host is not followed: set Config.Address to the active node, or to the load balancer"
	case e.status == http.StatusBadRequest || e.status == http.StatusUnauthorized:
		return "check the role and what the login sends"
	case e.status == http.StatusForbidden:
		return "the token has expired, or no policy of it allows this path"
	case e.status == http.StatusNotFound:
		return "check the mount, the path and the namespace, and whether the secret was deleted"
	case e.status == http.StatusPreconditionFailed:
		return "the node is behind its primary: it is tried again after a pause"
	case e.status == http.StatusTooManyRequests:
		return "too many requests: it is tried again after a pause"
	case e.status == 472 || e.status == 473:
		return "a standby does not answer this: set Config.Address to the active node"
	case e.status == http.StatusNotImplemented:
		return "it is not initialised"
	case e.status == http.StatusServiceUnavailable:
		return "it is sealed, or down for maintenance: unseal it"
	case e.status >= 500:
		return "it has a fault: see its log"
	}
	return "this is not an answer of a Vault: check Config.Address"
}
