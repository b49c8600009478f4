package client_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The guide's first three blocks of Go are the examples, of this package and of
// consumer: each of their lines is there, in the same order.
func TestGuideShowsTheExamples(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	blocks := regexp.MustCompile("(?ms)^```go\\n(.*?)^```").FindAllStringSubmatch(read("../docs/client.md"), -1)
	if len(blocks) < 3 {
		t.Fatalf("the guide has %d blocks of Go", len(blocks))
	}
	for file, shown := range map[string]string{"example_test.go": blocks[0][1] + blocks[2][1], "consumer/example_test.go": blocks[1][1]} {
		rest := read(file)
		for line := range strings.Lines(shown) {
			line = strings.TrimSpace(line)
			at := strings.Index(rest, line+"\n")
			if at < 0 {
				t.Fatalf("%s has no %q after what the guide shows before it", file, line)
			}
			rest = rest[at+len(line):]
		}
	}
}
