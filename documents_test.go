package counterfoil_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil"
)

// document is a page of prose: its text without blocks of code.
type document struct{ path, text string }

func documents(t *testing.T) []document {
	t.Helper()
	paths, err := filepath.Glob("docs/*.md")
	if err != nil || len(paths) < 3 {
		t.Fatalf("docs has %d pages, %v", len(paths), err)
	}
	var all []document
	for _, path := range append(paths, "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "bench/README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, document{path, regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(string(text), "")})
	}
	return all
}

// parsed is what declared has found.
var parsed = map[string]map[string]map[string]bool{}

// declared are the names that the Go files of a directory declare, by file:
// functions, methods, types, constants, variables and fields.
func declared(t *testing.T, dir string) map[string]map[string]bool {
	t.Helper()
	if all, ok := parsed[dir]; ok {
		return all
	}
	all := map[string]map[string]bool{}
	parsed[dir] = all
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				names[n.Name.Name] = true
			case *ast.TypeSpec:
				names[n.Name.Name] = true
			case *ast.ValueSpec:
				for _, name := range n.Names {
					names[name.Name] = true
				}
			case *ast.Field:
				for _, name := range n.Names {
					names[name.Name] = true
				}
			}
			return true
		})
		all[filepath.ToSlash(path)] = names
	}
	return all
}

var (
	link     = regexp.MustCompile(`\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^()\s]+)\)`)
	codeName = regexp.MustCompile("^`(?:[A-Za-z]+\\.)?([A-Za-z_]\\w*)`$")
	testName = regexp.MustCompile("`([a-z][a-z0-9/]*\\.)?((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`")
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
)

// anchors are the fragments by which a page's headings are linked.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		plain := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(h[1]), "")
		all[strings.ReplaceAll(plain, " ", "-")] = true
	}
	return all
}

// Of two headings that are alike, links reach the first only.
func TestHeadingsDiffer(t *testing.T) {
	for _, d := range documents(t) {
		seen := map[string]bool{}
		for _, h := range heading.FindAllStringSubmatch(d.text, -1) {
			if seen[h[1]] && d.path != "CHANGELOG.md" {
				t.Errorf("%s has the heading %q twice", d.path, h[1])
			}
			seen[h[1]] = true
		}
	}
}

// A page must not link to a file that does not exist, or to a name that the file
// does not declare.
func TestDocumentsLink(t *testing.T) {
	links, names := 0, 0
	for _, d := range documents(t) {
		for _, found := range link.FindAllStringSubmatch(d.text, -1) {
			text, target := found[1], found[2]
			if strings.Contains(target, "://") {
				continue
			}
			links++
			file, fragment, _ := strings.Cut(target, "#")
			path := filepath.ToSlash(filepath.Join(filepath.Dir(d.path), file))
			if file == "" {
				path = d.path
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s: %v", d.path, target, err)
				continue
			}
			if fragment != "" {
				page, err := os.ReadFile(path)
				if err != nil || !anchors(string(page))[fragment] {
					t.Errorf("%s links to %s, which has no such heading", d.path, target)
				}
			}
			if name := codeName.FindStringSubmatch(text); name != nil && strings.HasSuffix(path, ".go") {
				names++
				if !declared(t, filepath.Dir(path))[path][name[1]] {
					t.Errorf("%s says that %s is in %s, which does not declare it", d.path, name[1], path)
				}
			}
		}
	}
	if links == 0 || names == 0 {
		t.Errorf("the documents have %d links, %d of them to names: the patterns of this test are wrong", links, names)
	}
}

