// Command typecheck type-checks a module and its tests as other systems see
// them:
//
//	go run ./internal/typecheck darwin/arm64 windows/amd64
//
// Like a compiler, it finds what a system does not have, and it knows no other
// mistakes. It compiles nothing and reads no function of a dependency, so that
// it needs a few seconds where go vet for another system needs minutes.
package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	for _, target := range os.Args[1:] {
		if err := check(".", target); err != nil {
			fmt.Fprintf(os.Stderr, "typecheck: %s:\n%v\n", target, err)
			os.Exit(1)
		}
		fmt.Println(target + ": type-checked")
	}
}

// check type-checks the module at dir for target, an operating system and an
// architecture such as "darwin/arm64". The error has each mistake on a line.
func check(dir, target string) error {
	system, architecture, ok := strings.Cut(target, "/")
	if !ok {
		return errors.New("name an operating system and an architecture, such as darwin/arm64")
	}
	root, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	own := func(file string) bool { return strings.HasPrefix(file, root+string(filepath.Separator)) }
	all, err := packages.Load(&packages.Config{
		Mode:  packages.LoadAllSyntax,
		Dir:   root,
		Env:   append(os.Environ(), "GOOS="+system, "GOARCH="+architecture, "CGO_ENABLED=0"),
		Tests: true,
		ParseFile: func(fset *token.FileSet, name string, text []byte) (*ast.File, error) {
			f, err := parser.ParseFile(fset, name, text, parser.AllErrors|parser.SkipObjectResolution)
			if f != nil && !own(name) {
				for _, d := range f.Decls {
					if function, ok := d.(*ast.FuncDecl); ok {
						function.Body = nil
					}
				}
			}
			return f, err
		},
	}, "./...")
	if err != nil {
		return err
	}
	var mistakes []error
	seen := map[string]bool{} // a package is loaded with its tests and without
	packages.Visit(all, nil, func(p *packages.Package) {
		for _, e := range p.Errors {
			// Without its functions, a dependency does not use its imports.
			if (e.Kind != packages.TypeError || own(e.Pos)) && !seen[e.Error()] {
				seen[e.Error()] = true
				mistakes = append(mistakes, e)
			}
		}
	})
	return errors.Join(mistakes...)
}
