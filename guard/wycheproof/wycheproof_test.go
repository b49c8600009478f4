package wycheproof

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
	"github.com/counterfoil/counterfoil/internal/jose"
	"github.com/counterfoil/counterfoil/provider"
)

// vectors are a file of them.
type vectors struct {
	NumberOfTests int
	TestGroups    []struct {
		Comment         string
		Public, Private json.RawMessage
		Tests           []vector
	}
}

// vector is a token and whether it is right.
type vector struct {
	ID       int `json:"tcId"`
	Comment  string
	Result   string
	JWS, JWE json.RawMessage
}

// token is the compact form, or the JSON that stands where that should.
func (v *vector) token() string {
	raw := v.JWS
	if raw == nil {
		raw = v.JWE
	}
	var text string
	if json.Unmarshal(raw, &text) != nil {
		return string(raw)
	}
	return text
}

// all are the algorithms that tokens are taken with.
var all = []string{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

func TestVectors(t *testing.T) {
	for file, differs := range differences {
		t.Run(file, func(t *testing.T) {
			text, err := fs.ReadFile(wycheproof.TestVectors, file+".json")
			if err != nil {
				t.Fatal(err)
			}
			var all vectors
			if err := json.Unmarshal(text, &all); err != nil {
				t.Fatal(err)
			}
			seen, used := 0, map[int]bool{}
			for _, g := range all.TestGroups {
				set := keySet(t, g.Public, g.Private)
				judges := map[string]func(string) error{"jose": byJose(set), "guard with static keys": byGuard(t, static(set)), "guard with remote keys": byGuard(t, remote(t, set))}
				for _, v := range g.Tests {
					seen++
					want := v.Result == "valid"
					if d := differs.of(v.ID); d != nil {
						want, used[v.ID] = !want, true
					}
					for name, judge := range judges {
						if err := judge(v.token()); (err == nil) != want {
							t.Errorf("%s: %d (%s, %s) is %s: got %v", name, v.ID, g.Comment, v.Comment, v.Result, err)
						}
					}
				}
			}
			if seen != all.NumberOfTests || seen == 0 {
				t.Errorf("%d vectors of %d", seen, all.NumberOfTests)
			}
			for _, d := range differs {
				for _, id := range d.ids {
					if !used[id] {
						t.Errorf("there is no vector %d that could differ", id)
					}
				}
			}
		})
	}
}

// keySet is the JWK Set of a group: of its public keys, or of the symmetric ones,
// which have no public half.
func keySet(t *testing.T, public, private json.RawMessage) string {
	t.Helper()
	if public == nil {
		public = private
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(public, &members); err != nil {
		t.Fatal(err)
	}
	if members["keys"] != nil {
		return string(public)
	}
	return `{"keys":[` + string(public) + `]}`
}

// byJose verifies as a caller that has the keys does.
func byJose(set string) func(string) error {
	keys, _, err := jose.ParseSet([]byte(set))
	return func(token string) error {
		if err != nil {
			return err
		}
		t, err := jose.Parse(token, all...)
		if err != nil {
			return err
		}
		named := keys[:0:0]
		for _, k := range keys {
			if k.ID == t.KeyID {
				named = append(named, k)
			}
		}
		key, ok := jose.Fit(named, t.Algorithm())
		if t.KeyID == "" {
			key, ok = jose.Fit(keys, t.Algorithm())
		}
		if !ok {
			return fmt.Errorf("no key of %d", len(keys))
		}
		_, err = t.Verify(key.Key)
		return err
	}
}

// static returns the keys of a set; nil if no key is usable.
func static(set string) guard.Keys {
	keys, err := guard.StaticKeys([]byte(set))
	if err != nil {
		return nil
	}
	return keys
}

// remote are the keys of a set that is published.
func remote(t *testing.T, set string) guard.Keys {
	t.Helper()
	place := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, set) }))
	t.Cleanup(place.Close)
	keys, err := guard.NewRemoteKeySet(guard.RemoteKeySetConfig{URL: place.URL, Client: place.Client(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Close)
	return keys
}

// byGuard judges by how far a guard gets with a token. The payload of the vectors
// is no set of claims, so it gets no further than to them, and to there only with
// a good signature.
func byGuard(t *testing.T, keys guard.Keys) func(string) error {
	t.Helper()
	if keys == nil {
		return func(string) error { return fmt.Errorf("no key of use") }
	}
	described, err := provider.Builtin("oauth2")
	if err == nil {
		described, err = described.Override(provider.Overrides{SigningAlgorithms: []provider.Algorithm{provider.AlgorithmRS256, provider.AlgorithmPS256, provider.AlgorithmES256, provider.AlgorithmEdDSA}})
	}
	if err != nil {
		t.Fatal(err)
	}
	var last counterfoil.Event
	g, err := guard.New(guard.Config{
		Provider: described, Issuer: "https://issuer.example", Keys: keys, Logger: slog.New(slog.DiscardHandler),
		OnEvent: func(_ context.Context, e counterfoil.Event) { last = e },
	})
	if err != nil {
		t.Fatal(err)
	}
	guarded := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a call got through without claims") }))
	return func(token string) error {
		r := httptest.NewRequest(http.MethodGet, "https://api.example/", nil)
		r.Header["Authorization"] = []string{"Bearer " + token}
		guarded.ServeHTTP(httptest.NewRecorder(), r)
		if strings.HasPrefix(last.Detail, "claims: ") {
			return nil
		}
		return fmt.Errorf("%s: %s", last.Reason, last.Detail)
	}
}
