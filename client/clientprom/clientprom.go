// Package clientprom counts the events of package client for Prometheus. Use it
// as client.Config's OnEvent where a program has a registry:
//
//	metrics := clientprom.New()
//	prometheus.MustRegister(metrics)
//	// client.Config{OnEvent: metrics.OnEvent}
//
// It is a module of its own. The series are bounded whatever a provider answers,
// and none holds a secret, a token or text of a response.
package clientprom

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/label"
)

// Metrics is a prometheus.Collector of
//
//	counterfoil_client_events_total{provider,client_id,type,reason,status}
//	    events by type, such as token.renewed or call.retried
//	counterfoil_client_token_request_duration_seconds{provider,client_id,status}
//	    a histogram of token requests, each attempt for itself
//	counterfoil_client_last_token_timestamp_seconds{provider,client_id}
//	    when the last token was obtained or renewed, in seconds since 1970
//
// The labels are few: reason is one of package counterfoil's, status the class
// of the HTTP status (4xx), each empty if absent; unexpected values are "other",
// and so are clients after the first thousand. All Sources of a program may
// share one Metrics. It is safe for concurrent use.
type Metrics struct {
	clients  label.Clients
	events   *prometheus.CounterVec
	duration *prometheus.HistogramVec
	last     *prometheus.GaugeVec
}

// New returns Metrics to be registered once.
func New() *Metrics {
	name := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "counterfoil", Subsystem: "client", Name: name, Help: help}
	}
	duration := name("token_request_duration_seconds", "How long requests to the token endpoint took, each attempt for itself.")
	return &Metrics{
		events: prometheus.NewCounterVec(
			prometheus.CounterOpts(name("events_total", "Events of the client, such as tokens renewed and calls retried.")),
			[]string{"provider", "client_id", "type", "reason", "status"},
		),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: duration.Namespace, Subsystem: duration.Subsystem, Name: duration.Name, Help: duration.Help,
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}, // to Config.Timeout's default
		}, []string{"provider", "client_id", "status"}),
		last: prometheus.NewGaugeVec(
			prometheus.GaugeOpts(name("last_token_timestamp_seconds", "When the client's last token was obtained or renewed.")),
			[]string{"provider", "client_id"},
		),
	}
}

// OnEvent counts e. It is for client.Config's OnEvent.
func (m *Metrics) OnEvent(_ context.Context, e counterfoil.Event) {
	c := m.clients.Labels(e.Realm, e.ClientID)
	status := label.Status(e.Status)
	m.events.WithLabelValues(c.Provider, c.ID, label.Type(e.Type), label.Reason(e.Reason), status).Inc()
	switch e.Type {
	case counterfoil.EventTokenRequested:
		m.duration.WithLabelValues(c.Provider, c.ID, status).Observe(e.Duration.Seconds())
	case counterfoil.EventTokenObtained, counterfoil.EventTokenRenewed:
		m.last.WithLabelValues(c.Provider, c.ID).Set(float64(e.Time.UnixMilli()) / 1000)
	}
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	m.events.Describe(ch)
	m.duration.Describe(ch)
	m.last.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	m.events.Collect(ch)
	m.duration.Collect(ch)
	m.last.Collect(ch)
}
