package client_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// TestProxyOfTheEnvironment has a row for each value that is a proxy's and each that
// is none: nobody is connected to directly because of a slip.
func TestProxyOfTheEnvironment(t *testing.T) {
	request := func(host string) *http.Request { return httptest.NewRequest(http.MethodGet, "https://"+host+"/", nil) }
	_, _ = http.ProxyFromEnvironment(request("id.example")) // which looks once in a process: before the values below are there
	for _, row := range []struct {
		upper, lower, host string
		names              string // of the variable in the error
	}{
		{"", "", "id.example", ""},
		{"http://proxy.example:3128", "", "id.example", ""},
		{"https://proxy.example", "", "id.example", ""},
		{"socks5://proxy.example:1080", "", "id.example", ""},
		{"socks5h://proxy.example:1080", "", "id.example", ""},
		{"proxy.example:3128", "", "id.example", ""},
		{"ftp://hunter2.example", "", "id.example", "HTTPS_PROXY"},
		{"http://", "", "id.example", "HTTPS_PROXY"},
		{"http://:3128", "", "id.example", "HTTPS_PROXY"},
		{"http://hunter2 example", "", "id.example", "HTTPS_PROXY"},
		{"", "ftp://hunter2.example", "id.example", "https_proxy"},
		{"http://proxy.example:3128", "ftp://hunter2.example", "id.example", ""}, // the other one is not looked at
		{"ftp://hunter2.example", "", "localhost", ""},
		{"ftp://hunter2.example", "", "127.0.0.1", ""},
		{"ftp://hunter2.example", "", "[::1]:8443", ""},
	} {
		t.Setenv("HTTPS_PROXY", row.upper)
		t.Setenv("https_proxy", row.lower)
		_, err := client.NewHTTP().Proxy(request(row.host))
		wrong, ok := errors.AsType[*client.ProxyError](err)
		if ok != (row.names != "") || ok && (wrong.Proxy != row.names || wrong.Status != 0) || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q, %q for %s: got %v, want an error that names %q", row.upper, row.lower, row.host, err, row.names)
		}
	}
}

// TestProxyAnswers has a row for each kind of answer of a proxy: what it refuses for
// good is asked once.
func TestProxyAnswers(t *testing.T) {
	for _, row := range []struct {
		status int
		reason counterfoil.Reason
		asked  int
		words  string
	}{
		{200, "", 1, ""},
		{403, counterfoil.ReasonBadResponse, 1, "refuses to connect (403)"},
		{407, counterfoil.ReasonBadResponse, 1, "requires credentials (407)"},
		{499, counterfoil.ReasonBadResponse, 1, "refuses to connect (499)"},
		{500, counterfoil.ReasonUnavailable, 4, "refuses to connect (500)"},
		{502, counterfoil.ReasonUnavailable, 4, "refuses to connect (502)"},
	} {
		t.Run(fmt.Sprint(row.status), func(t *testing.T) {
			w := newWorld(t)
			asked := 0
			proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				asked++
				if row.status != 200 {
					rw.WriteHeader(row.status)
					return
				}
				there, err := net.Dial("tcp", r.Host)
				must(err)
				here, _, err := rw.(http.Hijacker).Hijack()
				must(err)
				_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
				go func() { _, _ = io.Copy(there, here); _ = there.Close() }()
				go func() { _, _ = io.Copy(here, there); _ = here.Close() }()
			}))
			defer proxy.Close()
			u, err := url.Parse(proxy.URL)
			must(err)
			c, base := w.config("oauth2"), client.NewHTTP()
			defer base.CloseIdleConnections()
			base.TLSClientConfig.RootCAs, base.Proxy = w.base().TLSClientConfig.RootCAs, http.ProxyURL(u)
			c.HTTP = base
			s := w.source(c)
			if row.status == 200 {
				equal(t, "token", w.must(s), "token-1")
				equal(t, "requests of the proxy", asked, 1)
				return
			}
			var e *counterfoil.Error
			w.turning(2*time.Second, func() { e = w.fails(s) })
			equal(t, "reason", e.Reason, row.reason)
			refusal, ok := errors.AsType[*client.ProxyError](e)
			if !ok || refusal.Status != row.status || refusal.Proxy != u.Host || !strings.Contains(e.Error(), row.words) {
				t.Errorf("got %v", e)
			}
			equal(t, "requests of the proxy", asked, row.asked)
		})
	}
}
