package importer_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/counterfoil/counterfoil/provider"
	"github.com/counterfoil/counterfoil/server/importer"
)

// shop is a realm that has the scopes orders:read and orders:write, and tokens of
// half an hour.
func shop(t *testing.T) *realm {
	t.Helper()
	r := newRealm(t, nil)
	described := *r.rules.Provider
	described.Scopes = []provider.Scope{{Name: "orders:read"}, {Name: "orders:write"}}
	described.TokenEndpoint.Lifetime = 30 * time.Minute
	r.rules.Provider = &described
	return r
}

// row is what became of a row, in one line.
func row(r importer.Result) string {
	return strings.TrimSuffix(fmt.Sprintf("%s %s: %s", r.ClientID, r.Outcome, r.Detail), ": ")
}

const generated = "Jc4kX0pQ7wVtB9sLr2NfYd81HgUzEa6M"

// Files that went wrong once, with what should become of them.
func TestFilesThatWentWrong(t *testing.T) {
	for name, tt := range map[string]struct {
		format, file string
		change       func(*importer.Options)
		rows         []string
		notes        string
		tries        []try
		scopes       string
	}{
		"a placeholder became a working secret": {
			format: "keycloak", file: "kc-placeholder-env.json",
			rows: []string{"picker refused: secret: its secret is a placeholder that was to be filled in: fill it in, or take it as it is with --literal-secrets"},
		},
		"a placeholder that is the secret": {
			format: "keycloak", file: "kc-placeholder-env.json", change: func(o *importer.Options) { o.LiteralSecrets = true },
			rows: []string{"picker created"}, notes: "left out the scopes", tries: []try{{"picker", "${PICKER_SECRET}", 200, 300}}, scopes: "orders:read",
		},
		"an array of realms": {
			format: "keycloak", file: "kc-two-realms.json", rows: []string{"picker created", "packer created"}, notes: "left out the scopes",
			tries: []try{{"picker", generated, 200, 300}, {"packer", "Kc4kX0pQ7wVtB9sLr2NfYd81HgUzEa6N", 200, 300}}, scopes: "orders:read",
		},
		"attributes that are scalars or null": {
			format: "keycloak", file: "kc-attr-scalars.json", rows: []string{"picker created"}, notes: "left out the scopes",
			tries: []try{{"picker", generated, 200, 240}}, scopes: "orders:read",
		},
		"no default scopes of its own": {
			format: "keycloak", file: "kc-no-default-scopes.json", rows: []string{"picker created"}, notes: "it has no defaultClientScopes: the realm's defaultDefaultClientScopes were taken",
			tries: []try{{"picker", generated, 200, 300}}, scopes: "orders:read",
		},
		"UTF-16 from a Windows shell": {
			format: "keycloak", file: "kc-utf16.json", rows: []string{"picker created"}, notes: "left out the scopes", tries: []try{{"picker", generated, 200, 300}}, scopes: "orders:read",
		},
		"entities of a configuration store": {
			format: "identityserver", file: "is-ef-entities.json", rows: []string{"picker created"},
			tries: []try{{"picker", "511536EF-F270-4058-80CA-1C89C192F69A", 200, 1200}}, scopes: "orders:read",
		},
		"identity scopes beside API scopes": {
			format: "identityserver", file: "is-hybrid.json", rows: []string{"picker created"}, notes: "left out the scopes openid profile: they are for people who sign in",
			tries: []try{{"picker", "511536EF-F270-4058-80CA-1C89C192F69A", 200, 0}}, scopes: "orders:read",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := shop(t)
			got := r.apply(read(t, tt.format, filepath.Join("cases", tt.file)), tt.change)
			var rows []string
			for _, result := range got.Rows {
				rows = append(rows, row(result))
			}
			if !slices.Equal(rows, tt.rows) || !strings.Contains(strings.Join(got.Rows[0].Notes, "\n"), tt.notes) || tt.notes == "" && tt.tries != nil && got.Rows[0].Notes != nil {
				t.Errorf("got %q, notes %q\nwant %q, %q", rows, got.Rows[0].Notes, tt.rows, tt.notes)
			}
			for _, try := range tt.tries {
				if status, _ := r.token(try.id, try.secret); status != try.status {
					t.Errorf("%s got %d", try.id, status)
				}
				c, err := r.clients.Get(t.Context(), "oauth2", try.id)
				if lifetime := c.Tokens.Lifetime; err != nil || int(lifetime.Seconds()) != try.lifetime || c.Scopes.String() != tt.scopes {
					t.Errorf("%s has tokens of %v, scopes %q, %v", try.id, lifetime, c.Scopes, err)
				}
			}
		})
	}
}

// A secret that a template engine was to fill in is in version control: whoever
// reads that has it. What only looks a little like one is a secret.
func TestPlaceholders(t *testing.T) {
	for value, placeholder := range map[string]bool{
		"${ORDERS_SECRET}": true, "${env.ORDERS_SECRET:-none}": true, "$(ORDERS_SECRET)": true, "$ORDERS_SECRET": true, "%ORDERS_SECRET%": true,
		"{{ .Values.orders.secret }}": true, "{{orders_secret}}": true, "<%= ENV['ORDERS_SECRET'] %>": true, "<ORDERS_SECRET>": true, "<your client secret>": true,
		"#{OrdersSecret}#": true, "@orders.secret@": true, "__ORDERS_SECRET__": true, "ENC[AES256_GCM,data:abc,type:str]": true, "ENC[PKCS7,abc]": true,
		"op://vault/orders/secret": true, "vault:secret/data/orders#secret": true, "ref+vault://orders#/secret": true, " ${ORDERS_SECRET}\t": true, "${A}-${B}": true,
		"${A\nB}": true,
		// Secrets.
		"xY9#mK2$pL8@nQ5": false, "a${ORDERS_SECRET}": false, "${ORDERS_SECRET}a": false, "$": false, "$1abc": false, "$abc$": false, "a$b": false, "%41%": false,
		"{ORDERS_SECRET}": false, "<>": false, "<1>": false, "#{a}": false, "@@": false, "a@b.example": false, "____": false, "__a": false, "ENC(abc)": false,
		"top://a": false, "myvault:a": false, "pref+a": false, "ref-a": false, "{{a}": false, "100%": false, generated: false,
	} {
		for _, row := range []struct{ format, text, member string }{
			{"plain", `{"client_id":"a","client_secret":%q}`, "client_secret"},
			{"plain", `{"client_id":"a","client_secret":"s","api_key":%q}`, "api_key"},
			{"cognito", `{"ClientId":"a","AllowedOAuthFlows":["client_credentials"],"ClientSecret":%q}`, "ClientSecret"},
			{"keycloak", `{"clientId":"a","serviceAccountsEnabled":true,"secret":%q}`, "secret"},
			{"keycloak", `{"clientId":"a","serviceAccountsEnabled":true,"secret":"s","attributes":{"client.secret.rotated":%q}}`, "attributes.client.secret.rotated"},
			{"identityserver", `{"IdentityServerData":{"Clients":[{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"ClientSecrets":[{"Value":%q}]}]}}`, "ClientSecrets, secret 1"},
		} {
			if strings.ContainsAny(value, "\n\t") && !placeholder {
				continue
			}
			r := plans(t, row.format, fmt.Sprintf(row.text, value), nil)[0]
			if refused := r.Outcome == importer.OutcomeRefused; refused != placeholder || refused && (!strings.HasPrefix(r.Detail, row.member+": ") || !strings.Contains(r.Detail, "is a placeholder") || strings.Contains(r.Detail, value)) {
				t.Errorf("%s %s: %s", row.member, value, r.Outcome+" "+importer.Outcome(r.Detail))
			}
		}
		// What is kept hashed is refused whatever it is; a placeholder is called so.
		for _, row := range []struct{ format, text, member string }{
			{"hydra", `{"client_id":"a","grant_types":["client_credentials"],"client_secret":%q}`, "client_secret"},
			{"identityserver", `{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"ClientSecrets":[{"Value":%q}]}`, "ClientSecrets, secret 1"},
		} {
			r := plans(t, row.format, fmt.Sprintf(row.text, value), func(o *importer.Options) { o.LiteralSecrets = true })[0]
			if called := strings.HasPrefix(r.Detail, row.member+" is a placeholder"); r.Outcome != importer.OutcomeRefused || called != placeholder {
				t.Errorf("%s %s: %s", row.member, value, r.Detail)
			}
		}
	}
}

