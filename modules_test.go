package counterfoil_test

import (
	"encoding/json"
	"go/version"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// requirement is a line of a go.mod file that asks for a module.
type requirement struct{ Path, Version string }

// goMod is what 'go mod edit -json' says of a go.mod file.
type goMod struct {
	Module  requirement
	Go      string
	Require []requirement
	Replace []struct{ Old, New requirement }
}

func readGoMod(t *testing.T, dir string) goMod {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", filepath.Join(dir, "go.mod")).Output()
	if err != nil {
		t.Fatalf("%s/go.mod: %v", dir, err)
	}
	var m goMod
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// nested are the directories of the modules below this one.
func nested(t *testing.T) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules"):
			return filepath.SkipDir
		case !d.IsDir() && d.Name() == "go.mod" && path != "go.mod":
			dirs = append(dirs, filepath.ToSlash(filepath.Dir(path)))
		}
		return nil
	})
	if err != nil || len(dirs) == 0 {
		t.Fatalf("%d modules of their own, %v", len(dirs), err)
	}
	return dirs
}

// laterGo are the modules that are not imported and that need a later Go than the
// root, for what their tests import.
var laterGo = []string{"guard/wycheproof", "deploy"}

// apart are the modules that check files with other people's programs, and need
// nothing of this one.
var apart = []string{"deploy"}

// A nested module is built with the code that it extends, never with an older
// release, and with the same versions of what both need: an importer of both gets
// what is tested here.
func TestModulesOfTheirOwn(t *testing.T) {
	root := readGoMod(t, ".")
	versions := map[string]string{}
	for _, r := range root.Require {
		versions[r.Path] = r.Version
	}
	for _, dir := range nested(t) {
		m := readGoMod(t, dir)
		if want := module + "/" + dir; m.Module.Path != want {
			t.Errorf("%s/go.mod: the module is %s, not %s", dir, m.Module.Path, want)
		}
		if cmp := version.Compare("go"+m.Go, "go"+root.Go); cmp < 0 || cmp > 0 && !slices.Contains(laterGo, dir) {
			t.Errorf("%s/go.mod: go %s, not %s as in the root", dir, m.Go, root.Go)
		}
		replaced := map[string]string{}
		for _, r := range m.Replace {
			replaced[r.Old.Path] = r.New.Path
			if _, ok := own(r.Old.Path); !ok {
				t.Errorf("%s/go.mod replaces %s, which importers would not get", dir, r.Old.Path)
			}
		}
		if !slices.Contains(apart, dir) && !slices.ContainsFunc(m.Require, func(r requirement) bool { return r.Path == module }) {
			t.Errorf("%s/go.mod does not require %s: why is it here?", dir, module)
		}
		for _, r := range m.Require {
			at, ok := own(r.Path)
			if !ok {
				if want := versions[r.Path]; want != "" && r.Version != want {
					t.Errorf("%s/go.mod requires %s %s, the root %s", dir, r.Path, r.Version, want)
				}
				continue
			}
			want, err := filepath.Rel(dir, filepath.FromSlash(at))
			if err != nil {
				t.Fatal(err)
			}
			if got := replaced[r.Path]; r.Version != "v0.0.0" || got != filepath.ToSlash(want) {
				t.Errorf("%s/go.mod: %s %s => %q, want v0.0.0 => %s", dir, r.Path, r.Version, got, filepath.ToSlash(want))
			}
		}
	}
}

// broughtBy are the modules that an importer of a package builds, apart from
// this one.
func broughtBy(t *testing.T, path string) []string {
	t.Helper()
	all := packages(t)
	at := slices.IndexFunc(all, func(p pkg) bool { return p.ImportPath == path })
	if at < 0 {
		t.Fatalf("go list does not know %s", path)
	}
	var brought []string
	for _, dep := range all[at].Deps {
		if m := listed.modules[dep]; m != "" && m != module { // what has no module is of the standard library
			brought = append(brought, m)
		}
	}
	slices.Sort(brought)
	return slices.Compact(brought)
}

// TestModulesOfTheClient and TestModulesOfTheGuard hold the lists of modules that
// come with the client and the guard: an importer must be able to read all of
// them.
func TestModulesOfTheClient(t *testing.T) {
	brings(t, "client",
		"github.com/go-jose/go-jose/v4",
		"github.com/goccy/go-yaml",
		"golang.org/x/sync",
	)
}

// TestModulesOfWhatIsBesideTheClient holds the lists of those that the client's
// neighbours in this module bring with it.
func TestModulesOfWhatIsBesideTheClient(t *testing.T) {
	own := []string{"github.com/go-jose/go-jose/v4", "github.com/goccy/go-yaml", "golang.org/x/sync"}
	for path, more := range map[string][]string{
		"client/credential":         nil,
		"client/dircache":           {"github.com/gofrs/flock", "golang.org/x/sys"},
		"client/credential/agefile": {"filippo.io/age", "filippo.io/hpke", "golang.org/x/crypto", "golang.org/x/sys"},
		"client/credential/keyring": {"github.com/godbus/dbus/v5", "github.com/zalando/go-keyring"},
		"client/credential/vault":   nil,
		"client/fleet":              {"github.com/valkey-io/valkey-go", "golang.org/x/sys"},
	} {
		brings(t, path, append(more, own...)...)
	}
}

func TestModulesOfTheGuard(t *testing.T) {
	brings(t, "guard",
		"github.com/go-jose/go-jose/v4",
		"github.com/goccy/go-yaml",
		"golang.org/x/sync",
	)
}

func brings(t *testing.T, path string, listed ...string) {
	t.Helper()
	got := broughtBy(t, path)
	for _, m := range got {
		if !slices.Contains(listed, m) {
			t.Errorf("%s brings %s to its importers: do without, or move what needs it to a module of its own", path, m)
		}
	}
	for _, m := range listed {
		if !slices.Contains(got, m) {
			t.Errorf("%s does without %s: take it off the list", path, m)
		}
	}
}
