//go:build linux && (amd64 || arm64) && !nolibcrypto

package libcrypto_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/libcrypto"
)

// open fails where there is no libcrypto: needs.sh installs it on Linux.
func open(tb testing.TB) *libcrypto.Library {
	tb.Helper()
	l, err := libcrypto.Open()
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func newKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func newSigner(tb testing.TB, l *libcrypto.Library, key *rsa.PrivateKey) crypto.Signer {
	tb.Helper()
	s, err := l.Signer(key)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// compile makes a shared library of C code.
func compile(t *testing.T, name, code string) string {
	t.Helper()
	dir := t.TempDir()
	source, library := filepath.Join(dir, "library.c"), filepath.Join(dir, name)
	if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "gcc", "-shared", "-fPIC", "-o", library, source).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return library
}

// TestOpen finds the library of the system, and once.
func TestOpen(t *testing.T) {
	l := open(t)
	if !strings.HasPrefix(l.Version(), "OpenSSL ") || strings.HasPrefix(l.Version(), "OpenSSL 1.") {
		t.Errorf("the version is %q", l.Version())
	}
	if again := open(t); again != l {
		t.Error("Open loaded the library twice")
	}
}

// TestOpenRefuses says why a library is not used, and uses a good one that comes
// after it.
func TestOpenRefuses(t *testing.T) {
	const version = "unsigned long OpenSSL_version_num(void) { return %NUM%; } const char *OpenSSL_version(int t) { return t == 0 ? \"%TEXT%\" : \"\"; }"
	fake := func(num, text string) string {
		return compile(t, "libcrypto.so", strings.NewReplacer("%NUM%", num, "%TEXT%", text).Replace(version))
	}
	absent := filepath.Join(t.TempDir(), "libcrypto.so.3")
	old := fake("0x1010117fL", "OpenSSL 1.1.1w  11 Sep 2023")
	for name, test := range map[string]struct {
		names []string
		want  string
	}{
		"not there":        {[]string{absent}, absent + " is not there: install OpenSSL 3"},
		"too old":          {[]string{absent, old}, "it is OpenSSL 1.1.1w  11 Sep 2023: version 3.0 or newer is needed"},
		"LibreSSL":         {[]string{fake("0x20000000L", "LibreSSL 4.0.0")}, "it is LibreSSL 4.0.0: version 3.0"},
		"lacks a function": {[]string{fake("0x30000000L", "OpenSSL 3.0.0")}, "it has no function ERR_clear_error"},
		"another library":  {[]string{"libc.so.6"}, "libc.so.6 cannot be used: it has no function OpenSSL_version_num"},
		"first one counts": {[]string{old, "libc.so.6"}, "1.1.1w"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := libcrypto.OpenNames(test.names...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("the error is %v, want %q in it", err, test.want)
			}
			l, err := libcrypto.OpenNames(append(test.names, "libcrypto.so.3")...)
			if err != nil {
				t.Fatalf("with the good one behind: %v", err)
			}
			newSigner(t, l, exampleKey(t))
		})
	}
}

// TestBuilds runs what other builds of the package promise: that without cgo it
// signs too, and that with the tag it asks for no loader and says why it cannot sign.
func TestBuilds(t *testing.T) {
	for name, test := range map[string]struct {
		tags, run string
		loader    bool
	}{
		"without cgo":      {"", "^(TestRS256OfTheRFC|TestConcurrent)$", true},
		"with the tag too": {"nolibcrypto", "^TestNoLibrary$", false},
	} {
		t.Run(name, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "test")
			build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", binary, "-tags", test.tags, ".")
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			out, err := exec.CommandContext(t.Context(), binary, "-test.run", test.run, "-test.v").CombinedOutput()
			if err != nil || !strings.Contains(string(out), "--- PASS") {
				t.Errorf("%v\n%s", err, out)
			}
			file, err := elf.Open(binary)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			loader := false
			for _, p := range file.Progs {
				loader = loader || p.Type == elf.PT_INTERP
			}
			if loader != test.loader {
				t.Errorf("the program wants a loader: %t, want %t", loader, test.loader)
			}
		})
	}
}
