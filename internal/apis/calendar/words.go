package calendar

// translated is the same words in the seven languages of the reference data.
type translated map[string]string

func in7(en, fr, de, es, it, pt, nl string) translated {
	return translated{"en": en, "fr": fr, "de": de, "es": es, "it": it, "pt": pt, "nl": nl}
}

// otherLanguages are those that an event may have besides English and that of
// its town.
var otherLanguages = []string{"fr", "de", "es", "it", "pt", "nl"}

// kinds are the kinds of races. English and Dutch names stand before the theme
// as the others do, so that one order serves all languages.
var kinds = []struct {
	name       translated
	categories []string
	days       int
	online     bool
}{
	{
		name:       in7("Marathon", "Marathon", "Marathon", "Maratón", "Maratona", "Maratona", "Marathon"),
		categories: []string{"running", "road", "marathon"},
	},
	{
		name: in7(
			"Half Marathon", "Semi-marathon", "Halbmarathon", "Media Maratón", "Mezza Maratona", "Meia Maratona",
			"Halve Marathon",
		),
		categories: []string{"running", "road", "half-marathon"},
	},
	{
		name: in7(
			"Ten Kilometres", "Dix Kilomètres", "Zehn Kilometer", "Diez Kilómetros", "Dieci Chilometri",
			"Dez Quilómetros", "Tien Kilometer",
		),
		categories: []string{"running", "road", "10k"},
	},
	{
		name:       in7("Night Run", "Course de Nuit", "Nachtlauf", "Carrera Nocturna", "Corsa Notturna", "Corrida Noturna", "Nachtloop"),
		categories: []string{"running", "road", "5k"},
	},
	{name: in7("Trail", "Trail", "Traillauf", "Trail", "Trail", "Trail", "Trail"), categories: []string{"running", "trail"}},
	{
		name:       in7("Ultra Trail", "Ultra-Trail", "Ultratrail", "Ultra Trail", "Ultra Trail", "Ultra Trail", "Ultratrail"),
		categories: []string{"running", "trail", "ultra"},
		days:       2,
	},
	{
		name: in7(
			"Mountain Race", "Course de Montagne", "Berglauf", "Carrera de Montaña", "Corsa in Montagna",
			"Corrida de Montanha", "Bergloop",
		),
		categories: []string{"running", "mountain"},
	},
	{
		name:       in7("Relay", "Relais", "Staffellauf", "Relevos", "Staffetta", "Estafeta", "Estafette"),
		categories: []string{"running", "relay"},
	},
	{
		name:       in7("Cyclosportive", "Cyclosportive", "Radmarathon", "Cicloturista", "Granfondo", "Granfondo", "Toertocht"),
		categories: []string{"cycling", "road"},
	},
	{
		name:       in7("Gravel Ride", "Gravel", "Gravelfahrt", "Gravel", "Gravel", "Gravel", "Gravelrit"),
		categories: []string{"cycling", "gravel"},
	},
	{
		name: in7(
			"Mountain Bike Stage Race", "Course VTT par Étapes", "Mountainbike-Etappenrennen",
			"Carrera MTB por Etapas", "Gara MTB a Tappe", "Prova BTT por Etapas", "Mountainbike-etappekoers",
		),
		categories: []string{"cycling", "mountain-bike"},
		days:       4,
	},
	{name: in7("Triathlon", "Triathlon", "Triathlon", "Triatlón", "Triathlon", "Triatlo", "Triatlon"), categories: []string{"triathlon"}},
	{
		name: in7(
			"Long Distance Triathlon", "Triathlon Longue Distance", "Langdistanz-Triathlon",
			"Triatlón de Larga Distancia", "Triathlon Lungo", "Triatlo Longo", "Lange Triatlon",
		),
		categories: []string{"triathlon", "long-distance"},
	},
	{name: in7("Duathlon", "Duathlon", "Duathlon", "Duatlón", "Duathlon", "Duatlo", "Duatlon"), categories: []string{"duathlon"}},
	{
		name: in7(
			"Open Water Swim", "Nage en Eau Libre", "Freiwasserschwimmen", "Travesía a Nado", "Nuoto in Acque Libere",
			"Travessia a Nado", "Openwaterzwemmen",
		),
		categories: []string{"swimming", "open-water"},
	},
	{
		name: in7(
			"Family Walk", "Marche des Familles", "Familienwanderung", "Marcha Familiar", "Camminata in Famiglia",
			"Caminhada em Família", "Familiewandeling",
		),
		categories: []string{"walking", "family"},
	},
	{
		name: in7(
			"Virtual Challenge", "Défi Virtuel", "Virtuelle Challenge", "Reto Virtual", "Sfida Virtuale",
			"Desafio Virtual", "Virtuele Uitdaging",
		),
		categories: []string{"running", "virtual"},
		days:       7,
		online:     true,
	},
}

