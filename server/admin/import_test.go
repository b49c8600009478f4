package admin_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/server/admin"
	"github.com/counterfoil/counterfoil/server/importer"
	"github.com/counterfoil/counterfoil/server/store"
)

// files are three clients in each format, with a broken row in the middle.
var files = map[string]string{
	"identityserver": `[{"ClientId":"a","AllowedGrantTypes":["client_credentials"],"AllowedScopes":["orders:read"],"ClientSecrets":[{"Value":"2nfcT03n6/x/Dhw/lWUA5cbA8jubD24bHofA6jkSb5k="}]},
		{"ClientId":"b","AllowedGrantTypes":["client_credentials"],"ClientSecrets":[{"Value":"not a hash"}]},
		{"ClientId":"c","AllowedGrantTypes":["client_credentials"],"ClientSecrets":[{"Value":"fU7fRb+g6YdlniuSqviOLWNkda1M/MuPtH6zNI9inF8="}]}]`,
	"hydra": `[{"client_id":"a","client_secret":"$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW","grant_types":["client_credentials"]},
		{"client_id":"b","client_secret":"$2a$06$broken","grant_types":["client_credentials"]},
		{"client_id":"c","client_secret":"$2a$06$N9qo8uLOickgx2ZMRZoMyeikSNqhNEMQQ9Ms7B5zzyRT0AiMpznNW","grant_types":["client_credentials"]}]`,
	"keycloak": `{"clients":[{"clientId":"a","enabled":true,"publicClient":false,"serviceAccountsEnabled":true,"protocol":"openid-connect","secret":"4Q1bZ0xN7sVd2LkPp9YtRuWcEaGfHj3M"},
		{"clientId":"b","enabled":true,"publicClient":false,"serviceAccountsEnabled":true,"protocol":"openid-connect","secret":17},
		{"clientId":"c","enabled":true,"publicClient":false,"serviceAccountsEnabled":true,"protocol":"openid-connect","secret":"4Q1bZ0xN7sVd2LkPp9YtRuWcEaGfHj3M"}]}`,
	"cognito": `{"UserPoolClient":{"ClientId":"a","ClientSecret":"1n00ov39d2dumfh8s2k5mj5adbcnpd4lo62t9g7nfql3rv6v4oe","AllowedOAuthFlows":["client_credentials"],"AllowedOAuthScopes":["orders:read"]}}
{"UserPoolClient":{"ClientId":"b","ClientSecret":"1n00ov39d2dumfh8s2k5mj5adbcnpd4lo62t9g7nfql3rv6v4oe","AllowedOAuthFlows":["client_credentials"],"AllowedOAuthScopes":["stars:read"]}}
{"UserPoolClient":{"ClientId":"c","ClientSecret":"1n00ov39d2dumfh8s2k5mj5adbcnpd4lo62t9g7nfql3rv6v4oe","AllowedOAuthFlows":["client_credentials"],"AllowedOAuthScopes":["orders:read"]}}
`,
	"plain": `{"client_id":"a","client_secret":"3f6a0c9b1e7d4825a0b6c3f19e8d7042"}
{"client_id":"b","client_secret":
{"client_id":"c","client_secret":"3f6a0c9b1e7d4825a0b6c3f19e8d7042"}
`,
}

// report is an admin.Report with its rows.
type report struct {
	admin.Report
	Rows []admin.Row
}

