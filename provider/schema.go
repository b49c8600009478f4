package provider

import _ "embed"

//go:generate go test -run ^TestSchemaIsCurrent$ . -args -write

//go:embed schema.json
var schema string

// Schema returns the JSON Schema (draft-07) of a description, for editors. It
// refuses nothing that Parse accepts. It has only the rules about one value: keys,
// words, forms and bounds.
func Schema() string { return schema }
