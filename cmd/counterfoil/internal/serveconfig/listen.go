package serveconfig

import (
	"cmp"
	"context"
	"crypto"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/certfiles"
	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/peer"
	"github.com/counterfoil/counterfoil/internal/trust"
	"github.com/counterfoil/counterfoil/server"
	"github.com/counterfoil/counterfoil/server/signing"
)

// maxSample bounds log.sample.
const maxSample = 1_000_000

// log sets the defaults of the log.
func (pl *planner) log() {
	pl.Log.Level, pl.Log.Format = cmp.Or(pl.Log.Level, "info"), cmp.Or(pl.Log.Format, "text")
	if at := to("log", "sample"); pl.Has(at) && (pl.Log.Sample < 1 || pl.Log.Sample > maxSample) {
		pl.fail(at, "sample must be from 1, for every request, to %d", maxSample)
	}
}

// metrics checks where metrics are shown.
func (pl *planner) metrics(ctx context.Context) {
	address, way := pl.Metrics.Listen, to("metrics", "listen")
	if address == "" {
		return
	}
	pl.address(ctx, address, "metrics.listen", way...)
	host, port, err := net.SplitHostPort(address)
	ip, not := netip.ParseAddr(host)
	switch {
	case err != nil:
	case address == pl.Listen && port != "0":
		pl.fail(way, "%q is where the server itself listens: choose another port", address)
	case not == nil && !ip.IsLoopback() || host == "":
		pl.warn("metrics.listen: everybody who can reach %s can read the metrics: keep strangers from it", address)
	}
}

// address checks an address to listen on, which is the value of a key.
func (pl *planner) address(ctx context.Context, address, key string, way ...any) {
	host, name, err := net.SplitHostPort(address)
	port, unknown := net.DefaultResolver.LookupPort(ctx, "tcp", name)
	switch {
	case err != nil || name == "":
		pl.fail(way, "%q is not HOST:PORT: for example 0.0.0.0:443, or :443 for every address", address)
	case strings.ContainsFunc(address, unicode.IsSpace):
		pl.fail(way, "%q has a space in it: write HOST:PORT", address)
		host = "" // not reported twice
	case unknown != nil:
		pl.fail(way, "%q is not a port: use a number from 0 to 65535", name)
	case port > 0 && !mayListen(port):
		pl.fail(
			way,
			"this user may not listen on port %d: give the process CAP_NET_BIND_SERVICE "+
				"(AmbientCapabilities of systemd), or use a port from 1024 on",
			port,
		)
	}
	if err == nil && host != "" && net.ParseIP(host) == nil {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if found, err := net.DefaultResolver.LookupHost(limited, host); err != nil {
			pl.fail(way, "%q is neither an address nor a name that can be looked up here", host)
		} else if !slices.ContainsFunc(found, isOwnAddress) {
			pl.warn("%s: %s is not an address of this machine, but of %s: nothing can listen there unless it becomes one",
				key, host, strings.Join(found, " and "))
		}
	} else if err == nil && host != "" && !isOwnAddress(host) {
		pl.warn("%s: %s is not an address of this machine: nothing can listen there unless it becomes one", key, host)
	}
}

// isOwnAddress reports whether this machine has an address, or may have it.
func isOwnAddress(text string) bool {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	own, err := net.InterfaceAddrs()
	return err != nil || ip.IsLoopback() || ip.IsUnspecified() || slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		if !ok {
			return false
		}
		has, ok := netip.AddrFromSlice(n.IP)
		return ok && has.Unmap() == ip
	})
}

func (pl *planner) proxy() {
	for i, s := range pl.TrustedProxies {
		network, err := netip.ParsePrefix(s)
		if ip, bad := netip.ParseAddr(s); err != nil && bad == nil {
			network, err = ip.Prefix(ip.BitLen())
		}
		if err != nil {
			pl.fail(to("trusted_proxies", i), "%q is neither a network nor an address: write for example 10.0.0.0/8", s)
			continue
		}
		if err := (&peer.Config{Networks: []netip.Prefix{network}}).Validate(); err != nil {
			pl.fail(to("trusted_proxies", i), "%v", err)
			continue
		}
		pl.out.Server.Proxies.Networks = append(pl.out.Server.Proxies.Networks, network.Masked())
	}
	proxies := pl.out.Server.Proxies.Networks
	if len(proxies) == 0 && (pl.Told(to("trusted_proxies")) || len(pl.TrustedProxies) > 0) {
		proxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} // some are set, and their mistakes are already reported
	}
	if len(pl.TrustedProxies) > 0 {
		pl.AddressHeader = cmp.Or(pl.AddressHeader, "X-Forwarded-For")
	}
	h, before := pl.CertificateHeader, ""
	for _, c := range []struct {
		way    []any
		config peer.Config
	}{
		{to("address_header"), peer.Config{Networks: proxies, AddressHeader: string(pl.AddressHeader)}},
		{to("certificate_header"), peer.Config{Networks: proxies, CertificateHeader: h.Name,
			CertificateForm: counterfoil.CertificateForm(h.Form)}},
		{to("certificate_header"), peer.Config{Networks: proxies, AddressHeader: string(pl.AddressHeader),
			CertificateHeader: h.Name}},
	} {
		if err := c.config.Validate(); err != nil && pl.Has(c.way) {
			if says := fmt.Sprint(c.way, err); says != before {
				pl.fail(c.way, "%v", err)
				before = says
			}
		}
	}
}

func (pl *planner) outbound() {
	for i, h := range pl.Outbound.Hosts {
		if err := (server.Outbound{Hosts: []string{h}}).Validate(); err != nil {
			pl.fail(to("outbound", "hosts", i), "%v", err)
		}
	}
	if file := pl.Outbound.CAFile; file != "" {
		var err error
		if pl.out.Server.Outbound.RootCAs, err = trust.File(within(pl.dir, file)); err != nil {
			pl.fail(to("outbound", "ca_file"), "%v", err)
		}
	}
}

// tls loads the certificate, and warns if it is not suitable.
func (pl *planner) tls() {
	readable := true
	for key, file := range map[string]string{"certificate": pl.TLS.Certificate, "key": pl.TLS.Key} {
		if _, err := readFile(within(pl.dir, file)); err != nil {
			pl.fail(to("tls", key), "%v", err)
			readable = false
		}
	}
	if !readable {
		return
	}
	var private func(crypto.PrivateKey) crypto.PrivateKey
	if backend, err := signing.NewRSABackend(string(pl.Signer)); err == nil { // an unknown word is reported as such
		private = backend.TLSKey
	}
	c, err := certfiles.Open(within(pl.dir, pl.TLS.Certificate), within(pl.dir, pl.TLS.Key), clock.System, private)
	if err != nil {
		pl.fail(to("tls", "certificate"), "%v", err)
		return
	}
	pl.out.Certificate = c
	leaf := c.Leaf()
	if left := leaf.NotAfter.Sub(pl.now); left < 7*24*time.Hour {
		pl.warn("the certificate %s expires at %s", pl.TLS.Certificate, leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	for _, r := range pl.out.Realms {
		for _, host := range r.Hosts {
			switch {
			case leaf.VerifyHostname(host) == nil:
			case len(pl.TrustedProxies) > 0: // clients see the proxy's certificate
				pl.warn("the certificate %s is not for %s, a host of the realm %s", pl.TLS.Certificate, host, r.Name)
			default:
				pl.fail(
					to("tls", "certificate"),
					"the certificate %s is not for %s, a host of the realm %s: no client would accept it",
					pl.TLS.Certificate, host, r.Name,
				)
			}
		}
	}
}