// plans returns what would become of the rows of a file in a realm of any scopes.
func plans(t *testing.T, format, text string, change func(*importer.Options)) []importer.Result {
	t.Helper()
	if planning == nil {
		planning = newRealm(t, nil)
		t.Cleanup(func() { planning = nil })
	}
	o := planning.options
	o.DryRun = true
	if change != nil {
		change(&o)
	}
	report, err := importer.Apply(t.Context(), planning.clients, open(t, format, strings.NewReader(text)), o)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return whole(t, report).Rows
}

var planning *realm

// A secret that a console does not show is none, in whichever format, and no flag
// makes it one.
func TestMaskedSecrets(t *testing.T) {
	for format, text := range map[string]string{
		"plain":          `{"client_id":"a","client_secret":"********"}`,
		"cognito":        `{"ClientId":"a","AllowedOAuthFlows":["client_credentials"],"ClientSecret":"********"}`,
		"keycloak":       `{"clientId":"a","serviceAccountsEnabled":true,"secret":"**********"}`,
		"hydra":          `{"client_id":"a","grant_types":["client_credentials"],"client_secret":"***"}`,
		"identityserver": `{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"ClientSecrets":["******"]}`,
	} {
		r := plans(t, format, text, func(o *importer.Options) { o.LiteralSecrets = true })[0]
		if r.Outcome != importer.OutcomeRefused || !strings.Contains(r.Detail, "is masked") {
			t.Errorf("%s: %s", format, row(r))
		}
	}
}

// realms are those of a Keycloak export, in the forms that it comes in.
var realms = []string{
	`{"realm":"a","defaultDefaultClientScopes":["x"],"clients":[{"clientId":"web","publicClient":true,"attributes":"none"},{"clientId":"one","serviceAccountsEnabled":true,"secret":"s1"}]}`,
	`{"clients":[{"clientId":"web","publicClient":true},{"clientId":"one","serviceAccountsEnabled":true,"secret":"s2"}],"clientScopes":[{"name":"y"}],"defaultDefaultClientScopes":["y"],"realm":"b"}`,
	`{"realm":"bare","enabled":true}`,
}

// An export of several realms is an array, or one document after the other. The
// defaults of each realm are for its own clients, wherever they stand in it.
func TestRealmsOfAnExport(t *testing.T) {
	for name, text := range map[string]string{
		"an array":          "[\n" + strings.Join(realms, ",\n") + "]",
		"a line each":       strings.Join(realms, "\n"),
		"one after another": strings.Join(realms, " "),
	} {
		for _, row := range []struct{ realm, want, err string }{
			{"", "client 1 web skip, client 2 one x, client 3 web skip, client 4 one y", ""},
			{"a", "client 1 web skip, client 2 one x", ""},
			{"b", "client 1 web skip, client 2 one y", ""},
			{"bare", "", "no clients"},
			{"c", "", `the file has no realm "c": its realms are a, b, bare`},
		} {
			f := open(t, "keycloak", strings.NewReader(text))
			if err := f.FromRealm(row.realm); err != nil {
				t.Fatal(err)
			}
			var got []string
			err := f.Rows(func(r *importer.Row) error {
				what := r.Client.Scopes.String()
				if r.Skip != "" {
					what = "skip"
				}
				got = append(got, r.Place+" "+r.Client.ID+" "+what)
				return r.Err
			})
			if strings.Join(got, ", ") != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("%s, realm %q: read %q, %v", name, row.realm, got, err)
			}
		}
	}
	// Two machine clients of one id are not told apart without a choice.
	got := plans(t, "keycloak", "["+strings.Join(realms, ",")+"]", nil)
	if last := got[3]; last.Outcome != importer.OutcomeRefused || last.Detail != "clientId: client 2 has the same client id: choose one of its realms with --from-realm" {
		t.Errorf("%+v", last)
	}
	f := open(t, "hydra", strings.NewReader(`[{"client_id":"a"}]`))
	if err := f.FromRealm("a"); err == nil {
		t.Error("a realm of a file of Hydra can be chosen")
	}
	f = open(t, "keycloak", strings.NewReader(`[{"clientId":"a"}]`))
	if err := errors.Join(f.FromRealm("a"), f.Rows(func(*importer.Row) error { return nil })); err == nil || !strings.Contains(err.Error(), "does not say of which realm") {
		t.Errorf("got %v", err)
	}
	if _, err := parse("keycloak", strings.NewReader("["+realms[0]+",\n{]")); err == nil || !strings.Contains(err.Error(), "line 2 is broken") {
		t.Errorf("got %v", err)
	}
}

// Optional scopes that are a realm's default are not asked for by anybody: they
// are left out when a client takes the realm's.
func TestDefaultScopesOfARealm(t *testing.T) {
	const realm = `{"realm":"a","defaultDefaultClientScopes":["d","roles"],"defaultOptionalClientScopes":["o"],"clients":[{"clientId":"c","serviceAccountsEnabled":true,"secret":"s"%s}]}`
	for more, want := range map[string]string{
		``: "d", `,"defaultClientScopes":null`: "d", `,"defaultClientScopes":[]`: "", `,"defaultClientScopes":["x"]`: "x",
		`,"optionalClientScopes":["x"]`: "d x", `,"defaultClientScopes":[],"optionalClientScopes":["d"]`: "d",
	} {
		rows, err := parse("keycloak", strings.NewReader(fmt.Sprintf(realm, more)))
		if err != nil || len(rows) != 1 || rows[0].Err != nil || rows[0].Client.Scopes.String() != want {
			t.Errorf("%s: %+v, %v, want %q", more, rows, err, want)
		}
	}
}

