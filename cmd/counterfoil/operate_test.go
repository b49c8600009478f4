package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/internal/eventually"
	"github.com/counterfoil/counterfoil/server/clients"
)

// TestOperateRecordings: what docs/operate.md shows is what happens, one command
// after the other, on a server that somebody attacks.
func TestOperateRecordings(t *testing.T) {
	text, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	s := layOut(t, strings.NewReplacer("database: counterfoil.db", "database: lib/counterfoil.db").Replace(exampleConfig(t))+"\naudit: { checkpoint_every: 1s }\n")
	for _, dir := range []string{"lib", "backups", "key"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// Where the page has its files.
	places := strings.NewReplacer("/etc/counterfoil", s.dir, "/var/lib/counterfoil", filepath.Join(s.dir, "lib"),
		"/var/backups/counterfoil", filepath.Join(s.dir, "backups"), "/media/key", filepath.Join(s.dir, "key"), "/srv/orders", filepath.Join(s.dir, "orders"))
	run := func(command string) ran {
		return execute(t, "", []string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")}, "sh", "-c",
			"cd "+s.dir+"\n{ "+places.Replace(command)+"\n} 2>&1")
	}
	run("age-keygen -o backup.key && cp master.key key/").good(t)
	var billing made
	if err := json.Unmarshal([]byte(execute(t, "", nil, binary, "client", "create", "acme", "--serve-config", s.file, "-o", "json",
		"--id", "billing", "--name", "Billing", "--contact", "billing@example.com", "--scope", "orders:read").good(t).out), &billing); err != nil {
		t.Fatal(err)
	}
	s.write(t, "orders/app.env", "SECRET="+billing.ClientSecret+"\n") // where it does not belong
	s.start(t)
	run("counterfoil backup backups/1.backup --serve-config serve.yaml").good(t)
	creds := clients.Credentials{ClientID: "billing", ClientSecret: counterfoil.Secret(billing.ClientSecret)}
	c := s.http(t)
	s.token(t, c, acmeToken, creds)
	creds.ClientSecret = "guessed"
	for range 3 {
		if got := do(t, c, tokenRequest(t, acmeToken, creds)); got.status != http.StatusUnauthorized {
			t.Fatalf("a guess is answered %d", got.status)
		}
	}

	eventually.True(t, "there is a checkpoint", func() bool { return run("counterfoil audit verify --serve-config serve.yaml").code == 0 })

	commands := 0
	for _, section := range regexp.MustCompile("(?m)^## ").Split(string(text), -1) {
		title, section, _ := strings.Cut(section, "\n")
		if title == "A lost master key" {
			run("rm master.key").good(t)
		}
		for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(section, -1) {
			for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
				command, want, _ := strings.Cut(part, "\n")
				commands++
				if verb, service := strings.CutPrefix(command, "systemctl "); service {
					s.systemctl(t, verb) // it outlives the part of the test
					continue
				}
				t.Run(title+": "+command, func(t *testing.T) {
					got := strings.TrimSpace(regexp.MustCompile(`(?m) +$`).ReplaceAllString(run(command).out, ""))
					if !shows(places.Replace(want)).MatchString(got) {
						t.Errorf("printed\n%s\nthe page shows\n%s", got, want)
					}
				})
			}
		}
	}
	if commands < 30 {
		t.Errorf("the page shows %d commands", commands)
	}
	// What it tells one to install is there.
	for _, name := range regexp.MustCompile(`deploy/[a-z.-]+`).FindAllString(string(text), -1) {
		if _, err := os.Stat("../../" + strings.TrimSuffix(name, ".")); err != nil {
			t.Error(err)
		}
	}
}

// shows is recording for a text in which "…" alone on a line also begins or ends
// it.
func shows(text string) *regexp.Regexp {
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(text)) {
		if line = strings.TrimSpace(line); line == "…" {
			lines = append(lines, "(?s:.*)")
			continue
		}
		pattern := regexp.MustCompile(`[ \t]+`).ReplaceAllString(regexp.QuoteMeta(line), `\s+`) // columns are as wide as what is in them
		lines = append(lines, strings.ReplaceAll(pattern, "…", ".*"))
	}
	return regexp.MustCompile("^" + strings.Join(lines, `\n`) + "$")
}

// systemctl does what systemd does for the unit of deploy.
func (s *served) systemctl(t *testing.T, verb string) {
	t.Helper()
	switch strings.TrimSuffix(verb, " counterfoil") {
	case "stop":
		if err := s.stop(syscall.SIGTERM); err != nil {
			t.Errorf("%v: %s", err, s.errors())
		}
	case "start":
		s.start(t)
	case "restart":
		s.systemctl(t, "stop")
		s.start(t)
	case "reload":
		if log := s.hangUp(t); !strings.Contains(log, "msg=reloaded") {
			t.Errorf("the log says %s", log)
		}
	default:
		t.Errorf("systemctl %s", verb)
	}
}
