package provider

import _ "embed"

//go:generate go test -run ^TestSchemaIsCurrent$ . -args -write

//go:embed schema.json
var schema string

// Schema returns the JSON Schema (draft-07) of a description, for editors. It
// refuses nothing that Parse takes; of the rules it has those that concern one
// value: keys, words, forms and bounds.
func Schema() string { return schema }
