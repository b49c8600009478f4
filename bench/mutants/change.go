package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// mutant is one change.
type mutant struct {
	place string // file:line:column and what becomes of the operator
	line  string // the text of its line
}

// changes is a package with all its changes built in.
type changes struct {
	mutants   []mutant
	constants int
	dir       string
	overlay   string // a file for go build -overlay
}

// change rewrites the files of a package, each operator together with its
// change.
func change(pkg, out string, only *regexp.Regexp) (*changes, error) {
	found, err := packages.Load(
		&packages.Config{Mode: packages.LoadSyntax | packages.NeedDeps | packages.NeedImports, Fset: token.NewFileSet()},
		pkg,
	)
	if err != nil {
		return nil, err
	}
	if len(found) != 1 || len(found[0].Errors) > 0 || len(found[0].GoFiles) == 0 {
		return nil, fmt.Errorf("%s is not one package that builds", pkg)
	}
	p := found[0]
	c := &changes{dir: filepath.Dir(p.GoFiles[0])}
	replace := map[string]string{}
	write := func(name string, text []byte) error {
		replace[filepath.Join(c.dir, name)] = filepath.Join(out, "changed_"+name)
		return os.WriteFile(filepath.Join(out, "changed_"+name), text, 0o644)
	}
	for _, f := range p.Syntax {
		name := p.Fset.Position(f.Pos()).Filename
		source, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if !only.MatchString(filepath.Base(name)) || ast.IsGenerated(f) {
			continue
		}
		e := &editor{changes: c, fset: p.Fset, info: p.TypesInfo, source: source}
		ast.Inspect(f, e.node)
		if err := write(filepath.Base(name), e.text()); err != nil {
			return nil, err
		}
	}
	if err := write("zz_mutants.go", fmt.Appendf(nil, support, p.Name, len(c.mutants)+1)); err != nil {
		return nil, err
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	c.overlay = filepath.Join(out, "overlay.json")
	return c, os.WriteFile(c.overlay, text, 0o644)
}

// edit replaces some bytes with text.
type edit struct {
	at, cut int
	text    string
	// order is that of edits at the same byte: what ends there comes before what
	// begins there, and of what begins the outermost comes first.
	order int
}

// editor changes one file.
type editor struct {
	*changes
	fset   *token.FileSet
	info   *types.Info
	source []byte
	edits  []edit
	// simple are statements where a block is not allowed.
	simple []ast.Stmt
}

func (e *editor) offset(p token.Pos) int { return e.fset.Position(p).Offset }

// add records a change and returns its number.
func (e *editor) add(pos token.Pos, what string) int {
	p := e.fset.Position(pos)
	begin := bytes.LastIndexByte(e.source[:p.Offset], '\n') + 1
	line, _, _ := bytes.Cut(e.source[begin:], []byte("\n"))
	e.mutants = append(
		e.mutants,
		mutant{fmt.Sprintf("%s:%d:%d %s", filepath.Base(p.Filename), p.Line, p.Column, what), strings.TrimSpace(string(line))},
	)
	return len(e.mutants) - 1
}

// wrap puts text before and after a node.
func (e *editor) wrap(n ast.Node, before, after string) {
	from, to := e.offset(n.Pos()), e.offset(n.End())
	e.edits = append(e.edits, edit{at: from, text: before, order: -to}, edit{at: to, text: after, order: -1<<40 - from})
}

// infix makes a call of an expression: its operator becomes a comma.
func (e *editor) infix(n *ast.BinaryExpr, call string) {
	e.wrap(n, call, strings.Repeat(")", strings.Count(call, "(")))
	e.edits = append(e.edits, edit{at: e.offset(n.OpPos), cut: len(n.Op.String()), text: ","})
}

var compared = map[token.Token]string{token.LSS: "zzLess", token.LEQ: "zzLessOrEqual", token.GTR: "zzMore", token.GEQ: "zzMoreOrEqual"}

var computed = map[token.Token]string{
	token.ADD: "zzAdd", token.SUB: "zzSubtract", token.MUL: "zzMultiply", token.QUO: "zzDivide",
	token.REM: "zzRemainder",
}

func (e *editor) isConstant(x ast.Expr) bool { return e.info.Types[x].Value != nil }

func (e *editor) isNumber(x ast.Expr) bool {
	b, ok := e.info.TypeOf(x).Underlying().(*types.Basic)
	return ok && b.Info()&types.IsNumeric != 0
}

// node changes one node, and reports whether to go on below it.
func (e *editor) node(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok != token.CONST
	case *ast.IfStmt:
		e.simple = append(e.simple, n.Init)
	case *ast.SwitchStmt:
		e.simple = append(e.simple, n.Init)
	case *ast.ForStmt:
		e.simple = append(e.simple, n.Init, n.Post)
	case *ast.IncDecStmt:
		e.step(n)
		return false
	case *ast.UnaryExpr:
		if n.Op != token.SUB || e.isConstant(n) {
			break
		}
		k := e.add(n.OpPos, "-")
		e.edits = append(e.edits, edit{at: e.offset(n.OpPos), cut: 1, text: fmt.Sprintf("zzNegate(%d, ", k), order: -e.offset(n.End())})
		e.edits = append(e.edits, edit{at: e.offset(n.End()), text: ")", order: -1<<40 - e.offset(n.Pos())})
	case *ast.BinaryExpr:
		if e.isConstant(n) {
			e.constants++
			return false
		}
		e.binary(n)
	}
	return true
}

