package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// theirToken is x/oauth2's cached token.
const theirToken = "x/oauth2 TokenSource.Token"

// crowds are the numbers of goroutines that share a side.
var crowds = []int{1, 1000}

// operation is what is measured. Each goroutine has its own call.
type operation struct {
	name string
	call func() (func() error, error)
	// beside names the operation whose rounds these are divided by, if any.
	beside string
}

// cost is what one call took in one round: nanoseconds by the wall and of the
// processors, allocations and bytes, those of the whole process.
type cost struct{ wall, cpu, allocs, bytes float64 }

// run makes n calls in all.
func (o *operation) run(crowd, n int) (cost, error) {
	calls := make([]func() error, crowd)
	for i := range calls {
		var err error
		if calls[i], err = o.call(); err != nil {
			return cost{}, err
		}
	}
	errs := make([]error, crowd)
	var wg sync.WaitGroup
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu, begin := used(), time.Now()
	for i, call := range calls {
		wg.Go(func() {
			for range n / crowd {
				if err := call(); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	elapsed, spent := time.Since(begin), used()-cpu
	runtime.ReadMemStats(&after)
	done := float64(n / crowd * crowd)
	return cost{
		wall: float64(elapsed) / done, cpu: float64(spent) / done,
		allocs: float64(after.Mallocs-before.Mallocs) / done, bytes: float64(after.TotalAlloc-before.TotalAlloc) / done,
	}, errors.Join(errs...)
}

// used is the processor time of this process.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it fails for a wrong argument only
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// size finds how many calls fill a round.
func (o *operation) size(crowd int) (int, error) {
	for n := crowd; ; n *= 4 {
		c, err := o.run(crowd, n)
		if err != nil {
			return 0, err
		}
		if took := c.wall * float64(n); took > float64(*short)/8 || n > 1<<28 {
			return max(crowd, int(float64(*short)/c.wall)), nil
		}
	}
}

// compare measures the operations in turn and prints them.
func compare(title string, crowd int, ops []operation) error {
	sizes, results := make([]int, len(ops)), make([][]cost, len(ops))
	for k := range ops {
		var err error
		if sizes[k], err = ops[k].size(crowd); err != nil { // which warms up
			return fmt.Errorf("%s: %w", ops[k].name, err)
		}
	}
	for range *rounds {
		for k := range ops {
			c, err := ops[k].run(crowd, sizes[k])
			if err != nil {
				return fmt.Errorf("%s: %w", ops[k].name, err)
			}
			results[k] = append(results[k], c)
		}
	}
	rows := [][]string{{title, "ns/call", "lowest", "highest", "cpu ns/call", "allocs/call", "B/call"}}
	for k, rs := range results {
		byWall := func(a, b cost) int { return cmp.Compare(a.wall, b.wall) }
		rows = append(rows, []string{
			ops[k].name, fmt.Sprintf("%.0f", median(rs, func(c cost) float64 { return c.wall })),
			fmt.Sprintf("%.0f", slices.MinFunc(rs, byWall).wall), fmt.Sprintf("%.0f", slices.MaxFunc(rs, byWall).wall),
			fmt.Sprintf("%.0f", median(rs, func(c cost) float64 { return c.cpu })),
			fmt.Sprintf("%.1f", median(rs, func(c cost) float64 { return c.allocs })),
			fmt.Sprintf("%.0f", median(rs, func(c cost) float64 { return c.bytes })),
		})
	}
	fmt.Println()
	table(rows)
	ratios(ops, results)
	return nil
}

// ratios prints how long the rounds of an operation took relative to the
// following rounds of its peer: other load of the machine is in both.
func ratios(ops []operation, results [][]cost) {
	for k, o := range ops {
		for j, peer := range ops {
			if o.beside != peer.name {
				continue
			}
			wall, cpu := make([]float64, len(results[k])), make([]float64, len(results[k]))
			for i, mine := range results[k] {
				wall[i], cpu[i] = mine.wall/results[j][i].wall, mine.cpu/results[j][i].cpu
			}
			fmt.Printf("%s / %s: %s of the time, %s of the processors' time\n", o.name, peer.name, spread(wall), spread(cpu))
		}
	}
}

// spread is the median, the lowest and the highest.
func spread(rs []float64) string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", median(rs, func(r float64) float64 { return r }), slices.Min(rs), slices.Max(rs))
}

// inMemory compares the sides where a call costs almost nothing.
func inMemory() error {
	t := &target{welcome: welcome{URL: "https://id.example", Secret: "s"}, life: time.Hour}
	fmt.Println("A call that is answered in memory, and a cached token")
	for _, n := range []int{1, 8} {
		for _, crowd := range crowds {
			source, err := t.source(floor)
			if err != nil {
				return err
			}
			theirs, url, ctx := t.reused(floor, 0), t.URL+"/api/", context.Background()
			through := t.through(source, theirs, floor, floor)
			ops := []operation{
				{name: bare, call: calls(floor, url, headers(n), consume)},
				{name: "Request.Clone alone", call: calls(cloning(floor), url, headers(n), consume)},
				{name: ours, call: calls(through[ours], url, headers(n), consume), beside: blocking},
				{name: blocking, call: calls(through[blocking], url, headers(n), consume)},
			}
			if n == 1 {
				ops = append(
					ops,
					operation{
						name:   "Source.Token",
						beside: theirToken,
						call:   same(func() error { _, err := source.Token(ctx); return err }),
					},
					operation{name: theirToken, call: same(func() error { _, err := theirs.Token(); return err })},
				)
			}
			if err := compare(fmt.Sprintf("goroutines: %d, headers of their own: %d", crowd, n), crowd, ops); err != nil {
				return err
			}
		}
	}
	return nil
}

// overTLS compares the sides over TLS and HTTP/2 to the other process.
func overTLS() (err error) {
	t, err := start(time.Hour, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	fmt.Println("A call over TLS and HTTP/2 to another process")
	for _, crowd := range crowds {
		if err := t.compare(crowd); err != nil {
			return err
		}
	}
	return nil
}

// compare compares the sides, each on a connection of its own.
func (t *target) compare(crowd int) error {
	open, hand, a, b := t.transport(), t.transport(), t.transport(), t.transport()
	for _, tr := range []*http.Transport{open, hand, a, b} {
		defer tr.CloseIdleConnections()
	}
	source, err := t.source(a)
	if err != nil {
		return err
	}
	token, err := source.Token(context.Background())
	if err != nil {
		return err
	}
	carrying, api := headers(1), t.URL+"/api/"
	carrying.Set("Authorization", "Bearer "+token.Value.Reveal())
	through := t.through(source, t.reused(b, 0), a, b)
	ops := []operation{
		{name: bare, call: calls(open, t.URL+"/open/", headers(1), answered)},
		{name: "a token set by hand", call: calls(hand, api, carrying, answered)},
		{name: ours, call: calls(through[ours], api, headers(1), answered), beside: blocking},
		{name: blocking, call: calls(through[blocking], api, headers(1), answered)},
	}
	for i := range ops { // or a crowd would connect once each
		if _, err := ops[i].run(1, 1); err != nil {
			return err
		}
	}
	return compare(fmt.Sprintf("goroutines: %d", crowd), crowd, ops)
}

// same is for calls that all goroutines can share.
func same(call func() error) func() (func() error, error) {
	return func() (func() error, error) { return call, nil }
}

// calls makes requests with that header through rt.
func calls(rt http.RoundTripper, url string, header http.Header, done func(*http.Response, error) error) func() (func() error, error) {
	return func() (func() error, error) {
		req, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		req.Header = header.Clone()
		return func() error { return done(rt.RoundTrip(req)) }, nil
	}
}

// headers are so many of the caller's own.
func headers(n int) http.Header {
	h := http.Header{}
	for _, name := range []string{
		"Accept", "User-Agent", "Accept-Language", "Traceparent", "Tracestate", "X-Request-Id", "Cache-Control", "Origin",
	}[:n] {
		h.Set(name, "value")
	}
	return h
}

// consume ends a call that was answered in memory.
func consume(resp *http.Response, err error) error {
	if err == nil && resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the API answers %d", resp.StatusCode)
	}
	return err
}

// cloning does the minimum that is required of a RoundTripper that changes
// requests.
func cloning(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) { return next.RoundTrip(r.Clone(r.Context())) })
}
