package client_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// searched is set in the process whose output is searched.
const searched = "COUNTERFOIL_TEST_SEARCHED"

// run runs the tests in a process of their own, and fails when that writes a
// credential or a token anywhere to its output, in whichever test. Fuzzing and
// its workers, which talk to each other, are left alone.
func run(m *testing.M) int {
	fuzzing := func(arg string) bool {
		return strings.HasPrefix(strings.TrimLeft(arg, "-"), "test.fuzz=") || strings.HasSuffix(arg, "test.fuzzworker")
	}
	switch {
	case os.Getenv(searched) != "":
		return m.Run()
	case slices.ContainsFunc(os.Args[1:], fuzzing):
		must(os.Setenv(searched, "not while fuzzing"))
		return m.Run()
	}
	exe, err := os.Executable()
	must(err)
	var out, problems bytes.Buffer
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Env = append(os.Environ(), searched+"=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, io.MultiWriter(os.Stdout, &out), io.MultiWriter(os.Stderr, &problems)
	err = cmd.Run()
	if cmd.ProcessState == nil {
		must(err)
	}
	code := cmd.ProcessState.ExitCode()
	for _, text := range []string{out.String(), problems.String()} {
		if found := leak(text); found != "" {
			fmt.Fprintf(os.Stderr, "the output of the tests shows %s\n", found)
			code = max(code, 1)
		}
	}
	if code < 0 { // a signal
		fmt.Fprintln(os.Stderr, cmd.ProcessState)
		code = 1
	}
	return code
}

// leak returns the first credential or token in text with what is around it, or
// "".
func leak(text string) string {
	at := leaks().FindStringIndex(text)
	if at == nil {
		return ""
	}
	return fmt.Sprintf("%q: …%s…", text[at[0]:at[1]], text[max(0, at[0]-80):min(len(text), at[1]+80)])
}

// leaks matches the credentials and the tokens of the tests, and halves of them,
// in every form, and whatever is a signed JWT.
func leaks() *regexp.Regexp {
	forms := []string{`eyJ[\w-]+\.eyJ[\w-]+\.[\w-]+`, `token-[0-9]`}
	for _, form := range slices.Concat(credentialForms(awkward), credentialForms(theSecret), credentialForms(theKey), encoded("s3cret"), encoded(theKey[:8]), encoded("tok3n"), encoded("token-")[1:]) {
		forms = append(forms, regexp.QuoteMeta(form))
	}
	return regexp.MustCompile(strings.Join(forms, "|"))
}

// encoded returns word as it is, in hexadecimal, and in base64 behind whatever
// comes before it.
func encoded(word string) []string {
	x := hex.EncodeToString([]byte(word))
	all := []string{word, x, strings.ToUpper(x)}
	for before := range 3 {
		// Digits that hold bits of a neighbour are left out.
		b64 := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + word))
		all = append(all, b64[(before*8+5)/6:(before+len(word))*8/6])
	}
	return all
}

func TestOutputIsSearched(t *testing.T) {
	if os.Getenv(searched) == "" {
		t.Error("nobody searches what the tests write")
	}
	for _, secret := range []string{awkward, theSecret, theKey, "token-7", "tok3n"} {
		for _, text := range append(encoded(secret), fmt.Sprintf("%q", secret), fmt.Sprintf("%x", "Bearer "+secret), base64.StdEncoding.EncodeToString([]byte("the-client:"+secret))) {
			if leak("goroutine 1 [running]:\n"+text+"\n") == "" {
				t.Errorf("%x is not found", text)
			}
		}
	}
	for _, text := range []string{"", "--- PASS: TestTokenEndpointFails/429_with_seconds (0.01s)\n", "no token once the endpoint is well", "token-", "eyJ.eyJ"} {
		equal(t, "found in "+text, leak(text), "")
	}
}
