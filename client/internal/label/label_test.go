package label_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/label"
)

// Each reason that the root package declares is a label of its own, also one
// that is added later.
func TestReasonsAreComplete(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../../reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || fmt.Sprint(spec.Type) != "Reason" || len(spec.Values) != 1 {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		n++
		if got := label.Reason(counterfoil.Reason(value)); got != value {
			t.Errorf("the label of %s is %q", value, got)
		}
		return true
	})
	if n < 60 {
		t.Errorf("reason.go declares %d reasons: the test looks in a wrong way", n)
	}
}

func TestLabels(t *testing.T) {
	for _, row := range []struct{ name, got, want string }{
		{"no reason", label.Reason(""), ""},
		{"a stranger's reason", label.Reason("x\r\ny"), label.Other},
		{"a client's type", label.Type(counterfoil.EventTokenRenewed), "token.renewed"},
		{"another wing's type", label.Type(counterfoil.EventKeyCreated), label.Other},
		{"no answer", label.Status(0), ""},
		{"success", label.Status(200), "2xx"},
		{"first status", label.Status(100), "1xx"},
		{"below the first status", label.Status(99), label.Other},
		{"last status", label.Status(599), "5xx"},
		{"no status", label.Status(600), label.Other},
		{"negative status", label.Status(-1), label.Other},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.got != row.want {
				t.Errorf("got %q, want %q", row.got, row.want)
			}
		})
	}
}

func TestClientsAreBounded(t *testing.T) {
	var c label.Clients
	other := label.Client{Provider: label.Other, ID: label.Other}
	for i := range 5000 {
		id := fmt.Sprint("client-", i)
		want := other
		if i < 1000 {
			want = label.Client{Provider: "acme", ID: id}
		}
		if got := c.Labels("acme", id); got != want {
			t.Fatalf("the labels of client %d are %q, want %q", i, got, want)
		}
	}
	if got := c.Labels("acme", "client-7").ID; got != "client-7" {
		t.Errorf("a client that was seen is %q now", got)
	}
	longest := strings.Repeat("x", 128)
	if got := new(label.Clients).Labels(longest, longest); got != (label.Client{Provider: longest, ID: longest}) {
		t.Errorf("the longest names are %q", got)
	}
	long := longest + "x"
	for _, got := range []label.Client{new(label.Clients).Labels("acme", long), new(label.Clients).Labels(long, "c")} {
		if got != other {
			t.Errorf("a long name is %q", got)
		}
	}
	if got := new(label.Clients).Labels("a\xff", "a\xffb"); got != (label.Client{Provider: "a\uFFFD", ID: "a\uFFFDb"}) {
		t.Errorf("broken UTF-8 is %q", got)
	}
}
