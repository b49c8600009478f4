package cfsecret_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/cfsecret"
)

var form = regexp.MustCompile(`^cf_[0-9A-Za-z]{49}$`)

// known is a secret that another program has made, to notice a change of the form:
// secrets out there have it.
const known = counterfoil.Secret("cf_0000000000000000000000000000000000000000001" + knownSum)

const knownSum = "0HNUPx"

func TestNew(t *testing.T) {
	seen := map[counterfoil.Secret]bool{}
	for range 1000 {
		s := cfsecret.New()
		if !form.MatchString(s.Reveal()) || len(s) != cfsecret.Length || !cfsecret.Is(s) || cfsecret.Damage(s) != "" || seen[s] {
			t.Fatalf("%q", s.Reveal())
		}
		seen[s] = true
	}
}

// TestKnown: the checksum is that of the docs.
func TestKnown(t *testing.T) {
	n, text := crc32.ChecksumIEEE([]byte(known[3:46])), ""
	for range 6 {
		text = string("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[n%62]) + text
		n /= 62
	}
	if text != knownSum || !cfsecret.Is(known) {
		t.Errorf("the checksum is %s", text)
	}
}

// TestDamage: every cut and every change of one character is noticed; what is not of
// the form is left alone.
func TestDamage(t *testing.T) {
	s := cfsecret.New().Reveal()
	for n := 20; n < len(s); n++ {
		if says := cfsecret.Damage(counterfoil.Secret(s[:n])); says != fmt.Sprintf("is cut off: it has %d of 52 characters", n) {
			t.Errorf("%d characters: %q", n, says)
		}
	}
	for i := 3; i < len(s); i++ {
		for _, c := range "0Oa" {
			other := s[:i] + string(c) + s[i+1:]
			if want := other == s; cfsecret.Is(counterfoil.Secret(other)) != want || (cfsecret.Damage(counterfoil.Secret(other)) == "") != want {
				t.Errorf("with %c at %d", c, i)
			}
		}
	}
	for text, want := range map[string]string{
		s + s[:3]:                         "",
		s + "x":                           "is too long: it has 53 characters instead of 52",
		s + "\n":                          "has spaces or line breaks around it",
		" " + s[:40]:                      "is cut off: it has 40 of 52 characters",
		s[1:]:                             "",
		"cf_production_2024":              "",
		"cf_short":                        "",
		"cf_":                             "",
		"":                                "",
		"cf_has-what-is-not-in-the-form0": "",
		strings.ToUpper(s):                "",
	} {
		if says := cfsecret.Damage(counterfoil.Secret(text)); says != want || strings.Contains(says, "cf_") {
			t.Errorf("%q: %q", text, says)
		}
	}
}

func TestHint(t *testing.T) {
	s := cfsecret.New()
	if h := cfsecret.Hint(s); h != s.Reveal()[:7]+"…" {
		t.Error(h)
	}
	if h := cfsecret.Hint("cf"); h != "cf…" {
		t.Error(h)
	}
}

// TestMasked: each secret of a text is gone from it, and nothing else.
func TestMasked(t *testing.T) {
	one, two := cfsecret.New(), cfsecret.New()
	s, next := one.Reveal(), two.Reveal()
	for text, want := range map[string]string{
		"":                       "",
		"cf_production":          "cf_production",
		s:                        cfsecret.Hint(one),
		s[:51]:                   s[:51],
		"cf_cf_" + s + s + "cf_": "cf_cf_" + cfsecret.Hint(one) + cfsecret.Hint(one) + "cf_",
		"id:" + s + " " + next:   "id:" + cfsecret.Hint(one) + " " + cfsecret.Hint(two),
	} {
		if got := cfsecret.Masked(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

// found scans a text and returns what it finds, as LINE:SECRET.
func found(t *testing.T, r io.Reader) []string {
	t.Helper()
	var all []string
	if err := cfsecret.Scan(r, func(s counterfoil.Secret, line int) error {
		all = append(all, fmt.Sprint(line, ":", s.Reveal()))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestScan: a secret is found wherever it is, with its line, and nothing else is.
func TestScan(t *testing.T) {
	a, b := cfsecret.New().Reveal(), cfsecret.New().Reveal()
	wide := func(s string) string {
		var out []byte
		for _, u := range utf16.Encode([]rune(s)) {
			out = append(out, byte(u), byte(u>>8))
		}
		return "\xff\xfe" + string(out)
	}
	for name, row := range map[string]struct {
		text string
		want []string
	}{
		"nothing":                {"", nil},
		"alone":                  {a, []string{"1:" + a}},
		"in a URL":               {"x\nhttps://h/?s%3D" + a + "&x", []string{"2:" + a}},
		"in a word":              {"MY_SECRET_" + a + "suffix", []string{"1:" + a}},
		"two in a row":           {a + b, []string{"1:" + a, "1:" + b}},
		"behind a false start":   {"cf_cf_" + a, []string{"1:" + a}},
		"cut off":                {a[:51], nil},
		"mistyped":               {a[:10] + "!" + a[11:], nil},
		"over lines":             {a[:20] + "\n" + a[20:], nil},
		"UTF-16":                 {wide("one\r\ntwo " + a + "\r\n" + b), []string{"2:" + a, "3:" + b}},
		"in bytes":               {"\x00\x01\xff" + a + "\x00\n" + b, []string{"1:" + a, "2:" + b}},
		"the last of many lines": {strings.Repeat("cf_\n", 50_000) + a, []string{"50001:" + a}},
	} {
		for reader, r := range map[string]io.Reader{
			"whole": strings.NewReader(row.text), "byte by byte": iotest.OneByteReader(strings.NewReader(row.text)),
			"with the end": iotest.DataErrReader(strings.NewReader(row.text)), "half": iotest.HalfReader(strings.NewReader(row.text)),
		} {
			if got := found(t, r); !slices.Equal(got, row.want) {
				t.Errorf("%s, %s: %v, want %v", name, reader, got, row.want)
			}
		}
	}
}

// TestScanAnywhere: no place of a long text hides a secret.
func TestScanAnywhere(t *testing.T) {
	a := cfsecret.New().Reveal()
	for before := 65536 - 120; before < 65536+70; before++ {
		if got := found(t, strings.NewReader(strings.Repeat("x", before)+a+strings.Repeat("y", 200))); !slices.Equal(got, []string{"1:" + a}) {
			t.Fatalf("after %d bytes: %v", before, got)
		}
	}
	// A long line, and a gigabyte of nothing, in memory of a window.
	if got := found(t, io.MultiReader(io.LimitReader(zeros{}, 1<<30), strings.NewReader(a))); !slices.Equal(got, []string{"1:" + a}) {
		t.Errorf("after a gigabyte: %d found", len(got))
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func TestScanEnds(t *testing.T) {
	a := cfsecret.New().Reveal()
	stop := errors.New("stop")
	calls := 0
	if err := cfsecret.Scan(strings.NewReader(a+a), func(counterfoil.Secret, int) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
	if err := cfsecret.Scan(iotest.ErrReader(stop), func(counterfoil.Secret, int) error { return nil }); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// TestExpression: the regular expression of the docs finds what is made, in grep.
func TestExpression(t *testing.T) {
	docs, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("`(cf_\\[[^`]*)`").FindSubmatch(docs)
	if m == nil {
		t.Fatal("docs/security.md has no expression")
	}
	s := cfsecret.New().Reveal()
	cmd := exec.CommandContext(t.Context(), "grep", "-Eo", string(m[1]))
	cmd.Stdin = strings.NewReader("SECRET=" + s + ";\n")
	if out, err := cmd.Output(); err != nil || string(out) != s+"\n" {
		t.Errorf("%q found %q, %v", m[1], out, err)
	}
}

// FuzzScan: what Scan finds in pieces is what it would find in one.
func FuzzScan(f *testing.F) {
	f.Add([]byte("cf_cf_"+known.Reveal()), uint64(1))
	f.Add([]byte("a\x00\ncf_"), uint64(2))
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		// Secrets are put in at places that the seed says.
		random := rand.New(rand.NewPCG(seed, 0))
		for range random.IntN(4) {
			at := random.IntN(len(text) + 1)
			text = slices.Insert(text, at, []byte(known)...)
		}
		got := found(t, iotest.OneByteReader(bytes.NewReader(text)))
		var want []string
		plain := bytes.ReplaceAll(text, []byte{0}, nil)
		for i := 0; i+cfsecret.Length <= len(plain); i++ {
			if s := counterfoil.Secret(plain[i : i+cfsecret.Length]); cfsecret.Is(s) {
				want = append(want, fmt.Sprint(1+bytes.Count(plain[:i], []byte("\n")), ":", s.Reveal()))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}
