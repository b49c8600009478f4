package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/files"
)

// refusal is a request that curl sends and the answer that the provider's guide
// shows, to the byte.
type refusal struct {
	name   string
	args   string // of curl; $NAMES come from the environment file
	status int
	body   string // "*" for one that no guide shows
}

const form = `-d grant_type=client_credentials -d "client_id=$API_CLIENT_ID" -d "client_secret=$API_CLIENT_SECRET"`

// tokenRefusals are sent to AUTH_URL.
var tokenRefusals = map[string][]refusal{
	"ahotu": {
		{"bad credentials", `-d grant_type=client_credentials -d client_id=x -d client_secret=y -d scope=events:read`, 400, `{"error":"invalid_client"}`},
		{"wrong secret", `-d grant_type=client_credentials -d "client_id=$API_CLIENT_ID" -d client_secret=y -d scope=events:read`, 400, `{"error":"invalid_client"}`},
		{"no scope", form, 400, `{"error":"invalid_request"}`},
		{"scope that is not allowed", form + ` -d scope=events:write`, 400, `{"error":"invalid_scope"}`},
		{"no grant type", `-d "client_id=$API_CLIENT_ID" -d "client_secret=$API_CLIENT_SECRET" -d scope=events:read`, 400, `{"error":"invalid_request"}`},
		{"other grant type", `-d grant_type=password -d "client_id=$API_CLIENT_ID" -d "client_secret=$API_CLIENT_SECRET" -d scope=events:read`, 400, `{"error":"unsupported_grant_type"}`},
		{"wrong media type", `-H 'Content-Type: application/json' -d '{}'`, 400, `{"error":"invalid_request"}`},
		{"no media type", `-H 'Content-Type:' ` + form + ` -d scope=events:read`, 400, `{"error":"invalid_request"}`},
		{"get", `-G -d x=y`, 405, `{"error":"invalid_request"}`},
		{"repeated parameter", form + ` -d scope=events:read -d scope=events:read`, 400, `{"error":"invalid_request"}`},
		{"credentials in both places", `-u "$API_CLIENT_ID:$API_CLIENT_SECRET" ` + form + ` -d scope=events:read`, 400, `{"error":"invalid_request"}`},
	},
	"altrata": {
		{"no API key", `-X POST -u "$API_USERNAME:$API_PASSWORD"`, 403, "*"},
		{"wrong API key", `-X POST -H 'x-api-key: x' -u "$API_USERNAME:$API_PASSWORD"`, 403, "*"},
		{"wrong password", `-X POST -H "x-api-key: $API_KEY" -u "$API_USERNAME:x"`, 401, `{"error":"invalid_client"}`},
		{"credentials in the body", `-H "x-api-key: $API_KEY" -d "client_id=$API_USERNAME" -d "client_secret=$API_PASSWORD"`, 401, `{"error":"invalid_client"}`},
	},
	"engagifii": {
		{"bad credentials", `-d grant_type=client_credentials -d client_id=x -d client_secret=y -d scope=EventsApi`, 400, `{"error":"invalid_client","error_description":"Client authentication failed"}`},
		{"bad credentials and no grant type", `-d client_id=x -d client_secret=y`, 400, `{"error":"invalid_client","error_description":"Client authentication failed"}`},
		{"bad scope", form + ` -d scope=Other`, 400, `{"error":"invalid_scope","error_description":"The requested scope is invalid, unknown, or malformed"}`},
		{"no scope", form, 400, `{"error":"invalid_scope","error_description":"The requested scope is invalid, unknown, or malformed"}`},
		{"no grant type", `-d "client_id=$API_CLIENT_ID" -d "client_secret=$API_CLIENT_SECRET"`, 400, `{"error":"unsupported_grant_type"}`},
		{"wrong media type", `-H 'Content-Type: application/json' -d '{}'`, 400, `{"error":"invalid_request"}`},
	},
	"a55": {
		{"bad credentials", `-d grant_type=client_credentials -d client_id=x -d client_secret=y`, 400, `{"error":"invalid_client"}`},
		{"wrong media type", `--json '{"grant_type":"client_credentials"}'`, 400, `{"error":"invalid_request"}`},
		{"get", `-G -d x=y`, 405, `{"error":"invalid_request"}`},
		{"malformed request", `-d 'grant_type=%zz'`, 400, `{"error":"invalid_request"}`},
		{"10 MB body", `--data-binary @big`, 400, `{"error":"invalid_request"}`},
	},
}

