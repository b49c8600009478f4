// Package latency records how long calls took and prints it: percentiles, and a
// histogram with one column for each side of a comparison. Use it for open
// loops, whose samples are few enough to be kept one by one: its percentiles are
// exact. It is a part of the benchmarks, and its API may change.
package latency

import (
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// Set is the measurements of one side. It is not safe for concurrent use.
type Set struct {
	// Name heads the set's column.
	Name    string
	samples []time.Duration
	sorted  bool
}

// Add adds samples to the set.
func (s *Set) Add(samples ...time.Duration) {
	s.samples, s.sorted = append(s.samples, samples...), false
}

// Len is the number of samples.
func (s *Set) Len() int { return len(s.samples) }

// At returns the smallest sample that no less than the share q of all samples
// are at or below (the nearest rank); the longest for 1, and 0 when there are
// no samples.
func (s *Set) At(q float64) time.Duration {
	if len(s.samples) == 0 {
		return 0
	}
	if !s.sorted {
		slices.Sort(s.samples)
		s.sorted = true
	}
	rank := int(math.Ceil(q*float64(len(s.samples)))) - 1
	return s.samples[min(max(rank, 0), len(s.samples)-1)]
}

const (
	// finest is where the first bucket ends; each further one ends at √2 times
	// that.
	finest = 62500 * time.Nanosecond
	// widest bounds the buckets: the last holds all that took longer.
	widest = 32
	// barWidth is the longest bar, one column for each doubling of its count.
	barWidth = 20
)

// bucket is the number of the bucket that holds d: the end of a bucket belongs
// to it.
func bucket(d time.Duration) int {
	for i := range widest {
		if d <= end(i) {
			return i
		}
	}
	return widest
}

// end is the longest time in a bucket.
func end(i int) time.Duration {
	return time.Duration(float64(finest) * math.Pow(2, float64(i)/2))
}

// Histogram writes the sets side by side, one line for each bucket of time from
// the first to the last that holds a sample. The bars are logarithmic, so that
// one call in ten thousand can be seen beside the rest.
func Histogram(w io.Writer, sets ...*Set) error {
	counts := make([][widest + 1]int, len(sets))
	first, last := widest, 0
	for k, s := range sets {
		for _, d := range s.samples {
			i := bucket(d)
			counts[k][i]++
			first, last = min(first, i), max(last, i)
		}
	}
	line := fmt.Sprintf("%12s", "up to")
	for _, s := range sets {
		line += fmt.Sprintf("  %-*s", 7+1+barWidth, s.Name)
	}
	lines := []string{line}
	for i := first; i <= last; i++ {
		limit := fmt.Sprintf("%9.3f ms", float64(end(i))/1e6)
		if i == widest {
			limit = "longer"
		}
		line := fmt.Sprintf("%12s", limit)
		for k := range sets {
			line += fmt.Sprintf("  %7d %-*s", counts[k][i], barWidth, bar(counts[k][i]))
		}
		lines = append(lines, line)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " ")); err != nil {
			return err
		}
	}
	return nil
}

// bar is one mark for each binary digit of n.
func bar(n int) string { return strings.Repeat("#", min(bits.Len(uint(n)), barWidth)) }