// A row that is no client for machines spoils no file, whatever else is wrong with
// it, also when it has no id or one that another row has.
func TestSkippedBeforeAnythingElse(t *testing.T) {
	for name, row := range map[string]struct{ format, skipped, good string }{
		"IdentityServer": {
			"identityserver", `{"ClientId":"a","AllowedGrantTypes":["implicit"],"AccessTokenLifetime":"long","ClientSecrets":[7],"Claims":"none","AllowedScopes":[1]}`,
			`{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"ClientSecrets":[{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="}]}`,
		},
		"Hydra": {
			"hydra", `{"client_id":"a","grant_types":"authorization_code","client_secret":7,"scope":["x"],"contacts":{},"jwks_uri":1}`,
			`{"client_id":"a","grant_types":["client_credentials"],"client_secret":"$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW"}`,
		},
		"Hydra, a public client": {
			"hydra", `{"client_id":"a","grant_types":["client_credentials"],"token_endpoint_auth_method":"none","client_secret_expires_at":"never"}`,
			`{"client_id":"a","grant_types":["client_credentials"],"client_secret":"$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW"}`,
		},
		"Keycloak": {
			"keycloak", `{"clientId":"a","publicClient":true,"serviceAccountsEnabled":true,"attributes":[1],"secret":{},"defaultClientScopes":"x","credentials":7}`,
			`{"clientId":"a","serviceAccountsEnabled":true,"secret":"s"}`,
		},
		"Keycloak, no id": {"keycloak", `{"publicClient":true,"protocol":"saml"}`, `{"clientId":"a","serviceAccountsEnabled":true,"secret":"s"}`},
		"Cognito": {
			"cognito", `{"UserPoolClient":{"ClientId":"a","AllowedOAuthFlows":["code"],"ClientSecret":1,"TokenValidityUnits":"years","AccessTokenValidity":"x"}}`,
			`{"UserPoolClient":{"ClientId":"a","AllowedOAuthFlows":["client_credentials"],"ClientSecret":"s"}}`,
		},
	} {
		got := plans(t, row.format, "["+row.skipped+","+row.good+","+row.skipped+"]", nil)
		if got[0].Outcome != importer.OutcomeSkipped || got[1].Outcome != importer.OutcomeCreated || got[2].Outcome != importer.OutcomeSkipped {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A file of another format is told apart, also where each of its rows would be
// skipped and the import would end well with nothing imported.
func TestFormatsToldApart(t *testing.T) {
	texts := map[string][]string{
		"identityserver": {
			`[{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"ClientSecrets":[]}]`,
			`{"IdentityServer":{"Clients":[{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"ClientSecrets":[]}]}}`,
			`[{"clientId":"a","allowedGrantTypes":["client_credentials"],"clientSecrets":[]}]`,
		},
		"hydra": {
			`[{"client_id":"a","grant_types":["client_credentials"],"client_secret":"s","scope":"x"}]`,
			`{"items":[{"client_id":"a","grant_types":["client_credentials"],"token_endpoint_auth_method":"none"}],"next_page_token":""}`,
			`{"client_id":"a","client_secret":"s","grant_types":["client_credentials"]}` + "\n" + `{"client_id":"b","grant_types":[]}`,
		},
		"keycloak": {
			`{"realm":"r","clients":[{"clientId":"a","serviceAccountsEnabled":true,"secret":"s"}]}`,
			`[{"clientId":"a","publicClient":false,"protocol":"openid-connect"}]`,
			`{"realm":"r","users":["` + strings.Repeat("x", 2<<20) + `"],"clients":[{"clientId":"a","serviceAccountsEnabled":true,"secret":"s"}]}`,
		},
		"cognito": {
			`{"UserPoolClient":{"ClientId":"a","AllowedOAuthFlows":["client_credentials"]}}`,
			`{"UserPoolClients":[{"ClientId":"a","ClientName":"A","UserPoolId":"p"}]}`,
			`[{"ClientId":"a","UserPoolId":"p","AllowedOAuthFlows":["code"]}]`,
		},
		"plain": {
			`{"client_id":"a","client_secret":"s","scopes":["x"]}`,
			`[{"client_id":"a","client_secret":"s"}]`,
			"client_id,client_secret\na,s\n",
			"client_id;client_secret\na;s\n",
			"sep=;\nclient_id;client_secret\na;s\n",
		},
	}
	for format, list := range texts {
		for i, text := range list {
			for _, as := range importer.Formats() {
				rows, err := parse(as, strings.NewReader(text))
				var wrong *importer.FileError
				switch {
				case as == format && (err != nil || len(rows) == 0):
					t.Errorf("%s %d: %v", format, i, err)
				case as != format && (!errors.As(err, &wrong) || !strings.Contains(err.Error(), "format "+format)):
					t.Errorf("%s %d read as %s: %d rows, %v", format, i, as, len(rows), err)
				}
			}
		}
	}
	for text, want := range map[string]string{
		"<?xml version=\"1.0\"?><clients/>":              "XML",
		"<!doctype html><title>Sign in</title>":          "HTML",
		"clients:\n  - clientId: a\n    secret: s\n":     "YAML",
		"---\nUserPoolClient:\n  ClientId: a\n":          "YAML",
		"apiVersion: k8s.keycloak.org/v2alpha1\nkind: x": "YAML",
		"- client_id: a\n":                               "YAML",
	} {
		for _, format := range importer.Formats() {
			if _, err := parse(format, strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q read as %s: %v, want %s", text, format, err, want)
			}
		}
	}
	// One row that is odd does not make a file one of another format.
	rows, err := parse("keycloak", strings.NewReader(`[{"clientId":"a","serviceAccountsEnabled":true,"secret":"s"},{"client_id":"b","grant_types":[]}]`))
	if err != nil || len(rows) != 2 || rows[1].Err == nil {
		t.Errorf("%+v, %v", rows, err)
	}
}

// Lists of clients that show no secrets are said to be that.
func TestListsWithoutSecrets(t *testing.T) {
	for text, want := range map[string]string{
		`{"UserPoolClients":[{"ClientId":"a","UserPoolId":"p","ClientName":"A"}],"NextToken":"x"}`: "describe-user-pool-client",
		`[{"ClientId":"a","UserPoolId":"p","ClientName":"A"}]`:                                     "describe-user-pool-client",
	} {
		if got := plans(t, "cognito", text, nil); len(got) != 1 || got[0].Outcome != importer.OutcomeRefused || got[0].ClientID != "a" || !strings.Contains(got[0].Detail, want) {
			t.Errorf("%s: %+v", text, got)
		}
	}
	got := plans(t, "hydra", `{"items":[{"client_id":"a","grant_types":["client_credentials"],"scope":"x","token_endpoint_auth_method":"client_secret_basic"}],"next_page_token":"","is_last_page":true}`, nil)
	if got[0].Outcome != importer.OutcomeRefused || !strings.Contains(got[0].Detail, "hydra_client") {
		t.Errorf("%+v", got)
	}
	got = plans(t, "cognito", `{"UserPoolClients":[{"ClientId":"a","UserPoolId":"p","AllowedOAuthFlows":["client_credentials"],"ClientSecret":"s"}]}`, nil)
	if got[0].Outcome != importer.OutcomeCreated {
		t.Errorf("%+v", got)
	}
}

// A secret of Hydra that is in the clear gets a word about where it can go.
func TestHydrasPlainSecrets(t *testing.T) {
	r := plans(t, "hydra", `{"client_id":"a","grant_types":["client_credentials"],"client_secret":"1ymwKKXRPJhGSq5~H7pAwBXcau"}`, nil)[0]
	for _, want := range []string{"client_secret: ", "must begin with $2a$", "in the clear", "format plain"} {
		if !strings.Contains(r.Detail, want) {
			t.Errorf("%s, want %q", row(r), want)
		}
	}
	if strings.Contains(r.Detail, "1ymw") {
		t.Error("the secret is in the refusal")
	}
}

// Scopes for people are dropped from every source, and said to be.
func TestIdentityScopes(t *testing.T) {
	const people = `openid profile email address phone offline_access`
	list := `["` + strings.ReplaceAll(people, " ", `","`) + `","x"]`
	for format, text := range map[string]string{
		"identityserver": `{"IdentityServer":{"Clients":[{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"AllowedScopes":` + list + `,"ClientSecrets":[{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="}]}]}}`,
		"hydra":          `{"client_id":"a","grant_types":["client_credentials"],"scope":"` + people + ` x","client_secret":"$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW"}`,
		"keycloak":       `{"clientId":"a","serviceAccountsEnabled":true,"secret":"s","defaultClientScopes":` + list + `}`,
		"cognito":        `{"ClientId":"a","AllowedOAuthFlows":["client_credentials"],"ClientSecret":"s","AllowedOAuthScopes":` + list + `}`,
		"plain":          `{"client_id":"a","client_secret":"s","scopes":` + list + `}`,
	} {
		rows, err := parse(format, strings.NewReader(text))
		if err != nil || rows[0].Err != nil || rows[0].Client.Scopes.String() != "x" || !slices.Equal(rows[0].Notes, []string{"left out the scopes " + people + ": they are for people who sign in"}) {
			t.Errorf("%s: %+v, %v", format, rows, err)
		}
	}
	// IdentityServer names its own identity scopes in the file.
	for beside, want := range map[string]string{`[{"Name":"roles","UserClaims":["role"]}]`: "x", `["roles"]`: "x", `[7,null,{"Name":7},{"Name":"roles"}]`: "x", `{}`: "roles x", `7`: "roles x"} {
		rows, err := parse("identityserver", strings.NewReader(`{"IdentityServerData":{"Clients":[{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"AllowedScopes":["roles","x"],"ClientSecrets":["s"]}],"IdentityResources":`+beside+`}}`))
		if err != nil || rows[0].Err != nil || rows[0].Client.Scopes.String() != want {
			t.Errorf("%s: %+v, %v, want %s", beside, rows, err, want)
		}
	}
}

// A section of a configuration that has no clients hides none.
func TestSectionsWithoutClients(t *testing.T) {
	const clients = `{"Clients":[{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"ClientSecrets":["s"]}]}`
	for _, text := range []string{
		`{"IdentityServer":{"Key":{"Type":"File"}},"InitialData":` + clients + `}`,
		`{"InitialData":` + clients + `,"IdentityServer":{"Key":{"Type":"File"}}}`,
		`{"IdentityServerSettings":{},"Clients":[{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"ClientSecrets":["s"]}]}`,
	} {
		rows, err := parse("identityserver", strings.NewReader(text))
		if err != nil || len(rows) != 1 || rows[0].Err != nil || rows[0].Client.ID != "a" {
			t.Errorf("%s: %+v, %v", text, rows, err)
		}
	}
	if rows, err := parse("identityserver", strings.NewReader(`{"IdentityServer":{"Key":{}},"AllowedHosts":"*"}`)); err == nil && (len(rows) != 1 || rows[0].Err == nil) {
		t.Errorf("%+v", rows)
	}
}

// The JSON of .NET's configuration has comments and commas that end a list, and
// lines keep their numbers.
func TestRelaxedJSON(t *testing.T) {
	const client = `{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"ClientSecrets":[{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="}]}`
	for name, row := range map[string]struct{ text, want string }{
		"line comments":                    {"// mine\r\n[ // of it\n" + client + "] // \" end", "a"},
		"block comments":                   {"/* mine\n * \" */[/**/" + client + "/***/]/**/", "a"},
		"trailing commas":                  {`{"IdentityServer":{"Clients":[` + client + `,],},}`, "a"},
		"a comment behind a comma":         {`{"IdentityServer":{"Clients":[` + client + ", // last\n],/* that's it */}}", "a"},
		"a comma before a comment":         {`[` + client + `/* , */ , ` + strings.Replace(client, `"a"`, `"b"`, 1) + `]`, "a b"},
		"slashes and commas in text":       {strings.Replace(`[`+client+`]`, `"a"`, `"a//b/*,]\",}"`, 1), `a//b/*,]",}`},
		"a section in another case":        {`{"identityServer":{"clients":[` + client + `]}}`, "a"},
		"a comment inside a number":        {`[{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"AccessTokenLifetime":1/**/2}]`, "line 1 is broken"},
		"two commas":                       {"[\n" + client + ",,]", "line 2 is broken"},
		"a comma alone":                    {"[\n,]", "line 2 is broken"},
		"a comment that never ends":        {"[" + client + "/* ]", "line 1 is broken"},
		"broken behind a comment of lines": {"/*\n\n*/[\n{]", "line 4 is broken"},
		"a lone slash":                     {"[" + client + "/]", "line 1 is broken"},
		"a slash at the end":               {"[" + client + "]/", "line 1 is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := parse("identityserver", strings.NewReader(row.text))
			var ids []string
			for _, r := range rows {
				ids = append(ids, r.Client.ID)
			}
			if got := strings.Join(ids, " "); err == nil && got != row.want || err != nil && !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %q, %v, want %q", got, err, row.want)
			}
		})
	}
	if _, err := parse("keycloak", strings.NewReader("[] // mine")); err == nil {
		t.Error("a comment is taken in a file of Keycloak")
	}
}

// Text comes as editors and shells of all systems write it.
func TestTextOfOtherSystems(t *testing.T) {
	wide := func(order binary.AppendByteOrder, text string) string {
		var b []byte
		for _, u := range utf16.Encode([]rune("\ufeff" + text)) {
			b = order.AppendUint16(b, u)
		}
		return string(b)
	}
	for name, row := range map[string]struct{ format, text, want string }{
		"JSON, little-endian":     {"keycloak", wide(binary.LittleEndian, `[{"clientId":"ä😀"}]`), "ä😀"},
		"JSON, big-endian":        {"hydra", wide(binary.BigEndian, `[{"client_id":"ä"}]`), "ä"},
		"CSV, little-endian":      {"plain", wide(binary.LittleEndian, "client_id\tname\r\na\tÄ\r\n"), "a"},
		"JSON Lines and a mark":   {"plain", "\ufeff{\"client_id\":\"a\"}\n{\"client_id\":\"b\"}", "a b"},
		"a comment and a mark":    {"identityserver", "\ufeff// mine\n[{\"ClientId\":\"a\"}]", "a"},
		"UTF-16 without a mark":   {"keycloak", wide(binary.LittleEndian, `[]`)[2:], "UTF-16 without a byte order mark"},
		"UTF-16 that is cut off":  {"keycloak", wide(binary.LittleEndian, `[{"clientId":"a"}]`)[:11], "UTF-16 that is cut off"},
		"UTF-32":                  {"plain", "\xff\xfe\x00\x00a\x00\x00\x00", "UTF-32"},
		"a NUL in UTF-16's place": {"plain", "\x00a", "UTF-16"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := parse(row.format, strings.NewReader(row.text))
			var ids []string
			for _, r := range rows {
				ids = append(ids, r.Client.ID)
			}
			var wrong *importer.FileError
			if got := strings.Join(ids, " "); err == nil && got != row.want || err != nil && (!errors.As(err, &wrong) || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("got %q, %v, want %q", got, err, row.want)
			}
		})
	}
}

