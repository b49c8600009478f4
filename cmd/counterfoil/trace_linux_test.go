package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// systemCall is a call of the server as strace prints it: where it begins and
// where it ends among the lines.
type systemCall struct {
	name, file  string
	begin, end  int
	failed      bool
	application bool // a write of TLS application data
}

var (
	traced  = regexp.MustCompile(`^(\d+) +(\w+)\((\d+)<(.*?)>([,)].*| <unfinished.*)$`)
	resumed = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>(.*)$`)
)

// systemCalls reads the output of strace -f -yy.
func systemCalls(text string) (all []systemCall) {
	open := map[string]int{} // the unfinished call of each thread
	for n, line := range strings.Split(text, "\n") {
		if m := resumed.FindStringSubmatch(line); m != nil {
			if i, ok := open[m[1]]; ok {
				all[i].end, all[i].failed = n, strings.Contains(m[3], "= -1 ")
				delete(open, m[1])
			}
			continue
		}
		m := traced.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		all = append(all, systemCall{name: m[2], file: m[4], begin: n, end: n, failed: strings.Contains(m[5], "= -1 "), application: strings.HasPrefix(m[5], `, "\27\3\3`)})
		if strings.HasSuffix(line, "<unfinished ...>") {
			open[m[1]] = len(all) - 1
		}
	}
	return all
}

// The record of a token is on the disk before the first byte of its answer is on
// the way. strace shows the order of what the server asked the kernel for.
func TestRecordIsSyncedBeforeTheAnswer(t *testing.T) {
	s := layOut(t, exampleConfig(t)).start(t)
	creds, c := s.client(t, "acme", "orders:read"), s.http(t)
	c.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	s.token(t, c, acmeToken, creds) // the connection is there, and everything is open
	out := filepath.Join(t.TempDir(), "trace")
	trace := exec.CommandContext(t.Context(), "strace", "-f", "-yy", "-s", "8", "-o", out,
		"-e", "trace=read,write,pwrite64,fsync,fdatasync", "-p", strconv.Itoa(s.cmd.Process.Pid))
	var errs strings.Builder
	trace.Stderr = &errs
	if err := trace.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = trace.Wait(); close(ended) }()
	read := func() string {
		text, err := os.ReadFile(out)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return string(text)
	}
	// strace is attached once it shows requests.
	waitFor(t, func() bool {
		select {
		case <-ended:
			t.Fatalf("strace ended; ptrace has to be allowed for this test (CAP_SYS_PTRACE, kernel.yama.ptrace_scope): %s", errs.String())
		default:
		}
		s.token(t, c, acmeToken, creds)
		return strings.Contains(read(), "-wal>")
	})
	before := strings.Count(read(), "\n")
	s.token(t, c, acmeToken, creds)
	if err := trace.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-ended
	checkOrder(t, systemCalls(read()), before)
}

// checkOrder looks at each answer from a line on: between the read of the request
// and the write of the answer, something was written to the log and then synced.
func checkOrder(t *testing.T, all []systemCall, from int) {
	t.Helper()
	answers := 0
	for i, answer := range all {
		if answer.begin < from || answer.name != "write" || !answer.application || !strings.HasPrefix(answer.file, "TCP") {
			continue
		}
		request := -1 // the last read on the connection before it that brought something
		for j := range i {
			if all[j].name == "read" && all[j].file == answer.file && !all[j].failed && all[j].end < answer.begin {
				request = j
			}
		}
		if request < 0 {
			continue
		}
		written, synced := -1, -1
		for j := request + 1; j < i; j++ {
			log := strings.HasSuffix(all[j].file, "counterfoil.db-wal")
			switch c := all[j]; {
			case log && c.name == "pwrite64" && c.end < answer.begin:
				written, synced = c.end, -1
			case log && (c.name == "fsync" || c.name == "fdatasync") && !c.failed && c.begin > written && c.end < answer.begin && written >= 0:
				synced = c.end
			}
		}
		switch answers++; {
		case written < 0:
			t.Error("a token was answered before anything was written to the log")
		case synced < 0:
			t.Error("a token was answered after its record was written to the log and before it was synced")
		}
	}
	if answers == 0 {
		t.Error("the trace shows no answer: this test sees nothing")
	}
}
