// Package clientotel turns the events of package client into metrics and traces
// of OpenTelemetry. Use it as client.Config's OnEvent where a program has set
// those up:
//
//	telemetry, err := clientotel.New(clientotel.Options{})
//	// client.Config{OnEvent: telemetry.OnEvent}
//
// It reports token requests and decisions, not each call: for spans of the calls
// wrap the transport, as Transport.Base for one span per attempt,
//
//	&client.Transport{Source: s, Base: otelhttp.NewTransport(base)}
//
// or around it, otelhttp.NewTransport(&client.Transport{Source: s}), for one
// span per call, including its waits and retries. A Base of its own does not
// present the client certificate that a token may be bound to: in that case,
// wrap around.
//
// It is a module of its own and needs the OpenTelemetry API alone. The values of
// the metrics' attributes are bounded whatever a provider answers, and nothing
// holds a secret or a token.
package clientotel

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client/internal/label"
)

// The attributes that the semantic conventions have no name for.
const (
	providerKey = attribute.Key("counterfoil.provider")
	clientKey   = attribute.Key("counterfoil.client.id")
	typeKey     = attribute.Key("counterfoil.event.type")
	detailKey   = attribute.Key("counterfoil.event.detail")
)

const scope = "github.com/counterfoil/counterfoil/client/clientotel"

// Options say where metrics and spans go. The zero value is the program's
// global providers.
type Options struct {
	// MeterProvider takes the metrics; default otel.GetMeterProvider.
	MeterProvider metric.MeterProvider
	// TracerProvider takes the spans; default otel.GetTracerProvider.
	TracerProvider trace.TracerProvider
}

// Telemetry is shared by a program's Sources:
//
//	counterfoil.client.events                   counter of all events
//	counterfoil.client.token_request.duration   histogram in s, each attempt for itself
//	span "token request"                        each attempt, of kind client
//
// A token request's span is a child of the span of the caller that started the
// request, which all callers share: callers that only wait have none. Other
// events are added to the span of their context, so that a call's span says that
// and why it was retried. It is safe for concurrent use.
type Telemetry struct {
	clients  label.Clients
	tracer   trace.Tracer
	events   metric.Int64Counter
	duration metric.Float64Histogram
}

// New returns a Telemetry. The error is that of a MeterProvider that refuses an
// instrument.
func New(o Options) (*Telemetry, error) {
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	t := &Telemetry{tracer: o.TracerProvider.Tracer(scope)}
	meter := o.MeterProvider.Meter(scope)
	var err error
	if t.events, err = meter.Int64Counter("counterfoil.client.events", metric.WithUnit("{event}"),
		metric.WithDescription("Events of the client, such as tokens renewed and calls retried.")); err != nil {
		return nil, fmt.Errorf("clientotel: the counter of events is refused: %w", err)
	}
	if t.duration, err = meter.Float64Histogram("counterfoil.client.token_request.duration", metric.WithUnit("s"),
		metric.WithDescription("How long requests to the token endpoint took, each attempt for itself."),
		metric.WithExplicitBucketBoundaries(.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30)); err != nil {
		return nil, fmt.Errorf("clientotel: the histogram of durations is refused: %w", err)
	}
	return t, nil
}

// OnEvent records e. It is for client.Config's OnEvent.
func (t *Telemetry) OnEvent(ctx context.Context, e counterfoil.Event) {
	c := t.clients.Labels(e.Realm, e.ClientID)
	common := []attribute.KeyValue{providerKey.String(c.Provider), clientKey.String(c.ID)}
	if reason := label.Reason(e.Reason); reason != "" {
		common = append(common, semconv.ErrorTypeKey.String(reason))
	}
	if e.Status >= 100 && e.Status <= 599 {
		common = append(common, semconv.HTTPResponseStatusCode(e.Status))
	}
	t.events.Add(ctx, 1, metric.WithAttributes(common...), metric.WithAttributes(typeKey.String(label.Type(e.Type))))
	if e.Type == counterfoil.EventTokenRequested {
		t.duration.Record(ctx, e.Duration.Seconds(), metric.WithAttributes(common...))
		t.span(ctx, e, common)
		return
	}
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.AddEvent(e.Type, trace.WithTimestamp(e.Time), trace.WithAttributes(append(common, details(e)...)...))
	}
}

// span emits the span of a token request that has ended.
func (t *Telemetry) span(ctx context.Context, e counterfoil.Event, common []attribute.KeyValue) {
	_, span := t.tracer.Start(ctx, "token request", trace.WithTimestamp(e.Time.Add(-e.Duration)), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(common...), trace.WithAttributes(semconv.HTTPRequestMethodPost), trace.WithAttributes(details(e)...))
	if e.Reason != "" {
		span.SetStatus(codes.Error, e.Detail)
	}
	span.End(trace.WithTimestamp(e.Time))
}

// details are what a trace has beyond a metric.
func details(e counterfoil.Event) []attribute.KeyValue {
	var all []attribute.KeyValue
	if e.Attempt > 1 {
		all = append(all, semconv.HTTPRequestResendCount(e.Attempt-1))
	}
	if e.Detail != "" && e.Type != counterfoil.EventTokenRequested { // whose status says it
		all = append(all, detailKey.String(e.Detail))
	}
	return all
}