// CSV comes from spreadsheets, with what stands there between fields.
func TestDelimiters(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"semicolons":                    {"client_id;client_secret;scopes\r\na;s,1;x y\r\n", "line 2 a s,1 x y"},
		"tabs":                          {"client_id\tclient_secret\tscopes\na\ts;1\tx\n", "line 2 a s;1 x"},
		"bars":                          {"client_id|client_secret|scopes\na|s|x\n", "line 2 a s x"},
		"Excel's line":                  {"sep=;\r\nclient_id;client_secret;scopes\r\na;s;x\r\n", "line 3 a s x"},
		"Excel's line in quotes":        {"\"sep=;\"\nclient_id;client_secret;scopes\na;s;x\n", "line 3 a s x"},
		"Excel's line with a comma":     {"sep=,\nclient_id,client_secret,scopes\na,s;t,x\n", "line 3 a s;t x"},
		"names in quotes":               {"\"client_id\";\"client_secret\";\"scopes\"\na;\"s;t\";x\n", "line 2 a s;t x"},
		"empty lines first":             {"\n\nclient_id;client_secret;scopes\na;s;x\n", "line 4 a s x"},
		"a semicolon in commas":         {"client_id,client_secret,scopes\na,s;t,x\n", "line 2 a s;t x"},
		"Excel's line in capitals":      {"SEP=;\nclient_id;client_secret;scopes\na;s;x\n", "line 3 a s x"},
		"names in capitals":             {"Client_Id;CLIENT_SECRET; Scopes\na;s;x\n", "line 2 a s x"},
		"a name in two cases":           {"client_id;client_secret;Client_Id\na;s;x\n", "column 3 is not one of"},
		"empty rows":                    {"client_id;client_secret;scopes\n;;\na;s;x\n ;\t;\n;\n;;;;\n", "line 3 a s x"},
		"empty rows only":               {"client_id;client_secret;scopes\n;;\n;;\n", "no clients behind its first line"},
		"a row without an id":           {"client_id;client_secret;scopes\n;s;x\n", "it has no client id: client_id is missing"},
		"Excel's line of another kind":  {"sep=!\nclient_id!client_secret\n", "line 1: sep= must be followed by"},
		"Excel's line and nothing else": {"sep=;\n", "with a line of column names"},
		"columns of another program":    {"id;secret\n1;2\n", "column 1 is not one of client_id"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := parse("plain", strings.NewReader(row.text))
			got := fmt.Sprint(err)
			if err == nil && len(rows) == 1 && rows[0].Err == nil {
				r := rows[0]
				got = strings.Join([]string{r.Place, r.Client.ID, r.Secrets[0].Plain.Reveal(), r.Client.Scopes.String()}, " ")
			}
			if err == nil && len(rows) == 1 && rows[0].Err != nil {
				got = rows[0].Err.Error()
			}
			if !strings.Contains(got, row.want) {
				t.Errorf("got %s %+v, want %s", got, rows, row.want)
			}
		})
	}
}

