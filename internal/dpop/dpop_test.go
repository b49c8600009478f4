package dpop_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/dpop"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/internal/jose/josetest"
	"github.com/counterfoil/counterfoil/internal/testkeys"
)

const tokenURL = "https://server.example.com/token"

var (
	epoch = time.Unix(1_800_000_000, 0)
	ecKey = sync.OnceValue(testkeys.EC)
	rsKey = sync.OnceValue(func() *rsa.PrivateKey { return testkeys.RSA().(*rsa.PrivateKey) })
	edKey = sync.OnceValue(testkeys.Ed25519)
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// header is that of a right proof.
func header(key crypto.Signer, algorithm string) string {
	return `{"typ":"dpop+jwt","alg":"` + algorithm + `","jwk":` + josetest.JWK(key.Public()) + `}`
}

// claims are those of a right proof for the token endpoint, with changes; nil
// removes a claim.
func claims(changes map[string]any) string {
	all := map[string]any{"jti": "id-1", "htm": "POST", "htu": tokenURL, "iat": epoch.Unix()}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return string(must(json.Marshal(all)))
}

func want() dpop.Want { return dpop.Want{Method: "POST", URL: tokenURL, Now: epoch} }

func TestVerifyTakesEveryAlgorithm(t *testing.T) {
	for algorithm, key := range map[string]crypto.Signer{jose.ES256: ecKey(), jose.RS256: rsKey(), jose.PS256: rsKey(), jose.EdDSA: edKey()} {
		t.Run(algorithm, func(t *testing.T) {
			proof := josetest.Token(key, header(key, algorithm), claims(nil))
			if algorithm == jose.PS256 {
				proof = josetest.PS256(rsKey(), header(key, algorithm), claims(nil))
			}
			got, err := dpop.Verify(proof, want())
			if err != nil {
				t.Fatal(err)
			}
			if got != (dpop.Proof{Thumbprint: josetest.Thumbprint(key.Public()), ID: "id-1", IssuedAt: got.IssuedAt}) || !got.IssuedAt.Equal(epoch) {
				t.Errorf("got %+v", got)
			}
			if !slices.Contains(dpop.Algorithms(), algorithm) {
				t.Errorf("%s is not among %v", algorithm, dpop.Algorithms())
			}
		})
	}
}

// The proofs of RFC 9449 sections 4.1 and 7.1, made by its authors for one key,
// the second with an access token.
func TestVerifyTakesTheProofsOfTheRFC(t *testing.T) {
	const head = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCR" +
		"nMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19."
	for _, tt := range []struct {
		name, proof, id string
		want            dpop.Want
	}{
		{"token request", head + "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwia" +
			"WF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg",
			"-BwC3ESc6acc2lTc", dpop.Want{Method: "POST", URL: tokenURL, Now: time.Unix(1562262616, 0)}},
		{"resource request", head + "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0Z" +
			"WRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9." +
			"2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA",
			"e1j3V_bKic8-LAEB", dpop.Want{Method: "GET", URL: "https://resource.example.org/protectedresource", Now: time.Unix(1562262618, 0),
				AccessToken: "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU", Thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := dpop.Verify(tt.proof, tt.want)
			if err != nil || p.ID != tt.id || p.Thumbprint != "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

func TestVerifyRefusesTheForm(t *testing.T) {
	key := ecKey()
	with := func(header string) string { return josetest.Token(key, header, claims(nil)) }
	right := header(key, jose.ES256)
	good := with(right)
	for _, tt := range []struct{ name, proof string }{
		{"nothing", ""},
		{"two proofs in one line", good + "," + good},
		{"another typ", with(strings.Replace(right, "dpop+jwt", "JWT", 1))},
		{"typ in another case", with(strings.Replace(right, "dpop+jwt", "DPOP+JWT", 1))},
		{"no typ", with(strings.Replace(right, `"typ":"dpop+jwt",`, "", 1))},
		{"no jwk", with(`{"typ":"dpop+jwt","alg":"ES256","kid":"k"}`)},
		{"private jwk", with(strings.Replace(right, `"kty"`, `"d":"AAAA","kty"`, 1))},
		{"symmetric", josetest.MAC([]byte("k"), `{"typ":"dpop+jwt","alg":"HS256","jwk":{"kty":"oct","k":"aw"}}`, claims(nil))},
		{"none", josetest.Encode(`{"typ":"dpop+jwt","alg":"none"}`) + "." + josetest.Encode(claims(nil)) + ".AA"},
		{"crit", with(strings.Replace(right, `{`, `{"crit":["x"],"x":1,`, 1))},
		{"another's key", with(header(testkeys.EC(), jose.ES256))},
		{"claims are an array", josetest.Token(key, right, `[]`)},
		{"a claim twice", josetest.Token(key, right, strings.Replace(claims(nil), `{`, `{"htm":"POST",`, 1))},
		{"over-large", josetest.Token(key, right, claims(map[string]any{"pad": strings.Repeat("x", jose.MaxToken)}))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if p, err := dpop.Verify(tt.proof, want()); !errors.Is(err, dpop.ErrInvalid) {
				t.Errorf("%+v, %v", p, err)
			}
		})
	}
}

func TestVerifyTheClaims(t *testing.T) {
	seconds := func(d time.Duration) int64 { return epoch.Add(d).Unix() }
	for _, tt := range []struct {
		name    string
		changes map[string]any
		want    error
	}{
		{"right", nil, nil},
		{"more claims", map[string]any{"ath": "x", "exp": 1, "sub": "me"}, nil},
		{"a minute old", map[string]any{"iat": seconds(-time.Minute)}, nil},
		{"older", map[string]any{"iat": seconds(-61 * time.Second)}, dpop.ErrInvalid},
		{"5 seconds in the future", map[string]any{"iat": seconds(5 * time.Second)}, nil},
		{"further", map[string]any{"iat": seconds(6 * time.Second)}, dpop.ErrInvalid},
		{"a part of a second", map[string]any{"iat": float64(epoch.Unix()) + 0.5}, nil},
		{"iat in milliseconds", map[string]any{"iat": epoch.UnixMilli()}, dpop.ErrInvalid},
		{"iat is text", map[string]any{"iat": fmt.Sprint(epoch.Unix())}, dpop.ErrInvalid},
		{"iat beyond all numbers", map[string]any{"iat": json.Number("1e999")}, dpop.ErrInvalid},
		{"negative iat", map[string]any{"iat": -1}, dpop.ErrInvalid},
		{"no iat", map[string]any{"iat": nil}, dpop.ErrInvalid},
		{"another method", map[string]any{"htm": "GET"}, dpop.ErrInvalid},
		{"method in lower case", map[string]any{"htm": "post"}, dpop.ErrInvalid},
		{"no method", map[string]any{"htm": nil}, dpop.ErrInvalid},
		{"another path", map[string]any{"htu": tokenURL + "s"}, dpop.ErrInvalid},
		{"another host", map[string]any{"htu": "https://other.example.com/token"}, dpop.ErrInvalid},
		{"path only", map[string]any{"htu": "/token"}, dpop.ErrInvalid},
		{"no htu", map[string]any{"htu": nil}, dpop.ErrInvalid},
		{"jti of 128", map[string]any{"jti": strings.Repeat("x", 128)}, nil},
		{"jti of 129", map[string]any{"jti": strings.Repeat("x", 129)}, dpop.ErrInvalid},
		{"empty jti", map[string]any{"jti": ""}, dpop.ErrInvalid},
		{"jti with a space", map[string]any{"jti": "a b"}, dpop.ErrInvalid},
		{"jti with a line break", map[string]any{"jti": "a\n"}, dpop.ErrInvalid},
		{"jti beyond ASCII", map[string]any{"jti": "é"}, dpop.ErrInvalid},
		{"jti is a number", map[string]any{"jti": 7}, dpop.ErrInvalid},
		{"no jti", map[string]any{"jti": nil}, dpop.ErrInvalid},
		{"nonce is a number", map[string]any{"nonce": 7}, dpop.ErrInvalid},
		{"a nonce that nobody demands", map[string]any{"nonce": "n"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := dpop.Verify(josetest.Token(ecKey(), header(ecKey(), jose.ES256), claims(tt.changes)), want())
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "example.com")) {
				t.Errorf("the error repeats the proof, or has more than a line: %v", err)
			}
		})
	}
}

// A time that nothing can be computed with is told from one that is over.
func TestVerifyNamesABrokenTime(t *testing.T) {
	for _, iat := range []string{"-1", "1e15", "1e300", "1e999", "true"} {
		payload := strings.Replace(claims(map[string]any{"iat": "X"}), `"X"`, iat, 1)
		_, err := dpop.Verify(josetest.Token(edKey(), header(edKey(), jose.EdDSA), payload), want())
		if !errors.Is(err, dpop.ErrInvalid) || !strings.Contains(err.Error(), "not a number of seconds") {
			t.Errorf("iat %s: %v", iat, err)
		}
	}
}

// What the caller demands: times of its own, a token, a key, a nonce.
func TestVerifyWhatTheCallerWants(t *testing.T) {
	sum := sha256.Sum256([]byte("token-1"))
	bound := map[string]any{"ath": josetest.Encode(string(sum[:]))}
	for _, tt := range []struct {
		name    string
		changes map[string]any
		set     func(*dpop.Want)
		want    error
	}{
		{"longer age", map[string]any{"iat": epoch.Unix() - 300}, func(w *dpop.Want) { w.MaxAge = 5 * time.Minute }, nil},
		{"shorter age", map[string]any{"iat": epoch.Unix() - 30}, func(w *dpop.Want) { w.MaxAge = 29 * time.Second }, dpop.ErrInvalid},
		{"more skew", map[string]any{"iat": epoch.Unix() + 30}, func(w *dpop.Want) { w.Skew = 30 * time.Second }, nil},
		{"the token", bound, func(w *dpop.Want) { w.AccessToken = "token-1" }, nil},
		{"another token", bound, func(w *dpop.Want) { w.AccessToken = "token-2" }, dpop.ErrInvalid},
		{"no ath", nil, func(w *dpop.Want) { w.AccessToken = "token-1" }, dpop.ErrInvalid},
		{"the key", nil, func(w *dpop.Want) { w.Thumbprint = josetest.Thumbprint(ecKey().Public()) }, nil},
		{"another key", nil, func(w *dpop.Want) { w.Thumbprint = josetest.Thumbprint(edKey().Public()) }, dpop.ErrInvalid},
		{"the nonce", map[string]any{"nonce": "fresh"}, func(w *dpop.Want) { w.Nonce = func(n string) bool { return n == "fresh" } }, nil},
		{"a stale nonce", map[string]any{"nonce": "stale"}, func(w *dpop.Want) { w.Nonce = func(n string) bool { return n == "fresh" } }, dpop.ErrUseNonce},
		{"no nonce, and nothing is not one", nil, func(w *dpop.Want) { w.Nonce = func(string) bool { return true } }, dpop.ErrUseNonce},
		{"an old proof with a nonce", map[string]any{"nonce": "fresh", "iat": 1}, func(w *dpop.Want) { w.Nonce = func(string) bool { return true } }, dpop.ErrInvalid},
		{"the caller has no method", map[string]any{"htm": ""}, func(w *dpop.Want) { w.Method = "" }, dpop.ErrInvalid},
		{"the caller has no URL", map[string]any{"htu": ""}, func(w *dpop.Want) { w.URL = "" }, dpop.ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := want()
			tt.set(&w)
			p, err := dpop.Verify(josetest.Token(ecKey(), header(ecKey(), jose.ES256), claims(tt.changes)), w)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if nonce, _ := tt.changes["nonce"].(string); err == nil && p.Nonce != nonce {
				t.Errorf("nonce %q", p.Nonce)
			}
		})
	}
}

func TestVerifyComparesURLs(t *testing.T) {
	for _, tt := range []struct {
		name, htu, url string
		ok             bool
	}{
		{"equal", "https://a.example/x", "https://a.example/x", true},
		{"scheme and host in upper case", "HTTPS://A.EXAMPLE/x", "https://a.example/x", true},
		{"path in upper case", "https://a.example/X", "https://a.example/x", false},
		{"default port", "https://a.example:443/x", "https://a.example/x", true},
		{"default port on the other side", "https://a.example/x", "https://a.example:443/x", true},
		{"empty port", "https://a.example:/x", "https://a.example/x", true},
		{"default port of http", "http://a.example:80/x", "http://a.example/x", true},
		{"default port of another scheme", "https://a.example:80/x", "https://a.example/x", false},
		{"another port", "https://a.example:8443/x", "https://a.example/x", false},
		{"another scheme", "http://a.example/x", "https://a.example/x", false},
		{"a port that ends like the default one", "https://a.example:8443/x", "https://a.example:8/x", false},
		{"IPv6", "https://[2001:DB8::1]:443/x", "https://[2001:db8::1]/x", true},
		{"IPv6 that ends like a port", "https://[2001:db8::443]/x", "https://[2001:db8:]/x", false},
		{"no path", "https://a.example", "https://a.example/", true},
		{"query and fragment", "https://a.example/x?a=1#f", "https://a.example/x?b=2", true},
		{"needless escapes", "https://a.example/%7Euser/%61%2D", "https://a.example/~user/a-", true},
		{"escapes in lower case", "https://a.example/a%2fb%c3%a9", "https://a.example/a%2Fb%C3%A9", true},
		{"an escaped slash is no slash", "https://a.example/a%2Fb", "https://a.example/a/b", false},
		{"an escaped question mark", "https://a.example/a%3Fb", "https://a.example/a?b", false},
		{"escaped twice", "https://a.example/%2561", "https://a.example/a", false},
		{"dot segments", "https://a.example/b/./c/../x", "https://a.example/b/x", true},
		{"escaped dot segments", "https://a.example/b/%2e%2E/x", "https://a.example/x", true},
		{"dots above the root", "https://a.example/../x/..", "https://a.example/", true},
		{"two slashes", "https://a.example//x", "https://a.example/x", false},
		{"slash at the end", "https://a.example/x/", "https://a.example/x", false},
		{"user", "https://me@a.example/x", "https://a.example/x", false},
		{"Kelvin sign for k", "https://\u212a.example/x", "https://k.example/x", false},
		{"broken escape", "https://a.example/%zz", "https://a.example/%zz", false},
		{"opaque", "https:a.example/x", "https://a.example/x", false},
		{"no host", "https:///x", "https:///x", false},
		{"port only", "https://:443/x", "https://:443/x", false},
		{"another scheme altogether", "ftp://a.example/x", "ftp://a.example/x", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := want()
			w.URL = tt.url
			proof := josetest.Token(edKey(), header(edKey(), jose.EdDSA), claims(map[string]any{"htu": tt.htu}))
			if _, err := dpop.Verify(proof, w); (err == nil) != tt.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(josetest.Token(ecKey(), header(ecKey(), jose.ES256), claims(nil)))
	f.Add(josetest.Token(ecKey(), header(ecKey(), jose.ES256), `{"iat":1e999}`))
	f.Add("..")
	f.Fuzz(func(t *testing.T, proof string) {
		p, err := dpop.Verify(proof, want())
		if err == nil && (len(p.Thumbprint) != 43 || p.ID == "" || p.IssuedAt.IsZero()) {
			t.Fatalf("%+v", p)
		}
		if err != nil && !errors.Is(err, dpop.ErrInvalid) {
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}

// FuzzVerifyURL signs what it is given: no URL breaks the comparison, and a URL
// that is taken is one that fits itself.
func FuzzVerifyURL(f *testing.F) {
	f.Add("https://a.example/%7Euser/../x", "https://a.example/x")
	f.Add("https://[::1]:443/%2e%2E", "HTTPS://[::1]")
	f.Add("https://%41/", "https://a:/?#")
	f.Fuzz(func(t *testing.T, htu, url string) {
		proof := josetest.Token(edKey(), header(edKey(), jose.EdDSA), claims(map[string]any{"htu": htu}))
		w := want()
		w.URL = url
		if _, err := dpop.Verify(proof, w); err != nil {
			if !errors.Is(err, dpop.ErrInvalid) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		for _, w.URL = range []string{htu, url} {
			if _, err := dpop.Verify(josetest.Token(edKey(), header(edKey(), jose.EdDSA), claims(map[string]any{"htu": url})), w); err != nil {
				t.Fatalf("%q fits %q, but not the other way round: %v", htu, url, err)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for algorithm, key := range map[string]crypto.Signer{jose.ES256: ecKey(), jose.RS256: rsKey(), jose.EdDSA: edKey()} {
		b.Run(algorithm, func(b *testing.B) {
			proof := josetest.Token(key, header(key, algorithm), claims(nil))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := dpop.Verify(proof, want()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What a Maker makes, Verify accepts.
func TestMaker(t *testing.T) {
	for algorithm, key := range map[string]crypto.Signer{"ES256": ecKey(), "PS256": rsKey(), "EdDSA": edKey()} {
		m := must(dpop.NewMaker(key, algorithm))
		for target, token := range map[string]string{tokenURL + "?q=1": "", "https://api.example.com": "a token"} {
			proof := must(m.Proof(dpop.Request{Method: "POST", URL: must(url.Parse(target)), AccessToken: token, Nonce: "n-1", Now: epoch}))
			p, err := dpop.Verify(proof, dpop.Want{Method: "POST", URL: target, Now: epoch, AccessToken: token, Thumbprint: m.Thumbprint()})
			if err != nil || p.Nonce != "n-1" || !p.IssuedAt.Equal(epoch) {
				t.Errorf("%s for %s: got %+v, %v", algorithm, target, p, err)
			}
		}
	}
}
