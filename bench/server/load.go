//go:build unix

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// side is a program that answers token requests, in a process of its own.
type side struct {
	name    string
	command []string
	clients int
	connecting
	// host is what the Host header says; "" for that of the URL.
	host string

	cmd *exec.Cmd
	url *url.URL
	// started is how long the process took until it was ready.
	started time.Duration
	next    atomic.Uint64
}

// connecting says how requests of a round come to connections.
type connecting int

const (
	kept    connecting = iota // one after another on each
	fresh                     // each on one of its own, after a full handshake
	resumed                   // likewise, with a session ticket
)

func (c connecting) String() string {
	return [...]string{"kept connections", "a fresh connection for each", "a fresh connection for each, resumed"}[c]
}

// The clients of every side.
func clientID(i int) string { return fmt.Sprintf("client-%020d", i) }
func clientSecret(i int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "bench %d", i))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// start starts the side and reads its address from it.
func (s *side) start() error {
	s.cmd = exec.Command(s.command[0], s.command[1:]...)
	s.cmd.Stderr = &tail{}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return err
	}
	sc := bufio.NewScanner(out)
	ready := false
	for !ready && sc.Scan() {
		if ready = sc.Text() == "ready"; strings.HasPrefix(sc.Text(), "http") {
			if s.url, err = url.Parse(sc.Text()); err != nil {
				return err
			}
		}
	}
	if s.started = time.Since(begin); !ready {
		s.stop()
		return fmt.Errorf("did not start: %s", s.cmd.Stderr)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return nil
}

func (s *side) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
}

// tail keeps the end of a side's error output.
type tail struct{ text []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-2000):]
	return len(b), nil
}

func (t *tail) String() string { return string(t.text) }

// result is one round: rate in answers a second, times in milliseconds, cpu in
// microseconds of the side's processes for each answer, rss in megabytes.
type result struct{ rate, p50, p99, p999, cpu, rss float64 }

func (r result) perSecond() float64 { return r.rate }

// load keeps every connection busy for a round or, if rate is not 0, sends that
// many requests a second, each at its time whatever became of those before, on the
// connections in turn: a request that finds none free waits, and that counts.
func (s *side) load(rate float64) (result, error) {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		all   []time.Duration
		errs  []error
		due   = &schedule{begin: time.Now(), rate: rate, length: time.Duration(*seconds) * time.Second}
		ticks = tls.NewLRUClientSessionCache(0)
	)
	cpu, _, err := s.used()
	if err != nil {
		return result{}, err
	}
	for range *connections {
		wg.Go(func() {
			took, err := s.drive(due, ticks)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			if err != nil {
				errs = append(errs, err)
				due.stopped.Store(true)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(due.begin)
	if err := errors.Join(errs...); err != nil {
		return result{}, fmt.Errorf("%w; it says: %s", err, s.cmd.Stderr)
	}
	after, rss, err := s.used()
	if err != nil {
		return result{}, err
	}
	slices.Sort(all)
	ms := func(q float64) float64 { return all[int(q*float64(len(all)-1))].Seconds() * 1000 }
	return result{
		rate: float64(len(all)) / elapsed.Seconds(), p50: ms(0.5), p99: ms(0.99), p999: ms(0.999),
		cpu: float64((after - cpu).Microseconds()) / float64(len(all)), rss: rss,
	}, nil
}

// schedule says when requests of a round are due.
type schedule struct {
	begin   time.Time
	rate    float64 // 0: at once
	length  time.Duration
	sent    atomic.Int64
	stopped atomic.Bool
}

// next waits until the next request is due, and returns when that was.
func (d *schedule) next() (due time.Time, more bool) {
	if d.stopped.Load() {
		return time.Time{}, false
	}
	if d.rate == 0 {
		now := time.Now()
		return now, now.Sub(d.begin) < d.length
	}
	after := time.Duration(float64(d.sent.Add(1)) / d.rate * float64(time.Second))
	if after >= d.length {
		return time.Time{}, false
	}
	due = d.begin.Add(after)
	time.Sleep(time.Until(due))
	return due, true
}

// drive sends one request after another on one connection, or each on one of its
// own. Clients take turns: with many, each makes about one request.
func (s *side) drive(d *schedule, tickets tls.ClientSessionCache) ([]time.Duration, error) {
	var conn net.Conn
	var in *bufio.Reader
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	var took []time.Duration
	var request []byte
	for {
		due, more := d.next()
		if !more {
			return took, nil
		}
		if conn == nil {
			var err error
			if conn, err = s.dial(tickets); err != nil {
				return took, err
			}
			in = bufio.NewReaderSize(conn, 8<<10)
		}
		// A step that shares no factor with the number of clients visits all of
		// them, far from one another.
		i := int(s.next.Add(1) * 7_919_317 % uint64(s.clients))
		body := "grant_type=client_credentials&client_id=" + clientID(i) + "&client_secret=" + clientSecret(i)
		request = fmt.Appendf(
			request[:0],
			"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
			s.url.Path, cmp.Or(s.host, s.url.Host), len(body), body,
		)
		if _, err := conn.Write(request); err != nil {
			return took, err
		}
		if err := readAnswer(in); err != nil {
			return took, err
		}
		took = append(took, time.Since(due))
		if s.connecting != kept {
			conn.Close()
			conn = nil
		}
	}
}

// dial connects. Nothing is verified: that would be the generator's cost.
func (s *side) dial(tickets tls.ClientSessionCache) (net.Conn, error) {
	if s.url.Scheme != "https" {
		return net.Dial("tcp", s.url.Host)
	}
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	if s.connecting == resumed {
		config.ClientSessionCache = tickets
	}
	return tls.Dial("tcp", s.url.Host, config)
}

var lengthHeader = []byte("content-length:")

// readAnswer reads one response and requires a token in it. It is made for these
// sides only: a cheap generator leaves the processor to what is measured.
func readAnswer(in *bufio.Reader) error {
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200")) {
		body, _ := in.Peek(in.Buffered())
		return fmt.Errorf("answered %s %s", bytes.TrimSpace(status), body)
	}
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if len(line) > len(lengthHeader) && bytes.EqualFold(line[:len(lengthHeader)], lengthHeader) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(lengthHeader):]))); err != nil {
				return err
			}
		}
	}
	body, err := in.Peek(length)
	if err != nil {
		return err
	}
	if !bytes.Contains(body, []byte(`"access_token":"eyJ`)) {
		return errors.New("the answer holds no token")
	}
	_, err = in.Discard(length)
	return err
}

// used returns the processor time of the side's processes, and the memory that
// they hold now, in megabytes.
func (s *side) used() (cpu time.Duration, rss float64, err error) {
	group := strconv.Itoa(s.cmd.Process.Pid)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, 0, err
	}
	found := false
	for _, e := range entries {
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest) // from the state on: proc(5) counts it as field 3
		if len(fields) < 22 || fields[2] != group {
			continue
		}
		found = true
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		pages, _ := strconv.Atoi(fields[21])
		cpu += time.Duration(user+system) * 10 * time.Millisecond
		rss += float64(pages*os.Getpagesize()) / 1e6
	}
	if !found {
		return 0, 0, errors.New("the process is gone: " + s.cmd.Stderr.(*tail).String())
	}
	return cpu, rss, nil
}
