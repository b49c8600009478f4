package guard_test

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

func TestForwardedCertificates(t *testing.T) {
	mine, others := certificate("mine"), certificate("another")
	der := base64.StdEncoding.EncodeToString(mine.Leaf.Raw)
	text := url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mine.Leaf.Raw})))
	loopback, elsewhere := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")
	for _, tt := range []struct {
		name   string
		proxy  netip.Prefix
		form   counterfoil.CertificateForm
		values []string
		own    tls.Certificate // of the connection
		want   counterfoil.Reason
		detail string
	}{
		{"RFC 9440", loopback, "", []string{":" + der + ":"}, others, "", ""},
		{"nginx", loopback, "pem-escaped", []string{text}, others, "", ""},
		{"HAProxy", loopback, "der-base64", []string{der}, others, "", ""},
		{"another's", loopback, "", []string{":" + base64.StdEncoding.EncodeToString(others.Leaf.Raw) + ":"}, mine, counterfoil.ReasonTokenCertificate, "the proxy's header Client-Cert has another client certificate"},
		{"none", loopback, "", nil, mine, counterfoil.ReasonTokenCertificate, "the proxy's header Client-Cert has no client certificate"},
		{"twice", loopback, "", []string{":" + der + ":", ":" + der + ":"}, mine, counterfoil.ReasonTokenCertificate, "2 headers Client-Cert"},
		{"garbage", loopback, "", []string{"x"}, mine, counterfoil.ReasonTokenCertificate, "the header Client-Cert is not in the form client-cert"},
		{"of somebody else than the proxy", elsewhere, "", []string{":" + der + ":"}, others, counterfoil.ReasonTokenCertificate, "and its peer is not in Config.Proxies.Networks"},
		{"the connection's own", elsewhere, "", []string{"x"}, mine, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) {
				c.Proxies = counterfoil.Proxies{Networks: []netip.Prefix{tt.proxy}, CertificateHeader: "Client-Cert", CertificateForm: tt.form}
			})
			req := r.call(r.boundTo(members{"x5t#S256": jose.CertificateThumbprint(mine.Leaf)}))
			req.Header["Client-Cert"] = tt.values
			resp := must(r.as(tt.own).Do(req))
			resp.Body.Close()
			if e := r.events[0]; e.Reason != tt.want || !strings.Contains(e.Detail, tt.detail) || (resp.StatusCode == 200) != (tt.want == "") {
				t.Errorf("%d, %+v", resp.StatusCode, e)
			}
		})
	}
}

// The operator of a guard that does not know of the proxy in front of it is told.
func TestCertificateBehindAnUnknownProxy(t *testing.T) {
	r := newRig(t, "oauth2")
	req := r.call(r.boundTo(members{"x5t#S256": jose.CertificateThumbprint(certificate("mine").Leaf)}))
	a := r.send(req)
	r.refused(a, counterfoil.ReasonTokenCertificate)
	if want := "no client certificate: behind a proxy, set Networks and CertificateHeader of Config.Proxies"; !strings.Contains(a.event.Detail, want) {
		t.Errorf("the detail is %q", a.event.Detail)
	}
}

// The record of a call behind a proxy named the proxy as the caller.
func TestForwardedAddress(t *testing.T) {
	loopback, elsewhere := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")
	for name, tt := range map[string]struct {
		proxies            counterfoil.Proxies
		header, said, want string
	}{
		"no proxy":         {counterfoil.Proxies{}, "X-Forwarded-For", "198.51.100.9", "127.0.0.1"},
		"default":          {counterfoil.Proxies{Networks: []netip.Prefix{loopback}}, "X-Forwarded-For", "203.0.113.5, 198.51.100.9", "198.51.100.9"},
		"nothing":          {counterfoil.Proxies{Networks: []netip.Prefix{loopback}}, "X-Other", "198.51.100.9", "127.0.0.1"},
		"garbage":          {counterfoil.Proxies{Networks: []netip.Prefix{loopback}}, "X-Forwarded-For", "x", "127.0.0.1"},
		"RFC 7239":         {counterfoil.Proxies{Networks: []netip.Prefix{loopback}, AddressHeader: "Forwarded"}, "Forwarded", `for="[2001:db8::9]:80"`, "2001:db8::9"},
		"two proxies":      {counterfoil.Proxies{Networks: []netip.Prefix{loopback, elsewhere}}, "X-Forwarded-For", "198.51.100.9, 192.0.2.7", "198.51.100.9"},
		"somebody else's":  {counterfoil.Proxies{Networks: []netip.Prefix{elsewhere}}, "X-Forwarded-For", "198.51.100.9", "127.0.0.1"},
		"of a refusal too": {counterfoil.Proxies{Networks: []netip.Prefix{loopback}}, "X-Forwarded-For", "198.51.100.9", "198.51.100.9"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigFor(t, must(provider.Builtin("oauth2")), dialects()["oauth2"], func(c *guard.Config) { c.Proxies = tt.proxies })
			token := r.token(nil)
			if name == "of a refusal too" {
				token = r.claim("iss", "https://evil.example")
			}
			req := r.call(token)
			req.Header.Set(tt.header, tt.said)
			if e := r.send(req).event; e.Address != tt.want || e.Success == (name == "of a refusal too") {
				t.Errorf("the event is %+v, want the address %s", e, tt.want)
			}
		})
	}
}