// An id with a colon cannot stand before a secret in HTTP Basic as it is.
func TestColonInAnID(t *testing.T) {
	for id, want := range map[string]bool{"a:b": true, "urn:service:a": true, "a": false, "a%3Ab": false} {
		r := plans(t, "plain", fmt.Sprintf(`{"client_id":%q,"client_secret":"s","scopes":["x"]}`, id), nil)[0]
		if r.Outcome != importer.OutcomeCreated || want != strings.Contains(strings.Join(r.Notes, "\n"), "HTTP Basic it must be written as %3A") || !want && r.Notes != nil {
			t.Errorf("%s: %+v", id, r)
		}
	}
	r := newRealm(t, nil)
	r.apply(lines(t, `{"client_id":"a:b","client_secret":"s","scopes":["x"]}`), nil)
	for _, row := range []struct {
		id     string
		status int
	}{{"a%3Ab", 200}, {"a:b", 401}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url, strings.NewReader("grant_type=client_credentials"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(row.id+":s")))
		resp, err := r.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != row.status {
			t.Errorf("%s in Basic got %d, %v", row.id, resp.StatusCode, err)
		}
	}
}

// Lifetimes that are longer than the realm's are refused, or taken down to it when
// that is asked for, however long they are.
func TestCapLifetime(t *testing.T) {
	for name, row := range map[string]struct{ format, text, member string }{
		"plain":               {"plain", `{"client_id":"a","client_secret":"s","lifetime":"%d"}`, "lifetime"},
		"Keycloak":            {"keycloak", `{"clientId":"a","serviceAccountsEnabled":true,"secret":"s","attributes":{"access.token.lifespan":%d}}`, "attributes.access.token.lifespan"},
		"Cognito":             {"cognito", `{"ClientId":"a","AllowedOAuthFlows":["client_credentials"],"ClientSecret":"s","AccessTokenValidity":%d,"TokenValidityUnits":{"AccessToken":"seconds"}}`, "AccessTokenValidity"},
		"Hydra":               {"hydra", `{"client_id":"a","grant_types":["client_credentials"],"client_secret":"$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW","client_credentials_grant_access_token_lifespan":"%ds"}`, "client_credentials_grant_access_token_lifespan"},
		"IdentityServer":      {"identityserver", `{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"AccessTokenLifetime":%d,"ClientSecrets":["s"]}`, "AccessTokenLifetime"},
		"IdentityServer text": {"identityserver", `{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"AccessTokenLifetime":"%d","ClientSecrets":["s"]}`, "AccessTokenLifetime"},
	} {
		t.Run(name, func(t *testing.T) {
			r := shop(t)
			for _, seconds := range []int{1800, 1801, 30 * 86400, 30*86400 + 1, 400 * 86400} {
				id := fmt.Sprintf("lives-%d", seconds)
				text := strings.NewReplacer(`"a"`, `"`+id+`"`, `"s"`, `"`+generated+`"`).Replace(fmt.Sprintf(row.text, seconds))
				refused := r.apply(open(t, row.format, strings.NewReader(text)), func(o *importer.Options) { o.DryRun = true }).Rows[0]
				if good := seconds == 1800; good != (refused.Outcome == importer.OutcomeCreated) || !good && (!strings.HasPrefix(refused.Detail, row.member+": ") || !strings.Contains(refused.Detail, "--cap-lifetime")) {
					t.Errorf("%d s: %+v", seconds, refused)
				}
				got := r.apply(open(t, row.format, strings.NewReader(text)), func(o *importer.Options) { o.CapLifetime = true }).Rows[0]
				c, err := r.clients.Get(t.Context(), "oauth2", id)
				if err != nil || c.Tokens.Lifetime != 30*time.Minute {
					t.Errorf("%d s: tokens live %v, %v", seconds, c.Tokens.Lifetime, err)
				}
				if noted := strings.Contains(strings.Join(got.Notes, "\n"), row.member+": its tokens lived"); noted != (seconds > 1800) {
					t.Errorf("%d s: %+v", seconds, got)
				}
				again := r.apply(open(t, row.format, strings.NewReader(text)), func(o *importer.Options) { o.CapLifetime = true }).Rows[0]
				if again.Outcome != importer.OutcomeUnchanged {
					t.Errorf("%d s, imported again: %+v", seconds, again)
				}
			}
		})
	}
}

