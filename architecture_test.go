package counterfoil_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/counterfoil/counterfoil"

// pkg is what 'go list' says of a package.
type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Module     struct{ Path string }
	DepOnly    bool // only others import it
}

// listed is what 'go list' says, which runs once in each module.
var listed struct {
	once     sync.Once
	packages []pkg
	modules  map[string]string // of all packages that those of the root need
}

// packages are those of the module; those of the modules below it have no Deps.
func packages(t *testing.T) []pkg {
	t.Helper()
	listed.once.Do(func() {
		listed.modules = map[string]string{}
		for _, p := range packagesIn(t, ".", "-deps", "-json=ImportPath,Imports,Deps,Module,DepOnly") {
			listed.modules[p.ImportPath] = p.Module.Path
			if !p.DepOnly {
				listed.packages = append(listed.packages, p)
			}
		}
		for _, dir := range nested(t) {
			listed.packages = append(listed.packages, packagesIn(t, dir, "-json=ImportPath,Imports")...)
		}
		for i, p := range listed.packages {
			listed.packages[i].ImportPath, _ = own(p.ImportPath)
		}
	})
	if len(listed.packages) == 0 {
		t.Fatal("go list has failed, or found no package")
	}
	return listed.packages
}

func packagesIn(t *testing.T, dir string, flags ...string) []pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append(append([]string{"-C", dir, "list"}, flags...), "./...")...).Output()
	if err != nil {
		t.Fatalf("go list in %s: %v", dir, err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// in reports whether path is the package or one below it.
func in(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// own returns the path of an import below the module, and whether it is in the
// module.
func own(path string) (string, bool) {
	if path == module {
		return "", true
	}
	return strings.CutPrefix(path, module+"/")
}

// Imports go one way: server, guard and client never import each other, only cmd
// imports them all, the APIs do not import the guard, and internal packages and
// the root import nothing above them.
func TestArrowsPointDown(t *testing.T) {
	parts := []string{"server", "guard", "client"}
	for _, p := range packages(t) {
		for _, path := range p.Imports {
			imported, ok := own(path)
			if !ok {
				continue
			}
			if in(imported, "cmd") && !in(p.ImportPath, "cmd") {
				t.Errorf("%s imports %s: only what main packages are made of is there", p.ImportPath, imported)
			}
			if in(p.ImportPath, "cmd") || in(p.ImportPath, "bench") {
				continue
			}
			for _, part := range parts {
				if in(imported, part) && !in(p.ImportPath, part) {
					t.Errorf("%s imports %s: only cmd may", p.ImportPath, imported)
				}
			}
			if in(imported, "internal/apis") && !in(p.ImportPath, "internal/apis") {
				t.Errorf("%s imports %s: the reference APIs are behind the guard", p.ImportPath, imported)
			}
			if in(imported, "provider") && (p.ImportPath == "" || in(p.ImportPath, "internal")) {
				t.Errorf("%s imports provider, which is above it", p.ImportPath)
			}
			if p.ImportPath == "" && imported != "" {
				t.Errorf("the root package imports %s", imported)
			}
		}
	}
}

// A program that imports the client or the guard gets no database with it.
func TestNoDatabaseForImporters(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != "client" && p.ImportPath != "guard" && p.ImportPath != "provider" && p.ImportPath != "" {
			continue
		}
		for _, dep := range p.Deps {
			if dep == "database/sql" || strings.Contains(dep, "sqlite") || strings.Contains(dep, "pgx") || strings.Contains(dep, "gqlgen") || strings.Contains(dep, "cobra") {
				t.Errorf("%q brings %s to its importers", p.ImportPath, dep)
			}
		}
	}
}

// A program that imports the client gets no keyring, no encryption of files and
// nothing that runs programs with it. The same holds for package credential, which
// takes credentials from files and variables.
func TestClientIsLight(t *testing.T) {
	for _, p := range packages(t) {
		if p.ImportPath != "client" && p.ImportPath != "client/credential" {
			continue
		}
		for _, dep := range p.Deps {
			if dep == "os/exec" || strings.HasPrefix(dep, "filippo.io/age") || strings.Contains(dep, "go-keyring") || strings.Contains(dep, "godbus") || strings.HasPrefix(dep, module+"/client/credential/") && !strings.Contains(dep, "/internal/") {
				t.Errorf("%q brings %s to its importers", p.ImportPath, dep)
			}
		}
	}
}

// A package's name says what it is for.
func TestPackagesHaveMeaning(t *testing.T) {
	for _, p := range packages(t) {
		for _, word := range []string{"util", "utils", "common", "helper", "helpers", "models", "misc", "shared"} {
			if p.ImportPath == word || strings.HasSuffix(p.ImportPath, "/"+word) {
				t.Errorf("%s is named for its lack of meaning", p.ImportPath)
			}
		}
	}
}
