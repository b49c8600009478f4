package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
)

// Both GraphQL APIs, as they are reached: through TLS, the guard and their
// provider's headers. All audits of the npm package graphql-http pass.
func TestGraphQLAudits(t *testing.T) {
	const audit = "../../internal/apis/gqlhttp/testdata/audit"
	if _, err := os.Stat(audit + "/node_modules/graphql-http"); err != nil {
		t.Fatalf("%v: run 'make needs'", err)
	}
	for _, provider := range []string{"ahotu", "altrata"} {
		t.Run(provider, func(t *testing.T) {
			env := shared.env(t, provider)
			headers := map[string]string{"Authorization": "Bearer " + strings.TrimSpace(shared.counterfoil(t, "token", provider, "--renew").good(t).out)}
			if key := env.Get("API_KEY"); key != "" {
				headers["x-api-key"] = key
			}
			text, err := json.Marshal(headers)
			if err != nil {
				t.Fatal(err)
			}
			got := execute(t, "", []string{"AUDIT_HEADERS=" + string(text), "NODE_EXTRA_CA_CERTS=" + env.Get("NODE_EXTRA_CA_CERTS")},
				"node", audit+"/audit.mjs", env.Get("API_BASE_URL")).good(t)
			counts := map[string]int{}
			for line := range strings.Lines(got.out) {
				var audit struct{ ID, Name, Status, Reason string }
				if err := json.Unmarshal([]byte(line), &audit); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				level, _, _ := strings.Cut(audit.Name, " ")
				counts[level]++
				if audit.Status != "ok" {
					t.Errorf("%s %s: %s", audit.ID, audit.Name, audit.Reason)
				}
			}
			if counts["MUST"] < 13 || counts["SHOULD"] < 20 || counts["MAY"] < 20 {
				t.Errorf("audits are missing: %v", counts)
			}
		})
	}
}

// What floods a GraphQL server gets one clear error, and the next request works.
func TestGraphQLFloods(t *testing.T) {
	aliases := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "a%d:__typename ", i)
		}
		return "{" + b.String() + "}"
	}
	deep := strings.Repeat("{ events { data ", 50) + "{ id }" + strings.Repeat("} }", 50)
	for _, row := range []struct{ name, query, says string }{
		{"10,000 aliases", aliases(10_000), "PAYLOAD_TOO_LARGE"},
		{"5,000 aliases", aliases(5_000), "TOO_COMPLEX"},
		{"100 aliases", aliases(100), "TOO_COMPLEX"},
		{"depth 100", deep, "TOO_COMPLEX"},
		{"page size -1", "{ events(page: 0, size: -1) { totalCount } }", "BAD_USER_INPUT"},
		{"page size 10^9", "{ events(page: 0, size: 1000000000) { totalCount } }", "BAD_USER_INPUT"},
		{"page 10^9", "{ events(page: 1000000000, size: 100) { data { id } } }", `"data":[]`},
		{"an id that is none", `{ event(id: "x") { id } }`, `"event":null`},
	} {
		t.Run(row.name, func(t *testing.T) {
			body, err := json.Marshal(map[string]string{"query": row.query})
			if err != nil {
				t.Fatal(err)
			}
			got := execute(t, string(body), nil, binary, "--config", shared.dir+"/consumer.yaml", "call", "ahotu", "--data", "@-")
			if !strings.Contains(got.out, row.says) || strings.Count(got.out, `"message"`) > 1 {
				t.Errorf("answered %.500s", got.out)
			}
			shared.counterfoil(t, "doctor", "ahotu").good(t)
		})
	}
}
