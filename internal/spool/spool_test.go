package spool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/counterfoil/counterfoil/internal/spool"
)

// What is read is what was written, from every kind of offset, however it was
// cut when it was written, and as often as it is asked for.
func TestReadAgain(t *testing.T) {
	for _, size := range []int{0, 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5<<20 + 7} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			want := make([]byte, size)
			for i := range want {
				want[i] = byte(i * 31 >> 3)
			}
			var s spool.Spool
			defer s.Close()
			for rest, n := want, 1; len(rest) > 0; n = n*2 + 1 {
				n = min(n, len(rest))
				if wrote, err := s.Write(rest[:n]); wrote != n || err != nil {
					t.Fatalf("wrote %d of %d, %v", wrote, n, err)
				}
				rest = rest[n:]
			}
			if s.Size() != int64(size) {
				t.Errorf("the size is %d", s.Size())
			}
			for _, offset := range []int{0, 1, 1<<20 - 5, 1 << 20, 1<<20 + 1, 1<<20 + 16, 2<<20 + 33, size} {
				if offset > size {
					continue
				}
				for range 2 {
					if got, err := io.ReadAll(s.From(int64(offset))); err != nil || !bytes.Equal(got, want[offset:]) {
						t.Errorf("from %d: %d bytes that are right %v, %v", offset, len(got), bytes.Equal(got, want[offset:]), err)
					}
				}
			}
		})
	}
}

// A secret that went into a spool is in no file: the temporary file has no name,
// and what is in it cannot be read.
func TestNothingReadableOnDisk(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	var s spool.Spool
	defer s.Close()
	secret := bytes.Repeat([]byte("a secret of a client;"), 1<<17)
	if _, err := s.Write(secret); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s.From(0)); err != nil || !bytes.Equal(got, secret) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the temporary directory has %d entries, %v", len(entries), err)
	}
	if runtime.GOOS != "linux" {
		return
	}
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, fd := range open {
		if target, err := os.Readlink(fd); err != nil || !strings.HasPrefix(target, dir) {
			continue
		}
		text, err := os.ReadFile(fd)
		if err != nil {
			t.Fatal(err)
		}
		found = true
		if len(text) == 0 || bytes.Contains(text, []byte("secret")) {
			t.Errorf("%d bytes in the file, and they can be read", len(text))
		}
	}
	if !found {
		t.Error("no file is open: nothing was looked at")
	}
}

// Where no temporary file can be made, the error says what to do, and stays.
func TestNoTemporaryFile(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	var s spool.Spool
	for range 2 {
		if _, err := s.Write(make([]byte, 2<<20)); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := io.ReadAll(s.From(0)); err == nil {
		t.Error("a stream that was not kept whole can be read")
	}
}

// A megabyte needs no file, however it is cut; a byte more does.
func TestWhatFitsInMemory(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	var s spool.Spool
	for n := range 16 {
		if _, err := s.Write(make([]byte, 64<<10)); err != nil {
			t.Fatalf("write %d: %v", n, err)
		}
	}
	if _, err := s.Write(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Errorf("a byte more: %v", err)
	}
}

// After Close nothing is there any more, rather than a part of it.
func TestClosed(t *testing.T) {
	for _, size := range []int{10, 2 << 20} {
		var s spool.Spool
		if _, err := s.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		r := s.From(0)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); !errors.Is(err, os.ErrClosed) {
			t.Errorf("read %d bytes, %v", n, err)
		}
		if _, err := s.Write([]byte("more")); !errors.Is(err, os.ErrClosed) {
			t.Errorf("wrote, %v", err)
		}
	}
}

func TestList(t *testing.T) {
	type pair struct {
		N    int
		Text string
	}
	var l spool.List[pair]
	defer l.Close()
	for i := range 20_000 {
		if err := l.Append(pair{i, strings.Repeat("é\n", i%100)}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		n := 0
		for p, err := range l.All() {
			if err != nil || p.N != n || p.Text != strings.Repeat("é\n", n%100) {
				t.Fatalf("element %d is %d, %v", n, p.N, err)
			}
			n++
		}
		if n != 20_000 || l.Len() != n {
			t.Errorf("%d of %d elements", n, l.Len())
		}
	}
	for range l.All() {
		break // and an early end is no trouble
	}
}
