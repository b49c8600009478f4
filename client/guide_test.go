package client_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The guide's first two blocks of Go are the examples, which are run: each of
// their lines is there, in the same order.
func TestGuideShowsTheExamples(t *testing.T) {
	guide, err := os.ReadFile("../docs/client.md")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```go\\n(.*?)^```").FindAllSubmatch(guide, -1)
	if len(blocks) < 2 {
		t.Fatalf("the guide has %d blocks of Go", len(blocks))
	}
	rest := string(example)
	for _, block := range blocks[:2] {
		for line := range strings.Lines(string(block[1])) {
			line = strings.TrimSpace(line)
			at := strings.Index(rest, line+"\n")
			if at < 0 {
				t.Fatalf("example_test.go has no %q after what the guide shows before it", line)
			}
			rest = rest[at+len(line):]
		}
	}
}
