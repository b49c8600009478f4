package ending_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/ending"
)

func TestParse(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]ending.Kind{
		ending.Format(at, ending.Secret):        ending.Secret,
		"@1767225600; other=1 ; kind=client":    ending.Client,
		"@1767225600;kind=\"secret\"":           "",
		"@1767225600;kind=new":                  "",
		"@1767225600":                           "",
		" @1767225600 ;kind=api_key;kind=later": ending.APIKey,
	} {
		if got, kind, ok := ending.Parse(http.Header{ending.Header: {text}}); !ok || !got.Equal(at) || kind != want {
			t.Errorf("%q: %v, %q, %t", text, got, kind, ok)
		}
	}
	for _, text := range []string{"", "@", "1767225600", "@+1", "@-1", "@1.5", "@99999999999999", "@253402300800", "@1e9", "@ 1", "Thu, 01 Jan 2026 00:00:00 GMT"} {
		if got, _, ok := ending.Parse(http.Header{ending.Header: {text}}); ok {
			t.Errorf("%q: %v", text, got)
		}
	}
	if _, _, ok := ending.Parse(http.Header{ending.Header: {"@1", "@2"}}); ok {
		t.Error("of two headers, one is taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("@1767225600;kind=secret")
	f.Add("@-1;;kind=")
	f.Fuzz(func(t *testing.T, text string) {
		at, kind, ok := ending.Parse(http.Header{ending.Header: {text}})
		if !ok {
			return
		}
		again, same, ok := ending.Parse(http.Header{ending.Header: {ending.Format(at, kind)}})
		if !ok || !again.Equal(at) || same != kind || at.Year() > 9999 {
			t.Errorf("%q: %v, %q", text, at, kind)
		}
	})
}
