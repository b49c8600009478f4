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
