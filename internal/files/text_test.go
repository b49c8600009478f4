package files_test

import (
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/counterfoil/counterfoil/internal/files"
)

// Text as editors and shells of all systems write it is read; what cannot be is
// called what it is.
func TestText(t *testing.T) {
	for name, row := range map[string]struct{ in, want, err string }{
		"nothing":                           {"", "", ""},
		"one byte":                          {"a", "a", ""},
		"plain":                             {"naïve ☕", "naïve ☕", ""},
		"byte order mark":                   {"\xef\xbb\xbfa=1", "a=1", ""},
		"byte order mark alone":             {"\xef\xbb\xbf", "", ""},
		"a second mark is text":             {"\xef\xbb\xbf\xef\xbb\xbfa", "\ufeffa", ""},
		"a mark inside is text":             {"a\xef\xbb\xbf", "a\ufeff", ""},
		"half a mark":                       {"\xef\xbb", "\xef\xbb", ""},
		"UTF-16, little-endian":             {"\xff\xfea\x00\xef\x00", "aï", ""},
		"UTF-16, big-endian":                {"\xfe\xff\x00a\x26\x15", "a☕", ""},
		"UTF-16, a pair of surrogates":      {"\xfe\xff\xd8\x3d\xde\x00", "\U0001f600", ""},
		"UTF-16, its mark alone":            {"\xff\xfe", "", ""},
		"UTF-16, half a pair at the end":    {"\xfe\xff\xd8\x3d", "", "UTF-16 that is cut off"},
		"UTF-16, half a pair inside":        {"\xfe\xff\xd8\x3d\x00a", "", "UTF-16 that is cut off"},
		"UTF-16, the second half first":     {"\xfe\xff\xde\x00\xd8\x3d", "", "UTF-16 that is cut off"},
		"UTF-16, an odd byte":               {"\xff\xfea\x00b", "", "UTF-16 that is cut off"},
		"UTF-16 without mark, little":       {"a\x00b\x00", "", "UTF-16 without a byte order mark"},
		"UTF-16 without mark, big":          {"\x00a\x00b", "", "UTF-16 without a byte order mark"},
		"UTF-32, little-endian":             {"\xff\xfe\x00\x00a\x00\x00\x00", "", "UTF-32"},
		"UTF-32, big-endian":                {"\x00\x00\xfe\xff\x00\x00\x00a", "", "UTF-32"},
		"bytes that are no UTF-8":           {"\x80\x81", "\x80\x81", ""},
		"replacement character in the text": {"\xfe\xff\xff\xfd", "\ufffd", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := files.Text([]byte(row.in))
			if string(got) != row.want || (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// What another program writes as UTF-16 is read.
func TestTextOfIconv(t *testing.T) {
	const text = "A='naïve ☕ \U0001f600'\n"
	for _, to := range []string{"UTF-16", "UTF-16LE", "UTF-16BE"} {
		cmd := exec.CommandContext(t.Context(), "iconv", "-f", "UTF-8", "-t", to)
		cmd.Stdin = strings.NewReader(text)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		got, err := files.Text(out)
		if marked := to == "UTF-16"; marked && (string(got) != text || err != nil) || !marked && err == nil {
			t.Errorf("%s: got %q, %v", to, got, err)
		}
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"a", "\xef\xbb\xbfa", "\xff\xfea\x00", "\xfe\xff\xd8\x3d\xde\x00", "\xff\xfe\x00\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := files.Text(b)
		if len(got) > 3*len(b) || err != nil && got != nil || utf8.Valid(b) && err == nil && !utf8.Valid(got) {
			t.Errorf("%q became %q, %v", b, got, err)
		}
	})
}

// Text that comes byte by byte is the same text, and an error of its source is no
// fault of the text.
func TestTextAsItComes(t *testing.T) {
	want := strings.Repeat("naïve ☕ \U0001f600\n", 9000)
	var wide strings.Builder
	wide.WriteString("\xff\xfe")
	for _, r := range want {
		for _, u := range utf16.AppendRune(nil, r) {
			wide.WriteByte(byte(u))
			wide.WriteByte(byte(u >> 8))
		}
	}
	for name, text := range map[string]string{"UTF-8": want, "a mark": "\ufeff" + want, "UTF-16": wide.String()} {
		got, err := io.ReadAll(files.TextReader(iotest.OneByteReader(strings.NewReader(text))))
		if string(got) != want || err != nil {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		broken := errors.New("the cable is cut")
		_, err = io.ReadAll(files.TextReader(io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken))))
		var wrong *files.TextError
		if !errors.Is(err, broken) || errors.As(err, &wrong) {
			t.Errorf("%s, then an error: %v", name, err)
		}
	}
}