// A client without scopes may ask for nothing: the import reports that, and
// what there is.
func TestImportedWithoutScopes(t *testing.T) {
	r := shop(t)
	got := r.apply(lines(t, `{"client_id":"a","client_secret":"s"}`, `{"client_id":"b","client_secret":"s","scopes":"orders:read"}`, `{"client_id":"c","client_secret":"s","scopes":"openid"}`), nil)
	const says = "it is allowed no scopes: the realm's scopes are orders:read orders:write"
	for i, want := range []bool{true, false, true} {
		if slices.Contains(got.Rows[i].Notes, says) != want {
			t.Errorf("%+v", got.Rows[i])
		}
	}
	c, err := r.clients.Get(t.Context(), "oauth2", "a")
	if err != nil || len(c.Scopes) != 0 {
		t.Errorf("it has the scopes %q, %v", c.Scopes, err)
	}
	again := r.apply(lines(t, `{"client_id":"a","client_secret":"s"}`), nil)
	if again.Rows[0].Outcome != importer.OutcomeUnchanged || again.Rows[0].Notes != nil {
		t.Errorf("%+v", again.Rows[0])
	}
}

// Every refusal names the member that it is about, as the file calls it.
func TestRefusalsNameTheMember(t *testing.T) {
	const hash = `"ClientSecrets":[{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="}]`
	identityserver := func(more string) string {
		return `{"ClientId":"a","AllowedGrantTypes":["client_credentials"],` + more + `}`
	}
	hydra := func(more string) string {
		return `{"client_id":"a","grant_types":["client_credentials"],"client_secret":"$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW",` + more + `}`
	}
	keycloak := func(more string) string { return `{"clientId":"a","serviceAccountsEnabled":true,` + more + `}` }
	cognito := func(more string) string {
		return `{"ClientId":"a","UserPoolId":"p","AllowedOAuthFlows":["client_credentials"],` + more + `}`
	}
	plain := func(more string) string { return `{"client_id":"a",` + more + `}` }
	long := strings.Repeat("x", 300)
	r := shop(t)
	r.rules.Tenants = []string{"T1"}
	for text, row := range map[string]struct{ format, member string }{
		`{"ClientName":"x","AllowedGrantTypes":["client_credentials"]}`:                                        {"identityserver", "ClientId"},
		`{"ClientId":"` + long + `","AllowedGrantTypes":["client_credentials"],` + hash + `}`:                  {"identityserver", "ClientId"},
		`{"ClientId":"a\u0001","AllowedGrantTypes":["client_credentials"],` + hash + `}`:                       {"identityserver", "ClientId"},
		identityserver(`"ClientName":[7]`):                                                                     {"identityserver", "ClientName"},
		identityserver(`"ClientName":"` + long + `",` + hash):                                                  {"identityserver", "ClientName"},
		identityserver(`"Enabled":"perhaps"`):                                                                  {"identityserver", "Enabled"},
		identityserver(`"AllowedScopes":{"a":1}`):                                                              {"identityserver", "AllowedScopes"},
		identityserver(`"AllowedScopes":["stars:read"],` + hash):                                               {"identityserver", "AllowedScopes"},
		identityserver(`"AccessTokenLifetime":"long"`):                                                         {"identityserver", "AccessTokenLifetime"},
		identityserver(`"AccessTokenLifetime":-1`):                                                             {"identityserver", "AccessTokenLifetime"},
		identityserver(`"Claims":[{"Type":[7]}]`):                                                              {"identityserver", "Claims.Type"},
		identityserver(`"Claims":[{"Type":"a","Value":"1"},{"Type":"a","Value":"2"}]`):                         {"identityserver", "Claims"},
		identityserver(`"ClientClaimsPrefix":"","Claims":[{"Type":"iss","Value":"1"}],` + hash):                {"identityserver", "Claims"},
		identityserver(`"ClientSecrets":[]`):                                                                   {"identityserver", "ClientSecrets"},
		identityserver(`"ClientSecrets":[{"Value":{}}]`):                                                       {"identityserver", "ClientSecrets.Value"},
		identityserver(`"ClientSecrets":[{"Value":"no hash"}]`):                                                {"identityserver", "ClientSecrets, secret 1"},
		identityserver(`"ClientSecrets":[{"Value":"x","Expiration":"soon"}]`):                                  {"identityserver", "ClientSecrets, secret 1: Expiration"},
		identityserver(`"ClientSecrets":[{"Value":"x","Created":"once"}]`):                                     {"identityserver", "ClientSecrets, secret 1: Created"},
		identityserver(`"ClientSecrets":[{"Type":"JWK","Value":"{\"kty\":\"oct\"}"}]`):                         {"identityserver", "ClientSecrets"},
		identityserver(strings.Replace(hash, `"}]`, `","Expiration":"2020-01-01"}]`, 1)):                       {"identityserver", "ClientSecrets"},
		`{"grant_types":["client_credentials"]}`:                                                               {"hydra", "client_id"},
		hydra(`"client_name":7`):                                                                               {"hydra", "client_name"},
		hydra(`"scope":["x"]`):                                                                                 {"hydra", "scope"},
		hydra(`"scope":"stars:read"`):                                                                          {"hydra", "scope"},
		hydra(`"contacts":["` + long + `"]`):                                                                   {"hydra", "contacts"},
		hydra(`"owner":"` + long + `"`):                                                                        {"hydra", "owner"},
		hydra(`"jwks":"x"`):                                                                                    {"hydra", "jwks"},
		hydra(`"jwks":{"keys":[{"kty":"oct"}]}`):                                                               {"hydra", "jwks"},
		hydra(`"jwks_uri":"ftp://a"`):                                                                          {"hydra", "jwks_uri"},
		hydra(`"client_secret_expires_at":-1`):                                                                 {"hydra", "client_secret_expires_at"},
		hydra(`"client_secret_expires_at":1`):                                                                  {"hydra", "client_secret"},
		hydra(`"client_credentials_grant_access_token_lifespan":"x"`):                                          {"hydra", "client_credentials_grant_access_token_lifespan"},
		hydra(`"client_credentials_grant_access_token_lifespan":"9h"`):                                         {"hydra", "client_credentials_grant_access_token_lifespan"},
		`{"serviceAccountsEnabled":true}`:                                                                      {"keycloak", "clientId"},
		keycloak(`"secret":7`):                                                                                 {"keycloak", "secret"},
		keycloak(`"secret":"a\u0001"`):                                                                         {"keycloak", "secret"},
		keycloak(`"secret":"` + long + `"`):                                                                    {"keycloak", "secret"},
		keycloak(`"secret":"${vault.x}"`):                                                                      {"keycloak", "secret"},
		keycloak(`"bearerOnly":false`):                                                                         {"keycloak", "secret"},
		keycloak(`"secret":"s","defaultClientScopes":["stars:read"]`):                                          {"keycloak", "defaultClientScopes"},
		keycloak(`"secret":"s","defaultClientScopes":"x"`):                                                     {"keycloak", "defaultClientScopes"},
		keycloak(`"secret":"s","attributes":[]`):                                                               {"keycloak", "attributes"},
		keycloak(`"secret":"s","attributes":{"access.token.lifespan":true}`):                                   {"keycloak", "attributes.access.token.lifespan"},
		keycloak(`"secret":"s","attributes":{"client.secret.expiration.time":"x"}`):                            {"keycloak", "attributes.client.secret.expiration.time"},
		keycloak(`"clientAuthenticatorType":"client-jwt"`):                                                     {"keycloak", "attributes.jwks.string"},
		keycloak(`"clientAuthenticatorType":"client-jwt","attributes":{"jwks.string":"x"}`):                    {"keycloak", "attributes.jwks.string"},
		keycloak(`"clientAuthenticatorType":"client-x509"`):                                                    {"keycloak", "clientAuthenticatorType"},
		keycloak(`"credentials":[{"secretData":"{}"}]`):                                                        {"keycloak", "credentials"},
		`{"ClientName":"x","UserPoolId":"p","AllowedOAuthFlows":["client_credentials"]}`:                       {"cognito", "ClientId"},
		`{"UserPoolClient":{"ClientId":"a","AllowedOAuthFlows":7}}`:                                            {"cognito", "AllowedOAuthFlows"},
		cognito(`"ClientSecret":7`):                                                                            {"cognito", "ClientSecret"},
		cognito(`"ClientSecret":""`):                                                                           {"cognito", "ClientSecret"},
		cognito(`"ClientSecret":"s","AllowedOAuthScopes":["stars/read"]`):                                      {"cognito", "AllowedOAuthScopes"},
		cognito(`"ClientSecret":"s","TokenValidityUnits":{"AccessToken":"years"}`):                             {"cognito", "TokenValidityUnits.AccessToken"},
		cognito(`"ClientSecret":"s","AccessTokenValidity":0.5,"TokenValidityUnits":{"AccessToken":"seconds"}`): {"cognito", "AccessTokenValidity"},
		plain(`"client_secret":"s","expires":"soon"`):                                                          {"plain", "expires"},
		plain(`"client_secret":"s","lifetime":"9h"`):                                                           {"plain", "lifetime"},
		plain(`"client_secret":"s","lifetime":"x"`):                                                            {"plain", "lifetime"},
		plain(`"client_secret":"s","scopes":["stars:read"]`):                                                   {"plain", "scopes"},
		plain(`"client_secret":"s","scopes":7`):                                                                {"plain", "scopes"},
		plain(`"client_secret":"s","addresses":["here"]`):                                                      {"plain", "addresses"},
		plain(`"client_secret":"s","addresses":["192.0.2.1/24"]`):                                              {"plain", "addresses"},
		plain(`"client_secret":"s","tenants":["T9"]`):                                                          {"plain", "tenants"},
		plain(`"client_secret":"s","environment":"moon"`):                                                      {"plain", "environment"},
		plain(`"client_secret":"s","contact":"` + long + `"`):                                                  {"plain", "contact"},
		plain(`"client_secret":"s","labels":{"` + long + `":"x"}`):                                             {"plain", "labels"},
		plain(`"client_secret":"s","labels":["x"]`):                                                            {"plain", "labels"},
		plain(`"client_secret":"s","disabled":"x"`):                                                            {"plain", "disabled"},
		plain(`"client_secret":"s","colour":"red"`):                                                            {"plain", "colour"},
		plain(`"client_secret":""`):                                                                            {"plain", "client_secret"},
		plain(`"client_secret":"s","api_key":"a\u0001"`):                                                       {"plain", "api_key"},
		plain(`"client_secret_hash":"x"`):                                                                      {"plain", "client_secret_hash"},
	} {
		got := r.apply(open(t, row.format, strings.NewReader(text)), func(o *importer.Options) { o.DryRun = true }).Rows
		if len(got) != 1 || got[0].Outcome != importer.OutcomeRefused || !strings.Contains(got[0].Detail, row.member) {
			t.Errorf("%s: %+v, want %s", text, got, row.member)
		}
	}
}

