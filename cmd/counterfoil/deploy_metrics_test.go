package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// documentedMetrics are the metrics of docs/metrics.md, each with its type and labels.
func documentedMetrics(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]metric{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(counterfoil_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|").FindAllStringSubmatch(string(text), -1) {
		all[row[1]] = metric{kind: row[2], labels: regexp.MustCompile(`[a-z_]+`).FindAllString(row[3], -1)}
	}
	if len(all) < 20 {
		t.Fatalf("docs/metrics.md has %d metrics", len(all))
	}
	return all
}

type metric struct {
	kind   string
	labels []string
}

var (
	metricNames = regexp.MustCompile(`\b(counterfoil_[a-z_]+)(?:\{([^}]*)\})?`)
	matchers    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"`)
	grouped     = regexp.MustCompile(`by \(([^)]*)\)`)
)

// usesDocumented reports what an expression uses that is not documented.
func usesDocumented(t *testing.T, where, expr string, all map[string]metric) {
	t.Helper()
	var used []string
	for _, m := range metricNames.FindAllStringSubmatch(expr, -1) {
		name := m[1]
		known, ok := all[name]
		if base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""); !ok && all[base].kind == "histogram" {
			known, ok = all[base], true
		}
		if !ok || known.kind == "histogram" && !regexp.MustCompile(`_(bucket|sum|count)$`).MatchString(name) {
			t.Errorf("%s: %s is no metric of docs/metrics.md", where, name)
		}
		used = append(used, known.labels...)
		for _, label := range matchers.FindAllStringSubmatch(m[2], -1) {
			if label[1] != "instance" && !slices.Contains(known.labels, label[1]) {
				t.Errorf("%s: %s has no label %s", where, name, label[1])
			}
		}
		if known.kind == "counter" && !regexp.MustCompile(`(rate|increase)\(`+name).MatchString(expr) {
			t.Errorf("%s: the counter %s without rate or increase", where, name)
		}
	}
	for _, m := range grouped.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(m[1], ", ") {
			if label != "instance" && label != "le" && !slices.Contains(used, label) {
				t.Errorf("%s: grouped by %s, which it does not have", where, label)
			}
		}
	}
}

// TestRules: Prometheus takes the alert rules, they fire when they should, they
// use metrics that there are, and the pages that they name have those sections.
func TestRules(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "../../deploy/prometheus/counterfoil.rules.yaml"}, {"test", "rules", "../../deploy/prometheus/counterfoil.rules.test.yaml"}} {
		if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	text, err := os.ReadFile("../../deploy/prometheus/counterfoil.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := documentedMetrics(t)
	rules := regexp.MustCompile(`(?m)^      - alert: `).Split(string(text), -1)[1:]
	for _, rule := range rules {
		name, _, _ := strings.Cut(rule, "\n")
		_, expr, _ := strings.Cut(rule, "expr:")
		expr, _, _ = strings.Cut(expr, "\n        labels:")
		usesDocumented(t, name, expr, all)
		for _, want := range []string{"severity: ", "summary: ", "command: "} {
			if !strings.Contains(rule, want) {
				t.Errorf("%s has no %s", name, want)
			}
		}
		if command := regexp.MustCompile(`command: (counterfoil .*)`).FindStringSubmatch(rule); command != nil &&
			!strings.Contains(command[1], "config /etc/counterfoil/serve.yaml") {
			t.Errorf("%s: %s does not name the server", name, command[1])
		}
		place := regexp.MustCompile(`runbook_url: \S+/blob/main/(docs/[a-z]+\.md)#(\S+)`).FindStringSubmatch(rule)
		if place == nil {
			t.Errorf("%s names no page", name)
			continue
		}
		page, err := os.ReadFile("../../" + place[1])
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(anchors(string(page)), place[2]) {
			t.Errorf("%s: %s has no section %s", name, place[1], place[2])
		}
	}
	if len(rules) < 10 {
		t.Errorf("%d rules", len(rules))
	}
}

// anchors are those of the headings of a page.
func anchors(page string) (all []string) {
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		text := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all = append(all, strings.ReplaceAll(text, " ", "-"))
	}
	return all
}

// TestDashboard: each query of the dashboard is one that Prometheus takes, of
// metrics that there are.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../deploy/grafana/counterfoil.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Query string } }
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	all := documentedMetrics(t)
	var queries []string
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", "a").Replace(target.Expr)
			queries = append(queries, expr)
			usesDocumented(t, p.Title, expr, all)
		}
	}
	if len(queries) < 10 || strings.Contains(strings.Join(queries, ""), "$") {
		t.Errorf("the queries are %q", queries)
	}
	for _, v := range board.Templating.List {
		usesDocumented(t, "a variable", v.Query, all)
	}
	rules := "groups:\n  - name: queries\n    rules:\n"
	for i, q := range queries {
		rules += fmt.Sprintf("      - record: query%d\n        expr: %q\n", i, q)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "promtool", "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
