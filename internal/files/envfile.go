package files

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxEnv bounds an environment file, in bytes.
const maxEnv = 1 << 20

// Env is an environment file: lines KEY=value that a POSIX shell can source.
// Its order is kept.
type Env []Setting

// Setting is one line of an Env.
type Setting struct{ Key, Value string }

// Get returns the value of key, "" when there is none.
func (e Env) Get(key string) string {
	for _, s := range e {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// Bytes returns the file's content. Values that a shell would read otherwise
// are put into single quotes.
func (e Env) Bytes() []byte {
	var b bytes.Buffer
	for _, s := range e {
		fmt.Fprintf(&b, "%s=%s\n", s.Key, quote(s.Value))
	}
	return b.Bytes()
}

// plain are the characters that mean themselves to a shell everywhere in a word.
const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-"

func quote(s string) string {
	if strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// ReadEnv reads an environment file as Bytes writes it: KEY=value, with blank
// lines and comments, an optional "export", and values bare or in quotes.
func ReadEnv(path string) (Env, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ParseEnv(f, path)
}

// ParseEnv is ReadEnv of what r gives; errors call it name.
func ParseEnv(r io.Reader, name string) (Env, error) {
	var env Env
	sc := bufio.NewScanner(io.LimitReader(r, maxEnv))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !ok {
			return nil, fmt.Errorf("%s:%d: this line is not KEY=value", name, n)
		}
		env = append(env, Setting{Key: key, Value: unquote(value)})
	}
	return env, sc.Err()
}

func unquote(s string) string {
	switch {
	case len(s) >= 2 && s[0] == '\'' && s[len(s)-1] == '\'':
		return strings.ReplaceAll(s[1:len(s)-1], `'\''`, "'")
	case len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"':
		return s[1 : len(s)-1]
	}
	return s
}