// A list of names beside the clients that is larger than a client may be is
// refused, not kept.
func TestHugeSource(t *testing.T) {
	text := `{"defaultDefaultClientScopes":["` + strings.Repeat("x", 2<<20) + `"],"clients":[{"clientId":"a"}]}`
	if _, err := parse("keycloak", strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "defaultDefaultClientScopes is larger than 1024 KiB") {
		t.Errorf("%v", err)
	}
	if _, err := parse("keycloak", strings.NewReader(`{"realm":7,"clients":[{"clientId":"a"}]}`)); err == nil || !strings.Contains(err.Error(), "realm must be text") {
		t.Errorf("%v", err)
	}
}

// FuzzRelaxed: JSON that needs nothing taken out of it is read as it is.
func FuzzRelaxed(f *testing.F) {
	for _, text := range []string{`[{"a":1},]`, "// a\n[]", `["//","/*"]`, `[{"a":"\\"},{}]`, `{"a":"\\",}`, "/**/[]/**/", "[,]", `[1/**/,/**/2]`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, err := parse("identityserver", bytes.NewReader(data))
		if (err == nil) == (len(rows) == 0) {
			t.Errorf("%d rows, %v", len(rows), err)
		}
		var want []json.RawMessage
		if bytes.HasPrefix(data, []byte("[")) && json.Unmarshal(data, &want) == nil && err == nil && len(rows) != len(want) {
			t.Errorf("%q has %d clients, read %d", data, len(want), len(rows))
		}
	})
}

