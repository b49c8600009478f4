package secretscan

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/event"
)

// ErrNoGit means that a history was not read because git is not installed.
var ErrNoGit = errors.New("git is not installed: its history was not read")

// history scans all objects of a repository, also those that no branch has.
func (r *Result) history(ctx context.Context, dir string) error {
	if _, err := exec.LookPath("git"); err != nil {
		r.Unread = append(r.Unread, fmt.Errorf("%s: %w", dir, ErrNoGit))
		return nil
	}
	blobs := map[string][]Finding{}
	scanned := new(Result)
	err := run(ctx, dir, func(out *bufio.Reader) error {
		for {
			if err := scanned.object(out, dir, blobs); err != nil {
				return err
			}
		}
	}, "cat-file", "--batch-all-objects", "--batch", "--buffer", "--unordered")
	if err == nil && len(blobs) > 0 {
		err = run(ctx, dir, func(out *bufio.Reader) error { return scanned.place(out, dir, blobs) },
			"log", "--all", "--reflog", "--topo-order", "--reverse", "--raw", "-z", "-m", "--root", "--no-renames", "--no-abbrev",
			"--no-ext-diff", "--no-textconv", "--no-show-signature", "--format=%x01%H")
	}
	full := errors.Is(err, errFull)
	if err != nil && !full && ctx.Err() == nil {
		r.Unread = append(r.Unread, fmt.Errorf("the history of %s: %w", dir, err))
		err = nil
	}
	for object, all := range blobs { // those that no commit has
		for _, f := range all {
			f.Object = object
			scanned.Findings = append(scanned.Findings, f)
		}
	}
	slices.SortStableFunc(scanned.Findings, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
	for _, f := range scanned.Findings {
		if err := r.add(f); err != nil {
			return err
		}
	}
	return err
}

// object scans the next object of the output of 'git cat-file --batch': findings in
// files go into blobs, by the file's object, those in messages of commits and tags
// into r. Trees have only names.
func (r *Result) object(out *bufio.Reader, dir string, blobs map[string][]Finding) error {
	head, err := out.ReadString('\n')
	if err != nil {
		return err
	}
	words := strings.Fields(head)
	if len(words) != 3 {
		return fmt.Errorf("git cannot read an object: %s", event.Clean(strings.TrimSpace(head), 200))
	}
	size, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil || size < 0 {
		return errors.New("git says something else than sizes of objects")
	}
	content := &io.LimitedReader{R: out, N: size}
	found := &Result{}
	if words[1] != "tree" {
		err = found.read(content, Finding{Repository: dir})
	}
	if err == nil {
		_, err = io.Copy(io.Discard, content)
	}
	if err == nil && content.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		_, err = out.Discard(1)
	}
	for i := range found.Findings {
		f := &found.Findings[i]
		switch words[1] {
		case "commit":
			f.Commit, f.Line = words[0], 0
		case "tag":
			f.Object, f.Line = words[0], 0
		}
	}
	switch {
	case len(found.Findings) == 0:
	case words[1] == "blob":
		blobs[words[0]] = found.Findings
		if len(blobs) > MaxFindings {
			err = errFull
		}
	default:
		for _, f := range found.Findings {
			err = errors.Join(err, r.add(f))
		}
	}
	return err
}

// place gives the findings in files their commits and paths, as the output of 'git log
// --raw -z' has them from the oldest commit on, and removes them from blobs. A secret
// that stays in a file through many commits is one finding.
func (r *Result) place(out *bufio.Reader, dir string, blobs map[string][]Finding) error {
	type place struct {
		secret counterfoil.Secret
		path   string
	}
	seen, placed := map[place]bool{}, map[string]bool{}
	defer func() {
		for object := range placed {
			delete(blobs, object)
		}
	}()
	commit := ""
	for {
		text, err := out.ReadString(0)
		if err != nil {
			return err
		}
		text = strings.TrimSuffix(text, "\x00")
		if is, ok := strings.CutPrefix(text, "\x01"); ok {
			commit = is
			continue
		}
		change := strings.Fields(text) // :MODE MODE OBJECT OBJECT STATUS
		path, err := out.ReadString(0)
		if err != nil {
			return err
		}
		if len(change) != 5 {
			return errors.New("git says something else than changes")
		}
		for _, f := range blobs[change[3]] {
			placed[change[3]] = true
			f.Commit, f.Path = commit, strings.TrimSuffix(path, "\x00")
			if at := (place{f.Secret, f.Path}); !seen[at] {
				seen[at] = true
				if err := r.add(f); err != nil {
					return err
				}
			}
		}
	}
}

// run runs git in a repository and has read read its output, up to io.EOF. Nothing
// that the repository or the environment configures is run or fetched, and it is the
// repository in dir, whatever the environment says.
func run(ctx context.Context, dir string, read func(*bufio.Reader) error, args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "--no-pager", "--no-replace-objects", "-c", "core.fsmonitor=false"},
		args...)...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GIT_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	said := &bounded{most: 4 << 10}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	err = read(bufio.NewReaderSize(out, 64<<10))
	ended := errors.Is(err, io.EOF)
	if !ended {
		cancel()
	}
	failed := cmd.Wait()
	switch {
	case !ended:
		return err
	case failed != nil:
		line, _, _ := strings.Cut(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("git %s: %s", args[0], event.Clean(strings.TrimPrefix(line, "fatal: "), 300))
	}
	return nil
}

// bounded keeps the beginning of what is written.
type bounded struct {
	bytes.Buffer
	most int
}

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), b.most-b.Len())])
	return len(p), nil
}
