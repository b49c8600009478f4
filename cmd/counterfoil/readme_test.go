package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the README shows is what happens. A line of a recording matches what was
// printed, "…" standing for any text, and alone on a line for any lines.
func TestReadmeRecordings(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	if err := os.Symlink(shared.dir, filepath.Join(home, "counterfoil-data")); err != nil {
		t.Fatal(err)
	}
	commands := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(readme), -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(part, "\n")
			commands++
			t.Run(command, func(t *testing.T) {
				got := shared.printed()
				if command != "counterfoil up" {
					r := execute(t, "", []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")}, "sh", "-c", "cd "+home+"\n"+command)
					got = r.out + r.err
				}
				got = strings.ReplaceAll(got, shared.base, "https://localhost:8443")
				if !recording(want).MatchString(strings.TrimSpace(got)) {
					t.Errorf("printed\n%s\nthe README shows\n%s", got, want)
				}
			})
		}
	}
	if commands == 0 {
		t.Error("the README shows no command")
	}
}

func recording(text string) *regexp.Regexp {
	pattern := regexp.QuoteMeta(strings.TrimSpace(text))
	pattern = strings.ReplaceAll(pattern, "\n…\n", `\n(?s:.*)\n`)
	pattern = regexp.MustCompile(" {2,}").ReplaceAllString(pattern, " {2,}") // columns are as wide as what is in them
	return regexp.MustCompile("^" + strings.ReplaceAll(pattern, "…", ".*") + "$")
}