func (e *editor) step(n *ast.IncDecStmt) {
	k, x := e.add(n.TokPos, n.Tok.String()), string(e.source[e.offset(n.X.Pos()):e.offset(n.X.End())])
	other := map[token.Token]string{token.INC: "--", token.DEC: "++"}[n.Tok]
	text := fmt.Sprintf("if zzOn(%d) { %s%s } else { %s%s }", k, x, other, x, n.Tok)
	if slices.Contains(e.simple, ast.Stmt(n)) {
		text = "func() { " + text + " }()"
	}
	e.edits = append(
		e.edits,
		edit{at: e.offset(n.Pos()), cut: e.offset(n.End()) - e.offset(n.Pos()), text: text, order: -e.offset(n.End())},
	)
}

func (e *editor) binary(n *ast.BinaryExpr) {
	op := n.Op.String()
	switch {
	case n.Op == token.EQL || n.Op == token.NEQ:
		e.wrap(n, fmt.Sprintf("zzNot(%d, ", e.add(n.OpPos, op)), ")")
	case compared[n.Op] != "":
		negated, bound := e.add(n.OpPos, op+" negated"), e.add(n.OpPos, op+" boundary")
		e.infix(n, fmt.Sprintf("zzNot(%d, %s(%d, ", negated, compared[n.Op], bound))
	case computed[n.Op] != "" && e.isNumber(n):
		e.infix(n, fmt.Sprintf("%s(%d, ", computed[n.Op], e.add(n.OpPos, op)))
	}
}

// text is the file with its edits.
func (e *editor) text() []byte {
	slices.SortStableFunc(e.edits, func(a, b edit) int {
		if a.at != b.at {
			return a.at - b.at
		}
		return a.order - b.order
	})
	var text bytes.Buffer
	at := 0
	for _, edit := range e.edits {
		text.Write(e.source[at:edit.at])
		text.WriteString(edit.text)
		at = edit.at + edit.cut
	}
	text.Write(e.source[at:])
	return text.Bytes()
}

// support is the code that the changed files call. Each function does what its
// operator does, unless the environment has selected its change.
const support = `package %s

import ("cmp"; "os"; "strconv"; "sync/atomic")

var zzChosen = func() int { n, err := strconv.Atoi(os.Getenv("MUTANT")); if err != nil { return -1 }; return n }()
var zzReached = os.Getenv("MUTANTS_REACHED")
var zzSeen [%d]atomic.Bool

func zzOn(k int) bool {
	if zzReached != "" && !zzSeen[k].Swap(true) {
		if f, err := os.OpenFile(zzReached, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666); err == nil {
			f.WriteString(strconv.Itoa(k) + "\n")
			f.Close()
		}
	}
	return zzChosen == k
}

type zzInteger interface { ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr }
type zzNumber interface { zzInteger | ~float32 | ~float64 }

func zzNot[B ~bool](k int, b B) B { if zzOn(k) { return !b }; return b }
func zzLess[T cmp.Ordered](k int, x, y T) bool { if zzOn(k) { return x <= y }; return x < y }
func zzLessOrEqual[T cmp.Ordered](k int, x, y T) bool { if zzOn(k) { return x < y }; return x <= y }
func zzMore[T cmp.Ordered](k int, x, y T) bool { if zzOn(k) { return x >= y }; return x > y }
func zzMoreOrEqual[T cmp.Ordered](k int, x, y T) bool { if zzOn(k) { return x > y }; return x >= y }
func zzAdd[T zzNumber](k int, x, y T) T { if zzOn(k) { return x - y }; return x + y }
func zzSubtract[T zzNumber](k int, x, y T) T { if zzOn(k) { return x + y }; return x - y }
func zzMultiply[T zzNumber](k int, x, y T) T { if zzOn(k) { return x / y }; return x * y }
func zzDivide[T zzNumber](k int, x, y T) T { if zzOn(k) { return x * y }; return x / y }
func zzRemainder[T zzInteger](k int, x, y T) T { if zzOn(k) { return x * y }; return x %% y }
func zzNegate[T zzNumber](k int, x T) T { if zzOn(k) { return x }; return -x }
`
