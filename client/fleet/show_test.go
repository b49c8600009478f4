//go:build unix

package fleet_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/internal/files"
)

// show is how much of it there is.
type show struct {
	processes, goroutines int
	duration, lifetime    time.Duration
	pace, lease           time.Duration
}

// shown is the short form; 'make fleet' sets COUNTERFOIL_FLEET for the long one.
func shown(t *testing.T) show {
	if os.Getenv("COUNTERFOIL_FLEET") != "" {
		return show{processes: 50, goroutines: 20, duration: 60 * time.Second, lifetime: 10 * time.Second, pace: 500 * time.Millisecond, lease: 3 * time.Second}
	}
	return show{processes: 8, goroutines: 5, duration: 14 * time.Second, lifetime: 4 * time.Second, pace: 100 * time.Millisecond, lease: 1500 * time.Millisecond}
}

// theShow is one run of it.
type theShow struct {
	show
	t      *testing.T
	valkey *server
	dir    string // of 'counterfoil up'
	binary string

	mu      sync.Mutex
	all     told
	workers []*process
	held    chan *process
	killed  int
	// died is when the server was killed last, and back when one was there again.
	died, back time.Time
	away       time.Duration  // the server was, both times together
	unlost     map[string]int // calls that failed while the server was not lost
}

// found is how long it may take until a process knows that the server is there
// again, and the test what a process said: a second each, and as much again on a
// busy machine.
const found = 4 * time.Second

// Many processes with many goroutines call a guarded API with tokens that soon
// end and of which a new one ends the old, while processes are killed, some with
// the lease, and Valkey is: every call succeeds or fails with a stated reason,
// and no more tokens are asked for than are needed.
func TestShowFleet(t *testing.T) {
	s := &theShow{show: shown(t), t: t, valkey: start(t), dir: t.TempDir(), held: make(chan *process, 16)}
	s.up()
	before := s.tokenRequests()
	for range s.processes {
		s.work()
	}
	began := time.Now()
	s.disturb(began)
	wall := time.Since(began)
	s.end()
	requests := s.tokenRequests() - before
	margin := s.lifetime / 5
	needed := wall.Seconds()/(s.lifetime-margin).Seconds() + 1
	s.report(wall, requests, needed)
	if float64(requests) > 1.2*needed {
		t.Errorf("%d token requests, more than 1.2 times the %.1f needed", requests, needed)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	good := s.all.Outcomes["200 OK"]
	for outcome, n := range s.all.Outcomes {
		// Where the token of a call was ended by one that could not be shared any more,
		// the call has the 401.
		if outcome != "200 OK" && outcome != lostReason && outcome != "401 Unauthorized" {
			t.Errorf("%d calls failed otherwise than because the server was lost: %s", n, outcome)
		}
	}
	for outcome, n := range s.unlost {
		t.Errorf("%d calls failed while the server was not lost: %s", n, outcome)
	}
	if want := s.processes * s.goroutines; good < want { // how many more there are is a matter of the machine
		t.Errorf("only %d calls succeeded: this test saw nothing", good)
	}
}

// up starts the token endpoint and the guarded API: the binary as a user has it.
func (s *theShow) up() {
	s.t.Helper()
	s.binary = filepath.Join(s.dir, "counterfoil")
	build := exec.Command("go", "build", "-o", s.binary, "../../cmd/counterfoil")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		s.t.Fatalf("build: %v\n%s", err, out)
	}
	description, err := os.ReadFile("testdata/fleet.yaml")
	if err != nil {
		s.t.Fatal(err)
	}
	text := strings.Replace(string(description), "lifetime: 10s", "lifetime: "+s.lifetime.String(), 1)
	err = os.MkdirAll(filepath.Join(s.dir, "providers"), 0o700)
	if err = errors.Join(err, files.Write(filepath.Join(s.dir, "providers", "fleet.yaml"), []byte(text), 0o600)); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(s.binary, "up", "--dir", s.dir, "--listen", "127.0.0.1:0")
	tied(cmd)
	out, err := cmd.StdoutPipe()
	if err = errors.Join(err, cmd.Start()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if lines.Text() == "ready" {
			return
		}
	}
	s.t.Fatal("counterfoil up did not start")
}

