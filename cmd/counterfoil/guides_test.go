package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
)

// refusedTokens are the bodies of the 401 that each guide has for a token that
// has expired; a55's has none, and this is ours.
var refusedTokens = map[string]string{
	"ahotu":     `{"errors":[{"message":"Unauthorized","extensions":{"code":"UNAUTHENTICATED"}}]}`,
	"altrata":   `{"errors":[{"message":"Unauthorized","extensions":{"code":"UNAUTHENTICATED"}}]}`,
	"engagifii": `{"error":"invalid_token","error_description":"The access token expired"}`,
	"a55":       `{"error":{"code":"UNAUTHORIZED","message":"The access token is invalid or has expired"}}`,
}

// expiredTokens are tokens of each provider that were good for a second.
func expiredTokens(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	var pending []*wire
	for _, provider := range missionProviders {
		w := guided(t, provider, 2)
		args := []string{"client", "create", provider, "--lifetime", "1s", "--scope", w.env.Get("API_SCOPE"), "-o", "json"}
		if tenant := w.env.Get("TENANT_CODE"); tenant != "" {
			args = append(args, "--tenant", tenant)
		}
		c := credentialsOf(t, manage(t, args...))
		token, err := source(t, provider, func(config *client.Config) {
			config.ClientID, config.ClientSecret = c.ClientID, client.Static(counterfoil.Secret(c.ClientSecret))
			if c.APIKey != "" {
				config.APIKey = client.Static(counterfoil.Secret(c.APIKey))
			}
		}).Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.held = token.Value.Reveal()
		all[provider], pending = w.held, append(pending, w)
	}
	for _, w := range pending {
		waitFor(t, func() bool {
			req := w.request(http.MethodGet, w.env.Get("API_BASE_URL"), "")
			req.Header.Set("Content-Type", "application/json")
			_, body, _ := w.send(req)
			return strings.TrimSpace(body) == refusedTokens[w.provider]
		})
	}
	return all
}

// Programs that are written in other languages from the guides, with the library
// that people use there, work as they stand: token, list, one of the list, a
// token that has expired and the retry. They know the environment file and
// trust the development authority in the way of their language; before they do,
// they refuse the server.
func TestGuidesInOtherLanguages(t *testing.T) {
	sources, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	stale := expiredTokens(t)
	for _, language := range []struct {
		name  string
		needs []string // programs, and packages of testdata/interop
		// Lines of a shell, in a directory of their own that is HOME as well.
		build, trust, run string
	}{
		{name: "Python with requests", needs: []string{"/usr/bin/python3"}, run: `/usr/bin/python3 "$SOURCES/consumer.py"`},
		{name: "Node with fetch", needs: []string{"node"}, run: `node "$SOURCES/consumer.mjs"`},
		{name: "Node with axios", needs: []string{"node", "testdata/interop/node_modules/axios"}, run: `node "$SOURCES/interop/axios.mjs"`},
		{
			name: "Java with java.net.http", needs: []string{"javac", "java", "keytool"},
			build: `javac -d . "$SOURCES/Consumer.java"; touch options`,
			trust: `keytool -importcert -noprompt -alias counterfoil -file "$SSL_CERT_FILE" -keystore trust.jks -storetype JKS -storepass changeit
echo -Djavax.net.ssl.trustStore=trust.jks >options`,
			run: `java @options -cp . Consumer`,
		},
		{
			name: "C# with HttpClient", needs: []string{"mcs", "mono", "cert-sync"},
			build: `mcs -r:System.Net.Http -out:consumer.exe "$SOURCES/consumer.cs"`,
			trust: `cert-sync --user "$SSL_CERT_FILE"`,
			run:   `mono consumer.exe`,
		},
	} {
		t.Run(language.name, func(t *testing.T) {
			for _, name := range language.needs {
				_, missing := exec.LookPath(name)
				if strings.HasPrefix(name, "testdata") {
					_, missing = os.Stat(name)
				}
				if missing != nil {
					t.Fatalf("%v: run 'make needs'", missing)
				}
			}
			setting := fmt.Sprintf("set -e; SOURCES='%s'; HOME='%s'; cd \"$HOME\"\n", sources, t.TempDir())
			shared.sourced(t, "a55", setting+language.build).good(t)

			untrusted := shared.sourced(t, "a55", setting+"unset "+strings.Join(varsCA, " ")+"\n"+language.run+" a55 none")
			if untrusted.code == 0 || untrusted.out != "" || !strings.Contains(strings.ToLower(untrusted.err), "certificat") {
				t.Errorf("with an authority that is not trusted: exit %d, printed %s\n%s", untrusted.code, untrusted.out, untrusted.err)
			}

			shared.sourced(t, "a55", setting+language.trust).good(t)
			for _, provider := range missionProviders {
				t.Run(provider, func(t *testing.T) {
					got := shared.sourced(t, provider, setting+language.run+" "+provider+" "+stale[provider]).good(t)
					_, rest, _ := strings.Cut(got.out, "\nlist ")
					id, _, _ := strings.Cut(rest, "\n")
					want := fmt.Sprintf("token 200\ncall 200\nlist %[1]s\ncall 200\none %[1]s\ncall 401 %[2]s\ntoken 200\ncall 200\none %[1]s\n", id, refusedTokens[provider])
					if len(id) < 10 || got.out != want {
						t.Errorf("printed\n%s\nwant\n%s%s", got.out, want, got.err)
					}
				})
			}
		})
	}
}
