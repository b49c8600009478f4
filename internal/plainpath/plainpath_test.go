package plainpath_test

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/plainpath"
)

func TestPlain(t *testing.T) {
	for p, want := range map[string]bool{
		"/":                      true,
		"/a55/api/v1/wallets":    true,
		"/a55/api/v1/":           true,
		"/a-b._c~d/$&'()*+,=:@!": true,
		"/a/%20b/%C3%A9/%c3%a9":  true,
		"/a/100%25":              true,
		"/a/50%25%20off":         true,
		"/a/...":                 true,
		"/a/.b":                  true,
		"/a%3Bb":                 true, // a semicolon in an identifier
		"":                       false,
		"a":                      false,
		"*":                      false,
		"//":                     false,
		"//a":                    false,
		"/a//b":                  false,
		"/a/b//":                 false,
		"/.":                     false,
		"/..":                    false,
		"/a/./b":                 false,
		"/a/../b":                false,
		"/a/%2e%2e/b":            false,
		"/a/.%2E/b":              false,
		"/a/%2e":                 false,
		"/a;v=1/b":               false,
		"/a/..;/b":               false,
		`/a\b`:                   false,
		"/a%5Cb":                 false,
		"/a%2Fb":                 false,
		"/a%2fb":                 false,
		"/a%252Fb":               false,
		"/a%2525":                false,
		"/to%6ben":               false,
		"/%41":                   false,
		"/%7E":                   false,
		"/a%00":                  false,
		"/a%0d%0ab":              false,
		"/a%7f":                  false,
		"/a%c0%af":               false, // an overlong slash
		"/a%ff":                  false,
		"/é":                     false,
		"/a b":                   false,
		"/a#b":                   false,
		"/a%":                    false,
		"/a%2":                   false,
		"/a%zz":                  false,
		"/a%4g":                  false,
	} {
		if got := (plainpath.Options{}).Plain(p); got != want {
			t.Errorf("%q: %v", p, got)
		}
	}
	// An API whose identifiers may have any character.
	for p, want := range map[string]bool{
		"/a%2Fb": true, "/a%2fb": true, "/a%252Fb": true, "/a%5Cb": true, `/a\b`: false, "/%2e%2e": false, "/a//b": false, "/to%6ben": false, "/a%00": false,
	} {
		if got := (plainpath.Options{EncodedSlash: true}).Plain(p); got != want {
			t.Errorf("%q with slashes: %v", p, got)
		}
	}
}

// The request line decides, whatever a handler in front has made of the URL.
func TestOK(t *testing.T) {
	at := func(path, raw string) *url.URL { return &url.URL{Path: path, RawPath: raw} }
	for name, tt := range map[string]struct {
		r    http.Request
		want bool
	}{
		"plain":                          {http.Request{RequestURI: "/a?b=//../%2F", URL: at("/a", "")}, true},
		"rewritten":                      {http.Request{RequestURI: "/a%2Fb", URL: at("/a/b", "")}, false},
		"stripped":                       {http.Request{RequestURI: "/x/a", URL: at("", "")}, true},
		"rewritten to no path":           {http.Request{RequestURI: "/a", URL: at("/..", "")}, true},
		"the absolute form":              {http.Request{RequestURI: "https://h/a", URL: &url.URL{Host: "h", Path: "/a"}}, true},
		"the absolute form, no path":     {http.Request{RequestURI: "https://h", URL: &url.URL{Host: "h"}}, true},
		"the absolute form, not plain":   {http.Request{RequestURI: "https://h/a//b", URL: &url.URL{Host: "h", Path: "/a//b"}}, false},
		"the absolute form, needless":    {http.Request{RequestURI: "https://h/%61", URL: &url.URL{Host: "h", Path: "/a", RawPath: "/%61"}}, false},
		"all of a server":                {http.Request{RequestURI: "*", URL: at("*", "")}, false},
		"never on a wire":                {http.Request{URL: at("/a b", "")}, true},
		"never on a wire, and not plain": {http.Request{URL: at("/a/b", "/a%2Fb")}, false},
		"no URL":                         {http.Request{}, true},
	} {
		if got := (plainpath.Options{}).OK(&tt.r); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A plain path has no second spelling: encoding what it decodes to, segment by
// segment, gives it again, and nothing that decodes or cleans it finds another.
func FuzzPlain(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/a%2Fb", "/a%20b/", "/%2e", "/a;b", "/%25", "/%25%32%46", "/a//b", "/é", "/%c3%a9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !(plainpath.Options{}).Plain(s) {
			return
		}
		u, err := url.ParseRequestURI(s)
		if err != nil || u.Host != "" || u.RawQuery != "" {
			t.Fatalf("%q is no path: %v", s, err)
		}
		if strings.Count(u.Path, "/") != strings.Count(s, "/") || strings.ContainsAny(u.Path, "\\\x00\r\n") {
			t.Errorf("%q decodes to %q", s, u.Path)
		}
		if clean := path.Clean(u.Path); clean != u.Path && clean+"/" != u.Path {
			t.Errorf("%q decodes to %q, which is another spelling of %q", s, u.Path, clean)
		}
		if again, err := url.PathUnescape(u.Path); err == nil && again != u.Path {
			t.Errorf("%q decodes to %q, and that to %q", s, u.Path, again)
		}
		for i := range len(s) - 2 {
			if s[i] != '%' {
				continue
			}
			if c, err := url.PathUnescape(s[i : i+3]); err != nil || len(c) == 1 && url.PathEscape(c) == c && !strings.Contains("$&+=:@", c) {
				t.Errorf("%q has the needless escape %q", s, s[i:i+3])
			}
		}
	})
}