// themes set one race apart from another.
var themes = []translated{
	in7("of the Heron", "du Héron", "des Reihers", "de la Garza", "dell'Airone", "da Garça", "van de Reiger"),
	in7(
		"of the Old Mill", "du Vieux Moulin", "der Alten Mühle", "del Molino Viejo", "del Vecchio Mulino",
		"do Moinho Velho", "van de Oude Molen",
	),
	in7(
		"of the Seven Bridges", "des Sept Ponts", "der Sieben Brücken", "de los Siete Puentes", "dei Sette Ponti",
		"das Sete Pontes", "van de Zeven Bruggen",
	),
	in7(
		"of the First Snow", "des Premières Neiges", "des Ersten Schnees", "de la Primera Nieve", "della Prima Neve",
		"da Primeira Neve", "van de Eerste Sneeuw",
	),
	in7("of the Lanterns", "des Lanternes", "der Laternen", "de los Faroles", "delle Lanterne", "das Lanternas", "van de Lantaarns"),
	in7(
		"of the Blue Hour", "de l'Heure Bleue", "der Blauen Stunde", "de la Hora Azul", "dell'Ora Blu",
		"da Hora Azul", "van het Blauwe Uur",
	),
	in7(
		"of the Salt Road", "de la Route du Sel", "der Salzstraße", "de la Ruta de la Sal", "della Via del Sale",
		"da Rota do Sal", "van de Zoutweg",
	),
	in7(
		"of the Four Winds", "des Quatre Vents", "der Vier Winde", "de los Cuatro Vientos", "dei Quattro Venti",
		"dos Quatro Ventos", "van de Vier Winden",
	),
	in7(
		"of the Cherry Trees", "des Cerisiers", "der Kirschbäume", "de los Cerezos", "dei Ciliegi", "das Cerejeiras", "van de Kersenbomen",
	),
	in7(
		"of the Stone Lions", "des Lions de Pierre", "der Steinernen Löwen", "de los Leones de Piedra",
		"dei Leoni di Pietra", "dos Leões de Pedra", "van de Stenen Leeuwen",
	),
	in7(
		"of the Long Shadow", "de la Grande Ombre", "des Langen Schattens", "de la Sombra Larga", "della Lunga Ombra",
		"da Sombra Longa", "van de Lange Schaduw",
	),
	in7(
		"of the Ferrymen", "des Passeurs", "der Fährleute", "de los Barqueros", "dei Traghettatori", "dos Barqueiros", "van de Veerlieden",
	),
	in7("of the Harvest", "des Moissons", "der Ernte", "de la Cosecha", "del Raccolto", "da Colheita", "van de Oogst"),
	in7(
		"of the Watchtower", "de la Tour de Guet", "des Wachturms", "de la Atalaya", "della Torre di Guardia",
		"da Atalaia", "van de Wachttoren",
	),
}

// abouts describe a race, given its kind, the town and the organiser.
var abouts = in7(
	"%s in %s: a closed course, a generous time limit and a warm welcome at every aid station. Organised by %s.",
	"%s à %s : parcours fermé à la circulation, barrières horaires généreuses et accueil chaleureux "+
		"à chaque ravitaillement. Organisation : %s.",
	"%s in %s: abgesperrte Strecke, großzügiges Zeitlimit und herzlicher Empfang an jeder Verpflegungsstelle. Veranstalter: %s.",
	"%s en %s: recorrido cerrado al tráfico, tiempo límite generoso y buena acogida en cada avituallamiento. Organiza: %s.",
	"%s a %s: percorso chiuso al traffico, tempo massimo generoso e calda accoglienza a ogni ristoro. Organizza: %s.",
	"%s em %s: percurso fechado ao trânsito, tempo limite generoso e boa receção em cada abastecimento. Organização: %s.",
	"%s in %s: een afgesloten parcours, een ruime tijdslimiet en een warm welkom bij elke verzorgingspost. Organisatie: %s.",
)

