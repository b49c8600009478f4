package files_test

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/files"
)

// Environment files are read as sh reads them.
func TestParseEnv(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"plain":                          {"A=b", "b"},
		"empty":                          {"A=", ""},
		"byte order mark":                {"\xef\xbb\xbfA=b\n", "b"},
		"UTF-16":                         {"\xff\xfeA\x00=\x00b\x00\n\x00", "b"},
		"CR LF":                          {"B=1\r\nA=b\r\nC=1\r\n", "b"},
		"CR LF, no end":                  {"A=b\r", "b"},
		"blank lines":                    {"\n \t\nA=b\n\n", "b"},
		"spaces before":                  {"  A=b", "b"},
		"spaces behind":                  {"A=b  \t\n", "b"},
		"comment above":                  {"# A=c\nA=b", "b"},
		"comment behind":                 {"A=b # rotated", "b"},
		"comment behind quotes":          {"A='b' # it's rotated", "b"},
		"# in a value":                   {"A=b#c", "b#c"},
		"# in quotes":                    {"A='b #c'", "b #c"},
		"# at the start of a value":      {"A=#b", "#b"},
		"single quotes":                  {`A='b "c" \d $e'`, `b "c" \d $e`},
		"double quotes":                  {`A="b 'c' \d"`, `b 'c' \d`},
		"escapes in double quotes":       {`A="\$b \"c\" \\ \` + "`" + `"`, "$b \"c\" \\ `"},
		"escapes":                        {`A=b\ c\$\'\"\\`, `b c$'"\`},
		"quotes side by side":            {`A=b'c'"d"\e`, "bcde"},
		"quoted quote":                   {`A='it'\''s'`, "it's"},
		"quotes over two lines":          {"A='b\nc'", "b\nc"},
		"a line that goes on":            {"A=b\\\nc", "bc"},
		"a line that goes on in quotes":  {"A=\"b\\\nc\"", "bc"},
		"a line that goes on, CR LF":     {"A=b\\\r\nc\r\n", "bc"},
		"two equal names":                {"A=old\nA=b", "b"},
		"two equal names, exported":      {"export A=old\nexport A=b", "b"},
		"two on a line":                  {"B=1 A=b", "b"},
		"two on a line, semicolon":       {"B=1; A=b;", "b"},
		"export":                         {"export A=b", "b"},
		"export of two":                  {"export B=1 A=b", "b"},
		"export later":                   {"A=b\nexport A B", "b"},
		"export in quotes":               {`export A="b c"`, "b c"},
		"set -a":                         {"set -a\nA=b\nset +a", "b"},
		"set -o allexport":               {"set -o allexport; A=b; set +o allexport", "b"},
		"= in a value":                   {"A=b==", "b=="},
		"pattern":                        {"A=b*[c]?", "b*[c]?"},
		"braces":                         {"A={b,c}", "{b,c}"},
		"a dollar that begins nothing":   {"A=b$", "b$"},
		"a dollar in quotes":             {`A="b$ c$"`, "b$ c$"},
		"tilde inside":                   {"A=b~c", "b~c"},
		"tilde in quotes":                {"A='~'/b", "~/b"},
		"percent, at, exclamation":       {"A=%b@c!d^e", "%b@c!d^e"},
		"computed before, written later": {"A=$(false)\nA=b", "b"},
		"another name computed":          {"B=$(date)\nC=`date`\nD=$HOME\nE=${X:-\"it's }\"}\nF=~/x\nG=\"$((1+(2)))\"\nA=b\nH=$HOME", "b"},
		"computed over lines":            {"B=$(echo 'x\nA=c' \"A=d)\nA=e\"\nA=f\n)\nA=b", "b"},
		"computed in double quotes":      {"B=\"${x:-it's}\"\nA=b\nC='x'", "b"},
		"another name runs a command":    {"B=two words\nA=b", "b"},
		"another name is no name":        {"my-key=1\n1x=2\nC+=3\nA=b", "b"},
		"another name with spaces":       {"B = 1\nA=b", "b"},
	} {
		t.Run(name, func(t *testing.T) {
			env, err := files.ParseEnv(strings.NewReader(row.text), "x.env")
			if err != nil {
				t.Fatal(err)
			}
			if got, err := env.Lookup("A"); err != nil || got != row.want {
				t.Errorf("got %q, %v", got, err)
			}
			if got, ok := sh(t, strings.NewReplacer("\xef\xbb\xbf", "", "\r", "").Replace(row.text))["A"]; !strings.Contains(row.text, "\x00") && (!ok || got != row.want) {
				t.Errorf("sh reads %q", got)
			}
		})
	}
	for name, row := range map[string]struct{ text, err string }{
		"command":              {"B=1\nA=$(date)", "x.env:2: sh would compute this value"},
		"backquotes":           {"A=`date`", "x.env:1: sh would compute"},
		"variable":             {"A=$HOME", "would compute"},
		"variable in quotes":   {`A="b ${HOME}"`, "would compute"},
		"arithmetic":           {"A=$((1+1))", "would compute"},
		"tilde":                {"A=~/b", "would compute"},
		"tilde behind a colon": {"A=b:~", "would compute"},
		"ANSI quotes":          {`A=$'b'`, "would compute"},
		"pattern of export":    {"export A=*", "would compute"},
		"two words":            {"A=two words", "sh would run a command here"},
		"a space before":       {"A= b", "sh would run a command here"},
		"background":           {"A=b & B=c", "sh would run a command here"},
		"pipe":                 {"A=b | B=c", "sh would run a command here"},
		"or, on the next line": {"B=1 ||\nA=b", "sh would run a command here"},
		"redirection":          {"A=b >c", "sh would run a command here"},
		"spaces around =":      {"A = b", "write KEY=value, without spaces"},
		"computed later":       {"A=b\nA=$(date)", "would compute"},
		"appended":             {"A=b\nA+=c", "sh takes no such name"},
	} {
		t.Run(name, func(t *testing.T) {
			env, err := files.ParseEnv(strings.NewReader(row.text+"\nOTHER=1"), "x.env")
			if err != nil {
				t.Fatal(err)
			}
			if got, err := env.Lookup("A"); err == nil || got != "" || !strings.Contains(err.Error(), row.err) {
				t.Errorf("got %q, %v", got, err)
			}
			if env.Get("OTHER") != "1" {
				t.Error("the line behind it is not read")
			}
		})
	}
	for name, row := range map[string]struct{ text, err string }{
		"no setting":             {"A=1\n\n# b\nnot a setting\n", "x.env:4: this line is not KEY=value"},
		"a word":                 {"secret", "x.env:1: this line is not KEY=value"},
		"a program":              {". other.env", "is not KEY=value"},
		"a condition":            {"if true; then A=1; fi", "is not KEY=value"},
		"a group":                {"{ A=1; }", "is not KEY=value"},
		"a subshell":             {"(A=1)", "is not KEY=value"},
		"a list":                 {"A=(1 2)", "is not KEY=value"},
		"a document":             {"A=1 <<X\nA=2\nX", "is not KEY=value"},
		"two semicolons":         {"A=1;;", "is not KEY=value"},
		"unset":                  {"A=1\nunset A", "x.env:2: this line is not KEY=value"},
		"a quote that stays":     {"B=1\nA='b", "x.env:2: a quote or a bracket that begins here does not end"},
		"a double quote":         {`A="b`, "does not end"},
		"a command that stays":   {"A=$(b", "does not end"},
		"a bracket in quotes":    {`A="${b"`, "does not end"},
		"brackets in one other":  {"A=" + strings.Repeat("$(", 100000), "does not end"},
		"NUL":                    {"A=1\nB=\x00", "x.env:2: it has a NUL byte"},
		"UTF-16 without a mark":  {"A\x00=\x00", "x.env: it is UTF-16 without a byte order mark"},
		"larger than a megabyte": {strings.Repeat("A=1\n", 1<<18+1), "x.env is larger than 1048576 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := files.ParseEnv(strings.NewReader(row.text), "x.env"); err == nil || !strings.Contains(err.Error(), row.err) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := files.ReadEnv(filepath.Join(t.TempDir(), "x.env")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// sh is what a shell has in its environment after it read the text; nil when it
// gave up.
func sh(t *testing.T, text string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.env"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `set -a; . ./x.env; set +a; exec /usr/bin/env -0`)
	cmd.Dir, cmd.Env = dir, []string{"PATH=/nonexistent", "HOME=/home/of/somebody"}
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for line := range strings.SplitSeq(string(out), "\x00") {
		key, value, _ := strings.Cut(line, "=")
		all[key] = value
	}
	return all
}

// Whatever stands in a file: what is read is what sh reads, and what sh refuses is
// refused.
func TestParseEnvLikeSh(t *testing.T) {
	parts := []string{"A=", "B=", "x", "y z", "'", "'", `"`, `"`, `\`, "\n", "\n", " ", "\t", ";", "#", "$", "$HOME", "${HOME:-'}", "$(", ")", "`", "~", ":", "=",
		"export ", "set -a", "&", "|", "*", "é", "\\\n", "{", "}", "A=1\n", "B='q r'\n", "+=", "!", "<", "10"}
	seed := rand.New(rand.NewPCG(1, 2))
	read := 0
	for range 1500 {
		var b strings.Builder
		b.WriteString("A=1\n")
		for range 1 + seed.IntN(9) {
			b.WriteString(parts[seed.IntN(len(parts))])
		}
		text := b.String()
		env, err := files.ParseEnv(strings.NewReader(text), "x.env")
		if err != nil {
			continue
		}
		failed := slices.ContainsFunc(env, func(s files.Setting) bool { return s.Err != nil })
		shell := sh(t, text)
		if shell == nil && !failed {
			t.Errorf("%q: sh refuses it, and it was read: %v", text, env)
		}
		if shell == nil {
			continue
		}
		for _, name := range []string{"A", "B"} {
			got, err := env.Lookup(name)
			if err != nil {
				continue
			}
			read++
			if got != shell[name] {
				t.Errorf("%q: %s is %q, and sh reads %q", text, name, got, shell[name])
			}
		}
	}
	if read < 300 {
		t.Errorf("only %d values were read", read)
	}
}

// A command line without a shell is split as a shell splits it.
func TestWords(t *testing.T) {
	for text, want := range map[string][]string{
		"a":                          {"a"},
		"  a  b\t c ":                {"a", "b", "c"},
		`a 'b c' "d e" f\ g`:         {"a", "b c", "d e", "f g"},
		`a '' ""`:                    {"a", "", ""},
		`op read 'op://a/b c'`:       {"op", "read", "op://a/b c"},
		`az --query value -o tsv`:    {"az", "--query", "value", "-o", "tsv"},
		`a '$b' "\$c" '*' '|' a=b#c`: {"a", "$b", "$c", "*", "|", "a=b#c"},
		"":                           {},
	} {
		if got, err := files.Words(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"a | b", "a; b", "a && b", "a > b", "a $b", "a `b`", "a $(b)", "a *", "a ~/b", "a\nb", "a # b", "a 'b", `a "b`, "a (b)", "a &", "a <<b", "a;"} {
		if got, err := files.Words(text); err == nil && (text != "a;" || len(got) != 1) {
			t.Errorf("%s: %q", text, got)
		}
	}
}
