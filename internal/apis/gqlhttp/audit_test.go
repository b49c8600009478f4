package gqlhttp_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const auditDir = "testdata/audit"

// TestAudit runs the audits of the npm package graphql-http, which is the
// reference implementation of the GraphQL over HTTP specification: all of them
// pass, MUST, SHOULD and MAY.
func TestAudit(t *testing.T) {
	out := runNode(t, "audit.mjs")
	counts := map[string]int{}
	for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
		var audit struct{ ID, Name, Status, Reason string }
		if err := json.Unmarshal(sc.Bytes(), &audit); err != nil {
			t.Fatalf("audit %q: %v", sc.Text(), err)
		}
		level, _, _ := strings.Cut(audit.Name, " ")
		counts[level]++
		if audit.Status != "ok" {
			t.Errorf("%s %s: %s", audit.ID, audit.Name, audit.Reason)
		}
	}
	t.Logf("audits: %v", counts)
	if counts["MUST"] < 13 || counts["SHOULD"] < 20 || counts["MAY"] < 20 {
		t.Errorf("audits are missing: %v", counts)
	}
}

// TestIntrospection lets GraphQL's reference implementation ask for the schema
// as GraphiQL does, and build a client's schema from the answer.
func TestIntrospection(t *testing.T) {
	out := runNode(t, "introspect.mjs")
	if got := strings.TrimSpace(string(out)); got != "Query { echo, refuse, fail, panic, nodes }" {
		t.Errorf("the client sees %s", got)
	}
}

// runNode runs a script of the audit against a listener and returns what it
// prints.
func runNode(t *testing.T, script string) []byte {
	t.Helper()
	installAudit(t)
	srv, _ := start(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}
	if err := os.WriteFile(ca, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", script, srv.URL)
	cmd.Dir = auditDir
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+ca)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s did not run (%v): %s", script, err, stderr.String())
	}
	return out
}

// installAudit fetches the audit's packages as its lock file names them, once.
func installAudit(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("this test needs %s: install Node.js 20 or newer", tool)
		}
	}
	if _, err := os.Stat(filepath.Join(auditDir, "node_modules")); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	cmd := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts")
	cmd.Dir = auditDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("run `npm ci` in internal/apis/gqlhttp/%s (%v): %s", auditDir, err, out)
	}
}
