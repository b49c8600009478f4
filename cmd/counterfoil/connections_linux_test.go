package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// hostile is a connection of an attacker, which writes what it likes.
type hostile struct {
	*tls.Conn
	t *testing.T
}

// connect opens one from 127.0.0.1, for a protocol.
func (s *served) connect(t *testing.T, protocol string) (*hostile, error) {
	return s.connectFrom(t, "127.0.0.1", protocol)
}

func (s *served) connectFrom(t *testing.T, address, protocol string) (*hostile, error) {
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	dialer := tls.Dialer{NetDialer: from, Config: &tls.Config{InsecureSkipVerify: true, ServerName: "auth.acme.example", NextProtos: []string{protocol}}}
	c, err := dialer.DialContext(t.Context(), "tcp", "127.0.0.1:"+s.port)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() })
	return &hostile{c.(*tls.Conn), t}, nil
}

// until reads until a text has come, or the connection ends.
func (c *hostile) until(text []byte) {
	b, end := make([]byte, 4<<10), 0
	_ = c.SetReadDeadline(time.Now().Add(patience))
	for {
		n, err := c.Read(b[end:])
		if end += n; err != nil || bytes.Contains(b[:end], text) {
			return
		}
		if end > len(b)/2 { // keep the beginning of what may be the text
			end = copy(b, b[end-len(text):end])
		}
	}
}

const (
	frameData, frameHeaders, frameSettings, framePing, frameContinuation = 0, 1, 4, 6, 9
	endHeaders                                                           = 4
)

// frame is a frame of RFC 9113 section 4.1.
func frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := []byte{byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload)), kind, flags}
	b = append(b, byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
	return append(b, payload...)
}

// field is a literal header field that is not indexed (RFC 7541 section 6.2.2).
func field(name, value string) []byte {
	number := func(n int) []byte {
		if n < 127 {
			return []byte{byte(n)}
		}
		b := []byte{127}
		for n -= 127; n >= 128; n >>= 7 {
			b = append(b, byte(n)|128)
		}
		return append(b, byte(n))
	}
	b := append([]byte{0}, number(len(name))...)
	b = append(append(b, name...), number(len(value))...)
	return append(b, value...)
}

// post begins a token request without its end: a header of the given fields.
func post(stream uint32, fields ...[]byte) []byte {
	block := bytes.Join(append([][]byte{
		field(":method", "POST"), field(":scheme", "https"), field(":authority", "auth.acme.example"), field(":path", "/token"),
		field("content-type", "application/x-www-form-urlencoded"),
	}, fields...), nil)
	var out []byte
	kind := byte(frameHeaders)
	for len(block) > 16<<10 {
		out = append(out, frame(kind, 0, stream, block[:16<<10])...)
		block, kind = block[16<<10:], frameContinuation
	}
	return append(out, frame(kind, endHeaders, stream, block)...)
}

var preface = append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(frameSettings, 0, 0, nil)...)

