package peer_test

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/peer"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// proxies are 10.0.0.0/8 and one IPv6 network.
func proxies() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48")}
}

func request(remote, header string, lines ...string) *http.Request {
	r := &http.Request{RemoteAddr: remote, Header: http.Header{}}
	for _, line := range lines {
		r.Header.Add(header, line)
	}
	return r
}

func TestAddressByXForwardedFor(t *testing.T) {
	for _, tt := range []struct {
		name, remote string
		lines        []string
		want         string
	}{
		{"no proxy", "198.51.100.7:4000", nil, "198.51.100.7"},
		{"a client that says it is another", "198.51.100.7:4000", []string{"192.0.2.1"}, "198.51.100.7"},
		{"through a proxy", "10.0.0.1:4000", []string{"198.51.100.7"}, "198.51.100.7"},
		{"through two", "10.0.0.1:4000", []string{"198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		{"never the left-most", "10.0.0.1:4000", []string{"192.0.2.1, 198.51.100.7"}, "198.51.100.7"},
		{"the client claims a proxy's address", "10.0.0.1:4000", []string{"192.0.2.1, 10.0.0.9, 198.51.100.7"}, "198.51.100.7"},
		{"lines in order", "10.0.0.1:4000", []string{"192.0.2.1", "198.51.100.7", "10.0.0.2"}, "198.51.100.7"},
		{"proxies only", "10.0.0.1:4000", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"no header", "10.0.0.1:4000", nil, "10.0.0.1"},
		{"empty header", "10.0.0.1:4000", []string{""}, "10.0.0.1"},
		{"empty elements", "10.0.0.1:4000", []string{", 198.51.100.7,, ", ","}, "198.51.100.7"},
		{"garbage at once", "10.0.0.1:4000", []string{"198.51.100.7, unknown"}, "10.0.0.1"},
		{"garbage after a good hop", "10.0.0.1:4000", []string{"198.51.100.7, <script>, 10.0.0.2"}, "10.0.0.2"},
		{"a name", "10.0.0.1:4000", []string{"localhost"}, "10.0.0.1"},
		{"an address of nobody", "10.0.0.1:4000", []string{"0.0.0.0"}, "10.0.0.1"},
		{"an address of nobody in IPv6", "10.0.0.1:4000", []string{"::ffff:0.0.0.0"}, "10.0.0.1"},
		{"octal", "10.0.0.1:4000", []string{"198.051.100.007"}, "10.0.0.1"},
		{"a quote is garbage here", "10.0.0.1:4000", []string{`"198.51.100.7"`}, "10.0.0.1"},
		{"port", "10.0.0.1:4000", []string{"198.51.100.7:80"}, "198.51.100.7"},
		{"broken port", "10.0.0.1:4000", []string{"198.51.100.7:8o"}, "10.0.0.1"},
		{"port of five digits", "10.0.0.1:4000", []string{"198.51.100.7:10909"}, "198.51.100.7"},
		{"what stands before the digits", "10.0.0.1:4000", []string{"198.51.100.7:8/0"}, "10.0.0.1"},
		{"what stands behind the digits", "10.0.0.1:4000", []string{"[2001:db8::7]:8:0"}, "10.0.0.1"},
		{"no port behind a colon", "10.0.0.1:4000", []string{"198.51.100.7:"}, "10.0.0.1"},
		{"port of six digits", "10.0.0.1:4000", []string{"198.51.100.7:123456"}, "10.0.0.1"},
		{"IPv6", "[2001:db8:1::1]:4000", []string{"2001:db8::7"}, "2001:db8::7"},
		{"brackets", "10.0.0.1:4000", []string{"[2001:db8::7]"}, "2001:db8::7"},
		{"brackets and port", "10.0.0.1:4000", []string{"[2001:db8::7]:80"}, "2001:db8::7"},
		{"brackets that do not close", "10.0.0.1:4000", []string{"[2001:db8::7"}, "10.0.0.1"},
		{"more behind the brackets", "10.0.0.1:4000", []string{"[2001:db8::7]80"}, "10.0.0.1"},
		{"IPv4 in brackets", "10.0.0.1:4000", []string{"[198.51.100.7]"}, "10.0.0.1"},
		{"zone", "10.0.0.1:4000", []string{"fe80::1%eth0"}, "10.0.0.1"},
		{"mapped", "10.0.0.1:4000", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		{"mapped proxy in the header", "10.0.0.1:4000", []string{"198.51.100.7, ::ffff:10.0.0.2"}, "198.51.100.7"},
		{"mapped proxy as the peer", "[::ffff:10.0.0.1]:4000", []string{"198.51.100.7"}, "198.51.100.7"},
		{"zone of the peer", "[fe80::1%eth0]:4000", nil, "fe80::1"},
		{"more hops than anybody has", "10.0.0.1:4000", []string{"198.51.100.7" + strings.Repeat(", 10.0.0.2", 32)}, "10.0.0.2"},
		{"Unix socket", "@", []string{"198.51.100.7"}, "invalid IP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &peer.Config{Networks: proxies(), AddressHeader: "x-forwarded-for"}
			r := request(tt.remote, "X-Forwarded-For", tt.lines...)
			if got := c.Address(r).String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if after := r.Header.Values("X-Forwarded-For"); strings.Join(after, "|") != strings.Join(tt.lines, "|") {
				t.Errorf("the header was changed to %q", after)
			}
		})
	}
}

func TestAddressByForwarded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"one", []string{`for=198.51.100.7`}, "198.51.100.7"},
		{"any case, more parameters", []string{`proto=https;For=198.51.100.7 ; by=10.0.0.2`}, "198.51.100.7"},
		{"IPv6 with port", []string{`for="[2001:db8::7]:4711"`}, "2001:db8::7"},
		{"hidden port", []string{`for="198.51.100.7:_x.y-z"`}, "198.51.100.7"},
		{"two proxies", []string{`for=192.0.2.1, for=198.51.100.7;by=10.0.0.2, for=10.0.0.2`}, "198.51.100.7"},
		{"lines in order", []string{`for=192.0.2.1`, `for=198.51.100.7`}, "198.51.100.7"},
		{"unknown", []string{`for=198.51.100.7, for=unknown`}, "10.0.0.1"},
		{"hidden", []string{`for=198.51.100.7, for=_secret`}, "10.0.0.1"},
		{"no for", []string{`for=198.51.100.7, proto=https`}, "10.0.0.1"},
		{"for twice", []string{`for=198.51.100.7;for=192.0.2.1`}, "10.0.0.1"},
		{"for without value", []string{`for`}, "10.0.0.1"},
		{"a quote that the client left open", []string{`for="192.0.2.1, for=198.51.100.7`}, "198.51.100.7"},
		{"a quote that the client left open, and the proxy's own", []string{`for="192.0.2.1, for="[2001:db8::7]";by=10.0.0.2`}, "2001:db8::7"},
		{"an open quote on another line", []string{`for="192.0.2.1`, `for=198.51.100.7`}, "198.51.100.7"},
		{"a comma in a host that the client chose", []string{`for=198.51.100.7;host="a, for=192.0.2.1"`}, "198.51.100.7"},
		{"escaped quotes in that host", []string{`for=198.51.100.7;host="a\", for=192.0.2.1;x=\"\\"`}, "198.51.100.7"},
		{"backslashes before that host", []string{`for=192.0.2.1, for=198.51.100.7;host=\\"a, for=192.0.2.2"`}, "198.51.100.7"},
		{"a backslash before that host", []string{`for=192.0.2.1, for=198.51.100.7;x="\"a, for=192.0.2.2"`}, "198.51.100.7"},
		{"a semicolon in that host", []string{`for=198.51.100.7;host="a;for=192.0.2.1"`}, "198.51.100.7"},
		{"half a quote", []string{`for="198.51.100.7`}, "10.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &peer.Config{Networks: proxies(), AddressHeader: "Forwarded"}
			if got := c.Address(request("10.0.0.1:4000", "Forwarded", tt.lines...)).String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// Headers that are not configured do not matter, even from a proxy.
func TestAddressWithoutConfiguration(t *testing.T) {
	for name, c := range map[string]*peer.Config{"nil": nil, "zero": {}, "proxies alone": {Networks: proxies()}, "header alone": {AddressHeader: "X-Forwarded-For"}} {
		r := request("10.0.0.1:4000", "X-Forwarded-For", "198.51.100.7")
		r.Header.Set("Forwarded", "for=198.51.100.7")
		r.Header.Set("X-Real-Ip", "198.51.100.7")
		if got := c.Address(r).String(); got != "10.0.0.1" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

// The text for a record is there even if the peer has no IP address.
func TestCaller(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.1:80": "192.0.2.1", "[2001:db8::1]:80": "2001:db8::1", "@": "@", "pipe:1": "pipe"} {
		for _, c := range []*peer.Config{nil, must(peer.New(counterfoil.Proxies{Networks: proxies()}))} {
			if got := c.Caller(request(in, "X-Forwarded-For", "198.51.100.9")); got != want {
				t.Errorf("%s: got %s", in, got)
			}
		}
	}
	c := must(peer.New(counterfoil.Proxies{Networks: proxies()}))
	if got := c.Caller(request("10.0.0.1:4000", "X-Forwarded-For", "198.51.100.9")); got != "198.51.100.9" {
		t.Errorf("behind a proxy: got %s", got)
	}
}

// The header that is used without being named cannot have the certificate either.
func TestNewNamesTheHeader(t *testing.T) {
	if _, err := peer.New(counterfoil.Proxies{Networks: proxies(), CertificateHeader: "x-forwarded-for"}); err == nil {
		t.Error("one header has both")
	}
	if c, err := peer.New(counterfoil.Proxies{}); err != nil || c.AddressHeader != "" {
		t.Errorf("without proxies: %+v, %v", c, err)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config *peer.Config
		ok     bool
	}{
		{"nil", nil, true},
		{"zero", &peer.Config{}, true},
		{"all", &peer.Config{Networks: proxies(), AddressHeader: "X-Forwarded-For", CertificateHeader: "Client-Cert", CertificateForm: counterfoil.CertificateFormClientCert}, true},
		{"usual form", &peer.Config{Networks: proxies(), CertificateHeader: "Client-Cert"}, true},
		{"address header without proxies", &peer.Config{AddressHeader: "X-Forwarded-For"}, false},
		{"certificate header without proxies", &peer.Config{CertificateHeader: "Client-Cert"}, false},
		{"unknown form", &peer.Config{Networks: proxies(), CertificateHeader: "X", CertificateForm: "xfcc"}, false},
		{"no header name", &peer.Config{Networks: proxies(), AddressHeader: "X Forwarded"}, false},
		{"one header for both", &peer.Config{Networks: proxies(), AddressHeader: "X-A", CertificateHeader: "x-a"}, false},
		{"empty prefix", &peer.Config{Networks: make([]netip.Prefix, 1)}, false},
		{"everybody", &peer.Config{Networks: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}, false},
		{"IPv4 in IPv6", &peer.Config{Networks: []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.config.Validate(); (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A header's name has the characters of a token (RFC 9110 section 5.6.2), and no
// others.
func TestNamesOfHeaders(t *testing.T) {
	const token = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for c := rune(0); c < 0x180; c++ {
		config := &peer.Config{Networks: proxies(), AddressHeader: "X" + string(c)}
		if err := config.Validate(); (err == nil) != strings.ContainsRune(token, c) {
			t.Errorf("%q: %v", c, err)
		}
	}
	config := &peer.Config{Networks: proxies(), AddressHeader: "X-A", CertificateHeader: "X\xff"}
	if err := config.Validate(); err == nil {
		t.Error("a name that is no UTF-8 is taken")
	}
}

// FuzzAddress: whatever a client sends, the proxy wrote its address behind it,
// in the same line or in one of its own.
func FuzzAddress(f *testing.F) {
	f.Add("192.0.2.1")
	f.Add(`for="192.0.2.1, `)
	f.Add(`for="\", for=10.0.0.2`)
	f.Add("10.0.0.2, [::1]:80,,")
	f.Fuzz(func(t *testing.T, sent string) {
		for _, tt := range []struct{ header, hop string }{
			{"X-Forwarded-For", "198.51.100.7"},
			{"X-Forwarded-For", "198.51.100.7, 10.0.0.2"},
			{"Forwarded", `for=198.51.100.7;host="a, b";by="[2001:db8:1::1]"`},
			{"Forwarded", `for="198.51.100.7:80", for=10.0.0.2`},
		} {
			c := &peer.Config{Networks: proxies(), AddressHeader: tt.header}
			for _, lines := range [][]string{{sent + ", " + tt.hop}, {sent, tt.hop}} {
				if got := c.Address(request("10.0.0.1:1", tt.header, lines...)).String(); got != "198.51.100.7" {
					t.Fatalf("%q gave %s", lines, got)
				}
			}
			got := c.Address(request("10.0.0.1:1", tt.header, sent))
			if !got.IsValid() || got.Is4In6() || got.Zone() != "" {
				t.Fatalf("%q gave %s", sent, got)
			}
			if got := c.Address(request("198.51.100.7:1", tt.header, sent)).String(); got != "198.51.100.7" {
				t.Fatalf("trusted an unknown peer: %s", got)
			}
		}
	})
}

func BenchmarkAddress(b *testing.B) {
	c := &peer.Config{Networks: proxies(), AddressHeader: "X-Forwarded-For"}
	r := request("10.0.0.1:4000", "X-Forwarded-For", "192.0.2.1, 198.51.100.7, 10.0.0.2")
	b.ReportAllocs()
	for b.Loop() {
		if !c.Address(r).IsValid() {
			b.Fatal("no address")
		}
	}
}
