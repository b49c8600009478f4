// Command client measures what 'make bench-client' quotes, in one run on one
// machine:
//
//	go run . -rounds 5 -duration 20s
//
// The cost of a call through client.Transport, beside golang.org/x/oauth2 and
// beside no authentication: in memory, where nothing hides it, and over TLS and
// HTTP/2 to another process; with 1 and with 1,000 goroutines. The cost of a
// cached token. And what the callers of an API notice while a token is renewed,
// beside a renewal that blocks them and beside no authentication.
//
// The other process is a real server with its database, and an API behind a real
// guard. Rounds of the sides alternate; the output is medians.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

var (
	rounds   = flag.Int("rounds", 5, "rounds of each side")
	short    = flag.Duration("short", time.Second, "length of a round that measures what a call costs")
	duration = flag.Duration("duration", 20*time.Second, "length of a round under renewal")
	rate     = flag.Int("rate", 400, "calls a second under renewal")
	life     = flag.Duration("life", 5*time.Second, "lifetime of a token under renewal, in whole seconds")
	delay    = flag.Duration("delay", 300*time.Millisecond, "how long the token endpoint thinks under renewal")
	only     = flag.String("only", "", "measure these only, by comma: memory, tls, renewal")
	serve    = flag.String("serve", "", "internal: the lifetime and the delay of the server to be")
)

// ballast is memory that each process holds, as a real program would: with an
// empty heap the collector would run every 4 MB, and its cycles would be what is
// measured.
const ballast = 32 << 20

func main() {
	flag.Parse()
	log.SetFlags(0)
	defer runtime.KeepAlive(make([]byte, ballast))
	run := measure
	if *serve != "" {
		run = beServer
	}
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

// sections are the parts of a run, in its order.
var sections = []struct {
	name string
	run  func() error
}{{"memory", inMemory}, {"tls", overTLS}, {"renewal", underRenewal}}

func measure() error {
	if err := sensible(); err != nil {
		return err
	}
	fmt.Printf("%s, %d processors, %d rounds of each side\n", runtime.Version(), runtime.GOMAXPROCS(0), *rounds)
	for _, section := range sections {
		if !wanted(section.name) {
			continue
		}
		fmt.Println()
		if err := section.run(); err != nil {
			return fmt.Errorf("%s: %w", section.name, err)
		}
	}
	return nil
}

func wanted(section string) bool {
	return *only == "" || slices.Contains(strings.Split(*only, ","), section)
}

// sensible refuses flags with which nothing would be measured.
func sensible() error {
	switch {
	case *rounds < 1 || *rate < 1:
		return errors.New("-rounds and -rate must be at least 1")
	case *short <= 0 || *duration <= 0 || *delay < 0:
		return errors.New("-short and -duration must be above 0, and -delay not below")
	case *life < 2*time.Second || *life%time.Second != 0:
		return errors.New("-life must be whole seconds, at least 2s")
	}
	for name := range strings.SplitSeq(*only, ",") {
		if name != "" && name != sections[0].name && name != sections[1].name && name != sections[2].name {
			return fmt.Errorf("-only has memory, tls and renewal, not %q", name)
		}
	}
	return nil
}

func median[T any, V cmp.Ordered](rs []T, of func(T) V) V {
	values := make([]V, len(rs))
	for i, r := range rs {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// table prints what is padded by its widest cell: the first column to the left,
// the others to the right.
func table(rows [][]string) {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i == 0 {
				fmt.Fprintf(&b, "%-*s", width[i], cell)
			} else {
				fmt.Fprintf(&b, "  %*s", width[i], cell)
			}
		}
		fmt.Fprintln(os.Stdout, strings.TrimRight(b.String(), " "))
	}
}
