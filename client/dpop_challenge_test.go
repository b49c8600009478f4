package client_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/internal/jose"
)

// aboutProof makes a call that is answered 401 with those fields, and reports
// whether it is taken for one about the proof: the call is made again with the
// same token and the nonce. Otherwise the token must have been dropped.
func aboutProof(t *testing.T, k client.Key, fields ...string) bool {
	t.Helper()
	p, err := generic()
	if err != nil {
		t.Fatal(err)
	}
	var called []string
	dropped := false
	s, err := client.New(client.Config{
		Provider: p, TokenURL: "https://id.example/token", APIURL: "https://api.example", ClientID: "c", ClientSecret: client.Static("s"), DPoP: k,
		OnEvent: func(_ context.Context, e counterfoil.Event) {
			dropped = dropped || e.Type == counterfoil.EventTokenDropped
		},
		HTTP: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPost {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(
					`{"access_token":"token-` + strings.Repeat("x", len(called)) + `","token_type":"DPoP"}`))}, nil
			}
			if called = append(called, r.Header.Get("Authorization")); len(called) > 1 {
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
			}
			return &http.Response{StatusCode: 401, Header: http.Header{"Www-Authenticate": fields, "Dpop-Nonce": {"n"}}, Body: http.NoBody}, nil
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Get("https://api.example/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || len(called) != 2 || dropped == (called[0] == called[1]) {
		t.Fatalf("%q: status %d after %d calls, token dropped: %t", fields, resp.StatusCode, len(called), dropped)
	}
	return !dropped
}

