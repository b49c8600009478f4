// Package outbound sends the server's own requests: it fetches documents from
// addresses that a configuration or a client's record names, such as key sets, and
// posts to webhooks. Use it for every address that the operator of the server does
// not write: otherwise its author could reach into the operator's network
// (server-side request forgery).
//
// It promises that it contacts only hosts on a list, over verified TLS; that
// the dialled address is public, whatever a name resolved to earlier; that it
// follows no redirects; and that a request is bounded in time and in bytes.
package outbound

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/document"
	"github.com/counterfoil/counterfoil/internal/httpsurl"
	"github.com/counterfoil/counterfoil/internal/trust"
)

// Errors of Get and Keys, always wrapped.
var (
	// ErrNotAllowed: the host is not on the list.
	ErrNotAllowed = errors.New("the host is not on the list of allowed hosts")
	// ErrPrivate: the host has an address that is not a public one.
	ErrPrivate = errors.New("the host has a private or otherwise special address")
	// ErrNotLoopback: what is allowed on this machine only is at another address.
	ErrNotLoopback = errors.New("the host is not this machine")
)

const (
	defaultBytes   = 512 << 10
	defaultTimeout = 5 * time.Second
	maxURL         = 2 << 10  // bytes
	maxHeader      = 16 << 10 // bytes of a response's header
	maxPerHost     = 16       // connections
)

// Config configures a Fetcher.
type Config struct {
	// AllowedHosts are the hosts that may be contacted: exact names or
	// addresses, such as "keys.example.com" for port 443 and
	// "keys.example.com:8443" for another. Empty means that none may.
	AllowedHosts []string
	// AllowPrivate allows addresses of the operator's own network: loopback,
	// private, link-local and other special ones.
	AllowPrivate bool
	// PlainLoopback allows http URLs of this machine beside https URLs: their host is
	// localhost or a loopback address, and nothing else is dialled for it.
	PlainLoopback bool
	// RootCAs are the authorities that are trusted; default the system's.
	RootCAs *x509.CertPool
	// MaxBytes bounds a document; default 512 KiB.
	MaxBytes int64
	// Timeout bounds a whole fetch, from the name to the last byte; default 5
	// seconds.
	Timeout time.Duration
	// Clock tells the time; default the system's.
	Clock counterfoil.Clock
}

// Fetcher fetches documents. It is safe for concurrent use, and keeps no
// connection and no cookie from one fetch to the next.
type Fetcher struct {
	cfg       Config
	allowed   map[string]bool // "host:port"
	transport *http.Transport
}

// hostName matches a valid host: letters, digits, hyphens and dots, or an
// address. Errors show only such hosts.
var hostName = regexp.MustCompile(`^[0-9a-z]([0-9a-z._-]{0,252}[0-9a-z])?$|^[0-9a-f:]*:[0-9a-f:.]*$`)

// New checks cfg and returns its Fetcher.
func New(cfg Config) (*Fetcher, error) {
	if cfg.MaxBytes < 0 || cfg.Timeout < 0 {
		return nil, errors.New("outbound: MaxBytes and Timeout must not be negative")
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = defaultBytes
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System
	}
	f := &Fetcher{cfg: cfg, allowed: make(map[string]bool, len(cfg.AllowedHosts))}
	for _, entry := range cfg.AllowedHosts {
		host, err := hostOf(entry)
		if err != nil {
			return nil, err
		}
		f.allowed[host] = true
	}
	f.transport = &http.Transport{
		// No Proxy: a proxy from the environment would dial for us, unchecked.
		DialTLSContext:         f.dial,
		DialContext:            f.dialPlain,
		DisableCompression:     true,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxHeader,
		MaxConnsPerHost:        maxPerHost,
	}
	return f, nil
}

// hostOf parses an entry of the list into "host:port".
func hostOf(entry string) (string, error) {
	host, port := strings.ToLower(entry), "443"
	if _, err := netip.ParseAddr(host); err != nil {
		if h, p, err := net.SplitHostPort(host); err == nil {
			host, port = h, p
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != port || !hostName.MatchString(host) {
		return "", fmt.Errorf("outbound: the allowed host %q must be a name or an address, with a port or "+
			"without, such as keys.example.com:8443", entry)
	}
	return net.JoinHostPort(host, port), nil
}

// check returns the URL if it may be fetched.
func (f *Fetcher) check(address string) (*url.URL, error) {
	if len(address) > maxURL {
		return nil, fmt.Errorf("the URL is longer than %d bytes", maxURL)
	}
	u, ok := httpsurl.Parse(address)
	port := "443"
	if !ok && f.cfg.PlainLoopback {
		u, ok = httpsurl.Loopback(address)
		port = "80"
	}
	if !ok {
		return nil, errors.New("the URL must be an https URL with a host, without credentials and fragment")
	}
	host, port := strings.ToLower(u.Hostname()), cmp.Or(u.Port(), port)
	if !f.allowed[net.JoinHostPort(host, port)] {
		if !hostName.MatchString(host) {
			return nil, ErrNotAllowed
		}
		return nil, fmt.Errorf("%w: %s", ErrNotAllowed, net.JoinHostPort(host, port))
	}
	return u, nil
}

// May returns why no document can ever be fetched from an address, or nil: the
// form of the URL, a host that is not on the list, or one that is itself an
// address that may not be dialled. Get checks the same, and to which addresses a
// name resolves.
func (f *Fetcher) May(address string) error {
	u, err := f.check(address)
	if err != nil || f.cfg.AllowPrivate {
		return err
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if ip, err := netip.ParseAddr(host); err == nil && !public(ip.Unmap()) || host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return ErrPrivate
	}
	return nil
}

// fetchKey is the key under which the context of a fetch has itself as a
// value.
type fetchKey struct{}

// dial connects for one fetch and ends with it. The context that a transport
// passes keeps the values of the request's context but outlives it: a silent
// host would keep the connection forever.
func (f *Fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx = fetchOf(ctx)
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Control: f.control},
		Config:    &tls.Config{RootCAs: f.cfg.RootCAs, MinVersion: tls.VersionTLS12},
	}
	return dialer.DialContext(ctx, network, address)
}

