package client_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Each of the guide's blocks of Go is part of an example or of a test: all of its
// lines are there, in the same order.
func TestGuideShowsTheExamples(t *testing.T) {
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	files := []string{
		"example_test.go", "consumer/example_test.go", "clientprom/example_test.go", "program_test.go", "../server/example_test.go",
	}
	shown := map[string]bool{}
	blocks := regexp.MustCompile("(?ms)^```go\\n(.*?)^```").FindAllStringSubmatch(read("../docs/client.md"), -1)
	for _, block := range blocks {
		var missing []string
		for _, file := range files {
			line := firstMissing(read(file), block[1])
			if line == "" {
				shown[file] = true
				break
			}
			missing = append(missing, file+" has no "+line)
		}
		if len(missing) == len(files) {
			t.Errorf("the guide shows\n%s\nand after what it shows before,\n%s", block[1], strings.Join(missing, "\n"))
		}
	}
	for _, file := range files {
		if !shown[file] {
			t.Errorf("the guide shows nothing of %s", file)
		}
	}
}

// firstMissing returns the first line of block that text does not have after the
// lines before it; "" for none.
func firstMissing(text, block string) string {
	for line := range strings.Lines(block) {
		line = strings.TrimSpace(line)
		at := strings.Index(text, line+"\n")
		if at < 0 {
			return line
		}
		text = text[at+len(line):]
	}
	return ""
}
