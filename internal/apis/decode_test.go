package apis_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/apis"
)

type inner struct {
	Word *string `json:"word"`
}

// yes is a type that reads its own JSON.
type yes bool

func (y *yes) UnmarshalJSON(text []byte) error {
	if *y = string(text) == `"yes"`; !*y {
		return errors.New("say yes")
	}
	return nil
}

type sample struct {
	inner
	Number int64     `json:"number"`
	Flag   bool      `json:"flag"`
	At     time.Time `json:"at"`
	Inner  *inner    `json:"inner"`
	List   []inner   `json:"list"`
	Share  *float64  `json:"share"`
	Yes    yes       `json:"yes"`
	Hidden string    `json:"-"`
}

func TestDecode(t *testing.T) {
	word := "x"
	at := time.Date(2026, 3, 17, 9, 0, 0, 0, time.UTC)
	tests := []struct {
		name, text string
		want       sample
		words      string // of the error
	}{
		{"all", `{"word":"x","number":-7,"flag":true,"at":"2026-03-17T09:00:00Z","inner":{"word":"x"},"list":[{"word":"x"},{}]}`,
			sample{inner: inner{&word}, Number: -7, Flag: true, At: at, Inner: &inner{&word}, List: []inner{{&word}, {}}}, ""},
		{"nothing", ` {} `, sample{}, ""},
		{"null is nothing", `{"word":null,"number":null,"at":null,"inner":null,"list":null}`, sample{}, ""},
		{"escaped name", `{"n\u0075mber":7}`, sample{Number: 7}, ""},
		{"escaped name twice", `{"n\u0075mber":7,"number":7}`, sample{}, "field number stands twice"},
		{"other case", `{"Number":7,"INNER":{"Word":"x"},"lisT":[{"wOrd":"x"}]}`, sample{Number: 7, Inner: &inner{&word}, List: []inner{{&word}}}, ""},
		{"two cases", `{"Number":7,"number":7}`, sample{}, "field number stands twice: its case makes no difference"},
		{"two cases and a null", `{"number":7,"NUMBER":null}`, sample{}, "field number stands twice"},
		{"two cases inside", `{"inner":{"word":"x","WORD":"y"}}`, sample{}, "field word stands twice in inner"},
		{"wrong in another case", `{"NUMBER":"7"}`, sample{}, "number must be a whole number"},
		{"unknown", `{"Numbers":7}`, sample{}, `unknown field "Numbers": allowed are word, number, flag, at, inner, list, share, yes`},
		{"hidden field", `{"Hidden":"x"}`, sample{}, `unknown field "Hidden"`},
		{"name of 40", `{"` + strings.Repeat("é", 40) + `":1}`, sample{}, `unknown field "` + strings.Repeat("é", 40) + `": allowed`},
		{"name of 41", `{"` + strings.Repeat("é", 41) + `":1}`, sample{}, `unknown field "` + strings.Repeat("é", 40) + `…": allowed`},
		{"name with a line break", `{"a\nb":1}`, sample{}, `unknown field "a\nb"`},
		{"inside a list", `{"list":[{},{"word":1}]}`, sample{}, "list[1].word must be a string"},
		{"unknown inside a list", `{"list":[{"x":1}]}`, sample{}, `unknown field "x" in list[0]`},
		{"inner that is no object", `{"inner":7}`, sample{}, "inner must be a JSON object"},
		{"list that is no array", `{"list":{}}`, sample{}, "list must be an array"},
		{"null in a list", `{"list":[{},null]}`, sample{}, "list[1] must not be null"},
		{"flag in words", `{"flag":"yes"}`, sample{}, "flag must be true or false"},
		{"number in words", `{"number":"7"}`, sample{}, "number must be a whole number"},
		{"twice in an inner object", `{"inner":{"word":"x","word":"x"}}`, sample{}, "field word stands twice in inner"},
		{"time as number", `{"at":1}`, sample{}, "at must be a date-time with an offset"},
		{"time without seconds", `{"at":"2026-03-17T09:00Z"}`, sample{}, "at must be a date-time with an offset"},
		{"share", `{"share":0.5}`, sample{Share: new(0.5)}, ""},
		{"share in words", `{"share":"half"}`, sample{}, "share must be a number"},
		{"own type", `{"yes":"yes"}`, sample{Yes: true}, ""},
		{"null of an own type", `{"yes":null}`, sample{}, ""},
		{"own type that is wrong", `{"yes":1}`, sample{}, "yes: say yes"},
		{"nothing at all", ``, sample{}, "unexpected end"},
		{"two", `{}{}`, sample{}, "after top-level value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got sample
			err := apis.Decode([]byte(tt.text), &got)
			if tt.words != "" {
				if err == nil || !strings.Contains(err.Error(), tt.words) {
					t.Errorf("error %v, want %q", err, tt.words)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, error %v", got, err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{`{}`, `{"number":1e400}`, `{"list":[{"word":"\ud800"}]}`, `{"at":"2026-03-17T09:00:00Z"}`, `{"number":1,"number":2}`, `{"Number":1,"nUMBER":2}`, `[`, `nul`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var got sample
		if err := apis.Decode(text, &got); err != nil && strings.ContainsAny(err.Error(), "\n\r\x00") {
			t.Errorf("error of more than one line: %q", err)
		}
	})
}

func TestText(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		optional    bool
		want        string // of the error
	}{
		{"one character", "é", false, ""},
		{"ten characters", strings.Repeat("é", 10), false, ""},
		{"eleven characters", strings.Repeat("é", 11), false, "x has 11 characters: at most 10 are allowed"},
		{"left out", "", true, ""},
		{"missing", "", false, "x is missing"},
		{"blank", " ", false, "x is missing"},
		{"blank, though optional", " ", true, "x is missing"},
		{"two lines", "a\nb", true, "x has a control character"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := apis.CheckText("x", tt.value, 10, tt.optional)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
