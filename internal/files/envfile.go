package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxEnv bounds an environment file, in bytes.
const maxEnv = 1 << 20

// Env is an environment file: settings KEY=value that a POSIX shell can source.
// Its order is kept.
type Env []Setting

// Setting is one assignment of an Env.
type Setting struct {
	Key, Value string
	// Err says why there is no Value, such as that sh would compute it.
	Err error
}

// Get returns the value of key, or "" if it is not set.
func (e Env) Get(key string) string {
	value, _ := e.Lookup(key)
	return value
}

// Lookup returns the value of key, or "" if it is not set. Of several values the
// last one counts.
func (e Env) Lookup(key string) (string, error) {
	for i := len(e) - 1; i >= 0; i-- {
		if e[i].Key == key {
			return e[i].Value, e[i].Err
		}
	}
	return "", nil
}

// Bytes returns the file's content. Values with characters that are special to a
// shell are put into single quotes.
func (e Env) Bytes() []byte {
	var b bytes.Buffer
	for _, s := range e {
		fmt.Fprintf(&b, "%s=%s\n", s.Key, quote(s.Value))
	}
	return b.Bytes()
}

// plain are the characters that are not special to a shell anywhere in a word.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"

func quote(s string) string {
	if strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// ReadEnv reads an environment file; it refuses one that everyone can write.
func ReadEnv(path string) (Env, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseEnv(f, path)
}

// ParseEnv reads r as sh does when it sources a file: assignments, also several on
// a line and after export, with comments, quotes, escapes and continued lines; of
// two equal names the last one counts. Nothing is run or looked up: for a value
// that sh would compute, only that setting has an Err. A line that is not an
// assignment is an error of the whole file. Lines may end in CR LF. Errors call the
// file name.
func ParseEnv(r io.Reader, name string) (Env, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxEnv+1))
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if len(b) > maxEnv {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxEnv)
	}
	if b, err = Text(b); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return nil, fmt.Errorf("%s:%d: it has a NUL byte: it is not text", name, 1+bytes.Count(b[:i], []byte("\n")))
	}
	s := &scanner{text: string(b), line: 1}
	var env Env
	for {
		s.blanks()
		if s.rest() == "" {
			return env, nil
		}
		if s.newline() {
			s.next()
			continue
		}
		line := s.line
		set, err := s.settings()
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, line, err)
		}
		for i := range set {
			if set[i].Err != nil {
				set[i].Err = fmt.Errorf("%s:%d: %w", name, line, set[i].Err)
			}
		}
		env = append(env, set...)
	}
}

var (
	errNoSetting = errors.New("this line is not KEY=value")
	errOpen      = errors.New("a quote or a bracket that begins here does not end")
	errComputed  = errors.New("sh would compute this value: write it out, in single quotes")
	errRuns      = errors.New("sh would run a command here: put a value with spaces or operators into single quotes")
	errSpaces    = errors.New("write KEY=value, without spaces around =")
	errName      = errors.New("sh takes no such name: it has letters, digits and _ only, and begins with no digit")
)

// settings reads one command of the file.
func (s *scanner) settings() (Env, error) {
	words, runs, err := s.command()
	switch {
	case err != nil:
		return nil, err
	case len(words) == 0:
		return nil, errNoSetting
	case len(words) > 1 && isName(words[0].text) && strings.HasPrefix(words[1].text, "="):
		return Env{{Key: words[0].text, Err: errSpaces}}, nil
	case words[0].is("set") && isAllExport(words[1:]) && !runs:
		return nil, nil
	}
	exports := words[0].is("export")
	if exports {
		words = words[1:]
	}
	var env Env
	for _, w := range words {
		key, value, ok := w.assignment()
		set := Setting{Key: key, Value: value}
		switch {
		case !ok && exports && isName(w.text) && !w.computed && !w.pattern:
			continue
		case !ok && (exports || len(env) == 0):
			return nil, errNoSetting
		case !ok:
			runs = true // what follows are the arguments of a command
			continue
		case !isName(key):
			set.Key, set.Err = strings.TrimSuffix(key, "+"), errName
			runs = runs || !exports // to sh it is the name of a command
		case w.computed, exports && w.pattern:
			set.Err = errComputed
		}
		env = append(env, set)
	}
	if runs && len(env) == 0 {
		return nil, errNoSetting
	}
	for i := range env {
		if runs && env[i].Err == nil {
			env[i].Err = errRuns
		}
		if env[i].Err != nil {
			env[i].Value = ""
		}
	}
	return env, nil
}

func isAllExport(words []word) bool {
	switch len(words) {
	case 1:
		return words[0].is("-a") || words[0].is("+a")
	case 2:
		return (words[0].is("-o") || words[0].is("+o")) && words[1].is("allexport")
	}
	return false
}

func isName(s string) bool {
	return s != "" && strings.Trim(s, plain[:63]) == "" && (s[0] < '0' || s[0] > '9')
}
