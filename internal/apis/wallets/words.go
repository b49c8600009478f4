package wallets

// model is what a reference wallet is made from.
type model struct {
	owner    string // empty for each client of the Reference
	name     string
	kind     string
	currency string
	status   string
	flows    string // which of flows its movements are
	scale    int64  // about its balance, in minor units
	free     int    // how many percent of the balance are available
}

// The order of models decides their ids: add at the end.
var models = []model{
	{"", "Operations", "operational", "BRL", "active", "operations", 48_250_000, 96},
	{"", "Payroll", "operational", "BRL", "active", "payroll", 21_400_000, 100},
	{"", "Card receivables", "settlement", "BRL", "active", "cards", 67_900_000, 80},
	{"", "Receivables collateral", "collateral", "BRL", "active", "collateral", 150_000_000, 15},
	{"", "Senior tranche escrow", "escrow", "BRL", "active", "escrow", 92_300_000, 0},
	{"", "Debt service reserve", "reserve", "BRL", "active", "collateral", 35_000_000, 5},
	{"", "Loan disbursements", "disbursement", "BRL", "active", "lending", 58_700_000, 90},
	{"", "Marketplace escrow", "escrow", "BRL", "blocked", "escrow", 12_800_000, 0},
	{"", "Pilot programme", "operational", "BRL", "closed", "operations", 4_100_000, 0},
	{"", "Cloud and software, USD", "operational", "USD", "active", "abroad", 9_650_000, 100},
	{"", "Investor account, EUR", "reserve", "EUR", "active", "abroad", 18_200_000, 40},
	{"", "Equipment imports, JPY", "operational", "JPY", "active", "abroad", 14_300_000, 100},

	{FintechClient, "Conta principal", "operational", "BRL", "active", "operations", 33_000_000, 100},
	{FintechClient, "Credit fund collateral", "collateral", "BRL", "active", "collateral", 210_000_000, 10},
	{FintechClient, "Disbursements", "disbursement", "BRL", "active", "lending", 76_000_000, 85},
	{FintechClient, "Foreign suppliers", "operational", "USD", "active", "abroad", 5_200_000, 100},
	{RetailClient, "Stores", "operational", "BRL", "active", "operations", 27_500_000, 100},
	{RetailClient, "Card settlement", "settlement", "BRL", "active", "cards", 88_000_000, 75},
	{RetailClient, "Supplier escrow", "escrow", "BRL", "active", "escrow", 16_400_000, 0},
	{RetailClient, "Fornecedores Europa", "operational", "EUR", "active", "abroad", 7_700_000, 100},
}

// flow is a sort of movement.
type flow struct {
	kind    string
	out     bool
	share   int // about its amount, in thousandths of the wallet's scale
	parties []string
	text    string
}

var (
	customers = []string{
		"Mercado Ipê", "Padaria Aurora", "Clínica Santa Rita", "Escola Girassol", "Transportes Rio Claro", "Studio Marola",
	}
	suppliers = []string{"Gráfica Bandeira", "Energia Paulista Norte", "Aluguel Vila Serena", "Telecom Horizonte", "Segurança Atalaia"}
	borrowers = []string{
		"Oficina do Beto", "Confecções Lírio", "Agropecuária Campo Alto", "Farmácia Vitória", "Construtora Pedra Azul",
	}
	abroad = []string{"Northwind Hosting", "Blue Harbor Software", "Kanda Machine Works", "Rheintal Components", "Atlantic Freight"}
	inside = []string{"Operations", "Card receivables", "Receivables collateral", "Loan disbursements"}
	bank   = []string{"A55"}
)

var flows = map[string][]flow{
	"operations": {
		{"pix_in", false, 90, customers, "Instant payment received"},
		{"pix_in", false, 50, customers, "Invoice paid"},
		{"boleto", false, 70, customers, "Boleto settled"},
		{"pix_out", true, 60, suppliers, "Instant payment sent"},
		{"ted_out", true, 100, suppliers, "Supplier payment"},
		{"tax", true, 30, []string{"Receita Federal"}, "Monthly taxes"},
		{"fee", true, 1, bank, "Account fee"},
	},
	"payroll": {
		{"transfer", false, 140, inside[:1], "Funding of the payroll"},
		{"pix_out", true, 90, []string{"Salaries", "Salaries, second half", "Holiday pay"}, "Batch of payments"},
		{"tax", true, 30, []string{"Receita Federal", "FGTS"}, "Payroll taxes"},
	},
	"cards": {
		{"card_settlement", false, 110, []string{"Acquirer Alfa", "Acquirer Delta"}, "Card sales of the day"},
		{"card_settlement", false, 60, []string{"Acquirer Alfa", "Acquirer Delta"}, "Instalments due"},
		{"transfer", true, 150, inside[:1], "Sweep to operations"},
		{"fee", true, 1, []string{"Acquirer Alfa", "Acquirer Delta"}, "Discount rate"},
	},
	"collateral": {
		{"transfer", false, 60, inside[1:2], "Collateral topped up"},
		{"interest", false, 4, bank, "Interest on the balance"},
		{"repayment", true, 70, []string{"Fundo Ipanema Crédito"}, "Instalment of the facility"},
	},
	"escrow": {
		{"boleto", false, 80, customers, "Deposit of a buyer"},
		{"ted_in", false, 120, customers, "Deposit of a buyer"},
		{"transfer", true, 110, suppliers, "Released to the seller"},
		{"adjustment", true, 10, bank, "Correction of a deposit"},
	},
	"lending": {
		{"repayment", false, 60, borrowers, "Instalment received"},
		{"transfer", false, 140, inside[2:3], "Funding"},
		{"disbursement", true, 120, borrowers, "Loan paid out"},
		{"fee", true, 1, bank, "Registration of a contract"},
	},
	"abroad": {
		{"wire_in", false, 140, []string{"Câmbio Litoral"}, "Currency bought"},
		{"wire_out", true, 90, abroad, "Invoice paid"},
		{"fee", true, 1, bank, "Wire fee"},
		{"interest", false, 4, bank, "Interest on the balance"},
	},
}
