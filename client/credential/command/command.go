// Package command gives secrets that a program prints, which is how the command
// lines of secret managers give them: those of Vault, AWS, Azure, Google, 1Password
// and pass. Use it as the scheme "exec" of [credential.Open]:
//
//	secret, err := credential.Open("exec:pass show acme/client-secret", credential.Schemes{"exec": command.Opener(command.Config{})})
//
// A reference of this kind runs its command: accept it only from a place that
// nobody else can write. There is no shell. A program is killed after 10 s, with
// its child processes, except those that become daemons. Values are cached by
// [credential.Keep]. No error holds the program's standard output.
package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/credential"
	"github.com/counterfoil/counterfoil/client/credential/internal/content"
	"github.com/counterfoil/counterfoil/client/internal/sent"
	"github.com/counterfoil/counterfoil/internal/files"
)

const (
	// limit bounds a run.
	limit = 10 * time.Second
	// maxErrors bounds what is read of a program's standard error, and maxShown
	// what is shown, in bytes.
	maxErrors, maxShown = 64 << 10, 600
)

// Config says how programs are run. Its zero value works.
type Config struct {
	// Dir is where programs run, and the base of their relative paths; default
	// the working directory.
	Dir string
	// Clock is for tests; default the machine's.
	Clock counterfoil.Clock
}

// Opener opens argument lists: PROGRAM and its arguments, separated by blanks,
// in quotes if they contain blanks, or as a JSON array. A program without a
// slash is looked up in PATH. There is no shell: text that would need one is
// refused.
//
// The program has this program's environment and no standard input. The secret
// is its standard output without trailing line ends. It has failed if its exit
// code is not 0; then its standard error is shown, without its output. Child
// processes may hold its output for a second longer, and are killed then.
//
// A value is fresh for 30 s and then read again; while the program fails the
// last one is used for an hour.
func Opener(c Config) credential.Opener {
	return func(reference string) (client.SecretFunc, error) {
		args, err := arguments(reference)
		if err != nil {
			return nil, err
		}
		// Arguments may be confidential.
		shown := "exec:" + args[0]
		if len(args) > 1 {
			shown += " …"
		}
		get := credential.Keep(func(ctx context.Context) (counterfoil.Secret, error) {
			v, err := c.run(ctx, args)
			if err != nil {
				return "", fmt.Errorf("secret %s: %w", shown, err)
			}
			return v, nil
		}, credential.KeepOptions{Limit: limit, Clock: c.Clock})
		return func(ctx context.Context) (counterfoil.Secret, error) {
			v, err := get(ctx)
			if err == nil {
				err = sent.Check(ctx, shown, v, true)
			}
			return v, err
		}, nil
	}
}

func arguments(reference string) (args []string, err error) {
	if strings.HasPrefix(strings.TrimSpace(reference), "[") {
		if json.Unmarshal([]byte(reference), &args) != nil {
			return nil, errors.New(`it is no list of arguments: write exec:["PROGRAM","ARGUMENT"]`)
		}
	} else if args, err = files.Words(reference); err != nil {
		return nil, err
	}
	if len(args) == 0 || args[0] == "" {
		return nil, errors.New("it does not name a program: write exec:PROGRAM ARGUMENT…")
	}
	if strings.ContainsFunc(args[0], unicode.IsControl) || strings.Contains(strings.Join(args, ""), "\x00") {
		return nil, errors.New("it has a control character where none is allowed")
	}
	return args, nil
}

// find returns the path of a program, unless anybody can write it.
func (c Config) find(program string) (string, error) {
	path := program
	if strings.ContainsRune(program, filepath.Separator) && !filepath.IsAbs(program) {
		path = filepath.Join(c.Dir, program)
		if !filepath.IsAbs(path) { // otherwise it would be resolved against Dir again
			var err error
			if path, err = filepath.Abs(path); err != nil {
				return "", err
			}
		}
	}
	path, err := exec.LookPath(path)
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("there is no such program in PATH: install it, or write its path")
	case errors.Is(err, os.ErrPermission):
		return "", errors.New("it cannot be run: chmod +x it")
	case err != nil:
		return "", errors.New("there is no such program: correct its path")
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return path, files.Writable(info)
}

// run runs the program once.
func (c Config) run(ctx context.Context, args []string) (counterfoil.Secret, error) {
	path, err := c.find(args[0])
	if err != nil {
		return "", err
	}
	out, errs := &bounded{max: content.MaxFile}, &bounded{max: maxErrors}
	defer func() { clear(out.b.Bytes()) }()
	cmd := exec.CommandContext(ctx, path, args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Dir = c.Dir
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.WaitDelay = time.Second // for child processes that hold its output
	end := alone(cmd)
	err = cmd.Run()
	end()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it has succeeded, and only child processes held its output
	}
	text, bad := files.Text(out.b.Bytes())
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("it did not end within %s%s", limit, said(errs, text))
	case err != nil:
		return "", fmt.Errorf("it failed (%w)%s", withoutPath(err), said(errs, text))
	case out.over:
		return "", fmt.Errorf("it printed more than %d bytes", content.MaxFile)
	case bad != nil:
		return "", fmt.Errorf("its output: %w", bad)
	}
	return content.Secret(string(text))
}

// withoutPath is the error of a start without the path that it names.
func withoutPath(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}

// said is a program's standard error, on one line, without its output: a script
// that prints its steps prints that, too.
func said(errs *bounded, printed []byte) string {
	text := strings.ToValidUTF8(errs.b.String(), "")
	for line := range strings.Lines(string(printed)) {
		if line = strings.TrimSpace(line); line != "" {
			text = strings.ReplaceAll(text, line, "[redacted]")
		}
	}
	text = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)), " ")
	if len(text) > maxShown {
		text = "…" + strings.ToValidUTF8(text[len(text)-maxShown:], "")
	}
	if text == "" {
		return ""
	}
	return ": " + text
}

// bounded keeps the first bytes that are written, and discards the rest.
type bounded struct {
	b    bytes.Buffer
	max  int
	over bool
}

var _ io.Writer = (*bounded)(nil)

func (w *bounded) Write(p []byte) (int, error) {
	room := w.max - w.b.Len()
	if len(p) > room {
		w.over = true
		w.b.Write(p[:room])
		return len(p), nil
	}
	return w.b.Write(p)
}
