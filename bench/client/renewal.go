package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/counterfoil/counterfoil/bench/client/latency"
)

// margin is how long before expiry a token is renewed: a fifth of a short
// lifetime.
const margin = 5

// outcome is the result of one side in all its rounds.
type outcome struct {
	// all are all calls, during those that were due while a token request was
	// under way.
	all, during latency.Set
	p99         []time.Duration // of each round
	renewals    int
	failed      int
	failure     error // the first
}

// underRenewal sends calls at a fixed rate, whatever happens to the previous
// ones, while tokens live for seconds. A call's time counts from when it was
// due: one that waits for a lock or a stalled generator is as late as it is for
// its caller.
func underRenewal() (err error) {
	t, err := start(*life, *delay)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.stop()) }()
	fmt.Printf(
		"Calls while tokens are renewed: %d calls a second, tokens of %s, a token endpoint that takes %s, rounds of %s\n",
		*rate, *life, *delay, *duration,
	)
	names := []string{bare, ours, blocking}
	outcomes := map[string]*outcome{}
	for _, name := range names {
		outcomes[name] = &outcome{all: latency.Set{Name: name}}
	}
	for range *rounds {
		for _, name := range names {
			if err := t.round(name, outcomes[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	fmt.Println()
	if err := latency.Histogram(os.Stdout, &outcomes[bare].all, &outcomes[ours].all, &outcomes[blocking].all); err != nil {
		return err
	}
	report(names, outcomes)
	return nil
}

// round is one round of one side, with a token and connections of its own.
func (t *target) round(name string, o *outcome) error {
	base, tokenBase := t.transport(), t.transport()
	defer base.CloseIdleConnections()
	defer tokenBase.CloseIdleConnections()
	tokens := &watch{next: tokenBase}
	url, rt := t.URL+"/open/", http.RoundTripper(base)
	if name != bare {
		source, err := t.source(tokens)
		if err != nil {
			return err
		}
		url, rt = t.URL+"/api/", t.through(source, t.reused(tokens, t.life/margin), base, base)[name]
	}
	one, err := calls(rt, url, headers(1), answered)()
	if err != nil {
		return err
	}
	if err := one(); err != nil { // connects, and gets the first token
		return err
	}
	begin := time.Now()
	samples, failed, failure := openLoop(rt, url)
	renewals := tokens.since(begin)
	var round latency.Set
	for _, s := range samples {
		round.Add(s.took)
		o.all.Add(s.took)
		for _, w := range renewals {
			if !s.due.Before(w.from) && s.due.Before(w.to) {
				o.during.Add(s.took)
				break
			}
		}
	}
	o.p99 = append(o.p99, round.At(0.99))
	o.renewals += len(renewals)
	o.failed += failed
	if o.failure == nil {
		o.failure = failure
	}
	return nil
}

// sample is one call: when it was due, and how long after that it was answered.
type sample struct {
	due  time.Time
	took time.Duration
}

// openLoop makes the calls of a round, and returns how many failed and the first
// failure.
func openLoop(rt http.RoundTripper, url string) ([]sample, int, error) {
	samples := make([]sample, max(1, int(duration.Seconds()*float64(*rate))))
	var wg sync.WaitGroup
	var failed atomic.Int64
	var first atomic.Pointer[error]
	begin := time.Now()
	for i := range samples {
		s := &samples[i]
		s.due = begin.Add(time.Duration(i) * time.Second / time.Duration(*rate))
		time.Sleep(time.Until(s.due))
		wg.Go(func() {
			one, err := calls(rt, url, headers(1), answered)()
			if err == nil {
				err = one()
			}
			if s.took = time.Since(s.due); err != nil {
				failed.Add(1)
				first.CompareAndSwap(nil, &err)
			}
		})
	}
	wg.Wait()
	if err := first.Load(); err != nil {
		return samples, int(failed.Load()), *err
	}
	return samples, 0, nil
}

func report(names []string, outcomes map[string]*outcome) {
	rows := [][]string{{"ms", "calls", "failed", "p50", "p90", "p99", "p99.9", "longest", "p99 of each round"}}
	for _, name := range names {
		o := outcomes[name]
		row := []string{name, strconv.Itoa(o.all.Len()), strconv.Itoa(o.failed)}
		var each []string
		for _, p := range o.p99 {
			each = append(each, ms(p))
		}
		rows = append(rows, append(append(row, quantiles(&o.all)...), strings.Join(each, " ")))
	}
	fmt.Println()
	table(rows)
	rows = [][]string{{"due during a token request", "calls", "requests", "p50", "p90", "p99", "p99.9", "longest"}}
	for _, name := range names[1:] {
		o := outcomes[name]
		rows = append(rows, append([]string{name, strconv.Itoa(o.during.Len()), strconv.Itoa(o.renewals)}, quantiles(&o.during)...))
	}
	fmt.Println()
	table(rows)
	for _, name := range names {
		if o := outcomes[name]; o.failure != nil {
			fmt.Printf("%s: a call failed: %v\n", name, o.failure)
		}
	}
}

func quantiles(s *latency.Set) []string {
	var cells []string
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
		cells = append(cells, ms(s.At(q)))
	}
	return cells
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*1000) }
