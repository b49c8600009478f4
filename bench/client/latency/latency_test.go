package latency_test

import (
	"strings"
	"testing"
	"time"

	"github.com/counterfoil/counterfoil/bench/client/latency"
)

func TestPercentilesAreExact(t *testing.T) {
	var hundred latency.Set
	for i := 100; i > 0; i-- {
		hundred.Add(time.Duration(i) * time.Millisecond)
	}
	var one, none latency.Set
	one.Add(7)
	for _, row := range []struct {
		name string
		set  *latency.Set
		q    float64
		want time.Duration
	}{
		{"the median", &hundred, 0.5, 50 * time.Millisecond},
		{"p99", &hundred, 0.99, 99 * time.Millisecond},
		{"p99.9 of a hundred is the longest", &hundred, 0.999, 100 * time.Millisecond},
		{"the longest", &hundred, 1, 100 * time.Millisecond},
		{"the shortest", &hundred, 0, time.Millisecond},
		{"one sample", &one, 0.5, 7},
		{"no sample", &none, 0.99, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := row.set.At(row.q); got != row.want {
				t.Errorf("At(%v) = %v, want %v", row.q, got, row.want)
			}
		})
	}
}

func TestPercentilesAfterMore(t *testing.T) {
	var s latency.Set
	s.Add(1, 2, 3)
	if s.At(1) != 3 {
		t.Fatalf("the longest is %v", s.At(1))
	}
	s.Add(9, 5)
	if got := s.At(1); got != 9 || s.Len() != 5 {
		t.Errorf("after more samples the longest of %d is %v, want 9 of 5", s.Len(), got)
	}
}

func TestHistogramCountsEachSampleOnce(t *testing.T) {
	quick, slow := &latency.Set{Name: "quick"}, &latency.Set{Name: "slow"}
	quick.Add(0, 62500, 62501, time.Millisecond)
	slow.Add(300*time.Millisecond, time.Hour)
	var b strings.Builder
	if err := latency.Histogram(&b, quick, slow); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	for _, row := range []struct {
		name, start, want string
	}{
		{"what took no time and what ends the first bucket", "0.062 ms", "2 ## 0"},
		{"just beyond it", "0.088 ms", "1 # 0"},
		{"a millisecond ends a bucket", "1.000 ms", "1 # 0"},
		{"the other side", "362.039 ms", "0 1 #"},
		{"an hour", "longer", "0 1 #"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, line := range lines {
				if rest, ok := strings.CutPrefix(strings.TrimSpace(line), row.start); ok {
					if got := strings.Join(strings.Fields(rest), " "); got != row.want {
						t.Errorf("the bucket says %q, want %q", got, row.want)
					}
					return
				}
			}
			t.Errorf("no bucket %q in\n%s", row.start, b.String())
		})
	}
	if got := strings.Fields(lines[0]); strings.Join(got, " ") != "up to quick slow" {
		t.Errorf("the head is %q", lines[0])
	}
}

func TestHistogramOfNothing(t *testing.T) {
	var b strings.Builder
	if err := latency.Histogram(&b, &latency.Set{Name: "idle"}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(strings.Fields(b.String()), " "); got != "up to idle" {
		t.Errorf("a histogram of nothing is %q, want its head", got)
	}
}