// A test that a page names, as `server.TestDPoP`, is one of that package. Only the
// pages about security, tests and measurements name any: a guide is for use.
func TestDocumentsNameTests(t *testing.T) {
	tests := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || path != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case !d.IsDir():
			return nil
		}
		for file, names := range declared(t, path) {
			for name := range names {
				if strings.HasSuffix(file, "_test.go") && testName.MatchString("`"+name+"`") {
					tests[filepath.ToSlash(path)+"."+name] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, d := range documents(t) {
		for _, found := range testName.FindAllStringSubmatch(d.text, -1) {
			named++
			if !slices.Contains([]string{"docs/security.md", "docs/testing.md", "bench/README.md"}, filepath.ToSlash(d.path)) {
				t.Errorf("%s names the test %s: say it in docs/security.md or docs/testing.md", d.path, found[2])
			}
			name := found[1] + found[2]
			if found[1] == "" {
				name = ".." + found[2] // of the root
			}
			if !tests[name] {
				t.Errorf("%s names the test %s, which that package does not have", d.path, strings.TrimPrefix(name, ".."))
			}
		}
	}
	if named == 0 {
		t.Error("the documents name no test: the pattern of this one is wrong")
	}
}

// The examples of a guard run as they are: their URLs at the issuer are those of
// the server, and a path that ends with a slash is registered without it too,
// because ServeMux redirects calls otherwise.
func TestExamplesOfAGuardRun(t *testing.T) {
	paths, err := filepath.Glob("guard/*.go")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	served := []string{"", "/token", "/.well-known/jwks.json", "/introspect", "/revocations"}
	at, mounted := regexp.MustCompile(`https://auth\.example\.com([^"\s`+"`"+`]*)"`), regexp.MustCompile(`\bHandle\("(/\w+)/"`)
	urls, mounts := 0, 0
	for _, path := range slices.Concat(paths, docs, []string{"README.md"}) {
		if strings.HasSuffix(path, "_test.go") && path != filepath.Join("guard", "example_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range at.FindAllStringSubmatch(string(text), -1) {
			urls++
			if !slices.Contains(served, found[1]) {
				t.Errorf("%s shows https://auth.example.com%s: the server has nothing there", path, found[1])
			}
		}
		for _, found := range mounted.FindAllStringSubmatch(string(text), -1) {
			mounts++
			if !strings.Contains(string(text), `Handle("`+found[1]+`"`) {
				t.Errorf("%s mounts %s/ alone: ServeMux redirects %s", path, found[1], found[1])
			}
		}
	}
	if urls == 0 || mounts == 0 {
		t.Errorf("%d URLs and %d mounts are shown: the patterns of this test are wrong", urls, mounts)
	}
}

// docs/README.md leads to every page, and prose is at most 120 columns wide. Rows
// of tables cannot be wrapped.
func TestDocumentsAreListedAndNarrow(t *testing.T) {
	index, err := os.ReadFile("docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range documents(t) {
		name, ok := strings.CutPrefix(filepath.ToSlash(d.path), "docs/")
		if ok && name != "README.md" && !strings.Contains(string(index), "("+name+")") {
			t.Errorf("docs/README.md does not list %s", name)
		}
		for line := range strings.Lines(d.text) {
			if line = strings.TrimSuffix(line, "\n"); utf8.RuneCountInString(line) > 120 && !strings.HasPrefix(line, "|") {
				t.Errorf("%s has a line of %d columns: %s", d.path, utf8.RuneCountInString(line), line)
			}
		}
	}
}

// errors.md has each reason in one row, with the reason that it belongs to and
// who says it, and no others.
func TestErrorsOfTheReasons(t *testing.T) {
	code, err := os.ReadFile("reason.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[counterfoil.Reason]int{}
	said := regexp.MustCompile(`^(token endpoint|guard|client)(, (guard|client))*$`)
	for _, row := range regexp.MustCompile("(?m)^\\| `(.*?)` \\|(.*?)\\|(.*?)\\|(.*?)\\|(.*)\\|$").FindAllStringSubmatch(string(page), -1) {
		reason := counterfoil.Reason(row[1])
		rows[reason]++
		if got := strings.Trim(row[2], " `"); got != string(reason.Parent()) {
			t.Errorf("docs/errors.md says that %s belongs to %q; it belongs to %q", reason, got, reason.Parent())
		}
		if !said.MatchString(strings.TrimSpace(row[3])) || strings.TrimSpace(row[4]) == "" || strings.TrimSpace(row[5]) == "" {
			t.Errorf("docs/errors.md does not say of %s who says it, what it means and what to do", reason)
		}
	}
	reasons := regexp.MustCompile(`Reason = "(\w+)"`).FindAllStringSubmatch(string(code), -1)
	for _, found := range reasons {
		reason := counterfoil.Reason(found[1])
		if rows[reason] != 1 {
			t.Errorf("docs/errors.md has %d rows of %s", rows[reason], reason)
		}
		delete(rows, reason)
	}
	for reason := range rows {
		t.Errorf("docs/errors.md has the row %s, which is no reason", reason)
	}
	if len(reasons) < 60 {
		t.Errorf("reason.go has %d reasons: the pattern of this test is wrong", len(reasons))
	}
}
