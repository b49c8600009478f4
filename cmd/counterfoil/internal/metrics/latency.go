package metrics

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Latency is how long token requests took: how many took at most so many seconds.
type Latency map[float64]float64

// Bounds of a scrape.
const (
	scrapeWithin = 2 * time.Second
	maxScrape    = 16 << 20
)

// ReadLatency scrapes the metrics at HOST:PORT for the latency of a realm, or of
// all with "".
func ReadLatency(ctx context.Context, address, realm string) (Latency, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, scrapeWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", address, resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(resp.Body, maxScrape))
	if err != nil {
		return nil, fmt.Errorf("the metrics of %s cannot be read: %w", address, err)
	}
	all := Latency{}
	for _, m := range families["counterfoil_token_request_duration_seconds"].GetMetric() {
		ofRealm := realm == ""
		for _, l := range m.GetLabel() {
			ofRealm = ofRealm || l.GetName() == "realm" && l.GetValue() == realm
		}
		if !ofRealm {
			continue
		}
		for _, b := range m.GetHistogram().GetBucket() {
			all[b.GetUpperBound()] += float64(b.GetCumulativeCount())
		}
	}
	return all, nil
}

// Since returns the latency since an earlier reading of the same server; all of it
// if the server was restarted in between.
func (l Latency) Since(before Latency) Latency {
	since := Latency{}
	for bound, n := range l {
		if n < before[bound] {
			return l
		}
		since[bound] = n - before[bound]
	}
	return since
}

// Count is the number of requests.
func (l Latency) Count() float64 { return l[math.Inf(1)] }

// Quantile returns the time that a share of the requests did not exceed, as
// Prometheus estimates it; 0 without requests.
func (l Latency) Quantile(share float64) time.Duration {
	rank, low, below := share*l.Count(), 0.0, 0.0
	if l.Count() == 0 {
		return 0
	}
	for _, bound := range slices.Sorted(maps.Keys(l)) {
		n := l[bound]
		if n >= rank && n > below {
			if math.IsInf(bound, 1) {
				break // longer than the largest bound, which is the best estimate
			}
			low += (bound - low) * (rank - below) / (n - below)
			break
		}
		if !math.IsInf(bound, 1) {
			low, below = bound, n
		}
	}
	return time.Duration(low * float64(time.Second)).Round(time.Microsecond)
}