// dialPlain connects for one fetch from this machine, without TLS.
func (f *Fetcher) dialPlain(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Control: LoopbackOnly}
	return dialer.DialContext(fetchOf(ctx), network, address)
}

// fetchOf returns the context of the fetch that ctx is for.
func fetchOf(ctx context.Context) context.Context {
	if fetch, ok := ctx.Value(fetchKey{}).(context.Context); ok {
		return fetch
	}
	return ctx
}

// LoopbackOnly is the Control of a net.Dialer that reaches no other machine,
// whatever a name resolves to. Its error wraps ErrNotLoopback.
func LoopbackOnly(_, address string, _ syscall.RawConn) error {
	if at, err := netip.ParseAddrPort(address); err != nil || !at.Addr().Unmap().IsLoopback() {
		return ErrNotLoopback
	}
	return nil
}

// control is called after a name is resolved and before a packet is sent, so
// that a name that now resolves to another address is refused too.
func (f *Fetcher) control(_, address string, _ syscall.RawConn) error {
	if f.cfg.AllowPrivate {
		return nil
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil || !public(at.Addr()) {
		return ErrPrivate
	}
	return nil
}

// errTimeout is the error of a fetch that took too long.
var errTimeout = errors.New("no whole answer in time")

// Get fetches the document at an https URL, asking for the media types that
// accept names (RFC 9110 section 12.5.1). Every answer but 200 is an error,
// also a redirect. Errors are one line and show only the status of the answer.
func (f *Fetcher) Get(ctx context.Context, address, accept string) (*document.Document, error) {
	u, err := f.check(address)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	doc, err := f.get(ctx, u, accept)
	if err != nil {
		return nil, fmt.Errorf("fetch from %s: %w", u.Host, err)
	}
	return doc, nil
}

func (f *Fetcher) get(ctx context.Context, u *url.URL, accept string) (*document.Document, error) {
	ctx, cancel := clock.WithTimeoutCause(ctx, f.cfg.Clock, f.cfg.Timeout, errTimeout)
	defer cancel()
	resp, err := f.send(ctx, http.MethodGet, u, http.Header{"Accept": {accept}}, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	doc, err := document.Read(resp, f.cfg.MaxBytes)
	if broken := (*document.BodyError)(nil); errors.As(err, &broken) {
		return nil, f.reason(ctx, broken.Err)
	}
	return doc, err
}

// Post sends body to an https URL, and returns the status of the answer and its
// header, whatever they are; the body of the answer is not read. The error is one
// line, without the URL's path and query, which may have a password.
func (f *Fetcher) Post(ctx context.Context, address string, header http.Header, body []byte) (status int, answer http.Header, err error) {
	u, err := f.check(address)
	if err != nil {
		return 0, nil, fmt.Errorf("post: %w", err)
	}
	ctx, cancel := clock.WithTimeoutCause(ctx, f.cfg.Clock, f.cfg.Timeout, errTimeout)
	defer cancel()
	resp, err := f.send(ctx, http.MethodPost, u, header.Clone(), body)
	if err != nil {
		return 0, nil, fmt.Errorf("post to %s: %w", u.Host, err)
	}
	_ = resp.Body.Close() // ends the connection, however long the body is
	return resp.StatusCode, resp.Header, nil
}

// send sends a request. An http.Client would follow redirects and keep cookies.
func (f *Fetcher) send(ctx context.Context, method string, u *url.URL, header http.Header, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(context.WithValue(ctx, fetchKey{}, ctx), method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL cannot be asked for")
	}
	req.Header = header
	req.Header.Set("User-Agent", "counterfoil")
	resp, err := f.transport.RoundTrip(req)
	if err != nil {
		return nil, f.reason(ctx, err)
	}
	return resp, nil
}

// reason says in words of this package why a fetch failed: the errors of TLS
// and HTTP repeat what the host sent.
func (f *Fetcher) reason(ctx context.Context, err error) error {
	var dns *net.DNSError
	var operation *net.OpError
	switch {
	case errors.Is(context.Cause(ctx), errTimeout):
		return fmt.Errorf("%w: %v", errTimeout, f.cfg.Timeout)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrPrivate):
		return ErrPrivate
	case errors.Is(err, ErrNotLoopback):
		return ErrNotLoopback
	case trust.Reason(err) != nil:
		return trust.Reason(err)
	case errors.As(err, &dns):
		return errors.New("its name cannot be resolved")
	case errors.As(err, &operation):
		return operation
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the answer breaks off")
	}
	return errors.New("the answer is not one of HTTP/1.1 over TLS, or its header is too large")
}
