package strict_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/strict"
)

// form has a field of each kind.
type form struct {
	Text    string            `yaml:"text"`
	Number  int               `yaml:"number"`
	Truth   bool              `yaml:"truth"`
	Length  time.Duration     `yaml:"length"`
	Any     any               `yaml:"any"`
	List    []string          `yaml:"list"`
	Map     map[string]string `yaml:"map"`
	Items   []item            `yaml:"items"`
	Ignored string
}

// Each kind of field says what it takes, and takes that.
func TestKinds(t *testing.T) {
	for text, want := range map[string]string{
		"text: a":           "",
		"text: '1'":         "",
		"text: 1":           "1:7: text: this must be text: put it into quotes",
		"text: 1.5":         "1:7: text: this must be text: put it into quotes",
		"text: true":        "1:7: text: this must be text: put it into quotes",
		"text: [a]":         "1:7: text: this must be a single value",
		"text: {a: b}":      "this must be a single value",
		"text:":             `1:1: "text" has no value`,
		"text: null":        `1:1: "text" has no value`,
		"number: 7":         "",
		"number: 1.5":       `1:9: number: "1.5" is not a whole number`,
		"truth: true":       "",
		"truth: false":      "",
		"truth: yes":        `1:8: truth: "yes" is neither true nor false (allowed: true, false)`,
		"truth: 1":          `1:8: truth: "1" is neither true nor false (allowed: true, false)`,
		"length: 90s":       "",
		"length: 0s":        "",
		"length: -1s":       `1:9: length: "-1s" is not a length of time`,
		"length: 90":        `1:9: length: "90" is not a length of time`,
		"length: [90s]":     "is not a length of time",
		"any: a":            "",
		"any: 7":            "",
		"any: 1.5":          "1:6: any: 1.5 must be text or a whole number",
		"any: true":         "1:6: any: true must be text or a whole number",
		"list: [a, b]":      "",
		"list: a":           `1:7: list: this must be a list`,
		"list: [a, 1]":      "1:11: list: this must be text",
		"list: [a, ~]":      "1:11: list: this must be text",
		"map: {a: b}":       "",
		"map: {}":           "",
		"map: a":            `1:6: map: this must be a mapping of "key: value" lines`,
		"map: [a]":          `1:6: map: this must be a mapping of "key: value" lines`,
		"map: {a: 1}":       "1:10: a: this must be text",
		"items: [{}]":       "",
		"items: [red]":      `1:9: items: this must be a mapping of "key: value" lines (allowed: colour)`,
		"items: [{a: b}]":   `1:10: unknown field "a" (allowed: colour)`,
		"Ignored: a":        `1:1: unknown field "Ignored" (allowed: text, number, truth, length, any, list, map, items)`,
		"ignored: a":        `unknown field "ignored"`,
		"\"\": a":           `unknown field ""`,
		"- a":               `1:1: this must be a mapping of "key: value" lines (allowed: text, `,
		"a":                 `1:1: this must be a mapping of "key: value" lines (allowed: text, `,
		"":                  "1:1: the file is empty (allowed: text, ",
		"# nothing":         "1:1: the file is empty",
		"~":                 "1:1: the file is empty",
		"---\n":             "1:1: the file is empty",
		"text: a\n---\n":    "",
		"--- a\n--- b\n":    "2:5: a second document: one file holds one",
		"text: a\ntext: b":  "2:1: ",
		"text: a\nlist: [b": "2:",
	} {
		_, err := strict.Decode[form]("f.yaml", []byte(text))
		switch {
		case want == "" && err != nil, want != "" && err == nil:
			t.Errorf("%q: got %v, want %q", text, err, want)
		case err != nil && (!strings.HasPrefix(err.Error(), "f.yaml:") || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: got %v, want %q", text, err, want)
		case want != "" && strings.HasSuffix(want, "lines") && strings.Contains(err.Error(), "allowed"):
			t.Errorf("%q: %v: a mapping with any keys allows none in particular", text, err)
		}
	}
}

// A number that no int takes is a mistake of the line that it is on.
func TestNumberBeyondAnInt(t *testing.T) {
	_, err := strict.Decode[form]("f.yaml", []byte("text: a\nnumber: 99999999999999999999\n"))
	if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:2:9: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

// Mistakes come in the order of the file, and lead to where the value stands, or
// to the nearest that is there.
func TestWhereAMistakeStands(t *testing.T) {
	const text = "text: a\nlist:\n  - b\n  - c\nitems:\n  - colour: red\nmap:\n  a: b\n"
	d, err := strict.Parse[form]("f.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, way := range [][]any{{"map", "a"}, {"items", 0, "colour"}, {"items", 0}, {"items", 1}, {"list", 1}, {"list", 2}, {"list", 0}, {"text"}, {"number"}, {"text", 0}, {}} {
		d.Fail(way, nil, "%v", way)
	}
	const want = "f.yaml:1:1: [text]\nf.yaml:1:1: [number]\nf.yaml:1:1: [text 0]\nf.yaml:1:1: []\nf.yaml:2:1: [list 2]\nf.yaml:3:5: [list 0]\nf.yaml:4:5: [list 1]\n" +
		"f.yaml:5:1: [items 1]\nf.yaml:6:5: [items 0 colour]\nf.yaml:6:5: [items 0]\nf.yaml:8:3: [map a]"
	if err := d.Err(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// What is as deep or as long as it may be is read; one more is refused, by the
// number of its line.
func TestAtTheBounds(t *testing.T) {
	blanks := func(n int) string { return strings.Repeat(" ", n) }
	for name, tt := range map[string]struct {
		text string
		line int // of the refusal, 0 for none
	}{
		"a line of 8,192 bytes":            {"text: " + strings.Repeat("a", 8192-7) + "\n", 0},
		"a line of 8,193 bytes":            {"# 1\n# 2\ntext: " + strings.Repeat("a", 8193-7) + "\n", 3},
		"64 brackets":                      {"# " + strings.Repeat("[", 64), 0},
		"65 brackets":                      {"# 1\n# " + strings.Repeat("[", 65), 2},
		"65 braces":                        {"# " + strings.Repeat("{", 65), 1},
		"65 over lines":                    {"# " + strings.Repeat("[", 40) + "\n# " + strings.Repeat("[", 25), 2},
		"brackets that are closed":         {"# " + strings.Repeat("[]", 100) + strings.Repeat("{}", 100), 0},
		"closing more than was opened":     {"# " + strings.Repeat("]", 10) + strings.Repeat("[", 64), 0},
		"closing more, and one too many":   {"# " + strings.Repeat("]", 10) + strings.Repeat("[", 65), 1},
		"indented by 128":                  {"text: >\n" + blanks(128) + "a\n", 0},
		"indented by 129":                  {"text: >\n" + blanks(129) + "a\n", 2},
		"a long line of nothing":           {"text: >\n" + blanks(200) + "\n  a\n", 0},
		"64 dashes":                        {"# 1\n" + blanks(4) + "#" + strings.Repeat("-", 64) + "\n", 0},
		"64 dashes that may be lists":      {"---\n" + strings.Repeat("-", 64), -1},
		"65 dashes that may be lists":      {"---\n" + strings.Repeat("-", 65), 2},
		"dashes behind what is no list":    {"# 1\ntext: a" + strings.Repeat("-", 100), 0},
		"129 indicators, and nothing more": {"---\n" + strings.Repeat("?", 129), -1},
	} {
		_, err := strict.Decode[form]("f.yaml", []byte(tt.text))
		refused := err != nil && (strings.Contains(err.Error(), "nests deeper") || strings.Contains(err.Error(), "is longer than"))
		if refused != (tt.line > 0) || refused && !strings.HasPrefix(err.Error(), fmt.Sprintf("f.yaml:%d:1: ", tt.line)) {
			t.Errorf("%s: got %v, want a refusal of line %d", name, err, tt.line)
		}
	}
}
