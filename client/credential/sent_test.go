package credential_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/provider"
)

// A client secret or an API key that cannot be meant is refused before it is sent,
// with the reference that it came from.
func TestNotToBeSent(t *testing.T) {
	dir := t.TempDir()
	asked := 0
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"t","token_type":"Bearer","expires_in":3600}`)
	}))
	t.Cleanup(endpoint.Close)
	more := credential.Schemes{
		"file": credential.Files{Dir: dir}.Open,
		"env":  credential.Env(func(string) string { return "a\tb" }),
		"any":  func(text string) (client.SecretFunc, error) { return client.Static(counterfoil.Secret(text)), nil },
	}
	for _, row := range []struct{ name, reference, text, err string }{
		{"good", "file:x", theSecret, ""},
		{"line end behind", "file:x", theSecret + "\r\n\n", ""},
		{"byte order mark", "file:x", "\ufeff" + theSecret, ""},
		{"UTF-16", "file:x", "\xff\xfes\x003\x00", ""},
		{"space inside", "file:x", "a b", ""},
		{"space behind, in quotes", "file:x#KEY", "KEY='a '", ""},
		{"no ASCII", "file:x", "naïve", ""},
		{"no UTF-8", "file:x", "a\xff", ""},
		{"line end before", "file:x", "\n" + theSecret, "secret file:x: it has a line end inside"},
		{"two lines", "file:x", theSecret + "\nx", "secret file:x: it has a line end inside"},
		{"NUL", "file:x", "abc\x00", "secret file:x: it has a NUL character"},
		{"tab", "file:x", theSecret + "\t", "secret file:x: it has a control character (U+0009)"},
		{"escape", "file:x", "\x1b[1m", "secret file:x: it has a control character (U+001B)"},
		{"delete", "file:x", "a\x7f", "secret file:x: it has a control character (U+007F)"},
		{"next line", "file:x", "a\u0085b", "secret file:x: it has a control character (U+0085)"},
		{"second byte order mark", "file:x", "\ufeff\ufeff" + theSecret, "secret file:x: it has a byte order mark inside"},
		{"space behind", "file:x", theSecret + " \n", "secret file:x: it begins or ends with a space"},
		{"UTF-16 without mark", "file:x", "s\x003\x00", "secret file:x: it is UTF-16 without"},
		{"a line's tab", "file:x#KEY", "KEY='a\tb'", "secret file:x#KEY: it has a control character"},
		{"environment", "env:NAME", "", "secret env:NAME: it has a control character (U+0009)"},
		{"another scheme", "any:a\ufeff", "", "secret any:a\ufeff: it has a byte order mark inside"},
	} {
		for _, as := range []string{"client secret", "API key"} {
			t.Run(row.name+", "+as, func(t *testing.T) {
				write(t, filepath.Join(dir, "x"), row.text)
				f, err := credential.Open(row.reference, more)
				if err != nil {
					t.Fatal(err)
				}
				name, c := "oauth2", client.Config{TokenURL: endpoint.URL, ClientID: "c", ClientSecret: f, HTTP: endpoint.Client().Transport}
				if as == "API key" {
					name, c.APIKey, c.ClientSecret = "altrata", f, client.Static(theSecret)
				}
				if c.Provider, err = provider.Builtin(name); err != nil {
					t.Fatal(err)
				}
				source, err := client.New(c)
				if err != nil {
					t.Fatal(err)
				}
				asked = 0
				_, err = source.Token(t.Context())
				if (err == nil) != (row.err == "") || err != nil && (!strings.Contains(err.Error(), row.err) || !strings.Contains(err.Error(), as)) {
					t.Errorf("got %v, want %q", err, row.err)
				}
				if row.err != "" && asked > 0 {
					t.Error("it was sent")
				}
				shows(t, theSecret, err)
			})
		}
	}
	// One that no reference gives is refused as well.
	p, err := provider.Builtin("oauth2")
	if err != nil {
		t.Fatal(err)
	}
	source, err := client.New(client.Config{Provider: p, TokenURL: endpoint.URL, ClientID: "c", ClientSecret: client.Static("a\nb"), HTTP: endpoint.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Token(t.Context()); err == nil || !strings.Contains(err.Error(), "it has a line end inside") {
		t.Errorf("got %v", err)
	}
}
