package clientotel_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/counterfoil/counterfoil"
	"github.com/counterfoil/counterfoil/client"
	"github.com/counterfoil/counterfoil/client/clientotel"
	"github.com/counterfoil/counterfoil/client/internal/endpoints"
)

// collector keeps what the SDK exports.
type collector struct {
	t       *testing.T
	spans   *tracetest.InMemoryExporter
	traces  *sdktrace.TracerProvider
	reader  *sdkmetric.ManualReader
	tracer  trace.Tracer
	onEvent func(context.Context, counterfoil.Event)
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{t: t, spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	c.traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(c.spans))
	c.tracer = c.traces.Tracer("test")
	telemetry, err := clientotel.New(clientotel.Options{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(c.reader)), TracerProvider: c.traces})
	if err != nil {
		t.Fatal(err)
	}
	c.onEvent = telemetry.OnEvent
	return c
}

// metrics returns the value (or count) of each series of a metric.
func (c *collector) metrics(name string) map[string]int64 {
	c.t.Helper()
	var all metricdata.ResourceMetrics
	if err := c.reader.Collect(c.t.Context(), &all); err != nil {
		c.t.Fatal(err)
	}
	got := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					got[text(p.Attributes.ToSlice())] = p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					got[text(p.Attributes.ToSlice())] = int64(p.Count)
				}
			}
		}
	}
	return got
}

func text(all []attribute.KeyValue) string {
	var words []string
	for _, a := range all {
		words = append(words, fmt.Sprintf("%s=%s", a.Key, a.Value.String()))
	}
	return strings.Join(words, " ")
}

