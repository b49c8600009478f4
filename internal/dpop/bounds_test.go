package dpop_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/clock"
	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
)

// verify checks a right proof with changes.
func verify(w dpop.Want, changes map[string]any) error {
	_, err := dpop.Verify(josetest.Token(ecKey(), header(ecKey(), jose.ES256), claims(changes)), w)
	return err
}

// What is right at a bound is taken, and one more is not.
func TestProofsAtTheBounds(t *testing.T) {
	for name, tt := range map[string]struct {
		changes map[string]any
		now     time.Time
		taken   bool
	}{
		"made in 1970":                {map[string]any{"iat": 0}, time.Unix(0, 0), true},
		"before 1970":                 {map[string]any{"iat": -1}, time.Unix(0, 0), false},
		"at the end of time":          {map[string]any{"iat": jose.MaxNumericDate}, time.Unix(jose.MaxNumericDate, 0), true},
		"after the end of time":       {map[string]any{"iat": jose.MaxNumericDate + 1}, time.Unix(jose.MaxNumericDate, 0), false},
		"a minute old":                {nil, epoch.Add(time.Minute), true},
		"more than a minute old":      {nil, epoch.Add(time.Minute + time.Millisecond), false},
		"five seconds ahead":          {nil, epoch.Add(-5 * time.Second), true},
		"more than 5 seconds ahead":   {nil, epoch.Add(-5*time.Second - time.Millisecond), false},
		"the first character":         {map[string]any{"jti": "!"}, epoch, true},
		"the last character":          {map[string]any{"jti": "~"}, epoch, true},
		"a space":                     {map[string]any{"jti": "a b"}, epoch, false},
		"a deleted character":         {map[string]any{"jti": "a\x7f"}, epoch, false},
		"an id of 128 characters":     {map[string]any{"jti": strings.Repeat("a", 128)}, epoch, true},
		"an id of 129 characters":     {map[string]any{"jti": strings.Repeat("a", 129)}, epoch, false},
		"a part of a second, in time": {map[string]any{"iat": float64(epoch.Unix()) + 4.5}, epoch, true},
		"a part of a second too much": {map[string]any{"iat": float64(epoch.Unix()) + 5.5}, epoch, false},
	} {
		w := want()
		w.Now = tt.now
		if err := verify(w, tt.changes); (err == nil) != tt.taken {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The bounds that a caller gives take the place of the usual ones.
func TestProofsAtTheBoundsOfTheCaller(t *testing.T) {
	w := want()
	w.MaxAge, w.Skew = 10*time.Second, time.Second
	for off, taken := range map[time.Duration]bool{10 * time.Second: true, 11 * time.Second: false, -time.Second: true, -2 * time.Second: false} {
		w.Now = epoch.Add(off)
		if err := verify(w, nil); (err == nil) != taken {
			t.Errorf("%v old: %v", off, err)
		}
	}
}

// Only the escapes of unreserved characters are another way to write the same
// path (RFC 3986 section 6.2.2.2).
func TestEveryCharacterOfAPath(t *testing.T) {
	w := want()
	for c := byte('!'); c <= '~'; c++ {
		if strings.IndexByte("\"%#?/<>\\^`{|}", c) >= 0 {
			continue // stands in no path as it is
		}
		unreserved := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", c) >= 0
		w.URL = "https://server.example.com/x" + string(c)
		for _, escape := range []string{fmt.Sprintf("%%%02X", c), fmt.Sprintf("%%%02x", c)} {
			if err := verify(w, map[string]any{"htu": "https://server.example.com/x" + escape}); (err == nil) != unreserved {
				t.Errorf("%c as %s: %v", c, escape, err)
			}
		}
	}
}

func TestPathsAndHostsThatAreTheSame(t *testing.T) {
	for name, tt := range map[string]struct {
		own, stated string
		same        bool
	}{
		"a dot at the end":          {"https://h.example/a/b/", "https://h.example/a/b/.", true},
		"a dot at the end, no dir":  {"https://h.example/a/b", "https://h.example/a/b/.", false},
		"two dots at the end":       {"https://h.example/a/", "https://h.example/a/b/..", true},
		"two dots at the end, file": {"https://h.example/a", "https://h.example/a/b/..", false},
		"above the root":            {"https://h.example/", "https://h.example/../..", true},
		"a dot within":              {"https://h.example/a/b", "https://h.example/a/./b", true},
		"an escape at the end":      {"https://h.example/a%2F", "https://h.example/a%2f", true},
		"an escaped letter":         {"https://h.example/a", "https://h.example/%61", true},
		"hosts from A to Z":         {"https://az.example/", "https://AZ.example/", true},
		"hosts of other characters": {"https://h[.example/", "https://h{.example/", false},
		"an at sign is no letter":   {"https://h@.example/", "https://h`.example/", false},
	} {
		w := want()
		w.URL = tt.own
		if err := verify(w, map[string]any{"htu": tt.stated}); (err == nil) != tt.same {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoncesOfASecond(t *testing.T) {
	c := clock.NewManual(epoch)
	n, err := dpop.NewNonces(make([]byte, 32), c, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if nonce := n.Issue(); !n.Valid(nonce) {
		t.Error("its own nonce is not valid")
	}
}
