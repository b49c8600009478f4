package peer

import (
	"net/http"
	"net/netip"
)

// Origin is where a request is from, for limits by address.
type Origin struct {
	// Address is that of Config.Address.
	Address netip.Addr
	// Proxy says that it is a trusted proxy's own: the proxy did not say whose
	// request it forwards.
	Proxy bool
	// Unnamed says that the TCP peer is not a trusted proxy and sends a header with
	// which proxies forward addresses.
	Unnamed bool
}

// forwarding are the headers with which proxies forward addresses.
var forwarding = []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip"}

// Origin returns where a request is from.
func (c *Config) Origin(r *http.Request) Origin {
	o := Origin{Address: c.Address(r)}
	o.Proxy = c.trusted(o.Address)
	if !c.trusted(connected(r)) {
		for _, name := range forwarding {
			o.Unnamed = o.Unnamed || len(r.Header[name]) > 0
		}
		o.Unnamed = o.Unnamed || c != nil && c.AddressHeader != "" && r.Header.Get(c.AddressHeader) != ""
	}
	return o
}
