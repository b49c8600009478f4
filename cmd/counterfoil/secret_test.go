package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/cfsecret"
)

// TestLeakedSecret is docs/operate.md's: a secret is found where it does not belong,
// its client is named, its report ends it at once, and the record says so. No secret
// is shown whole.
func TestLeakedSecret(t *testing.T) {
	var made struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	created := execute(t, "", nil, binary, "client", "create", "a55", "--dir", shared.dir, "--name", "leaky", "-o", "json").good(t)
	if err := json.Unmarshal([]byte(created.out), &made); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	other := cfsecret.New().Reveal()
	if err := os.WriteFile(filepath.Join(dir, "app.env"), []byte("# of production\nSECRET="+made.Secret+"\nOTHER="+other+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	scan := func(args ...string) ran {
		t.Helper()
		got := execute(t, "", nil, binary, append([]string{"secret", "scan", dir}, args...)...)
		if got.code != exitLocal || strings.Contains(got.out+got.err, made.Secret) || strings.Contains(got.out+got.err, other) {
			t.Errorf("exit %d, a whole secret is shown or nothing is found:\n%s%s", got.code, got.out, got.err)
		}
		return got
	}
	path := filepath.Join(dir, "app.env")
	if got := scan(); got.out != path+":2: "+made.Secret[:7]+"…\n"+path+":3: "+other[:7]+"…\n" ||
		!strings.HasPrefix(got.err, "counterfoil: secrets found in "+dir+": 2\nhint: end each that still works") {
		t.Errorf("%s%s", got.out, got.err)
	}
	owned := scan("--dir", shared.dir)
	if !strings.Contains(owned.out, "… client secret ") || !strings.Contains(owned.out, " of client "+made.ID+" of realm a55: still works\n") ||
		!strings.Contains(owned.out, ":3: "+other[:7]+"… of no client: ended, or of another server\n") {
		t.Errorf("%s", owned.out)
	}
	var found struct {
		Found []struct {
			Path, Secret string
			Line         int
			Clients      []struct {
				Realm, Kind string
				ClientID    string `json:"client_id"`
				Works       bool
			}
		}
		Unread []string
	}
	if err := json.Unmarshal([]byte(scan("--dir", shared.dir, "-o", "json").out), &found); err != nil || len(found.Found) != 2 || found.Unread == nil ||
		found.Found[0].Path != path || found.Found[0].Line != 2 || len(found.Found[0].Clients) != 1 || !found.Found[0].Clients[0].Works ||
		found.Found[0].Clients[0].ClientID != made.ID || len(found.Found[1].Clients) != 0 {
		t.Errorf("%+v, %v", found, err)
	}
	// The report, as the page has it: curl in a shell, with a line break at the end.
	report := shared.sourced(t, "a55", `sed -n 's/^SECRET=//p' `+path+` | curl -sS -o /dev/null -w '%{http_code}' --data-urlencode secret@- "${AUTH_URL%/oauth2/token}/leaked"`)
	if report.out != "200" {
		t.Errorf("the report is answered %s %s", report.out, report.err)
	}
	if got := scan("--dir", shared.dir); strings.Contains(got.out, "still works") {
		t.Errorf("after the report: %s", got.out)
	}
	if got := execute(t, "", nil, binary, "audit", "--dir", shared.dir, "--client", made.ID).good(t); !strings.Contains(got.out, "client.secret_leaked") {
		t.Errorf("the record is\n%s", got.out)
	}
	if got := execute(t, "", nil, binary, "client", "show", "a55", made.ID, "--dir", shared.dir).good(t); strings.Contains(got.out, "last use never") {
		t.Errorf("%s", got.out)
	}
}

// TestSecretScanExits: the exit code tells whether anything was found, and a scan that
// is not complete never says that all is well.
func TestSecretScanExits(t *testing.T) {
	dir := t.TempDir()
	if got := execute(t, "", nil, binary, "secret", "scan", dir).good(t); got.out != "no secret found\n" {
		t.Errorf("%+v", got)
	}
	if got := execute(t, "x\n"+cfsecret.New().Reveal(), nil, binary, "secret", "scan", "-"); got.code != exitLocal || !strings.HasPrefix(got.out, "standard input:2: cf_") {
		t.Errorf("%+v", got)
	}
	if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	execute(t, "", nil, binary, "secret", "scan", dir).good(t)
	got := execute(t, "", []string{"PATH=" + t.TempDir()}, binary, "secret", "scan", dir)
	if got.code != exitLocal || got.out != "not read: "+dir+": git is not installed: its history was not read\n" ||
		!strings.Contains(got.err, "was not read as a whole, and the rest has no secret") {
		t.Errorf("%+v", got)
	}
	for _, args := range [][]string{{filepath.Join(dir, "nowhere")}, {dir, "--dir", filepath.Join(dir, "nowhere")}, {dir, "--serve-config", filepath.Join(dir, "nowhere")}} {
		if got := execute(t, "", nil, binary, append([]string{"secret", "scan"}, args...)...); got.code != exitLocal || got.out != "" {
			t.Errorf("%v: %+v", args, got)
		}
	}
	if got := execute(t, "", nil, binary, "secret", "scan", dir, "--dir", dir, "--serve-config", dir); got.code != exitUsage {
		t.Errorf("%+v", got)
	}
}
