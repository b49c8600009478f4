package metrics

import (
	"bytes"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"

	"github.com/counterfoil/counterfoil"
)

// Stands is how long a scrape is answered again: that of many scrapers costs what
// that of one does.
const Stands = time.Second

// Handler serves the metrics in the text format of Prometheus.
func (m *Metrics) Handler(c counterfoil.Clock) http.Handler { return &page{metrics: m, clock: c} }

// page is the last scrape.
type page struct {
	metrics *Metrics
	clock   counterfoil.Clock

	mu   sync.Mutex // held while the metrics are collected: others wait for the result
	at   time.Time
	text []byte
	err  error
}

// ServeHTTP serves the metrics.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	text, err := p.current()
	if err != nil {
		http.Error(w, "the metrics cannot be collected: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(expfmt.NewFormat(expfmt.TypeTextPlain)))
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(text)
}

// current returns a scrape that is at most Stands old.
func (p *page) current() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if since := p.clock.Now().Sub(p.at); !p.at.IsZero() && since >= 0 && since < Stands {
		return p.text, p.err
	}
	families, err := p.metrics.registry.Gather()
	var text bytes.Buffer
	for _, f := range families {
		if err == nil {
			_, err = expfmt.MetricFamilyToText(&text, f)
		}
	}
	p.at, p.text, p.err = p.clock.Now(), text.Bytes(), err
	return p.text, p.err
}
