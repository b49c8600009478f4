package strict_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/strict"
)

type config struct {
	Name  string            `yaml:"name" check:"required"`
	Count int               `yaml:"count"`
	Deep  []map[string]item `yaml:"deep"`
}

type item struct {
	Colour colour `yaml:"colour"`
}

type colour string

func (colour) Words() []string { return []string{"red", "green"} }

func TestDecode(t *testing.T) {
	got, err := strict.Decode[config]("c.yaml", []byte("name: x\ndeep: [{a: {colour: red}}]\n"))
	if err != nil || got.Name != "x" || got.Deep[0]["a"].Colour != "red" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = strict.Decode[config]("c.yaml", []byte("count: many\ndeep:\n  - a: {colour: blue}\n"))
	want := "c.yaml:1:1: the field \"name\" is missing\nc.yaml:1:8: count: \"many\" is not a whole number\nc.yaml:3:17: colour: \"blue\" is not understood here (allowed: red, green)"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// A few hundred kilobytes of nesting made the YAML parser take all memory.
func TestDepthIsBounded(t *testing.T) {
	var indented strings.Builder
	for i := range 600 {
		indented.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	for name, text := range map[string]string{
		"brackets":             "name: " + strings.Repeat("[", 200_000),
		"braces":               "- \n- " + strings.Repeat("{", 200_000),
		"brackets over lines":  "name: " + strings.Repeat("[\n", 100_000),
		"lists in lists":       strings.Repeat("- ", 100_000) + "x",
		"keys in keys":         strings.Repeat("? ", 100_000) + "x",
		"keys and lists":       strings.Repeat("? - ", 50_000) + "x",
		"indentation":          indented.String(),
		"anchors":              strings.Repeat("&a ", 100_000) + "x",
		"tags":                 strings.Repeat("!a ", 100_000) + "x",
		"quotes left open":     strings.Repeat(`"`, 99_999),
		"many keys on a line":  strings.Repeat("a: ", 50_000),
		"anchors over lines":   strings.Repeat("&a\n", 80_000),
		"tags over lines":      strings.Repeat("!a\n", 80_000),
		"keys over lines":      strings.Repeat("a: a: a\n", 30_000),
		"quotes over lines":    strings.Repeat("\"\n", 120_000),
		"many documents":       strings.Repeat("---\n", 50_000),
		"one long scalar":      strings.Repeat("a ", 100_000),
		"brackets, then words": "name: " + strings.Repeat("[a,", 60_000),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := strict.Decode[config]("c.yaml", []byte(text))
			var problems strict.Problems
			if !errors.As(err, &problems) || len(err.Error()) > 4096 {
				t.Errorf("got %.200v", err)
			}
		})
	}
	// What people write is far from the bound.
	if _, err := strict.Decode[config]("c.yaml", []byte("name: '"+strings.Repeat("{[", 20)+strings.Repeat("]}", 20)+"'\n")); err != nil {
		t.Error(err)
	}
}
