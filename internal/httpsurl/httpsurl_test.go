package httpsurl_test

import (
	"testing"

	"github.com/counterfoil/counterfoil/internal/httpsurl"
)

func TestParse(t *testing.T) {
	for s, want := range map[string][2]bool{
		"https://auth.example":          {true, true},
		"https://auth.example:8443/a/b": {true, true},
		"https://[::1]:8443":            {true, true},
		"https://auth.example?tenant=a": {true, false},
		"http://auth.example":           {},
		"https://:443":                  {},
		"https:auth.example":            {},
		"//auth.example":                {},
		"https://user@auth.example":     {},
		"https://auth.example#top":      {},
		"https://auth.example/%zz":      {},
		"":                              {},
	} {
		u, ok := httpsurl.Parse(s)
		_, base := httpsurl.Base(s)
		if ok != want[0] || base != want[1] || ok && u.String() != s {
			t.Errorf("%q: %v, %v", s, ok, base)
		}
	}
}

func TestLoopback(t *testing.T) {
	for s, want := range map[string]bool{
		"http://localhost":           true,
		"http://LOCALHOST:80/a?b":    true,
		"http://127.1.2.3:8080":      true,
		"http://[::1]/":              true,
		"https://localhost":          false,
		"http://localhost.example":   false,
		"http://127.0.0.1.example":   false,
		"http://127.1":               false,
		"http://a@localhost":         false,
		"http://localhost#a":         false,
		"http://localhost@192.0.2.1": false,
		"http://0.0.0.0":             false,
		"http://":                    false,
		"":                           false,
	} {
		u, ok := httpsurl.Loopback(s)
		if ok != want || ok && u.String() != s {
			t.Errorf("%q: %v, %v", s, u, ok)
		}
	}
}
