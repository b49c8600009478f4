package provider

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil"
)

var write = flag.Bool("write", false, "write schema.json anew")

// schema.json is made of the types, their comments, their tags and the forms that
// the code checks.
func TestSchemaIsCurrent(t *testing.T) {
	g := generator{t: t, comments: comments(t), definitions: object{}}
	root := g.structure(reflect.TypeFor[Provider]())
	maps.Copy(root, object{
		"$schema":     "http://json-schema.org/draft-07/schema#",
		"title":       "Counterfoil provider description",
		"definitions": g.definitions,
		"if":          object{"not": object{"required": []string{"extends"}}},
		"then":        complete(reflect.TypeFor[Provider]()),
	})
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(root); err != nil {
		t.Fatal(err)
	}
	if *write {
		if err := os.WriteFile("schema.json", want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want.String() != Schema() {
		t.Error("schema.json is stale: 'go generate ./provider' makes it anew")
	}
}

type object = map[string]any

// comments are those of the fields, as TYPE.FIELD, and of the types. A field
// without one has that of a field above that names it too.
func comments(t *testing.T) map[string]string {
	all := map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			d, ok := n.(*ast.GenDecl)
			if !ok || d.Tok != token.TYPE || len(d.Specs) != 1 {
				return true
			}
			spec := d.Specs[0].(*ast.TypeSpec)
			text := ""
			all[spec.Name.Name] = sentence(d.Doc.Text())
			if s, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range s.Fields.List {
					if field.Doc != nil {
						text = sentence(field.Doc.Text())
					}
					for _, name := range field.Names {
						if strings.Contains(text, name.Name) {
							all[spec.Name.Name+"."+name.Name] = text
						}
					}
				}
			}
			return true
		})
	}
	return all
}

func sentence(text string) string { return strings.Join(strings.Fields(text), " ") }

type generator struct {
	t           *testing.T
	comments    map[string]string
	definitions object
}

// structure is the schema of a mapping with the keys of a struct.
func (g *generator) structure(t reflect.Type) object {
	properties, required := object{}, []string{}
	goNames := map[string]string{}
	for _, f := range reflect.VisibleFields(t) {
		if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != "" {
			goNames[f.Name] = key
		}
	}
	for _, f := range reflect.VisibleFields(t) {
		key := goNames[f.Name]
		if key == "" {
			continue
		}
		property := g.value(t.Name()+"."+f.Name, f.Type)
		comment := g.comments[t.Name()+"."+f.Name]
		if comment == "" {
			g.t.Errorf("%s.%s has no comment", t.Name(), f.Name)
		}
		property["description"] = inKeys(comment, goNames)
		maps.Copy(property, forms[t.Name()+"."+f.Name])
		properties[key] = property
		if f.Tag.Get("check") == "required" {
			required = append(required, key)
		}
	}
	s := object{"type": "object", "properties": properties, "additionalProperties": false, "description": g.comments[t.Name()]}
	if len(required) > 0 {
		s["required"] = required
	}
	if goNames["From"] != "" && goNames["Value"] != "" {
		s["oneOf"] = []object{
			{"required": []string{"from"}, "properties": object{"value": object{"maxLength": 0}}},
			{"required": []string{"value"}, "properties": object{"value": object{"minLength": 1}}, "not": object{"required": []string{"from"}}},
		}
	}
	return s
}

// inKeys writes the names of fields in a comment as the keys that they are.
func inKeys(text string, goNames map[string]string) string {
	for name, key := range goNames {
		word := `\b` + name + `\b`
		if !regexp.MustCompile(`[a-z][A-Z]`).MatchString(name) {
			word = `(^|default |of |and |in |, |; )` + name + `\b` // or it may be a word
		}
		text = regexp.MustCompile(word).ReplaceAllStringFunc(text, func(found string) string { return strings.TrimSuffix(found, name) + key })
	}
	return text
}

