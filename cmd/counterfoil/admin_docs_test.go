package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/admin.md shows is what happens, one command after the other, from
// the first client on.
func TestAdminRecordings(t *testing.T) {
	text, err := os.ReadFile("../../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	s := layOut(t, strings.Replace(exampleConfig(t), "hosts: [ops.acme.example]", "hosts: [localhost]", 1))
	s.certify(t, "localhost", "auth.acme.example")
	block := func(pattern string) string {
		t.Helper()
		found := regexp.MustCompile("(?s)```yaml\n(" + pattern + ".*?)```").FindSubmatch(text)
		if found == nil {
			t.Fatalf("docs/admin.md has no %s", pattern)
		}
		return string(found[1])
	}
	commands := 0
	for _, recorded := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		var before string
		for _, part := range strings.Split("\n"+recorded[1], "\n$ ")[1:] {
			command, want, _ := strings.Cut(part, "\n")
			if assignment, ok := strings.CutPrefix(command, "token="); ok {
				before = "token=" + assignment + "\n"
				continue
			}
			commands++
			t.Run(command, func(t *testing.T) {
				env := []string{
					"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH"), "COUNTERFOIL_CONFIG=" + filepath.Join(s.dir, "consumer.yaml"),
					"API=https://localhost:" + s.port + "/admin", "CURL_CA_BUNDLE=" + filepath.Join(s.dir, "tls", "certificate.pem"),
				}
				r := execute(t, "", env, "sh", "-c", "cd "+s.dir+"\n"+before+"{ "+command+"\n} 2>&1")
				var lines []string
				for line := range strings.Lines(r.out) {
					lines = append(lines, strings.TrimRight(line, " \n"))
				}
				got := strings.Join(lines, "\n")
				if !recording(want).MatchString(strings.TrimSpace(got)) {
					t.Errorf("printed\n%s\ndocs/admin.md shows\n%s", got, want)
				}
			})
			if s.process != nil {
				continue
			}
			// The server starts once there is someone to ask it.
			raw, err := os.ReadFile(filepath.Join(s.dir, "operator.json"))
			if err != nil {
				t.Fatal(err)
			}
			var first made
			if err := json.Unmarshal(raw, &first); err != nil {
				t.Fatalf("operator.json: %v", err)
			}
			s.write(t, "operator.secret", first.ClientSecret)
			s.start(t)
			s.write(t, "consumer.yaml", strings.ReplaceAll(block("connections:"), ":8443", ":"+s.port)+"token_cache: tokens\n")
		}
	}
	if commands == 0 {
		t.Error("docs/admin.md shows no command")
	}
}
