package peer

import "net/netip"

// Networks returns the networks that limits and records take a caller's address
// for: the one of a single host or home (IPv4 /32, IPv6 /64), and the one of a
// site (IPv4 /24, IPv6 /48). Both are invalid when the address is.
func Networks(address string) (narrow, wide netip.Prefix) {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return narrow, wide
	}
	return NetworksOf(a)
}

// NetworksOf is Networks of an address that is parsed.
func NetworksOf(a netip.Addr) (narrow, wide netip.Prefix) {
	a = a.Unmap().WithZone("")
	most, least := 32, 24
	if a.Is6() {
		most, least = 64, 48
	}
	narrow, _ = a.Prefix(most) // fails only for no address
	wide, _ = a.Prefix(least)
	return narrow, wide
}