const (
	unauthenticated = `{"errors":[{"message":"Unauthorized","extensions":{"code":"UNAUTHENTICATED"}}]}`
	list            = `"$API_BASE_URL/api/1.0/event/list" -H 'Content-Type: application/json' -d '{}' `
	tenant          = `-H 'api-version: 1.0' -H "tenant-code: $TENANT_CODE" `
	bearer          = `-H "Authorization: Bearer $TOKEN" `
	query           = `"$API_BASE_URL" -H 'Content-Type: application/json' -d '{"query":"{ __typename }"}' `
)

// callRefusals name their URL themselves; $TOKEN is a good token, and $OTHER one
// of another realm.
var callRefusals = map[string][]refusal{
	"ahotu": {
		{"no token", query, 401, unauthenticated},
		{"invalid token", query + `-H 'Authorization: Bearer x'`, 401, unauthenticated},
		{"token of another realm", query + `-H "Authorization: Bearer $OTHER"`, 401, unauthenticated},
		{"no signature", query + `-H "Authorization: Bearer ${TOKEN%.*}."`, 401, unauthenticated},
		{"two tokens", query + bearer + bearer, 401, unauthenticated},
		{"scope too small", query + `-H "Authorization: Bearer $NARROW"`, 403, `{"errors":[{"message":"Forbidden","extensions":{"code":"FORBIDDEN"}}]}`},
	},
	"altrata": {
		{"no API key", query + bearer, 403, "*"},
		{"wrong API key", query + bearer + `-H 'x-api-key: x'`, 403, "*"},
		{"no token", query + `-H "x-api-key: $API_KEY"`, 401, "*"},
	},
	"engagifii": {
		{"no token", list + tenant, 401, "*"},
		{"no tenant", list + bearer + `-H 'api-version: 1.0'`, 400, `{"error":{"code":"MISSING_TENANT","message":"Tenant code header is required"}}`},
		{"tenant of someone else", list + bearer + `-H 'api-version: 1.0' -H 'tenant-code: NURSES789'`, 403, "*"},
		{"no version", list + bearer + `-H "tenant-code: $TENANT_CODE"`, 400, "*"},
		{"no media type", `"$API_BASE_URL/api/1.0/event/list" -H 'Content-Type:' -d '{}' ` + bearer + tenant, 400, "*"},
		{"page size -1", `"$API_BASE_URL/api/1.0/event/list" -H 'Content-Type: application/json' -d '{"PageSize":-1}' ` + bearer + tenant, 400, "*"},
		{"id that is no GUID", `"$API_BASE_URL/api/1.0/event/x" -H 'Content-Type: application/json' ` + bearer + tenant, 400, "*"},
		{"path around the API", `--path-as-is "$API_BASE_URL/api/1.0/../../api/1.0/event/list" ` + bearer + tenant, 400, "*"},
	},
	"a55": {
		{"no token", `"$API_BASE_URL/wallets"`, 401, "*"},
		{"invalid token", `"$API_BASE_URL/wallets" -H 'Authorization: Bearer x'`, 401, "*"},
		{"page size 10^9", `"$API_BASE_URL/wallets?size=1000000000" ` + bearer, 400, "*"},
	},
}

// Every refusal is followed by a good request, which works.
func TestRefusals(t *testing.T) {
	other := strings.TrimSpace(shared.counterfoil(t, "token", "a55").good(t).out)
	made := execute(t, "", nil, binary, "client", "create", "ahotu", "--dir", shared.dir, "--name", "narrow", "--scope", "events:drafts").good(t)
	narrow := strings.Fields(strings.NewReplacer("client_id=", "", "client_secret=", "").Replace(made.out))
	narrowToken := shared.sourced(t, "ahotu", fmt.Sprintf(`curl -s "$AUTH_URL" -d grant_type=client_credentials -d client_id=%s -d client_secret=%s -d scope=events:drafts | sed 's/.*"access_token":"\([^"]*\)".*/\1/'`, narrow[0], narrow[1])).good(t).out
	for _, provider := range missionProviders {
		set := fmt.Sprintf("TOKEN=%s OTHER=%s NARROW=%s\n", strings.TrimSpace(shared.counterfoil(t, "token", provider, "--renew").good(t).out), other, strings.TrimSpace(narrowToken))
		for _, r := range tokenRefusals[provider] {
			r.args = `"$AUTH_URL$QUERY" ` + r.args
			if provider == "altrata" {
				r.args = "QUERY=" + "?grant_type=client_credentials " + r.args
			}
			t.Run(provider+" token "+r.name, func(t *testing.T) { r.check(t, provider, set) })
		}
		for _, r := range callRefusals[provider] {
			t.Run(provider+" call "+r.name, func(t *testing.T) { r.check(t, provider, set) })
		}
	}
}

