package outbound

import (
	"net/netip"
	"slices"
)

// special4 are the blocks of IPv4 that are not part of the public network (the
// IANA registry of special-purpose addresses, RFC 6890).
var special4 = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)

// global6 is the block of IPv6 that IANA allocates as global unicast.
// Everything outside is special: loopback, unique-local, link-local,
// multicast, and the forms that hold an IPv4 address (IPv4-mapped, NAT64).
var global6 = netip.MustParsePrefix("2000::/3")

// special6 are the blocks inside that are not public: protocol assignments with
// Teredo, documentation, and 6to4, which holds an IPv4 address.
var special6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		out[i] = netip.MustParsePrefix(text)
	}
	return out
}

// public reports whether a is an address of the public network.
func public(a netip.Addr) bool {
	holds := func(p netip.Prefix) bool { return p.Contains(a) }
	if a.Is4() {
		return !slices.ContainsFunc(special4, holds)
	}
	return a.Zone() == "" && global6.Contains(a) && !slices.ContainsFunc(special6, holds)
}
