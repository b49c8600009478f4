package calendar

import (
	"strings"
	"sync"

	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
)

// countries are the codes of ISO 3166-1 alpha-2: names has their English names,
// codes has the codes by all names that are read, in lower case.
var countries = sync.OnceValue(func() (all struct{ names, codes map[string]string }) {
	all.names, all.codes = map[string]string{}, map[string]string{}
	namer := display.English.Regions()
	plain := strings.NewReplacer(" & ", " and ", "St. ", "Saint ", "U.S. ", "United States ", "’", "'")
	for n := range 26 * 26 {
		code := string([]byte{'A' + byte(n/26), 'A' + byte(n%26)})
		region, err := language.ParseRegion(code)
		// Codes that are private, withdrawn or of a group have no number, name or form of their own.
		name := plain.Replace(namer.Name(region))
		if err != nil || name == "" || !region.IsCountry() || region.M49() == 0 ||
			region.IsPrivateUse() || region.Canonicalize() != region {
			continue
		}
		all.codes[strings.ToLower(name)] = code
		if renamed[code] != "" {
			name = renamed[code]
		}
		all.names[code] = name
		all.codes[strings.ToLower(name)] = code
	}
	for line := range strings.Lines(otherNames) {
		all.codes[strings.ToLower(strings.TrimSpace(line[3:]))] = line[:2]
	}
	return all
})

// countryName returns the English name of a code, or "" for what is no code.
func countryName(code string) string { return countries().names[code] }

// country returns the code of a country given by code or English name, and
// whether there is one.
func country(s string) (string, bool) {
	if countryName(s) != "" {
		return s, true
	}
	code, ok := countries().codes[strings.ToLower(strings.TrimSpace(s))]
	return code, ok
}

// renamed are the names in common use where those of golang.org/x/text are old
// or long.
var renamed = map[string]string{
	"CD": "Democratic Republic of the Congo", "CG": "Republic of the Congo", "GS": "South Georgia and the South Sandwich Islands",
	"HK": "Hong Kong", "HM": "Heard Island and McDonald Islands", "MK": "North Macedonia", "MM": "Myanmar", "MO": "Macao",
	"PN": "Pitcairn", "PS": "Palestine", "SZ": "Eswatini", "UM": "United States Minor Outlying Islands",
	"VC": "Saint Vincent and the Grenadines",
}

// otherNames are names that people write instead.
const otherNames = `AE UAE
BA Bosnia
BN Brunei Darussalam
BO Bolivia, Plurinational State of
CD DR Congo
CG Congo
CI Ivory Coast
CV Cabo Verde
CZ Czech Republic
GB England
GB Great Britain
GB Northern Ireland
GB Scotland
GB U.K.
GB UK
GB Wales
HK Hong Kong SAR
IE Republic of Ireland
IR Iran, Islamic Republic of
KR Korea
KR Republic of Korea
LA Lao People's Democratic Republic
MD Republic of Moldova
MM Burma
MO Macau
NL Holland
NL The Netherlands
PS State of Palestine
RU Russian Federation
SY Syrian Arab Republic
TL East Timor
TR Türkiye
TW Taiwan, Province of China
TZ United Republic of Tanzania
US U.S.
US U.S.A.
US USA
US United States of America
VA Holy See
VN Viet Nam
`