func (r refusal) check(t *testing.T, provider, set string) {
	t.Helper()
	query, args := "", r.args
	if rest, ok := strings.CutPrefix(args, "QUERY="); ok {
		query, args, _ = strings.Cut(rest, " ")
	}
	script := set + "QUERY='" + query + "'\n"
	if strings.Contains(args, "@big") {
		script += "dir=$(mktemp -d); head -c 10000000 /dev/zero | tr '\\0' a >$dir/big; cd $dir\n"
	}
	got := shared.sourced(t, provider, script+`curl -s -w '\n%{http_code} %{redirect_url}' `+args)
	body, status, _ := cutLast(got.out, "\n")
	if want := fmt.Sprint(r.status); !strings.HasPrefix(status, want) {
		t.Errorf("status %s, want %s", status, want)
	}
	if r.body != "*" && body != r.body {
		t.Errorf("body %s\nwant %s", body, r.body)
	}
	if strings.Contains(body, "<html") && r.status >= http.StatusBadRequest {
		t.Errorf("the body is no refusal of this API: %s", body)
	}
	shared.counterfoil(t, "doctor", provider).good(t)
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// A fifth provider is one file: no Go code, another token path, header set,
// claim set and refusal shapes.
func TestFifthProvider(t *testing.T) {
	u := startWith(t, "testdata/acme.yaml")
	base := u.base + "/acme"
	env := u.env(t, "acme")
	if got, want := keysOf(env), "AUTH_URL API_BASE_URL API_CLIENT_ID API_CLIENT_SECRET API_SCOPE ACME_ID ACME_SECRET ACME_TENANT API_KEY CURL_CA_BUNDLE REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS SSL_CERT_FILE"; got != want {
		t.Errorf("keys %s\nwant %s", got, want)
	}
	// The token request, as curl makes it.
	token := u.sourced(t, "acme", `curl -s "$AUTH_URL" -u "$ACME_ID:$ACME_SECRET" -H "X-Acme-App: $API_KEY" -H 'X-Acme-Channel: partner' -d grant_type=client_credentials`).good(t).out
	if !strings.HasPrefix(token, `{"token_type":"ACME","scope":"ledger","expires_in":900,"access_token":"ey`) {
		t.Errorf("answered %s", token)
	}
	claims := u.sourced(t, "acme", `printf '%s' '`+token+`' | sed 's/.*"access_token":"[^.]*\.\([^.]*\)\..*/\1/' | /usr/bin/python3 -c 'import base64,sys; s=sys.stdin.read().strip(); print(base64.urlsafe_b64decode(s+"="*(-len(s)%4)).decode())'`).good(t).out
	if !strings.HasPrefix(claims, `{"kind":"machine","issuer":`) && !strings.Contains(claims, `"rights":["ledger"]`) {
		t.Errorf("claims %s", claims)
	}
	// Refusals in its own words.
	for _, r := range []refusal{
		{"wrong secret", `"$AUTH_URL" -u "$ACME_ID:x" -H "X-Acme-App: $API_KEY" -H 'X-Acme-Channel: partner' -d grant_type=client_credentials`, 418, `<fault code="A1"/>`},
		{"no channel", `"$AUTH_URL" -u "$ACME_ID:$ACME_SECRET" -H "X-Acme-App: $API_KEY" -d grant_type=client_credentials`, 400, `<fault code="A3" header="X-Acme-Channel"/>`},
		{"no token", `"$API_BASE_URL/wallets"`, 401, `<fault code="B1"/>`},
		{"no partner", `"$API_BASE_URL/wallets" -H "X-Acme-Ticket: $(` + `printf '%s' '` + token + `' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')"`, 403, `<fault code="B4"/>`},
	} {
		t.Run(r.name, func(t *testing.T) {
			got := u.sourced(t, "acme", `curl -s -w '\n%{http_code}' `+r.args)
			if got.out != fmt.Sprintf("%s\n%d", r.body, r.status) {
				t.Errorf("answered %s, want %s and %d", got.out, r.body, r.status)
			}
		})
	}
	// The client's end of the same file.
	if got := u.counterfoil(t, "call", "acme", "GET", "/wallets").good(t); !strings.Contains(got.out, `"currency"`) {
		t.Errorf("the call printed %s", got.out)
	}
	u.counterfoil(t, "doctor", "acme").good(t)
	if env.Get("AUTH_URL") != base+"/gate/v9/ticket" || env.Get("API_BASE_URL") != base+"/ledger/v2" {
		t.Errorf("URLs %s and %s", env.Get("AUTH_URL"), env.Get("API_BASE_URL"))
	}
}

func keysOf(env files.Env) string {
	var keys []string
	for _, s := range env {
		keys = append(keys, s.Key)
	}
	return strings.Join(keys, " ")
}