var peak = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// memory is the most that the process has had in memory, in KiB.
func (s *served) memory(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(string(peak.FindSubmatch(text)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// connectionMemory is what docs/operate.md says that a connection takes at most,
// in KiB.
const connectionMemory = 1536

// 20 connections without credentials held 390 MB. As many as are allowed, each
// with all the streams, headers and bodies that it may have, hold what the manual
// says, and one more is refused.
func TestMemoryAtTheBound(t *testing.T) {
	const total = 128
	streams := func(n int, fields ...[]byte) []byte {
		b := bytes.Clone(preface)
		for i := range n {
			b = append(b, post(uint32(2*i+1), fields...)...)
		}
		return b
	}
	var many [][]byte
	for i := range 850 {
		many = append(many, field(fmt.Sprintf("a%d", i), ""))
	}
	small := "POST /token HTTP/1.1\r\nHost: auth.acme.example\r\n"
	for i := 0; len(small) < 35<<10; i++ {
		small += fmt.Sprintf("%x:\n", i)
	}
	bodies := streams(32)
	for i := range 32 { // each as long as a token request may be
		bodies = append(bodies, frame(frameData, 0, uint32(2*i+1), bytes.Repeat([]byte{'v'}, 15<<10))...)
	}
	last := frame(framePing, 0, 0, []byte("attacker")) // its answer comes when what precedes it is handled
	for _, tt := range []struct {
		name, protocol string
		text           []byte
		silent         bool // reads nothing before all is sent
	}{
		{"large headers", "h2", streams(100, field("x", strings.Repeat("v", 31<<10))), false},
		{"headers of many fields", "h2", streams(100, many...), false},
		{"bodies without end", "h2", bodies, false},
		{"a header without end", "http/1.1", []byte(small), false},
		{"pings", "h2", append(bytes.Clone(preface), bytes.Repeat(frame(framePing, 0, 0, make([]byte, 8)), 20_000)...), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := strings.Replace(exampleConfig(t), "realms:", fmt.Sprintf("limits: {connections: {total: %d}}\nrealms:", total), 1)
			s := layOut(t, config).start(t)
			before := s.memory(t)
			var sent, seen sync.WaitGroup
			reads := make(chan struct{})
			for range total {
				c, err := s.connect(t, tt.protocol)
				if err != nil {
					t.Fatal(err)
				}
				seen.Go(func() {
					if tt.protocol != "h2" || tt.silent {
						<-reads
					}
					if tt.protocol != "h2" {
						_ = c.CloseWrite()
					}
					c.until(last[9:])
				})
				sent.Go(func() {
					_, err := c.Write(tt.text)
					if err == nil && tt.protocol == "h2" {
						_, err = c.Write(last)
					}
					if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
						t.Error(err)
					}
				})
			}
			sent.Wait()
			if !tt.silent && tt.protocol == "h2" {
				seen.Wait()
				// Each connection is busy, so that there is no room.
				if _, err := s.connect(t, tt.protocol); err == nil {
					t.Errorf("connection %d is open", total+1)
				}
			}
			close(reads)
			seen.Wait()
			grown := s.memory(t) - before
			t.Logf("%d KiB a connection", grown/total)
			if grown > total*connectionMemory {
				t.Errorf("%d connections hold %d KiB, which is %d each", total, grown, grown/total)
			}
		})
	}
}

// A process that may open few files has fewer connections, and says so. It
// answers whoever comes, and its database.
func TestFewFiles(t *testing.T) {
	s := layOut(t, exampleConfig(t))
	p, err := spawned(exec.Command("sh", "-c", `ulimit -n 200; exec "$0" "$@"`, binary, "serve", "--config", s.file), "serve")
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
	t.Cleanup(func() { _ = p.stop(syscall.SIGKILL) })
	waitFor(t, func() bool { return listening.MatchString(p.errors()) })
	s.port = listening.FindStringSubmatch(p.errors())[1]
	if !strings.Contains(p.errors(), "files=200 total=1024 used=72") {
		t.Errorf("the log has %s", p.errors())
	}
	for range 300 {
		if _, err := s.connect(t, "h2"); err != nil {
			t.Fatal(err)
		}
	}
	if got := get(t, s.http(t), "https://auth.acme.example/healthz/ready"); got.status != http.StatusOK {
		t.Errorf("beside 300 idle connections: %+v", got)
	}
	if strings.Contains(p.errors(), "too many open files") {
		t.Errorf("files ran out: %s", p.errors())
	}
}

// limits.connections holds from the file, without those of trusted proxies, and
// SIGHUP changes it.
func TestConnectionsOfANetwork(t *testing.T) {
	text := strings.Replace(exampleConfig(t), "trusted_proxies: [10.0.0.0/8]", "trusted_proxies: [127.6.6.6]\nlimits: {connections: {per_prefix: 1}}", 1)
	s := layOut(t, text).start(t)
	occupy := func(address string) bool {
		c, err := s.connectFrom(t, address, "h2")
		if err != nil {
			return false
		}
		ping := frame(framePing, 0, 0, []byte("attacker"))
		if _, err := c.Write(append(append(bytes.Clone(preface), post(1)...), ping...)); err != nil {
			t.Fatal(err)
		}
		c.until(ping[9:])
		return true
	}
	for _, row := range []struct {
		address string
		admits  bool
	}{
		{"127.5.5.5", true}, {"127.5.5.6", false}, {"127.5.6.5", true}, {"127.6.6.6", true}, {"127.6.6.6", true}, {"127.6.6.7", true}, {"127.6.6.8", false},
	} {
		if got := occupy(row.address); got != row.admits {
			t.Errorf("a connection from %s: %v", row.address, got)
		}
	}
	s.write(t, "serve.yaml", strings.Replace(text, "per_prefix: 1", "per_prefix: 2", 1))
	if log := s.hangUp(t); !strings.Contains(log, "msg=reloaded") {
		t.Fatal(log)
	}
	if !occupy("127.5.5.6") || occupy("127.5.5.7") {
		t.Error("the limit of the reloaded file does not hold")
	}
}
