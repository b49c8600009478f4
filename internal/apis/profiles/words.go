package profiles

import "github.com/counterfoil/counterfoil/internal/apis/profiles/internal/graph"

// The names are invented: no family is called so.
var firstNames = []string{
	"Ada", "Bela", "Cosmo", "Dilys", "Emeric", "Fenna", "Gideon", "Hestia", "Ilya", "Jocasta", "Kenji", "Leocadia", "Magnus", "Nerys",
	"Odile", "Piers", "Quilla", "Rufina", "Soren", "Thandi", "Ulric", "Vesna", "Wendel", "Xanthe", "Yusra", "Zeno", "Amadou", "Brisa",
	"Caspian", "Dara", "Ewa", "Farid", "Greta",
}

var surnames = []string{
	"Quillfeather", "Ashmarrow", "Brindlecott", "Copperhythe", "Dunmallow", "Eaglestane", "Fennimarsh", "Goldwhistle", "Harrowmere",
	"Inkersley", "Juniperre", "Kestrelhof", "Larkenshaw", "Moonharbour", "Nettlefold-Vane", "Ostermeadow", "Pennyquick", "Quarrystone",
	"Rookhaven", "Silverthwaite", "Thistledown", "Umberleigh", "Velvetine", "Wintergarten", "Yarrowby", "Zephyrine", "Amberlough",
	"Blackcurrant", "Candlewright", "Driftwood", "Emberline", "Foxtrotter", "Gingerfield", "Hollowell-Oak", "Ivorysmith", "Jadeworthy",
	"Kingfisher-Roe", "Lanternjack", "Marzipane", "Nightingall",
}

// towns are real; nobody in them is.
var towns = []struct{ city, country string }{
	{"London", "GB"},
	{"Geneva", "CH"}, {"Zurich", "CH"}, {"New York", "US"}, {"Chicago", "US"}, {"San Francisco", "US"}, {"Singapore", "SG"},
	{"Hong Kong", "HK"}, {"Dubai", "AE"}, {"Paris", "FR"}, {"Milan", "IT"}, {"Frankfurt", "DE"}, {"Hamburg", "DE"}, {"Oslo", "NO"},
	{"Stockholm", "SE"}, {"Amsterdam", "NL"}, {"Lisbon", "PT"}, {"Madrid", "ES"}, {"São Paulo", "BR"}, {"Mexico City", "MX"},
	{"Lagos", "NG"},
	{"Nairobi", "KE"}, {"Cape Town", "ZA"}, {"Mumbai", "IN"}, {"Tokyo", "JP"}, {"Seoul", "KR"}, {"Sydney", "AU"}, {"Toronto", "CA"},
}

var sectorWords = []string{
	"Shipping", "Private Equity", "Insurance", "Biotechnology", "Renewable Energy", "Mining", "Hospitality", "Fine Wine", "Logistics",
	"Semiconductors", "Real Estate", "Publishing", "Textiles", "Water Treatment", "Aerospace", "Agriculture",
}

// kinds of organisations: the pattern takes a surname and a sector.
var kinds = []struct {
	kind          graph.OrganisationKind
	pattern, word string
	sectors       []string
	staff         int
}{
	{graph.OrganisationKindPublicCompany, "%s %s plc", "a listed company", sectorWords, 40_000},
	{graph.OrganisationKindPrivateCompany, "%s %s", "a private company", sectorWords, 3_000},
	{graph.OrganisationKindPublicCompany, "%s Group – %s", "a listed company", sectorWords, 15_000},
	{
		graph.OrganisationKindFamilyOffice, "%s Family Office – %s", "a family office",
		[]string{"Private Equity", "Real Estate", "Fine Wine"}, 30,
	},
	{
		graph.OrganisationKindFoundation, "%s Foundation for %s", "a foundation",
		[]string{"Ocean Research", "Music", "Rare Diseases", "Literacy", "Old Buildings"}, 60,
	},
	{graph.OrganisationKindUniversity, "%s %s", "a university", []string{"Education"}, 4_000},
}

var titles = []struct {
	name  string
	board bool
}{
	{"Chair of the Board", true}, {"Non-Executive Director", true}, {"Chief Executive Officer", true}, {"Chief Financial Officer", true},
	{"Senior Independent Director", true},
	{"Trustee", true}, {"Managing Partner", false}, {"General Counsel", false}, {"Head of Investments", false},
	{"Chief Operating Officer", false}, {"Adviser to the Board", false}, {"Founder", true},
}

var interestWords = []string{
	"sailing", "chamber music", "contemporary art", "mountaineering", "vintage cars", "rare books", "conservation", "chess",
	"equestrian sport",
	"medical research", "architecture", "scholarships", "gardens", "astronomy", "marathon running",
}

var degrees = []string{"BA History", "BSc Mathematics", "LLB Law", "MBA", "MEng Engineering", "PhD Chemistry", "BSc Economics"}

var habits = []string{
	"Known for short meetings and long walks.",
	"Sits on fewer boards than invited to.",
	"Has led two mergers and stopped a third.",
	"Endowed a chair, and never sits on it.",
	"Keeps a workshop and repairs clocks.",
}