func TestDPoPChallenge(t *testing.T) {
	k := newKey(t, jose.ES256)
	for _, row := range []struct {
		name   string
		fields []string
		want   bool
	}{
		{"as RFC 9449 shows it", []string{`DPoP error="use_dpop_nonce", error_description="Resource server requires nonce in DPoP proof"`}, true},
		{"scheme and name in other letters", []string{`dpop ERROR="use_dpop_nonce"`}, true},
		{"value a token", []string{`DPoP error=use_dpop_nonce`}, true},
		{"value in other letters", []string{`DPoP error="USE_DPOP_NONCE"`}, false},
		{"value with more behind it", []string{`DPoP error="use_dpop_nonce_2"`}, false},
		{"spaces around the equals sign", []string{`DPoP error = "use_dpop_nonce"`}, true},
		{"tabs and empty elements", []string{", ,\tDPoP\t,,algs=\"ES256\",\t,error\t=\t\"use_dpop_nonce\"\t,"}, true},
		{"behind another parameter", []string{`DPoP algs="ES256 PS256", error="use_dpop_nonce"`}, true},
		{"without a comma", []string{`DPoP algs="ES256" error="use_dpop_nonce"`}, true},
		{"second challenge of a field", []string{`Bearer realm="a, DPoP b", error="invalid_token", DPoP error="use_dpop_nonce"`}, true},
		{"behind a challenge of token68", []string{`Negotiate YWJj/+==, DPoP error="use_dpop_nonce"`}, true},
		{"behind a token68 like a parameter", []string{`DPoP error=, DPoP error="use_dpop_nonce"`}, true},
		{"behind a scheme alone", []string{`Negotiate, DPoP error="use_dpop_nonce"`}, true},
		{"second field", []string{`Bearer error="invalid_token"`, `DPoP error="use_dpop_nonce"`}, true},
		{"one challenge in two fields", []string{`DPoP algs="ES256"`, `error="use_dpop_nonce"`}, true},
		{"one challenge in two fields, the first broken", []string{`DPoP algs="ES256", =`, `error="use_dpop_nonce"`}, true},
		{"behind a parameter of all kinds of characters", []string{`DPoP azAZ09!~="x", error="use_dpop_nonce"`}, true},
		{"behind an empty value", []string{`DPoP algs="ES256", realm=, error="use_dpop_nonce"`}, true},
		{"behind a field that is broken", []string{`Bearer realm="`, `DPoP error="use_dpop_nonce"`}, true},
		{"quoted pairs", []string{`DPoP error="use\_dpop\_nonce"`}, true},
		{"behind a quote that is quoted", []string{`DPoP realm="a\", error=\"invalid_token", error="use_dpop_nonce"`}, true},
		{"named in error_uri", []string{`DPoP error="invalid_token", error_uri="https://docs.example/errors#use_dpop_nonce"`}, false},
		{"named in error_description", []string{`DPoP error="invalid_token", error_description="not use_dpop_nonce, error=\"use_dpop_nonce\""`}, false},
		{"quoted before the error", []string{`DPoP realm="x, DPoP error=use_dpop_nonce", error="invalid_token"`}, false},
		{"named as the realm", []string{`DPoP realm="use_dpop_nonce"`}, false},
		{"named as a parameter", []string{`DPoP use_dpop_nonce="error"`}, false},
		{"named as the scheme", []string{`use_dpop_nonce error="use_dpop_nonce"`}, false},
		{"a name that ends so", []string{`DPoP x-error="use_dpop_nonce"`}, false},
		{"another scheme", []string{`Bearer error="use_dpop_nonce"`}, false},
		{"a scheme that begins so", []string{`DPoP2 error="use_dpop_nonce"`}, false},
		{"no scheme", []string{`error="use_dpop_nonce"`}, false},
		{"the scheme of the next challenge", []string{`DPoP algs="ES256", Bearer error="use_dpop_nonce"`}, false},
		{"the first error counts", []string{`DPoP error="invalid_token", error="use_dpop_nonce"`}, false},
		{"a quoted string without end", []string{`DPoP error="use_dpop_nonce`}, false},
		{"a quoted string that ends in a backslash", []string{`DPoP error="use_dpop_nonce\`}, false},
		{"behind what is no challenge", []string{`"DPoP error=use_dpop_nonce`, `=, DPoP error="use_dpop_nonce"`}, false},
		{"empty", []string{""}, false},
		{"none", nil, false},
		{"8 KiB", []string{`DPoP realm="` + strings.Repeat("x", 8<<10-35) + `", error=use_dpop_nonce`}, true},
		{"more than 8 KiB", []string{`DPoP realm="` + strings.Repeat("x", 8<<10-34) + `", error=use_dpop_nonce`}, false},
		{"more than 8 KiB in many fields", append(slices.Repeat([]string{"Bearer"}, 2000), `DPoP error="use_dpop_nonce"`), false},
	} {
		t.Run(row.name, func(t *testing.T) { equal(t, "about the proof", aboutProof(t, k, row.fields...), row.want) })
	}
}

// FuzzDPoPChallenge: whatever stands in a challenge, a call that is answered 401
// is made again either with another proof or with another token, and neither the
// words in a quoted string nor the challenge of another scheme choose which.
func FuzzDPoPChallenge(f *testing.F) {
	for _, s := range []string{
		`DPoP error="use_dpop_nonce"`, `Bearer a="\"", DPoP error = use_dpop_nonce`, `Negotiate YQ==, dpop ERROR="invalid_token"`, `", DPoP error="use_dpop_nonce`,
		`\`, `\"`, "=", ",", `a="`, `DPoP error=`, "DPoP \x00=\xff", strings.Repeat(`a b=",`, 3000),
	} {
		f.Add(s)
	}
	k, err := client.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if aboutProof(t, k, s) && (!strings.Contains(strings.ToLower(s), "dpop") || len(s) > 8<<10) {
			t.Errorf("about the proof: %q", s)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
		if len(quoted) > 4<<10 {
			return
		}
		for code, want := range map[string]bool{"use_dpop_nonce": true, "invalid_token": false} {
			field := `Bearer error="invalid_token", realm=` + quoted + `, DPoP realm=` + quoted + `, error="` + code + `", error_description=` + quoted
			if aboutProof(t, k, field) != want {
				t.Errorf("about the proof: %t, from %q", !want, field)
			}
		}
	})
}
