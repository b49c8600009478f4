package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/guard"
)

// guardEnv has what a guardProcess follows, in JSON.
const guardEnv = "COUNTERFOIL_TEST_GUARD"

// guardMain is called first by TestMain. In a guardProcess it does not return.
func guardMain() {
	text := os.Getenv(guardEnv)
	if text == "" {
		return
	}
	err := serveGuard([]byte(text))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func serveGuard(text []byte) error {
	var c following
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	feed, h, end, err := c.open()
	if err != nil {
		return err
	}
	defer end()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("/stats", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(feed.Stats()) })
	fmt.Printf("%s\nready\n", l.Addr())
	return http.Serve(l, mux)
}

// guardProcess is an API with a guard that follows a server's feed, in a process of
// its own: the binary of the tests.
type guardProcess struct {
	*process
	address string
}

func newGuardProcess(t *testing.T, c following) *guardProcess {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), guardEnv+"="+string(text))
	p, err := spawned(cmd, "the guard")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.stop(syscall.SIGKILL) })
	address, _, _ := strings.Cut(p.printed(), "\n")
	return &guardProcess{p, address}
}

// call returns the status of a call with the token; 0 when none came.
func (g *guardProcess) call(t *testing.T, token counterfoil.Secret) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.address+"/api/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Reveal())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func (g *guardProcess) stats(t *testing.T) (s guard.FeedStats) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.address+"/stats", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err == nil {
		defer resp.Body.Close()
		err = json.NewDecoder(resp.Body).Decode(&s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}
