// Package command gives secrets that a program prints, which is how the command
// lines of secret managers give them: those of Vault, AWS, Azure, Google, 1Password
// and pass. Use it as the scheme "exec" of [credential.Open]:
//
//	secret, err := credential.Open("exec:pass show acme/client-secret", credential.Schemes{"exec": command.Opener(command.Config{})})
//
// A reference of this kind runs whatever it says: take it only from a place that
// nobody else writes. It promises that there is no shell; that a program ends after
// 10 s, and with it what it has started, but for what makes itself a daemon; that values are kept as by [credential.Keep]; and
// that no error holds what the program printed on its standard output.
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
	// maxErrors bounds what is read of a program's errors, and maxShown what is
	// shown, in bytes.
	maxErrors, maxShown = 64 << 10, 600
)

// Config says how programs are run. Its zero value works.
type Config struct {
	// Dir is where programs run, and what their relative paths are relative to;
	// default the working directory.
	Dir string
	// Clock is for tests; default the machine's.
	Clock counterfoil.Clock
}

// Opener opens argument lists: PROGRAM and its arguments, parted by blanks, in
// quotes where they have blanks themselves, or as an array of JSON. A program
// without a slash is looked for in PATH. There is no shell: what would need one is
// refused.
//
// The program has this program's environment and no standard input. The secret is
// its standard output without the line ends behind it. It has failed when its exit
// code is not 0; then its standard error is shown, without what it has printed.
// What it has started may hold its output for a second longer, and is ended then.
//
// A value is fresh for 30 s and then asked for again; while the program fails the
// last one serves for an hour.
func Opener(c Config) credential.Opener {
	return func(reference string) (client.SecretFunc, error) {
		args, err := arguments(reference)
		if err != nil {
			return nil, err
		}
		// Arguments may hold what is nobody's business.
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
		return nil, errors.New("it names no program: write exec:PROGRAM ARGUMENT…")
	}
	if strings.ContainsFunc(args[0], unicode.IsControl) || strings.Contains(strings.Join(args, ""), "\x00") {
		return nil, errors.New("it has a control character where none can be")
	}
	return args, nil
}

// find returns the path of a program, which is not one that anybody can write.
func (c Config) find(program string) (string, error) {
	path := program
	if strings.ContainsRune(program, filepath.Separator) && !filepath.IsAbs(program) {
		path = filepath.Join(c.Dir, program)
		if !filepath.IsAbs(path) { // otherwise it would be taken from Dir once more
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
	cmd.WaitDelay = time.Second // for what it has started and what holds its output
	end := alone(cmd)
	err = cmd.Run()
	end()
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it has succeeded, and only what it has started held its output
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
		return "", fmt.Errorf("what it printed: %w", bad)
	}
	return content.Secret(string(text))
}

// withoutPath is what happened, without the path that the error of a start names.
func withoutPath(err error) error {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err
	}
	return err
}

// said is what a program said on its standard error, on one line, without what it
// printed: a script that shows its steps shows that, too.
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

// bounded keeps the first bytes of what is written, and takes the rest.
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
