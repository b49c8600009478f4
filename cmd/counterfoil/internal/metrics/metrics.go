// Package metrics counts for Prometheus what a server of 'up' or 'serve' does, and
// serves the counts. docs/metrics.md lists them.
//
// It promises that labels have few values, none of which is text of a request, an
// address or a client ID; that counting costs a request less than half a
// microsecond; and that any number of scrapers costs no more than one a second.
package metrics

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/server/alerts"
	"github.com/counterfoil/counterfoil/server/store/sqlite"
)

// Metrics counts for one server. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	tokens, endpoints, guards, admin *prometheus.CounterVec
	duration                         *prometheus.HistogramVec
	commit, group                    prometheus.Histogram
	unwritten, leftOut               prometheus.Counter
	alerts                           *prometheus.CounterVec

	// counted has the series of each kind of event that was counted before.
	counted atomic.Pointer[map[kind]*series]
	mu      sync.Mutex // held to add to counted
}

// kind is what distinguishes the series of events.
type kind struct {
	event, realm, endpoint, method string
	reason                         counterfoil.Reason
	success                        bool
}

// series is what an event of a kind counts in.
type series struct {
	count    prometheus.Counter
	duration prometheus.Observer // nil for none
}

// The value of labels for what is not told apart, and the most kinds of events that
// are: a server with a hundred realms that are all attacked has as many.
const (
	other    = "other"
	maxKinds = 4000
)

// The values of the label outcome. A request that was refused because the server
// could not decide has failed.
const (
	issued  = "issued"
	reused  = "reused"
	allowed = "allowed"
	refused = "refused"
	failed  = "failed"
)

// New returns Metrics that have counted nothing.
func New() *Metrics {
	const space = "counterfoil"
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: space, Name: name, Help: help}, labels)
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: space, Name: name, Help: help})
	}
	buckets := []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	m := &Metrics{
		registry:  prometheus.NewPedanticRegistry(),
		tokens:    vec("token_requests_total", "Requests to token endpoints.", "realm", "outcome", "reason", "method"),
		endpoints: vec("endpoint_requests_total", "Requests to the other endpoints of realms.", "realm", "endpoint", "outcome", "reason"),
		guards:    vec("guard_calls_total", "Calls that guards in this process decided about.", "realm", "outcome", "reason"),
		admin:     vec("admin_calls_total", "Calls of the Admin API.", "realm", "outcome", "reason"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: space, Name: "token_request_duration_seconds",
			Help:    "How long token requests took, until the answer was decided and recorded.",
			Buckets: buckets,
		}, []string{"realm", "outcome"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: space, Name: "store_commit_duration_seconds",
			Help:    "How long transactions of the database took, until they were synced to the disk.",
			Buckets: buckets,
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: space, Name: "store_commit_writes", Help: "How many writes shared a transaction.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512},
		}),
		unwritten: counter("store_failed_writes_total", "Writes that the database could not make."),
		leftOut:   counter("log_left_out_total", "Requests that the log has only as a number, because they repeat."),
		alerts:    vec("alerts_total", "Alerts that were raised.", "kind"),
	}
	m.counted.Store(&map[kind]*series{})
	for _, k := range kinds {
		m.alerts.WithLabelValues(string(k))
	}
	m.registry.MustRegister(
		m.tokens, m.endpoints, m.guards, m.admin, m.duration, m.commit, m.group, m.unwritten, m.leftOut, m.alerts,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// OnEvent counts a decision of a server, a guard or the Admin API.
func (m *Metrics) OnEvent(_ context.Context, e counterfoil.Event) {
	k := kind{e.Type, e.Realm, e.Endpoint, e.Method, e.Reason, e.Success}
	s := (*m.counted.Load())[k]
	if s == nil {
		s = m.begin(k)
	}
	if s.count != nil {
		s.count.Inc()
	}
	if s.duration != nil {
		s.duration.Observe(e.Duration.Seconds())
	}
}

// begin adds the series of a kind.
func (m *Metrics) begin(k kind) *series {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := *m.counted.Load()
	if s := before[k]; s != nil {
		return s
	}
	if len(before) >= maxKinds {
		k.realm, k.method, k.reason = other, other, other
		if s := before[k]; s != nil {
			return s
		}
	}
	s := m.seriesOf(k)
	after := maps.Clone(before)
	after[k] = s
	m.counted.Store(&after)
	return s
}

// seriesOf returns what a kind counts in, which is nothing for a change of a client
// or a key.
func (m *Metrics) seriesOf(k kind) *series {
	outcome, reason := allowed, string(k.reason)
	switch {
	case !k.success && (k.reason == counterfoil.ReasonServerError || of(k.reason, counterfoil.ReasonUnavailable)):
		outcome = failed
	case !k.success:
		outcome = refused
	case k.event == counterfoil.EventTokenIssued:
		outcome = issued
	case k.event == counterfoil.EventTokenReused:
		outcome = reused
	}
	switch k.event {
	case counterfoil.EventTokenIssued, counterfoil.EventTokenReused, counterfoil.EventTokenRefused:
		if k.endpoint != "" {
			return &series{count: counterOf(m.endpoints, k.realm, k.endpoint, outcome, reason)}
		}
		duration, _ := m.duration.GetMetricWithLabelValues(k.realm, outcome)
		return &series{counterOf(m.tokens, k.realm, outcome, reason, k.method), duration}
	case counterfoil.EventTokenIntrospected, counterfoil.EventTokenRevoked, counterfoil.EventTokensRevoked, counterfoil.EventSecretLeaked:
		return &series{count: counterOf(m.endpoints, k.realm, k.endpoint, outcome, reason)}
	case counterfoil.EventCallAllowed, counterfoil.EventCallRefused:
		return &series{count: counterOf(m.guards, k.realm, outcome, reason)}
	case counterfoil.EventAdminCalled, counterfoil.EventAdminRefused:
		return &series{count: counterOf(m.admin, k.realm, outcome, reason)}
	}
	return &series{}
}

// of reports whether a reason is another one, or a case of it.
func of(r, broad counterfoil.Reason) bool { return r == broad || r.Parent() == broad }

// counterOf returns a counter; nil where a label is no UTF-8, which nothing has.
func counterOf(v *prometheus.CounterVec, labels ...string) prometheus.Counter {
	c, err := v.GetMetricWithLabelValues(labels...)
	if err != nil {
		return nil
	}
	return c
}

// OnCommit counts a transaction of the database.
func (m *Metrics) OnCommit(c sqlite.Commit) {
	m.commit.Observe(c.Duration.Seconds())
	m.group.Observe(float64(c.Writes))
	m.unwritten.Add(float64(c.Failed))
}

// LeftOut counts requests that are in the log as a number only.
func (m *Metrics) LeftOut(n int64) { m.leftOut.Add(float64(n)) }

// kinds are those of alerts, which begin at 0.
var kinds = alerts.Kinds()

// Alert counts an alert that was raised, or found again.
func (m *Metrics) Alert(k alerts.Kind) { m.alerts.WithLabelValues(string(k)).Inc() }