// value is the schema of one value.
func (g *generator) value(where string, t reflect.Type) object {
	if words, ok := reflect.Zero(t).Interface().(interface{ Words() []string }); ok {
		return object{"enum": words.Words()}
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return object{"type": []string{"string", "integer"}, "minimum": 0, "maximum": 0,
			"pattern": `^\+?(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`}
	case t == reflect.TypeFor[map[counterfoil.Reason]Refusal]():
		shapes := object{}
		reasons := append(append([]counterfoil.Reason{}, callReasons...), callDetails...)
		if where == "TokenEndpoint.Errors" {
			reasons = append(append([]counterfoil.Reason{}, tokenReasons...), tokenDetails...)
		}
		for _, r := range reasons {
			shapes[string(r)] = g.reference(t.Elem())
		}
		return object{"type": "object", "properties": shapes, "additionalProperties": false}
	case t.Kind() == reflect.Map:
		return object{"type": "object", "propertyNames": object{"pattern": headerForm.String()}, "additionalProperties": object{"type": "string", "pattern": visible}}
	case t.Kind() == reflect.Struct:
		return g.structure(t)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return object{"type": "array", "items": g.reference(t.Elem())}
	case t.Kind() == reflect.Slice:
		return object{"type": "array", "items": g.value(where, t.Elem())}
	case t.Kind() == reflect.Bool:
		return object{"type": "boolean"}
	case t.Kind() == reflect.Int:
		return object{"type": "integer"}
	case t.Kind() == reflect.Interface:
		return object{"type": []string{"string", "integer"}}
	}
	return object{"type": "string"}
}

// reference is a schema that stands among the definitions.
func (g *generator) reference(t reflect.Type) object {
	if g.definitions[t.Name()] == nil {
		g.definitions[t.Name()] = g.structure(t)
	}
	return object{"$ref": "#/definitions/" + t.Name()}
}

// complete asks for what a description has that extends nothing.
func complete(t reflect.Type) object {
	required, properties := []string{}, object{}
	for _, f := range reflect.VisibleFields(t) {
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" || options != "" || f.Tag.Get("check") != "" {
			continue
		}
		required = append(required, key)
		if f.Type.Kind() == reflect.Struct {
			properties[key] = complete(f.Type)
		}
	}
	s := object{"required": required}
	if len(properties) > 0 {
		s["properties"] = properties
	}
	return s
}

const (
	visible   = `^[ -~]*$`
	plainPath = `^/[^{}%?# ]*$`
)

// forms are those that the validator demands of single values.
var forms = map[string]object{
	"Provider.Extends":                   {"anyOf": []object{{"enum": Names()}, {"pattern": `[./\\]`}}},
	"Provider.Name":                      {"pattern": nameForm.String()},
	"Provider.Title":                     {"maxLength": 200},
	"API.Title":                          {"maxLength": 200},
	"Scope.Description":                  {"maxLength": 200},
	"Scope.Name":                         {"pattern": `^[!#-\[\]-~]+$`},
	"TokenEndpoint.Path":                 {"pattern": plainPath},
	"TokenEndpoint.URL":                  {"pattern": `^([Hh][Tt][Tt][Pp][Ss]://.+)?$`},
	"TokenEndpoint.ClientAuthentication": {"minItems": 1},
	"TokenEndpoint.ReusePercent":         {"minimum": 1, "maximum": 90},
	"Limits.Body":                        {"minimum": 1, "maximum": 1 << 20},
	"Limits.ClientID":                    {"minimum": 1, "maximum": 1 << 20},
	"Limits.ClientSecret":                {"minimum": 1, "maximum": 1 << 20},
	"Limits.Scope":                       {"minimum": 1, "maximum": 1 << 20},
	"Response.TokenType":                 {"minLength": 1},
	"API.Name":                           {"pattern": nameForm.String()},
	"API.URL":                            {"pattern": `^([Hh][Tt][Tt][Pp][Ss]://.+)?$`},
	"API.Path":                           {"pattern": plainPath},
	"API.BasePath":                       {"pattern": `^$|` + plainPath},
	"API.Explorer":                       {"pattern": `^$|` + plainPath},
	"API.Headers":                        {"minItems": 1},
	"API.RequestsPerMinute":              {"minimum": 0, "maximum": 100_000},
	"Call.Method":                        {"pattern": `^$|` + methodForm.String()},
	"Call.Path":                          {"pattern": callForm.String()},
	"SafeCall.Method":                    {"pattern": methodForm.String()},
	"SafeCall.Path":                      {"pattern": safeForm.String()},
	"Header.Name":                        {"pattern": headerForm.String()},
	"Header.Value":                       {"pattern": visible},
	"Refusal.Status":                     {"minimum": 400, "maximum": 599},
	"Variable.Name":                      {"pattern": envForm.String()},
}
