package outbound_test

import (
	"errors"
	"testing"

	"github.com/counterfoil/counterfoil/server/internal/outbound"
)

// What May refuses, Get would refuse at each use.
func TestMay(t *testing.T) {
	hosts := []string{"keys.example", "keys.example:8443", "localhost", "a.localhost", "192.168.1.1", "::1", "8.8.8.8", "2600::1", "169.254.169.254"}
	for address, want := range map[string]error{
		"https://keys.example/a": nil, "https://keys.example:8443/a": nil, "https://8.8.8.8/a": nil, "https://[2600::1]/a": nil,
		"https://keys.example:1/a": outbound.ErrNotAllowed, "https://keys.example:0/a": outbound.ErrNotAllowed, "https://127.0.0.1/a": outbound.ErrNotAllowed,
		"https://localhost/a": outbound.ErrPrivate, "https://A.localhost/a": outbound.ErrPrivate, "https://192.168.1.1/a": outbound.ErrPrivate,
		"https://[::1]/a": outbound.ErrPrivate, "https://169.254.169.254/a": outbound.ErrPrivate,
	} {
		for _, private := range []bool{false, true} {
			f, err := outbound.New(outbound.Config{AllowedHosts: hosts, AllowPrivate: private})
			if err != nil {
				t.Fatal(err)
			}
			want := want
			if private && errors.Is(want, outbound.ErrPrivate) {
				want = nil
			}
			if got := f.May(address); !errors.Is(got, want) || (got == nil) != (want == nil) {
				t.Errorf("%s, private %v: %v, want %v", address, private, got, want)
			}
		}
	}
}
