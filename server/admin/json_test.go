package admin_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/server/admin"
)

// The examples of RFC 7396 appendix A.
func TestMergePatch(t *testing.T) {
	for _, row := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		t.Run(row[0]+" "+row[1], func(t *testing.T) {
			target, patch := must(admin.Parse([]byte(row[0])))(t), must(admin.Parse([]byte(row[1])))(t)
			if got := string(must(admin.Merge(target, patch))(t)); got != row[2] {
				t.Errorf("%s, want %s", got, row[2])
			}
		})
	}
}

// tree returns what encoding/json reads.
func tree(t *testing.T, text []byte) (v any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestMistakesOfForm: a value of another kind is told with its place, in the words of
// the API, and so is each member of several.
func TestMistakesOfForm(t *testing.T) {
	ts := newPlace(t).serve(t, allScopes)
	for body, want := range map[string]string{
		`{"resource_server":"yes"}`:                                  `/resource_server: it must be true or false`,
		`{"api_key":0}`:                                              `/api_key: it must be true or false`,
		`{"scopes":{}}`:                                              `/scopes: it must be a list`,
		`{"scopes":["orders:read",[]]}`:                              `/scopes/1: it must be a string`,
		`{"labels":[]}`:                                              `/labels: it must be an object of strings`,
		`{"tokens":[]}`:                                              `/tokens: it must be an object`,
		`{"tokens":{"lifetime":300}}`:                                `/tokens/lifetime: it must be a string`,
		`{"tokens":{"lifetime":"5 minutes"}}`:                        `/tokens/lifetime: it must be a duration as 15m`,
		`{"tokens":{"policy":true}}`:                                 `/tokens/policy: it must be a string`,
		`{"tokens":{"life":1}}`:                                      `/tokens/life: unknown member: allowed are lifetime, algorithm, policy, claims, certificate_bound, dpop_bound`,
		`{"authentication":{"jwks":"{}"}}`:                           `/authentication/jwks: it must be a JSON object`,
		`{"authentication":{"keys":1}}`:                              `/authentication/keys: unknown member: allowed are jwks, jwks_uri, certificate, thumbprints, federation`,
		`{"authentication":{"certificate":1}}`:                       `/authentication/certificate: it must be an object`,
		`{"authentication":{"federation":[{"issuer":1}]}}`:           `/authentication/federation/0/issuer: it must be a string`,
		`{"authentication":{"federation":[{"a/b":1}]}}`:              `/authentication/federation/0/a~1b: unknown member: allowed are issuer, claims`,
		`{"expires":1}`:                                              `/expires: it must be a time as 2027-01-31T09:00:00Z (RFC 3339)`,
		`{"addresses":[1]}`:                                          `/addresses/0: it must be a network or an address such as 192.0.2.0/24`,
		`{"tokens":{"claims":{"a":1},"policy":1},"name":1,"zone":1}`: `/name: it must be a string; /tokens/claims/a: it must be a string; /zone: unknown member`,
	} {
		got := ask(t, ts, "POST", "/v1/realms/acme/clients", body, "Content-Type", "application/json")
		var p admin.Problem
		if err := json.Unmarshal([]byte(got.body), &p); err != nil || got.status != 422 {
			t.Errorf("%s: %d %s", body, got.status, got.body)
			continue
		}
		told := make([]string, len(p.Faults))
		for i, f := range p.Faults {
			told[i] = f.Pointer + ": " + f.Detail
		}
		if all := strings.Join(told, "; "); !strings.HasPrefix(all, want) || strings.Count(all, "; /") != strings.Count(want, "; /") {
			t.Errorf("%s: %s, want %s", body, all, want)
		}
	}
}

// What is read is what encoding/json reads, or is refused in one line; nothing
// that is merged and decoded makes trouble.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, all, `{"a":{"a":1,"a":2}}`, `[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]`, `{"name":"\ud800"}`, `{"labels":{"a":null}}`, `{"expires":"9999-12-31T23:59:59-23:59"}`,
		`1e999`, `{"a"`, `{"a":1}}`, `nul`, `{"client_id":"x","api_key":true}`, "\xff", `{"scopes":[null]}`, `{"authentication":{"federation":[{"issuer":"a","claims":{}}]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := admin.Parse(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x00") || len(err.Error()) > 200 {
				t.Errorf("error %q", err)
			}
			return
		}
		got, want := tree(t, v), tree(t, text)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
		if _, err := admin.Merge(v, v); err != nil {
			t.Errorf("%s cannot be merged with itself: %v", v, err)
		}
		n, faults := admin.Decode(v)
		if faults > 0 {
			return
		}
		again, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := admin.Parse(again); err != nil {
			t.Errorf("%s cannot be read: %v", again, err)
		} else if m, faults := admin.Decode(back); faults > 0 || !reflect.DeepEqual(m.ID, n.ID) {
			t.Errorf("%s is decoded with %d faults", again, faults)
		}
	})
}