func (c *collector) named(name string) (found tracetest.SpanStubs) {
	for _, s := range c.spans.GetSpans() {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func (c *collector) showsNoSecret() {
	c.t.Helper()
	all := fmt.Sprintf("%+v %v", c.spans.GetSpans(), c.metrics("counterfoil.client.events"))
	for _, secret := range []string{endpoints.Secret, endpoints.TokenPrefix} {
		if strings.Contains(all, secret) {
			c.t.Errorf("%s shows in what is exported", secret)
		}
	}
}

// get makes a call within a span of its own, which it returns.
func (c *collector) get(hc *http.Client, url string) trace.SpanContext {
	c.t.Helper()
	ctx, span := c.tracer.Start(c.t.Context(), "work")
	defer span.End()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := hc.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	resp.Body.Close()
	return span.SpanContext()
}

func TestTokenRequestsAreSpansOfTheirCaller(t *testing.T) {
	e, c := endpoints.New(t), newCollector(t)
	cfg := e.Config()
	cfg.OnEvent = c.onEvent
	s := e.Source(t, cfg)
	began := time.Now()
	first := c.get(s.Client(), cfg.APIURL)
	c.get(s.Client(), cfg.APIURL) // the token is there
	ended := time.Now()

	requests := c.named("token request")
	if len(requests) != 1 {
		t.Fatalf("%d spans of token requests, want 1", len(requests))
	}
	r := requests[0]
	equal(t, "trace", r.SpanContext.TraceID(), first.TraceID())
	equal(t, "parent", r.Parent.SpanID(), first.SpanID())
	equal(t, "kind", r.SpanKind, trace.SpanKindClient)
	equal(t, "status", r.Status.Code, codes.Unset)
	equal(t, "attributes", text(r.Attributes), "counterfoil.provider=oauth2 counterfoil.client.id=the-client http.response.status_code=200 http.request.method=POST")
	if r.StartTime.Before(began) || !r.EndTime.After(r.StartTime) || r.EndTime.After(ended) {
		t.Errorf("the span is from %s to %s, the request was between %s and %s", r.StartTime, r.EndTime, began, ended)
	}
	work := c.named("work")[0]
	if len(work.Events) != 1 || work.Events[0].Name != counterfoil.EventTokenObtained {
		t.Errorf("the caller's span has the events %v", work.Events)
	}
	c.showsNoSecret()
}

func TestRefusedTokenRequest(t *testing.T) {
	e, c := endpoints.New(t), newCollector(t)
	e.Answer(endpoints.Refuse(400, `{"error":"invalid_scope","error_description":"`+endpoints.Secret+`"}`), nil)
	cfg := e.Config()
	cfg.OnEvent = c.onEvent
	if _, err := e.Source(t, cfg).Token(t.Context()); err == nil {
		t.Fatal("no refusal")
	}
	requests := c.named("token request")
	if len(requests) != 1 {
		t.Fatalf("%d spans of token requests, want 1", len(requests))
	}
	equal(t, "parent", requests[0].Parent.IsValid(), false) // the caller has no span
	equal(t, "status", requests[0].Status.Code, codes.Error)
	equal(t, "attributes", text(requests[0].Attributes),
		"counterfoil.provider=oauth2 counterfoil.client.id=the-client error.type=invalid_scope http.response.status_code=400 http.request.method=POST")
	equal(t, "words", strings.Contains(requests[0].Status.Description, "refuses the scope"), true)
	c.showsNoSecret()
}

func TestRetriesAreEventsOfTheCall(t *testing.T) {
	e, c := endpoints.New(t), newCollector(t)
	e.Answer(nil, func(w http.ResponseWriter, _ *http.Request, n int) { w.WriteHeader([]int{503, 401, 200}[n-1]) })
	cfg := e.Config()
	cfg.OnEvent = c.onEvent
	cfg.Retries = []time.Duration{time.Nanosecond}
	c.get(e.Source(t, cfg).Client(), cfg.APIURL)

	var got []string
	for _, event := range c.named("work")[0].Events {
		got = append(got, event.Name)
		if event.Name == counterfoil.EventCallRetried {
			all := text(event.Attributes)
			got[len(got)-1] += " " + all[strings.Index(all, "error.type"):strings.Index(all, " counterfoil.event.detail")]
		}
	}
	want := "token.obtained, call.retried error.type=unavailable http.response.status_code=503 http.request.resend_count=1, " +
		"token.dropped, token.obtained, call.retried error.type=token_invalid http.response.status_code=401 http.request.resend_count=2"
	equal(t, "events", strings.Join(got, ", "), want)
	c.showsNoSecret()
}

func TestMetrics(t *testing.T) {
	e, c := endpoints.New(t), newCollector(t)
	cfg := e.Config()
	cfg.OnEvent = c.onEvent
	s := e.Source(t, cfg)
	token, err := s.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Invalidate(t.Context(), token)
	e.Answer(endpoints.Refuse(401, `{"error":"invalid_client"}`), nil)
	for range 10 {
		if _, err := s.Token(t.Context()); err == nil {
			t.Fatal("no refusal")
		}
	}
	the := "counterfoil.client.id=the-client "
	for name, want := range map[string]map[string]int64{
		"counterfoil.client.events": {
			the + "counterfoil.event.type=token.requested counterfoil.provider=oauth2 http.response.status_code=200":                           1,
			the + "counterfoil.event.type=token.obtained counterfoil.provider=oauth2 http.response.status_code=200":                            1,
			the + "counterfoil.event.type=token.dropped counterfoil.provider=oauth2 error.type=token_invalid":                                  1,
			the + "counterfoil.event.type=token.requested counterfoil.provider=oauth2 error.type=invalid_client http.response.status_code=401": 1,
			the + "counterfoil.event.type=token.refused counterfoil.provider=oauth2 error.type=invalid_client http.response.status_code=401":   1,
		},
		"counterfoil.client.token_request.duration": {
			the + "counterfoil.provider=oauth2 http.response.status_code=200":                           1,
			the + "counterfoil.provider=oauth2 error.type=invalid_client http.response.status_code=401": 1,
		},
	} {
		equal(t, name, fmt.Sprint(c.metrics(name)), fmt.Sprint(want))
	}
}

// Whatever a stranger or a mistake puts into events, the series are few.
func TestSeriesAreBounded(t *testing.T) {
	c := newCollector(t)
	for i := range 3000 {
		c.onEvent(t.Context(), counterfoil.Event{Type: fmt.Sprint("type ", i), ClientID: "c", Reason: counterfoil.Reason(fmt.Sprint("reason ", i)), Status: i})
	}
	got := c.metrics("counterfoil.client.events")
	if len(got) > 501 {
		t.Errorf("%d series of one client", len(got))
	}
	for series := range got {
		if !strings.Contains(series, "counterfoil.event.type=other") || !strings.Contains(series, "error.type=other") {
			t.Fatalf("%s: type and reason are not among the known", series)
		}
	}
}

// Each attempt of a call is a span of otelhttp below the caller's when it wraps
// Transport.Base, and the token's request is none of them.
func TestWrappedBase(t *testing.T) {
	e, c := endpoints.New(t), newCollector(t)
	e.Answer(nil, func(w http.ResponseWriter, _ *http.Request, n int) { w.WriteHeader([]int{503, 200}[n-1]) })
	cfg := e.Config()
	cfg.Retries = []time.Duration{time.Nanosecond}
	base := otelhttp.NewTransport(cfg.HTTP, otelhttp.WithTracerProvider(c.traces), otelhttp.WithMeterProvider(otel.GetMeterProvider()))
	caller := c.get(&http.Client{Transport: &client.Transport{Source: e.Source(t, cfg), Base: base}}, cfg.APIURL)
	attempts := c.named("HTTP GET")
	equal(t, "attempts", len(attempts), 2)
	equal(t, "spans", len(c.spans.GetSpans()), 3)
	for _, a := range attempts {
		equal(t, "parent", a.Parent.SpanID(), caller.SpanID())
	}
	c.showsNoSecret()
}