// tokenRequests counts those that the server has answered.
func (s *theShow) tokenRequests() (n int) {
	s.t.Helper()
	out, err := exec.Command(s.binary, "audit", "--dir", s.dir, "-o", "json").Output()
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		var record struct {
			EventType string `json:"event_type"`
			Realm     string
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			s.t.Fatal(err)
		}
		if record.Realm == "fleet" && strings.HasPrefix(record.EventType, "token.") {
			n++
		}
	}
	return n
}

// work starts one more process.
func (s *theShow) work() {
	s.t.Helper()
	w := startProcess(s.t, s.valkey.socket, "work", "CHILD_DIR="+s.dir, fmt.Sprintf("CHILD_GOROUTINES=%d", s.goroutines), "CHILD_PACE="+s.pace.String(), "CHILD_LEASE="+s.lease.String())
	s.workers = append(s.workers, w)
	go func() {
		for {
			line, err := w.out.ReadString('\n')
			if err != nil {
				return // killed
			}
			s.hear(w, strings.TrimSpace(line))
		}
	}()
}

func (s *theShow) hear(w *process, line string) {
	text, ok := strings.CutPrefix(line, "calls ")
	var more told
	switch {
	case line == "held":
		s.held <- w
		return
	case !ok || json.Unmarshal([]byte(text), &more) != nil:
		s.t.Errorf("a process says %q", line)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all.Outcomes == nil {
		s.all.Outcomes, s.unlost = map[string]int{}, map[string]int{}
	}
	lost := !s.died.IsZero() && (s.back.Before(s.died) || time.Since(s.back) < found)
	for outcome, n := range more.Outcomes {
		s.all.Outcomes[outcome] += n
		if outcome != "200 OK" && !lost {
			s.unlost[outcome] += n
		}
	}
	s.all.Longest = max(s.all.Longest, more.Longest)
}

// kill ends a process and starts another.
func (s *theShow) kill(w *process) {
	s.t.Helper()
	w.kill()
	s.killed++
	s.workers = slices.DeleteFunc(s.workers, func(other *process) bool { return other == w })
	s.work()
}

// disturb does harm until the time is over.
func (s *theShow) disturb(began time.Time) {
	s.t.Helper()
	steps := []struct {
		at float64 // share of the time
		do func()
	}{
		{0.15, s.killAny},
		{0.25, func() { s.killHolder("before") }},
		{0.40, s.killAny},
		{0.50, func() { s.killServer(); s.startServer() }},
		{0.55, s.killAny},
		{0.60, func() { s.killHolder("after") }},
		{0.80, s.killAny},
		{0.85, s.killServer},
		{0.85 + s.lifetime.Seconds()/2/s.duration.Seconds(), s.startServer},
	}
	for _, step := range steps {
		time.Sleep(time.Until(began.Add(time.Duration(step.at * float64(s.duration))))) // the length of the show is what is asked
		step.do()
	}
	time.Sleep(time.Until(began.Add(s.duration)))
}

func (s *theShow) killServer() {
	s.mu.Lock()
	s.died = time.Now()
	s.mu.Unlock()
	s.valkey.kill()
}

func (s *theShow) startServer() {
	s.t.Helper()
	s.valkey.run()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.back = time.Now()
	s.away += s.back.Sub(s.died)
}

func (s *theShow) killAny() { s.kill(s.workers[rand.N(len(s.workers))]) }

// killHolder kills the next process that has the lease.
func (s *theShow) killHolder(point string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "hold-"+point), nil, 0o600); err != nil {
		s.t.Fatal(err)
	}
	select {
	case w := <-s.held:
		s.kill(w)
	case <-time.After(2 * s.lifetime):
		s.t.Errorf("no process asked for a token in %s", 2*s.lifetime)
	}
}

func (s *theShow) end() {
	for _, w := range s.workers {
		w.kill()
	}
}

func (s *theShow) report(wall time.Duration, requests int, needed float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Logf("%d processes, %d goroutines each, %s, tokens of %s: %d token requests, %.1f needed; the longest call took %s", s.processes, s.goroutines,
		wall.Round(time.Second), s.lifetime, requests, needed, s.all.Longest.Round(time.Millisecond))
	s.t.Logf("meanwhile %d processes were killed and started anew, 2 of them with the lease, and the server twice, away for %s together", s.killed, s.away.Round(time.Millisecond))
	for outcome, n := range s.all.Outcomes {
		s.t.Logf("%8d  %s", n, outcome)
	}
}
