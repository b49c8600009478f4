package provider_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/provider"
)

// twins are the same answer for several reasons: the broad one is what a client
// learns, and among those that are as broad the first by name.
const twins = `extends: oauth2
name: twins
scopes:
  - {name: orders, description: Read orders}
token_endpoint:
  errors:
    invalid_client: {status: 401, body: '{"error":"no"}'}
    assertion_expired: {status: 401, body: '{"error":"no"}'}
    wrong_secret: {status: 401, body: '{"error":"no"}'}
    unknown_client: {status: 401, body: '{"error":"unknown"}'}
    client_disabled: {status: 401, body: '{"error":"unknown"}'}
    method_not_accepted: {status: 403, body: ''}
    invalid_scope: {status: 400, body: '{"error":"what"}'}
    invalid_request: {status: 400, body: '{"error":"what"}'}
apis:
  - name: orders
    kind: rest
    path: /v2
    headers:
      - {name: X-Token, from: token}
    scopes: [orders]
    refusals:
      token_missing: {status: 401, body: '{"fault":"token"}'}
      token_invalid: {status: 401, body: '{"fault":"token"}'}
      token_expired: {status: 401, body: '{"fault":"token"}'}
      token_revoked: {status: 401, body: '{"fault":"ended"}'}
      token_replaced: {status: 401, body: '{"fault":"ended"}'}
      scope_insufficient: {status: 403, body: '{"fault":"token"}'}
      unavailable: {status: 503}
`

func TestReasonIsABroadestOne(t *testing.T) {
	p := described(t, strings.Replace(twins, "    method_not_accepted: {status: 403, body: ''}\n", "", 1))
	for _, tt := range []struct {
		name   string
		reason func(int, []byte) counterfoil.Reason
		status int
		body   string
		want   counterfoil.Reason
	}{
		{"a broad one beside narrow ones", p.TokenEndpoint.Reason, 401, `{"error":"no"}`, counterfoil.ReasonInvalidClient},
		{"narrow ones only", p.TokenEndpoint.Reason, 401, `{"error":"unknown"}`, counterfoil.ReasonClientDisabled},
		{"broad ones only", p.TokenEndpoint.Reason, 400, `{"error":"what"}`, counterfoil.ReasonInvalidRequest},
		{"another status", p.TokenEndpoint.Reason, 403, `{"error":"no"}`, ""},
		{"another body", p.TokenEndpoint.Reason, 401, `{"error":"nobody"}`, ""},
		{"no body", p.TokenEndpoint.Reason, 401, ``, ""},
		{"spaces around it", p.TokenEndpoint.Reason, 401, "\n {\"error\":\"no\"}\r\n", counterfoil.ReasonInvalidClient},
		{"a call, broad ones and a narrow one", p.APIs[0].Reason, 401, `{"fault":"token"}`, counterfoil.ReasonTokenInvalid},
		{"a call, narrow ones only", p.APIs[0].Reason, 401, `{"fault":"ended"}`, counterfoil.ReasonTokenReplaced},
		{"a call, another status", p.APIs[0].Reason, 403, `{"fault":"token"}`, counterfoil.ReasonScopeInsufficient},
		{"a call, a shape without a body", p.APIs[0].Reason, 503, ``, ""},
	} {
		for range 50 { // the shapes come in any order
			if got := tt.reason(tt.status, []byte(tt.body)); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
				break
			}
		}
	}
}

// described parses a description that is right.
func described(t *testing.T, text string) *provider.Provider {
	t.Helper()
	p, err := provider.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The shape of a reason is its own, or that of the nearest broader one.
func TestRefusalIsTheNearest(t *testing.T) {
	p := described(t, small)
	for reason, status := range map[counterfoil.Reason]int{
		counterfoil.ReasonTokenMissing: 418, counterfoil.ReasonTokenInvalid: 419, counterfoil.ReasonTokenExpired: 419, counterfoil.ReasonTokenProofNonce: 419,
		counterfoil.ReasonScopeInsufficient: 420, counterfoil.ReasonUnavailable: 503, "unheard_of": 503,
	} {
		if got := p.APIs[0].Refusal(reason).Status; got != status {
			t.Errorf("%s is answered %d, want %d", reason, got, status)
		}
	}
	if got := p.TokenEndpoint.Refusal("unheard_of"); got.Status != p.TokenEndpoint.Errors[counterfoil.ReasonServerError].Status {
		t.Errorf("a reason without a shape is answered %+v", got)
	}
}

func TestRefusalIsWrittenAsItStands(t *testing.T) {
	scopes := counterfoil.Scopes{"a", "b"}
	for name, tt := range map[string]struct {
		refusal   provider.Refusal
		was, want string // Content-Type
		body      string
	}{
		"with a body":             {provider.Refusal{Status: 400, Body: `{"h":"{header}","s":"{scope}"}`}, "", "application/json", `{"h":"X-Token","s":"a b"}`},
		"with a type of its own":  {provider.Refusal{Status: 401, Body: "no", Headers: map[string]string{"content-type": "text/plain"}}, "", "text/plain", "no"},
		"with one of before":      {provider.Refusal{Status: 402, Body: "no"}, "text/html", "text/html", "no"},
		"without a body":          {provider.Refusal{Status: 403}, "application/json", "", ""},
		"without a body, but one": {provider.Refusal{Status: 404, Headers: map[string]string{"Content-Type": "text/plain"}}, "", "", ""},
		"with headers":            {provider.Refusal{Status: 405, Headers: map[string]string{"WWW-Authenticate": `Bearer scope="{scope}"`, "X-Missing": "{header}"}}, "", "", ""},
	} {
		w := httptest.NewRecorder()
		if tt.was != "" {
			w.Header().Set("Content-Type", tt.was)
		}
		filled := tt.refusal.Fill(provider.RefusalParams{Header: "X-Token", Scopes: scopes})
		filled.Write(w)
		if w.Code != tt.refusal.Status || w.Header().Get("Content-Type") != tt.want || w.Body.String() != tt.body {
			t.Errorf("%s: %d %v %q", name, w.Code, w.Header(), w.Body)
		}
		if name == "with headers" && fmt.Sprint(w.Header()) != `map[Www-Authenticate:[Bearer scope="a b"] X-Missing:[X-Token]]` {
			t.Errorf("%s: %v", name, w.Header())
		}
		if tt.refusal.Body != "" && strings.Contains(filled.Body, "{h") != strings.Contains(tt.body, "{h") {
			t.Errorf("%s: %q", name, filled.Body)
		}
	}
}
