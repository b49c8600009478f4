// Command mutants changes one operator of a package at a time and reports which
// changes the package's tests do not notice, as gremlins does, for packages
// whose tests take a minute: all changes are built into one test binary, the
// environment selects one, and only the tests that reach it run.
//
//	go run ./bench/mutants -pkg ./server -out /tmp/server [-only '^token\.go$'] [-skip 'Kill|Power'] [-tests ./other]
//
// It prints the changes that survived and those that no test reached.
// results.txt in the -out directory has a line for each change: its result, its
// place, the test that failed, and the text of its line. Changes listed there
// are not tried again. Constants are not changed, and generated files are left
// out. A test that fails by itself fails every change that it reaches: run it on
// an idle machine. For a package without tests of its own, -tests names a
// package that uses it.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	pkg := flag.String("pkg", "", "the package, such as ./server")
	out := flag.String("out", "", "a directory for the results")
	only := flag.String("only", "", "change only the files whose names match")
	skip := flag.String("skip", "", "leave out the tests whose names match")
	tests := flag.String("tests", "", "the package whose tests try the changes; default the package itself")
	workers := flag.Int("workers", 2, "how many changes are tried at a time")
	flag.Parse()
	if *pkg == "" || *out == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*pkg, cmp.Or(*tests, *pkg), *out, *only, *skip, *workers); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(pkg, tests, out, only, skip string, workers int) error {
	onlyRE, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	skipRE, err := regexp.Compile(cmp.Or(skip, "$^"))
	if err != nil {
		return err
	}
	if out, err = filepath.Abs(out); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	changed, err := change(pkg, out, onlyRE)
	if err != nil {
		return err
	}
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", tests).Output()
	if err != nil {
		return fmt.Errorf("find %s: %w", tests, err)
	}
	trial := &trial{dir: strings.TrimSpace(string(dir)), binary: filepath.Join(out, "package.test"), workers: workers}
	build := exec.Command("go", "test", "-c", "-vet=off", "-overlay", changed.overlay, "-o", trial.binary, tests)
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, text)
	}
	fmt.Printf("%s: %d changes, %d constants not tried\n", pkg, len(changed.mutants), changed.constants)
	if err := trial.reach(out, skipRE, len(changed.mutants)); err != nil {
		return err
	}
	return trial.all(filepath.Join(out, "results.txt"), changed.mutants)
}

// trial runs the tests.
type trial struct {
	dir, binary string
	workers     int

	tests []string
	took  []time.Duration // of each test
	// by are the tests that reach each change, quickest first.
	by [][]int
}

// test runs tests with that environment.
func (t *trial) test(limit time.Duration, env []string, tests ...string) (output string, timedOut bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := exec.CommandContext(
		ctx, t.binary, "-test.run", "^("+strings.Join(tests, "|")+")$", "-test.failfast", "-test.timeout",
		(limit + time.Minute).String(),
	)
	c.Dir, c.Env, c.WaitDelay = t.dir, append(os.Environ(), env...), 3*time.Second
	text, err := c.CombinedOutput()
	return string(text), ctx.Err() != nil, err
}

// each calls f for 0 to n-1, by as many workers as there are.
func (t *trial) each(n int, f func(int)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range t.workers {
		all.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

// reach runs each test alone and records which changes it reaches.
func (t *trial) reach(out string, skip *regexp.Regexp, changes int) error {
	c := exec.Command(t.binary, "-test.list", ".*")
	c.Dir = t.dir
	names, err := c.Output()
	if err != nil {
		return fmt.Errorf("list the tests: %w", err)
	}
	for _, name := range strings.Fields(string(names)) {
		if !strings.HasPrefix(name, "Benchmark") && !skip.MatchString(name) {
			t.tests = append(t.tests, name)
		}
	}
	t.took, t.by = make([]time.Duration, len(t.tests)), make([][]int, changes)
	var mu sync.Mutex
	t.each(len(t.tests), func(i int) {
		record := filepath.Join(out, "reached."+t.tests[i])
		defer os.Remove(record)
		began := time.Now()
		output, _, err := t.test(10*time.Minute, []string{"MUTANT=-1", "MUTANTS_REACHED=" + record}, t.tests[i])
		mu.Lock()
		defer mu.Unlock()
		if t.took[i] = time.Since(began); err != nil {
			fmt.Printf("left out, because it fails by itself: %s\n%s\n", t.tests[i], output[max(0, len(output)-600):])
			return
		}
		reached, _ := os.ReadFile(record) // none when it reaches none
		for _, word := range strings.Fields(string(reached)) {
			if k, err := strconv.Atoi(word); err == nil && k < changes {
				t.by[k] = append(t.by[k], i)
			}
		}
	})
	for _, tests := range t.by {
		slices.SortFunc(tests, func(a, b int) int { return cmp.Compare(t.took[a], t.took[b]) })
	}
	return nil
}

var failedTest = regexp.MustCompile(`--- FAIL: (\S+)`)

// one tries a change: the quickest tests first, some seconds of them at a time.
func (t *trial) one(k int) (result, by string) {
	tests := t.by[k]
	if len(tests) == 0 {
		return "NOT-REACHED", ""
	}
	for len(tests) > 0 {
		var names []string
		var sum time.Duration
		for len(tests) > 0 && (sum < 2*time.Second || len(names) == 0) {
			names, sum, tests = append(names, t.tests[tests[0]]), sum+t.took[tests[0]], tests[1:]
		}
		output, timedOut, err := t.test(8*sum+20*time.Second, []string{"MUTANT=" + strconv.Itoa(k), "MUTANTS_REACHED="}, names...)
		if err == nil {
			continue
		}
		if found := failedTest.FindStringSubmatch(output); found != nil {
			by = found[1]
		}
		if timedOut {
			return "TIMED-OUT", by
		}
		return "NOTICED", by
	}
	return "LIVED", ""
}

// all tries what the file of results does not have yet.
func (t *trial) all(file string, mutants []mutant) error {
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	done := map[string]bool{}
	for line := range strings.Lines(string(before)) {
		if fields := strings.Split(line, "\t"); len(fields) > 1 {
			done[fields[1]] = true
		}
	}
	results, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	count := map[string]int{}
	var mu sync.Mutex
	t.each(len(mutants), func(k int) {
		m := mutants[k]
		if done[m.place] {
			return
		}
		result, by := t.one(k)
		mu.Lock()
		defer mu.Unlock()
		count[result]++
		fmt.Fprintf(results, "%s\t%s\t%s\t%s\n", result, m.place, by, m.line)
		if result == "LIVED" || result == "NOT-REACHED" {
			fmt.Printf("%s %s | %s\n", result, m.place, m.line)
		}
	})
	text, err := json.Marshal(count)
	fmt.Println(string(text))
	return errors.Join(err, results.Close())
}
