package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/provider"
)

// inUTF16 is text as a shell of Windows writes it.
func inUTF16(text string) string {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return string(b)
}

// An answer of the token endpoint that begins with a byte order mark, or is UTF-16,
// is read as what it is.
func TestTokenAnswerWithByteOrderMark(t *testing.T) {
	const good, refused = `{"access_token":"t","token_type":"Bearer","expires_in":60}`, `{"error":"invalid_scope"}`
	for _, row := range []struct {
		name, body string
		status     int
		err        string
	}{
		{"plain", good, 200, ""},
		{"byte order mark", "\ufeff" + good, 200, ""},
		{"UTF-16", inUTF16(good), 200, ""},
		{"UTF-16 without a mark", inUTF16(good)[2:], 200, "it is UTF-16 without a byte order mark"},
		{"two byte order marks", "\ufeff\ufeff" + good, 200, "it is not a JSON object"},
		{"refusal with byte order mark", "\ufeff" + refused, 400, "refuses the scope"},
		{"refusal in UTF-16", inUTF16(refused), 400, "refuses the scope"},
	} {
		t.Run(row.name, func(t *testing.T) {
			endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(row.status)
				_, _ = io.WriteString(w, row.body)
			}))
			t.Cleanup(endpoint.Close)
			p, err := provider.Builtin("oauth2")
			if err != nil {
				t.Fatal(err)
			}
			source, err := client.New(client.Config{Provider: p, TokenURL: endpoint.URL, ClientID: "c", ClientSecret: client.Static(counterfoil.Secret("s")), HTTP: endpoint.Client().Transport})
			if err != nil {
				t.Fatal(err)
			}
			_, err = source.Token(t.Context())
			if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got %v, want %q", err, row.err)
			}
		})
	}
}
