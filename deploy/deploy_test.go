// Package deploy checks the container files with the parsers of those who run
// them. It is a module of its own because these bring much.
package deploy

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// TestContainerfile: BuildKit's parser and linter find nothing wrong, and the
// image has one static binary that does not run as root.
func TestContainerfile(t *testing.T) {
	text, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	rules := linter.New(&linter.Config{Warn: func(rule, _, _, message string, _ []parser.Range) { found = append(found, rule+": "+message) }})
	stages, _, err := instructions.Parse(tree.AST, rules)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range tree.Warnings {
		found = append(found, w.Short)
	}
	if len(found) > 0 {
		t.Errorf("the linter says %q", found)
	}
	last := stages[len(stages)-1]
	user := ""
	for _, c := range last.Commands {
		if u, ok := c.(*instructions.UserCommand); ok {
			user = u.User
		}
		if _, ok := c.(*instructions.RunCommand); ok {
			t.Error("the image runs a command, and has no shell")
		}
	}
	if last.BaseName != "scratch" || user != "65532:65532" || !strings.Contains(string(text), "CGO_ENABLED=0 go build -trimpath -tags nolibcrypto") {
		t.Errorf("the image is of %s, for user %q", last.BaseName, user)
	}
}

// TestCompose: the compose file follows its schema, and gives the container no
// right that it does not need.
func TestCompose(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{"compose.yaml"}, cli.WithName("counterfoil"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s, err := project.GetService("counterfoil")
	if err != nil {
		t.Fatal(err)
	}
	if !s.ReadOnly || s.Privileged || s.User != "65532:65532" || !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 ||
		!slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.MemLimit == 0 {
		t.Errorf("the service is %+v", s)
	}
	for _, v := range s.Volumes {
		if v.Target == "/etc/counterfoil" && !v.ReadOnly {
			t.Error("the container may write its configuration")
		}
	}
}