// Whole numbers are written in any form of JSON's, and an attribute of a list is
// its one value.
func TestNumbersOfAnExport(t *testing.T) {
	keycloak := func(attributes string) string {
		return `{"clientId":"a","serviceAccountsEnabled":true,"secret":"s","attributes":{` + attributes + `}}`
	}
	for text, want := range map[string]string{
		keycloak(`"access.token.lifespan":300.0`):                                                 "5m0s",
		keycloak(`"access.token.lifespan":3e2`):                                                   "5m0s",
		keycloak(`"access.token.lifespan":"300"`):                                                 "5m0s",
		keycloak(`"access.token.lifespan":["300"]`):                                               "5m0s",
		keycloak(`"access.token.lifespan":[300.0]`):                                               "5m0s",
		keycloak(`"access.token.lifespan":-1.0`):                                                  "0s",
		keycloak(`"access.token.lifespan":[]`):                                                    "0s",
		keycloak(`"access.token.lifespan":null`):                                                  "0s",
		keycloak(`"access.token.lifespan":"0x1p4"`):                                               "attributes.access.token.lifespan is not a whole number",
		keycloak(`"access.token.lifespan":300.5`):                                                 "attributes.access.token.lifespan is not a whole number",
		keycloak(`"access.token.lifespan":1e999`):                                                 "attributes.access.token.lifespan is not a whole number",
		keycloak(`"access.token.lifespan":["300","600"]`):                                         "attributes.access.token.lifespan must be one value",
		keycloak(`"access.token.lifespan":{"seconds":300}`):                                       "attributes.access.token.lifespan must be one value",
		keycloak(`"display.order":["300","600"]`):                                                 "0s",
		keycloak(`"client.secret.creation.time":1.7e+09,"client.secret.expiration.time":[4.0e9]`): "0s 2023-11-14 22:13:20 2096-10-02 07:06:40",
		`{"client_id":"a","grant_types":["client_credentials"],"client_secret":"` + hydraHash + `","client_secret_expires_at":4.0e9,"client_credentials_grant_access_token_lifespan":3.0e11}`:                                                                                                    "5m0s 0001-01-01 00:00:00 2096-10-02 07:06:40",
		`{"clientId":"a","serviceAccountsEnabled":true,"credentials":[{"createdDate":1.7e+12,"secretData":"{\"value\":\"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2U=\",\"salt\":\"c2FsdHNhbHRzYWx0c2FsdA==\"}","credentialData":"{\"hashIterations\":27500,\"algorithm\":\"pbkdf2-sha256\"}"}]}`: "0s 2023-11-14 22:13:20",
	} {
		format := "keycloak"
		if strings.Contains(text, "grant_types") {
			format = "hydra"
		}
		rows, err := parse(format, strings.NewReader(text))
		if err != nil || len(rows) != 1 {
			t.Fatalf("%s: %v", text, err)
		}
		got := fmt.Sprint(rows[0].Err)
		if rows[0].Err == nil {
			got = strings.TrimSuffix(fmt.Sprintf("%v %s %s", rows[0].Client.Tokens.Lifetime, rows[0].Secrets[0].Created.Format(time.DateTime),
				rows[0].Secrets[0].Ends.Format(time.DateTime)), " 0001-01-01 00:00:00")
			got = strings.TrimSuffix(got, " 0001-01-01 00:00:00")
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// The clients of IdentityServer stand in a section of any name, as a list or under
// their ids, with what .NET's configuration binds.
func TestSectionsOfAnyName(t *testing.T) {
	const (
		proof = `"AllowedGrantTypes":["client_credentials"],"ClientSecrets":[{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="}]`
		list  = `"Clients":[{"ClientId":"a",` + proof + `},{"ClientId":"b",` + proof + `}]`
	)
	for text, want := range map[string]string{
		`{"Auth":{` + list + `}}`: "a b",
		`{"IdentityServer4":{` + list + `},"Kestrel":{"Endpoints":{"Http":{"Url":"x"}}}}`:                        "a b",
		`{"Logging":{"LogLevel":{"Default":"x"}},"IdentityServerConfig":{` + list + `}}`:                         "a b",
		`{"Modules":{"Login":{"auth":{` + strings.ToLower(list[:10]) + list[10:] + `}}}}`:                        "a b",
		`{"Swagger":{` + list + `},"IdentityServer":{"Clients":[{"ClientId":"c",` + proof + `}]}}`:               "c",
		`{"IdentityServer":{"Key":{}},"Auth":{"Clients":[{"ClientId":"c",` + proof + `}]}}`:                      "c",
		`{"Auth":{` + list + `},"Other":{"Inner":{` + list + `}}}`:                                               "clients in Auth:Clients and in Other:Inner:Clients",
		`{"IdentityServer":{"Clients":{"app1":{` + proof + `},"app2":{"ClientId":"two",` + proof + `}}}}`:        "app1 two",
		`{"Clients":{"app1":{` + proof + `}}}`:                                                                   "app1",
		`{"Auth":{"Clients":{"$id":"1","app1":{"$id":"2",` + proof + `}}}}`:                                      "app1",
		`{"IdentityServer":{"Clients":{"0":{"ClientId":"a",` + proof + `},"1":{"ClientId":"b",` + proof + `}}}}`: "a b",
		`{"0":{"ClientId":"a",` + proof + `},"1":{"ClientId":"b",` + proof + `}}`:                                "a b",
		`{"IdentityServer":{"Clients":{"0":{` + proof + `}}}}`:                                                   "ClientId is missing",
		`{"IdentityServer":{"Clients":{"ClientId":"a",` + proof + `}}}`:                                          "a",
		`{"Logging":{"LogLevel":{"Default":"x"}},"Auth":{"Clientz":[]}}`:                                         "the file has no member Clients, in whatever section, and is no client itself: its members are Logging, Auth",
		`{"IdentityServer":{"Clients":{}}}`:                                                                      "the file has no clients",
		`{"ClientId":"a",` + proof + `,"Properties":{"Clients":[{"ClientId":"b"}]}}`:                             "a",
		`{"Auth":{"Clients":[{"ClientId":15,` + proof + `}]}}`:                                                   "15",
		`[{"ClientId":"a","AllowedGrantTypes":{"0":"client_credentials"},"ClientSecrets":{"10":{"Value":"` + ownSHA256 + `"},"9":{"Value":"QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="}},"AllowedScopes":{"1":"y","0":7}}]`: "a",
		`[{"ClientId":"a",` + proof + `,"Claims":[{"Type":"x","Value":7},{"Type":1.50,"Value":true}]}]`:                                                                                                                       "a client_1.50=True client_x=7",
	} {
		rows, err := parse("identityserver", strings.NewReader(text))
		got := fmt.Sprint(err)
		if err == nil {
			var words []string
			for _, r := range rows {
				words = append(words, r.Client.ID)
				for _, name := range slices.Sorted(maps.Keys(r.Client.Tokens.Claims)) {
					words = append(words, name+"="+r.Client.Tokens.Claims[name])
				}
				if r.Err != nil || r.Skip != "" {
					words = append(words, fmt.Sprint(r.Err, r.Skip))
				}
				if len(r.Client.Scopes) > 0 && r.Client.Scopes.String() != "7 y" {
					t.Errorf("%s: the scopes %s", text, r.Client.Scopes)
				}
			}
			got = strings.Join(words, " ")
		}
		if got != want && (!strings.Contains(got, want) || err == nil && !strings.Contains(want, "missing")) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

// A client without the member that says what it is for is skipped for that.
func TestSkippedForAnAbsentMember(t *testing.T) {
	for text, want := range map[string]string{
		`{"IdentityServer":{"Clients":{"app1":{"Profile":"IdentityServerSPA"}}}}`:       "identityserver app1 skipped: AllowedGrantTypes is missing",
		`[{"ClientId":"a","AllowedGrantTypes":null}]`:                                   "identityserver a skipped: AllowedGrantTypes is missing",
		`[{"ClientId":"a","AllowedGrantTypes":[]}]`:                                     "identityserver a skipped: its AllowedGrantTypes are without",
		`[{"client_id":"a","client_secret_expires_at":0}]`:                              "hydra a skipped: grant_types is missing",
		`[{"clientId":"a","secret":"s","protocolMappers":[]}]`:                          "keycloak a skipped: serviceAccountsEnabled is missing",
		`[{"ClientId":"a","ClientSecret":"s","UserPoolId":"p","ExplicitAuthFlows":[]}]`: "cognito a skipped: AllowedOAuthFlows is missing",
	} {
		format, want, _ := strings.Cut(want, " ")
		if got := plans(t, format, text, nil); len(got) != 1 || !strings.HasPrefix(row(got[0]), want) {
			t.Errorf("%s: %+v, want %s", text, got, want)
		}
	}
}
