package admin_test

import (
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
			if got := string(must(json.Marshal(admin.Merge(target, patch)))(t)); got != row[2] {
				t.Errorf("%s, want %s", got, row[2])
			}
		})
	}
}

// What is read is what encoding/json reads, or is refused in one line; nothing
// that is merged and bound makes trouble.
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
		var want any
		dec := json.NewDecoder(strings.NewReader(string(text)))
		dec.UseNumber()
		if err := dec.Decode(&want); err != nil || !reflect.DeepEqual(v, want) {
			t.Fatalf("%v, want %v, error %v", v, want, err)
		}
		n, faults := admin.Bind(v)
		if faults > 0 {
			return
		}
		again, err := json.Marshal(n)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := admin.Parse(again); err != nil {
			t.Errorf("%s cannot be read: %v", again, err)
		} else if m, faults := admin.Bind(back); faults > 0 || !reflect.DeepEqual(m.ID, n.ID) {
			t.Errorf("%s is bound with %d faults", again, faults)
		}
		admin.Merge(v, want)
	})
}
