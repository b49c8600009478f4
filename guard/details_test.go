package guard_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/guard"
)

// A route that lets every call through, or none, is a mistake that its program is
// told of when it starts.
func TestRequireScopeRefusesMistakes(t *testing.T) {
	listed := newRigFor(t, parse(t, "listed", "extends: oauth2\nname: listed\nscopes: [{name: read, description: Read}, {name: write, description: Write}]\n"), dialects()["oauth2"]).guard
	open := newRig(t, "oauth2").guard
	for name, tt := range map[string]struct {
		guard  *guard.Guard
		scopes []string
		want   string
	}{
		"listed":         {listed, []string{"write", "read"}, ""},
		"nothing listed": {open, []string{"anything"}, ""},
		"none":           {open, nil, "no scope"},
		"empty":          {open, []string{"read", ""}, `"", which is not one scope`},
		"two in one":     {open, []string{"read write"}, `"read write", which is not one scope`},
		"the same twice": {open, []string{"read read"}, "not one scope"},
		"a space":        {open, []string{"read "}, "not one scope"},
		"not listed":     {listed, []string{"read", "wirte"}, `"wirte", which the provider listed does not have: choose from read write`},
	} {
		t.Run(name, func(t *testing.T) {
			for way, try := range map[string]func(){
				"RequireScope": func() { tt.guard.RequireScope(tt.scopes...) },
				"Authorize":    func() { _ = tt.guard.Authorize(httptest.NewRequest("GET", "/", nil), tt.scopes...) },
			} {
				func() {
					defer func() {
						got := fmt.Sprint(recover())
						if (got == "<nil>") != (tt.want == "") || !strings.Contains(got, tt.want) {
							t.Errorf("%s: %s, want %q", way, got, tt.want)
						}
					}()
					try()
				}()
			}
		})
	}
}

// The operator reads what a token must say and what it says, without a decoder.
func TestDetailsOfRefusals(t *testing.T) {
	r := newRigFor(t, parse(t, "ledger", `extends: oauth2
name: ledger
scopes: [{name: read, description: Read}, {name: write, description: Write}]
access_token: {audience: [ledger, archive]}
apis:
  - name: ledger
    kind: rest
    path: /ledger
    headers: [{name: Authorization, from: token, scheme: Bearer}]
    audience: ledger
    scopes: [write]
    refusals:
      token_missing: {status: 401}
      token_invalid: {status: 401}
      scope_insufficient: {status: 403}
      unavailable: {status: 503}
`), dialects()["oauth2"])
	right := members{"aud": "ledger", "scope": "write"}
	long := strings.Repeat("x", 300)
	for name, tt := range map[string]struct {
		claims members
		want   string
	}{
		"right":          {members{}, ""},
		"issuer":         {members{"iss": "https://issuer.example/"}, "claim iss is https://issuer.example/: it must be https://issuer.example"},
		"long issuer":    {members{"iss": long + "\n"}, "claim iss is " + long[:222] + `\~f1b999eed675fd94041d76aae18df078` + ": it must be https://issuer.example"},
		"unclean issuer": {members{"iss": "a\nb\x1b"}, "claim iss is a\\u000ab\\u001b: it must be https://issuer.example"},
		"no issuer":      {members{"iss": nil}, "claim iss is missing: it must be https://issuer.example"},
		"audience":       {members{"aud": []string{"archive", "stock"}}, "claim aud is [archive stock]: for the API ledger it must contain ledger"},
		"no audience":    {members{"aud": nil}, "claim aud is missing: for the API ledger it must contain ledger"},
		"scopes":         {members{"scope": "read stock"}, "the API ledger needs the scopes write: the token has read stock"},
		"no scopes":      {members{"scope": nil}, "the API ledger needs the scopes write: the token has none"},
		"expired":        {members{"exp": start.Unix() - 60}, "at 2027-01-15T07:59:30Z"},
		"early":          {members{"iat": start.Unix() + 60}, "from 2027-01-15T08:00:30Z"},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.send(r.call(r.token(func(_, c members) {
				for _, changes := range []members{right, tt.claims} {
					for name, value := range changes {
						if c[name] = value; value == nil {
							delete(c, name)
						}
					}
				}
			})))
			if a.event.Detail != tt.want || (a.status == 200) != (tt.want == "") {
				t.Errorf("%d, the detail is %q, want %q", a.status, a.event.Detail, tt.want)
			}
		})
	}
	a := r.send(r.call(r.token(func(h, c members) { c["aud"], c["scope"], h["typ"] = "ledger", "write", "JWT" })))
	if want := "header typ is JWT: it must be at+jwt"; a.event.Detail != want {
		t.Errorf("the detail is %q, want %q", a.event.Detail, want)
	}
}
