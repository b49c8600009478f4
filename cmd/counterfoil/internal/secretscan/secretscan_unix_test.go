//go:build unix

package secretscan_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/cmd/counterfoil/internal/secretscan"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
)

// repository is a git repository in a directory.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T, dir string) *repository {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := &repository{t, dir}
	r.git("init", "-q", "-b", "main")
	return r
}

// git runs git without the settings of whoever runs the tests.
func (r *repository) git(args ...string) string {
	r.t.Helper()
	return r.gitIn("", args...)
}

func (r *repository) gitIn(input string, args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{"-C", r.dir, "-c", "user.name=n", "-c", "user.email=e@example.com"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r *repository) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// commit commits everything and returns the commit.
func (r *repository) commit(message string) string {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", message)
	return r.git("rev-parse", "HEAD")
}

func secret() string { return cfsecret.New().Reveal() }

// scan scans a path and returns its findings in words, with the names of secrets.
func scan(t *testing.T, path string, names map[string]string) []string {
	t.Helper()
	r, err := secretscan.Scan(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range r.Findings {
		name, ok := names[f.Secret.Reveal()]
		if !ok {
			t.Errorf("found another secret: %+v", f)
		}
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s in %s %s %s:%d", name, f.Commit, f.Object, f.Path, f.Line)))
	}
	for _, err := range r.Unread {
		t.Errorf("not read: %v", err)
	}
	slices.Sort(all)
	return all
}

func wantFound(t *testing.T, got []string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestTree: files at any depth, of any content; no links, pipes and devices.
func TestTree(t *testing.T) {
	dir := t.TempDir()
	a, b, outside := secret(), secret(), secret()
	write := func(name, text string) string {
		path := filepath.Join(dir, "tree", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env := write("deep/er/.env", "A=1\nSECRET="+a+"\n")
	odd := write("with\nnew line\x1b[2K", a)
	binary := write("program", "\x7fELF\x00\x00"+b+"\x00")
	large := write("large", "")
	if err := os.Truncate(large, 300<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(large, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(a)
	if err := errors.Join(err, f.Close(), os.WriteFile(filepath.Join(dir, "outside"), []byte(outside), 0o600),
		os.Symlink("../outside", filepath.Join(dir, "tree", "link")), os.Symlink("..", filepath.Join(dir, "tree", "deep", "up")),
		syscall.Mkfifo(filepath.Join(dir, "tree", "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	names := map[string]string{a: "a", b: "b", outside: "outside"}
	wantFound(t, scan(t, filepath.Join(dir, "tree"), names), "a in   "+env+":2", "a in   "+odd+":1", "b in   "+binary+":1", "a in   "+large+":1")
	wantFound(t, scan(t, env, names), "a in   "+env+":2")
	if _, err := secretscan.Scan(t.Context(), filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// TestHistory: what was ever committed is found with its oldest commit, packed or not,
// and what no commit has as well.
func TestHistory(t *testing.T) {
	names := map[string]string{}
	made := func(name string) string {
		s := secret()
		names[s] = name
		return s
	}
	between := made("between")
	removed, moved, merged, message, tagged, dangling, staged, stashed := made("removed"), made("moved"), made("merged"), made("message"),
		made("tagged"), made("dangling"), made("staged"), made("stashed")
	r := newRepository(t, filepath.Join(t.TempDir(), "r"))
	r.write("a b/ü\n.env", "first\nS="+removed+"\n")
	r.write("keep", moved)
	one := r.commit("one")
	r.write("a b/ü\n.env", "zeroth\nfirst\nS="+removed+"\n")
	r.commit("two")
	r.git("mv", "keep", "kept")
	three := r.commit("three\n\nthe password is " + message)
	r.git("checkout", "-q", "-b", "side")
	r.write("side", merged)
	four := r.commit("four")
	r.git("checkout", "-q", "main")
	r.git("merge", "-q", "--no-ff", "--no-commit", "side")
	r.write("evil", between)
	merge := r.commit("merge")
	r.git("rm", "-q", "-r", "a b", "kept", "side", "evil")
	r.commit("all gone")
	r.git("branch", "-D", "side")
	r.git("tag", "-a", "-m", "see "+tagged, "v1")
	tag := r.git("rev-parse", "v1")
	lost := r.gitIn("x\n"+dangling, "hash-object", "-w", "--stdin")
	r.write("staged", staged)
	r.git("add", "staged")
	r.git("rm", "-q", "--cached", "staged")
	r.git("stash", "push", "-q", "--include-untracked")
	r.write("stashed", stashed)
	r.git("stash", "push", "-q", "--include-untracked")
	stash := r.git("rev-parse", "stash@{0}^3")
	older := r.git("rev-parse", "stash@{1}^3")
	want := []string{
		"removed in " + one + "  a b/ü\n.env:2", "moved in " + one + "  keep:1", "moved in " + three + "  kept:1", "merged in " + four + "  side:1", "between in " + merge + "  evil:1",
		"message in " + three + "  :0", "tagged in  " + tag + " :0", "dangling in  " + lost + " :2", "stashed in " + stash + "  stashed:1",
		"staged in " + older + "  staged:1",
	}
	wantFound(t, scan(t, r.dir, names), want...)
	r.git("gc", "-q", "--prune=never")
	wantFound(t, scan(t, r.dir, names), want...)
	// A repository within, and a bare one.
	outer := filepath.Dir(r.dir)
	if err := os.WriteFile(filepath.Join(outer, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantFound(t, scan(t, outer, names), want...)
	bare := filepath.Join(t.TempDir(), "bare.git")
	r.git("clone", "-q", "--mirror", ".", bare)
	got := scan(t, bare, names)
	if !slices.Contains(got, "removed in "+one+"  a b/ü\n.env:2") || !slices.Contains(got, "merged in "+four+"  side:1") {
		t.Errorf("in a bare repository: %v", got)
	}
	if below := scan(t, filepath.Dir(bare), names); !slices.Equal(below, got) {
		t.Errorf("in a bare repository below a directory: %v", below)
	}
}

// TestSubmodule: the history of a submodule is scanned once, and also when its files
// are gone.
func TestSubmodule(t *testing.T) {
	s := secret()
	inner := newRepository(t, filepath.Join(t.TempDir(), "inner"))
	inner.write("file", s)
	one := inner.commit("one")
	inner.git("rm", "-q", "file")
	inner.commit("two")
	outer := newRepository(t, filepath.Join(t.TempDir(), "outer"))
	outer.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.dir, "sub")
	outer.commit("add")
	names := map[string]string{s: "s"}
	wantFound(t, scan(t, outer.dir, names), "s in "+one+"  file:1")
	outer.git("submodule", "--quiet", "deinit", "--all")
	wantFound(t, scan(t, outer.dir, names), "s in "+one+"  file:1")
}

// TestRunsNothing: a repository of a stranger configures programs; none is run, and no
// other repository is read.
func TestRunsNothing(t *testing.T) {
	s := secret()
	r := newRepository(t, t.TempDir())
	r.write(".gitattributes", "* diff=evil filter=evil\n")
	r.write("file", s)
	one := r.commit("one")
	r.write("file", "")
	two := r.commit("two")
	r.git("replace", one, two)
	witness := filepath.Join(t.TempDir(), "witness")
	program := "sh -c 'touch " + witness + "'"
	for _, key := range []string{"core.fsmonitor", "diff.external", "diff.evil.command", "diff.evil.textconv", "filter.evil.smudge", "filter.evil.clean",
		"gpg.program", "core.pager", "pager.log", "core.sshCommand", "core.editor", "uploadpack.packObjectsHook", "remote.evil.uploadpack"} {
		r.git("config", key, program)
	}
	r.git("config", "log.showSignature", "true")
	r.git("config", "remote.evil.url", "ext::"+program)
	r.git("config", "remote.evil.promisor", "true")
	other := newRepository(t, t.TempDir())
	other.write("x", "")
	other.commit("other")
	t.Setenv("GIT_DIR", filepath.Join(other.dir, ".git"))
	t.Setenv("GIT_EXTERNAL_DIFF", program)
	wantFound(t, scan(t, r.dir, map[string]string{s: "s"}), "s in "+one+"  file:1")
	if _, err := os.Stat(witness); err == nil {
		t.Error("a program of the repository was run")
	}
}

// TestFetchesNothing: a repository of a stranger lacks an object, and says that another
// one here has it, by a program of its own.
func TestFetchesNothing(t *testing.T) {
	s := secret()
	r := newRepository(t, t.TempDir())
	r.write("file", s)
	r.commit("one")
	tree := r.git("rev-parse", "HEAD^{tree}")
	witness := filepath.Join(t.TempDir(), "witness")
	for key, value := range map[string]string{
		"core.repositoryFormatVersion": "1", "extensions.partialClone": "evil", "remote.evil.promisor": "true", "remote.evil.url": r.dir,
		"remote.evil.uploadpack": "touch " + witness + "; git-upload-pack",
	} {
		r.git("config", key, value)
	}
	if err := os.Remove(filepath.Join(r.dir, ".git/objects", tree[:2], tree[2:])); err != nil {
		t.Fatal(err)
	}
	got, err := secretscan.Scan(t.Context(), r.dir)
	if err != nil || len(got.Findings) == 0 || len(got.Unread) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := os.Stat(witness); err == nil {
		t.Error("a program of the repository was run")
	}
}

// TestNotRead: what cannot be read is said, and the rest is scanned.
func TestNotRead(t *testing.T) {
	s := secret()
	unread := func(dir, want string) {
		t.Helper()
		r, err := secretscan.Scan(t.Context(), dir)
		if err != nil || len(r.Unread) != 1 || !strings.Contains(r.Unread[0].Error(), want) || strings.ContainsAny(r.Unread[0].Error(), "\n\x1b") {
			t.Fatalf("%+v, %v, want %q", r, err, want)
		}
		if len(r.Findings) != 1 || r.Findings[0].Path != filepath.Join(dir, "file") {
			t.Errorf("found %+v", r.Findings)
		}
	}
	r := newRepository(t, t.TempDir())
	r.commit("one")
	r.write("file", s)
	broken := newRepository(t, t.TempDir())
	broken.write("file", s)
	object := broken.gitIn("text", "hash-object", "-w", "--stdin")
	path := filepath.Join(broken.dir, ".git/objects", object[:2], object[2:])
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("garbage"), 0o600)); err != nil {
		t.Fatal(err)
	}
	unread(broken.dir, "the history of "+broken.dir)
	none := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(none, ".git"), 0o700), os.WriteFile(filepath.Join(none, "file"), []byte(s), 0o600)); err != nil {
		t.Fatal(err)
	}
	unread(none, "not a git repository")
	t.Setenv("PATH", t.TempDir())
	unread(r.dir, "git is not installed: its history was not read")
}

// TestBounds: no end of findings, in a file and in a history.
func TestBounds(t *testing.T) {
	text := strings.Repeat(secret()+"\n", secretscan.MaxFindings+5)
	r, err := secretscan.Read(strings.NewReader(text), "-")
	if err != nil || len(r.Findings) != secretscan.MaxFindings || len(r.Unread) != 1 {
		t.Errorf("%d findings, %v, %v", len(r.Findings), r.Unread, err)
	}
	g := newRepository(t, t.TempDir())
	g.write("file", text)
	g.commit("one")
	g.git("rm", "-q", "file")
	g.commit("two")
	r, err = secretscan.Scan(t.Context(), g.dir)
	if err != nil || len(r.Findings) > secretscan.MaxFindings || len(r.Findings) == 0 || len(r.Unread) != 1 {
		t.Errorf("%d findings, %v, %v", len(r.Findings), r.Unread, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := secretscan.Scan(ctx, g.dir); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
