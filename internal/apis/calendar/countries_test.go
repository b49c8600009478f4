package calendar_test

import (
	"fmt"
	"testing"
)

// TestCountries: a country is read by its code, its name and the other names in
// use, and what is no country of ISO 3166-1 is refused.
func TestCountries(t *testing.T) {
	f := start(t, "events:read").prepare(t, today)
	for name, code := range map[string]string{
		"GB": "GB", "United Kingdom": "GB", "U.K.": "GB", "scotland ": "GB", "U.S.A.": "US", "Czech Republic": "CZ", "Czechia": "CZ",
		"Côte d'Ivoire": "CI", "Ivory Coast": "CI", "Hong Kong": "HK", "Hong Kong SAR": "HK", "North Macedonia": "MK", "Macedonia": "MK",
		"Saint Lucia": "LC", "Trinidad and Tobago": "TT", "United States Virgin Islands": "VI", "Eswatini": "SZ", "Swaziland": "SZ",
		"Türkiye": "TR", "Turkey": "TR", "Moldova": "MD", "Åland Islands": "AX", "Palestinian Territories": "PS", "DR Congo": "CD",
		"UK": "GB", "EU": "", "European Union": "", "XK": "", "AN": "", "SU": "", "ZZ": "", "fr": "", "Q": "", "": "",
	} {
		text := fmt.Sprintf(`{"id": "1", "name": "x", "startDate": "2026-01-01", "country": %q}`, name)
		if _, err := f.load(t, text); (err == nil) != (code != "") {
			t.Errorf("country %q: error %v", name, err)
		}
		if code == "" {
			continue
		}
		want := `{"data":{"event":{"place":{"country":"` + code + `"}}}}`
		if got := f.raw(t, `{ event(id: "1") { place { country } } }`); got != want {
			t.Errorf("country %q: answer %s, want %s", name, got, want)
		}
	}
}

// TestCountryNames: the text filter looks at the name of a country in common use.
func TestCountryNames(t *testing.T) {
	f := start(t, "events:read").prepare(t, today)
	for code, name := range map[string]string{"MM": "myanmar", "HK": "hong kong", "CD": "Democratic Republic", "KN": "saint kitts and", "UM": "minor"} {
		if _, err := f.load(t, fmt.Sprintf(`{"name": "x", "startDate": "2026-01-01", "country": %q}`, code)); err != nil {
			t.Fatal(err)
		}
		if p := f.events(t, fmt.Sprintf("filter: {text: %q}", name)); p.TotalCount != 1 {
			t.Errorf("%d events match %q", p.TotalCount, name)
		}
	}
}
