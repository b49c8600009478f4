package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/admin"
	"golang.org/x/term"
)

// How often progress is printed: on a terminal by overwriting its line,
// elsewhere by one more line.
const (
	tellTerminal = 250 * time.Millisecond
	tellLog      = 5 * time.Second
)

// progress reports on standard error how far a long operation is. An operation
// that ends before the first interval reports nothing.
type progress struct {
	w        io.Writer
	terminal bool
	clock    counterfoil.Clock
	// waiting, if set, is the line.
	waiting func() string
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	at      admin.Progress
	since   time.Time // when the stage began
	written bool
}

// tellProgress starts reporting. The caller ends it. With JSON output nothing is
// reported, so that an error is the only output.
func (c *console) tellProgress(ctx context.Context) *progress {
	f, ok := c.Err.(*os.File)
	t := &progress{w: c.Err, terminal: ok && term.IsTerminal(int(f.Fd())), clock: c.clock}
	if c.output == jsonForm && !t.terminal {
		t.w = io.Discard
	}
	t.start(ctx)
	return t
}

func (p *progress) start(ctx context.Context) {
	every := tellLog
	if p.terminal {
		every = tellTerminal
	}
	ctx, p.cancel = context.WithCancel(ctx)
	p.since = p.clock.Now()
	p.done.Go(func() {
		for p.clock.Sleep(ctx, every) == nil {
			p.tell()
		}
	})
}

// imports is the Progress of an import.
func (p *progress) imports(at admin.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at.Stage != p.at.Stage {
		p.since = p.clock.Now()
	}
	p.at = at
}

// read counts what is read through it as progress.
func (p *progress) read(r io.Reader) io.Reader { return &countedReader{r: r, to: p} }

type countedReader struct {
	r  io.Reader
	n  int64
	to *progress
}

func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	c.to.imports(admin.Progress{Stage: admin.StageReading, Done: c.n, Of: -1})
	return n, err
}

// tell writes the line.
func (p *progress) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := p.line()
	switch {
	case line == "" && p.waiting != nil && p.written:
		fmt.Fprint(p.w, "\r\x1b[K") // the line is free for other output
		p.written = false
		return
	case line == "":
		return
	case p.terminal:
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	default:
		fmt.Fprintln(p.w, line)
	}
	p.written = true
}

func (p *progress) line() string {
	if p.waiting != nil {
		return p.waiting()
	}
	at := &p.at
	switch at.Stage {
	case admin.StageReading:
		if at.Of < 0 {
			return fmt.Sprintf("%d MiB read", at.Done>>20)
		}
		return fmt.Sprintf("%d rows checked, %d %% of the file", at.Done, int(100*at.Part))
	case admin.StageWriting:
		return fmt.Sprintf("%d of %d rows imported", at.Done, at.Of)
	case admin.StageSending:
		return fmt.Sprintf("%d MiB sent", at.Done>>20)
	case admin.StageWaiting:
		return fmt.Sprintf("all sent: the server has been processing for %v", p.clock.Now().Sub(p.since).Round(time.Second))
	}
	return ""
}

// end stops reporting. It may be called twice. On a terminal it clears the line.
func (p *progress) end() {
	p.cancel()
	p.done.Wait()
	if p.terminal && p.written {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.written = false
	}
}