// organisers do not exist.
var organisers = []string{
	"Heronfoot Running Club", "Kilometre Nought Events", "Société des Foulées Libres", "Laufwerk Nord", "Club Ciclista Tres Valles",
	"Polisportiva Due Laghi", "Associação Passo Largo", "Stichting Wind Tegen", "Loose Laces Collective", "Splitboard & Sons Racing",
	"Second Wind Productions", "Vertical Picnic", "Chain Ring Society", "Cold Water Company", "Early Starters Trust",
}

// towns are real; the races in them are not.
var towns = []struct {
	city, region, country, language string
	north, east                     float64
}{
	{"Annecy", "Haute-Savoie", "FR", "fr", 45.90, 6.13},
	{"Porto", "Norte", "PT", "pt", 41.15, -8.61},
	{"Freiburg", "Baden-Württemberg", "DE", "de", 48.00, 7.85},
	{"Girona", "Catalonia", "ES", "es", 41.98, 2.82},
	{"Bolzano", "South Tyrol", "IT", "it", 46.50, 11.35},
	{"Utrecht", "Utrecht", "NL", "nl", 52.09, 5.12},
	{"Keswick", "England", "GB", "en", 54.60, -3.13},
	{"Boulder", "Colorado", "US", "en", 40.01, -105.27},
	{"Chamonix", "Haute-Savoie", "FR", "fr", 45.92, 6.87},
	{"Innsbruck", "Tyrol", "AT", "de", 47.27, 11.40},
	{"Lausanne", "Vaud", "CH", "fr", 46.52, 6.63},
	{"Granada", "Andalusia", "ES", "es", 37.18, -3.60},
	{"Lucca", "Tuscany", "IT", "it", 43.84, 10.50},
	{"Funchal", "Madeira", "PT", "pt", 32.65, -16.91},
	{"Ghent", "East Flanders", "BE", "nl", 51.05, 3.72},
	{"Galway", "Connacht", "IE", "en", 53.27, -9.05},
	{"Queenstown", "Otago", "NZ", "en", -45.03, 168.66},
	{"Hobart", "Tasmania", "AU", "en", -42.88, 147.33},
	{"Oaxaca", "Oaxaca", "MX", "es", 17.07, -96.73},
	{"Bariloche", "Río Negro", "AR", "es", -41.13, -71.31},
	{"Florianópolis", "Santa Catarina", "BR", "pt", -27.60, -48.55},
	{"Banff", "Alberta", "CA", "en", 51.18, -115.57},
	{"Quebec City", "Quebec", "CA", "fr", 46.81, -71.21},
	{"Stellenbosch", "Western Cape", "ZA", "en", -33.93, 18.86},
	{"Eldoret", "Uasin Gishu", "KE", "en", 0.51, 35.27},
	{"Kyoto", "Kyoto", "JP", "en", 35.01, 135.77},
	{"Bergen", "Vestland", "NO", "en", 60.39, 5.32},
	{"Gdańsk", "Pomerania", "PL", "en", 54.35, 18.65},
	{"Potsdam", "Brandenburg", "DE", "de", 52.40, 13.06},
	{"Strasbourg", "Grand Est", "FR", "fr", 48.57, 7.75},
	{"San Sebastián", "Basque Country", "ES", "es", 43.32, -1.98},
	{"Trento", "Trentino", "IT", "it", 46.07, 11.12},
	{"Bled", "Upper Carniola", "SI", "en", 46.37, 14.11},
	{"Malmö", "Scania", "SE", "en", 55.60, 13.00},
	{"Chiang Mai", "Chiang Mai", "TH", "en", 18.79, 98.98},
	{"Singapore", "Singapore", "SG", "en", 1.35, 103.82},
	{"Medellín", "Antioquia", "CO", "es", 6.24, -75.58},
}
