package mediatype_test

import (
	"testing"

	"github.com/counterfoil/counterfoil/internal/mediatype"
)

func TestContentTypes(t *testing.T) {
	for _, row := range []struct {
		name, value string
		json, utf8  bool
	}{
		{"plain", "application/json", true, true},
		{"in capitals", "Application/JSON", true, true},
		{"UTF-8", "application/json; charset=utf-8", true, true},
		{"UTF-8 as many write it", "application/json; charset=utf8", true, true},
		{"UTF-8 in capitals", "application/json;CHARSET=UTF8", true, true},
		{"UTF-8 in quotes", `application/json; charset="utf-8"`, true, true},
		{"ASCII", "application/json; charset=US-ASCII", true, true},
		{"another parameter", "application/json ; profile=x", true, true},
		{"Latin-1", "application/json; charset=iso-8859-1", true, false},
		{"UTF-16", "application/json; charset=utf-16", true, false},
		{"charset twice", "application/json; charset=utf-8; charset=utf-16", true, false},
		{"charset of nothing", "application/json; charset", true, false},
		{"semicolon at the end", "application/json;", true, true},
		{"nothing", "", false, true},
		{"another type", "text/plain; charset=utf-8", false, true},
		{"a type that begins alike", "application/jsonl", false, true},
		{"two types", "application/json, text/plain", false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := mediatype.Is(row.value, "application/json"); got != row.json {
				t.Errorf("Is JSON: %v", got)
			}
			if got := mediatype.UTF8(row.value); got != row.utf8 {
				t.Errorf("UTF-8: %v", got)
			}
		})
	}
}
