package jose_test

import (
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/jose"
)

// A key set may begin with a byte order mark, or be UTF-16 and be called so.
func TestKeySetWithByteOrderMark(t *testing.T) {
	const set = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	for name, row := range map[string]struct{ text, err string }{
		"plain":           {set, ""},
		"byte order mark": {"\ufeff" + set, ""},
		"UTF-16":          {"\xfe\xff\x00" + strings.Join(strings.Split(set, ""), "\x00"), ""},
		"no mark":         {"\x00" + strings.Join(strings.Split(set, ""), "\x00"), "UTF-16 without a byte order mark"},
	} {
		keys, _, err := jose.ParseSet([]byte(row.text))
		if (err == nil) != (row.err == "") || err == nil && len(keys) != 1 || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}
