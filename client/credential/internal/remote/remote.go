// Package remote fetches a credential from a service that keeps it. Use it below
// client/credential, between a service's own library and the network.
//
// A request goes by verified TLS to the host that it names and nowhere else; a
// response is bounded; and errors are one line in this package's words: services
// and their libraries repeat requests and responses, which may hold the secret.
// Its API may change.
package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/trust"
)

const (
	// MaxAnswer bounds a response, in bytes: a secret of MaxSecret in its
	// longest escaped form, and its envelope.
	MaxAnswer = 512 << 10
	// MaxSecret bounds a secret, in bytes, as AWS and Google do.
	MaxSecret = 64 << 10
)

var (
	errTooLarge = fmt.Errorf("the answer is larger than %d bytes", MaxAnswer)
	errAway     = errors.New(
		"the name of its metadata service leads to another machine, and logins are not sent in the clear: check its resolver",
	)
	errPlain = errors.New("its address is not https, and neither logins nor secrets are sent in the clear: change the endpoint")
)

// Client sends requests. A redirect is a response like any other.
type Client struct {
	// Base dials; default one for all Clients, like http.DefaultTransport but
	// with at least TLS 1.2.
	Base http.RoundTripper
	// Metadata allows plain http to this machine and to the link: there a
	// platform's metadata service provides logins, and has no TLS. Such a
	// request uses no proxy, and connects to no other machine by whatever name.
	Metadata bool

	once  sync.Once
	plain http.RoundTripper // dials without TLS
}

// onLink reports whether a host is this machine, or one that is not routed.
func onLink(host string) bool {
	if host == "localhost" || host == "metadata.google.internal" {
		return true
	}
	at, err := netip.ParseAddr(host)
	return err == nil && (at.IsLoopback() || at.IsLinkLocalUnicast())
}

// Doer is the interface that the libraries of services send requests with.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Of returns a Client that dials as d does. Of an *http.Client it uses the
// transport only: the client itself would follow redirects, and keep cookies.
func Of(d Doer) *Client {
	switch d := d.(type) {
	case nil:
		return &Client{}
	case *http.Client:
		return &Client{Base: d.Transport}
	default:
		return &Client{Base: doer{d}}
	}
}

type doer struct{ Doer }

func (d doer) RoundTrip(req *http.Request) (*http.Response, error) { return d.Do(req) }

// base is shared, so that connections are.
var base = sync.OnceValue(func() http.RoundTripper { return trust.Transport() })

// direct is base for plain http.
var direct = sync.OnceValue(func() http.RoundTripper { return staying(base()) })

// google6 is metadata.google.internal where there is IPv6 only. It is the one
// routable address that leads to the machine's host.
var google6 = netip.MustParseAddr("fd20:ce::254")

// staying returns rt without proxies and without connections to other machines,
// if rt can be configured so; others are responsible for where they dial.
func staying(rt http.RoundTripper) http.RoundTripper {
	t, ok := rt.(*http.Transport)
	if !ok {
		return rt
	}
	t = t.Clone()
	t.Proxy = nil
	// A login is requested once in its life, and the owner of rt closes the idle
	// connections of rt only.
	t.DisableKeepAlives = true
	dial := t.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: 30 * time.Second}).DialContext
	}
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok && !stays(address, tcp.AddrPort().Addr().Unmap()) {
			_ = conn.Close()
			return nil, errAway
		}
		return conn, nil
	}
	return t
}

// stays reports whether a request to the address may go to at: names must be
// resolved, and localhost is this machine only.
func stays(address string, at netip.Addr) bool {
	if host, _, err := net.SplitHostPort(address); err == nil && host == "localhost" {
		return at.IsLoopback()
	}
	return at.IsLoopback() || at.IsLinkLocalUnicast() || at == google6
}

// Check reports whether the transport would accept an unverified server.
func (c *Client) Check() error {
	if err := trust.Check(c.Base); err != nil {
		return fmt.Errorf("the HTTP transport %w", err)
	}
	return nil
}

// Do sends one request; the libraries of services call it by this name.
func (c *Client) Do(req *http.Request) (*http.Response, error) { return c.RoundTrip(req) }

// RoundTrip sends one request.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	rt := c.Base
	switch {
	case req.URL.Scheme != "https" && !(c.Metadata && req.URL.Scheme == "http" && onLink(req.URL.Hostname())):
		return nil, errPlain
	case req.URL.Scheme == "http":
		rt = c.direct()
	case rt == nil:
		rt = base()
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.ContentLength > MaxAnswer {
		_ = resp.Body.Close()
		return nil, errTooLarge
	}
	resp.Body = &bounded{body: resp.Body, left: MaxAnswer}
	return resp, nil
}

// direct returns the transport for plain http.
func (c *Client) direct() http.RoundTripper {
	if c.Base == nil {
		return direct()
	}
	c.once.Do(func() { c.plain = staying(c.Base) })
	return c.plain
}

// bounded is a body that fails when it exceeds the bound.
type bounded struct {
	body io.ReadCloser
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if len(p) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.body.Read(p)
	if n > b.left {
		return 0, errTooLarge
	}
	b.left -= n
	return n, err
}

func (b *bounded) Close() error { return b.body.Close() }

// Reason says why a request had no response, without repeating any part of it.
func Reason(ctx context.Context, err error) error {
	var dns *net.DNSError
	var operation *net.OpError
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return fmt.Errorf("no complete answer in time: %w", context.DeadlineExceeded)
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errPlain):
		return errPlain
	case errors.Is(err, errAway):
		return errAway
	case errors.Is(err, errTooLarge):
		return errTooLarge
	case trust.Reason(err) != nil:
		return trust.Reason(err)
	case errors.As(err, &dns):
		return Passing(errors.New("its name cannot be resolved"))
	case errors.As(err, &operation) && operation.Op != "remote error":
		return operation
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Passing(errors.New("the answer breaks off"))
	}
	return errors.New("the answer cannot be read")
}

// Passing marks a transient failure, so that a Source does not treat it as a
// refusal: it wraps a counterfoil.Error whose Class is ClassTransient. The text is
// that of err.
func Passing(err error) error { return passing{err} }

type passing struct{ error }

func (p passing) Unwrap() []error {
	return []error{p.error, &counterfoil.Error{Reason: counterfoil.ReasonUnavailable}}
}

// Passes reports whether a status means that the same request may succeed later.
func Passes(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= 500
}

// Value is the stored value, as a secret: without the trailing line end that
// editors and shells add, as with a file.
func Value(kept string) (counterfoil.Secret, error) {
	switch value := strings.TrimRight(kept, "\r\n"); {
	case value == "":
		return "", errors.New("it is empty")
	case len(value) > MaxSecret:
		return "", fmt.Errorf("it is longer than %d bytes", MaxSecret)
	default:
		return counterfoil.Secret(value), nil
	}
}
