// Package peer finds the address and the TLS certificate of a client, whether it
// connects directly or through proxies that are identified by their addresses. All
// decisions by address or certificate use this package.
//
// A forwarding header is trusted if the TCP peer is a trusted proxy, and only the
// part of it that trusted proxies wrote; from other peers it is ignored. Scheme and
// host are never taken from a header. Functions are safe for concurrent use and
// accept untrusted input. The package is internal and makes no compatibility
// promise.
package peer

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/counterfoil/counterfoil"
)

// Config says which proxies stand in front and what they forward; nil stands
// for no proxy.
type Config counterfoil.Proxies

// New returns the configuration for p, in which AddressHeader has its default. Its
// errors are those of Validate.
func New(p counterfoil.Proxies) (*Config, error) {
	c := Config(p)
	if len(c.Networks) > 0 && c.AddressHeader == "" {
		c.AddressHeader = "X-Forwarded-For"
	}
	return &c, c.Validate()
}

// maxHops bounds the elements of the header that are read.
const maxHops = 32

// Validate returns an error for a configuration that makes no sense.
func (c *Config) Validate() error {
	if c == nil {
		return nil
	}
	for _, p := range c.Networks {
		switch {
		case !p.IsValid():
			return errors.New("a trusted proxy has no valid prefix: write an address and its bits, such as 192.0.2.0/24")
		case p.Addr().Is4In6():
			return fmt.Errorf("the trusted proxy %s is IPv4 in IPv6: write it as IPv4", p)
		case p.Bits() == 0:
			return fmt.Errorf("the trusted proxy %s is every address, so that everyone could claim any address: "+
				"write the proxies' own addresses", p)
		}
	}
	if len(c.Networks) == 0 && (c.AddressHeader != "" || c.CertificateHeader != "") {
		return errors.New("a header of proxies is named and no trusted proxy: name the proxies' addresses, or no header")
	}
	for _, name := range []string{c.AddressHeader, c.CertificateHeader} {
		if strings.ContainsFunc(name, func(r rune) bool { return !tokenCharacter(r) }) {
			return fmt.Errorf("%q is not the name of a header", name)
		}
	}
	if c.AddressHeader != "" && http.CanonicalHeaderKey(c.AddressHeader) == http.CanonicalHeaderKey(c.CertificateHeader) {
		return fmt.Errorf("the header %s cannot have both the address and the certificate", c.AddressHeader)
	}
	if c.CertificateForm != "" && !slices.Contains(forms, c.CertificateForm) {
		return fmt.Errorf("the certificate form %q is not one of %q", c.CertificateForm, forms)
	}
	return nil
}

// tokenCharacter is RFC 9110 section 5.6.2.
func tokenCharacter(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// Address returns the address of the client: the TCP peer or, if that is a trusted
// proxy, the first address from the right of AddressHeader that is not a trusted
// proxy. Addresses further left were sent by that client and may be anything. If
// the header ends before or is malformed, Address returns the last valid hop. The
// result is never IPv4 in IPv6 and has no zone; it is invalid if the TCP peer has no
// IP address, as on a Unix socket.
func (c *Config) Address(r *http.Request) netip.Addr {
	last := connected(r)
	if c == nil || c.AddressHeader == "" {
		return last
	}
	lines := r.Header.Values(c.AddressHeader)
	forwarded := http.CanonicalHeaderKey(c.AddressHeader) == "Forwarded"
	hops := 0
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; hops++ {
			if hops == maxHops || !c.trusted(last) {
				return last
			}
			var element string
			rest, element, more = cutLast(rest, ',', forwarded)
			if element = strings.Trim(element, " \t"); element == "" {
				continue // RFC 9110 section 5.6.1.2
			}
			if forwarded {
				element = forNode(element)
			}
			hop, ok := parseNode(element)
			if !ok {
				return last
			}
			last = hop
		}
	}
	return last
}

// Caller returns Address as text for a record or, if the TCP peer has no IP
// address, what net/http says of it.
func (c *Config) Caller(r *http.Request) string {
	if a := c.Address(r); a.IsValid() {
		return a.String()
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return host
	}
	return r.RemoteAddr
}

// FromProxy reports whether the TCP peer of a request is a trusted proxy.
func (c *Config) FromProxy(r *http.Request) bool { return c.trusted(connected(r)) }

// trusted reports whether a is a proxy's address.
func (c *Config) trusted(a netip.Addr) bool {
	return c != nil && a.IsValid() && slices.ContainsFunc(c.Networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// connected returns the address of the TCP peer.
func connected(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// parseNode reads an address with or without a port: 192.0.2.1, 192.0.2.1:80,
// 2001:db8::1, [2001:db8::1], [2001:db8::1]:80. The port, which RFC 7239 section
// 6.2 lets proxies hide, does not matter.
func parseNode(node string) (netip.Addr, bool) {
	host, port := node, ""
	if inner, ok := strings.CutPrefix(node, "["); ok {
		if host, port, ok = strings.Cut(inner, "]"); !ok || !strings.Contains(host, ":") {
			return netip.Addr{}, false
		}
	} else if strings.Count(node, ":") == 1 {
		i := strings.IndexByte(node, ':')
		host, port = node[:i], node[i:]
	}
	if port != "" && !isPort(port) {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(host)
	a = a.Unmap()
	return a, err == nil && a.Zone() == "" && !a.IsUnspecified()
}

// isPort reports whether text is a colon and a port, or the name that hides one.
func isPort(text string) bool {
	number, ok := strings.CutPrefix(text, ":")
	if !ok || number == "" {
		return false
	}
	if number[0] == '_' {
		return !strings.ContainsFunc(number, func(r rune) bool { return !tokenCharacter(r) })
	}
	return len(number) <= 5 && !strings.ContainsFunc(number, func(r rune) bool { return r < '0' || r > '9' })
}