// whole reads a report, twice, and closes it.
func whole(t *testing.T, r admin.Report) report {
	t.Helper()
	v := report{Report: r}
	for range 2 {
		v.Rows = nil
		for row, err := range r.Rows() {
			if err != nil {
				t.Fatal(err)
			}
			v.Rows = append(v.Rows, row)
		}
		if len(v.Rows) != r.Len() {
			t.Errorf("%d of %d rows", len(v.Rows), r.Len())
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	return v
}

// A broken row in the middle keeps all from being imported; each row is
// accounted for, and the good ones come in when that is asked for.
func TestImportWithABrokenRow(t *testing.T) {
	for _, format := range importer.Formats() {
		t.Run(format, func(t *testing.T) {
			bothWays(t, func(t *testing.T, w way) {
				ctx := t.Context()
				do := func(i admin.Import) report {
					t.Helper()
					i.Format, i.File = format, strings.NewReader(files[format])
					return whole(t, must(w.ImportClients(ctx, "acme", i))(t))
				}
				expect := func(r report, applied bool, outcomes ...string) {
					t.Helper()
					var got []string
					for _, row := range r.Rows {
						got = append(got, row.Outcome)
					}
					if r.Applied != applied || !slices.Equal(got, outcomes) || r.Failed != "" {
						t.Errorf("%+v\nwant %v", r, outcomes)
					}
				}
				there := func(want int) {
					t.Helper()
					if page := must(w.Clients(ctx, store.ClientQuery{Realm: "acme"}))(t); len(page.Clients) != want {
						t.Errorf("the realm has %d clients, want %d", len(page.Clients), want)
					}
				}
				expect(do(admin.Import{DryRun: true}), false, "created", "refused", "created")
				r := do(admin.Import{})
				expect(r, false, "created", "refused", "created")
				if broken := r.Rows[1]; broken.Detail == "" || broken.Place == "" || !maps.Equal(r.Counts, map[string]int{"refused": 1, "created": 2}) {
					t.Errorf("%+v", r)
				}
				there(0)
				expect(do(admin.Import{Partial: true}), true, "created", "refused", "created")
				there(2)
				expect(do(admin.Import{Partial: true}), true, "unchanged", "refused", "unchanged")
				if e := w.last(t); e.Type != "client.imported" || e.Actor != w.actor {
					t.Errorf("recorded %+v", e)
				}
			})
		})
	}
}

// A file that is larger than an import may be is refused with words.
func TestImportTooLarge(t *testing.T) {
	p := newPlace(t)
	_, err := p.remote(t, allScopes).ImportClients(t.Context(), "acme", admin.Import{Format: "plain", File: endless{}})
	if err == nil || !strings.Contains(err.Error(), "larger than 64 MiB") {
		t.Errorf("error %v", err)
	}
}

// endless is a file of empty lines without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = '\n'
	}
	return len(b), nil
}

// What the command line can say of an import, the Admin API can.
func TestChoicesOfAnImport(t *testing.T) {
	const two = `[{"realm":"one","clients":[{"clientId":"a","serviceAccountsEnabled":true,"secret":"${A_SECRET}","attributes":{"access.token.lifespan":"86400"}}]},
		{"realm":"two","clients":[{"clientId":"b","serviceAccountsEnabled":true,"secret":"4Q1bZ0xN7sVd2LkPp9YtRuWcEaGfHj3M"}]}]`
	bothWays(t, func(t *testing.T, w way) {
		for _, tt := range []struct {
			name   string
			choice admin.Import
			want   []string
		}{
			{"none", admin.Import{}, []string{"a refused", "b created"}},
			{"a realm", admin.Import{FromRealm: "two"}, []string{"b created"}},
			{"literal secrets", admin.Import{LiteralSecrets: true}, []string{"a refused", "b created"}},
			{"shorter lifetimes", admin.Import{CapLifetime: true}, []string{"a refused", "b created"}},
			{"both", admin.Import{LiteralSecrets: true, CapLifetime: true}, []string{"a created", "b created"}},
			{"all three", admin.Import{LiteralSecrets: true, CapLifetime: true, FromRealm: "one"}, []string{"a created"}},
		} {
			i := tt.choice
			i.Format, i.DryRun, i.File = "keycloak", true, strings.NewReader(two)
			var got []string
			for _, row := range whole(t, must(w.ImportClients(t.Context(), "acme", i))(t)).Rows {
				got = append(got, row.ClientID+" "+row.Outcome)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
			}
		}
		for choice, says := range map[string]admin.Import{
			`no realm "three": its realms are one, two`: {Format: "keycloak", FromRealm: "three", File: strings.NewReader(two)},
			"name no realms":                       {Format: "cognito", FromRealm: "one", File: strings.NewReader("{}")},
			"is of the format keycloak, not hydra": {Format: "hydra", File: strings.NewReader(two)},
			"UTF-16 without a byte order mark":     {Format: "keycloak", File: strings.NewReader("[\x00]\x00")},
		} {
			if _, err := w.ImportClients(t.Context(), "acme", says); err == nil || !strings.Contains(err.Error(), choice) {
				t.Errorf("%s: %v", choice, err)
			}
		}
	})
}
