package spool_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/counterfoil/counterfoil/internal/spool"
)

// fill writes more than a megabyte, the rest of which is buffered.
func fill(t *testing.T) *spool.Spool {
	t.Helper()
	s := new(spool.Spool)
	t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Write(make([]byte, 1<<20+10_000)); err != nil {
		t.Fatal(err)
	}
	return s
}

// A disk that is full when the last of a stream is written is what the reader hears
// of.
func TestFullDisk(t *testing.T) {
	s := fill(t)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	small := before
	small.Cur = 4096
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil {
		t.Fatal(err)
	}
	r := s.From(0)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("got %v", err)
	}
}

// A file that has become shorter is no shorter stream.
func TestFileThatWasCut(t *testing.T) {
	s := fill(t)
	r := s.From(0)
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	cut := 0
	for _, fd := range open {
		name := fmt.Sprint("/proc/self/fd/", fd.Name())
		if to, err := os.Readlink(name); err == nil && strings.Contains(to, "/counterfoil-") {
			if err := os.Truncate(name, 5000); err != nil {
				t.Fatal(err)
			}
			cut++
		}
	}
	if n, err := io.Copy(io.Discard, r); cut != 1 || n != 1<<20+5000 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d files were cut; %d bytes, %v", cut, n, err)
	}
}
